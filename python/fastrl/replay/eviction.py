"""Which transitions are to go: by a mask, by their handles, or by what a function says of them."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastrl._dispatch import Arguments
from fastrl.replay.arguments import check_handles, check_mask, checked_array
from fastrl.replay.batch import Batch
from fastrl.replay.episodes import lanes_and_rows

if TYPE_CHECKING:
    from fastrl.replay.buffer_rows import BufferRows

Handles = npt.NDArray[np.uint64]
# Of a batch, or of a dict of the fields that were named.
Predicate = Callable[[Any], Any]


def chosen_handles(
    buffer: "BufferRows", which: Any, names: Sequence[str] | None, chunk: int
) -> Handles:
    """Handles of the transitions that `which` means; see `ReplayBuffer.evict`."""
    arguments = Arguments("evict")
    chunk = arguments.integer("chunk", chunk, low=1)
    if not callable(which):
        if names is not None:
            rule = "be None, but with a function as `which`"
            raise arguments.error("names", rule, repr(names))
        if checked_array(arguments, "which", which).dtype != np.bool_:
            return check_handles(arguments, which, "which")
        handles = buffer.handles()
        return handles[check_mask(arguments, which, len(handles))]
    if names is not None:
        names = buffer._check_fields(arguments, names)
    handles = buffer.handles()
    parts = [handles[:0]]
    for start in range(0, len(handles), chunk):
        part, seen = _read(buffer, handles[start : start + chunk], names)
        if len(part):
            parts.append(part[check_mask(arguments, which(seen), len(part))])
    return np.concatenate(parts)


def _read(
    buffer: "BufferRows", handles: Handles, names: Sequence[str] | None
) -> tuple[Handles, Batch | dict[str, Any]]:
    """What a function is shown of these, and which ones: others write, so some may have gone."""
    try:
        return handles, _gathered(buffer, handles, names)
    except (ValueError, IndexError):
        left = handles[buffer.are_drawable(handles)]
        if len(left) == len(handles):
            raise  # something else was wrong
        return _read(buffer, left, names) if len(left) else (left, {})


def _gathered(
    buffer: "BufferRows", handles: Handles, names: Sequence[str] | None
) -> Batch | dict[str, Any]:
    if names is None:
        return buffer.gather(handles)
    lanes, rows = lanes_and_rows(buffer, handles)
    return buffer.gather_rows(lanes, rows, names)
