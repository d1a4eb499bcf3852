"""Rows that are dealt out to several buffers: the checks of all before the first is written to."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastrl._dispatch import Arguments, address
from fastrl.replay.buffer import ReplayBuffer

NO_KEY = -1
_BETWEEN, _ENDED = 0, 2  # of a lane's state


class OpenEpisodes:
    """Which key the open episode of each lane has.

    Attributes:
        keys: [num_lanes], places of keys, −1 where none is open.
        ended: [num_lanes], whether the episode has ended and its final observation comes next.
    """

    def __init__(self, names: Sequence[int], buffers: Sequence[ReplayBuffer]) -> None:
        first = buffers[0]
        self._names = names
        self._has_ends = any(leaf.is_observation for leaf in first._leaves)
        self._next_step = bool(first._options["next_step_autoreset"])
        self.keys = np.full(first.num_lanes, NO_KEY, np.int64)
        self.ended = np.zeros(first.num_lanes, np.bool_)
        states = np.empty(first.num_lanes, np.int32)
        for index, buffer in enumerate(buffers):
            buffer._native.lane_states(address(states))
            self.keys[states != _BETWEEN] = index
            self.ended |= states == _ENDED

    @property
    def need_finals(self) -> bool:
        """Whether an episode's last step comes with its final observation."""
        return self._has_ends and not self._next_step

    def walk(
        self,
        arguments: Arguments,
        indices: npt.NDArray[np.int64],
        ends: npt.NDArray[np.bool_],
        terminated: npt.NDArray[np.bool_],
        columns: npt.NDArray[np.int64],
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """What is open after these steps; puts final observations where their episodes are."""
        opened, is_final = self.keys[columns].copy(), self.ended[columns].copy()
        if not self._has_ends:
            return opened, is_final
        for step, (index, end) in enumerate(zip(indices, ends, strict=True)):
            index[is_final] = opened[is_final]
            wrong = ~is_final & (opened != NO_KEY) & (opened != index)
            if wrong.any():
                at = int(wrong.argmax())
                now, before = self._names[index[at]], self._names[opened[at]]
                rule = "stay the same throughout an episode"
                actual = f"{now} after {before} in lane {columns[at]}"
                raise arguments.error("keys", rule, actual)
            if (is_final & end).any():
                at = int((is_final & end).argmax())
                rule = "be False in the row after the end of an episode, its final observation"
                actual = f"True in lane {columns[at]} at step {step}"
                name = "terminated" if terminated[step, at] else "truncated"
                raise arguments.error(name, rule, actual)
            opened = np.where(is_final | (end & (not self._next_step)), NO_KEY, index)
            is_final = end & self._next_step & ~is_final
        return opened, is_final


def check_columns(
    arguments: Arguments, lanes: npt.NDArray[np.int64] | None, num_lanes: int
) -> npt.NDArray[np.int64]:
    """The lanes of the columns."""
    if lanes is None:
        return np.arange(num_lanes)
    wrong = (lanes < 0) | (lanes >= num_lanes)
    if wrong.any():
        rule = f"be from 0 to {num_lanes - 1}"
        raise arguments.error("lanes", rule, lanes[wrong][0], kind=IndexError)
    if len(np.unique(lanes)) != len(lanes):
        raise arguments.error("lanes", "name each lane once", lanes.tolist())
    return lanes


def check_priorities(arguments: Arguments, priorities: npt.NDArray[np.float64] | None) -> None:
    """What each buffer would say only after others have been written to."""
    if priorities is None:
        return
    wrong = ~(np.isfinite(priorities) & (priorities >= 0))
    if wrong.any():
        raise arguments.error("priorities", "be finite and at least 0", priorities[wrong][0])


def check_ends(
    arguments: Arguments, ends: npt.NDArray[np.bool_], columns: npt.NDArray[np.int64]
) -> None:
    """Episodes must not end where there are no final observations."""
    if ends.any():
        step, column = np.argwhere(ends)[0]
        actual = f"None, but lane {columns[column]} ends at step {step}"
        raise arguments.error("final_observations", "be given where an episode ends", actual)


def runs(indices: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Steps throughout which all columns keep their keys."""
    changes = 1 + np.flatnonzero((indices[1:] != indices[:-1]).any(1))
    bounds = [0, *changes.tolist(), len(indices)]
    return itertools.pairwise(bounds)


def reshaped(values: Any, leading: int, steps: tuple[int, ...]) -> Any:
    """With two leading dimensions, whatever was given."""
    if isinstance(values, Mapping):
        return {name: reshaped(value, leading, steps) for name, value in values.items()}
    return None if values is None else values.reshape(*steps, *values.shape[leading:])


def taken(values: Any, begin: int | None, end: int | None, mine: npt.NDArray[np.bool_]) -> Any:
    """Some columns, of steps begin, …, end − 1 where there are steps."""
    if isinstance(values, Mapping):
        return {name: taken(value, begin, end, mine) for name, value in values.items()}
    if values is None:
        return None
    return values[mine] if begin is None else values[begin:end, mine]
