"""PPO learns, by the same curve for the same seed, and goes on where it was killed."""

import fastrl
import numpy as np
import pytest
import torch
from fastrl.recipes.checkpoints import load_checkpoint
from fastrl.recipes.plots import plot_returns, steps_to
from fastrl.recipes.ppo import PPO, PRESETS, PPOConfig
from fastrl.recipes.run_folder import CHECKPOINT_FILE, LOG_FILE, TIMINGS_FILE
from fastrl.recipes.run_log import read_log

TINY = PPOConfig(
    env="Taxi-v3",
    env_steps=2_500,
    num_envs=8,
    num_steps=32,
    epochs=2,
    minibatches=3,
    width=8,
    eval_every=4,
    eval_episodes=2,
    checkpoint_every=3,
)


def test_ppo_learns_to_balance_the_pole():
    config = PPOConfig.tuned("CartPole-v1", target_return=200.0, env_steps=60_000, eval_every=2)
    ppo = PPO(config)
    records = ppo.run()
    assert records[0]["eval_return"] < 150
    assert ppo.eval_return >= 200
    assert steps_to(records, "eval_return", 200.0) == ppo.env_steps
    assert 0 < ppo.env_share < 0.25  # of seconds; the benchmark has the bound


def test_the_curve_does_not_depend_on_fastrls_threads(tmp_path):
    logs = []
    before = fastrl.num_threads()
    try:
        for threads in (1, 2, 3):
            fastrl.set_num_threads(threads)
            PPO(TINY, tmp_path / str(threads)).run()
            logs.append((tmp_path / str(threads) / LOG_FILE).read_bytes())
    finally:
        fastrl.set_num_threads(before)
    assert logs[0].count(b"\n") > 10
    assert logs[0] == logs[1] == logs[2]
    PPO(PPOConfig(**{**vars(TINY), "seed": 1}), tmp_path / "other").run()
    assert (tmp_path / "other" / LOG_FILE).read_bytes() != logs[0]


@pytest.mark.parametrize("env", ["Taxi-v3", "CartPole-v1"])
def test_a_killed_run_goes_on_to_the_same_bits(tmp_path, env):
    class KilledError(Exception):
        pass

    def kill(record):
        if record["update"] == 5:
            raise KilledError

    config = PPOConfig(**{**vars(TINY), "env": env})
    PPO(config, tmp_path / "whole").run()
    with pytest.raises(KilledError):
        PPO(config, tmp_path / "killed").run(kill)
    ppo = PPO(config, tmp_path / "killed")
    assert ppo.update == 3
    assert ppo.finished is False
    ppo.run()
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert (whole / LOG_FILE).read_bytes() == (killed / LOG_FILE).read_bytes()
    tensors, state = load_checkpoint(whole / CHECKPOINT_FILE)
    theirs, their_state = load_checkpoint(killed / CHECKPOINT_FILE)
    assert state == their_state
    assert tensors.keys() == theirs.keys()
    assert all(torch.equal(tensors[name], theirs[name]) for name in tensors)
    assert {"env_seconds", "learn_seconds"} <= read_log(tmp_path / "killed" / TIMINGS_FILE)[
        0
    ].keys()
    again = PPO(config, killed)
    assert again.finished
    again.close()
    with pytest.raises(ValueError, match=r"PPO: `folder` must be empty or hold a run of the same"):
        PPO(PPOConfig(**{**vars(config), "seed": 1}), tmp_path / "killed")


def test_a_closed_run_is_not_gone_on_with(tmp_path):
    ppo = PPO(TINY, tmp_path)
    with pytest.raises(ValueError, match=r"PPO: `folder` must be no other trainer's"):
        PPO(TINY, tmp_path)
    ppo.close()
    with pytest.raises(RuntimeError, match=r"PPO\.run: the folder is closed; make a new PPO"):
        ppo.run()


def test_steps_rewards_and_episodes_are_counted_right():
    """Against the same actions in a second batch that resets at once, without wasted rows."""
    ppo = PPO(PPOConfig(**{**vars(TINY), "env": "CartPole-v1", "reward_scale": 1.0}))
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
    records = PPO(PPOConfig(**{**vars(TINY), "env": "CartPole-v1", **changes})).run()
    assert records[-1]["env_steps"] >= 60
    assert all(np.isfinite(record["value_loss"]) for record in records[1:])
    assert 30 < records[-1]["update"] < 60


@pytest.mark.parametrize("env", PRESETS)
def test_presets_are_configs_and_take_changes(env):
    config = PPOConfig.tuned(env, seed=3)
    assert (config.env, config.seed) == (env, 3)
    assert PPOConfig.from_json(config.to_json()) == config
    assert config.difference(PPOConfig.tuned(env, seed=4).to_json()) == "seed = 4 instead of 3"


def test_returns_are_plotted(tmp_path):
    records = [{"env_steps": 0, "eval_return": 1.0}, {"env_steps": 5}]
    plot_returns({"a": {"seed 0": records}, "b": {"seed 0": records}}, tmp_path / "returns.png")
    assert (tmp_path / "returns.png").read_bytes().startswith(b"\x89PNG")


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
        PPO(PPOConfig(**{**vars(TINY), **changes}))
