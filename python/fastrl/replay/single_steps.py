"""The single steps of n-step transitions, for whoever gives them other rewards or ends."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastrl._dispatch import Arguments, is_torch
from fastrl.replay.arguments import as_numpy, checked_array
from fastrl.replay.batch import Batch

if TYPE_CHECKING:
    from fastrl.replay.buffer import ReplayBuffer
    from fastrl.replay.episodes import Places

Numbers = npt.NDArray[Any]


class OverwrittenError(Exception):
    """A writer was faster: rows of the batch are gone by now."""


def gather_field(buffer: "ReplayBuffer", lanes: Numbers, rows: Numbers, name: str) -> Any:
    """One field of rows, "a/b" of one in a dict.

    Raises:
        OverwrittenError: They were there when the batch was drawn.
    """
    try:
        values: Any = buffer.gather_rows(lanes, rows, [name])
    except IndexError:
        raise OverwrittenError from None
    for part in name.split("/"):
        values = values[part]
    return values


def find_places(
    buffer: "ReplayBuffer", handles: npt.NDArray[np.uint64]
) -> tuple[npt.NDArray[np.bool_], "Places"]:
    """Which rows are still there, and where these are."""
    held = np.ones(len(handles), np.bool_)
    try:
        return held, buffer.places(handles)
    except ValueError as error:
        if "still there" not in str(error):
            raise
    # Rare: a writer overwrote some since they were drawn.
    for i in range(len(handles)):
        try:
            buffer.places(handles[i : i + 1])
        except ValueError:
            held[i] = False
    try:
        return held, buffer.places(handles[held])
    except ValueError:
        raise OverwrittenError from None


@dataclass(frozen=True, slots=True)
class SingleSteps:
    """Up to n steps of each of c transitions, S in all, one transition's after the other's.

    Attributes:
        buffer: Where the rows are.
        inside: [c, n], which of n steps there are: the first ones, at least one.
        lanes: [S], of each step.
        rows: [S], of each step; the row after it has its next observation.
        terminated: [S], whether the step ended its episode by itself, as it was stored.
        truncated: [S], whether it was cut off there.
    """

    buffer: "ReplayBuffer"
    inside: npt.NDArray[np.bool_]
    lanes: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    terminated: npt.NDArray[np.bool_]
    truncated: npt.NDArray[np.bool_]

    @classmethod
    def of(
        cls, buffer: "ReplayBuffer", places: "Places", batch: Batch, chosen: Numbers
    ) -> "SingleSteps":
        """The steps of those of a batch that are `chosen`, [c], and lie at these places."""
        # As many as were summed when they were drawn: their episodes may have gone on since.
        counts = (
            as_numpy(batch.lengths)[chosen] if buffer.n_step > 1 else np.ones(len(chosen), np.int64)
        )
        terminated = as_numpy(batch.terminated)[chosen]
        truncated = as_numpy(batch.truncated)[chosen]
        steps = np.arange(buffer.n_step)
        inside = steps < counts[:, None]
        is_last = steps == counts[:, None] - 1
        return cls(
            buffer,
            inside,
            np.repeat(places.lanes, counts),
            (places.rows[:, None] + steps)[inside],
            (is_last & terminated[:, None])[inside],
            (is_last & truncated[:, None])[inside],
        )

    def repeat(self, values: Numbers) -> Numbers:
        """[c, …] → [S, …]: of the transition that a step belongs to."""
        repeated: Numbers = np.repeat(values, self.inside.sum(1), axis=0)
        return repeated

    def discounts(self) -> Numbers:
        """[S], each step's own."""
        return stored_discounts(self.buffer, self.lanes, self.rows)

    def summed(self, rewards: Numbers, terminated: Numbers) -> "Summed":
        """R = Σ_k (∏_{j<k} d_j) r_k up to the first step that terminates.

        Args:
            rewards: [S, …].
            terminated: [S].
        """
        ends = np.zeros(self.inside.shape, np.bool_)
        ends[self.inside] = terminated
        lengths = self.inside.sum(1)
        ended: npt.NDArray[np.bool_] = np.asarray(ends.any(1))
        lengths = np.where(ended, ends.argmax(1) + 1, lengths)
        factors = np.ones(self.inside.shape)
        factors[self.inside] = self.discounts()
        products = np.cumprod(factors, axis=1)
        before = np.ones_like(products)
        before[:, 1:] = products[:, :-1]
        before[np.arange(self.inside.shape[1]) >= lengths[:, None]] = 0
        by_step = np.zeros((*self.inside.shape, *rewards.shape[1:]))
        by_step[self.inside] = rewards
        return Summed(
            np.einsum("cn,cn...->c...", before, by_step),
            np.where(ended, 0, np.take_along_axis(products, lengths[:, None] - 1, axis=1)[:, 0]),
            ended,
            lengths,
        )


@dataclass(frozen=True, slots=True)
class Summed:
    """What c transitions come to.

    Attributes:
        rewards: [c, …], discounted sums.
        discounts: [c], the product of the steps', 0 where one terminated.
        terminated: [c].
        lengths: [c], steps up to there.
    """

    rewards: Numbers
    discounts: Numbers
    terminated: npt.NDArray[np.bool_]
    lengths: npt.NDArray[np.int64]


def stored_discounts(buffer: "ReplayBuffer", lanes: Numbers, rows: Numbers) -> Numbers:
    """Of single steps, [n]: stored ones, else the buffer's gamma."""
    if "discounts" in buffer.field_names:
        stored: Numbers = gather_field(buffer, lanes, rows, "discounts")
        return stored
    return np.full(len(rows), buffer.gamma)


def with_summed(
    batch: Batch, chosen: npt.NDArray[np.int64], places: "Places", steps: SingleSteps, of: Summed
) -> dict[str, Any]:
    """The fields of a batch, where transitions `chosen` come to something else than was stored."""
    buffer = steps.buffer
    cut = of.lengths < steps.inside.sum(1)
    terminated, truncated = (
        as_numpy(flags)[chosen] for flags in (batch.terminated, batch.truncated)
    )
    # An episode that does not end there any more was cut.
    truncated = truncated | (terminated & ~of.terminated)
    changed = {
        "rewards": put(batch.rewards, chosen, of.rewards),
        "discounts": put(batch.discounts, chosen, of.discounts),
        "terminated": put(batch.terminated, chosen, of.terminated),
        "truncated": put(batch.truncated, chosen, truncated & ~cut),
    }
    if buffer.n_step > 1:
        changed["lengths"] = put(batch.lengths, chosen, of.lengths)
        rows = places.rows + of.lengths
        next_ones = gather_field(buffer, places.lanes, rows, "observations")
        changed["next_observations"] = put(batch.next_observations, chosen, next_ones)
    return changed


def put(values: Any, chosen: Numbers, new: Any) -> Any:
    """A copy of an array, or of a dict of these, with other values at `chosen`."""
    if isinstance(values, Mapping):
        return {
            name: put(value, chosen, new[name]) if name in new else value
            for name, value in values.items()
        }
    copy = as_numpy(values).copy()
    copy[chosen] = new
    return like(values, copy)


def like(values: Any, array: Numbers) -> Any:
    """The array as what `values` are: NumPy, torch, or torch in page-locked memory."""
    if not is_torch(values):
        return array
    import torch

    tensor = torch.from_numpy(array)
    return tensor.pin_memory() if values.is_pinned() else tensor


def check_result(
    arguments: Arguments, argument: str, value: Any, shape: tuple[int, ...], *, flags: bool = False
) -> Numbers:
    """What a caller's function returned, an array of that shape; bool where they are flags."""
    array = checked_array(arguments, argument, value)
    if array.shape != shape:
        sizes = ", ".join(("n", *(str(size) for size in shape[1:])))
        raise arguments.error(
            argument, f"return shape [{sizes}] = {list(shape)}", list(array.shape)
        )
    kinds = "b" if flags else "biuf"
    if array.dtype.kind not in kinds:
        rule = "return bool" if flags else "return real numbers"
        raise arguments.error(argument, rule, array.dtype, kind=TypeError)
    return array
