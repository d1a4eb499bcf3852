"""Relabels other than hindsight, and wrong ones."""

import numpy as np
import pytest
from fastrl.reference import hindsight as spec
from fastrl.replay import HER, Batch, Chain, Counterfactuals, Prioritized, ReplayBuffer, RewardModel
from goal_twins import GOAL, Twins, distance


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
