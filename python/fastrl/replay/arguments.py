"""The checks of a buffer's arguments, and arrays of what the caller passed."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastrl._dispatch import Arguments, dtype_name, is_torch
from fastrl.replay.fields import Leaf

AUTORESET_MODES = ("next_step", "same_step", "disabled")
OWN, SHARED, FILE = 0, 1, 2
MAX_DRAWS = 2**31 - 1


def check_rows(
    leaves: Sequence[Leaf],
    num_lanes: int,
    next_step: bool,
    fields: dict[str, Any],
    terminated: Any,
    truncated: Any,
    final_observations: Any,
    priorities: Any,
    lanes: Any,
) -> tuple[Any, ...]:
    """Arguments of `add` as the native side takes them, or an error that says what is wrong."""
    arguments = Arguments("add")
    if lanes is not None:
        lanes = check_integers(arguments, "lanes", lanes)
        num_lanes = len(lanes)
    leading = _leading(arguments, terminated, num_lanes)
    flags = [
        _check_flags(arguments, name, value, leading)
        for name, value in (("terminated", terminated), ("truncated", truncated))
    ]
    names = {leaf.path[0] for leaf in leaves}
    for name in fields:
        if name not in names:
            raise arguments.error("fields", f"be among {sorted(names)}", repr(name))
    for name in sorted(names - set(fields)):
        raise arguments.error(name, "be given", "nothing", kind=TypeError)
    rows: dict[str, Any] = {}
    for leaf in leaves:
        label, value = _find(arguments, "fields", fields, leaf)
        put(rows, leaf.path, converted(arguments, label, value, leading, leaf.shape, leaf.dtype))
    if final_observations is not None:
        if next_step:
            raise arguments.error(
                "final_observations",
                "be None with autoreset_mode='next_step', where the next row has them",
                type(final_observations).__name__,
            )
        final_observations = check_finals(arguments, leaves, final_observations, leading)
    if priorities is not None:
        priorities = converted(arguments, "priorities", priorities, leading, (), np.float64)
    return rows, *flags, final_observations, priorities, lanes


def check_finals(
    arguments: Arguments, leaves: Sequence[Leaf], given: Any, leading: tuple[int, ...]
) -> Any:
    """Final observations as the native side takes them."""
    name = "final_observations"
    if not any(leaf.is_observation for leaf in leaves):
        rule = "be None where fields have no 'observations'"
        raise arguments.error(name, rule, type(given).__name__)
    made: dict[str, Any] = {}
    for leaf in leaves:
        if leaf.is_observation:
            label, value = _find(arguments, name, given, leaf, skip=1)
            array = converted(arguments, label, value, leading, leaf.shape, leaf.dtype)
            put(made, (name, *leaf.path[1:]), array)
    return made[name]


def check_autoreset_mode(arguments: Arguments, mode: Any) -> str:
    """One of the modes, by its name or Gymnasium's."""
    if mode is None:
        return "disabled"
    # Gymnasium's AutoresetMode is an enum with these names.
    named = getattr(mode, "name", mode)
    return arguments.choice(
        "autoreset_mode", named.lower() if isinstance(named, str) else named, AUTORESET_MODES
    )


def place(arguments: Arguments, storage: Any) -> tuple[int, str]:
    """Where the memory of a buffer is."""
    if not isinstance(storage, str | os.PathLike):
        rule = "be 'memory', 'shared:NAME' or a path"
        raise arguments.error("storage", rule, repr(storage), kind=TypeError)
    where = os.fspath(storage)
    if not isinstance(where, str) or not where or "\0" in where:
        raise arguments.error("storage", "be 'memory', 'shared:NAME' or a path", repr(where))
    if where == "memory":
        return OWN, ""
    if where.startswith("shared:"):
        name = where.removeprefix("shared:")
        if not name or "/" in name or len(name) > 200:
            raise arguments.error("storage", "have a name without '/' after 'shared:'", repr(where))
        return SHARED, name
    return FILE, where


def put(into: dict[str, Any], path: Sequence[str], value: Any) -> None:
    """Writes a value into nested dicts."""
    for part in path[:-1]:
        into = into.setdefault(part, {})
    into[path[-1]] = value


def _leading(arguments: Arguments, terminated: Any, num_lanes: int) -> tuple[int, ...]:
    shape = checked_array(arguments, "terminated", terminated).shape
    if len(shape) not in (1, 2) or shape[-1] != num_lanes:
        rule = f"have shape [B] = [{num_lanes}] or [T, B] = [T, {num_lanes}]"
        raise arguments.error("terminated", rule, list(shape))
    return shape


def _check_flags(
    arguments: Arguments, name: str, value: Any, leading: tuple[int, ...]
) -> npt.NDArray[Any]:
    array = checked_array(arguments, name, value)
    if array.size and array.dtype not in (np.bool_, np.uint8):
        raise arguments.error(name, "have dtype bool or uint8", array.dtype, kind=TypeError)
    return converted(arguments, name, array.astype(np.bool_), leading, (), np.bool_)


def check_integers(
    arguments: Arguments, name: str, numbers: Any, letter: str = "B"
) -> npt.NDArray[np.int64]:
    """Whole numbers, as many as the letter stands for, or one."""
    chosen = np.atleast_1d(checked_array(arguments, name, numbers))
    if chosen.ndim != 1:
        raise arguments.error(name, f"have shape [{letter}]", list(chosen.shape))
    return as_integers(arguments, name, chosen)


def as_integers(
    arguments: Arguments, name: str, numbers: npt.NDArray[Any]
) -> npt.NDArray[np.int64]:
    """Whole numbers of any dtype and shape; of none, as in an empty list, the dtype is free."""
    if numbers.size and numbers.dtype.kind not in "iu":
        raise arguments.error(name, "hold integers", numbers.dtype, kind=TypeError)
    if numbers.size and not _fits(numbers, np.dtype(np.int64)):
        actual = _example(numbers, np.dtype(np.int64))
        raise arguments.error(name, "hold what int64 can hold", actual)
    return np.ascontiguousarray(numbers, np.int64)


def check_handles(
    arguments: Arguments, handles: Any, name: str = "handles"
) -> npt.NDArray[np.uint64]:
    """Handles, [n] uint64; of none, as in an empty list, the dtype is free."""
    chosen = checked_array(arguments, name, handles)
    if chosen.size and (chosen.dtype.kind != "u" or chosen.dtype.itemsize != 8):
        raise arguments.error(name, "have dtype uint64", chosen.dtype, kind=TypeError)
    if chosen.ndim != 1:
        raise arguments.error(name, "have shape [n]", list(chosen.shape))
    return np.ascontiguousarray(chosen, np.uint64)


def check_mask(arguments: Arguments, mask: Any, n: int) -> npt.NDArray[np.bool_]:
    """A mask, [n] bool."""
    chosen: npt.NDArray[np.bool_] = checked_array(arguments, "which", mask)
    if chosen.dtype != np.bool_ or chosen.shape != (n,):
        actual = f"{chosen.dtype} {list(chosen.shape)}"
        raise arguments.error("which", f"be a mask, bool of shape [n] = [{n}]", actual)
    return chosen


def check_function(
    arguments: Arguments, argument: str, value: object, *, optional: bool = False
) -> None:
    """Raises where this is nothing to call."""
    if not callable(value) and not (optional and value is None):
        rule = "be a function or None" if optional else "be a function"
        raise arguments.error(argument, rule, type(value).__name__, kind=TypeError)


def check_names(arguments: Arguments, argument: str, names: Any) -> list[str]:
    """A list of strings."""
    if not isinstance(names, str | Mapping):
        try:
            listed = list(names)
        except TypeError:  # arrays without dimensions say that they can be iterated
            listed = [names]
        if all(isinstance(name, str) for name in listed):
            return listed
    raise arguments.error(argument, "be a list of names", repr(names))


def check_state(arguments: Arguments, state: Any, names: Iterable[str]) -> None:
    """That a state is a dict and has all of these."""
    if not isinstance(state, Mapping):
        raise arguments.error("state", "be a dict", type(state).__name__, kind=TypeError)
    for name in names:
        if name not in state:
            raise arguments.error("state", f"have {name!r}", sorted(str(key) for key in state))


def checked_array(arguments: Arguments, name: str, value: Any) -> npt.NDArray[Any]:
    """An array of what a caller passed, or the error that says why it is none."""
    try:
        array = as_numpy(value)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        actual = f"a {type(value).__name__} that is none"
        if is_torch(value):
            actual = f"a tensor of {dtype_name(value)}, {value.layout} on {value.device}"
        raise arguments.error(name, "be an array", actual, kind=TypeError) from error
    if array.dtype.hasobject:
        actual = type(value).__name__ if array.ndim == 0 else f"dtype {array.dtype}"
        raise arguments.error(name, "be an array of numbers", actual, kind=TypeError)
    return array


def as_numpy(value: Any) -> npt.NDArray[Any]:
    """An array of anything: torch tensors of the CPU share their memory, bfloat16 is widened."""
    if not is_torch(value):
        return np.asarray(value)
    tensor = value.detach()
    widened = tensor.float() if dtype_name(tensor) == "bfloat16" else tensor
    array: npt.NDArray[Any] = widened.cpu().numpy()
    return array


def _find(
    arguments: Arguments, name: str, given: Any, leaf: Leaf, *, skip: int = 0
) -> tuple[str, Any]:
    """A field's value in what the caller passed, and what to call it in an error."""
    label = name
    for depth in range(skip, len(leaf.path)):
        if not isinstance(given, Mapping):
            raise arguments.error(label, "be a dict", type(given).__name__, kind=TypeError)
        part = leaf.path[depth]
        unknown = len(given) != leaf.siblings[depth]
        if part not in given or unknown:
            rule = f"have {leaf.siblings[depth]} fields" if unknown else f"have {part!r}"
            raise arguments.error(label, rule, sorted(str(key) for key in given))
        given = given[part]
        label = part if label == "fields" else f"{label}[{part!r}]"
    return label, given


def converted(
    arguments: Arguments,
    label: str,
    value: Any,
    leading: tuple[int, ...],
    shape: tuple[int, ...],
    dtype: npt.DTypeLike,
    letters: tuple[str, ...] = ("T", "B"),
) -> npt.NDArray[Any]:
    """A contiguous array of the field's dtype, or the error that says what is wrong.

    The last of the `letters` name the sizes of `leading`.
    """
    array = checked_array(arguments, label, value)
    wanted = np.dtype(dtype)
    expected = (*leading, *shape)
    if array.shape != expected:
        sizes = [*letters[-len(leading) :], *(str(size) for size in shape)]
        rule = f"have shape [{', '.join(sizes)}] = {list(expected)}"
        raise arguments.error(label, rule, list(array.shape))
    if array.size and array.dtype != wanted and not _fits(array, wanted):
        rule = f"hold what {wanted} can hold"
        raise arguments.error(label, rule, _example(array, wanted), kind=TypeError)
    made: npt.NDArray[Any] = np.require(array, wanted, ["C", "A"])
    return made


def _fits(array: npt.NDArray[Any], wanted: np.dtype[Any]) -> bool:
    if array.dtype.kind in "iu" and wanted.kind in "iu":
        limits = np.iinfo(wanted)
        return array.size == 0 or (array.min() >= limits.min and array.max() <= limits.max)
    return np.can_cast(array.dtype, wanted, "same_kind")


def _example(array: npt.NDArray[Any], wanted: np.dtype[Any]) -> str:
    if array.dtype.kind in "iu" and wanted.kind in "iu":
        limits = np.iinfo(wanted)
        return str(array[(array < limits.min) | (array > limits.max)].flat[0])
    return str(array.dtype)
