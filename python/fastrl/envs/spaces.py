"""Gymnasium's spaces of what the native side describes."""

from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt

DTYPES: tuple[npt.DTypeLike, ...] = (
    np.bool_,
    np.int8,
    np.uint8,
    np.int32,
    np.int64,
    np.float32,
    np.float64,
)
"""By the number that csrc/envs/environment_table.h gives each."""

_BOX, DISCRETE, _MULTI_DISCRETE, _MULTI_BINARY = range(4)
SINGLE, DICT, TUPLE = range(3)


def dtype_of(field: Any) -> np.dtype[Any]:
    """The dtype of a native field."""
    number: int = field.dtype
    return np.dtype(DTYPES[number])


def field_space(field: Any) -> gymnasium.Space[Any]:
    """The space of one array."""
    dtype = dtype_of(field)
    shape = tuple(field.shape)
    low, high = np.array(field.low), np.array(field.high)
    if field.space == DISCRETE:
        return gymnasium.spaces.Discrete(int(high[0] - low[0]) + 1, start=int(low[0]))
    if field.space == _MULTI_BINARY:
        return gymnasium.spaces.MultiBinary(shape[0])
    if field.space == _MULTI_DISCRETE:
        sizes = np.broadcast_to((high - low + 1).astype(dtype), shape)
        return gymnasium.spaces.MultiDiscrete(sizes.copy(), dtype=dtype.type)
    return gymnasium.spaces.Box(
        np.broadcast_to(_bounds(low, shape, dtype), shape).copy(),
        np.broadcast_to(_bounds(high, shape, dtype), shape).copy(),
        dtype=dtype.type,
    )


def observation_space(description: Any) -> gymnasium.Space[Any]:
    """The space of one environment's observation: an array, a dict or a tuple."""
    spaces = [field_space(field) for field in description.observations]
    if description.structure == DICT:
        names = [field.name for field in description.observations]
        return gymnasium.spaces.Dict(dict(zip(names, spaces, strict=True)))
    if description.structure == TUPLE:
        return gymnasium.spaces.Tuple(spaces)
    return spaces[0]


def _bounds(
    bounds: npt.NDArray[np.float64], shape: tuple[int, ...], dtype: np.dtype[Any]
) -> npt.NDArray[Any]:
    given = bounds.astype(dtype)
    return given.reshape(shape) if given.size > 1 else given
