"""TRL's GRPOTrainer with its log-probs and its loss through fastrl.

    from fastrl.integrations.trl import FusedGRPOTrainer

takes the place of `from trl import GRPOTrainer`. Losses, gradients and logged metrics are TRL's.
"""

import math
from typing import Any

import torch
import trl
from torch import Tensor
from trl import GRPOConfig, GRPOTrainer

from fastrl._dispatch import argument_error
from fastrl.log_probs import TokenStats, token_log_probs
from fastrl.policy_loss_specs import PolicyLossSpec
from fastrl.policy_losses import policy_loss

_AGGREGATIONS = {
    "grpo": "seq_mean_token_mean",
    "bnpo": "token_mean",
    "dapo": "token_mean",
    "dr_grpo": "seq_mean_token_sum_norm",
}

# What the loss of this class has no term for: the only value of each option that it can take.
_FIXED = {
    "importance_sampling_level": "token",
    "top_entropy_quantile": 1.0,
    "delta": None,
    "off_policy_mask_threshold": None,
    "entropy_coef": 0.0,
    "use_adaptive_entropy": False,
    "cast_lm_head_to_fp32": False,
    "use_liger_kernel": False,
}

# Overridden below; a release of TRL that renames one would silently train with its own loss.
for _method in ("_compute_loss", "_get_per_token_logps_and_entropies"):
    if not hasattr(GRPOTrainer, _method):
        raise ImportError(
            f"fastrl.integrations.trl overrides GRPOTrainer.{_method}, which trl {trl.__version__} "
            "does not have; install trl 1.16"
        )


class FusedGRPOTrainer(GRPOTrainer):
    """`trl.GRPOTrainer` whose log-probs and loss are `token_log_probs` and `policy_loss`.

    Takes TRL's arguments and gives TRL's losses, gradients and metrics for `loss_type` "grpo",
    "bnpo", "dapo" and "dr_grpo". Each step reads the logits once forward and once backward, writes
    their gradient into their own memory, and skips the prompt and the tokens of tools. Every
    option that would change the loss in a way this class does not compute is an error in the
    constructor that names it; one of them, `use_bias_correction_kl`, is on by default and must be
    off where `beta` is not 0. Models are text-only causal LMs whose forward takes
    `logits_to_keep`, as those of transformers do.

    Attributes:
        inplace_backward: Whether the logits' memory takes their gradient. Set it to False for a
            model whose own backward pass reads its logits, which autograd reports as an error.
    """

    inplace_backward = True
    args: Any  # TRL's own type hints stop at transformers' TrainingArguments
    model: Any

    def __init__(
        self,
        model: Any,
        reward_funcs: Any = None,
        args: GRPOConfig | None = None,
        *positional: Any,
        **options: Any,
    ) -> None:
        if args is not None:
            _check_config(args)
        super().__init__(model, reward_funcs, args, *positional, **options)
        _check_config(self.args)
        if self.aux_loss_enabled:
            raise _unsupported("router_aux_loss_coef", 0.0, self.router_aux_loss_coef)
        if hasattr(self.processing_class, "image_processor"):
            raise _unsupported(
                "processing_class", "a tokenizer", type(self.processing_class).__name__
            )
        self._spec = PolicyLossSpec(
            clip_low=self.epsilon_low,
            clip_high=self.epsilon_high,
            kl="k3" if self.beta else "none",
            kl_coef=self.beta,
            aggregation=_AGGREGATIONS[self.loss_type],
            max_length=self.max_completion_length,
        )

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: Tensor,
        attention_mask: Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        compute_aux_loss: bool = False,
        **model_inputs: Any,
    ) -> tuple[Tensor, Tensor | None, None]:
        """What TRL calls for the old and the reference policy, `batch_size` rows at a time."""
        completion_mask = attention_mask[:, -logits_to_keep:]
        log_probs: list[Tensor] = []
        entropies: list[Tensor] = []
        for start in range(0, len(input_ids), batch_size or len(input_ids)):
            rows = slice(start, start + (batch_size or len(input_ids)))
            stats = self._token_stats(
                model,
                input_ids[rows],
                attention_mask[rows],
                completion_mask[rows],
                entropy=compute_entropy,
            )
            log_probs.append(stats.log_probs)
            if stats.entropies is not None:
                entropies.append(stats.entropies)
        return torch.cat(log_probs), torch.cat(entropies) if entropies else None, None

    def _token_stats(
        self, model: Any, input_ids: Tensor, attention_mask: Tensor, mask: Tensor, *, entropy: bool
    ) -> TokenStats:
        """[B, L] log-probs, and entropies if wanted, of the last L tokens where `mask` is set."""
        length = mask.shape[1]
        with self.accelerator.autocast():
            logits = model(
                input_ids=input_ids,
                attention_mask=attention_mask,
                logits_to_keep=length + 1,
                use_cache=False,
            ).logits  # [B, L + 1, V]
        # The last row predicts past the end. Masking it, where cutting it off would copy the
        # gradient into a tensor of the logits' size, is free.
        past_end = (0, 1)
        stats = token_log_probs(
            logits,
            torch.nn.functional.pad(input_ids[:, -length:], past_end),
            temperature=self.temperature,
            mask=torch.nn.functional.pad(mask.bool(), past_end),
            entropy=entropy,
            inplace_backward=self.inplace_backward and torch.is_grad_enabled(),
        )
        entropies = None if stats.entropies is None else stats.entropies[:, :-1]
        return TokenStats(stats.log_probs[:, :-1], entropies, None)

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        completion_mask = inputs["completion_mask"]
        mask = (completion_mask * inputs.get("tool_mask", 1)).bool()  # [B, L]
        log_probs, entropies, _ = self._token_stats(
            model,
            torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1),
            torch.cat([inputs["prompt_mask"], completion_mask], dim=1),
            mask,
            entropy=True,
        )
        old_log_probs = inputs.get("old_per_token_logps")
        advantages = inputs["advantages"].float()
        loss, metrics = policy_loss(
            log_probs,
            advantages,
            mask,
            old_log_probs=old_log_probs,
            ref_log_probs=inputs["ref_per_token_logps"] if self.beta else None,
            entropies=None if entropies is None else entropies.detach(),
            spec=self._spec,
            normalizer=self._normalizer(inputs),
        )
        ratios = None if old_log_probs is None else (log_probs.detach() - old_log_probs).exp()
        self._log_loss_metrics(metrics, _clipped_fractions(self._spec, ratios, advantages, mask))
        if self.model.training and self.loss_type != "dapo":  # its count spans the accumulation
            loss = loss / self.current_gradient_accumulation_steps
        return loss

    def _normalizer(self, inputs: dict[str, Any]) -> Tensor | None:
        """DAPO's number of tokens in this process's share of one optimizer step."""
        if self.loss_type != "dapo":
            return None
        share: float = 1 / self.accelerator.num_processes
        if self.model.training:  # the count is of the generation batch, which may hold many steps
            share *= self.current_gradient_accumulation_steps / self.args.steps_per_generation
        tokens: Tensor = inputs["num_items_in_batch"]
        return tokens.clamp(min=1).float().reshape(()) * share

    def _log_loss_metrics(self, metrics: dict[str, Tensor], clipped: Tensor) -> None:
        """TRL's metrics: means over all processes' tokens, extremes over their sequences."""
        logged = self._metrics["train" if self.model.training else "eval"]
        names = {"entropy": "entropy"}
        if self.beta:
            names["kl"] = "kl_to_ref"
        tokens = metrics["tokens"]
        zero = torch.zeros_like(tokens)
        low, high = (metrics.get(f"clip_fraction_{side}", zero) for side in ("low", "high"))
        means = torch.stack([*(metrics[name] for name in names.values()), low, high])
        sums = self.accelerator.reduce(torch.cat([means * tokens, tokens[None]]), reduction="sum")
        *means, low, high = (sums[:-1] / sums[-1].clamp(min=1)).tolist()
        for name, mean in zip(names, means, strict=True):
            logged[name].append(mean)
        logged["clip_ratio/low_mean"].append(low)
        logged["clip_ratio/high_mean"].append(high)
        logged["clip_ratio/region_mean"].append(low + high)
        fractions = self.accelerator.gather(clipped).tolist()  # [processes · B, 2]
        counted = [row for row in fractions if not math.isnan(row[0])]
        logged["clip_ratio/low_min"].append(min((row[0] for row in counted), default=math.nan))
        logged["clip_ratio/high_max"].append(max((row[1] for row in counted), default=math.nan))


def _clipped_fractions(
    spec: PolicyLossSpec, ratios: Tensor | None, advantages: Tensor, mask: Tensor
) -> Tensor:
    """[B, 2]: the share of each sequence's tokens below and above the clip, NaN without tokens."""
    counts = mask.sum(1).float()
    if ratios is None:
        return torch.zeros_like(counts)[:, None].expand(-1, 2) / counts[:, None]
    advantages = advantages.reshape(len(mask), -1)
    low = (ratios < 1 - spec.clip_low) & (advantages < 0) & mask
    high = (ratios > 1 + spec.clip_high) & (advantages > 0) & mask
    return torch.stack([low.sum(1), high.sum(1)], dim=1) / counts[:, None]


def _check_config(args: GRPOConfig) -> None:
    if args.loss_type not in _AGGREGATIONS:
        raise _unsupported("loss_type", " or ".join(map(repr, _AGGREGATIONS)), args.loss_type)
    for option, value in _FIXED.items():
        if getattr(args, option, value) != value:
            raise _unsupported(option, repr(value), getattr(args, option))
    if args.beta and getattr(args, "use_bias_correction_kl", False):
        raise _unsupported("use_bias_correction_kl", "False where `beta` is not 0", True)
    if args.use_vllm and args.vllm_importance_sampling_correction:
        raise _unsupported("vllm_importance_sampling_correction", False, True)


def _unsupported(option: str, expected: object, actual: object) -> Exception:
    return argument_error(
        "FusedGRPOTrainer", option, f"be {expected}", repr(actual), hint="trl.GRPOTrainer has it"
    )
