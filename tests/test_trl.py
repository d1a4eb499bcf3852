"""FusedGRPOTrainer against TRL's own trainer: same seeds, same losses, same gradients."""

import os

import numpy as np
import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
pytest.importorskip("trl")

import torch
from datasets import Dataset
from fastrl.integrations.trl import FusedGRPOTrainer
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)
from trl import GRPOConfig, GRPOTrainer

WORDS = ["up", "down", "left", "right", "red", *"abcdefghijkl"]

# transformers and trl warn of their own deprecations.
pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.usefixtures("torch_on_one_thread"),
]


@pytest.fixture(scope="module")
def tokenizer():
    specials = ["<pad>", "<eos>"]
    raw = Tokenizer(models.WordLevel(unk_token="<pad>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    raw.train_from_iterator([WORDS], trainers.WordLevelTrainer(special_tokens=specials))
    return PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>", eos_token="<eos>")


SIZES = {
    "vocab_size": 2 + len(WORDS),
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "initializer_range": 0.3,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": None,
}


def saved(model_class, config_class, directory, **options):
    """A directory, because TRL loads the KL reference from where the policy came from."""
    torch.manual_seed(0)
    model_class(config_class(**SIZES, **options)).save_pretrained(directory)
    return str(directory)


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    return saved(Qwen2ForCausalLM, Qwen2Config, tmp_path_factory.mktemp("model"))


def count_red(completion_ids, **_):
    """Favors one token and, a little, long completions."""
    return [10.0 * sum(t == 13 for t in ids) / 8 + len(ids) / 16 for ids in completion_ids]


class Recorder:
    """Keeps the losses as they are: the log rounds and averages them."""

    def compute_loss(self, *args, **kwargs):
        loss = super().compute_loss(*args, **kwargs)
        self.losses.append(loss.item())
        return loss


class Rival(Recorder, GRPOTrainer):
    pass


class Fused(Recorder, FusedGRPOTrainer):
    pass


def config(directory, **options):
    defaults = {
        "learning_rate": 3e-3,
        "per_device_train_batch_size": 8,
        "num_generations": 4,
        "max_completion_length": 8,
        "max_steps": 5,
        "logging_steps": 1,
        "temperature": 0.9,
        "bf16": False,
        "use_cpu": True,
        "report_to": [],
        "save_strategy": "no",
        "disable_tqdm": True,
        "use_bias_correction_kl": False,
        "seed": 3,
    }
    return GRPOConfig(str(directory), **(defaults | options))


def build(trainer, tokenizer, model_path, directory, **options):
    """A trainer of a model of any class, in float32."""
    prompts = [{"prompt": f"{a} {b}"} for a in WORDS[:4] for b in WORDS[4:8]]
    model = AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.float32)
    return trainer(
        model,
        reward_funcs=count_red,
        args=config(directory, **options),
        train_dataset=Dataset.from_list(prompts),
        processing_class=tokenizer,
    )


def run(trainer, tokenizer, model_path, directory, **options):
    built = build(trainer, tokenizer, model_path, directory, **options)
    built.losses = []
    built.train()
    return built


METRICS = [
    "grad_norm", "entropy", "clip_ratio/low_mean", "clip_ratio/high_mean",
    "clip_ratio/region_mean", "clip_ratio/low_min", "clip_ratio/high_max",
]  # fmt: skip


@pytest.mark.parametrize(
    "options",
    [
        {"loss_type": "grpo"},
        {"loss_type": "bnpo", "gradient_accumulation_steps": 2},
        {"loss_type": "dapo", "gradient_accumulation_steps": 2, "steps_per_generation": 4},
        {"loss_type": "dr_grpo", "num_iterations": 2, "epsilon": 0.01, "epsilon_high": 0.02},
        {"loss_type": "grpo", "beta": 0.1, "num_iterations": 2, "gradient_accumulation_steps": 2},
        {"loss_type": "dapo", "beta": 0.1, "mask_truncated_completions": True},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_losses_and_gradients_are_those_of_trl(tokenizer, model_path, tmp_path, options):
    ours, theirs = (
        run(trainer, tokenizer, model_path, tmp_path, **options) for trainer in (Fused, Rival)
    )
    # A loss is a difference of terms of about 1: below that, float32's rounding is all there is.
    np.testing.assert_allclose(ours.losses, theirs.losses, rtol=1e-4, atol=1e-6)
    assert max(map(abs, theirs.losses)) > 1e-3 or options == {"loss_type": "grpo"}
    keys = [*METRICS, "kl"] if "beta" in options else METRICS
    for key in keys:
        values = [
            [entry[key] for entry in trainer.state.log_history if key in entry]
            for trainer in (ours, theirs)
        ]
        assert len(values[0]) == 5
        np.testing.assert_allclose(*values, rtol=1e-4, atol=1e-6, err_msg=key)
    logged = [set().union(*trainer.state.log_history) for trainer in (ours, theirs)]
    assert logged[0] == logged[1]
    if "epsilon" in options:
        assert any(entry.get("clip_ratio/region_mean", 0) > 0 for entry in ours.state.log_history)


def handmade_inputs(per_token, tools):
    random = torch.Generator().manual_seed(5)
    completion_mask = torch.tensor([[1] * 6, [1] * 4 + [0] * 2, [0] * 6, [1] + [0] * 5])
    inputs = {
        "prompt_ids": torch.tensor([[0, 5, 6], [7, 8, 9], [0, 0, 4], [3, 3, 3]]),
        "prompt_mask": torch.tensor([[0, 1, 1], [1, 1, 1], [0, 0, 1], [1, 1, 1]]),
        "completion_ids": torch.randint(2, 2 + len(WORDS), (4, 6), generator=random)
        * completion_mask,
        "completion_mask": completion_mask,
        "advantages": torch.randn((4, 6) if per_token else (4,), generator=random),
        "num_items_in_batch": torch.tensor(23),
        "old_per_token_logps": torch.randn(4, 6, generator=random) / 2 - 3,
        "ref_per_token_logps": torch.randn(4, 6, generator=random) / 2 - 3,
    }
    if tools:
        inputs["tool_mask"] = torch.tensor([[1, 1, 0, 0, 1, 1]] * 4)
    return inputs


FAMILIES = {
    "qwen2": (Qwen2ForCausalLM, Qwen2Config, {}),
    "gemma2": (Gemma2ForCausalLM, Gemma2Config, {"final_logit_softcapping": 2.0}),
    "granite": (GraniteForCausalLM, GraniteConfig, {"logits_scaling": 4.0}),
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("family", "loss_type", "per_token", "tools"),
    [
        ("qwen2", "grpo", False, True),
        ("qwen2", "bnpo", True, False),
        ("gemma2", "dapo", False, True),
        ("granite", "dr_grpo", True, True),
    ],
)
def test_one_loss_and_its_gradients_are_those_of_trl(
    tokenizer, tmp_path, family, loss_type, per_token, tools, training
):
    model_class, config_class, options = FAMILIES[family]
    path = saved(model_class, config_class, tmp_path / "model", **options)
    inputs = handmade_inputs(per_token, tools)
    results = []
    for trainer_class in (FusedGRPOTrainer, GRPOTrainer):
        trainer = build(
            trainer_class, tokenizer, path, tmp_path, loss_type=loss_type, beta=0.2,
            gradient_accumulation_steps=2, max_completion_length=9,
        )  # fmt: skip
        trainer.current_gradient_accumulation_steps = 2
        trainer.model.train(training)
        loss = trainer._compute_loss(trainer.model, inputs)
        loss.backward()
        gradients = torch.cat([p.grad.flatten() for p in trainer.model.parameters()])
        metrics = trainer._metrics["train" if training else "eval"]
        results.append((loss.detach(), gradients, metrics))
    (loss, gradients, metrics), (their_loss, their_gradients, their_metrics) = results
    torch.testing.assert_close(loss, their_loss, rtol=1e-5, atol=1e-6)
    scale = their_gradients.abs().max()
    torch.testing.assert_close(gradients / scale, their_gradients / scale, rtol=0, atol=1e-5)
    assert metrics.keys() == their_metrics.keys()
    for name, values in their_metrics.items():
        np.testing.assert_allclose(metrics[name], values, rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("loss_type", "cispo", "'grpo' or 'bnpo' or 'dapo' or 'dr_grpo'"),
        ("loss_type", "luspo", "'grpo' or 'bnpo' or 'dapo' or 'dr_grpo'"),
        ("importance_sampling_level", "sequence", "'token'"),
        ("top_entropy_quantile", 0.2, "1.0"),
        ("delta", 1.5, "None"),
        ("off_policy_mask_threshold", 0.1, "None"),
        ("entropy_coef", 0.01, "0.0"),
        ("use_adaptive_entropy", True, "False"),
        ("cast_lm_head_to_fp32", True, "False"),
        ("use_liger_kernel", True, "False"),
    ],
)
def test_options_outside_the_fused_loss_are_rejected(tmp_path, option, value, expected):
    args = config(tmp_path)
    setattr(args, option, value)
    with pytest.raises(
        ValueError, match=f"^FusedGRPOTrainer: `{option}` must be {expected}, got {value!r}"
    ):
        FusedGRPOTrainer(None, count_red, args)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"use_vllm": True},
            "`vllm_importance_sampling_correction` must be False, got True",
        ),
        (
            {"beta": 0.1, "use_bias_correction_kl": True},
            "`use_bias_correction_kl` must be False where `beta` is not 0, got True",
        ),
    ],
)
def test_combinations_outside_the_fused_loss_are_rejected(tmp_path, options, message):
    with pytest.raises(ValueError, match=f"^FusedGRPOTrainer: {message}"):
        FusedGRPOTrainer(None, count_red, config(tmp_path, **options))


def test_a_mixture_of_experts_with_its_own_loss_is_rejected(tokenizer, tmp_path):
    path = saved(MixtralForCausalLM, MixtralConfig, tmp_path / "model", num_local_experts=2)
    with pytest.raises(ValueError, match=r"`router_aux_loss_coef` must be 0\.0, got 0\.0"):
        build(FusedGRPOTrainer, tokenizer, path, tmp_path)
