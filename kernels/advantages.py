"""Advantages of groups and their amplification, one program per block of trajectories.

Math      A_i = (r_i - b_i) / (σ_i + eps); the formulas are in fastrl/advantages.py.
Shapes    every array is [B], contiguous; group ids are arbitrary int64 in any order.
Cost      B² comparisons a pass, two passes with a scale and one without: every program reads
          all B rewards and ids, from cache.
Numerics  float64 sums in the order of the index: repeated runs are bitwise equal. Equal rewards
          are recognized by minimum and maximum, so their advantages are exact zeros.
Limits    quadratic: meant for up to some ten thousand trajectories. NaN rewards make their
          group NaN; nothing is checked, because that would cost a synchronization.
"""

import triton
import triton.language as tl

_BLOCK = 16  # trajectories of a program
_BLOCK_OTHERS = 64  # others compared with at a time


@triton.jit
def group_advantages_kernel(
    rewards_ptr, group_ids_ptr, advantages_ptr, B, eps: tl.float64,
    BASELINE: tl.constexpr, SCALE: tl.constexpr, UNBIASED: tl.constexpr,
    BLOCK: tl.constexpr, BLOCK_OTHERS: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)  # [BLOCK]
    valid = rows < B
    r = tl.load(rewards_ptr + rows, mask=valid, other=0.0).to(tl.float64)
    ids = tl.load(group_ids_ptr + rows, mask=valid, other=0)

    # Member statistics of each row's group, and of the set that gives the scale.
    size = tl.zeros([BLOCK], dtype=tl.float64)
    total = tl.zeros([BLOCK], dtype=tl.float64)
    low = tl.full([BLOCK], float("inf"), dtype=tl.float64)
    high = tl.full([BLOCK], float("-inf"), dtype=tl.float64)
    batch_total = tl.zeros([BLOCK_OTHERS], dtype=tl.float64)
    batch_low = tl.full([BLOCK_OTHERS], float("inf"), dtype=tl.float64)
    batch_high = tl.full([BLOCK_OTHERS], float("-inf"), dtype=tl.float64)
    for start in range(0, B, BLOCK_OTHERS):
        others = start + tl.arange(0, BLOCK_OTHERS)
        exists = others < B
        r_other = tl.load(rewards_ptr + others, mask=exists, other=0.0).to(tl.float64)
        ids_other = tl.load(group_ids_ptr + others, mask=exists, other=0)
        same = (ids[:, None] == ids_other[None, :]) & exists[None, :]  # [BLOCK, BLOCK_OTHERS]
        member = tl.where(same, r_other[None, :], 0.0)
        size += tl.sum(same.to(tl.float64), axis=1)
        total += tl.sum(member, axis=1)
        low = tl.minimum(low, tl.min(tl.where(same, r_other[None, :], float("inf")), axis=1))
        high = tl.maximum(high, tl.max(tl.where(same, r_other[None, :], float("-inf")), axis=1))
        if SCALE == "batch":
            batch_total += r_other
            batch_low = tl.minimum(batch_low, tl.where(exists, r_other, float("inf")))
            batch_high = tl.maximum(batch_high, tl.where(exists, r_other, float("-inf")))

    # Minimum and maximum pass over NaN; the total does not.
    equal = (low == high) & (total == total)
    size = tl.maximum(size, 1.0)  # lanes past the end may have no group
    mean = total / size
    if BASELINE == "mean":
        advantages = tl.where(equal, 0.0, r - mean)
    elif BASELINE == "leave_one_out":
        alone = size < 2.0
        rest = tl.where(alone, 1.0, size - 1.0)
        advantages = tl.where(alone, r, tl.where(equal, 0.0, r - (total - r) / rest))
    else:
        advantages = r

    if SCALE == "batch":
        size = tl.zeros_like(size) + B
        mean = tl.zeros_like(mean) + tl.sum(batch_total, axis=0) / B
        low = tl.zeros_like(low) + tl.min(batch_low, axis=0)
        high = tl.zeros_like(high) + tl.max(batch_high, axis=0)
        equal = (low == high) & (mean == mean)
    if SCALE != "none":
        squares = tl.zeros_like(size)
        for start in range(0, B, BLOCK_OTHERS):
            others = start + tl.arange(0, BLOCK_OTHERS)
            exists = others < B
            r_other = tl.load(rewards_ptr + others, mask=exists, other=0.0).to(tl.float64)
            ids_other = tl.load(group_ids_ptr + others, mask=exists, other=0)
            counted = exists[None, :]
            if SCALE == "group":
                counted = counted & (ids[:, None] == ids_other[None, :])
            distance = r_other[None, :] - mean[:, None]
            squares += tl.sum(tl.where(counted, distance * distance, 0.0), axis=1)
        if UNBIASED:
            size -= 1.0
        deviation = tl.sqrt(squares / tl.maximum(size, 1.0))
        advantages = advantages / tl.where(equal | (deviation == 0.0), 1.0, deviation + eps)
    tl.store(advantages_ptr + rows, advantages.to(advantages_ptr.dtype.element_ty), mask=valid)


@triton.jit
def positive_amplification_kernel(
    advantages_ptr, rewards_ptr, group_ids_ptr, amplified_ptr, B,
    alpha: tl.float64, success_threshold: tl.float64, success_value: tl.float64,
    GROUP_MAX: tl.constexpr, SUCCESS_IS_ALPHA: tl.constexpr,
    BLOCK: tl.constexpr, BLOCK_OTHERS: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)  # [BLOCK]
    valid = rows < B
    a = tl.load(advantages_ptr + rows, mask=valid, other=0.0).to(tl.float64)
    r = tl.load(rewards_ptr + rows, mask=valid, other=0.0).to(tl.float64)
    bar = tl.zeros_like(r) + success_threshold
    if GROUP_MAX:
        ids = tl.load(group_ids_ptr + rows, mask=valid, other=0)
        bar = tl.full([BLOCK], float("-inf"), dtype=tl.float64)
        for start in range(0, B, BLOCK_OTHERS):
            others = start + tl.arange(0, BLOCK_OTHERS)
            exists = others < B
            r_other = tl.load(rewards_ptr + others, mask=exists, other=0.0).to(tl.float64)
            ids_other = tl.load(group_ids_ptr + others, mask=exists, other=0)
            same = (ids[:, None] == ids_other[None, :]) & exists[None, :]
            bar = tl.maximum(bar, tl.max(tl.where(same, r_other[None, :], float("-inf")), axis=1))
    amplified = tl.where(a >= 0.0, alpha * a, a)
    success = tl.zeros_like(r) + success_value
    if SUCCESS_IS_ALPHA:
        success = alpha * tl.where(a < 1.0, 1.0, a)  # a NaN stays
    amplified = tl.where(r >= bar, success, amplified)
    tl.store(amplified_ptr + rows, amplified.to(amplified_ptr.dtype.element_ty), mask=valid)


def launch_group_advantages(rewards, group_ids, advantages, baseline, scale, eps, unbiased):
    B = rewards.shape[0]
    if B == 0:
        return
    group_advantages_kernel[(triton.cdiv(B, _BLOCK),)](
        rewards, group_ids, advantages, B, eps,
        BASELINE=baseline, SCALE=scale, UNBIASED=unbiased,
        BLOCK=_BLOCK, BLOCK_OTHERS=_BLOCK_OTHERS,
    )  # fmt: skip


def launch_positive_amplification(
    advantages, rewards, group_ids, amplified, alpha, success_threshold, success_value
):
    """`group_ids` is None unless the best of each group succeed; `success_value` None is alpha."""
    B = advantages.shape[0]
    if B == 0:
        return
    positive_amplification_kernel[(triton.cdiv(B, _BLOCK),)](
        advantages, rewards, group_ids, amplified, B,
        alpha, success_threshold, 0.0 if success_value is None else success_value,
        GROUP_MAX=group_ids is not None, SUCCESS_IS_ALPHA=success_value is None,
        BLOCK=_BLOCK, BLOCK_OTHERS=_BLOCK_OTHERS,
    )  # fmt: skip
