"""The checks of environment ids, masks and seeds."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastrl._dispatch import Arguments

Ids = int | Sequence[int] | npt.NDArray[np.integer] | None
Seed = int | Sequence[int | None] | None
_MAX_SEED = 2**64 - 1


def check_ids(function: str, argument: str, ids: Ids) -> npt.NDArray[np.int64]:
    """Ids as an array [n]; the native side checks their range."""
    chosen = np.atleast_1d(np.asarray(ids))
    if chosen.size == 0:
        return np.empty(0, np.int64)
    error = Arguments(function).error
    if chosen.dtype.kind not in "iu":
        raise error(argument, "hold integers", chosen.dtype, kind=TypeError)
    if chosen.ndim != 1:
        raise error(argument, "have shape [n]", list(chosen.shape))
    if chosen.dtype == np.uint64 and chosen.max() > np.iinfo(np.int64).max:
        raise error(argument, "fit into 64 bits with a sign", chosen.max(), kind=IndexError)
    return np.ascontiguousarray(chosen, np.int64)


def check_mask(arguments: Arguments, name: str, mask: object, num_envs: int) -> None:
    """A mask of environments is a NumPy array of bool, [B]."""
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
        kind = mask.dtype if isinstance(mask, np.ndarray) else type(mask).__name__
        raise arguments.error(name, "be a NumPy array of bool", kind, kind=TypeError)
    if mask.shape != (num_envs,):
        raise arguments.error(name, f"have shape [B] = [{num_envs}]", list(mask.shape))


def check_reset_options(
    arguments: Arguments, options: dict[str, Any] | None, num_envs: int
) -> npt.NDArray[np.bool_] | None:
    """The reset mask, or None for a reset of all."""
    unknown = set(options or {}) - {"reset_mask"}
    if unknown:
        raise arguments.error("options", 'have no key but "reset_mask"', sorted(unknown))
    if not options:
        return None
    mask = options["reset_mask"]
    check_mask(arguments, "reset_mask", mask, num_envs)
    if not mask.any():
        raise arguments.error("reset_mask", "select at least one environment", "none")
    return np.ascontiguousarray(mask)


def check_seed(
    arguments: Arguments, seed: Seed, mask: npt.NDArray[np.bool_] | None, num_envs: int
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.bool_]] | int | None:
    """None, one seed for the batch, or a seed for each and where these count."""
    if seed is None:
        return None
    if not isinstance(seed, Sequence | np.ndarray):
        return arguments.integer("seed", seed, low=0, high=_MAX_SEED)
    if len(seed) != num_envs:
        raise arguments.error("seed", f"hold B = {num_envs} seeds", len(seed))
    for one in seed:
        if one is not None:
            arguments.integer("seed", one, low=0, high=_MAX_SEED)
    seeds = np.array([0 if one is None else int(one) for one in seed], np.uint64)
    seeded = np.array([one is not None for one in seed], np.bool_)
    return seeds, seeded if mask is None else seeded & mask
