"""Which tokens of a trajectory are credited: masks over the turns of a retry and its base.

CPU arrays run C++, CUDA tensors run Triton without a host synchronization.
"""

from fastrl import _core
from fastrl._dispatch import (
    INTEGERS,
    MASKS,
    Arguments,
    Array,
    address,
    backend,
    contiguous,
    dtype_name,
    empty,
    is_torch,
    on_device_of,
)


def pivot_mask(
    action_mask: Array,
    turn_starts: Array | None = None,
    pivot_turns: Array | None = None,
    *,
    pivot_tokens: Array | None = None,
    cu_seqlens: Array | None = None,
) -> Array:
    """The action mask without the tokens before the pivot: the loss mask of a retry pair.

        loss_mask[b, t] = action_mask[b, t]  where t ≥ turn_starts[b, pivot_turns[b]], else 0

    A retry shares everything before its pivot turn with its base, so neither is credited for it:
    give both the same pivot. −1 means that there was no retry, and 0 that it started from the
    beginning; both leave the row as it is.

    Where nobody declared a turn, the pivot is the token at which the two part:

        loss_mask[b, t] = action_mask[b, t]  where t ≥ pivot_tokens[b], else 0

    with `pivot_tokens=divergence_points(base, retry)`. −1 (identical) leaves the row as it is, and
    the length of the row (the other sequence continues it) masks all of it.

    Args:
        action_mask: [B, L], or packed [N] with `cu_seqlens`; bool or uint8.
        turn_starts: [B, K] int32 or int64, the first token of each turn, counted from the start
            of its own sequence, never decreasing along a row. A row with fewer than K turns is
            filled up with −1 or with L: entries that are no position of the sequence.
        pivot_turns: [B] int32 or int64, −1 for none.
        pivot_tokens: [B] int32 or int64, from −1 to the length of each sequence; instead of
            `turn_starts` and `pivot_turns`.
        cu_seqlens: [B + 1] int32 for packed tokens: sequence i has tokens cu_seqlens[i] up to
            cu_seqlens[i + 1].

    Returns:
        Shape, dtype, framework and device of `action_mask`. On the CPU a pivot that its row does
        not have, and cu_seqlens that do not go from 0 to N, are errors. On CUDA, where looking
        would cost a synchronization, the values are not checked: such a pivot masks the whole row,
        and wrong cu_seqlens leave the result undefined without touching other memory.

    Reference: Shi et al., "R³L", 2026, section 4.2. Specification:
    `fastrl.reference.credit.pivot_mask`.
    """
    check = Arguments("pivot_mask")
    check.array("action_mask", action_mask, ["B", "L"] if cu_seqlens is None else ["N"], MASKS)
    starts, pivots = _checked_pivots(check, turn_starts, pivot_turns, pivot_tokens)
    ends = None
    if cu_seqlens is not None:
        ends = _checked_ends(check, "cu_seqlens", cu_seqlens, check.size("B"))
    action_mask = contiguous(action_mask)
    loss_mask = empty(action_mask, action_mask.shape)
    if is_torch(action_mask) and backend(action_mask) == "triton":
        from fastrl.kernels.credit import launch_pivot_mask

        with on_device_of(action_mask):
            launch_pivot_mask(action_mask, starts, pivots, ends, loss_mask)
    else:
        _core.pivot_mask(
            address(action_mask),
            address(starts),
            address(pivots),
            check.size("B"),
            0 if starts is None else check.size("K"),
            check.size("L" if ends is None else "N"),
            address(ends),
            address(loss_mask),
        )
    return loss_mask


def divergence_points(
    base: Array,
    retry: Array,
    *,
    base_lengths: Array | None = None,
    retry_lengths: Array | None = None,
    base_cu_seqlens: Array | None = None,
    retry_cu_seqlens: Array | None = None,
) -> Array:
    """Where pairs of token sequences part: the pivot when nobody declared one.

    The first position at which the two differ. Where one sequence continues the other, it is the
    length of the shorter one; where they are identical, −1, as for a pivot that does not exist.
    `pivot_mask` takes the result as its `pivot_tokens`.

    Args:
        base: [B, L] token ids, int32 or int64, or packed [N] with `base_cu_seqlens`.
        retry: Likewise, dtype of `base`; its L or N may be another.
        base_lengths: [B] int32 or int64, how many tokens of each padded row count; None for all.
        retry_lengths: Likewise.
        base_cu_seqlens: [B + 1] int32 for packed tokens, as in `pivot_mask`.
        retry_cu_seqlens: Likewise; both or neither are packed.

    Returns:
        [B] int32, framework and device of `base`. On the CPU lengths that are not in [0, L], and
        cu_seqlens that do not go from 0 to N, are errors. On CUDA, where looking would cost a
        synchronization, the values are not checked: they are clamped to the tokens that there are.
        Specification: `fastrl.reference.credit.divergence_points`.
    """
    check = Arguments("divergence_points")
    packed = base_cu_seqlens is not None
    if packed != (retry_cu_seqlens is not None):
        raise check.error(
            "retry_cu_seqlens",
            f"{'be given' if packed else 'be None'}, as `base_cu_seqlens` is",
            "None" if packed else "an array",
        )
    check.array("base", base, ["N"] if packed else ["B", "L"], INTEGERS)
    check.array("retry", retry, ["M"] if packed else ["B", "M"], [dtype_name(base)])
    base_ends = retry_ends = None
    if packed:
        base_ends = _checked_ends(check, "base_cu_seqlens", base_cu_seqlens)
        retry_ends = _checked_ends(check, "retry_cu_seqlens", retry_cu_seqlens)
        batch = check.size("B + 1") - 1
    else:
        batch = check.size("B")
    base_counts = _checked_lengths(check, "base_lengths", base_lengths, packed)
    retry_counts = _checked_lengths(check, "retry_lengths", retry_lengths, packed)
    base, retry = contiguous(base), contiguous(retry)
    points = empty(base, [batch], "int32")
    if is_torch(base) and backend(base) == "triton":
        from fastrl.kernels.credit import launch_divergence_points

        with on_device_of(base):
            launch_divergence_points(
                base, base_counts, base_ends, retry, retry_counts, retry_ends, points
            )
    else:
        _core.divergence_points(
            address(base),
            check.size("N" if packed else "L"),
            address(base_counts),
            address(base_ends),
            address(retry),
            check.size("M"),
            address(retry_counts),
            address(retry_ends),
            batch,
            dtype_name(base) == "int64",
            address(points),
        )
    return points


def _checked_pivots(
    check: Arguments, turn_starts: Array | None, pivot_turns: Array | None, tokens: Array | None
) -> tuple[Array | None, Array]:
    """[B, K] turn starts and [B] pivot turns, or None and [B] pivot tokens, as int64."""
    for name, value in [("turn_starts", turn_starts), ("pivot_turns", pivot_turns)]:
        if (value is None) == (tokens is None):
            given = tokens is None
            raise check.error(
                name,
                "be given when `pivot_tokens` is not"
                if given
                else "be None when `pivot_tokens` is given",
                "None" if given else "an array",
            )
    if tokens is not None:
        check.array("pivot_tokens", tokens, ["B"], INTEGERS)
        return None, contiguous(tokens, "int64")
    check.array("turn_starts", turn_starts, ["B", "K"], INTEGERS)
    check.array("pivot_turns", pivot_turns, ["B"], INTEGERS)
    return contiguous(turn_starts, "int64"), contiguous(pivot_turns, "int64")


def _checked_ends(
    check: Arguments, name: str, cu_seqlens: Array, batch: int | None = None
) -> Array:
    """[B + 1] ends of packed sequences; `batch` where another array has told it."""
    check.array(name, cu_seqlens, ["B + 1"], ["int32"])
    if batch is not None and len(cu_seqlens) != batch + 1:
        raise check.error(name, f"have shape [B + 1] = [{batch + 1}]", f"[{len(cu_seqlens)}]")
    if len(cu_seqlens) == 0:
        raise check.error(name, "have shape [B + 1]", "[0]")
    return contiguous(cu_seqlens)


def _checked_lengths(
    check: Arguments, name: str, lengths: Array | None, packed: bool
) -> Array | None:
    """[B] lengths as int64, for padded rows only."""
    if lengths is None:
        return None
    if packed:
        raise check.error(name, "be None for packed sequences", "an array")
    check.array(name, lengths, ["B"], INTEGERS)
    return contiguous(lengths, "int64")
