"""Credit masks over turns, and where a retry leaves its base. One or a few programs per sequence.

Math      loss_mask[t] = action_mask[t] where t ≥ start of the pivot turn, else 0;
          divergence point = first t with base[t] ≠ retry[t].
Shapes    tokens are rows of `row_size`, or back to back with int64 `cu_seqlens` [B + 1].
          turn_starts [B, K] int64, pivot_turns [B] int64, points [B] int32.
Cost      mask: 1 B read + 1 B written per token. Divergence: both sequences are read up to the
          block in which they part.
Numerics  integers only.
Limits    a pivot that is no turn of its row masks the whole row; nothing is checked, because
          that would cost a synchronization.
"""

import triton
import triton.language as tl

_BLOCK = 1024
_PROGRAMS_PER_SEQUENCE = 8


@triton.jit
def pivot_mask_kernel(
    action_mask_ptr, turn_starts_ptr, pivot_turns_ptr, cu_seqlens_ptr, loss_mask_ptr,
    row_size, num_turns, PACKED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    begin = row * row_size
    length = begin * 0 + row_size
    if PACKED:
        begin = tl.load(cu_seqlens_ptr + row)
        length = tl.load(cu_seqlens_ptr + row + 1) - begin
    pivot = tl.load(pivot_turns_ptr + row)
    is_turn = (pivot > 0) & (pivot < num_turns)
    start = tl.load(turn_starts_ptr + row * num_turns + pivot, mask=is_turn, other=-1)
    start = tl.where(start < 0, length, start)
    start = tl.where((pivot == 0) | (pivot == -1), 0, start)

    position = tl.program_id(1).to(tl.int64) * BLOCK
    while position < length:
        t = position + tl.arange(0, BLOCK)
        mask = tl.load(action_mask_ptr + begin + t, mask=(t >= start) & (t < length), other=0)
        tl.store(loss_mask_ptr + begin + t, mask, mask=t < length)
        position += tl.num_programs(1) * BLOCK


@triton.jit
def divergence_points_kernel(
    base_ptr, base_lengths_ptr, base_cu_seqlens_ptr, base_row_size,
    retry_ptr, retry_lengths_ptr, retry_cu_seqlens_ptr, retry_row_size,
    points_ptr, PACKED: tl.constexpr, HAS_BASE_LENGTHS: tl.constexpr,
    HAS_RETRY_LENGTHS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    base_begin = row * base_row_size
    base_length = base_begin * 0 + base_row_size
    retry_begin = row * retry_row_size
    retry_length = retry_begin * 0 + retry_row_size
    if PACKED:
        base_begin = tl.load(base_cu_seqlens_ptr + row)
        base_length = tl.load(base_cu_seqlens_ptr + row + 1) - base_begin
        retry_begin = tl.load(retry_cu_seqlens_ptr + row)
        retry_length = tl.load(retry_cu_seqlens_ptr + row + 1) - retry_begin
    if HAS_BASE_LENGTHS:
        base_length = tl.load(base_lengths_ptr + row)
    if HAS_RETRY_LENGTHS:
        retry_length = tl.load(retry_lengths_ptr + row)
    shorter = tl.minimum(base_length, retry_length)

    point = shorter
    position = shorter * 0
    while position < point:
        t = position + tl.arange(0, BLOCK)
        inside = t < shorter
        base = tl.load(base_ptr + base_begin + t, mask=inside, other=0)
        retry = tl.load(retry_ptr + retry_begin + t, mask=inside, other=0)
        point = tl.minimum(point, tl.min(tl.where(base != retry, t, shorter), axis=0))
        position += BLOCK
    identical = (point == shorter) & (base_length == retry_length)
    tl.store(points_ptr + row, tl.where(identical, -1, point).to(tl.int32))


def launch_pivot_mask(action_mask, turn_starts, pivot_turns, cu_seqlens, loss_mask):
    B, num_turns = turn_starts.shape
    if B == 0:
        return
    pivot_mask_kernel[(B, _PROGRAMS_PER_SEQUENCE)](
        action_mask, turn_starts, pivot_turns, cu_seqlens, loss_mask,
        action_mask.shape[-1], num_turns, PACKED=cu_seqlens is not None, BLOCK=_BLOCK,
    )  # fmt: skip


def launch_divergence_points(
    base, base_lengths, base_cu_seqlens, retry, retry_lengths, retry_cu_seqlens, points
):
    B = points.shape[0]
    if B == 0:
        return
    divergence_points_kernel[(B,)](
        base, base_lengths, base_cu_seqlens, base.shape[-1],
        retry, retry_lengths, retry_cu_seqlens, retry.shape[-1],
        points, PACKED=base_cu_seqlens is not None, HAS_BASE_LENGTHS=base_lengths is not None,
        HAS_RETRY_LENGTHS=retry_lengths is not None, BLOCK=_BLOCK,
    )  # fmt: skip
