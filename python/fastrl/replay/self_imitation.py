"""Self-imitation: the policy's own good trajectories again, judged by today's level."""

import math
from collections import deque
from typing import Any

import numpy as np
import numpy.typing as npt

from fastrl._dispatch import INTEGERS, Arguments, Array
from fastrl.replay.trajectories import TrajectoryStore, check_store
from fastrl.replay.trajectory_batch import TrajectoryBatch, check_batch


def warm_up(step: int, steps: int) -> float:
    """½ (1 − cos(π step / steps)), and 1 from `steps` on: how much a replayed loss weighs."""
    check = Arguments("warm_up")
    step = check.integer("step", step, low=0)
    steps = check.integer("steps", steps, low=1)
    return 1.0 if step >= steps else 0.5 * (1.0 - math.cos(math.pi * step / steps))


class SelfImitation:
    """SPEAR's replay: collect what was better than its group, judge it again, use it once.

        kept         trajectories with A > 0
        ready        once there are `batch_size` of them
        Ã_i          = R_i − P, with P the percentile of the last `baseline_size` group means
        taken        those with Ã ≥ 0; as many of them, drawn uniformly, as the largest power of two
                     that is at most their number and `batch_size`; the store is empty then

    A trajectory that was good for the policy of its time is dropped where today's groups do as
    well on average. How long one is kept is the store's `max_staleness` (SPEAR: 5, at most 10).

    Args:
        store: Keeps the trajectories; for this rule alone.
        batch_size: Trajectories that a replay takes, at least 1.
        percentile: From 0 to 100.
        baseline_size: Group means that are remembered.
        strict: Takes Ã > 0 only.
        seed: Of the draw among the taken.

    Reference: Qin et al., "SPEAR: Learn the Ropes, Then Trust the Wins", 2025. Specification:
    `fastrl.reference.trajectory_rules.recalibrated`.
    """

    def __init__(
        self,
        store: TrajectoryStore,
        *,
        batch_size: int = 2048,
        percentile: float = 50.0,
        baseline_size: int = 10_240,
        strict: bool = False,
        seed: int = 0,
    ) -> None:
        check = Arguments("SelfImitation")
        check_store(check, store)
        self.store = store
        self.batch_size = check.integer("batch_size", batch_size, low=1)
        self.percentile = check.number("percentile", percentile, low=0.0, high=100.0)
        baseline_size = check.integer("baseline_size", baseline_size, low=1, high=2**31 - 1)
        self.strict = check.flag("strict", strict)
        self._group_means: deque[float] = deque(maxlen=baseline_size)
        seed = check.integer("seed", seed, low=0, high=2**64 - 1)
        self._random = np.random.Generator(np.random.Philox(seed))

    def add(self, batch: TrajectoryBatch, *, policy_versions: Array | int) -> Array:
        """Remembers the means of a packed batch's groups, and its trajectories with A > 0.

        Args:
            batch: With all that the store keeps; `advantages` must be known.
            policy_versions: [B] int64 or one number.

        Returns:
            Handles of the trajectories that were kept.
        """
        check = Arguments("SelfImitation.add")
        check_batch(check, "batch", batch)
        check.array("advantages", batch.advantages, ["B"], ["float32"])
        check.array("rewards", batch.rewards, ["B"], ["float32"])
        check.array("group_ids", batch.group_ids, ["B"], INTEGERS)
        rewards = np.asarray(batch.rewards).astype(np.float64)
        kept = np.flatnonzero(np.asarray(batch.advantages) > 0)
        handles = self.store.add_batch(batch, rows=kept, policy_versions=policy_versions)
        # After `add`: input that it refuses must leave the baseline as it was.
        keys, members = np.unique(np.asarray(batch.group_ids), return_inverse=True)
        sums = np.bincount(members, weights=rewards, minlength=len(keys))
        self._group_means.extend(sums / np.bincount(members, minlength=len(keys)))
        return handles

    @property
    def ready(self) -> bool:
        """Whether there is enough to take."""
        return len(self.store) >= self.batch_size

    @property
    def baseline(self) -> float:
        """P; NaN before the first group."""
        means = list(self._group_means)
        return float(np.percentile(means, self.percentile)) if means else math.nan

    def take(self, *, output: str = "numpy") -> TrajectoryBatch | None:
        """The trajectories that are still good, with `advantages` Ã; None where none is.

        Empties the store.
        """
        Arguments("SelfImitation.take").choice("output", output, ("numpy", "torch"))
        handles = self.store.handles()
        if len(handles) == 0:
            return None
        rewards = self.store.peek(handles).rewards.astype(np.float64)
        advantages = rewards - self.baseline
        good = np.flatnonzero(advantages > 0 if self.strict else advantages >= 0)
        count = min(len(good), self.batch_size)
        count = 0 if count == 0 else 1 << (count.bit_length() - 1)
        taken = np.sort(self._random.permutation(good)[:count])
        batch = None
        if count > 0:
            batch = self.store.get(handles[taken], count_use=True, output=output)
            kept = advantages[taken].astype(np.float32)
            if output == "torch":
                import torch

                batch = batch.with_arrays(advantages=torch.from_numpy(kept))
            else:
                batch = batch.with_arrays(advantages=kept)
        self.store.clear()
        return batch

    def state(self) -> dict[str, Any]:
        """What this rule remembers beside the store: to be restored."""
        return {
            "group_means": np.array(self._group_means, np.float64),
            "random": self._random.bit_generator.state,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Takes up a `state`."""
        means: npt.NDArray[np.float64] = state["group_means"]
        self._group_means.clear()
        self._group_means.extend(means.tolist())
        self._random.bit_generator.state = state["random"]
