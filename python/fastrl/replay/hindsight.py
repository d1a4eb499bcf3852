"""Hindsight experience replay: what was reached is what was wanted."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastrl._dispatch import Arguments
from fastrl.replay.arguments import as_numpy, check_function, check_names
from fastrl.replay.batch import Batch
from fastrl.replay.buffer import ReplayBuffer
from fastrl.replay.episodes import Places
from fastrl.replay.samplers import Uniform
from fastrl.replay.single_steps import (
    OverwrittenError,
    SingleSteps,
    check_result,
    find_places,
    gather_field,
    put,
    with_summed,
)

STRATEGIES = ("future", "final", "episode", "random")
_ACHIEVED = "observations/achieved_goal"
_ATTEMPTS = 8

GoalFunction = Callable[[Any, Any, Any], Any]


class HER:
    """Gives transitions goals that were reached, and the rewards that they then have.

    Each drawn transition keeps its goal with probability 1 / (k + 1); else "desired_goal" becomes
    what "achieved_goal" was after a step t' of the same episode:

        future    t' uniform from its own step to the last one
        final     t' the last one
        episode   t' uniform over the episode's steps that are still there
        random    of any transition: drawn from the buffer's first `Uniform` sampler, else its first

    An episode in progress goes up to its newest step. Rewards are `compute_reward` of what the step
    achieved (after it) and the new goal; n-step transitions get the discounted sum of theirs.
    Handles, probabilities and importance weights stay; stored rows and the batch given are not
    written to. The cost does not depend on how much the buffer holds. (Andrychowicz et al.,
    "Hindsight Experience Replay", 2017.)

    Random numbers are a function of the seed, how many items the buffer ever drew and the first of
    the batch's handles, so a restored buffer goes on with the same goals.

    Args:
        strategy: "future", "final", "episode" or "random".
        k: How many transitions with new goals there are to one with its own; 0 is none.
        compute_reward: (achieved [S, …], desired [S, …], info) → [S], called once a batch with
            NumPy arrays, such as `compute_reward` of the environments with goals.
        compute_terminated: The same for whether a step ends its episode, [S] bool: transitions end
            there, and do not where the episode ended for another goal's sake. None: as stored.
        info_fields: Which fields of the steps `info` has; "terminated" and "truncated", as they
            were stored, are always in it.
        seed: Of the random numbers.

    Example:
        >>> import numpy as np
        >>> from fastrl.replay import HER, ReplayBuffer
        >>> names = ("observation", "achieved_goal", "desired_goal")
        >>> observations = {name: ((2,), "float32") for name in names}
        >>> buffer = ReplayBuffer(100, {"observations": observations, "rewards": ((), "float32")})
        >>> for step in range(10):
        ...     handle = buffer.add(
        ...         observations={name: np.full((1, 2), step, np.float32) for name in names},
        ...         rewards=np.zeros(1), terminated=np.zeros(1, bool), truncated=np.zeros(1, bool),
        ...     )
        >>> def reward(achieved, desired, info):
        ...     return -np.linalg.norm(achieved - desired, axis=-1)
        >>> batch = buffer.sample(32, relabel=HER("final", k=4, compute_reward=reward))
        >>> float(batch.observations["desired_goal"].max())
        9.0
    """

    def __init__(
        self,
        strategy: str = "future",
        k: float = 4,
        *,
        compute_reward: GoalFunction,
        compute_terminated: GoalFunction | None = None,
        info_fields: Sequence[str] = (),
        seed: int = 0,
    ) -> None:
        self._arguments = arguments = Arguments("HER")
        self.strategy = arguments.choice("strategy", strategy, STRATEGIES)
        self.k = arguments.number("k", k, low=0)
        check_function(arguments, "compute_reward", compute_reward)
        check_function(arguments, "compute_terminated", compute_terminated, optional=True)
        self._compute_reward = compute_reward
        self._compute_terminated = compute_terminated
        self._info_fields = tuple(check_names(arguments, "info_fields", info_fields))
        self._seed = arguments.integer("seed", seed, low=0, high=2**64 - 1)

    def __repr__(self) -> str:
        return f"HER({self.strategy!r}, k={self.k:g})"

    def __call__(self, buffer: ReplayBuffer, batch: Batch) -> Batch:
        """The batch with new goals, in new arrays where something is different."""
        self._check_batch(buffer, batch)
        key = np.array([self._seed, buffer.num_sampled], np.uint64)
        counter = np.array([0, 0, 0, batch.handles[0]], np.uint64)
        for _ in range(_ATTEMPTS):
            random = np.random.Generator(np.random.Philox(counter=counter, key=key))
            try:
                return self._relabeled(buffer, batch, random)
            except OverwrittenError:  # once more, without what is no longer there
                continue
        raise RuntimeError(
            f"HER: the batch's rows were overwritten faster than they were read, {_ATTEMPTS} times"
        )

    def _check_batch(self, buffer: ReplayBuffer, batch: Batch) -> None:
        error = self._arguments.error
        names = buffer.field_names
        for name in (_ACHIEVED, "observations/desired_goal", "rewards"):
            if name not in names:
                raise error("buffer", f"have the field {name!r}", list(names))
        for name in self._info_fields:
            if not any(known == name or known.startswith(name + "/") for known in names):
                raise error("info_fields", f"be among {sorted(names)}", repr(name))
        achieved = batch.observations["achieved_goal"]
        desired = batch.observations["desired_goal"]
        if achieved.shape != desired.shape or achieved.dtype != desired.dtype:
            raise error(
                "buffer",
                f"have desired goals like achieved ones, {achieved.dtype} {list(achieved.shape)}",
                f"{desired.dtype} {list(desired.shape)}",
            )

    def _relabeled(self, buffer: ReplayBuffer, batch: Batch, random: np.random.Generator) -> Batch:
        # Any place of the batch may be chosen: the first ones would not be a fair share of
        # batches whose order means something.
        chosen = np.flatnonzero(random.random(len(batch)) * (self.k + 1) < self.k)
        choices = random.random(len(batch))[chosen]
        held, places = find_places(buffer, batch.handles[chosen])
        chosen, choices = chosen[held], choices[held]
        if len(chosen) == 0:
            return batch
        steps = SingleSteps.of(buffer, places, batch, chosen)
        goals = self._goals(buffer, batch, chosen, places, choices)
        if buffer.n_step == 1:
            achieved = as_numpy(batch.next_observations["achieved_goal"])[chosen]
        else:
            achieved = gather_field(buffer, steps.lanes, steps.rows + 1, _ACHIEVED)
        return self._with_goals(batch, chosen, places, steps, achieved, goals)

    def _goals(
        self,
        buffer: ReplayBuffer,
        batch: Batch,
        chosen: npt.NDArray[np.int64],
        places: Places,
        choices: npt.NDArray[np.float64],
    ) -> npt.NDArray[Any]:
        """[c, …], one for each chosen transition."""
        if self.strategy == "random":
            uniform = [name for name, one in buffer.samplers.items() if isinstance(one, Uniform)]
            # As many as the batch has, so that its arrays can be used again.
            other = buffer.sample(len(batch), sampler=uniform[0] if uniform else None)
            drawn: npt.NDArray[Any] = other.next_observations["achieved_goal"][chosen]
            return drawn
        rows = goal_rows(self.strategy, places, choices)
        reached: npt.NDArray[Any] = gather_field(buffer, places.lanes, rows, _ACHIEVED)
        return reached

    def _with_goals(
        self,
        batch: Batch,
        chosen: npt.NDArray[np.int64],
        places: Places,
        steps: SingleSteps,
        achieved: npt.NDArray[Any],
        goals: npt.NDArray[Any],
    ) -> Batch:
        buffer, error = steps.buffer, self._arguments
        desired = steps.repeat(goals)
        info: dict[str, Any] = {"terminated": steps.terminated, "truncated": steps.truncated}
        for name in self._info_fields:
            info[name] = gather_field(buffer, steps.lanes, steps.rows, name)
        shape = (len(steps.rows), *batch.rewards.shape[1:])
        rewards = self._compute_reward(achieved, desired, info)
        rewards = check_result(error, "compute_reward", rewards, shape)
        terminated = steps.terminated
        if self._compute_terminated is not None:
            ends = self._compute_terminated(achieved, desired, info)
            terminated = check_result(
                error, "compute_terminated", ends, (len(steps.rows),), flags=True
            )
        values = dict(batch.__dict__)
        if buffer.n_step == 1 and self._compute_terminated is None:
            values["rewards"] = put(batch.rewards, chosen, rewards)
        else:
            of = steps.summed(rewards, terminated)
            values |= with_summed(batch, chosen, places, steps, of)
        for name in ("observations", "next_observations"):
            values[name] = put(values[name], chosen, {"desired_goal": goals})
        return Batch.of(values)


def goal_rows(
    strategy: str, places: Places, choices: npt.NDArray[np.float64]
) -> npt.NDArray[np.int64]:
    """Rows whose achieved goals are given: the row after step t' has what t' achieved.

    Args:
        strategy: "future", "final" or "episode".
        places: Of the transitions.
        choices: [n], uniform in [0, 1).
    """
    if strategy == "final":
        return places.last_rows
    first = (places.rows if strategy == "future" else places.first_rows) + 1
    count = places.last_rows - first + 1
    chosen: npt.NDArray[np.int64] = first + np.minimum(
        (choices * count).astype(np.int64), count - 1
    )
    return chosen
