"""Groups that taught something, in place of groups that teach nothing."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastrl._dispatch import INTEGERS, Arguments, Array
from fastrl.replay.trajectories import TrajectoryStore, check_store
from fastrl.replay.trajectory_batch import TrajectoryBatch, check_batch


class Substitution(NamedTuple):
    """A batch, and which of its groups are from the store."""

    batch: TrajectoryBatch
    replaced: npt.NDArray[np.int64]
    """[K] the group ids that are gone from the batch."""
    substitutes: npt.NDArray[np.int64]
    """[K] the group ids that took their places."""


class GroupSubstitution:
    """Whole stored groups for groups without variance.

    Every group of a batch whose rewards differ is stored with the score Σ|A| · σ (σ with Bessel's
    correction), the `capacity` best stay. Each group whose rewards are all alike then gives way to
    a stored one, drawn without replacement with probability ∝ its score. Groups with equal scores
    are equal: the newer one stays.

    Args:
        store: For this rule alone.
        capacity: Groups that are kept.
        seed: Of the draws.

    Reference: the rule of TRL's GRPO trainer with a replay buffer.
    """

    def __init__(self, store: TrajectoryStore, *, capacity: int = 64, seed: int = 0) -> None:
        check = Arguments("GroupSubstitution")
        check_store(check, store)
        self.store = store
        self.capacity = check.integer("capacity", capacity, low=1)
        self._scores: dict[int, float] = {}
        seed = check.integer("seed", seed, low=0, high=2**64 - 1)
        self._random = np.random.Generator(np.random.Philox(seed))

    def update(self, batch: TrajectoryBatch, *, policy_versions: Array | int) -> Substitution:
        """Stores what has variance, and replaces what has none.

        Args:
            batch: Packed, with `advantages`; group ids that no earlier batch had, or those of the
                same prompts, whose earlier groups are then forgotten.
            policy_versions: [B] int64 or one number.
        """
        check = Arguments("GroupSubstitution.update")
        check_batch(check, "batch", batch)
        check.array("rewards", batch.rewards, ["B"], ["float32"])
        check.array("advantages", batch.advantages, ["B"], ["float32"])
        check.array("group_ids", batch.group_ids, ["B"], INTEGERS)
        rewards = np.asarray(batch.rewards).astype(np.float64)
        keys, members = np.unique(np.asarray(batch.group_ids).astype(np.int64), return_inverse=True)
        groups = [np.flatnonzero(members == g) for g in range(len(keys))]
        varied = [bool((rewards[own] != rewards[own[0]]).any()) for own in groups]
        kept = [own for own, differs in zip(groups, varied, strict=True) if differs]
        # The draw comes first: a batch is not replaced by its own groups.
        flat = [g for g, differs in enumerate(varied) if not differs]
        drawn = self._draw(min(len(flat), len(self._scores)), set(keys.tolist()))
        output = "numpy" if isinstance(batch.rewards, np.ndarray) else "torch"
        result = Substitution(batch, keys[:0], drawn)
        if len(drawn) > 0:
            stored = self.store.sample_groups(group_ids=drawn, output=output)
            gone = keys[flat[: len(drawn)]]
            stays = np.flatnonzero(~np.isin(keys[members], gone))
            joined = TrajectoryBatch.concatenate([batch.select(stays), stored])
            result = Substitution(joined, gone, drawn)
        if kept:
            advantages = np.abs(np.asarray(batch.advantages).astype(np.float64))
            scores = [float(advantages[own].sum() * rewards[own].std(ddof=1)) for own in kept]
            self._forget([int(keys[members[own[0]]]) for own in kept])
            rows = np.concatenate(kept)
            self.store.add_batch(batch, rows=rows, policy_versions=policy_versions)
            for own, score in zip(kept, scores, strict=True):
                self._scores[int(keys[members[own[0]]])] = score
            self._keep_best()
        return result

    def _draw(self, count: int, taken: set[int]) -> npt.NDArray[np.int64]:
        self._drop_evicted()
        keys = np.array([key for key in self._scores if key not in taken], np.int64)
        scores = np.array([self._scores[int(key)] for key in keys], np.float64)
        count = min(count, int((scores > 0).sum()))
        if count == 0:
            return keys[:0]
        return self._random.choice(keys, count, replace=False, p=scores / scores.sum())

    def _drop_evicted(self) -> None:
        """The store may have let groups go, by age or for want of space."""
        keys = np.array(list(self._scores), np.int64)
        members, _ = self.store.group_counts(keys)
        for key in keys[members == 0].tolist():
            del self._scores[key]

    def _forget(self, keys: list[int]) -> None:
        named = np.array([key for key in keys if key in self._scores], np.int64)
        if len(named) > 0:
            stored = self.store.sample_groups(group_ids=named, count_use=False)
            self.store.remove(stored.handles)
        for key in named.tolist():
            del self._scores[key]

    def _keep_best(self) -> None:
        keys = list(self._scores)[::-1]  # newest first, which a stable sort keeps among equals
        ranked = sorted(keys, key=lambda key: -self._scores[key])
        self._forget(ranked[self.capacity :])

    def state(self) -> dict[str, Any]:
        """What this rule remembers beside the store: to be restored."""
        return {
            "group_ids": np.array(list(self._scores), np.int64),
            "scores": np.array(list(self._scores.values()), np.float64),
            "random": self._random.bit_generator.state,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Takes up a `state`."""
        pairs = zip(state["group_ids"].tolist(), state["scores"].tolist(), strict=True)
        self._scores = dict(pairs)
        self._random.bit_generator.state = state["random"]
