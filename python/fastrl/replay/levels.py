"""Level replay: which levels to play next, by what was learned on them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from fastrl._dispatch import Arguments
from fastrl.replay.arguments import MAX_DRAWS, check_state
from fastrl.replay.level_scores import check_band
from fastrl.replay.level_table import Ids, LevelTable, Scores, as_ids, as_scores, check_new_ids
from fastrl.replay.level_weights import TRANSFORMS, Transform, transformed
from fastrl.replay.weighted_draws import DISTINCT_SCHEMES, SCHEMES, WeightedDraws

_OFFSET = 1e-3  # of "power" where staleness gives levels of score 0 no chance


@dataclass(frozen=True, slots=True)
class LevelBatch:
    """Levels to play.

    Attributes:
        ids: [n] int64, -1 where a new level is to be made.
        is_replay: [n] bool, whether the level was drawn by its score.
        probabilities: [n] float64, the chance that one draw had of this id.
    """

    ids: npt.NDArray[np.int64]
    is_replay: npt.NDArray[np.bool_]
    probabilities: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.ids)


class LevelSampler:
    """Draws levels in proportion to their scores, to how long ago they were drawn, and new ones.

        P = (1 - ρ) · weights(scores) + ρ · weights(staleness)        of levels that have a score

    A draw replays one of these with the replay probability, else it is a new level: one that was
    added without a score or, with ``new_levels="generated"`` and none of those left, one that the
    caller makes and adds.
    The staleness of a level is how many draws ago it was drawn last. Ids are the caller's own, from
    0; a score for a level that is not there (any more) changes nothing and is counted.

    Typical use, with an environment whose levels come from outside:

        sampler = LevelSampler(4000)
        sampler.add(range(len(levels)))
        env.set_levels(levels)
        batch = sampler.sample(env.num_envs)
        env.reset(options={"level": batch.ids})
        …
        sampler.update(episodes.ids, episodes.scores())        # of `EpisodeScores`

    Or the environment draws for itself: ``env.set_levels(levels[sampler.ids],
    sampler.probabilities())``, and `mark_drawn` tells which it drew.

    Args:
        capacity: Levels at most.
        transform: How scores become weights, see `level_weights`.
        temperature: Of `transform`.
        staleness_coef: ρ.
        staleness_transform: As `transform`.
        staleness_temperature: Of `staleness_transform`.
        replay_probability: p, once `min_filled` is reached; 1 - ν in the paper.
        replay_schedule: "fixed" keeps to that. "proportionate" replays as often as levels have
            been scored: with the fraction of the listed levels, or min(p, fraction of the
            capacity) of generated ones. Listed levels that all have scores are always replayed.
        min_filled: That fraction, below which nothing is replayed.
        new_levels: "listed" or "generated".
        step_size: Of the moving average of scores, in (0, 1]; 1 keeps the last one.
        eviction: What makes room in a full sampler: the lowest "score", or the lowest "weight".
        offset: Of "power"; None is 0.001 without staleness, else 0.
        epsilon: Of "eps_greedy".
        band: (low, high) of "band".
        seed: Same seed, same calls, same levels.

    Reference: Jiang et al., "Prioritized Level Replay", 2021, and "Replay-Guided Adversarial
    Environment Design", 2021. Specification: `fastrl.reference.levels`.
    """

    def __init__(
        self,
        capacity: int,
        *,
        transform: Transform = "rank",
        temperature: float = 0.1,
        staleness_coef: float = 0.1,
        staleness_transform: Transform = "power",
        staleness_temperature: float = 1.0,
        replay_probability: float = 0.5,
        replay_schedule: Literal["fixed", "proportionate"] = "fixed",
        min_filled: float = 0.0,
        new_levels: Literal["listed", "generated"] = "listed",
        step_size: float = 1.0,
        eviction: Literal["score", "weight"] = "score",
        offset: float | None = None,
        epsilon: float = 0.05,
        band: tuple[float, float] = (0.1, 0.9),
        seed: int = 0,
    ) -> None:
        check = Arguments("LevelSampler")
        self._table = LevelTable(check.integer("capacity", capacity, low=1, high=2**31))
        self._transform = check.choice("transform", transform, TRANSFORMS)
        self._temperature = check.number("temperature", temperature, low=0.0, exclusive_low=True)
        self._rho = check.number("staleness_coef", staleness_coef, low=0.0, high=1.0)
        self._staleness_transform = check.choice(
            "staleness_transform", staleness_transform, TRANSFORMS
        )
        self._staleness_temperature = check.number(
            "staleness_temperature", staleness_temperature, low=0.0, exclusive_low=True
        )
        self._probability = check.number(
            "replay_probability", replay_probability, low=0.0, high=1.0
        )
        self._schedule = check.choice(
            "replay_schedule", replay_schedule, ("fixed", "proportionate")
        )
        self._min_filled = check.number("min_filled", min_filled, low=0.0, high=1.0)
        self._new_levels = check.choice("new_levels", new_levels, ("listed", "generated"))
        self._step_size = check.number(
            "step_size", step_size, low=0.0, high=1.0, exclusive_low=True
        )
        self._eviction = check.choice("eviction", eviction, ("score", "weight"))
        if offset is None:
            offset = 0.0 if self._rho > 0.0 else _OFFSET
        self._offset = check.number("offset", offset, low=0.0)
        self._epsilon = check.number("epsilon", epsilon, low=0.0, high=1.0)
        if not isinstance(band, Sequence) or len(band) != 2:
            raise check.error("band", "be (low, high)", band)
        self._band = check_band(check, *band)
        self._draws = WeightedDraws(check.integer("seed", seed, low=0, high=2**64 - 1))
        self._by_score: npt.NDArray[np.float64] | None = None  # until a score changes
        self.num_drawn = 0
        self.refused_updates = 0

    def __len__(self) -> int:
        return len(self._table)

    @property
    def capacity(self) -> int:
        """Levels at most."""
        return self._table.capacity

    @property
    def num_scored(self) -> int:
        """Levels that have a score and can be replayed."""
        return self._table.num_scored

    @property
    def ids(self) -> npt.NDArray[np.int64]:
        """[len] int64, in the order of `scores`, `staleness`, `replay_weights`, …; a copy."""
        return self._table.ids.copy()

    @property
    def scores(self) -> npt.NDArray[np.float64]:
        """[len] float64, NaN of levels that wait for their first one."""
        return np.where(self._table.is_scored, self._table.scores, np.nan)

    @property
    def staleness(self) -> npt.NDArray[np.int64]:
        """[len] int64, draws since the level was drawn, or added."""
        return self.num_drawn - self._table.last_drawn

    def add(self, ids: Ids, scores: Scores | None = None) -> npt.NDArray[np.bool_]:
        """Adds levels, new ones or, with scores, such as have been played.

        A full sampler evicts the lowest for them. It is not evicted for a level that scores less,
        and levels that wait for their first score stay.

        Args:
            ids: [N] integers from 0, that no level here has.
            scores: [N], finite.

        Returns:
            [N] bool, which were taken.
        """
        arguments = Arguments("add")
        numbers = as_ids(arguments, ids)
        check_new_ids(arguments, "ids", numbers)
        known = numbers[self._table.slots(numbers) >= 0]
        if known.size:
            raise arguments.error("ids", "be new", f"{known[0]}, which is there")
        values = None if scores is None else as_scores(arguments, scores, len(numbers))
        worth = None
        if self._eviction == "weight" and len(self) + len(numbers) > self.capacity:
            worth = self.replay_weights()
        listed = None if values is None else values.tolist()
        self._by_score = None
        return self._table.insert(numbers.tolist(), listed, self.num_drawn, worth)

    def remove(self, ids: Ids) -> int:
        """Forgets levels; returns how many of them were there."""
        numbers = as_ids(Arguments("remove"), ids)
        self._by_score = None
        return self._table.remove(numbers)

    def update(self, ids: Ids, scores: Scores) -> int:
        """Scores of levels that were played, one after the other where a level comes twice.

        Args:
            ids: [N] integers.
            scores: [N], finite.

        Returns:
            How many were applied; the others' levels are not there. `refused_updates` counts those.
        """
        arguments = Arguments("update")
        numbers = as_ids(arguments, ids)
        values = as_scores(arguments, scores, len(numbers))
        slots = self._table.slots(numbers)
        known = slots >= 0
        self._by_score = None
        for slot, score in zip(slots[known].tolist(), values[known].tolist(), strict=True):
            self._table.score(slot, score, self._step_size)
        applied = int(np.count_nonzero(known))
        self.refused_updates += len(numbers) - applied
        return applied

    def mark_drawn(self, ids: Ids) -> None:
        """Tells which levels were drawn elsewhere, in order; ids that are not there count, too."""
        self._mark(self._table.slots(as_ids(Arguments("mark_drawn"), ids)))

    @property
    def replay_chance(self) -> float:
        """The probability that the next draw is a replay."""
        scored, listed = self.num_scored, self._new_levels == "listed"
        if scored == 0:
            return 0.0
        if listed and scored == len(self):
            return 1.0
        filled = scored / (len(self) if listed else self.capacity)
        if filled < self._min_filled:
            return 0.0
        if self._schedule == "fixed":
            return self._probability
        return filled if listed else min(self._probability, filled)

    def should_replay(self) -> bool:
        """One random decision for a whole batch, for ``sample(n, replay=…)``."""
        return bool(self._draws.uniforms(1)[0] < self.replay_chance)

    def replay_weights(self) -> npt.NDArray[np.float64]:
        """[len] float64, the distribution of replays over `ids`; all 0 before the first score."""
        weights = np.zeros(len(self))
        scored = np.flatnonzero(self._table.is_scored)
        if scored.size:
            weights[scored] = self._weights_of(scored)
        return weights

    def probabilities(self) -> npt.NDArray[np.float64]:
        """[len] float64, of the next draw over `ids`; what is missing to 1 are generated levels."""
        chance = self.replay_chance
        probabilities = chance * self.replay_weights()
        new = ~self._table.is_scored
        if new.any():
            probabilities[new] = (1.0 - chance) / np.count_nonzero(new)
        return probabilities

    def sample(
        self, n: int, *, scheme: str = "independent", replay: bool | None = None
    ) -> LevelBatch:
        """Draws n levels.

        New levels are evenly drawn, and distinct as long as there are enough. A batch that needs
        more of them than are listed has more replays instead, one that needs more distinct replays
        than there are has more new levels.

        Args:
            n: At least 1.
            scheme: Of the replays: "independent", "stratified", "systematic",
                "without_replacement" or "top" (those of the n largest weights).
            replay: True and False say what all of the batch is; None decides for each draw.
        """
        arguments = Arguments("sample")
        n = arguments.integer("n", n, low=1, high=MAX_DRAWS)
        arguments.choice("scheme", scheme, SCHEMES)
        wanted = None if replay is None else arguments.flag("replay", replay)
        generates = self._new_levels == "generated"
        new = np.flatnonzero(~self._table.is_scored)
        if not len(self) and not generates:
            raise RuntimeError("sample: there are no levels; call add first")
        if wanted and not self.num_scored:
            raise arguments.error("replay", "not be True before a level has a score", True)
        if wanted is False and not new.size and not generates:
            raise arguments.error("replay", "not be False where all levels have scores", False)
        weights = self.replay_weights()
        replays = int(np.count_nonzero(weights)) if scheme in DISTINCT_SCHEMES else n
        makes = 0 if wanted else n if generates or wanted is False else new.size
        if n > replays + makes:
            rule = f"be at most {replays + makes}, the levels that {scheme!r} can draw"
            raise arguments.error("n", rule, n)

        chance = self.replay_chance if wanted is None else float(wanted)
        is_replay = self._draws.uniforms(n) < chance
        if wanted is None:
            is_replay[np.flatnonzero(is_replay)[replays:]] = False
            if self.num_scored:
                is_replay[np.flatnonzero(~is_replay)[makes:]] = True
        slots = np.full(n, -1, np.int64)
        probabilities = np.full(n, 1.0 - chance)
        num_replays = int(np.count_nonzero(is_replay))
        if num_replays:
            drawn = self._draws.draw(weights, num_replays, scheme)
            slots[is_replay] = drawn
            probabilities[is_replay] = chance * weights[drawn]
        if new.size and num_replays < n:
            places = np.flatnonzero(~is_replay)[: new.size if generates else n]
            slots[places] = self._draw_new(new, places.size)
            probabilities[places] /= new.size
        self._mark(slots)
        ids = np.full(n, -1, np.int64)
        ids[slots >= 0] = self._table.ids[slots[slots >= 0]]
        return LevelBatch(ids, is_replay, probabilities)

    def state_dict(self) -> dict[str, Any]:
        """Levels, counters and the random stream: integers and NumPy arrays alone."""
        return {
            "seed": self._draws.seed,
            "position": self._draws.position,
            "num_drawn": self.num_drawn,
            "refused_updates": self.refused_updates,
            **self._table.state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Draws from now on what the sampler would have drawn that `state_dict` was taken of.

        The options are those of this sampler. Nothing changes where `state` is refused.
        """
        arguments = Arguments("load_state_dict")
        names = ("seed", "position", "num_drawn", "refused_updates")
        check_state(arguments, state, names)
        counts = [arguments.integer(f"state[{name!r}]", state[name], low=0) for name in names]
        if counts[0] >= 2**64:
            raise arguments.error("state['seed']", f"be from 0 to {2**64 - 1}", counts[0])
        self._table.check_state(arguments, state, counts[2])
        self._draws.seed, self._draws.position, self.num_drawn, self.refused_updates = counts
        self._table.load(state)
        self._by_score = None

    def _draw_new(self, new: npt.NDArray[np.int64], n: int) -> npt.NDArray[np.int64]:
        rounds = []
        while n > 0:
            order = np.argsort(self._draws.bits(new.size), kind="stable")[:n]
            rounds.append(new[order])
            n -= order.size
        return np.concatenate(rounds)

    def _mark(self, slots: npt.NDArray[np.int64]) -> None:
        known = slots >= 0
        times = self.num_drawn + 1 + np.arange(len(slots))
        self._table.last_drawn[slots[known]] = times[known]
        self.num_drawn += len(slots)

    def _weights_of(self, scored: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        if self._by_score is None:
            self._by_score = transformed(
                self._table.scores[scored],
                self._transform,
                self._temperature,
                self._offset,
                self._epsilon,
                self._band,
            )
        if self._rho == 0.0:
            return self._by_score
        stale = transformed(
            self.staleness[scored].astype(np.float64),
            self._staleness_transform,
            self._staleness_temperature,
            0.0,
            self._epsilon,
            self._band,
        )
        mixture: npt.NDArray[np.float64] = (1.0 - self._rho) * self._by_score + self._rho * stale
        return mixture
