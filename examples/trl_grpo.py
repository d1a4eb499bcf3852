"""TRL's GRPO with fastrl's log-probs and loss: one changed import.

A small random causal LM and a tokenizer made on the spot learn to answer with colors. Needs
`pip install 'fastrl[trl]'` and no network; takes less than a minute on a CPU.
"""

import argparse
import tempfile

from datasets import Dataset
from fastrl.integrations.trl import FusedGRPOTrainer
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM, set_seed
from trl import GRPOConfig

COLORS = ["red", "green", "blue", "white"]
WORDS = [
    *COLORS,
    "north",
    "east",
    "south",
    "west",
    "the",
    "a",
    "of",
    "and",
    "not",
    "or",
    "to",
    "in",
]


def make_tokenizer():
    raw = Tokenizer(models.WordLevel(unk_token="<pad>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    raw.train_from_iterator([WORDS], trainers.WordLevelTrainer(special_tokens=["<pad>", "<eos>"]))
    return PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>", eos_token="<eos>")


def make_model(tokenizer):
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    return Qwen2ForCausalLM(config)


def share_of_colors(completions, **_):
    words = [completion.split() for completion in completions]
    return [sum(word in COLORS for word in answer) / max(len(answer), 1) for answer in words]


def train(directory, steps):
    set_seed(0)
    tokenizer = make_tokenizer()
    config = GRPOConfig(
        directory,
        loss_type="dapo",
        learning_rate=3e-3,
        per_device_train_batch_size=32,
        num_generations=8,
        max_completion_length=8,
        max_steps=steps,
        logging_steps=5,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        bf16=False,
    )
    trainer = FusedGRPOTrainer(
        make_model(tokenizer),
        reward_funcs=share_of_colors,
        args=config,
        train_dataset=Dataset.from_list([{"prompt": f"{a} {b}"} for a in WORDS for b in WORDS]),
        processing_class=tokenizer,
    )
    trainer.train()
    return [entry["reward"] for entry in trainer.state.log_history if "reward" in entry]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=40)
    with tempfile.TemporaryDirectory() as directory:
        rewards = train(directory, parser.parse_args().steps)
    print(f"reward {rewards[0]:.2f} -> {rewards[-1]:.2f}")
