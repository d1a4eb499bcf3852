"""The fast native core of reinforcement learning on trajectories.

Importing this needs NumPy only; torch, triton and gymnasium are imported where first used.
"""

from importlib import import_module
from typing import Any

from fastrl._core import instruction_set as _instruction_set
from fastrl._core import num_threads

# Where each public name lives; the module is imported at the first use of the name.
_HOMES: dict[str, str] = {
    "divergence_points": "credit",
    "gae": "advantages",
    "group_advantages": "advantages",
    "pivot_mask": "credit",
    "positive_amplification": "advantages",
    "PolicyLoss": "policy_losses",
    "PolicyLossSpec": "policy_loss_specs",
    "ReplayBuffer": "replay",
    "TokenStats": "log_probs",
    "TrajectoryStore": "replay",
    "make_vec": "envs",
    "policy_loss": "policy_losses",
    "set_num_threads": "threads",
    "token_log_probs": "log_probs",
}
_PACKAGES = ("envs", "integrations", "recipes", "replay", "rollout")

__all__ = ["__version__", "num_threads", *_HOMES]

# What is wrong with FASTRL_INSTRUCTION_SET is said here, not in the middle of the first call.
_instruction_set()


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("importlib.metadata").version("fastrl")
    if name in _PACKAGES:
        return import_module(f"fastrl.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'fastrl' has no attribute {name!r}")
    value = getattr(import_module(f"fastrl.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, *_PACKAGES])
