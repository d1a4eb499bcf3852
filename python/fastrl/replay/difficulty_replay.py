"""Replay by difficulty: successes of prompts that are solved sometimes, the middle ones most."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from fastrl._dispatch import INTEGERS, MASKS, Arguments, Array
from fastrl.replay.arguments import MAX_DRAWS, check_function, checked_array
from fastrl.replay.trajectories import TrajectoryStore, check_store
from fastrl.replay.trajectory_batch import TrajectoryBatch, check_batch

_WEIGHTINGS = ("normal", "linear", "sqrt", "linear_clip")


def difficulty_weights(
    weighting: str, group_size: int, num_buckets: int
) -> npt.NDArray[np.float64]:
    """[num_buckets] how likely the prompts with k successes of n = group_size are drawn.

        normal       exp(−(k − n/2)² / 2) / √(2π)
        linear       k / n
        sqrt         √(k / n)
        linear_clip  k / n, and ½ where k > n/2

    for 0 < k < n; 0 for the others, which have nothing to teach.
    """
    check = Arguments("difficulty_weights")
    check.choice("weighting", weighting, _WEIGHTINGS)
    n = check.integer("group_size", group_size, low=2)
    num_buckets = check.integer("num_buckets", num_buckets, low=n, high=2**20)
    k = np.arange(num_buckets, dtype=np.float64)
    weights = {
        "normal": np.exp(-((k - n / 2) ** 2) / 2) / math.sqrt(2 * math.pi),
        "linear": k / n,
        "sqrt": np.sqrt(k / n),
        "linear_clip": np.where(k > n / 2, 0.5, k / n),
    }[weighting]
    return np.where((k > 0) & (k < n), weights, 0.0)


class DifficultyReplay:
    """ExGRPO's replay.

        kept     the successes of groups with min_successes ≤ successes ≤ max_successes
        retired  a prompt whose rollouts all succeeded: what is stored of it goes, and it never
                 comes back
        drawn    a bucket by `difficulty_weights`, then a prompt of it uniformly, no prompt twice
        taken    of each prompt the trajectory with the least metric

    The metric is the caller's: a function of a `TrajectoryBatch` that returns [B] numbers, as the
    mean entropy of each trajectory under the current policy. Nothing is re-tokenized for it.

    Args:
        store: For this rule alone; with more than `group_size` buckets.
        group_size: Rollouts of a prompt.
        min_successes: At least 1.
        max_successes: Less than `group_size`, which is also what None stands for.
        weighting: See `difficulty_weights`; the authors train with "normal".
        ratio: Part of a batch that is replayed.
        start_rate: Replay starts once a batch's rate of success is above it.

    Reference: Zhan et al., "ExGRPO: Learning to Reason from Experience", 2025.
    """

    def __init__(
        self,
        store: TrajectoryStore,
        *,
        group_size: int = 8,
        min_successes: int = 1,
        max_successes: int | None = None,
        weighting: str = "normal",
        ratio: float = 0.5,
        start_rate: float = 0.35,
    ) -> None:
        check = Arguments("DifficultyReplay")
        check_store(check, store)
        self.store = store
        self.group_size = check.integer("group_size", group_size, low=2)
        if store.num_buckets <= self.group_size:
            rule = f"have more than group_size = {self.group_size} buckets"
            raise check.error("store", rule, store.num_buckets)
        most = self.group_size - 1
        self.max_successes = (
            most
            if max_successes is None
            else check.integer("max_successes", max_successes, low=1, high=most)
        )
        self.min_successes = check.integer(
            "min_successes", min_successes, low=1, high=self.max_successes
        )
        self.weights = difficulty_weights(weighting, self.group_size, store.num_buckets)
        self.ratio = check.number("ratio", ratio, low=0.0, high=1.0)
        self.start_rate = check.number("start_rate", start_rate, low=0.0, high=1.0)
        self.active = False
        self.retired: set[int] = set()

    def add(self, batch: TrajectoryBatch, *, policy_versions: Array | int) -> Array:
        """Takes what is to be kept from a packed batch of whole groups; the handles of those.

        Args:
            batch: All rollouts of each group, `group_size` of them, failures too.
            policy_versions: [B] int64 or one number.
        """
        check = Arguments("DifficultyReplay.add")
        check_batch(check, "batch", batch)
        check.array("group_ids", batch.group_ids, ["B"], INTEGERS)
        check.array("successes", batch.successes, ["B"], MASKS)
        successes = np.asarray(batch.successes) != 0
        groups = np.asarray(batch.group_ids).astype(np.int64)
        keys, members, sizes = np.unique(groups, return_inverse=True, return_counts=True)
        if (sizes != self.group_size).any():
            wrong = int(keys[sizes != self.group_size][0])
            rule = f"have {self.group_size} rollouts of each group"
            count = int(sizes[sizes != self.group_size][0])
            raise check.error("batch", rule, f"{count} of group {wrong}")
        solved = np.bincount(members, weights=successes, minlength=len(keys)).astype(np.int64)
        partly = (solved >= self.min_successes) & (solved <= self.max_successes)
        open_ = np.array([int(key) not in self.retired for key in keys], np.bool_)
        rows = np.flatnonzero(successes & (partly & open_)[members])
        counts = solved[members]
        handles = self.store.add_batch(
            batch, rows=rows, policy_versions=policy_versions, group_successes=counts
        )
        for key in keys[solved == self.group_size].tolist():
            self._retire(key)
        if len(successes) > 0:
            self.active = self.active or bool(successes.mean() > self.start_rate)
        return handles

    def _retire(self, key: int) -> None:
        self.retired.add(key)
        named = np.array([key], np.int64)
        if self.store.group_counts(named)[0][0] > 0:
            stored = self.store.sample_groups(group_ids=named, count_use=False)
            self.store.remove(stored.handles)

    def sample(
        self,
        batch_size: int,
        metric: Callable[[TrajectoryBatch], Any],
        *,
        output: str = "numpy",
    ) -> TrajectoryBatch | None:
        """One trajectory of each of int(batch_size · ratio) prompts, or of those that there are.

        None as long as replay has not started, or where nothing is stored.
        """
        check = Arguments("DifficultyReplay.sample")
        batch_size = check.integer("batch_size", batch_size, low=1, high=MAX_DRAWS)
        check_function(check, "metric", metric)
        check.choice("output", output, ("numpy", "torch"))
        drawable = int(self.store.bucket_counts()[self.weights > 0].sum())
        count = min(int(batch_size * self.ratio), drawable)
        if not self.active or count == 0:
            return None
        candidates = self.store.sample_groups(
            count, bucket_weights=self.weights, count_use=False, output=output
        )
        scores = checked_array(check, "metric", metric(candidates)).astype(np.float64)
        if scores.shape != candidates.handles.shape or np.isnan(scores).any():
            rule = f"return [B] = [{len(candidates.handles)}] numbers"
            actual = list(scores.shape) if not np.isnan(scores).any() else "NaN"
            raise check.error("metric", rule, actual)
        ends = np.asarray(candidates.cu_groups)
        best = [int(a + np.argmin(scores[a:b])) for a, b in pairwise(ends)]
        return self.store.get(candidates.handles[best], count_use=True, output=output)

    def state(self) -> dict[str, Any]:
        """What this rule remembers beside the store: to be restored."""
        return {"retired": np.array(sorted(self.retired), np.int64), "active": self.active}

    def restore(self, state: dict[str, Any]) -> None:
        """Takes up a `state`."""
        self.retired = set(state["retired"].tolist())
        self.active = bool(state["active"])
