"""Sequences out of rows that lie in the order of time, for recurrent networks and long returns."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastrl import _core
from fastrl._dispatch import Arguments, Array, address
from fastrl.replay.arguments import MAX_DRAWS, checked_array
from fastrl.replay.batch import Batch, Rings, allocate, as_tensors, check_output
from fastrl.replay.episodes import places_of
from fastrl.replay.fields import Leaf, nested

BOUNDARIES = ("pad", "stop", "shift")
RECURRENT_STATE = "recurrent_state"
NO_HANDLE = np.uint64(2**64 - 1)
_NAMES = ("validity_mask", "learning_mask", "is_first", "positions", "step_handles")
_MAX_ATTEMPTS = 8

Numbers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


class SequenceBatch(Batch):
    """n sequences of T rows: every field by its name, [n, T, …], and what follows.

    A sequence begins in column 0 with its burn-in and is padded behind, with zeros. The last row of
    an episode, its final observation or its newest row so far, is only an observation: all other
    fields are 0 there. With `time_major` all that is [n, T] here is [T, n].

    Attributes:
        observations: [n, T, …], or a dict of these.
        recurrent_state: [n, …] of the first row, or a dict of these, where the buffer has it.
        discounts: [n, T], of each step; 0 after termination and where there is no step.
        terminated: [n, T], whether the step ended its episode by itself.
        truncated: [n, T], whether it was cut off there; the observation after it counts.
        validity_mask: [n, T], whether there is a row.
        learning_mask: [n, T], the steps to learn from: no burn-in, no bootstrap rows, no padding.
        is_first: [n, T], whether the row is an episode's first one.
        positions: [n, T] int64, the rows' numbers in their lanes; −1 where padded.
        step_handles: [n, T] uint64, of the rows; 2^64 − 1, which no row has, where padded.
        handles: [n] uint64, of the steps that were drawn, to give priorities to.
        probabilities: [n] float64, that one draw takes this step.
        importance_weights: [n] float32.
    """

    recurrent_state: Any
    validity_mask: Any
    learning_mask: Any
    is_first: Any
    positions: Any
    step_handles: Any

    def __repr__(self) -> str:
        return f"Sequence{super().__repr__()}"


class Cut(NamedTuple):
    """How to cut sequences: n of them, and the numbers of their rows."""

    n: int
    length: int
    burn_in: int
    bootstrap: int
    boundary: str
    time_major: bool
    output: str

    @property
    def num_rows(self) -> int:
        """Of a whole sequence, T."""
        return self.burn_in + self.length + self.bootstrap


class _Windows(NamedTuple):
    """Of n sequences, in rows of their lanes: begin ≤ start < learned_end < end."""

    lanes: Numbers
    begins: Numbers
    starts: Numbers  # the first learned rows
    learned_ends: Numbers
    ends: Numbers
    is_first: Mask  # whether an episode begins at `begins`
    lasts: Numbers  # the rows that are only an observation
    terminated: Mask  # how the steps before these ended
    truncated: Mask


class _OverwrittenError(Exception):
    """Rows that were drawn went before they were read."""


class SequenceReader:
    """Draws sequences from one buffer: O(1) each, by counting from the row that was drawn."""

    def __init__(self, native: Any, leaves: Sequence[Leaf], options: Mapping[str, Any]) -> None:
        self._native = native
        self._leaves = leaves
        self._rows_per_lane = int(options["rows_per_lane"])
        self._gamma = float(options["gamma"])
        self._stack = max(leaf.stack for leaf in leaves)
        numbers = {leaf.path[0]: leaf.dtype for leaf in leaves}
        default = np.dtype(np.float32)
        self._discount_dtype = numbers.get("discounts", numbers.get("rewards", default))
        self._rings = Rings()

    def check(self, arguments: Arguments, cut: Cut) -> Cut:
        """The cut in Python's own types, or the error that says what is wrong with it."""
        if not any(leaf.is_observation for leaf in self._leaves):
            raise arguments.error("fields", "have 'observations'", "none")
        for leaf in self._leaves:
            if leaf.path[0] in _NAMES:
                rule = f"not have a name that sequences use, {', '.join(_NAMES)}"
                raise arguments.error("fields", rule, repr(leaf.path[0]))
        checked = Cut(
            arguments.integer("n", cut.n, low=1, high=MAX_DRAWS),
            arguments.integer("length", cut.length, low=1),
            arguments.integer("burn_in", cut.burn_in, low=0),
            arguments.integer("bootstrap", cut.bootstrap, low=0),
            arguments.choice("boundary", cut.boundary, BOUNDARIES),
            arguments.flag("time_major", cut.time_major),
            check_output(arguments, cut.output, self._leaves),
        )
        if checked.num_rows > self._rows_per_lane:
            rule = f"be at most a lane's {self._rows_per_lane} rows with burn_in and bootstrap"
            raise arguments.error("length", rule, f"{cut.length}, which makes {checked.num_rows}")
        return checked

    def sample(
        self, cut: Cut, sampler: int, importance_exponent: float, timeout: float
    ) -> SequenceBatch:
        """A batch; drawn again where other writers overwrite its rows meanwhile."""
        for _ in range(_MAX_ATTEMPTS):
            drawn = self._draw(cut.n, sampler, importance_exponent, timeout)
            try:
                values = self._read(cut, self._windows(cut, drawn["handles"]))
            except _OverwrittenError:
                continue
            for name in ("handles", "probabilities", "importance_weights"):
                values[name] = drawn[name]
            return _batch(values, cut.output)
        raise RuntimeError(
            f"sample_sequences: rows were overwritten before they were read, {_MAX_ATTEMPTS} times "
            "in a row; a larger capacity leaves more time"
        )

    def _ring(self, n: int) -> Any:
        """For transitions of which only flags, handles and weights are wanted."""
        count, dtype = len(self._leaves), self._discount_dtype
        # The ring must not know `self`, or both would hold each other for ever.
        return self._rings.at(n, lambda: _core.BatchRing(lambda: _make_set(n, count, dtype)))

    def _draw(
        self, n: int, sampler: int, importance_exponent: float, timeout: float
    ) -> dict[str, Any]:
        try:
            values = self._native.sample(n, sampler, importance_exponent, self._ring(n), timeout)
        except (ValueError, TimeoutError) as error:
            # What it says of drawing is also true here, but for the name.
            message = str(error).removeprefix("sample:")
            raise type(error)(f"sample_sequences:{message}") from None
        return values  # type: ignore[no-any-return]

    def _handles(self, lanes: Numbers, rows: Numbers) -> npt.NDArray[np.uint64]:
        generations, positions = np.divmod(rows, self._rows_per_lane)
        return (generations << 32 | (lanes * self._rows_per_lane + positions)).astype(np.uint64)

    def _windows(self, cut: Cut, handles: npt.NDArray[np.uint64]) -> _Windows:
        try:
            places = places_of(self._native, handles)
        except ValueError:
            raise _OverwrittenError from None
        drawn, first = places.rows, places.first_rows
        # An evicted step does not say how it ended its episode, which is taken as one that goes on
        # and in which that step is the newest.
        evicted = places.complete & ~places.terminated & ~places.truncated
        last = places.last_rows - evicted
        if (last <= drawn).any():
            raise _OverwrittenError

        starts = drawn
        if cut.boundary == "shift":
            starts = np.minimum(drawn, last - cut.length)
        # Where the first row that is held is inside of its episode, the next ones have lost a part
        # of their stacks. The drawn row has all of its own.
        inside = places.begins < first
        lowest = np.where(inside, np.minimum(first + self._stack - 1, drawn), first)
        starts = np.maximum(starts, lowest)
        begins = np.maximum(starts - cut.burn_in, lowest)
        return _Windows(
            places.lanes,
            begins,
            starts,
            np.minimum(starts + cut.length, last),
            np.minimum(starts + cut.length + cut.bootstrap, last + 1),
            begins == places.begins,
            last,
            places.terminated,
            places.truncated,
        )

    def _read(self, cut: Cut, windows: _Windows) -> dict[str, Any]:
        num_columns = cut.num_rows
        if cut.boundary == "stop":
            num_columns = int((windows.ends - windows.begins).max())
        columns = np.arange(num_columns)
        rows_axis, columns_axis = (0, 1) if cut.time_major else (1, 0)

        def across(of_sequence: npt.NDArray[Any]) -> npt.NDArray[Any]:
            return np.expand_dims(of_sequence, rows_axis)

        rows = across(windows.begins) + np.expand_dims(columns, columns_axis)
        valid = rows < across(windows.ends)
        steps = valid & (rows < across(windows.lasts))
        newest = steps & (rows == across(windows.lasts) - 1)
        terminated = newest & across(windows.terminated)
        # Padding reads a row that is there and is then set to zeros.
        read = np.ascontiguousarray(np.minimum(rows, across(windows.ends) - 1))
        lanes = np.ascontiguousarray(np.broadcast_to(across(windows.lanes), rows.shape))

        leaves, values = [], []
        discounts = None
        for index, leaf in enumerate(self._leaves):
            if leaf.path[0] == RECURRENT_STATE:
                array = self._gather(index, leaf, windows.lanes, windows.begins, cut.output)
            else:
                array = self._gather(index, leaf, lanes, read, cut.output)
                missing = ~valid if leaf.is_observation else ~steps
                array[missing] = np.zeros((), leaf.dtype)
            if leaf.path[0] == "discounts":
                discounts = array
                continue
            leaves.append(leaf)
            values.append(array)
        made: dict[str, Any] = nested(leaves, values)
        pinned = cut.output == "pinned"
        if discounts is None:
            discounts = allocate(rows.shape, self._discount_dtype, pinned)
            discounts[...] = np.where(steps, self._gamma, 0.0)
        discounts[terminated] = 0
        others = {
            "discounts": discounts,
            "terminated": terminated,
            "truncated": newest & across(windows.truncated),
            "validity_mask": valid,
            "learning_mask": (rows >= across(windows.starts))
            & (rows < across(windows.learned_ends)),
            "is_first": (rows == across(windows.begins)) & across(windows.is_first),
            "positions": np.where(valid, rows, -1),
        }
        for name, array in others.items():
            if pinned and array is not discounts:
                copy = allocate(array.shape, array.dtype, True)
                copy[...] = array
                array = copy
            made[name] = array
        made["step_handles"] = np.where(valid, self._handles(lanes, read), NO_HANDLE)
        return made

    def _gather(
        self, index: int, leaf: Leaf, lanes: Numbers, rows: Numbers, output: str
    ) -> npt.NDArray[Any]:
        array = allocate((*rows.shape, *leaf.batch_shape), leaf.dtype, output == "pinned")
        try:
            self._native.gather_rows(
                address(lanes), address(rows), rows.size, index, address(array)
            )
        except IndexError:
            raise _OverwrittenError from None
        return array


def _make_set(n: int, num_fields: int, discount_dtype: np.dtype[Any]) -> Any:
    """Arrays for n transitions without their fields."""
    rest = {
        "discounts": np.empty(n, discount_dtype),
        "terminated": np.empty(n, np.bool_),
        "truncated": np.empty(n, np.bool_),
        "handles": np.empty(n, np.uint64),
        "probabilities": np.empty(n, np.float64),
        "importance_weights": np.empty(n, np.float32),
    }
    nothing = [None] * num_fields
    return _core.BatchSet(rest, nothing, nothing, rest)


def _batch(values: dict[str, Any], output: str) -> SequenceBatch:
    if output != "numpy":
        import torch

        step_handles = values.pop("step_handles")
        values = as_tensors(values, torch.from_numpy)
        values["step_handles"] = step_handles
    batch = SequenceBatch.__new__(SequenceBatch)
    batch.__dict__ = values
    return batch


def sequence_priorities(
    td_errors: Array, mask: Array, eta: float = 0.9, *, time_major: bool = False
) -> npt.NDArray[np.float64]:
    """Priorities of sequences: between their largest and their mean error.

        p = η max_t |δ_t| + (1 − η) mean_t |δ_t|,    t over the steps of the mask

    Give them to `update_priorities` with the batch's handles, which are of the drawn steps.

    Args:
        td_errors: [n, T], of any sign; read where the mask is True.
        mask: [n, T] bool, a batch's `learning_mask`.
        eta: From 0 to 1.
        time_major: Whether both are [T, n].

    Returns:
        [n].

    Reference: Kapturowski et al., "Recurrent Experience Replay in Distributed Reinforcement
    Learning", 2019.
    """
    arguments = Arguments("sequence_priorities")
    eta = arguments.number("eta", eta, low=0, high=1)
    axis = 0 if arguments.flag("time_major", time_major) else 1
    errors = checked_array(arguments, "td_errors", td_errors)
    chosen = checked_array(arguments, "mask", mask)
    letters = "[T, n]" if axis == 0 else "[n, T]"
    if errors.dtype.kind != "f":
        rule = "have a dtype of floating point"
        raise arguments.error("td_errors", rule, errors.dtype, kind=TypeError)
    if errors.ndim != 2:
        raise arguments.error("td_errors", f"have shape {letters}", list(errors.shape))
    if chosen.dtype != np.bool_:
        raise arguments.error("mask", "have dtype bool", chosen.dtype, kind=TypeError)
    if chosen.shape != errors.shape:
        rule = f"have shape {letters} = {list(errors.shape)}"
        raise arguments.error("mask", rule, list(chosen.shape))
    counts = chosen.sum(axis)
    if not counts.all():
        rule = "have a step of every sequence"
        raise arguments.error("mask", rule, f"none of sequence {int(counts.argmin())}")
    sizes = np.where(chosen, np.abs(errors), 0).astype(np.float64)
    if not np.isfinite(sizes).all():
        item = int(np.flatnonzero(~np.isfinite(sizes).all(axis))[0])
        raise arguments.error("td_errors", "be finite", f"others in sequence {item}")
    priorities = eta * sizes.max(axis) + (1 - eta) * sizes.sum(axis) / counts
    return priorities  # type: ignore[no-any-return]
