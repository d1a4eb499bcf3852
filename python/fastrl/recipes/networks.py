"""What policies and values of the recipes that act step by step are made of."""

from collections.abc import Mapping
from typing import Any

import gymnasium
import torch
from torch import Tensor, nn

from fastrl._dispatch import Arguments

# What a policy sees of a goal environment.
_SEEN = ("observation", "desired_goal")


def as_inputs(observations: Any) -> Tensor:
    """What networks see: of a goal environment, the observation and the goal side by side."""
    if isinstance(observations, Mapping):
        return torch.cat([torch.as_tensor(observations[name]) for name in _SEEN], -1).float()
    return torch.as_tensor(observations)


def check_spaces(function: str, envs: Any, *, goals: bool) -> None:
    """An error unless networks can be made for these environments, where `goals` with goals."""
    check, space = Arguments(function), envs.single_observation_space
    if goals and isinstance(space, gymnasium.spaces.Dict) and set(_SEEN) <= space.keys():
        known = all(len(space[name].shape or ()) == 1 for name in _SEEN)
    else:
        flat = isinstance(space, gymnasium.spaces.Box) and len(space.shape) == 1
        known = flat or isinstance(space, gymnasium.spaces.Discrete)
    if not known:
        kinds = (
            "Discrete, one-dimensional Box or goal" if goals else "Discrete or one-dimensional Box"
        )
        raise check.error("env", f"have {kinds} observations", space)
    if not isinstance(envs.single_action_space, gymnasium.spaces.Discrete):
        raise check.error("env", "have Discrete actions", envs.single_action_space)


def two_layers(space: Any, width: int, outputs: int, activation: type[nn.Module]) -> nn.Sequential:
    """Two hidden layers from `as_inputs` of a space to so many numbers, as torch starts them.

    A one-hot row through a linear layer is a row of it, so Discrete observations are embedded.
    """
    first: nn.Embedding | nn.Linear
    if isinstance(space, gymnasium.spaces.Discrete):
        first = nn.Embedding(int(space.n), width)
    else:
        seen = [space[name] for name in _SEEN] if isinstance(space, Mapping) else [space]
        first = nn.Linear(sum(part.shape[0] for part in seen), width)
    return nn.Sequential(
        first, activation(), nn.Linear(width, width), activation(), nn.Linear(width, outputs)
    )


def gumbel_noise(logits: Tensor, source: torch.Generator) -> Tensor:
    """Noise of the logits' shape; where logits plus noise are largest is a sample of a softmax."""
    return torch.empty_like(logits).exponential_(generator=source).log_().neg_()
