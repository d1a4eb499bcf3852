"""PPO learns, and counts what it learns from right."""

import dataclasses

import numpy as np
import pytest
from fastrl.recipes.plots import steps_to
from fastrl.recipes.ppo import PPO, PPOConfig
from tiny_runs import TAXI


def tiny(**changes):
    return dataclasses.replace(TAXI, **changes)


def test_ppo_learns_to_balance_the_pole():
    config = PPOConfig.tuned("CartPole-v1", target_return=200.0, env_steps=60_000, eval_every=2)
    ppo = PPO(config)
    records = ppo.run()
    assert records[0]["eval_return"] < 150
    assert ppo.score >= 200
    assert steps_to(records, "eval_return", 200.0) == ppo.env_steps
    assert 0 < ppo.env_share < 0.25  # of seconds; the benchmark has the bound


def test_steps_rewards_and_episodes_are_counted_right():
    """Against the same actions in a second batch that resets at once, without wasted rows."""
    ppo = PPO(tiny(env="CartPole-v1", reward_scale=1.0))
    lengths = []
    for _ in range(4):
        record, timings = ppo.step()
        batch = ppo._rollout
        ended = (batch.terminated | batch.truncated)[:-1]
        assert (batch.stepped[1:-1] == ~ended).all()
        assert (batch.rewards[batch.stepped[:-1]] == 1.0).all()
        assert not batch.rewards[~batch.stepped[:-1]].any()
        lengths += [record["episode_return"]] * record.get("episodes", 0)
        assert 0 < timings["env_seconds"] < timings["rollout_seconds"]
    # A pole that is pushed at random falls after about 22 steps; all of them are counted once.
    running = ppo._returns.sum()
    assert ppo.env_steps == pytest.approx(sum(lengths) + running, abs=1e-6)
    assert 10 < np.mean(lengths) < 40


def test_the_smallest_rollout_is_learned_from():
    # One environment, two rows, of which one may be a reset: one minibatch then, not two.
    changes = {"num_envs": 1, "num_steps": 2, "minibatches": 2, "env_steps": 60}
    records = PPO(tiny(env="CartPole-v1", **changes)).run()
    assert records[-1]["env_steps"] >= 60
    assert all(np.isfinite(record["value_loss"]) for record in records[1:])
    assert 30 < records[-1]["update"] < 60


@pytest.mark.parametrize("env", PPOConfig.presets)
def test_presets_are_configs_and_take_changes(env):
    config = PPOConfig.tuned(env, seed=3)
    assert (config.env, config.seed) == (env, 3)
    assert PPOConfig.from_json(config.to_json()) == config
    assert config.difference(PPOConfig.tuned(env, seed=4).to_json()) == "seed = 4 instead of 3"


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"env": 3}, TypeError, "PPOConfig: `env` must be a string, got int"),
        ({"env_options": []}, TypeError, "PPOConfig: `env_options` must be a dict, got list"),
        ({"seed": -1}, ValueError, "PPOConfig: `seed` must be at least 0, got -1"),
        ({"num_envs": 0}, ValueError, "PPOConfig: `num_envs` must be at least 1, got 0"),
        ({"num_steps": 1}, ValueError, "PPOConfig: `num_steps` must be at least 2, got 1"),
        ({"epochs": 1.0}, TypeError, "PPOConfig: `epochs` must be an integer, got float"),
        ({"learning_rate": 0}, ValueError, "`learning_rate` must be finite and greater than 0"),
        ({"clip": 1.5}, ValueError, r"PPOConfig: `clip` must be in \(0, 1\], got 1.5"),
        ({"gamma": 1.5}, ValueError, r"PPOConfig: `gamma` must be in \[0, 1\], got 1.5"),
        ({"entropy_coef": -1}, ValueError, "`entropy_coef` must be finite and at least 0, got -1"),
        ({"target_return": "x"}, TypeError, "`target_return` must be a number, got str"),
        (
            {"minibatches": 300},
            ValueError,
            r"`minibatches` must be from 1 to num_envs \* num_steps",
        ),
        ({"env": "Pendulum-v1"}, ValueError, "PPO: `env` must have Discrete actions, got Box"),
        ({"env": "Blackjack-v1"}, ValueError, "`env` must have Discrete or one-dimensional Box"),
    ],
)
def test_ppo_rejects(changes, error, message):
    with pytest.raises(error, match=message):
        PPO(tiny(**changes))
