"""The arrays that steps write."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from fastrl import _core
from fastrl._dispatch import address
from fastrl.envs.spaces import DICT, TUPLE, dtype_of

Arrays = dict[str, Any]
Step = tuple[Any, Any, Any, Any, dict[str, Any]]


def step_of(outputs: Any) -> Step:
    """What was written to an output set, as a step returns it."""
    return (
        outputs.observation(),
        outputs.rewards,
        outputs.terminated,
        outputs.truncated,
        outputs.info_dict(),
    )


def allocate(
    description: Any,
    leading: tuple[int, ...],
    *,
    final: bool = False,
    empty: Callable[..., npt.NDArray[Any]] = np.zeros,
) -> Arrays:
    """Arrays of everything that steps write, by name; each owns its memory.

    Args:
        description: Of the environment.
        leading: The dimensions before one environment's own, such as [B] or [T, B].
        final: Whether to keep what ended episodes have to say (same-step mode). Only their rows
            are written; the others stay zero.
        empty: Makes an array from shape and dtype; `numpy.empty` where a step writes every row.
    """

    def rows(fields: list[Any], make: Callable[..., Any] = empty) -> list[npt.NDArray[Any]]:
        return [make((*leading, *field.shape), dtype_of(field)) for field in fields]

    arrays: Arrays = {
        "observations": rows(description.observations),
        "infos": rows(description.infos),
        "rewards": empty(leading, np.float64),
    }
    for flag in ("terminated", "truncated", "stepped", "informed"):
        arrays[flag] = empty(leading, np.bool_)
    if description.reports_success:
        arrays["success"] = empty(leading, np.bool_)
    if description.is_text:
        arrays["action_valid"] = empty(leading, np.bool_)
        arrays["lengths"] = empty(leading, np.int32)
    if final:
        arrays["final_observations"] = rows(description.observations, np.zeros)
        arrays["final_infos"] = rows(description.infos, np.zeros)
    return arrays


def addresses(arrays: Arrays) -> dict[str, int | list[int]]:
    """Where the arrays lie, as the native side takes it."""
    return {
        name: [address(one) for one in array] if isinstance(array, list) else address(array)
        for name, array in arrays.items()
    }


def info_entries(description: Any, arrays: Arrays) -> list[tuple[str, str, Any, Any]]:
    """(key, mask key, array, mask) of every info, in the order in which dicts have them."""
    stepped, informed = arrays["stepped"], arrays["informed"]
    entries = [
        (field.name, f"_{field.name}", array, informed if field.at_reset else stepped)
        for field, array in zip(description.infos, arrays["infos"], strict=True)
    ]
    return entries + [
        (name, f"_{name}", arrays[name], stepped)
        for name in ("action_valid", "success")
        if name in arrays
    ]


def structured(description: Any, arrays: list[Any]) -> Any:
    """An observation out of its arrays: the only one, a dict or a tuple."""
    if description.structure == DICT:
        return {
            field.name: array for field, array in zip(description.observations, arrays, strict=True)
        }
    return tuple(arrays) if description.structure == TUPLE else arrays[0]


def flat(description: Any, observation: Any) -> tuple[Any, ...]:
    """The arrays of an observation, in the order of the native side."""
    if description.structure == DICT:
        return tuple(observation[field.name] for field in description.observations)
    return tuple(observation) if description.structure == TUPLE else (observation,)


def make_output_set(native: Any, rows: int, final: Arrays | None) -> Any:
    """One set of arrays that a step of `rows` environments writes.

    Args:
        native: The environment.
        rows: How many.
        final: Arrays with "final_observations" and "final_infos" that all sets share, or None.
    """
    description = native.description
    arrays = allocate(description, (rows,))
    where = addresses(arrays)
    if final is not None:
        where |= addresses({name: final[name] for name in ("final_observations", "final_infos")})
    shown = {"lengths": None} | arrays
    return _core.OutputSet(native, where, shown, info_entries(description, arrays), final)
