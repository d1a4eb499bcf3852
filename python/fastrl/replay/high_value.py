"""The best episodes of a buffer, marked so that they can be drawn beside all others."""

import heapq
import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastrl._dispatch import Arguments
from fastrl.replay.arguments import check_integers, check_names, check_state, checked_array
from fastrl.replay.buffer import ReplayBuffer
from fastrl.replay.episodes import EndedEpisodes, Numbers, ended_episodes, handles_of
from fastrl.replay.samplers import Marked

_ATTEMPTS = 8
_MAX_PAST = 64
_STATE = ("lanes", "begins", "last_rows", "numbers", "scores")

# Fields of S steps, and where each of E episodes begins among them: [E] scores.
Score = Callable[[dict[str, Any], Numbers], Any]


class BestEpisodes(NamedTuple):
    """Of n episodes, the best first: rows begin, …, last − 1 of a lane are their transitions.

    Attributes:
        lanes: [n].
        begins: [n], rows as of `ReplayBuffer.places`; they may have been overwritten.
        last_rows: [n], of their final observations.
        scores: [n] float64.
    """

    lanes: Numbers
    begins: Numbers
    last_rows: Numbers
    scores: npt.NDArray[np.float64]


class _Episode(NamedTuple):
    score: float
    age: int  # in the order in which they were found: of equal ones the later is better
    lane: int
    begin: int
    last_row: int
    number: int


class HighValueIndex:
    """Marks the transitions of the episodes with the highest returns, or of those that succeeded.

    ``update`` looks at the episodes that have ended since, and takes back the marks of those that
    are no longer among the best; what is overwritten or evicted loses its marks at once, by itself.
    An episode counts as long as one of its transitions is there. Marks are those of a `Marked`
    sampler of the buffer, so ``buffer.sample(n, sampler=name)`` draws from the best alone, and a
    `MixReplay` draws exact shares of these and of all.

    The cost of ``update`` is that of the steps of new episodes, and O(log) of the number of
    episodes for each that comes, goes or changes sides. (Goyal et al., "Recall Traces", 2019, keep
    the highest returns; success buffers are as in Lu et al., "ARPO", 2025.)

    Args:
        buffer: With a `Marked` sampler. Marks that it already has are taken back.
        sampler: The name of that sampler.
        top: The best ⌈top · E⌉ of the E ended episodes that are there; None is all.
        at_least: And of these only scores that are not below; None is all.
        score: A field whose sum over the episode is its score, in float64; or a function that is
            given the `names` of S steps, [S, …], and [E], where each of E episodes begins among
            them, and returns [E] scores.
        names: What the function reads.

    Example:
        >>> import numpy as np
        >>> from fastrl.replay import HighValueIndex, Marked, MixReplay, ReplayBuffer, Uniform
        >>> buffer = ReplayBuffer(
        ...     100, {"observations": ((1,), "float32"), "rewards": ((), "float32")},
        ...     sampler={"all": Uniform(), "best": Marked()},
        ... )
        >>> best = HighValueIndex(buffer, "best", top=0.25)
        >>> yes = np.ones(1, bool)
        >>> for episode in range(12):
        ...     handles = buffer.add(
        ...         observations=np.zeros((1, 1)), rewards=np.full(1, episode % 6),
        ...         terminated=yes, truncated=~yes, final_observations=np.zeros((1, 1)),
        ...     )
        >>> best.update(), best.episodes().scores.tolist()
        (3, [5.0, 5.0, 4.0])
        >>> mix = MixReplay(
        ...     {"all": buffer, "best": buffer}, {"all": 3, "best": 1},
        ...     samplers={"best": "best"}, skip_empty=True,
        ... )
        >>> bool((mix.sample(32).rewards[24:] >= 4).all())
        True
    """

    def __init__(
        self,
        buffer: ReplayBuffer,
        sampler: str,
        *,
        top: float | None = None,
        at_least: float | None = None,
        score: str | Score = "rewards",
        names: Sequence[str] | None = None,
    ) -> None:
        self._arguments = arguments = Arguments("HighValueIndex")
        given: Any = buffer
        if not isinstance(given, ReplayBuffer):
            actual = type(given).__name__
            raise arguments.error("buffer", "be a ReplayBuffer", actual, kind=TypeError)
        arguments.choice("sampler", sampler, list(buffer.samplers))
        if not isinstance(buffer.samplers[sampler], Marked):
            raise arguments.error("sampler", "be a Marked one", buffer.samplers[sampler])
        if top is None and at_least is None:
            raise arguments.error("top", "be given, or `at_least`", "neither")
        self._top = None if top is None else _fraction(arguments, top)
        self._at_least = -math.inf if at_least is None else arguments.number("at_least", at_least)
        self._score, self._names = _check_score(arguments, buffer, score, names)
        self._buffer, self._sampler = buffer, sampler
        self._forget()

    def _forget(self) -> None:
        marked = self._buffer.handles()
        if len(marked):
            self._buffer.update_priorities(marked, np.zeros(len(marked)), sampler=self._sampler)
        lanes = self._buffer.num_lanes
        self._after = np.zeros(lanes, np.int64)
        self._by_lane: list[deque[_Episode]] = [deque() for _ in range(lanes)]
        self._count = 0
        self._next_age = 0
        # Each eligible episode is on one side. Entries of heaps that `_is_best` does not confirm
        # are of the past.
        self._is_best: dict[int, bool] = {}
        self._best: list[tuple[float, int, _Episode]] = []  # the worst of them first
        self._others: list[tuple[float, int, _Episode]] = []  # the best of them first
        self._num_best = 0

    @property
    def num_episodes(self) -> int:
        """Ended episodes that are there, marked or not."""
        return self._count

    def __len__(self) -> int:
        """Episodes that are marked."""
        return self._num_best

    def __repr__(self) -> str:
        return f"HighValueIndex({len(self)} of {self.num_episodes} episodes)"

    def update(self) -> int:
        """Look at what has been added since.

        Returns:
            How many episodes are marked now.
        """
        found, scores = self._read()
        self._drop(found.oldest_rows)
        for i, score in enumerate(scores.tolist()):
            self._insert(
                _Episode(
                    score,
                    self._next_age,
                    int(found.lanes[i]),
                    int(found.begins[i]),
                    int(found.last_rows[i]),
                    int(found.numbers[i]),
                )
            )
        np.maximum.at(self._after, found.lanes, found.numbers)
        self._balance()
        return self._num_best

    def episodes(self) -> BestEpisodes:
        """Those that are marked, the best first."""
        chosen = {age: one for _, age, one in self._best if self._is_best.get(age)}
        best = sorted(chosen.values(), reverse=True)
        return BestEpisodes(*_columns(best, BestEpisodes._fields))

    def state_dict(self) -> dict[str, npt.NDArray[Any]]:
        """All episodes and their scores, in the order in which they were found.

        Save it before the buffer, with `save_states`: it may be older, but not newer. Without it
        all is found anew but for episodes whose first steps have been overwritten.
        """
        known = sorted((one for lane in self._by_lane for one in lane), key=lambda one: one.age)
        return dict(zip(_STATE, _columns(known, _STATE), strict=True)) | {
            "after": self._after.copy()
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where `state_dict` was taken; marks are then as they were."""
        arguments = Arguments("load_state_dict")
        check_state(arguments, state, (*_STATE, "after"))
        columns = [
            checked_array(arguments, f"state[{name!r}]", state[name])
            if name == "scores"
            else check_integers(arguments, f"state[{name!r}]", state[name])
            for name in _STATE
        ]
        after = check_integers(arguments, "state['after']", state["after"])
        if len({column.shape for column in columns}) != 1 or columns[0].ndim != 1:
            shapes = [list(column.shape) for column in columns]
            raise arguments.error("state", "have [n] values of each", shapes)
        if after.shape != self._after.shape:
            rule = f"be of a buffer with {len(self._after)} lanes"
            raise arguments.error("state", rule, list(after.shape))
        self._forget()
        self._after = after
        for lane, begin, last_row, number, score in zip(
            *(column.tolist() for column in columns), strict=True
        ):
            self._insert(_Episode(score, self._next_age, lane, begin, last_row, number))
        self._balance()

    def _read(self) -> tuple[EndedEpisodes, npt.NDArray[np.float64]]:
        """New episodes that are there from their first steps on, and their scores."""
        for _ in range(_ATTEMPTS):
            found = ended_episodes(self._buffer, self._after)
            whole = found.begins >= found.oldest_rows[found.lanes]
            np.maximum.at(self._after, found.lanes[~whole], found.numbers[~whole])
            found = EndedEpisodes(
                found.lanes[whole],
                found.numbers[whole],
                found.begins[whole],
                found.last_rows[whole],
                found.oldest_rows,
            )
            try:
                return found, self._scores(found)
            except IndexError:  # other writers overwrote some meanwhile
                continue
        raise RuntimeError("update: episodes were overwritten before they were read, 8 times")

    def _scores(self, found: EndedEpisodes) -> npt.NDArray[np.float64]:
        counts = found.last_rows - found.begins
        if len(counts) == 0:
            return np.empty(0)
        starts = np.cumsum(counts) - counts
        rows = np.arange(counts.sum()) + np.repeat(found.begins - starts, counts)
        lanes = np.repeat(found.lanes, counts)
        fields = self._buffer.gather_rows(lanes, rows, self._names)
        scores = checked_array(self._arguments, "score", self._score(fields, starts))
        if scores.shape != starts.shape or scores.dtype.kind not in "biuf":
            actual = f"{scores.dtype} {list(scores.shape)}"
            rule = f"return real numbers, [E] = {list(starts.shape)}"
            raise self._arguments.error("score", rule, actual)
        if not np.isfinite(scores).all():
            wrong = scores[~np.isfinite(scores)][0]
            raise self._arguments.error("score", "return finite numbers", wrong)
        return scores.astype(np.float64)

    def _insert(self, episode: _Episode) -> None:
        self._by_lane[episode.lane].append(episode)
        self._next_age += 1
        self._count += 1
        if episode.score >= self._at_least:
            self._is_best[episode.age] = False
            heapq.heappush(self._others, _reversed(episode))

    def _drop(self, oldest_rows: Numbers) -> None:
        """Episodes whose last transition has been overwritten."""
        for known, oldest in zip(self._by_lane, oldest_rows.tolist(), strict=True):
            while known and known[0].last_row <= oldest:
                gone = known.popleft()
                self._count -= 1
                self._num_best -= bool(self._is_best.pop(gone.age, False))

    def _balance(self) -> None:
        """Moves episodes between the sides until the best are marked, and marks what has moved."""
        eligible = len(self._is_best)
        wanted = eligible
        if self._top is not None:
            wanted = min(eligible, math.ceil(self._top * self._count))
        moved: dict[int, _Episode] = {}
        while self._num_best > wanted:
            self._move(self._pop(self._best, True), False, moved)
        while self._num_best < wanted:
            self._move(self._pop(self._others, False), True, moved)
        while self._num_best:
            best, others = self._peek(self._best, True), self._peek(self._others, False)
            if best is None or others is None or others[:2] < best[:2]:
                break
            self._move(self._pop(self._best, True), False, moved)
            self._move(self._pop(self._others, False), True, moved)
        self._best = self._without_past(self._best, True)
        self._others = self._without_past(self._others, False)
        for mark in (0.0, 1.0):
            self._mark(
                [one for one in moved.values() if self._is_best[one.age] == bool(mark)], mark
            )

    def _without_past(
        self, heap: list[tuple[float, int, _Episode]], side: bool
    ) -> list[tuple[float, int, _Episode]]:
        """A heap most of whose entries are of the past is made anew."""
        if len(heap) <= 2 * len(self._is_best) + _MAX_PAST:
            return heap
        left = {entry[1]: entry for entry in heap if self._is_best.get(entry[2].age) is side}
        made = list(left.values())
        heapq.heapify(made)
        return made

    def _peek(self, heap: list[tuple[float, int, _Episode]], side: bool) -> _Episode | None:
        while heap and self._is_best.get(heap[0][2].age) is not side:
            heapq.heappop(heap)
        return heap[0][2] if heap else None

    def _pop(self, heap: list[tuple[float, int, _Episode]], side: bool) -> _Episode:
        found = self._peek(heap, side)
        assert found is not None
        heapq.heappop(heap)
        return found

    def _move(self, episode: _Episode, best: bool, moved: dict[int, _Episode]) -> None:
        self._is_best[episode.age] = best
        self._num_best += 1 if best else -1
        if best:
            heapq.heappush(self._best, (episode.score, episode.age, episode))
        else:
            heapq.heappush(self._others, _reversed(episode))
        # Who moves back again has not moved.
        if moved.pop(episode.age, None) is None:
            moved[episode.age] = episode

    def _mark(self, episodes: list[_Episode], mark: float) -> None:
        if not episodes:
            return
        lanes = np.repeat([one.lane for one in episodes], [_length(one) for one in episodes])
        rows = np.concatenate([np.arange(one.begin, one.last_row) for one in episodes])
        handles = handles_of(self._buffer, lanes, rows)
        handles = handles[self._buffer.are_drawable(handles)]
        self._buffer.update_priorities(handles, np.full(len(handles), mark), sampler=self._sampler)


def _length(episode: _Episode) -> int:
    return episode.last_row - episode.begin


def _reversed(episode: _Episode) -> tuple[float, int, _Episode]:
    return -episode.score, -episode.age, episode


def _columns(episodes: list[_Episode], names: Sequence[str]) -> list[npt.NDArray[Any]]:
    singular = {"lanes": "lane", "begins": "begin", "last_rows": "last_row"}
    singular |= {"numbers": "number", "scores": "score"}
    return [
        np.array(
            [getattr(one, singular[name]) for one in episodes],
            np.float64 if name == "scores" else np.int64,
        )
        for name in names
    ]


def _fraction(arguments: Arguments, top: object) -> Fraction:
    """As it is written: 0.1 of 30 are 3, not a little more."""
    return Fraction(repr(arguments.number("top", top, low=0, high=1, exclusive_low=True)))


def _check_score(
    arguments: Arguments, buffer: ReplayBuffer, score: Any, names: Sequence[str] | None
) -> tuple[Score, list[str]]:
    """A function of fields, and their names."""
    if callable(score):
        listed = check_names(arguments, "names", names)
        for name in listed:
            arguments.choice("names", name, sorted(buffer.field_names))
        return score, listed
    arguments.choice("score", score, sorted(buffer.field_names))
    shapes = {"/".join(leaf.path): leaf.batch_shape for leaf in buffer._leaves}
    if shapes[score]:
        raise arguments.error("score", "be a field of shape ()", list(shapes[score]))
    if names is not None:
        raise arguments.error("names", "be None, but with a function as `score`", repr(names))

    def total(fields: dict[str, Any], starts: Numbers) -> npt.NDArray[np.float64]:
        values: Any = fields
        for part in score.split("/"):
            values = values[part]
        sums: npt.NDArray[np.float64] = np.add.reduceat(values, starts, dtype=np.float64)
        return sums

    return total, [score]
