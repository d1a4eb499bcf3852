"""Many steps in one call."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastrl._dispatch import Arguments, address
from fastrl.envs.arguments import as_numpy, check_actions
from fastrl.envs.outputs import addresses, allocate, flat, info_entries, structured
from fastrl.envs.spaces import dtype_of

if TYPE_CHECKING:
    from fastrl.envs.vector import VectorEnv


@dataclass(frozen=True)
class Unrolled:
    """T steps of B environments, time first; `observations[t]` is what step t led to.

    Attributes:
        observations: [T, B, …], an array, a dict or a tuple as the environment's.
        actions: [T, B, …].
        rewards: [T, B] float64.
        terminated: [T, B] bool.
        truncated: [T, B] bool.
        stepped: [T, B] bool; False where an environment was reset ("next_step") or rested.
        infos: By name [T, B, …], with masks.
        final_observations: [T, B, …] in "same_step" mode, where an episode ended; else None.
    """

    observations: Any
    actions: npt.NDArray[Any]
    rewards: npt.NDArray[np.float64]
    terminated: npt.NDArray[np.bool_]
    truncated: npt.NDArray[np.bool_]
    stepped: npt.NDArray[np.bool_]
    infos: dict[str, npt.NDArray[Any]]
    final_observations: Any = None


@dataclass(frozen=True)
class Rollout:
    """T steps of a policy, time first; `observations[t]` is what action t was chosen for.

    Attributes:
        observations: [T, B, …], an array, a dict or a tuple as the environment's.
        next_observations: [B, …], what follows the last step.
        actions: [T, B, …].
        rewards: [T, B] float64.
        terminated: [T, B] bool.
        truncated: [T, B] bool.
        stepped: [T, B] bool; False where an environment was reset instead ("next_step").
        extras: By name [T, B, …], what the policy said beside its actions.
        final_observations: [T, B, …] in "same_step" mode, where an episode ended; else None.
    """

    observations: Any
    next_observations: Any
    actions: npt.NDArray[Any]
    rewards: npt.NDArray[np.float64]
    terminated: npt.NDArray[np.bool_]
    truncated: npt.NDArray[np.bool_]
    stepped: npt.NDArray[np.bool_]
    extras: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    final_observations: Any = None


def unroll(env: "VectorEnv", actions: Any, steps: int | None, seed: int | None) -> Unrolled:
    """See `VectorEnv.unroll`."""
    arguments = Arguments("unroll")
    description = env._description
    if (actions is None) == (steps is None):
        raise arguments.error("steps", "be given exactly where actions are drawn", steps)
    if actions is None:
        drawn = arguments.integer("steps", steps, low=0)
        if seed is None:
            raise arguments.error("seed", "be given where actions are drawn", None)
        number = arguments.integer("seed", seed, low=0, high=2**64 - 1)
        if not all(map(np.isfinite, (*description.action.low, *description.action.high))):
            raise arguments.error("actions", "be given, as its space has no bounds", None)
        rows = np.empty(
            (drawn, env.num_envs, *description.action.shape), dtype_of(description.action)
        )
    else:
        given = as_numpy(arguments, "actions", actions)
        drawn, number = (len(given) if given.ndim else 0), 0
        rows = check_actions(arguments, given, description, (drawn, env.num_envs))
    shape = (drawn, env.num_envs)
    arrays = allocate(description, shape, final=env._same_step, empty=np.empty)
    env._native.unroll(drawn, address(rows), actions is None, number, addresses(arrays))
    infos: dict[str, npt.NDArray[Any]] = {}
    for key, mask_key, array, mask in info_entries(description, arrays):
        infos |= {key: array, mask_key: mask}
    return Unrolled(
        observations=structured(description, arrays["observations"]),
        actions=rows,
        rewards=arrays["rewards"],
        terminated=arrays["terminated"],
        truncated=arrays["truncated"],
        stepped=arrays["stepped"],
        infos=infos,
        final_observations=_final(env, arrays),
    )


def collect(env: "VectorEnv", policy: Callable[[Any], Any], steps: int) -> Rollout:
    """See `VectorEnv.collect`."""
    arguments = Arguments("collect")
    description = env._description
    length = arguments.integer("steps", steps, low=1)
    shape = (length, env.num_envs)
    arrays = allocate(description, shape, final=env._same_step, empty=np.empty)
    kept: dict[str, npt.NDArray[Any]] = {}
    present = env._observed(None)["observations"]
    observations = env._converted(structured(description, present))
    for t in range(length):
        said = policy(observations)
        chosen, extras = _said(arguments, said)
        row = check_actions(arguments, chosen, description, (env.num_envs,))
        values = {"actions": row} | {
            name: as_numpy(arguments, name, array) for name, array in extras.items()
        }
        for name, value in values.items():
            if t == 0:
                _check_extra(arguments, name, value.shape, env.num_envs)
                kept[name] = np.empty((length, *value.shape), value.dtype)
            elif name not in kept or value.shape != kept[name].shape[1:]:
                wanted = f"say {name!r} of one shape at every step"
                raise arguments.error("policy", wanted, f"{list(value.shape)} at step {t}")
        if kept.keys() != values.keys():
            missing = sorted(kept.keys() - values.keys())
            raise arguments.error("policy", f"say {missing} at every step", f"none at step {t}")
        for name, value in values.items():
            kept[name][t] = value
        for to, array in zip(arrays["observations"], flat(description, observations), strict=True):
            to[t] = array
        stepping = env.step(row)
        observations = stepping[0]
        outputs = env._ring.last
        arrays["rewards"][t] = outputs.rewards
        arrays["terminated"][t] = outputs.terminated
        arrays["truncated"][t] = outputs.truncated
        arrays["stepped"][t] = outputs.informed if env._same_step else outputs.stepped
        if env._same_step:
            final = flat(description, env.final_observations)
            for to, array in zip(arrays["final_observations"], final, strict=True):
                to[t] = array
    return Rollout(
        observations=structured(description, arrays["observations"]),
        next_observations=observations,
        actions=kept.pop("actions"),
        rewards=arrays["rewards"],
        terminated=arrays["terminated"],
        truncated=arrays["truncated"],
        stepped=arrays["stepped"],
        extras=kept,
        final_observations=_final(env, arrays),
    )


def _said(arguments: Arguments, said: Any) -> tuple[Any, dict[str, Any]]:
    """What a policy returned: actions, and arrays to keep beside them."""
    if not isinstance(said, tuple):
        return said, {}
    if len(said) != 2 or not isinstance(said[1], dict):
        kinds = ", ".join(type(part).__name__ for part in said)
        raise arguments.error(
            "policy", "return actions or (actions, dict of arrays)", f"({kinds})", kind=TypeError
        )
    if "actions" in said[1]:
        raise arguments.error("policy", 'name no extra "actions"', "one")
    return said


def _check_extra(arguments: Arguments, name: str, shape: tuple[int, ...], num_envs: int) -> None:
    if shape[:1] != (num_envs,):
        wanted = f"say {name!r} of shape [B = {num_envs}, …]"
        raise arguments.error("policy", wanted, list(shape))


def _final(env: "VectorEnv", arrays: dict[str, Any]) -> Any:
    if "final_observations" not in arrays:
        return None
    return structured(env._description, arrays["final_observations"])
