"""Batches of several buffers, one behind the other."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fastrl._dispatch import Arguments, is_torch
from fastrl.replay.buffer import ReplayBuffer


def check_joinable(
    arguments: Arguments, name: str, first: ReplayBuffer, other: ReplayBuffer
) -> None:
    """That their batches can stand one behind the other."""
    expected, actual = (
        {"/".join(leaf.path): f"{leaf.dtype} {list(leaf.batch_shape)}" for leaf in one._leaves}
        for one in (first, other)
    )
    for field, shape in expected.items():
        if actual[field] != shape:
            rule = f"have {field!r} as the first has it, {shape}"
            raise arguments.error(f"sources[{name!r}]", rule, actual[field])
    if (first.n_step > 1) != (other.n_step > 1):
        rule = f"have n_step {'above' if first.n_step > 1 else 'of'} 1, as the first"
        raise arguments.error(f"sources[{name!r}]", rule, other.n_step)


def concatenated(parts: list[Any]) -> Any:
    """Arrays, tensors or dicts of these, one behind the other."""
    if isinstance(parts[0], Mapping):
        return {name: concatenated([part[name] for part in parts]) for name in parts[0]}
    if is_torch(parts[0]):
        import torch

        return torch.cat(parts)
    return np.concatenate(parts)


def pinned(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same tensors in page-locked memory."""
    return {
        name: pinned(value)
        if isinstance(value, Mapping)
        else value.pin_memory()
        if is_torch(value)
        else value
        for name, value in values.items()
    }
