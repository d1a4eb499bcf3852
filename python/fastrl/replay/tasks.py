"""Task sampling by low reward, over classes, their tasks and the tasks' starts."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastrl._dispatch import Arguments
from fastrl.replay.arguments import MAX_DRAWS, as_integers, check_state, checked_array
from fastrl.replay.level_weights import grouped_softmax, task_weights
from fastrl.replay.weighted_draws import WeightedDraws

_SCHEMES = ("independent", "stratified", "systematic")


class TaskSampler:
    """Adaptive trajectory sampling: what earns little is practiced more.

    Tasks are drawn by `task_weights` of their mean rewards, and within a task the start (as a time
    of a motion clip) with (1 - α) / S + α · softmax(-λ r_s) of its S starts' mean rewards. Rewards
    are moving averages; of what was never tried they are 0.

    Args:
        classes: [M] integers, the class of each of M tasks; [0] * M for one class.
        num_starts: [M] integers, how many starts each task has; one each if None.
        lambda_: λ, how sharply low rewards are preferred.
        alpha: α; 0 draws evenly.
        step_size: Of the moving averages, in (0, 1]; the first reward is taken whole.
        seed: Same seed, same calls, same tasks.

    Reference: Yu et al., "SkillMimic-V2", 2025.
    """

    def __init__(
        self,
        classes: Sequence[int] | npt.NDArray[np.integer],
        *,
        num_starts: Sequence[int] | npt.NDArray[np.integer] | None = None,
        lambda_: float = 5.0,
        alpha: float = 1.0,
        step_size: float = 0.5,
        seed: int = 0,
    ) -> None:
        arguments = Arguments("TaskSampler")
        self._classes = _integers(arguments, "classes", classes, "M")
        if not len(self._classes):
            raise arguments.error("classes", "name at least one task's", "none")
        starts = np.ones(len(self._classes), np.int64)
        if num_starts is not None:
            starts = _integers(arguments, "num_starts", num_starts, "M", len(self._classes))
            if starts.min() < 1:
                raise arguments.error("num_starts", "be at least 1", starts.min())
        self._lambda = arguments.number("lambda_", lambda_, low=0.0)
        self._alpha = arguments.number("alpha", alpha, low=0.0, high=1.0)
        self._step_size = arguments.number(
            "step_size", step_size, low=0.0, high=1.0, exclusive_low=True
        )
        self._draws = WeightedDraws(arguments.integer("seed", seed, low=0, high=2**64 - 1))
        self._num_starts = starts
        self._offsets = np.cumsum(starts) - starts
        self._task_of = np.repeat(np.arange(len(starts)), starts)
        # NaN where nothing was tried.
        self._rewards = np.full(len(starts), np.nan)
        self._start_rewards = np.full(len(self._task_of), np.nan)

    def __len__(self) -> int:
        return len(self._classes)

    @property
    def rewards(self) -> npt.NDArray[np.float64]:
        """[M] float64, moving averages; 0 of tasks that were never tried."""
        return np.where(np.isnan(self._rewards), 0.0, self._rewards)

    def probabilities(self) -> npt.NDArray[np.float64]:
        """[M] float64, of the tasks."""
        return task_weights(self.rewards, self._classes, lambda_=self._lambda, alpha=self._alpha)

    def start_probabilities(self, task: int) -> npt.NDArray[np.float64]:
        """[S] float64, of the starts of a task, given the task."""
        arguments = Arguments("start_probabilities")
        chosen = arguments.integer("task", task, low=0, high=len(self) - 1)
        begin = self._offsets[chosen]
        return self._start_weights()[begin : begin + self._num_starts[chosen]]

    def sample(
        self, n: int, *, scheme: str = "independent"
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Draws n tasks and a start of each: [n] int64 each.

        Args:
            n: At least 1.
            scheme: "independent", "stratified" or "systematic".
        """
        arguments = Arguments("sample")
        n = arguments.integer("n", n, low=1, high=MAX_DRAWS)
        arguments.choice("scheme", scheme, _SCHEMES)
        weights = self.probabilities()[self._task_of] * self._start_weights()
        drawn = self._draws.draw(weights, n, scheme)
        tasks = self._task_of[drawn]
        return tasks, drawn - self._offsets[tasks]

    def update(
        self,
        tasks: Sequence[int] | npt.NDArray[np.integer],
        rewards: Sequence[float] | npt.NDArray[np.floating],
        starts: Sequence[int] | npt.NDArray[np.integer] | None = None,
    ) -> None:
        """Mean rewards of episodes, one after the other where a task comes twice.

        Args:
            tasks: [N] integers.
            rewards: [N], finite; λ = 5 is meant for rewards from 0 to 1.
            starts: [N] integers, the start of each; None leaves those of the starts as they are.
        """
        arguments = Arguments("update")
        chosen = _integers(arguments, "tasks", tasks, "N")
        _check_range(arguments, "tasks", chosen, np.full(len(chosen), len(self)))
        values = checked_array(arguments, "rewards", rewards)
        if values.shape != chosen.shape or (values.size and values.dtype.kind not in "fiu"):
            rule = f"be numbers of shape [N] = [{len(chosen)}]"
            raise arguments.error("rewards", rule, f"{values.dtype} {list(values.shape)}")
        if not np.isfinite(values.astype(np.float64)).all():
            raise arguments.error("rewards", "be finite", values[~np.isfinite(values)][0])
        if starts is not None:
            begun = _integers(arguments, "starts", starts, "N", len(chosen))
            _check_range(arguments, "starts", begun, self._num_starts[chosen])
            self._average(self._start_rewards, self._offsets[chosen] + begun, values)
        self._average(self._rewards, chosen, values)

    def state_dict(self) -> dict[str, Any]:
        """Averages and the random stream: integers and NumPy arrays alone."""
        return {
            "seed": self._draws.seed,
            "position": self._draws.position,
            "rewards": self._rewards.copy(),
            "start_rewards": self._start_rewards.copy(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Draws from now on what the sampler would have drawn that `state_dict` was taken of."""
        arguments = Arguments("load_state_dict")
        parts = {"rewards": self._rewards, "start_rewards": self._start_rewards}
        check_state(arguments, state, ("seed", "position", *parts))
        seed = arguments.integer("state['seed']", state["seed"], low=0, high=2**64 - 1)
        position = arguments.integer("state['position']", state["position"], low=0)
        for name, part in parts.items():
            arguments.array(f"state[{name!r}]", state[name], [len(part)], ["float64"])
        self._draws.seed, self._draws.position = seed, position
        for name, part in parts.items():
            part[:] = state[name]

    def _start_weights(self) -> npt.NDArray[np.float64]:
        known = np.where(np.isnan(self._start_rewards), 0.0, self._start_rewards)
        focused = grouped_softmax(-self._lambda * known, self._task_of, len(self))
        evenly = 1.0 / self._num_starts[self._task_of]
        weights: npt.NDArray[np.float64] = (1.0 - self._alpha) * evenly + self._alpha * focused
        return weights

    def _average(
        self,
        averages: npt.NDArray[np.float64],
        places: npt.NDArray[np.int64],
        values: npt.NDArray[Any],
    ) -> None:
        kept = 1.0 - self._step_size
        for place, value in zip(places.tolist(), values.tolist(), strict=True):
            old = averages[place]
            averages[place] = value if np.isnan(old) else kept * old + self._step_size * value


def _integers(
    arguments: Arguments, name: str, value: Any, letter: str, count: int | None = None
) -> npt.NDArray[np.int64]:
    numbers = as_integers(arguments, name, checked_array(arguments, name, value))
    if numbers.ndim != 1 or (count is not None and len(numbers) != count):
        size = "" if count is None else f" = [{count}]"
        raise arguments.error(name, f"have shape [{letter}]{size}", list(numbers.shape))
    return numbers


def _check_range(
    arguments: Arguments,
    name: str,
    numbers: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
) -> None:
    wrong = (numbers < 0) | (numbers >= ends)
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        raise arguments.error(name, f"be from 0 to {ends[first] - 1}", numbers[first])
