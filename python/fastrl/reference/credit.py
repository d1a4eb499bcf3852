"""Specification of `fastrl.credit` in NumPy: short, slow, obviously right."""

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray


def pivot_mask(
    action_mask: Any,
    turn_starts: Any = None,
    pivot_turns: Any = None,
    *,
    pivot_tokens: Any = None,
    cu_seqlens: Any = None,
) -> NDArray[Any]:
    """The action mask without the tokens before the pivot."""
    loss_mask = np.asarray(action_mask).copy()  # [B, L] or [N]
    if pivot_tokens is None:
        turns = zip(turn_starts, pivot_turns, strict=True)
        pivot_tokens = [starts[pivot] if pivot > 0 else 0 for starts, pivot in turns]
    for row, pivot in enumerate(pivot_tokens):
        first = 0 if cu_seqlens is None else int(cu_seqlens[row])
        sequence = loss_mask[row] if cu_seqlens is None else loss_mask[first:]
        sequence[: max(int(pivot), 0)] = 0
    return loss_mask


def divergence_points(
    base: Any,
    retry: Any,
    *,
    base_lengths: Any = None,
    retry_lengths: Any = None,
    base_cu_seqlens: Any = None,
    retry_cu_seqlens: Any = None,
) -> NDArray[np.int32]:
    """The first position where two token sequences differ, −1 where they are identical."""
    ours = _sequences(base, base_lengths, base_cu_seqlens)
    theirs = _sequences(retry, retry_lengths, retry_cu_seqlens)
    return np.array([_first_difference(a, b) for a, b in zip(ours, theirs, strict=True)], np.int32)


def _sequences(tokens: Any, lengths: Any, cu_seqlens: Any) -> list[list[int]]:
    tokens = np.asarray(tokens)
    if cu_seqlens is not None:
        ends = [int(end) for end in cu_seqlens]
        return [tokens[a:b].tolist() for a, b in pairwise(ends)]
    if lengths is None:
        lengths = [tokens.shape[1]] * len(tokens)
    return [row[:length].tolist() for row, length in zip(tokens, lengths, strict=True)]


def _first_difference(a: list[int], b: list[int]) -> int:
    if a == b:
        return -1
    shorter = min(len(a), len(b))
    return next((i for i in range(shorter) if a[i] != b[i]), shorter)
