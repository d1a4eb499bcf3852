"""The levels that a sampler knows: their ids, scores and when they were drawn last."""

import heapq
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastrl._dispatch import Arguments
from fastrl.replay.arguments import as_integers, check_state, checked_array

Ids = Sequence[int] | npt.NDArray[np.integer]
Scores = Sequence[float] | npt.NDArray[np.floating]
_COLUMNS = {"ids": np.int64, "scores": np.float64, "is_scored": np.bool_, "last_drawn": np.int64}


class LevelTable:
    """At most `capacity` levels, in slots 0, …, len - 1 without gaps."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._size = 0
        self._ids = np.zeros(capacity, np.int64)
        self._scores = np.zeros(capacity)
        self._is_scored = np.zeros(capacity, np.bool_)
        self._last_drawn = np.zeros(capacity, np.int64)
        self._slots: dict[int, int] = {}
        self.num_scored = 0

    def __len__(self) -> int:
        return self._size

    @property
    def ids(self) -> npt.NDArray[np.int64]:
        """[len], of the levels, a view."""
        return self._ids[: self._size]

    @property
    def scores(self) -> npt.NDArray[np.float64]:
        """[len], of the levels, a view."""
        return self._scores[: self._size]

    @property
    def is_scored(self) -> npt.NDArray[np.bool_]:
        """[len], of the levels, a view."""
        return self._is_scored[: self._size]

    @property
    def last_drawn(self) -> npt.NDArray[np.int64]:
        """[len], number of the draw, a view."""
        return self._last_drawn[: self._size]

    def slots(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """[N], -1 where no level has that id."""
        found = self._slots
        return np.fromiter((found.get(i, -1) for i in ids.tolist()), np.int64, len(ids))

    def score(self, slot: int, score: float, step_size: float) -> None:
        """Moves a score by `step_size` towards the new one; the first one is taken whole."""
        if self._is_scored[slot]:
            self._scores[slot] = (1.0 - step_size) * self._scores[slot] + step_size * score
        else:
            self._scores[slot] = score
            self._is_scored[slot] = True
            self.num_scored += 1

    def insert(
        self,
        ids: list[int],
        scores: list[float] | None,
        now: int,
        worth: npt.NDArray[np.float64] | None,
    ) -> npt.NDArray[np.bool_]:
        """Adds new levels; whether each was taken.

        In a full table a level takes the slot of the one that is worth least, by `worth` [len] or,
        if None, by score, unless it scores less than that. One without a score always does. Levels
        that wait for their first score stay.
        """
        missing = len(ids) - (self.capacity - self._size)
        lowest = self._lowest(missing, worth) if missing > 0 else []
        taken = np.zeros(len(ids), np.bool_)
        for i, level in enumerate(ids):
            if self._size < self.capacity:
                slot, self._size = self._size, self._size + 1
            elif lowest and (scores is None or scores[i] >= self._scores[lowest[0][1]]):
                slot = heapq.heappop(lowest)[1]
                del self._slots[int(self._ids[slot])]
                self.num_scored -= 1
            else:
                continue
            self._slots[level] = slot
            self._ids[slot], self._last_drawn[slot] = level, now
            self._is_scored[slot] = False
            taken[i] = True
            if scores is not None:
                self.score(slot, scores[i], 1.0)
                if worth is None:
                    # Later ones of this call compete with it, too.
                    heapq.heappush(lowest, (scores[i], slot))
        return taken

    def _lowest(self, n: int, worth: npt.NDArray[np.float64] | None) -> list[tuple[float, int]]:
        """The n scored levels that are worth least, a heap of (worth, slot)."""
        slots = np.flatnonzero(self.is_scored)
        values = (self.scores if worth is None else worth)[slots]
        order = np.argsort(values, kind="stable")[:n]
        return list(zip(values[order].tolist(), slots[order].tolist(), strict=True))

    def remove(self, ids: npt.NDArray[np.int64]) -> int:
        """Forgets levels, whose slots the last ones take; how many were there."""
        size = self._size
        for level in ids.tolist():
            slot = self._slots.pop(level, None)
            if slot is None:
                continue
            self.num_scored -= int(self._is_scored[slot])
            self._size -= 1
            if slot != self._size:
                for column in (self._ids, self._scores, self._is_scored, self._last_drawn):
                    column[slot] = column[self._size]
                self._slots[int(self._ids[slot])] = slot
        return size - self._size

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Copies of the columns."""
        return {name: getattr(self, name).copy() for name in _COLUMNS}

    def check_state(self, arguments: Arguments, state: Mapping[str, Any], now: int) -> None:
        """What `load` needs; nothing is written."""
        check_state(arguments, state, _COLUMNS)
        for name, kind in _COLUMNS.items():
            arguments.array(f"state[{name!r}]", state[name], ["N"], [np.dtype(kind).name])
        if arguments.size("N") > self.capacity:
            rule = f"hold at most `capacity` = {self.capacity} levels"
            raise arguments.error("state", rule, arguments.size("N"))
        check_new_ids(arguments, "state['ids']", state["ids"])
        if not np.isfinite(state["scores"]).all():
            raise arguments.error("state['scores']", "be finite", "NaN or infinity")
        if (state["last_drawn"] > now).any():
            rule = f"be at most state['num_drawn'] = {now}"
            raise arguments.error("state['last_drawn']", rule, state["last_drawn"].max())

    def load(self, state: Mapping[str, Any]) -> None:
        """Becomes what `state` was taken of; `check_state` comes first."""
        self._size = len(state["ids"])
        for name in _COLUMNS:
            getattr(self, name)[:] = state[name]
        self._slots = {level: slot for slot, level in enumerate(self.ids.tolist())}
        self.num_scored = int(np.count_nonzero(self.is_scored))


def check_new_ids(arguments: Arguments, name: str, ids: npt.NDArray[np.int64]) -> None:
    """Ids are at least 0 and differ."""
    if len(ids) and ids.min() < 0:
        raise arguments.error(name, "be at least 0", ids.min())
    unique, counts = np.unique(ids, return_counts=True)
    if len(unique) != len(ids):
        raise arguments.error(name, "differ", f"{unique[counts > 1][0]} twice")


def as_ids(arguments: Arguments, ids: Ids) -> npt.NDArray[np.int64]:
    """[N] integers of any kind, as int64."""
    numbers = as_integers(arguments, "ids", checked_array(arguments, "ids", ids))
    if numbers.ndim != 1:
        raise arguments.error("ids", "have shape [N]", list(numbers.shape))
    return numbers


def as_scores(arguments: Arguments, scores: Scores, n: int) -> npt.NDArray[np.float64]:
    """[N] finite numbers of any kind, as float64."""
    values = checked_array(arguments, "scores", scores)
    if values.size == 0:
        values = values.astype(np.float64)
    if values.dtype.kind not in "fiu":
        raise arguments.error("scores", "hold numbers", values.dtype, kind=TypeError)
    if values.shape != (n,):
        raise arguments.error("scores", f"have shape [N] = [{n}]", list(values.shape))
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise arguments.error("scores", "be finite", values[~np.isfinite(values)][0])
    return values
