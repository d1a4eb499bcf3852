"""Credit masks over turns, and where a retry leaves its base. One or a few programs per sequence.

Math      loss_mask[t] = action_mask[t] where t ≥ the pivot token, or the start of the pivot turn,
          else 0; divergence point = first t with base[t] ≠ retry[t].
Shapes    tokens are rows of `num_tokens`, or `num_tokens` back to back with int32 `cu_seqlens`
          [B + 1]. turn_starts [B, K] int64, or None where the pivots are tokens, pivots [B] int64,
          lengths [B] int64, points [B] int32.
Cost      mask: 1 B read + 1 B written per token. Divergence: both sequences are read up to the
          block in which they part.
Numerics  integers only.
Limits    nothing is checked, because that would cost a synchronization. A pivot that does not
          exist masks the whole row; lengths and cu_seqlens are clamped to the tokens that there
          are, so that wrong ones give wrong results but touch no other memory.
"""

import triton
import triton.language as tl

_BLOCK = 1024
_PROGRAMS_PER_SEQUENCE = 8


@triton.jit
def _clamp(value, low, high):
    return tl.minimum(tl.maximum(value.to(tl.int64), low), high)


@triton.jit
def _span(
    row, lengths_ptr, cu_seqlens_ptr, num_tokens, PACKED: tl.constexpr, HAS_LENGTHS: tl.constexpr
):
    """Where a sequence begins, and how many tokens it has."""
    if PACKED:
        begin = _clamp(tl.load(cu_seqlens_ptr + row), 0, num_tokens)
        length = _clamp(tl.load(cu_seqlens_ptr + row + 1), begin, num_tokens) - begin
    else:
        begin = row * num_tokens
        length = row * 0 + num_tokens
        if HAS_LENGTHS:
            length = _clamp(tl.load(lengths_ptr + row), 0, num_tokens)
    return begin, length


@triton.jit
def pivot_mask_kernel(
    action_mask_ptr, turn_starts_ptr, pivots_ptr, cu_seqlens_ptr, loss_mask_ptr,
    num_tokens, num_turns, PACKED: tl.constexpr, PIVOTS_ARE_TURNS: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    begin, length = _span(row, None, cu_seqlens_ptr, num_tokens, PACKED, False)
    pivot = tl.load(pivots_ptr + row)
    start = pivot
    if PIVOTS_ARE_TURNS:
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
    base_ptr, base_lengths_ptr, base_cu_seqlens_ptr, base_tokens,
    retry_ptr, retry_lengths_ptr, retry_cu_seqlens_ptr, retry_tokens,
    points_ptr, PACKED: tl.constexpr, HAS_BASE_LENGTHS: tl.constexpr,
    HAS_RETRY_LENGTHS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    base_begin, base_length = _span(
        row, base_lengths_ptr, base_cu_seqlens_ptr, base_tokens, PACKED, HAS_BASE_LENGTHS
    )
    retry_begin, retry_length = _span(
        row, retry_lengths_ptr, retry_cu_seqlens_ptr, retry_tokens, PACKED, HAS_RETRY_LENGTHS
    )
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


def launch_pivot_mask(action_mask, turn_starts, pivots, cu_seqlens, loss_mask):
    """`turn_starts` is None where the pivots are tokens."""
    B = pivots.shape[0]
    if B == 0:
        return
    num_turns = 0 if turn_starts is None else turn_starts.shape[1]
    pivot_mask_kernel[(B, _PROGRAMS_PER_SEQUENCE)](
        action_mask, turn_starts, pivots, cu_seqlens, loss_mask,
        action_mask.shape[-1], num_turns, PACKED=cu_seqlens is not None,
        PIVOTS_ARE_TURNS=turn_starts is not None, BLOCK=_BLOCK,
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
