"""The form of what one reset or step returned."""

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv

from fastrl.envs.testing.structures import as_numpy, form, misfit

Fail = Callable[[str, str], None]


def check_returned(env: VectorEnv[Any, Any, Any], returned: Any, fail: Fail) -> None:
    """Calls `fail` with the rule and what is wrong."""
    expected = "a tuple of 2 of a reset or 5 of a step, infos a dict"
    if not isinstance(returned, tuple) or len(returned) not in (2, 5):
        raise AssertionError(f"check_vector_env: returns: {env} must return {expected}")
    *parts, infos = returned
    if not isinstance(infos, dict):
        raise AssertionError(f"check_vector_env: returns: {env} must return {expected}")
    text = misfit(env.observation_space, as_numpy(parts[0]), "observations")
    if text is not None:
        fail("observations", text)
    if len(parts) > 1:
        _, rewards, terminated, truncated = as_numpy(parts)
        _check_vector(env, "rewards", "rewards", rewards, "f", fail)
        _check_vector(env, "flags", "terminated", terminated, "b", fail)
        _check_vector(env, "flags", "truncated", truncated, "b", fail)
    check_infos(env, as_numpy(infos), "infos", fail)


def _check_vector(
    env: VectorEnv[Any, Any, Any], rule: str, name: str, value: Any, kind: str, fail: Fail
) -> None:
    if (
        not isinstance(value, np.ndarray)
        or value.dtype.kind != kind
        or value.shape != (env.num_envs,)
    ):
        of = {"f": "floats", "b": "bool"}[kind]
        expected = f"an array of {of}, [B] = [{env.num_envs}]"
        fail(rule, f"{name} must be {expected}, got {form(value)}")
    elif not np.isfinite(value).all():
        fail(rule, f"{name} must be finite, got {value}")


def check_infos(
    env: VectorEnv[Any, Any, Any], infos: dict[str, Any], name: str, fail: Fail
) -> None:
    """Masks are there at the top and in final_info; dicts further inside may do without."""
    needs_masks = name in ("infos", "infos['final_info']")
    for key, value in infos.items():
        place = f"{name}[{key!r}]"
        if key.startswith("_") and key[1:] in infos:
            is_mask = isinstance(value, np.ndarray) and value.dtype == np.bool_
            if not is_mask or value.shape != (env.num_envs,):
                fail("info_masks", f"{place} must be a mask of bool, [B], got {value!r}")
            continue
        if needs_masks and f"_{key}" not in infos:
            fail("info_masks", f"{place} needs a mask {name}['_{key}']")
        if isinstance(value, dict):
            check_infos(env, value, place, fail)
        elif isinstance(value, np.ndarray):
            if value.ndim == 0 or len(value) != env.num_envs:
                fail("info_masks", f"{place} must have B = {env.num_envs} rows, got {value.shape}")
        elif not isinstance(value, tuple | list) or len(value) != env.num_envs:
            fail("info_masks", f"{place} must be an array of B rows or a dict, got {value!r}")
