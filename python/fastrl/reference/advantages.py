"""Specification of `fastrl.advantages` in float64 NumPy: short, slow, obviously right."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]


def gae(
    rewards: Any,
    values: Any,
    next_values: Any,
    terminated: Any,
    truncated: Any,
    *,
    gamma: float,
    lambda_: float,
    stepped: Any = None,
) -> Float64:
    """Generalized advantage estimates of each environment; the formula is in `fastrl.advantages`.

    Rows that are no steps are deleted first, and get 0.
    """
    r, v, v_next = (np.asarray(x, np.float64) for x in (rewards, values, next_values))  # [T, B]
    v_next = np.where(terminated, 0.0, v_next)
    ends = np.asarray(terminated, bool) | np.asarray(truncated, bool)
    steps = np.ones(r.shape, bool) if stepped is None else np.asarray(stepped, bool)
    advantages = np.zeros_like(r)
    for b in range(r.shape[1]):
        tail = 0.0  # A_{t+1}
        for t in reversed(np.flatnonzero(steps[:, b])):
            td_error = r[t, b] + gamma * v_next[t, b] - v[t, b]
            tail = td_error + gamma * lambda_ * (0.0 if ends[t, b] else tail)
            advantages[t, b] = tail
    return advantages


def group_advantages(
    rewards: Any,
    group_ids: Any,
    *,
    baseline: str = "mean",
    scale: str = "group",
    eps: float = 1e-4,
    unbiased: bool = True,
) -> Float64:
    """The advantage of each member over its group; the formula is in `fastrl.advantages`."""
    r = np.asarray(rewards, np.float64)  # [B]
    ids = np.asarray(group_ids)  # [B]
    advantages = np.zeros_like(r)
    for group in np.unique(ids):
        members = np.flatnonzero(ids == group)
        advantages[members] = r[members] - _baseline(r[members], baseline)
        if scale == "group":
            advantages[members] = _scaled(advantages[members], r[members], eps, unbiased)
    if scale == "batch":
        advantages = _scaled(advantages, r, eps, unbiased)
    return advantages


def _baseline(r: Float64, baseline: str) -> Float64:
    if baseline == "none" or (baseline == "leave_one_out" and len(r) == 1):
        return np.zeros_like(r)
    if r.min() == r.max():
        return r  # exactly, whatever a sum would round to
    if baseline == "leave_one_out":
        return np.asarray((r.sum() - r) / (len(r) - 1))
    return np.full_like(r, r.mean())


def _scaled(advantages: Float64, r: Float64, eps: float, unbiased: bool) -> Float64:
    if len(r) < 2 or r.min() == r.max():
        return advantages
    return np.asarray(advantages / (r.std(ddof=int(unbiased)) + eps))


def positive_amplification(
    advantages: Any,
    rewards: Any,
    *,
    alpha: float = 3.0,
    success_threshold: float | str = 1.0,
    success_value: float | str = "alpha",
    group_ids: Any = None,
) -> Float64:
    """Larger advantages for what went well; the formula is in `fastrl.advantages`."""
    a = np.asarray(advantages, np.float64)  # [B]
    r = np.asarray(rewards)  # [B]
    if success_threshold == "group_max":
        ids = np.asarray(group_ids)
        success = np.array([r[i] == r[ids == ids[i]].max() for i in range(len(r))], bool)
    else:
        success = r >= r.dtype.type(success_threshold)
    amplified = np.where(a >= 0, alpha * a, a)
    value = alpha * np.maximum(1.0, a) if success_value == "alpha" else success_value
    return np.asarray(np.where(success, value, amplified), np.float64)
