"""Where rows lie, and which rows are an episode's."""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastrl._dispatch import address

if TYPE_CHECKING:
    from fastrl.replay.buffer_facts import BufferFacts

Handles = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

_SLOT = np.uint64(0xFFFFFFFF)
_GENERATION = np.uint64(32)
_FIRST_GUESS = 64


class Places(NamedTuple):
    """Of n rows: a lane's rows are numbered from 0, as they were added.

    Attributes:
        lanes: Their lanes.
        rows: Their numbers.
        begins: Where the episode began; that row may have been overwritten.
        first_rows: The first row of the episode, among those that are still there.
        last_rows: The last row of the episode so far.
        complete: Whether that is its final observation.
        terminated: Whether the episode's last step terminated it. False where the episode goes on,
            and where that step has been overwritten or evicted.
        truncated: Whether that step was cut off; False as above.
    """

    lanes: Numbers
    rows: Numbers
    begins: Numbers
    first_rows: Numbers
    last_rows: Numbers
    complete: Flags
    terminated: Flags
    truncated: Flags


def places_of(native: Any, handles: Handles) -> Places:
    """Where the rows of a native buffer are; an error where some are not there any more."""
    n = len(handles)
    found = Places(*np.empty((5, n), np.int64), *np.empty((3, n), np.bool_))
    native.places(address(handles), n, *(address(array) for array in found))
    return found


class EndedEpisodes(NamedTuple):
    """Of n episodes that have ended and some of whose rows are still there, by lane and age.

    Attributes:
        lanes: Their lanes.
        numbers: In their lanes, from 1.
        begins: Their first rows, which may have been overwritten.
        last_rows: Their final observations.
        oldest_rows: [num_lanes], of each lane, the oldest that is still there.
    """

    lanes: Numbers
    numbers: Numbers
    begins: Numbers
    last_rows: Numbers
    oldest_rows: Numbers


def ended_episodes(buffer: "BufferFacts", after: Numbers) -> EndedEpisodes:
    """Those that come after number ``after[lane]`` of each lane; O(1) an episode."""
    native = buffer._native
    oldest_rows = np.empty(buffer.num_lanes, np.int64)
    room = _FIRST_GUESS
    while True:
        found = np.empty((4, room), np.int64)
        count = native.ended_episodes(
            address(after), *(address(row) for row in found), address(oldest_rows), room
        )
        if count <= room:
            lanes, numbers, begins, last_rows = found[:, :count]
            return EndedEpisodes(lanes, numbers, begins, last_rows, oldest_rows)
        room = count


def lanes_and_rows(buffer: "BufferFacts", handles: Handles) -> tuple[Numbers, Numbers]:
    """Where handles point to, from their numbers alone."""
    rows_per_lane = buffer.capacity // buffer.num_lanes
    lanes, places = np.divmod((handles & _SLOT).astype(np.int64), rows_per_lane)
    return lanes, (handles >> _GENERATION).astype(np.int64) * rows_per_lane + places


def handles_of(buffer: "BufferFacts", lanes: Numbers, rows: Numbers) -> Handles:
    """The handles of rows, [n] each."""
    rows_per_lane = buffer.capacity // buffer.num_lanes
    generations, places = np.divmod(rows, rows_per_lane)
    slots = (lanes * rows_per_lane + places).astype(np.uint64)
    return generations.astype(np.uint64) << _GENERATION | slots
