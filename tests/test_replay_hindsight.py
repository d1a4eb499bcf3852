"""Hindsight goals against their specification, and other relabels."""

import math

import numpy as np
import pytest
import torch
from fastrl.reference import hindsight as spec
from fastrl.reference import replay as replay_spec
from fastrl.replay import HER, Batch, Chain, Counterfactuals, Prioritized, ReplayBuffer, RewardModel
from tolerance import assert_close

GOAL = ((2,), "float32")
FIELDS = {
    "observations": {"observation": GOAL, "achieved_goal": GOAL, "desired_goal": GOAL},
    "actions": ((), "int64"),
    "rewards": ((), "float32"),
}
NO_GOAL = -1.0


def distance(achieved, desired, info=None):
    return -np.abs(achieved - desired).sum(-1)


def reached(achieved, desired, info=None):
    return (achieved == desired).all(-1)


def goals_of(lane, step):
    """What is achieved there: no two rows have the same."""
    return np.stack([np.broadcast_to(lane, np.shape(step)), step], -1).astype(np.float32)


class Twins:
    """A buffer whose achieved goals are (lane, row), and its specification."""

    def __init__(self, steps, *, num_lanes=3, capacity=90, seed=0, ending=0.1, **options):
        self.fields = dict(FIELDS)
        if options.pop("discounts", False):
            self.fields["discounts"] = ((), "float64")
        self.buffer = ReplayBuffer(capacity, self.fields, num_lanes=num_lanes, seed=seed, **options)
        n_step = self.buffer.n_step
        self.twin = replay_spec.ReplayBuffer(
            capacity // num_lanes, num_lanes, n_step, self.buffer.gamma
        )
        random = np.random.default_rng(seed)
        for _ in range(steps):
            self.add(random.random((2, num_lanes)) < ending / 2, random)

    def observation(self, achieved):
        return {
            "observation": achieved,
            "achieved_goal": achieved,
            "desired_goal": np.full_like(achieved, NO_GOAL),
        }

    def add(self, ends, random):
        lanes = np.arange(self.twin.num_lanes)
        row = np.array([len(steps) for steps in self.twin.lanes])
        now, final = goals_of(lanes, row), goals_of(lanes, row + 1)
        discounts = random.random(len(lanes))
        values = {
            "observations": self.observation(now),
            "actions": row,
            "rewards": np.full(len(lanes), 7, np.float32),
            "terminated": ends[0],
            "truncated": ends[1],
        }
        if "discounts" in self.fields:
            values["discounts"] = discounts
        self.buffer.add(**values, final_observations=self.observation(final))
        for lane in lanes:
            self.twin.add(
                lane,
                {"observations": (now[lane], None), "rewards": 7.0},
                ends[0, lane],
                ends[1, lane],
                (final[lane], None),
                discounts[lane] if "discounts" in self.fields else None,
            )


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


@pytest.mark.parametrize("n_step", [1, 3])
def test_a_reward_model_replaces_rewards_and_ends(n_step):
    twins = Twins(40, n_step=n_step, gamma=0.5)

    def model(fields):
        return fields["actions"] + fields["next_observations"]["achieved_goal"][:, 1]

    batch = twins.buffer.sample(100, relabel=RewardModel(model))
    plain = twins.buffer.gather(batch.handles)
    for name in ("discounts", "terminated", "truncated"):
        np.testing.assert_array_equal(batch[name], plain[name])
    for i, handle in enumerate(batch.handles.tolist()):
        lane, row = twins.twin.find(handle)
        last = spec.goal_rows(twins.twin, lane, row, "final")[0]
        expected = sum(0.5**k * (2 * (row + k) + 1) for k in range(min(n_step, last - row)))
        assert batch.rewards[i] == expected

    def never(fields):
        return np.zeros(len(fields["actions"]), bool)

    lasting = twins.buffer.sample(100, relabel=RewardModel(model, never))
    plain = twins.buffer.gather(lasting.handles)
    assert plain.terminated.any()
    assert not lasting.terminated.any()
    np.testing.assert_array_equal(lasting.truncated, plain.terminated | plain.truncated)
    assert (lasting.discounts > 0).all()


def test_counterfactuals_enlarge_the_batch():
    twins = Twins(30, sampler=Prioritized(), gamma=0.5)

    def in_three_states(batch):
        sources = np.repeat(np.arange(len(batch)), 3)
        states = np.tile(np.arange(3), len(batch))
        observation = batch.observations["observation"][sources]
        observation[:, 0] = states
        return {
            "observations": {"observation": observation},
            "rewards": states,
            "terminated": states == 2,
        }, sources

    batch = twins.buffer.sample(20, relabel=Chain([Counterfactuals(in_three_states)]))
    assert len(batch) == 60
    np.testing.assert_array_equal(batch.rewards.reshape(20, 3), [[0, 1, 2]] * 20)
    assert batch.rewards.dtype == np.float32
    for name in ("handles", "importance_weights", "actions"):
        np.testing.assert_array_equal(batch[name][::3], batch[name][1::3])
    np.testing.assert_array_equal(batch.observations["observation"][:3, 0], [0, 1, 2])
    np.testing.assert_array_equal(batch.discounts.reshape(20, 3), [[0.5, 0.5, 0]] * 20)
    assert twins.buffer.update_priorities(batch.handles, np.ones(60)) == 60


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"strategy": "past"}, ValueError, "`strategy` must be one of 'future', 'final', "),
        ({"k": -1}, ValueError, "`k` must be finite and at least 0, got -1"),
        ({"compute_reward": 3}, TypeError, "`compute_reward` must be a function, got int"),
        ({"compute_terminated": 3}, TypeError, "`compute_terminated` must be a function or No"),
        ({"info_fields": "actions"}, ValueError, "`info_fields` must be a list of names, got 'a"),
        ({"seed": -1}, ValueError, "`seed` must be from 0 to "),
    ],
)
def test_wrong_options(options, error, message):
    with pytest.raises(error, match=f"HER: {message}"):
        HER(**{"compute_reward": distance} | options)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"compute_reward": lambda a, d, i: np.zeros(3)},
            ValueError,
            r"`compute_reward` must return shape \[n\] = \[\d+\], got \[3\]",
        ),
        (
            {"compute_reward": lambda a, d, i: np.full(len(a), "x")},
            TypeError,
            "`compute_reward` must return real numbers, got <U1",
        ),
        (
            {"compute_terminated": distance},
            TypeError,
            "`compute_terminated` must return bool, got float32",
        ),
        ({"info_fields": ["speed"]}, ValueError, "`info_fields` must be among .*, got 'speed'"),
    ],
)
def test_wrong_functions(options, error, message):
    with pytest.raises(error, match=f"HER: {message}"):
        Twins(20).buffer.sample(50, relabel=HER(**{"compute_reward": distance} | options))


def test_buffers_without_goals():
    buffer = ReplayBuffer(20, {"observations": GOAL, "rewards": ((), "float32")})
    with pytest.raises(ValueError, match="HER: `buffer` must have the field 'observations/achie"):
        HER(compute_reward=distance)(buffer, Batch.of({}))


def test_wrong_relabels():
    buffer = Twins(20).buffer
    with pytest.raises(TypeError, match=r"Chain: `relabels\[1\]` must be a function, got int"):
        Chain([RewardModel(len), 3])
    with pytest.raises(TypeError, match="RewardModel: `rewards` must be a function, got int"):
        RewardModel(3)
    with pytest.raises(TypeError, match="RewardModel: `terminated` must be a function or None"):
        RewardModel(len, 3)
    with pytest.raises(ValueError, match=r"RewardModel: `rewards` must return shape \[n\] = \[4\]"):
        buffer.sample(4, relabel=RewardModel(lambda fields: np.zeros(5)))
    with pytest.raises(TypeError, match="Counterfactuals: `counterfactuals` must be a function"):
        Counterfactuals(3)
    zeros, ones = np.zeros(2, np.int64), np.ones(2)
    for result, error, message in [
        (ones, TypeError, r"`counterfactuals` must return \(fields, sources\), got ndarray"),
        (({}, ones), ValueError, r"`sources` must be \[M\] integers, at least one, got float64"),
        (({}, zeros + 4), ValueError, "`sources` must be from 0 to 3, got 4"),
        (({"speed": ones}, zeros), ValueError, "`counterfactuals` must return fields that the"),
        (({"rewards": np.ones(3)}, zeros), ValueError, r"`rewards` must have shape \[M, …\] = \[2"),
        (({"actions": ones}, zeros), TypeError, "`actions` must hold what int64 can hold, got fl"),
        (({"observations": ones}, zeros), ValueError, "`observations` must be a dict of some of"),
    ]:
        with pytest.raises(error, match=f"Counterfactuals: {message}"):
            buffer.sample(4, relabel=Counterfactuals(lambda batch, made=result: made))
    with pytest.raises(ValueError, match="Counterfactuals: `buffer` must have n_step=1, got 2"):
        Twins(9, n_step=2).buffer.sample(4, relabel=Counterfactuals(lambda batch: ({}, zeros)))
