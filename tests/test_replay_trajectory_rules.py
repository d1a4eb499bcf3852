"""The rules over the store of trajectories: what they keep, draw and put where."""

import math

import fastrl
import numpy as np
import pytest
from fastrl import replay
from fastrl.reference import trajectory_rules as reference
from tolerance import assert_close


def make_batch(rewards, group_ids, *, seed=0, advantages=None, **more):
    """A packed batch of short trajectories; each token says whose it is."""
    rng = np.random.default_rng(seed)
    count = len(rewards)
    lengths = rng.integers(1, 40, count)
    tokens = int(lengths.sum())
    rewards = np.asarray(rewards, np.float32)
    if advantages is None:
        advantages = rewards - 0.5
    return replay.TrajectoryBatch(
        {
            "token_ids": np.repeat(np.arange(count) + 1000 * seed, lengths).astype(np.int32),
            "action_mask": rng.random(tokens) < 0.5,
            "log_probs": rng.standard_normal(tokens).astype(np.float32),
            "cu_seqlens": np.concatenate(([0], np.cumsum(lengths))).astype(np.int32),
            "group_ids": np.asarray(group_ids, np.int64),
            "rewards": rewards,
            "advantages": np.asarray(advantages, np.float32),
            "successes": rewards >= 1,
        }
        | more
    )


def make_store(**options):
    return fastrl.TrajectoryStore(2 << 20, **({"max_trajectories": 256} | options))


def marks(batch):
    """The token that says whose each trajectory is."""
    return batch.token_ids[batch.cu_seqlens[:-1]].tolist()


def same_rows(batch, rows, other, other_rows):
    for row, other_row in zip(rows, other_rows, strict=True):
        one, two = batch.select(np.array([row])), other.select(np.array([other_row]))
        for name in ("token_ids", "action_mask", "log_probs", "rewards"):
            np.testing.assert_array_equal(one[name], two[name])


def test_batches_are_selected_replaced_and_concatenated_token_by_token():
    first, second = make_batch(range(5), range(5)), make_batch(range(3), range(3), seed=1)
    chosen = first.select(np.array([3, 0, 3]))
    same_rows(chosen, [0, 1, 2], first, [3, 0, 3])
    joined = replay.TrajectoryBatch.concatenate([first, second])
    same_rows(joined, range(8), replay.TrajectoryBatch.concatenate([first, second]), range(8))
    same_rows(joined, range(5), first, range(5))
    same_rows(joined, range(5, 8), second, range(3))
    replaced = first.replace(np.array([4, 1]), second.select(np.array([2, 0])))
    same_rows(replaced, [0, 2, 3], first, [0, 2, 3])
    same_rows(replaced, [4, 1], second, [2, 0])
    with pytest.raises(
        ValueError, match=r"select: `rows` must be rows of the batch's 5, got \[5\]"
    ):
        first.select(np.array([5]))
    with pytest.raises(ValueError, match="replace: `rows` must be different rows"):
        first.replace(np.array([1, 1, 2]), second)
    with pytest.raises(ValueError, match="replace: `others` must have a trajectory for each of 1"):
        first.replace(np.array([1]), second)
    with pytest.raises(ValueError, match="concatenate: `batches` must not be empty"):
        replay.TrajectoryBatch.concatenate([])
    store = make_store()
    store.add_batch(first, policy_versions=0)
    with pytest.raises(ValueError, match="concatenate: `batches` must be packed"):
        replay.TrajectoryBatch.concatenate([store.sample(2, layout="padded")])


def test_warm_up_rises_from_0_to_1():
    assert [replay.warm_up(step, 4) for step in (0, 2, 4, 9)] == pytest.approx([0, 0.5, 1, 1])
    with pytest.raises(ValueError, match="warm_up: `steps` must be at least 1, got 0"):
        replay.warm_up(0, 0)


def test_self_imitation_judges_by_the_percentile_of_group_means():
    store = make_store(max_staleness=5)
    rule = replay.SelfImitation(store, batch_size=6, baseline_size=4)
    rng = np.random.default_rng(3)
    means, kept = [], {}
    for version in range(3):
        rewards = rng.random(12).astype(np.float32)
        groups = np.repeat([7, 3, 9], 4)
        advantages = rewards - np.repeat(rewards.reshape(3, 4).mean(axis=1), 4)
        batch = make_batch(rewards, groups, seed=version, advantages=advantages)
        assert not rule.ready or version > 0
        handles = rule.add(batch, policy_versions=version)
        rows = np.flatnonzero(advantages > 0)
        assert len(handles) == len(rows)
        kept |= {1000 * version + int(row): float(rewards[row]) for row in rows}
        # In the order of the keys within a batch; the last four count.
        means += [float(rewards[groups == key].astype(np.float64).mean()) for key in (3, 7, 9)]
    assert rule.ready
    expected = dict(zip(kept, reference.recalibrated(kept.values(), means[-4:]), strict=True))
    good = {mark for mark, advantage in expected.items() if advantage >= 0}
    batch = rule.take()
    assert len(batch.handles) == min(4, 1 << (len(good).bit_length() - 1))
    assert set(marks(batch)) <= good
    assert_close(batch.advantages, np.array([expected[mark] for mark in marks(batch)]))
    assert len(store) == 0
    assert rule.take() is None


def test_self_imitation_takes_zero_unless_it_is_strict_and_goes_on_after_a_restore():
    for strict, count in ((False, 4), (True, 2)):
        rule = replay.SelfImitation(make_store(), batch_size=4, strict=strict, seed=3)
        other = replay.SelfImitation(make_store(), batch_size=4, strict=strict, seed=9)
        batch = make_batch([2, 2, 4, 4, 2, 2], [0, 0, 1, 2, 3, 3], advantages=[1] * 6)
        rule.add(batch, policy_versions=0)
        assert rule.baseline == 3.0
        rule.add(make_batch([2], [8], seed=1, advantages=[0]), policy_versions=0)
        assert rule.baseline == 2.0
        other.store.restore(rule.store.state())
        other.restore(rule.state())
        taken = rule.take()
        assert len(taken.handles) == count
        np.testing.assert_array_equal(taken.handles, other.take().handles)


def test_stale_trajectories_are_not_imitated():
    rule = replay.SelfImitation(make_store(max_staleness=2), batch_size=2)
    rule.add(make_batch([1, 1], [0, 1]), policy_versions=0)
    rule.store.advance(3)
    assert not rule.ready
    assert rule.take() is None
    assert rule.store.counters["evicted"]["staleness"] == 2


REWARDS = [0, 0, 0, 0, 1, 0, 0.3, 0.3, 0.1, 0.15, 0.05, 0.05]
GROUPS = [5, 5, 2, 2, 3, 3, 8, 8, 1, 1, 9, 9]


def test_dead_groups_match_reference():
    rewards, groups = np.array(REWARDS, np.float32), np.array(GROUPS)
    dead = replay.dead_groups(rewards, groups)
    expected = reference.dead_groups(rewards.tolist(), GROUPS)
    assert dict(zip(dead.group_ids.tolist(), dead.first_rows.tolist(), strict=True)) == expected
    assert list(expected) == [5, 2, 1, 9]
    # The bounds are not reached: a deviation of exactly 0.25, a mean of exactly 0.5.
    edge = replay.dead_groups(
        np.array([0, 0.5, 0.5, 0.5], np.float32), np.array([0, 0, 1, 1]), max_std=0.25, max_mean=0.5
    )
    assert edge.group_ids.tolist() == []


def test_injection_changes_the_first_row_of_dead_groups_and_nothing_else():
    store = make_store(max_per_group=8)
    for version in range(12):
        stored = make_batch([1, 1, 0.1], [5, 3, 2], seed=version + 1)
        replay.add_successes(store, stored, policy_versions=version)
    # The last eight of a task stay; a reward of 0.1 is not above 0.1.
    assert store.group_counts(np.array([5, 3, 2]))[0].tolist() == [8, 8, 0]
    assert store.counters["evicted"]["group"] == 8
    batch = make_batch(REWARDS, GROUPS)
    injected = replay.inject_successes(store, batch)
    assert injected.rows.tolist() == [0]  # group 2 is dead, too, but has no success
    same_rows(injected.batch, range(1, 12), batch, range(1, 12))
    version = marks(injected.batch)[0] // 1000 - 1
    assert 4 <= version < 12
    same_rows(injected.batch, [0], make_batch([1, 1, 0.1], [5, 3, 2], seed=version + 1), [0])
    assert injected.batch.group_ids.tolist() == GROUPS
    advantages = fastrl.group_advantages(injected.batch.rewards, injected.batch.group_ids)
    assert advantages[0] > 0
    nothing = replay.inject_successes(make_store(), batch)
    assert nothing.batch is batch
    assert nothing.rows.tolist() == []


def test_appended_successes_join_their_groups():
    store = make_store()
    stored = make_batch([1] * 6, [5, 5, 5, 5, 3, 9], seed=1)
    replay.add_successes(store, stored, policy_versions=0)
    batch = make_batch([0, 1, 0, 1], [5, 5, 3, 3])
    joined = replay.append_successes(store, batch)
    assert joined.group_ids.tolist() == [5, 5, 3, 3, 5, 5, 3]
    same_rows(joined, range(4), batch, range(4))
    added = [mark - 1000 for mark in marks(joined)[4:]]
    same_rows(joined, range(4, 7), stored, added)
    assert len(set(added)) == 3
    assert replay.append_successes(make_store(), batch) is batch


@pytest.mark.parametrize("weighting", ["normal", "linear", "sqrt", "linear_clip"])
def test_difficulty_weights_match_reference(weighting):
    expected = np.array([reference.difficulty_weight(weighting, k, 8) for k in range(17)])
    assert_close(replay.difficulty_weights(weighting, 8, 17), expected)


def difficulty_batch(solved, *, first_group=0, seed=0):
    """Groups of four with so many successes each."""
    rewards = np.concatenate([np.arange(4) < n for n in solved]).astype(np.float32)
    return make_batch(rewards, np.repeat(np.arange(len(solved)) + first_group, 4), seed=seed)


def test_difficulty_replay_keeps_what_is_solved_sometimes():
    rule = replay.DifficultyReplay(make_store(), group_size=4)
    rule.add(difficulty_batch([0, 1, 2, 3, 4]), policy_versions=0)
    assert rule.store.group_counts(np.arange(5))[0].tolist() == [0, 1, 2, 3, 0]
    assert rule.store.bucket_counts()[:5].tolist() == [0, 1, 1, 1, 0]
    assert rule.retired == {4}
    # A later batch moves a prompt to another bucket, and retires one for good.
    rule.add(difficulty_batch([1, 4], first_group=2, seed=1), policy_versions=1)
    assert rule.store.bucket_counts()[:5].tolist() == [0, 2, 0, 0, 0]
    assert rule.store.group_counts(np.array([2, 3]))[0].tolist() == [3, 0]
    rule.add(difficulty_batch([2], first_group=3, seed=2), policy_versions=2)
    assert rule.store.group_counts(np.array([3]))[0].tolist() == [0]
    other = replay.DifficultyReplay(make_store(), group_size=4)
    other.restore(rule.state())
    assert (other.retired, other.active) == (rule.retired, rule.active)


def test_difficulty_replay_takes_the_least_metric_of_each_prompt():
    rule = replay.DifficultyReplay(make_store(), group_size=4, ratio=0.5, start_rate=0.35)
    rule.add(difficulty_batch([1, 1, 1]), policy_versions=0)
    metric = lambda batch: -batch.token_ids[batch.cu_seqlens[:-1]].astype(float)  # noqa: E731
    assert rule.sample(4, metric) is None  # successes are still rare
    rule.add(difficulty_batch([3, 3, 2], first_group=3, seed=1), policy_versions=0)
    assert rule.active
    batch = rule.sample(100, metric)
    assert sorted(batch.group_ids.tolist()) == [0, 1, 2, 3, 4, 5]
    newest = dict(zip(batch.group_ids.tolist(), marks(batch), strict=True))
    assert newest == {0: 0, 1: 4, 2: 8, 3: 1002, 4: 1006, 5: 1009}
    assert len(rule.sample(6, metric).handles) == 3
    with pytest.raises(ValueError, match=r"DifficultyReplay.sample: `metric` must return \[B\]"):
        rule.sample(6, lambda batch: np.zeros(1))


def test_difficulty_replay_draws_buckets_by_their_weights():
    rule = replay.DifficultyReplay(make_store(), group_size=4, start_rate=0.0)
    rule.add(difficulty_batch([1] * 12 + [2] * 3 + [3]), policy_versions=0)
    counts = np.zeros(5)
    for _ in range(3_000):
        batch = rule.sample(2, lambda batch: np.zeros(len(batch.handles)))
        group = int(batch.group_ids[0])
        counts[1 if group < 12 else 2 if group < 15 else 3] += 1
    weights = np.array([reference.difficulty_weight("normal", k, 4) for k in range(5)])
    expected = 3_000 * weights / weights.sum()
    chi_squared = ((counts - expected)[1:4] ** 2 / expected[1:4]).sum()
    assert chi_squared < 27.6  # p < 1e-6


def test_difficulty_replay_wants_whole_groups_and_enough_buckets():
    rule = replay.DifficultyReplay(make_store(), group_size=4)
    with pytest.raises(ValueError, match="`batch` must have 4 rollouts of each group, got 3 of"):
        rule.add(difficulty_batch([1]).select(np.arange(3)), policy_versions=0)
    with pytest.raises(ValueError, match="`store` must have more than group_size = 17 buckets"):
        replay.DifficultyReplay(make_store(), group_size=17)


def test_substitution_puts_stored_groups_in_place_of_flat_ones():
    rule = replay.GroupSubstitution(make_store(), capacity=3)
    first = make_batch([0, 1, 0, 1, 1, 1, 0, 1], [0, 0, 1, 1, 2, 2, 3, 3], advantages=[1] * 8)
    result = rule.update(first, policy_versions=0)
    assert result.batch is first  # nothing was stored
    # All groups with variance are stored, equal scores or not; group 2 has none.
    assert rule.store.group_counts(np.arange(4))[0].tolist() == [2, 2, 0, 2]
    second = make_batch([1, 1, 0, 9, 0, 0], [7, 7, 8, 8, 9, 9], seed=1, advantages=[1] * 6)
    result = rule.update(second, policy_versions=1)
    assert result.replaced.tolist() == [7, 9]
    substitutes = result.substitutes.tolist()
    assert len(set(substitutes)) == 2
    assert set(substitutes) <= {0, 1, 3}
    groups = np.repeat([8, *substitutes], 2).tolist()
    assert result.batch.group_ids.tolist() == groups
    same_rows(result.batch, [0, 1], second, [2, 3])
    rows = [row for group in substitutes for row in np.flatnonzero(first.group_ids == group)]
    same_rows(result.batch, range(2, 6), first, rows)
    # The new group has the best score and stays; of the equal ones the newest two.
    assert rule.store.group_counts(np.array([0, 1, 3, 8]))[0].tolist() == [0, 2, 2, 2]
    other = replay.GroupSubstitution(make_store(), capacity=3, seed=5)
    other.store.restore(rule.store.state())
    other.restore(rule.state())
    third = make_batch([0, 0], [11, 11], seed=2)
    results = [each.update(third, policy_versions=2) for each in (rule, other)]
    assert results[0].substitutes.tolist() == results[1].substitutes.tolist()


def test_rules_keep_the_framework_of_their_batch():
    torch = pytest.importorskip("torch")
    batch = make_batch(REWARDS, GROUPS)
    tensors = replay.TrajectoryBatch({name: torch.from_numpy(batch[name]) for name in batch})
    store = make_store()
    replay.add_successes(
        store, tensors, policy_versions=torch.zeros(12, dtype=torch.int64), min_reward=0.9
    )
    flat = tensors.with_arrays(rewards=torch.zeros(12))
    injected = replay.inject_successes(store, flat)
    assert injected.rows.tolist() == [4]
    assert isinstance(injected.batch.token_ids, torch.Tensor)
    joined = replay.append_successes(store, tensors)
    assert len(joined.rewards) == 13
    assert math.isclose(float(joined.rewards[-1]), 1.0)
