"""Observations and infos as trees of arrays: copied, compared, fitted to spaces, overwritten."""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector.utils import concatenate, create_empty_array, iterate

from fastrl._dispatch import is_torch
from fastrl.envs.testing import exact


def as_numpy(tree: Any) -> Any:
    """The same tree with NumPy arrays in the place of other frameworks' arrays, not copied."""
    if isinstance(tree, dict):
        return {key: as_numpy(value) for key, value in tree.items()}
    if isinstance(tree, tuple | list):
        return type(tree)(as_numpy(value) for value in tree)
    if is_torch(tree):
        return tree.detach().cpu().numpy()
    if hasattr(tree, "__dlpack__") and not isinstance(tree, np.ndarray | np.generic):
        return np.asarray(tree)
    return tree


def copied(tree: Any) -> Any:
    """A copy that shares no memory with the tree, as NumPy arrays."""
    return deepcopy(as_numpy(tree))


def leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf with the way to it, as in ("['board']", array)."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from leaves(value, f"{path}[{key!r}]")
    elif isinstance(tree, tuple | list):
        for i, value in enumerate(tree):
            yield from leaves(value, f"{path}[{i}]")
    else:
        yield path, tree


def difference(a: Any, b: Any, path: str) -> str | None:
    """Where and how two trees differ, None if they are equal to the bit."""
    found = exact.difference(a, b, path)
    return None if found is None else f"{found.path} is {found.expected} and {found.got}"


def misfit(space: gymnasium.Space[Any], value: Any, path: str = "") -> str | None:
    """Why a value is not in a space, None if it is; stricter than `contains` about dtypes."""
    if isinstance(space, gymnasium.spaces.Dict):
        if not isinstance(value, dict) or value.keys() != space.spaces.keys():
            got = sorted(value) if isinstance(value, dict) else type(value).__name__
            return f"{path} must be a dict of {sorted(space.spaces)}, got {got}"
        parts = [(space[key], value[key], f"{path}[{key!r}]") for key in space.spaces]
    elif isinstance(space, gymnasium.spaces.Tuple):
        if not isinstance(value, tuple) or len(value) != len(space.spaces):
            return f"{path} must be a tuple of {len(space.spaces)}, got {type(value).__name__}"
        parts = [(one, value[i], f"{path}[{i}]") for i, one in enumerate(space.spaces)]
    else:
        return _leaf_misfit(space, value, path)
    found = (misfit(*part) for part in parts)
    return next((text for text in found if text is not None), None)


def _leaf_misfit(space: gymnasium.Space[Any], value: Any, path: str) -> str | None:
    spaces = gymnasium.spaces
    if isinstance(space, spaces.Box | spaces.MultiDiscrete | spaces.MultiBinary):
        if not isinstance(value, np.ndarray):
            return f"{path} must be an array, got {type(value).__name__}"
        if value.shape != space.shape or value.dtype != space.dtype:
            expected = f"{np.dtype(space.dtype)}{list(space.shape)}"
            return f"{path} must be {expected}, got {form(value)}"
    if not space.contains(value):
        return f"{path} must be in {space}, got {value!r}"
    return None


def rows(space: gymnasium.Space[Any], batch: Any) -> list[Any]:
    """A batch as one value for each environment."""
    return list(iterate(space, batch))


def batched(single_space: gymnasium.Space[Any], values: Sequence[Any]) -> Any:
    """The inverse of `rows`."""
    out: Any = create_empty_array(single_space, n=len(values), fn=np.zeros)
    return concatenate(single_space, values, out)


def overwrite(tree: Any) -> None:
    """Fills every array that can be written with something else than it holds."""
    for _, leaf in leaves(as_numpy(tree)):
        if not isinstance(leaf, np.ndarray) or not leaf.flags.writeable:
            continue
        if leaf.dtype == np.bool_:
            leaf[...] = ~leaf
        elif leaf.dtype.kind == "f":
            leaf[...] = np.nan
        elif leaf.dtype.kind in "iu":
            leaf[...] = np.iinfo(leaf.dtype).max


def form(value: Any) -> str:
    """As in "float32[3, 4]", or the type's name."""
    is_array = isinstance(value, np.ndarray)
    return f"{value.dtype}{list(value.shape)}" if is_array else type(value).__name__
