"""Batches of token trajectories, and stores to put them in."""

import fastrl
import numpy as np
from fastrl.reference import trajectories as reference

NUM_BUCKETS = 5


def make_batch(rng, lengths, group_ids, versions, **more):
    """Arguments of `add` for trajectories of these lengths."""
    lengths = np.asarray(lengths)
    tokens = int(lengths.sum())
    batch = {
        "token_ids": rng.integers(0, 50_000, tokens).astype(np.int32),
        "action_mask": rng.random(tokens) < 0.5,
        "log_probs": rng.standard_normal(tokens).astype(np.float32),
        "cu_seqlens": np.concatenate(([0], np.cumsum(lengths))).astype(np.int32),
        "group_ids": np.asarray(group_ids, np.int64),
        "rewards": rng.random(len(lengths)).astype(np.float32),
        "policy_versions": np.asarray(versions, np.int64),
        "advantages": rng.standard_normal(len(lengths)).astype(np.float32),
        "successes": rng.random(len(lengths)) < 0.5,
    }
    return batch | more


def as_reference(batch):
    ends = batch["cu_seqlens"]
    return [
        reference.Trajectory(
            tokens=batch["token_ids"][ends[i] : ends[i + 1]].tolist(),
            action_mask=batch["action_mask"][ends[i] : ends[i + 1]].tolist(),
            log_probs=batch["log_probs"][ends[i] : ends[i + 1]].tolist(),
            group_id=int(batch["group_ids"][i]),
            reward=float(batch["rewards"][i]),
            advantage=float(batch["advantages"][i]),
            success=bool(batch["successes"][i]),
            policy_version=int(batch["policy_versions"][i]),
        )
        for i in range(len(ends) - 1)
    ]


def simple_batch(n=4, length=5, version=0, **more):
    rng = np.random.default_rng(0)
    return make_batch(rng, [length] * n, np.arange(n), [version] * n) | more


def small_store(**options):
    options = {"max_trajectories": 64} | options
    return fastrl.TrajectoryStore(1 << 20, **options)


def assert_same_batch(batch, expected):
    """The batch holds exactly these trajectories of the specification, in this order."""
    assert batch.handles.tolist() == [kept.handle for kept in expected]
    ends = batch.cu_seqlens
    for i, kept in enumerate(expected):
        own = slice(ends[i], ends[i + 1])
        assert batch.token_ids[own].tolist() == kept.tokens
        assert batch.action_mask[own].tolist() == kept.action_mask
        assert batch.log_probs[own].tolist() == kept.log_probs
    for name in ("group_id", "reward", "advantage", "success", "policy_version", "created"):
        column = {"success": "successes", "created": "created"}.get(name, name + "s")
        assert batch[column].tolist() == [getattr(kept, name) for kept in expected], name


def assert_same_store(store, twin):
    assert store.handles().tolist() == [kept.handle for kept in twin.order.not_older(-1)]
    assert store.num_tokens == sum(len(kept.tokens) for kept in twin.arrivals)
    assert store.num_groups == len(twin.groups)
    assert (store.policy_version, store.clock) == (twin.policy_version, twin.clock)
    assert store.counters == {
        "added": twin.added,
        "sampled": twin.sampled,
        "refused_stale": twin.refused_stale,
        "refused_updates": twin.refused_updates,
        "evicted": twin.evicted,
    }
    counts = [0] * NUM_BUCKETS
    for group in twin.groups.values():
        counts[min(group.successes(), NUM_BUCKETS - 1)] += 1
    assert store.bucket_counts().tolist() == counts
