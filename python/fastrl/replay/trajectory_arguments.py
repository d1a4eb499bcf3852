"""What a call of `TrajectoryStore` is given: checked, and as the native code wants it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastrl._dispatch import (
    INTEGERS,
    MASKS,
    Arguments,
    Array,
    contiguous,
    device_name,
    dtype_name,
    is_torch,
)
from fastrl.replay.arguments import as_integers, checked_array

Column = str | tuple[Sequence[int], str]
"""A dtype, or a shape and a dtype, of what is kept per trajectory or per token."""

TRAJECTORY_ARRAYS = (
    "handles", "group_ids", "policy_versions", "created", "rewards", "advantages", "use_counts",
    "successes",
)  # fmt: skip
_DTYPES = (
    "bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64",
)  # fmt: skip
_TAKEN = {
    *TRAJECTORY_ARRAYS, "token_ids", "action_mask", "log_probs", "cu_seqlens", "cu_groups",
    "attention_mask", "lengths", "group_successes", "weights", "probabilities",
}  # fmt: skip


def limit(check: Arguments, name: str, value: int | None, *, low: int) -> int:
    """A limit, −1 for none."""
    return -1 if value is None else check.integer(name, value, low=low, high=2**62)


def parsed_columns(
    check: Arguments, argument: str, given: Mapping[str, Column] | None, own: Mapping[str, Column]
) -> dict[str, tuple[list[int], str, int]]:
    """Shape, dtype and bytes of each column."""
    parsed = {}
    if given is not None and not isinstance(given, Mapping):
        raise check.error(argument, "be a dict or None", type(given).__name__, kind=TypeError)
    for name in given or {}:
        if not isinstance(name, str) or not name.isidentifier() or name in _TAKEN:
            raise check.error(argument, "have names that are free and identifiers", repr(name))
    for name, column in {**own, **(given or {})}.items():
        of: Any = ((), column) if isinstance(column, str) else column
        if not (isinstance(of, tuple | list) and len(of) == 2 and isinstance(of[0], Sequence)):
            rule = "be a dtype or (shape, dtype)"
            raise check.error(f"{argument}[{name!r}]", rule, repr(column), kind=TypeError)
        shape, dtype = of
        if not isinstance(dtype, str) or dtype not in _DTYPES:
            listed = ", ".join(_DTYPES)
            raise check.error(f"{argument}[{name!r}]", f"have a dtype out of {listed}", repr(dtype))
        sizes = [check.integer(f"{argument}[{name!r}]", size, low=1) for size in shape]
        width = math.prod(sizes) * np.dtype(dtype).itemsize
        if width >= 2**31:
            raise check.error(f"{argument}[{name!r}]", "have less than 2^31 bytes", width)
        parsed[name] = (sizes, dtype, width)
    return parsed


def declared_columns(
    parsed: Mapping[str, tuple[list[int], str, int]], own: Mapping[str, Column]
) -> dict[str, tuple[list[int], str]]:
    """Columns as the caller declared them, in JSON's types."""
    return {n: (shape, dtype) for n, (shape, dtype, _) in parsed.items() if n not in own}


def as_numpy(array: Array) -> Array:
    """The array, or the memory of a CPU tensor, as NumPy sees it."""
    return array.detach().numpy() if is_torch(array) else array


def contiguous_numpy(array: Array | None) -> Array | None:
    """The same as one piece of memory; None stays."""
    return None if array is None else contiguous(as_numpy(array))


def as_framework(array: Array, like: Array) -> Array:
    """A NumPy array as the framework of `like`."""
    if not is_torch(like):
        return array
    import torch

    return torch.from_numpy(array)


def check_on_cpu(
    check: Arguments, name: str, array: Array, shape: Sequence[str | int], dtypes: Sequence[str]
) -> None:
    """`check.array` of a call's first array; all others must then be where it is."""
    check.array(name, array, shape, dtypes)
    if device_name(array) != "cpu":
        hint = "move all arrays with `.cpu()`"
        raise check.error(name, "be on the CPU", device_name(array), hint=hint)


def finite_vectors(
    check: Arguments, name: str, vectors: Array, count: str, dim: int | str
) -> Array:
    """[count, dim] float32 without infinities and NaN."""
    check_on_cpu(check, name, vectors, [count, dim], ["float32"])
    found = contiguous(as_numpy(vectors))
    if not np.isfinite(found).all():
        raise check.error(name, "be finite", "NaN or infinity")
    return found


def checked_handles(check: Arguments, handles: Array) -> Array:
    """[B] int64."""
    check_on_cpu(check, "handles", handles, ["B"], ["int64"])
    return contiguous(as_numpy(handles))


def per_trajectory(check: Arguments, name: str, value: Array | int, batch: int) -> Array:
    """[B] int64 of one number or of an array."""
    if isinstance(value, int | np.integer):
        high = 2**63 - 1
        return np.full(batch, check.integer(name, value, low=-high, high=high), np.int64)
    check.array(name, value, ["B"], ["int64"])
    return contiguous(as_numpy(value))


def numbers_of_rows(
    check: Arguments, name: str, numbers: Array | int | None, rows: Any, count: int
) -> Array | int | None:
    """One number stays, and None; of an array with one for each of `count` those of the rows."""
    if numbers is None or isinstance(numbers, int | np.integer):
        return numbers
    given = as_integers(check, name, checked_array(check, name, numbers))
    if given.shape != (count,):
        raise check.error(name, f"have shape [B] = [{count}]", list(given.shape))
    return given if rows is None else given[rows]


def checked_ends(
    check: Arguments,
    token_ids: Array,
    cu_seqlens: Array | None,
    attention_mask: Array | None,
    lengths: Array | None,
) -> Array | None:
    """Checks what says where trajectories end; their ends where the tokens are padded."""
    given = [value is not None for value in (cu_seqlens, attention_mask, lengths)]
    if sum(given) != 1:
        raise check.error(
            "cu_seqlens", "be given, or `attention_mask`, or `lengths`", f"{sum(given)} of them"
        )
    if cu_seqlens is not None:
        check.array("cu_seqlens", cu_seqlens, ["B + 1"], ["int32"])
        ends = as_numpy(cu_seqlens)
        tokens = token_ids.shape[0]
        if len(ends) == 0 or ends[0] != 0 or ends[-1] != tokens or (np.diff(ends) < 1).any():
            rule = f"rise from 0 to the {tokens} tokens, at least 1 a trajectory"
            raise check.error("cu_seqlens", rule, ends.tolist() if len(ends) < 9 else "others")
        check.array("cu_seqlens", cu_seqlens[1:], ["B"], ["int32"])
        return None
    if attention_mask is not None:
        check.array("attention_mask", attention_mask, ["B", "L"], MASKS)
        counts = np.count_nonzero(as_numpy(attention_mask), axis=1)
    else:
        check.array("lengths", lengths, ["B"], INTEGERS)
        counts = as_numpy(lengths)
        if (counts > token_ids.shape[1]).any():
            rule = f"be at most L = {token_ids.shape[1]}"
            raise check.error("lengths", rule, int(counts.max()))
    if (counts < 1).any():
        name = "attention_mask" if attention_mask is not None else "lengths"
        rule = "leave at least 1 token of each trajectory"
        raise check.error(name, rule, f"{int(counts.min())} for row {int(counts.argmin())}")
    total = int(counts.sum())
    if total >= 2**31:
        raise check.error("token_ids", "hold less than 2^31 tokens", total)
    return np.concatenate(([0], np.cumsum(counts))).astype(np.int32)


def packed_tokens(
    check: Arguments,
    tokens: dict[str, Array],
    attention_mask: Array | None,
    lengths: Array | None,
) -> dict[str, Array]:
    """The tokens without padding, ids as int32."""
    used = None
    if attention_mask is not None:
        used = as_numpy(attention_mask) != 0
    elif lengths is not None:
        used = np.arange(tokens["token_ids"].shape[1]) < as_numpy(lengths)[:, None]
    packed = {
        name: as_numpy(array) if used is None else as_numpy(array)[used]
        for name, array in tokens.items()
    }
    ids = packed["token_ids"]
    if dtype_name(ids) == "int64" and ids.size > 0:
        low, high = int(ids.min()), int(ids.max())
        if low < -(2**31) or high >= 2**31:
            raise check.error(
                "token_ids", "be in the range of int32", low if low < -(2**31) else high
            )
        packed["token_ids"] = ids.astype(np.int32)
    return packed
