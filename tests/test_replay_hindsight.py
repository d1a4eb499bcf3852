"""Hindsight goals against their specification."""

import math

import numpy as np
import pytest
import torch
from fastrl.reference import hindsight as spec
from fastrl.replay import HER, Prioritized, ReplayBuffer, RewardModel
from goal_twins import FIELDS, NO_GOAL, Twins, distance, reached
from tolerance import assert_close


def chosen_of(batch):
    return np.flatnonzero(batch.observations["desired_goal"][:, 0] != NO_GOAL)


@pytest.mark.parametrize("strategy", ["future", "final", "episode"])
def test_goals_are_of_the_same_episode_and_equally_likely(strategy):
    twins = Twins(60)
    her = HER(strategy, k=4, compute_reward=distance)
    candidates = {
        handle: spec.goal_rows(twins.twin, *twins.twin.find(handle), strategy)
        for handle in twins.twin.drawable()
    }
    assert min(map(len, candidates.values())) < 5
    ranks, sizes, total = [], [], 0
    for _ in range(25):
        batch = twins.buffer.sample(4096, relabel=her)
        chosen = chosen_of(batch)
        total += len(chosen)
        goals = batch.observations["desired_goal"]
        np.testing.assert_array_equal(goals, batch.next_observations["desired_goal"])
        for i in chosen:
            handle = int(batch.handles[i])
            assert goals[i, 0] == twins.twin.find(handle)[0]
            rows = candidates[handle]
            ranks.append(rows.index(int(goals[i, 1])))  # an error where it is another episode's
            sizes.append(len(rows))
    drawn = 25 * 4096
    assert abs(total - 0.8 * drawn) < 4 * math.sqrt(drawn * 0.8 * 0.2)
    ranks, sizes = np.array(ranks), np.array(sizes)
    statistic = degrees = 0
    for size in np.unique(sizes):
        found = np.bincount(ranks[sizes == size], minlength=size)
        statistic += ((found - found.mean()) ** 2 / found.mean()).sum()
        degrees += size - 1
    assert abs(statistic - degrees) <= 4 * math.sqrt(2 * degrees)


def test_random_goals_are_of_any_transition():
    twins = Twins(40)
    her = HER("random", k=4, compute_reward=distance)
    possible = {(lane, row + 1) for lane, row in map(twins.twin.find, twins.twin.drawable())}
    found = set()
    for _ in range(10):
        batch = twins.buffer.sample(512, relabel=her)
        goals = batch.observations["desired_goal"][chosen_of(batch)]
        found |= {(int(lane), int(row)) for lane, row in goals}
    assert found == possible


def test_any_place_of_the_batch_may_be_chosen():
    twins = Twins(20)
    her = HER(k=1, compute_reward=distance)
    count = np.zeros(64)
    for _ in range(400):
        count[chosen_of(twins.buffer.sample(64, relabel=her))] += 1
    assert abs(count - 200).max() < 4.5 * math.sqrt(100)
    assert len(chosen_of(twins.buffer.sample(64, relabel=HER(k=0, compute_reward=distance)))) == 0


@pytest.mark.parametrize("n_step", [1, 3, 5])
@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize("discounts", [False, True])
def test_rewards_and_ends_are_those_of_the_specification(n_step, ends, discounts):
    twins = Twins(50, n_step=n_step, gamma=0.9, discounts=discounts, seed=n_step)
    her = HER(k=3, compute_reward=distance, compute_terminated=reached if ends else None)
    batch = twins.buffer.sample(600, relabel=her)
    stored = twins.buffer.gather(batch.handles)
    chosen = set(chosen_of(batch).tolist())
    assert 300 < len(chosen) < 550
    expected = {"rewards": [], "discounts": []}
    for i, handle in enumerate(batch.handles.tolist()):
        if i not in chosen:
            for name in ("rewards", "discounts", "terminated", "truncated"):
                assert batch[name][i] == stored[name][i]
            for name in expected:
                expected[name].append(float(stored[name][i]))
            continue
        goal = batch.observations["desired_goal"][i]
        wanted = spec.relabeled(twins.twin, handle, goal, distance, reached if ends else None)
        for name in expected:
            expected[name].append(wanted[name])
        assert batch.terminated[i] == wanted["terminated"]
        assert batch.truncated[i] == wanted["truncated"]
        np.testing.assert_array_equal(
            batch.next_observations["achieved_goal"][i], wanted["next_achieved"]
        )
    for name, values in expected.items():
        assert_close(batch[name], np.array(values), np.float32(values), dtype="float32", what=name)
    assert batch.terminated.sum() > 0


def test_three_steps_by_hand():
    buffer = ReplayBuffer(20, FIELDS, n_step=3, gamma=0.5)
    no = np.zeros(1, bool)
    for step in range(5):
        position = np.full((1, 2), step, np.float32)
        observation = dict.fromkeys(FIELDS["observations"], position)
        buffer.add(
            observations=observation, actions=[step], rewards=no * 1.0, terminated=no, truncated=no
        )
    her = HER(
        "final",
        k=1e9,
        compute_reward=lambda achieved, desired, info: 10 * achieved[:, 0] + desired[:, 0],
        compute_terminated=lambda achieved, desired, info: achieved[:, 0] == 3,
    )
    batch = buffer.sample(40, relabel=her)
    start = batch.actions
    assert set(start.tolist()) == {0, 1, 2, 3}
    by_hand = {0: 14 + 24 / 2 + 34 / 4, 1: 24 + 34 / 2, 2: 34.0, 3: 44.0}
    np.testing.assert_array_equal(batch.rewards, [by_hand[one] for one in start.tolist()])
    np.testing.assert_array_equal(batch.discounts, np.where(start == 3, 0.5, 0))
    np.testing.assert_array_equal(batch.terminated, start < 3)
    after = batch.next_observations["observation"][:, 0]
    np.testing.assert_array_equal(after, np.where(start == 3, 4, 3))
    np.testing.assert_array_equal(batch.observations["desired_goal"], 4)


@pytest.mark.parametrize("n_step", [1, 2])
@pytest.mark.parametrize("ends", [None, False, True])
def test_a_step_that_was_cut_off_stays_so(n_step, ends):
    """Where it was terminated, too; and a step that terminates no more was cut off."""
    buffer = ReplayBuffer(20, FIELDS, n_step=n_step)
    zeros = dict.fromkeys(FIELDS["observations"], np.zeros((2, 1, 2), np.float32))
    yes, no = np.ones((2, 1), bool), np.zeros((2, 1), bool)
    for truncated in (yes, no):
        buffer.add(
            observations=zeros,
            actions=no * 1,
            rewards=no * 1.0,
            terminated=yes,
            truncated=truncated,
            final_observations=zeros,
        )
    compute = None if ends is None else lambda achieved, desired, info: np.full(len(achieved), ends)
    her = HER(
        "final",
        k=1e9,
        compute_reward=lambda achieved, desired, info: np.zeros(len(achieved)),
        compute_terminated=compute,
    )
    batch = buffer.sample(40, relabel=her)
    stored = buffer.gather(batch.handles).truncated
    assert 0 < stored.sum() < 40
    np.testing.assert_array_equal(batch.terminated, ends is not False)
    np.testing.assert_array_equal(batch.truncated, stored | (ends is False))


def test_priorities_and_stored_rows_stay():
    twins = Twins(30, sampler=Prioritized(), n_step=2)
    other = Twins(30, sampler=Prioritized(), n_step=2)
    handles = twins.buffer.handles()
    before = twins.buffer.gather(handles)
    her = HER(compute_reward=distance, compute_terminated=reached)
    for n in (64, 65, 64):
        plain, batch = other.buffer.sample(n), twins.buffer.sample(n, relabel=her)
        assert list(batch) == list(plain)
        for name in ("handles", "probabilities", "importance_weights", "actions"):
            np.testing.assert_array_equal(batch[name], plain[name])
        for name in ("rewards", "discounts"):
            assert batch[name].dtype == plain[name].dtype
    after = twins.buffer.gather(handles)
    for name in ("rewards", "discounts", "terminated", "truncated"):
        np.testing.assert_array_equal(before[name], after[name])
    for name in FIELDS["observations"]:
        np.testing.assert_array_equal(before.observations[name], after.observations[name])
    assert twins.buffer.update_priorities(batch.handles, np.ones(64)) == 64


def test_the_batch_that_was_given_is_not_written_to():
    twins = Twins(30)
    batch = twins.buffer.sample(32)
    goals, rewards = batch.observations["desired_goal"].copy(), batch.rewards.copy()
    made = HER(compute_reward=distance, compute_terminated=reached)(twins.buffer, batch)
    assert len(chosen_of(made)) > 10
    np.testing.assert_array_equal(batch.observations["desired_goal"], goals)
    np.testing.assert_array_equal(batch.rewards, rewards)


def test_the_same_seed_and_calls_give_the_same_goals():
    def goals(seed):
        twins, her = Twins(30, seed=5), HER(compute_reward=distance, seed=seed)
        return [twins.buffer.sample(32, relabel=her).observations["desired_goal"] for _ in range(3)]

    first, again, other = goals(1), goals(1), goals(2)
    np.testing.assert_array_equal(first, again)
    assert (np.array(first) != other).any()
    assert (first[0] != first[1]).any()


def test_tensors_stay_tensors():
    twins = Twins(30, n_step=2)
    batch = twins.buffer.sample(
        32, relabel=HER(compute_reward=distance, compute_terminated=reached), output="torch"
    )
    assert isinstance(batch.rewards, torch.Tensor)
    assert isinstance(batch.observations["desired_goal"], torch.Tensor)
    assert batch.terminated.dtype == torch.bool
    assert isinstance(batch.handles, np.ndarray)


def test_functions_are_called_once_and_get_what_they_ask_for():
    twins = Twins(30, n_step=2)
    calls = []

    def reward(achieved, desired, info):
        calls.append((achieved, desired, info))
        return torch.zeros(len(achieved), dtype=torch.float64)

    twins.buffer.sample(32, relabel=HER(compute_reward=reward, info_fields=["actions"]))
    ((achieved, desired, info),) = calls
    assert achieved.shape == desired.shape
    assert set(info) == {"terminated", "truncated", "actions"}
    np.testing.assert_array_equal(info["actions"] + 1, achieved[:, 1])


class OverwritingBuffer(ReplayBuffer):
    """Writers are busy whenever somebody asks where rows are."""

    def gather_rows(self, *arguments):
        self.go_on()
        return super().gather_rows(*arguments)

    def places(self, handles):
        self.go_on()
        return super().places(handles)

    def go_on(self):
        if self.pending:
            self.pending -= 1
            self.add(**self.step)


@pytest.mark.parametrize("n_step", [1, 3])
def test_rows_overwritten_meanwhile_keep_their_goals(n_step):
    buffer = OverwritingBuffer(12, FIELDS, n_step=n_step)
    no = np.zeros(1, bool)
    goal = np.full((1, 2), NO_GOAL, np.float32)
    buffer.step = {
        "observations": dict.fromkeys(FIELDS["observations"], goal) | {"achieved_goal": goal + 2},
        "actions": [0],
        "rewards": no * 1.0,
        "terminated": no,
        "truncated": no,
    }
    buffer.pending = 0
    for _ in range(12):
        buffer.add(**buffer.step)
    her = HER("episode", k=1e9, compute_reward=lambda achieved, desired, info: achieved[:, 0])
    batch = buffer.sample(64)
    buffer.pending = 5
    made = her(buffer, batch)
    gone = batch.handles < buffer.handles().min()
    assert gone.any()
    kept = made.observations["desired_goal"][:, 0] == NO_GOAL
    assert (kept <= gone).all()
    assert not kept.all()


def test_writers_that_are_always_faster(monkeypatch):
    def gone(*arguments):
        raise IndexError("gather_rows: `rows` must be from 9 to 10 in lane 0, got 2")

    twins = Twins(20, n_step=2)
    monkeypatch.setattr(twins.buffer, "gather_rows", gone)
    with pytest.raises(RuntimeError, match="HER: the batch's rows were overwritten faster"):
        twins.buffer.sample(64, relabel=HER(compute_reward=distance))
    with pytest.raises(RuntimeError, match="RewardModel: the batch's rows were overwritten bef"):
        twins.buffer.sample(64, relabel=RewardModel(len))
