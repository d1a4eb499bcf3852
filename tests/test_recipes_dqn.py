"""DQN and what it shares with SAC: targets, priorities, and that it counts and learns right."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from fastrl.recipes.dqn import DQN, DQNConfig
from fastrl.recipes.networks import as_inputs
from fastrl.recipes.off_policy import follow, td_targets
from fastrl.recipes.plots import steps_to
from recorded_steps import RecordedSteps
from tiny_runs import CART_POLE_DQN
from tolerance import as_float64, assert_close
from torch import nn


def tiny(**changes):
    return dataclasses.replace(CART_POLE_DQN, **changes)


# --- one gradient step ------------------------------------------------------------------------


def q_values(network, observations, dtype):
    return copy.deepcopy(network).to(dtype)(torch.as_tensor(observations, dtype=dtype))


def expected_td_errors(run, steps, handles, dtype):
    """Double DQN's, from rows as they were added and networks of this dtype."""
    lived = [steps.transition(handle, run.config.n_step, run.config.gamma) for handle in handles]
    observations = np.stack([one.observation for one in lived])
    next_observations = np.stack([one.next_observation for one in lived])
    rows = torch.arange(len(lived))
    with torch.no_grad():
        best = q_values(run.model.online, next_observations, dtype).argmax(-1)
        next_values = q_values(run.model.target, next_observations, dtype)[rows, best]
        actions = torch.tensor([one.action for one in lived])
        values = q_values(run.model.online, observations, dtype)[rows, actions]
        rewards, discounts = (
            torch.tensor([getattr(one, name) for one in lived], dtype=dtype)
            for name in ("reward", "discount")
        )
        return rewards + discounts * next_values - values


@pytest.mark.parametrize("n_step", [1, 3])
def test_td_errors_are_those_of_double_dqn(n_step):
    run = DQN(tiny(n_step=n_step, reward_scale=0.5, priority_epsilon=0.25))
    steps = RecordedSteps(run)
    for _ in range(8):
        run.step()
    nn.init.normal_(run.model.target[-1].bias)  # so that it and the online network disagree
    batch = run.replay.sample(64, output="torch")
    expected = expected_td_errors(run, steps, batch.handles, torch.float64)
    naive = expected_td_errors(run, steps, batch.handles, torch.float32)
    assert len(steps.lengths) > 3  # of episodes, so that some of the transitions end
    td_errors, _ = run.improve(batch)
    assert_close(td_errors, expected, naive)


def test_transitions_that_end_their_episode_bootstrap_from_nothing():
    rewards, discounts = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.5, 0.0, 0.25])
    targets = td_targets(rewards, discounts, torch.tensor([2.0, np.nan, -4.0]))
    assert targets.tolist() == [2.0, 2.0, 2.0]


def test_the_loss_is_hubers_weighted_against_the_priorities():
    run = DQN(tiny())
    for _ in range(3):
        run.step()
    batch = run.replay.sample(32, output="torch")
    twin = copy.deepcopy(run.model.online).double()
    td_errors, metrics = run.improve(batch)
    sizes, weights = as_float64(td_errors.abs()), as_float64(batch.importance_weights)
    huber = np.where(sizes < 1, 0.5 * sizes**2, sizes - 0.5)
    assert weights.std() > 0
    assert_close(metrics["loss"], np.mean(weights * huber), dtype="float32")
    # Its gradient: of each value, the error cut to [-1, 1].
    values = twin(as_inputs(batch.observations).double())
    taken = values[torch.arange(32), batch.actions]
    slopes = torch.from_numpy(weights) * -td_errors.double().clamp(-1, 1) / 32
    torch.autograd.backward(taken, slopes)
    ours = torch.cat([weight.grad.flatten() for weight in run.model.online.parameters()])
    theirs = torch.cat([weight.grad.flatten() for weight in twin.parameters()])
    scale = min(1.0, run.config.max_grad_norm / float(theirs.norm()))
    assert torch.allclose(ours.double(), scale * theirs, rtol=1e-5, atol=1e-6)


def test_target_networks_follow_by_tau():
    targets, weights = [torch.zeros(3), torch.ones(2)], [torch.ones(3), torch.zeros(2)]
    follow(targets, weights, 0.25)
    assert [row.tolist() for row in targets] == [[0.25] * 3, [0.75] * 2]
    run = DQN(tiny(tau=1.0))
    for _ in range(3):
        run.step()
    for target, weight in zip(run._targets, run._weights, strict=True):
        assert torch.equal(target, weight)
        assert not target.requires_grad


def test_priorities_become_the_td_errors():
    run = DQN(tiny(priority_exponent=1.0, priority_epsilon=0.5))
    for _ in range(3):
        run.step()
    batch = run.replay.sample(8, output="torch")
    td_errors, _ = run.improve(batch)
    run.replay.update_priorities(batch.handles, td_errors.abs().numpy())
    priorities = run.replay.priorities(batch.handles)
    assert np.allclose(priorities, td_errors.abs().numpy() + 0.5, rtol=1e-4)


def test_uniform_replay_weighs_all_the_same():
    run = DQN(tiny(priority_exponent=0.0))
    for _ in range(3):
        run.step()
    batch = run.replay.sample(64)
    assert (batch.importance_weights == 1).all()
    assert len(set(batch.probabilities.tolist())) == 1


# --- acting -----------------------------------------------------------------------------------


def test_exploration_fades_in_a_straight_line():
    run = DQN(tiny(env_steps=1000, epsilon=0.1, exploration=0.5))
    shares = []
    for env_steps in (0, 250, 500, 1000):
        run.env_steps = env_steps
        shares.append(run.epsilon)
    assert shares == pytest.approx([1.0, 0.55, 0.1, 0.1])
    assert DQN(tiny(epsilon=0.1, exploration=0.0)).epsilon == 0.1


@pytest.mark.parametrize("epsilon", [0.0, 0.4, 1.0])
def test_so_many_actions_are_random(epsilon):
    run = DQN(tiny(epsilon=epsilon, exploration=0.0))
    observations = torch.zeros(20_000, 4)
    actions = run.behave(observations, torch.Generator().manual_seed(3))
    other = (actions != run.prefer(observations)).double().mean().item()
    # A random action is the best one half the time; five standard errors.
    assert abs(other - epsilon / 2) <= 5 * (epsilon / 2 * (1 - epsilon / 2) / 20_000) ** 0.5


def test_steps_rewards_and_episodes_are_counted_right():
    run = DQN(tiny(reward_scale=0.5, capacity=10_000))
    steps = RecordedSteps(run)
    returns = []
    for _ in range(10):
        record, timings = run.step()
        returns += [record["episode_return"]] * record.get("episodes", 0)
        assert 0 < timings["env_seconds"] < timings["rollout_seconds"]
    # Each step of a pole that stands is a reward of 1, so that returns are lengths.
    assert sum(steps.lengths) == pytest.approx(sum(returns), abs=1e-6)
    assert run.env_steps == sum(steps.lengths) + run._returns.sum()
    assert 10 * 16 * 4 - run.env_steps == len(steps.lengths) - int(run.ended.sum())
    # A step whose next observation is not there yet cannot be drawn.
    assert run.replay.num_drawable == run.env_steps - steps.newest_are_steps.sum()


def test_nothing_is_learned_before_there_is_enough():
    run = DQN(tiny(learning_starts=120))
    weights = copy.deepcopy(run.model.state_dict())
    record, _ = run.step()
    assert 50 < record["env_steps"] < 120
    assert "loss" not in record
    assert all(torch.equal(weights[name], value) for name, value in run.model.state_dict().items())
    record, _ = run.step()
    assert record["env_steps"] >= 90
    assert "loss" in record


def test_one_environment_with_one_step_is_enough():
    records = DQN(tiny(num_envs=1, num_steps=1, env_steps=60, learning_starts=0)).run()
    assert records[-1]["env_steps"] == 60
    assert sum("loss" in record for record in records) >= 58


# --- whole runs -------------------------------------------------------------------------------


def test_dqn_learns_to_balance_the_pole():
    config = DQNConfig.tuned("CartPole-v1", target_return=90.0, env_steps=12_000, eval_every=2)
    run = DQN(config)
    records = run.run()
    assert records[0]["eval_return"] < 60
    assert run.score >= 90
    assert steps_to(records, "eval_return", 90.0) == run.env_steps


@pytest.mark.parametrize("env", ["Taxi-v3", "BitFlip-v0", "Acrobot-v1"])
def test_all_kinds_of_observations_are_learned_from(env):
    records = DQN(tiny(env=env, env_steps=200)).run()
    assert np.isfinite(records[-1]["loss"])


@pytest.mark.parametrize("env", DQNConfig.presets)
def test_presets_are_configs_and_take_changes(env):
    config = DQNConfig.tuned(env, seed=3)
    assert (config.env, config.seed) == (env, 3)
    assert DQNConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"num_envs": 0}, ValueError, "DQNConfig: `num_envs` must be at least 1, got 0"),
        ({"gradient_steps": 0}, ValueError, "DQNConfig: `gradient_steps` must be at least 1"),
        ({"batch_size": 2.0}, TypeError, "DQNConfig: `batch_size` must be an integer, got float"),
        ({"learning_starts": -1}, ValueError, "`learning_starts` must be at least 0, got -1"),
        ({"learning_rate": 0}, ValueError, "`learning_rate` must be finite and greater than 0"),
        ({"gamma": 1.5}, ValueError, r"DQNConfig: `gamma` must be in \[0, 1\], got 1.5"),
        ({"tau": 0}, ValueError, r"DQNConfig: `tau` must be in \(0, 1\], got 0"),
        ({"epsilon": 2}, ValueError, r"DQNConfig: `epsilon` must be in \[0, 1\], got 2"),
        ({"exploration": -1}, ValueError, r"`exploration` must be in \[0, 1\], got -1"),
        ({"priority_exponent": -1}, ValueError, "`priority_exponent` must be finite and at least"),
        ({"importance_exponent": 2}, ValueError, r"`importance_exponent` must be in \[0, 1\]"),
        ({"target_return": "x"}, TypeError, "`target_return` must be a number, got str"),
        ({"capacity": 9}, ValueError, "`capacity` must leave each of 4 lanes"),
        ({"env": "Pendulum-v1"}, ValueError, "DQN: `env` must have Discrete actions, got Box"),
        ({"env": "Blackjack-v1"}, ValueError, "DQN: `env` must have Discrete, one-dimensional Box"),
    ],
)
def test_dqn_rejects(changes, error, message):
    with pytest.raises(error, match=message):
        DQN(tiny(**changes))
