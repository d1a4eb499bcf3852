"""Rollouts of a vectorized environment, recorded so that two of them can be compared."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium.vector import AutoresetMode, VectorEnv

from fastrl.envs.testing.structures import as_numpy, copied, difference, overwrite, rows

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Moment:
    """Copies of what one reset or step returned."""

    step: int  # 0: the reset before the first step
    is_reset: bool
    observations: Any
    rewards: Any = None
    terminated: Any = None
    truncated: Any = None
    infos: Any = None

    @property
    def name(self) -> str:
        """As in "step 12"."""
        if self.step == 0:
            return "reset"
        return f"reset after step {self.step}" if self.is_reset else f"step {self.step}"

    @property
    def ended(self) -> Flags:
        """Where an episode ended."""
        return np.asarray(self.terminated | self.truncated, np.bool_)


def roll_out(
    env: VectorEnv[Any, Any, Any],
    actions: Sequence[Any],
    seed: int | Sequence[int | None] | None,
    *,
    see: Callable[[int, tuple[Any, ...]], None] | None = None,
    choose: Callable[[int, Flags], Any] | None = None,
    scribble: bool = False,
) -> list[Moment]:
    """Resets, steps through the actions, and resets ended environments where nobody else does.

    Args:
        env: The environment.
        actions: A batch for each step.
        seed: Of the first reset.
        see: Gets the step and what was returned, itself.
        choose: Gets the step and which episodes ended before it; returns another batch of actions.
        scribble: Overwrites every array that was returned once it is copied.
    """
    disabled = env.metadata.get("autoreset_mode") == AutoresetMode.DISABLED
    moments: list[Moment] = []

    def record(step: int, returned: tuple[Any, ...]) -> Moment:
        if see is not None:
            see(step, returned)
        if len(returned) == 2:
            moment = Moment(step, True, copied(returned[0]), infos=_timeless(returned[1]))
        else:
            observations, rewards, terminated, truncated = map(copied, returned[:4])
            infos = _timeless(returned[4])
            moment = Moment(step, False, observations, rewards, terminated, truncated, infos)
        moments.append(moment)
        if scribble:
            for part in returned[:-1]:
                overwrite(part)
            overwrite({key: part for key, part in returned[-1].items() if key[:6] != "final_"})
            returned[-1].clear()
        return moment

    record(0, env.reset(seed=seed))  # type: ignore[arg-type]
    ended = np.zeros(env.num_envs, np.bool_)
    for step, batch in enumerate(actions, 1):
        chosen = batch if choose is None else choose(step, ended)
        ended = record(step, env.step(chosen)).ended
        if disabled and ended.any():
            record(step, env.reset(options={"reset_mask": ended}))
    return moments


def _timeless(infos: Any) -> Any:
    """Infos without the seconds that RecordEpisodeStatistics adds."""
    infos = copied(infos)
    if isinstance(infos, dict):
        for place in (infos, infos.get("final_info")):
            if isinstance(place, dict) and isinstance(place.get("episode"), dict):
                place["episode"].pop("t", None)
                place["episode"].pop("_t", None)
    return infos


def parting(
    a: Sequence[Moment], b: Sequence[Moment], *, infos: bool = True
) -> tuple[int, str] | None:
    """The step where two rollouts part, and how; None where they are the same."""
    for x, y in zip(a, b, strict=False):
        for name in ("observations", "rewards", "terminated", "truncated", "infos"):
            if name == "infos" and not infos:
                continue
            text = difference(getattr(x, name), getattr(y, name), name)
            if text is not None:
                return x.step, text
    if len(a) != len(b):
        return min(a[-1].step, b[-1].step), "the one ends before the other"
    return None


def parting_of_rows(
    env: VectorEnv[Any, Any, Any], a: Moment, b: Moment, ids: npt.NDArray[np.intp]
) -> str | None:
    """How some environments' observations, rewards and flags differ in two moments."""
    first, second = (rows(env.observation_space, x.observations) for x in (a, b))
    for i in ids:
        text = difference(first[i], second[i], "observations")
        for name in ("rewards", "terminated", "truncated"):
            x, y = getattr(a, name), getattr(b, name)
            if text is None and x is not None and y is not None:
                text = difference(as_numpy(x)[i], as_numpy(y)[i], name)
        if text is not None:
            return f"environment {i}: {text}"
    return None
