"""What a store of trajectories hands out: arrays by name."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from fastrl._dispatch import INTEGERS, Arguments, Array, argument_error, is_torch

_PER_TOKEN = ("token_ids", "action_mask", "log_probs")


class TrajectoryBatch(Mapping[str, Array]):
    """A batch of trajectories: ``batch.rewards`` or ``batch["rewards"]``; NumPy or torch.

    Packed (B trajectories, N tokens back to back) or padded on the right with 0 ([B, L]):

        token_ids        [N] or [B, L] int32
        action_mask      [N] or [B, L] bool, true where the policy chose the token
        log_probs        [N] or [B, L] float32, the bits that were added
        cu_seqlens       [B + 1] int32: trajectory i has tokens cu_seqlens[i] up to
                         cu_seqlens[i + 1]
        handles          [B] int64
        group_ids        [B] int64
        policy_versions  [B] int64, of the policy that made the trajectory
        created          [B] int64, when
        rewards          [B] float32
        advantages       [B] float32, NaN where none was given
        use_counts       [B] int32, the batches that it was in before this one
        successes        [B] bool
        cu_groups        [G + 1] int32, of `sample_groups` only: group j has trajectories
                         cu_groups[j] up to cu_groups[j + 1]

    and the columns that the store was made with. Losses take them as they are:
    ``policy_loss(log_probs, batch.advantages, batch.action_mask,
    behavior_log_probs=batch.log_probs, cu_seqlens=batch.cu_seqlens)``.

    The arrays are the caller's: their memory is used again only after the last of them is gone.

    Args:
        arrays: By name.
        per_token: The names of those that have tokens; the others have trajectories.
    """

    __slots__ = ("_arrays", "_per_token")

    def __init__(self, arrays: Mapping[str, Array], per_token: Iterable[str] = _PER_TOKEN) -> None:
        given: Any = arrays
        if not isinstance(given, Mapping):
            rule = "be a dict of arrays"
            actual = type(given).__name__
            raise argument_error("TrajectoryBatch", "arrays", rule, actual, kind=TypeError)
        self._arrays = dict(given)
        self._per_token = frozenset(per_token)

    def __getitem__(self, name: str) -> Array:
        return self._arrays[name]

    def __getattr__(self, name: str) -> Any:
        try:
            return self._arrays[name]
        except KeyError:
            raise AttributeError(f"this batch has no {name!r}, only {list(self._arrays)}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name} {list(array.shape)}" for name, array in self._arrays.items())
        return f"TrajectoryBatch({sizes})"

    def with_arrays(self, **arrays: Array) -> "TrajectoryBatch":
        """The same batch with some arrays in place of its own."""
        return TrajectoryBatch(self._arrays | arrays, self._per_token)

    def select(self, rows: Array) -> "TrajectoryBatch":
        """Some trajectories [K] of a packed batch, in that order; `cu_groups` is left out."""
        check = Arguments("TrajectoryBatch.select")
        check.array("rows", rows, ["K"], INTEGERS)
        chosen = np.asarray(rows)
        count = self._checked_ends("TrajectoryBatch.select", "self").size - 1
        if ((chosen < 0) | (chosen >= count)).any():
            raise check.error("rows", f"be rows of the batch's {count}", chosen.tolist())
        return _gathered([self], np.zeros(len(chosen), np.int64), chosen)

    def replace(self, rows: Array, others: "TrajectoryBatch") -> "TrajectoryBatch":
        """A packed batch whose trajectories `rows` [K], each once, are those of `others`, [K]."""
        check = Arguments("TrajectoryBatch.replace")
        check.array("rows", rows, ["K"], INTEGERS)
        replaced = np.asarray(rows)
        count = self._checked_ends(check.function, "self").size - 1
        check_batch(check, "others", others)
        given = others._checked_ends(check.function, "others").size - 1
        if given != len(replaced):
            raise check.error(
                "others", f"have a trajectory for each of {len(replaced)} rows", given
            )
        outside = ((replaced < 0) | (replaced >= count)).any()
        if outside or len(np.unique(replaced)) != len(replaced):
            rule = f"be different rows of the batch's {count}"
            raise check.error("rows", rule, replaced.tolist())
        sources, positions = np.zeros(count, np.int64), np.arange(count)
        sources[replaced], positions[replaced] = 1, np.arange(given)
        return _gathered([self, others], sources, positions)

    @staticmethod
    def concatenate(batches: "Sequence[TrajectoryBatch]") -> "TrajectoryBatch":
        """One packed batch of several: of the arrays that all of them have."""
        function = "TrajectoryBatch.concatenate"
        given: Any = batches
        if isinstance(given, TrajectoryBatch) or not isinstance(given, Sequence):
            rule = "be a list of batches"
            actual = type(given).__name__
            raise argument_error(function, "batches", rule, actual, kind=TypeError)
        if not batches:
            raise argument_error(function, "batches", "not be empty", "[]")
        for i, batch in enumerate(batches):
            check_batch(Arguments(function), f"batches[{i}]", batch)
        counts = [batch._checked_ends(function, "batches").size - 1 for batch in batches]
        sources = np.repeat(np.arange(len(batches)), counts)
        positions = np.concatenate([np.arange(count) for count in counts])
        return _gathered(batches, sources, positions)

    def _checked_ends(self, function: str, argument: str) -> Any:
        if "cu_seqlens" not in self or any(
            self[name].shape[0] != int(self.cu_seqlens[-1]) for name in self._per_token & set(self)
        ):
            raise argument_error(function, argument, "be packed", "another batch")
        return np.asarray(self.cu_seqlens)


def check_batch(arguments: Arguments, name: str, batch: object) -> None:
    """That an argument is a TrajectoryBatch."""
    if not isinstance(batch, TrajectoryBatch):
        rule = "be a TrajectoryBatch"
        raise arguments.error(name, rule, type(batch).__name__, kind=TypeError)


def _gathered(batches: Sequence[TrajectoryBatch], sources: Any, rows: Any) -> TrajectoryBatch:
    """Row k of the result is row `rows[k]` of batch `sources[k]`."""
    names = [
        name
        for name in batches[0]
        if name not in ("cu_groups", "cu_seqlens") and all(name in batch for batch in batches)
    ]
    counts = [len(batch.cu_seqlens) - 1 for batch in batches]
    ends = [np.asarray(batch.cu_seqlens).astype(np.int64) for batch in batches]
    first_rows = np.cumsum([0, *counts])[sources]
    all_lengths = np.concatenate([np.diff(each) for each in ends])
    token_starts = np.cumsum([0, *(int(each[-1]) for each in ends)])
    all_starts = np.concatenate([e[:-1] + s for e, s in zip(ends, token_starts, strict=False)])
    places = first_rows + rows
    lengths = all_lengths[places]
    cu_seqlens = np.concatenate(([0], np.cumsum(lengths)))
    tokens = np.repeat(all_starts[places] - cu_seqlens[:-1], lengths) + np.arange(cu_seqlens[-1])
    per_token = batches[0]._per_token
    arrays: dict[str, Array] = {}
    for name in names:
        joined = np.concatenate([np.asarray(batch[name]) for batch in batches])
        arrays[name] = joined[tokens if name in per_token else places]
    arrays["cu_seqlens"] = cu_seqlens.astype(np.int32)
    if is_torch(batches[0].cu_seqlens):
        import torch

        arrays = {name: torch.from_numpy(array) for name, array in arrays.items()}
    return TrajectoryBatch(arrays, per_token)
