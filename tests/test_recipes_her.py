"""DQN with hindsight reaches goals that DQN never sees."""

import dataclasses

import numpy as np
import pytest
import torch
from fastrl.recipes.her import HindsightDQN, HindsightDQNConfig
from tiny_runs import BIT_FLIP_HER


def tiny(**changes):
    return dataclasses.replace(BIT_FLIP_HER, **changes)


def solve(**changes):
    options = {"num_bits": 8}
    config = HindsightDQNConfig.tuned("BitFlip-v0", env_options=options, **changes)
    run = HindsightDQN(config)
    run.run()
    return run


def test_hindsight_solves_what_plain_dqn_does_not():
    small = {"width": 64, "batch_size": 64}
    hindsight = solve(target_success=0.8, **small)
    assert hindsight.score >= 0.8
    assert hindsight.env_steps < hindsight.config.env_steps
    plain = solve(num_goals=0, env_steps=hindsight.env_steps, **small)
    assert plain.score < 0.5


@pytest.mark.parametrize("ends_at_goals", [True, False])
def test_the_share_of_relabeled_goals_and_their_rewards(ends_at_goals):
    options = {"num_bits": 6, "terminate_at_goal": ends_at_goals}
    run = HindsightDQN(tiny(ends_at_goals=ends_at_goals, env_options=options))
    for _ in range(4):
        run.step()
    batch = run.replay.sample(4000, output="torch", relabel=run.relabel)
    reached = batch.next_observations["achieved_goal"]
    wanted = batch.next_observations["desired_goal"]
    assert torch.equal(wanted, batch.observations["desired_goal"])
    hit = (reached == wanted).all(-1)
    assert torch.equal(batch.rewards == 0, hit)
    assert (batch.rewards[~hit] == -1).all()
    assert torch.equal(batch.discounts == 0, hit & ends_at_goals)
    plain = run.replay.gather(batch.handles)
    new = (plain.observations["desired_goal"] != wanted.numpy()).any(-1).mean()
    # Of 4 in 5 that get a new goal a few get their own.
    assert 0.7 < new <= 0.8 + 5 * (0.16 / 4000) ** 0.5


def test_scores_are_successes():
    run = HindsightDQN(tiny(eval_episodes=50))
    returns, successes = run.play()
    assert run.evaluate() == successes.mean()
    assert np.array_equal(successes, returns > -run.config.env_options["num_bits"])


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"strategy": "past"}, ValueError, "HindsightDQNConfig: `strategy` must be one of"),
        ({"ends_at_goals": 1}, TypeError, "`ends_at_goals` must be True or False"),
        ({"num_goals": -1}, ValueError, "`num_goals` must be at least 0, got -1"),
        ({"target_success": 2}, ValueError, r"`target_success` must be in \[0, 1\], got 2"),
        (
            {"env": "CartPole-v1", "env_options": {}},
            ValueError,
            "HindsightDQN: `env` must have goals, got CartPole-v1",
        ),
    ],
)
def test_hindsight_rejects(changes, error, message):
    with pytest.raises(error, match=message):
        HindsightDQN(tiny(**changes))
