"""Stored successes for groups that need one: ARPO's injection and RLEP's additions."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fastrl._dispatch import INTEGERS, Arguments, Array
from fastrl.replay.trajectories import TrajectoryStore, check_store
from fastrl.replay.trajectory_arguments import as_framework
from fastrl.replay.trajectory_batch import TrajectoryBatch, check_batch


class DeadGroups(NamedTuple):
    """Groups whose rewards teach nothing."""

    group_ids: npt.NDArray[np.int64]
    """[G] in the order of their first rows."""
    first_rows: npt.NDArray[np.int64]
    """[G] the row of each one's first rollout."""


class Injection(NamedTuple):
    """Stored successes and whose places they take."""

    rows: npt.NDArray[np.int64]
    """[K] rows of the batch."""
    batch: TrajectoryBatch
    """The batch with the stored trajectories in those rows, their own log-probs included."""


def add_successes(
    store: TrajectoryStore,
    batch: TrajectoryBatch,
    *,
    policy_versions: Array | int,
    min_reward: float = 0.1,
) -> Array:
    """Keeps the trajectories of a packed batch whose reward is above `min_reward`; their handles.

    ARPO keeps 8 of a task, the oldest leaving first: ``TrajectoryStore(..., max_per_group=8)``.
    """
    check = Arguments("add_successes")
    check_store(check, store)
    check_batch(check, "batch", batch)
    limit = check.number("min_reward", min_reward)
    check.array("rewards", batch.rewards, ["B"], ["float32"])
    # In float32, where 0.1 is not above 0.1.
    rows = np.flatnonzero(np.asarray(batch.rewards) > np.float32(limit))
    flags = as_framework(np.ones(len(batch.rewards), np.bool_), batch.rewards)
    marked = batch.with_arrays(successes=flags)
    return store.add_batch(marked, rows=rows, policy_versions=policy_versions)


def dead_groups(
    rewards: Array, group_ids: Array, *, max_std: float = 0.05, max_mean: float = 0.2
) -> DeadGroups:
    """Groups with σ < max_std and mean < max_mean: all rollouts alike, and none of them good.

    Args:
        rewards: [B] float32.
        group_ids: [B] int32 or int64.
        max_std: Bound of the standard deviation (of the group as a population).
        max_mean: Bound of the mean.
    """
    check = Arguments("dead_groups")
    check.array("rewards", rewards, ["B"], ["float32"])
    check.array("group_ids", group_ids, ["B"], INTEGERS)
    max_std, max_mean = check.number("max_std", max_std), check.number("max_mean", max_mean)
    values = np.asarray(rewards).astype(np.float64)
    keys, firsts, members = np.unique(
        np.asarray(group_ids).astype(np.int64), return_index=True, return_inverse=True
    )
    sizes = np.maximum(np.bincount(members, minlength=len(keys)), 1)
    means = np.bincount(members, weights=values, minlength=len(keys)) / sizes
    squares = np.bincount(members, weights=(values - means[members]) ** 2, minlength=len(keys))
    dead = (np.sqrt(squares / sizes) < max_std) & (means < max_mean)
    order = np.argsort(firsts[dead], kind="stable")
    return DeadGroups(keys[dead][order], firsts[dead][order])


def inject_successes(
    store: TrajectoryStore,
    batch: TrajectoryBatch,
    *,
    max_std: float = 0.05,
    max_mean: float = 0.2,
) -> Injection:
    """The first rollout of each dead group gives way to one stored success of its task.

    Groups that are not dead, and dead ones without a stored success, stay as they are. Advantages
    have to be computed from the new `rewards`; the injected `log_probs` are those of the policy
    that made them, so a ratio corrects for it.

    Reference: Lu et al., "ARPO: End-to-End Policy Optimization for GUI Agents with Experience
    Replay", 2025.
    """
    check = Arguments("inject_successes")
    check_store(check, store)
    check_batch(check, "batch", batch)
    dead = dead_groups(batch.rewards, batch.group_ids, max_std=max_std, max_mean=max_mean)
    members, _ = store.group_counts(dead.group_ids)
    rows, keys = dead.first_rows[members > 0], dead.group_ids[members > 0]
    if len(rows) == 0:
        return Injection(rows, batch)
    output = "numpy" if isinstance(batch.rewards, np.ndarray) else "torch"
    stored = store.sample_groups(group_ids=keys, group_size=1, output=output)
    return Injection(rows, batch.replace(rows, stored))


def append_successes(
    store: TrajectoryStore, batch: TrajectoryBatch, *, per_group: int = 2
) -> TrajectoryBatch:
    """The batch, and after it `per_group` stored successes of each of its groups.

    Each is drawn without replacement; a group with fewer gets those that there are. They share the
    `group_ids` of their group, so that group advantages count them in. The store is meant to hold
    successes only (`add_successes`).

    Reference: Zhang et al., "RLEP: Reinforcement Learning with Experience Replay for LLM
    Reasoning", 2025.
    """
    check = Arguments("append_successes")
    check_store(check, store)
    check_batch(check, "batch", batch)
    per_group = check.integer("per_group", per_group, low=1)
    check.array("group_ids", batch.group_ids, ["B"], INTEGERS)
    keys, firsts = np.unique(np.asarray(batch.group_ids).astype(np.int64), return_index=True)
    keys = keys[np.argsort(firsts)]
    if not store.group_counts(keys)[0].any():
        return batch
    output = "numpy" if isinstance(batch.rewards, np.ndarray) else "torch"
    stored = store.sample_groups(group_ids=keys, group_size=per_group, output=output)
    return TrajectoryBatch.concatenate([batch, stored])
