"""Draws from the store of trajectories: how often, with which probabilities."""

import numpy as np
import pytest
from fastrl.reference import trajectories as reference
from token_batches import as_reference, assert_same_batch, make_batch, simple_batch, small_store
from tolerance import assert_close


def test_filter_by_staleness_draws_among_the_fresh_alike():
    store, twin = small_store(seed=5), reference.TrajectoryStore(64, 10_000, seed=5)
    rng = np.random.default_rng(0)
    for version in (0, 1, 2, 4, 3, 4):  # 3 comes late
        batch = make_batch(rng, [3] * 6, [version, version, 7, 8, 9, 9], [version] * 6)
        store.add(**batch)
        twin.add(as_reference(batch))
    for staleness in (0, 1, 2, None):
        arguments = {"max_staleness": staleness, "successes_only": staleness == 1}
        expected = twin.sample(4, **arguments)
        assert_same_batch(store.sample(4, **arguments), expected)
        groups = twin.sample_groups(3, max_staleness=staleness)
        batch = store.sample_groups(3, max_staleness=staleness)
        assert_same_batch(batch, [kept for group in groups for kept in group])
        assert staleness is None or (batch.policy_versions >= 4 - staleness).all()


def test_every_trajectory_and_group_is_drawn_equally_often():
    store = small_store(seed=3)
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(16), [1, 2, 3, 4] * 4)
    store.add(**make_batch(rng, [2] * 40, groups, np.arange(40) // 10))
    by_handle = dict.fromkeys(store.handles().tolist(), 0)
    by_group = dict.fromkeys(range(16), 0)
    for _ in range(4_000):
        for handle in store.sample(5, count_use=False).handles.tolist():
            by_handle[handle] += 1
        for group in store.sample_groups(4, group_size=1).group_ids.tolist():
            by_group[group] += 1
    # Less spread than with replacement: the bounds are those of independent draws, p < 1e-6.
    for counts, expected, bound in ((by_handle, 500, 99.0), (by_group, 1000, 58.0)):
        chi_squared = sum((n - expected) ** 2 / expected for n in counts.values())
        assert chi_squared < bound


def test_weighted_draws_have_the_probabilities_of_their_weights():
    store = small_store(weighted=True, max_trajectories=32, seed=2)
    rng = np.random.default_rng(6)
    weights = {}
    for step in range(60):  # with late versions, holes and sweeps of the order
        versions = np.maximum(0, step - rng.integers(0, 4, 3))
        given = rng.integers(0, 5, 3).astype(np.float32)
        handles = store.add(**make_batch(rng, [4] * 3, [0, 1, 2], versions), weights=given)
        weights |= dict(zip(handles.tolist(), given.tolist(), strict=True))
        if step % 3 == 0:
            store.update(handles[:1], weights=np.array([7], np.float32), successes=np.ones(1, bool))
            weights[int(handles[0])] = 7.0
            store.remove(store.sample(1).handles)
        if step < 4:
            continue
        fresh = store.peek(store.handles())
        for staleness in (None, 2):
            oldest = -1 if staleness is None else store.policy_version - staleness
            drawable = fresh.handles[fresh.policy_versions >= oldest].tolist()
            total = sum(weights[handle] for handle in drawable)
            draw = {"order": "weighted", "max_staleness": staleness, "count_use": False}
            if total == 0:
                with pytest.raises(ValueError, match="with a weight above 0, got none"):
                    store.sample(5, replacement=True, **draw)
                continue
            batch = store.sample(5, replacement=True, **draw)
            expected = np.array([weights[handle] for handle in batch.handles.tolist()]) / total
            assert set(batch.handles.tolist()) <= set(drawable)
            assert_close(batch.probabilities, expected)
    some = store.sample(3, order="weighted", token_budget=9)
    assert len(set(some.handles.tolist())) == 2
    assert (some.probabilities > 0).all()


def test_weighted_draws_are_as_frequent_as_their_weights():
    store = small_store(weighted=True, seed=8)
    weights = np.array([0, 1, 2, 3, 10], np.float32)
    handles = store.add(**simple_batch(5), weights=weights).tolist()
    drawn = [
        handle
        for _ in range(200)
        for handle in store.sample(50, order="weighted", replacement=True).handles.tolist()
    ]
    counts = np.array([drawn.count(handle) for handle in handles])
    expected = 10_000 * weights[1:] / 16
    assert counts[0] == 0
    assert ((counts[1:] - expected) ** 2 / expected).sum() < 30.7  # p < 1e-6
    firsts = [int(store.sample(1, order="weighted").handles[0]) for _ in range(2_000)]
    assert abs(firsts.count(handles[4]) - 1250) < 106  # 4.9 standard deviations


def test_bad_weights_and_weighted_draws_are_errors():
    store = small_store(weighted=True)
    with pytest.raises(ValueError, match="add: `weights` must be finite and at least 0, got -1"):
        store.add(**simple_batch(), weights=np.array([1, 1, -1, 1], np.float32))
    handles = store.add(**simple_batch(), weights=np.array([0, 0, 0, 2], np.float32))
    with pytest.raises(
        ValueError, match="update: `weights` must be finite and at least 0, got nan"
    ):
        store.update(handles, weights=np.full(4, np.nan, np.float32))
    with pytest.raises(ValueError, match="`n` must be at most the 1 trajectories with a weight"):
        store.sample(2, order="weighted")
    with pytest.raises(ValueError, match="sample: `n` must be given, without `successes_only`"):
        store.sample(order="weighted", token_budget=9)
    plain = small_store()
    with pytest.raises(ValueError, match="`weights` must be None, as the store is not weighted"):
        plain.add(**simple_batch(), weights=np.ones(4, np.float32))
    with pytest.raises(ValueError, match="`order` must not be 'weighted' for a store without"):
        plain.sample(2, order="weighted")
