"""What a store of trajectories says of itself: what it holds, and what it has counted."""

from typing import Any

import numpy as np
import numpy.typing as npt

from fastrl._dispatch import INTEGERS, Arguments, Array, address, contiguous
from fastrl.replay.trajectory_arguments import as_numpy, check_on_cpu, checked_handles


class TrajectoryFacts:
    """The part of `TrajectoryStore` that answers questions about the whole."""

    num_buckets: int
    weighted: bool
    _core: Any
    _columns: dict[str, tuple[list[int], str, int]]
    _token_columns: dict[str, tuple[list[int], str, int]]

    def __len__(self) -> int:
        return int(self._core.totals()["count"])

    @property
    def column_names(self) -> tuple[str, ...]:
        """What is kept beside the ids, the mask and the fixed numbers of a trajectory."""
        return (*self._token_columns, *self._columns)

    @property
    def num_groups(self) -> int:
        """Groups that have a trajectory in the store."""
        return int(self._core.totals()["num_groups"])

    @property
    def num_tokens(self) -> int:
        """Tokens in the store."""
        return int(self._core.totals()["num_tokens"])

    @property
    def policy_version(self) -> int:
        """The newest version that was added, or that `advance` was told."""
        return int(self._core.totals()["policy_version"])

    @property
    def clock(self) -> int:
        """The time: trajectories added, or what `add` and `advance` were told."""
        return int(self._core.totals()["clock"])

    @property
    def counters(self) -> dict[str, Any]:
        """How many were added, sampled, refused and evicted.

        `added`, `sampled` (draws that counted as a use), `refused_stale`, `refused_updates`, and
        `evicted` by reason.
        """
        totals = self._core.totals()
        names = ("added", "sampled", "refused_stale", "refused_updates", "evicted")
        return {name: totals[name] for name in names}

    def contains(self, handles: Array) -> npt.NDArray[np.bool_]:
        """[B] whether each handle's trajectory is still in the store."""
        asked = checked_handles(Arguments("contains"), handles)
        there = np.empty(len(asked), np.bool_)
        self._core.contains(address(asked), len(asked), address(there))
        return there

    def handles(self) -> npt.NDArray[np.int64]:
        """All handles, from the oldest policy version to the newest."""
        return np.array(self._core.handles(), np.int64)

    def group_counts(self, group_ids: Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Each group's [G] stored trajectories, and its successes as its bucket counts them."""
        check = Arguments("group_counts")
        check_on_cpu(check, "group_ids", group_ids, ["G"], INTEGERS)
        keys = contiguous(as_numpy(group_ids), "int64")
        members, successes = np.empty((2, len(keys)), np.int64)
        self._core.group_counts(address(keys), len(keys), address(members), address(successes))
        return members, successes

    def bucket_counts(self) -> npt.NDArray[np.int64]:
        """[num_buckets] the groups with 0, 1, … successes; the last bucket counts all above."""
        counts = np.empty(self.num_buckets, np.int64)
        self._core.bucket_counts(address(counts))
        return counts
