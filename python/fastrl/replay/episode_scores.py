"""Scores of steps to scores of episodes, across rollouts that cut episodes anywhere."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fastrl._dispatch import MASKS, Arguments, Array
from fastrl.replay.arguments import check_state
from fastrl.replay.level_scores import NUMBERS, as_numpy

_STATE = {"ids": np.int64, "sums": np.float64, "maxima": np.float64, "num_steps": np.int64}


@dataclass(frozen=True, slots=True)
class ScoredEpisodes:
    """Episodes and their scores, those that ended first coming first.

    Attributes:
        ids: [E] int64, the level of each.
        means: [E] float64, mean score of its steps.
        maxima: [E] float64, largest score of its steps.
        num_steps: [E] int64.
    """

    ids: npt.NDArray[np.int64]
    means: npt.NDArray[np.float64]
    maxima: npt.NDArray[np.float64]
    num_steps: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ids)

    def scores(self, max_coef: float = 0.0) -> npt.NDArray[np.float64]:
        """(1 - max_coef) · means + max_coef · maxima, [E]."""
        coef = Arguments("scores").number("max_coef", max_coef, low=0.0, high=1.0)
        return (1.0 - coef) * self.means + coef * self.maxima


class EpisodeScores:
    """Mean and largest score of each episode of `num_envs` environments.

    An episode that goes on in the next rollout is kept and counts once, with all of its steps.
    """

    def __init__(self, num_envs: int) -> None:
        self.num_envs = Arguments("EpisodeScores").integer(
            "num_envs", num_envs, low=1, high=2**31 - 1
        )
        self._clear()

    def _clear(self) -> None:
        self._ids = np.full(self.num_envs, -1, np.int64)
        self._sums = np.zeros(self.num_envs)
        self._maxima = np.full(self.num_envs, -np.inf)
        self._num_steps = np.zeros(self.num_envs, np.int64)

    def add(
        self,
        scores: Array,
        level_ids: Array,
        terminated: Array,
        truncated: Array,
        *,
        stepped: Array | None = None,
    ) -> ScoredEpisodes:
        """The episodes that ended in this rollout.

        Args:
            scores: [T, B] floats, finite, as of `level_scores`.
            level_ids: [T, B] int64, the level that each step was made on. An episode's is that of
                its first step; a negative one says that it has none, and leaves it out.
            terminated: [T, B] bool, as the step of the same index returned it.
            truncated: [T, B] bool, likewise.
            stepped: [T, B] bool, false where the environment took no step, as where it only reset;
                all did if None.
        """
        arguments = Arguments("add")
        arguments.array("scores", scores, ["T", self.num_envs], NUMBERS)
        arguments.array("level_ids", level_ids, ["T", self.num_envs], ["int64"])
        arguments.array("terminated", terminated, ["T", self.num_envs], MASKS)
        arguments.array("truncated", truncated, ["T", self.num_envs], MASKS)
        if stepped is not None:
            arguments.array("stepped", stepped, ["T", self.num_envs], MASKS)
        # Environment-major, so that the steps of an episode are neighbors.
        counted = (
            np.ones((self.num_envs, len(scores)), np.bool_)
            if stepped is None
            else as_numpy(stepped).astype(np.bool_).T
        )
        environments, times = np.nonzero(counted)
        values, ids = as_numpy(scores).T[counted], as_numpy(level_ids).T[counted]
        if not np.isfinite(values).all():
            raise arguments.error("scores", "be finite", values[~np.isfinite(values)][0])
        if not len(values):
            return _episodes(*(np.empty(0, kind) for kind in _STATE.values()))
        ends = (as_numpy(terminated).astype(np.bool_) | as_numpy(truncated).astype(np.bool_)).T
        ended = ends[counted]

        changes = np.r_[True, environments[1:] != environments[:-1]]
        starts = np.flatnonzero(changes | np.r_[True, ended[:-1]])
        lasts = np.r_[starts[1:], len(values)] - 1
        sums = np.add.reduceat(values, starts)
        maxima = np.maximum.reduceat(values, starts)
        num_steps, first_ids = lasts - starts + 1, ids[starts]

        # What an environment's first episode here has behind it.
        first = changes[starts]
        place = environments[starts[first]]
        first_ids[first] = np.where(self._num_steps[place] > 0, self._ids[place], first_ids[first])
        sums[first] += self._sums[place]
        maxima[first] = np.maximum(maxima[first], self._maxima[place])
        num_steps[first] += self._num_steps[place]
        for part, nothing in zip(self._parts(), (-1, 0.0, -np.inf, 0), strict=True):
            part[place] = nothing

        goes_on = ~ended[lasts]
        place = environments[lasts[goes_on]]
        found = (first_ids, sums, maxima, num_steps)
        for part, values_found in zip(self._parts(), found, strict=True):
            part[place] = values_found[goes_on]
        done = np.flatnonzero(~goes_on)
        done = done[np.argsort(times[lasts[done]], kind="stable")]
        return _episodes(*(values_found[done] for values_found in found))

    def flush(self) -> ScoredEpisodes:
        """The episodes that still run, as far as they came; they begin anew with the next step.

        For score functions whose parts do not add up once the policy has been updated.
        """
        running = np.flatnonzero(self._num_steps)
        episodes = _episodes(*(part[running] for part in self._parts()))
        self._clear()
        return episodes

    def state_dict(self) -> dict[str, Any]:
        """NumPy arrays that `load_state_dict` reads."""
        return {name: part.copy() for name, part in zip(_STATE, self._parts(), strict=True)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from where `state_dict` was taken."""
        arguments = Arguments("load_state_dict")
        check_state(arguments, state, _STATE)
        for name, kind in _STATE.items():
            arguments.array(f"state[{name!r}]", state[name], [self.num_envs], [np.dtype(kind).name])
        for part, name in zip(self._parts(), _STATE, strict=True):
            part[:] = state[name]

    def _parts(self) -> tuple[npt.NDArray[Any], ...]:
        return self._ids, self._sums, self._maxima, self._num_steps


def _episodes(
    ids: npt.NDArray[Any],
    sums: npt.NDArray[Any],
    maxima: npt.NDArray[Any],
    num_steps: npt.NDArray[Any],
) -> ScoredEpisodes:
    known = ids >= 0
    ids, sums, maxima, num_steps = ids[known], sums[known], maxima[known], num_steps[known]
    return ScoredEpisodes(ids, sums / np.maximum(num_steps, 1), maxima, num_steps)
