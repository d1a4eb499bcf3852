"""The checks of environment ids, masks and seeds."""

import sys
from collections.abc import Collection, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from fastrl._dispatch import Arguments, is_torch
from fastrl.envs.spaces import dtype_of

Ids = int | Sequence[int] | npt.NDArray[np.integer] | None
Seed = int | Sequence[int | None] | None
_MAX_SEED = 2**64 - 1


def check_ids(function: str, argument: str, ids: Ids) -> npt.NDArray[np.int64]:
    """Ids as an array [n]; the native side checks their range."""
    if type(ids) is np.ndarray and ids.dtype == np.int64 and ids.ndim == 1:
        flags = ids.flags
        if flags.c_contiguous and flags.aligned:
            return cast("npt.NDArray[np.int64]", ids)
    chosen = np.atleast_1d(as_numpy(Arguments(function), argument, ids))
    if chosen.size == 0:
        return np.empty(0, np.int64)
    error = Arguments(function).error
    if chosen.dtype.kind not in "iu":
        raise error(argument, "hold integers", chosen.dtype, kind=TypeError)
    if chosen.ndim != 1:
        raise error(argument, "have shape [n]", list(chosen.shape))
    if chosen.dtype == np.uint64 and chosen.max() > np.iinfo(np.int64).max:
        raise error(argument, "fit into 64 bits with a sign", chosen.max(), kind=IndexError)
    converted: npt.NDArray[np.int64] = np.require(chosen, np.int64, ["C", "A"])
    return converted


def check_mask(arguments: Arguments, name: str, mask: object, num_envs: int) -> None:
    """A mask of environments is a NumPy array of bool, [B]."""
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
        kind = mask.dtype if isinstance(mask, np.ndarray) else type(mask).__name__
        raise arguments.error(name, "be a NumPy array of bool", kind, kind=TypeError)
    if mask.shape != (num_envs,):
        raise arguments.error(name, f"have shape [B] = [{num_envs}]", list(mask.shape))


def check_reset_options(
    arguments: Arguments,
    options: dict[str, Any] | None,
    num_envs: int,
    known: list[str],
    choices: Collection[str] = (),
) -> tuple[npt.NDArray[np.bool_] | None, npt.NDArray[np.float64] | None]:
    """The reset mask, or None for a reset of all; and what the reset takes beside it.

    Args:
        arguments: Of `reset`.
        options: What the caller gave.
        num_envs: B.
        known: The numbers that the environment's reset takes.
        choices: Further keys, which `check_choice` reads.
    """
    if options is not None and not isinstance(options, dict):
        raise arguments.error("options", "be a dict", type(options).__name__, kind=TypeError)
    unknown = set(options or {}) - {"reset_mask", *known, *choices}
    if unknown:
        keys = " or ".join(f'"{key}"' for key in ("reset_mask", *known, *choices))
        raise arguments.error("options", f"have no key but {keys}", sorted(unknown))
    if not options:
        return None, None
    mask = options.get("reset_mask")
    if mask is not None:
        check_mask(arguments, "reset_mask", mask, num_envs)
        if not mask.any():
            raise arguments.error("reset_mask", "select at least one environment", "none")
        mask = np.ascontiguousarray(mask)
    numbers = None
    if any(options.get(name) is not None for name in known):
        numbers = np.full(len(known), np.nan)
        for i, name in enumerate(known):
            if options.get(name) is not None:
                numbers[i] = arguments.number(name, options[name])
        if {"low", "high"} <= set(known):
            low, high = (numbers[known.index(name)] for name in ("low", "high"))
            if low > high:
                raise arguments.error("low", f"be at most `high` = {high}", low)
    return mask, numbers


def check_choice(
    arguments: Arguments, name: str, value: object, count: int, num_envs: int
) -> npt.NDArray[np.int64] | None:
    """Which of `count` things each reset takes, [B], -1 to let it draw; None if not given."""
    if value is None:
        return None
    chosen = as_numpy(arguments, name, value)
    if chosen.dtype.kind not in "iu":
        raise arguments.error(name, "hold integers", chosen.dtype, kind=TypeError)
    if chosen.shape not in ((), (num_envs,)):
        raise arguments.error(
            name, f"be an integer or have shape [B] = [{num_envs}]", list(chosen.shape)
        )
    wrong = (chosen < -1) | (chosen >= count)
    if wrong.any():
        raise arguments.error(name, f"be from -1 to {count - 1}", chosen[wrong].flat[0])
    return np.ascontiguousarray(np.broadcast_to(chosen.astype(np.int64), (num_envs,)))


def as_numpy(arguments: Arguments, name: str, values: Any) -> npt.NDArray[Any]:
    """What NumPy makes of it; a tensor without its gradient."""
    if is_torch(values):
        if values.device.type != "cpu":
            raise arguments.error(name, "be on the CPU", values.device)
        if values.layout != sys.modules["torch"].strided:
            raise arguments.error(name, "be a dense tensor", f"layout {values.layout}")
        values = values.detach()
    return np.asarray(values)


def check_actions(
    arguments: Arguments,
    actions: Any,
    description: Any,
    leading: tuple[int, ...],
    active: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[Any]:
    """Actions as the native side reads them, which checks their range.

    Args:
        arguments: Of the function that got them.
        actions: Whatever NumPy can make an array of.
        description: Of the environment.
        leading: The dimensions before the action space's own.
        active: Where an action counts, or None.
    """
    field = description.action
    dtype = dtype_of(field)
    given = as_numpy(arguments, "actions", actions)
    kinds, numbers = ("iu", "integers") if dtype.kind in "iub" else ("f", "floating-point numbers")
    if given.dtype.kind not in kinds:
        raise arguments.error("actions", f"hold {numbers}", given.dtype, kind=TypeError)
    shape = (*leading, *field.shape)
    if given.shape != shape:
        letters = ", ".join(["T", "B"][-len(leading) :] + list("DEFG"[: len(field.shape)]))
        raise arguments.error(
            "actions", f"have shape [{letters}] = {list(shape)}", list(given.shape)
        )
    if dtype.kind in "iu" and given.size and not np.can_cast(given.dtype, dtype):
        # As a smaller integer these could be an action.
        limits = np.iinfo(dtype)
        wrong = (given > limits.max) | (given < limits.min)
        if active is not None:
            wrong &= active.reshape(active.shape + (1,) * (wrong.ndim - active.ndim))
        if wrong.any():
            place = np.argwhere(wrong)[0]
            low = -1 if description.is_text and not field.shape else int(field.low[0])
            raise arguments.error(
                "actions",
                f"be from {low} to {int(field.high[0])}",
                f"{given[tuple(place)]} for environment {place[len(leading) - 1]}",
            )
    converted: npt.NDArray[Any] = np.require(given, dtype, ["C", "A"])
    return converted


def check_outputs(
    arguments: Arguments,
    description: Any,
    num_envs: int,
    observations: tuple[Any, ...],
    rest: dict[str, Any],
    actions: npt.NDArray[Any],
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """The caller's arrays as NumPy sees them, or the error that says what is wrong with one."""
    fields = description.observations
    if len(observations) != len(fields):
        raise arguments.error("observations", f"hold {len(fields)} arrays", len(observations))
    wanted = [
        (
            f"observations[{field.name!r}]" if field.name else "observations",
            array,
            field.shape,
            dtype_of(field),
        )
        for field, array in zip(fields, observations, strict=True)
    ]
    for name, array in rest.items():
        wanted.append((name, array, [], np.dtype(np.float64 if name == "rewards" else np.bool_)))
    checked: list[npt.NDArray[Any]] = []
    before = [("actions", actions)]
    for name, array, shape, dtype in wanted:
        if is_torch(array):
            array = as_numpy(arguments, name, array)
        if not isinstance(array, np.ndarray):
            try:
                array = np.asarray(memoryview(array))
            except TypeError:
                rule = "be a NumPy array, a buffer or a tensor"
                raise arguments.error(name, rule, type(array).__name__, kind=TypeError) from None
        if array.dtype != dtype:
            raise arguments.error(name, f"have dtype {dtype}", array.dtype, kind=TypeError)
        if array.shape != (num_envs, *shape):
            raise arguments.error(name, f"have shape {[num_envs, *shape]}", list(array.shape))
        if not array.flags.carray:
            rule = "be contiguous, aligned and writable"
            raise arguments.error(name, rule, "an array that is not")
        for other, memory in before:
            if np.may_share_memory(array, memory):
                rule = f"not share memory with `{other}`"
                raise arguments.error(name, rule, "an array that does")
        before.append((name, array))
        checked.append(array)
    return tuple(checked[: len(fields)]), tuple(checked[len(fields) :])


def check_seed(
    arguments: Arguments, seed: Seed, mask: npt.NDArray[np.bool_] | None, num_envs: int
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.bool_]] | int | None:
    """None, one seed for the batch, or a seed for each and where these count."""
    if seed is None:
        return None
    if not isinstance(seed, Sequence | np.ndarray) or getattr(seed, "ndim", 1) == 0:
        return arguments.integer("seed", seed, low=0, high=_MAX_SEED)
    if len(seed) != num_envs:
        raise arguments.error("seed", f"hold B = {num_envs} seeds", len(seed))
    for one in seed:
        if one is not None:
            arguments.integer("seed", one, low=0, high=_MAX_SEED)
    seeds = np.array([0 if one is None else int(one) for one in seed], np.uint64)
    seeded = np.array([one is not None for one in seed], np.bool_)
    return seeds, seeded if mask is None else seeded & mask
