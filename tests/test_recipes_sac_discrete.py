"""SAC for discrete actions against its formulas in float64, one part at a time."""

import copy
import dataclasses
import math

import numpy as np
import pytest
import torch
from fastrl.recipes.sac_discrete import SACDiscrete, SACDiscreteConfig
from tiny_runs import CART_POLE_SAC
from tolerance import assert_close


def tiny(**changes):
    return dataclasses.replace(CART_POLE_SAC, **changes)


def run_with_batch(**changes):
    """A run whose target critics lag behind, and transitions that it has not learned yet."""
    run = SACDiscrete(tiny(temperature=0.3, **changes))
    for _ in range(8):
        run.step()
    return run, run.replay.sample(48, output="torch")


def by_hand(model, batch, dtype):
    """The three losses and the critics' errors, each by itself."""
    observations, next_observations = (
        batch[name].to(dtype) for name in ("observations", "next_observations")
    )
    rewards, discounts, weights = (
        batch[name].to(dtype) for name in ("rewards", "discounts", "importance_weights")
    )
    rows = torch.arange(len(rewards))
    alpha = model.log_temperature.exp().item()
    with torch.no_grad():
        probs = torch.softmax(model.actor(next_observations), -1)
        critics = [target(next_observations) for target in model.targets]
        next_values = (probs * (torch.minimum(*critics) - alpha * probs.log())).sum(-1)
        targets = torch.where(discounts > 0, rewards + discounts * next_values, rewards)
    values = [critic(observations)[rows, batch.actions] for critic in model.critics]
    critic_loss = sum((weights * (value - targets) ** 2).mean() for value in values) / 2
    probs = torch.softmax(model.actor(observations), -1)
    with torch.no_grad():
        smaller = torch.minimum(*(critic(observations) for critic in model.critics))
    actor_loss = (probs * (alpha * probs.log() - smaller)).sum(-1).mean()
    entropy = -(probs * probs.log()).sum(-1).mean().detach()
    sizes = sum((targets - value).abs() for value in values).detach() / 2
    return critic_loss, actor_loss, entropy, sizes


def test_losses_and_gradients_are_those_of_the_formulas():
    run, batch = run_with_batch()
    assert (batch.discounts == 0).any()
    assert batch.importance_weights.std() > 0
    exact, naive = copy.deepcopy(run.model).double(), copy.deepcopy(run.model)
    sizes, metrics = run.improve(batch)
    results = {}
    for name, model in (("exact", exact), ("naive", naive)):
        critic_loss, actor_loss, entropy, errors = by_hand(
            model, batch, next(model.parameters()).dtype
        )
        gradients = {}
        # Each loss moves nothing but its own part.
        for part, loss in ((model.critics, critic_loss), (model.actor, actor_loss)):
            weights = list(part.parameters())
            gradients |= {id(part): torch.autograd.grad(loss, weights)}
        results[name] = [
            critic_loss.detach(), actor_loss.detach(), entropy, errors,
            *gradients[id(model.critics)], *gradients[id(model.actor)],
        ]  # fmt: skip
    ours = [
        metrics["critic_loss"], metrics["actor_loss"], metrics["entropy"], sizes,
        *(weight.grad for weight in run.model.critics.parameters()),
        *(weight.grad for weight in run.model.actor.parameters()),
    ]  # fmt: skip
    for i, (value, reference, plain) in enumerate(
        zip(ours, results["exact"], results["naive"], strict=True)
    ):
        scale = max(float(reference.abs().max()), 1e-12)
        error = float((value.double() - reference).abs().max())
        bound = 2 * float((plain.double() - reference).abs().max()) + 1e-5 * scale
        assert error <= bound, i
    assert all(weight.grad is None for weight in run.model.targets.parameters())
    slope = metrics["entropy"] - run.config.target_entropy * math.log(2)
    assert_close(run.model.log_temperature.grad, slope)


@pytest.mark.parametrize(("target_entropy", "rises"), [(0.0, False), (1.0, True)])
def test_the_temperature_moves_entropy_to_its_target(target_entropy, rises):
    run, batch = run_with_batch(target_entropy=target_entropy)
    before = run.model.log_temperature.item()
    for _ in range(20):
        run.improve(batch)
    assert (run.model.log_temperature.item() > before) == rises


def test_target_critics_follow_by_tau():
    run, batch = run_with_batch(tau=0.25)
    before = [weight.clone() for weight in run.model.targets.parameters()]
    run.improve(batch)
    for old, new, weight in zip(
        before, run.model.targets.parameters(), run.model.critics.parameters(), strict=True
    ):
        assert torch.allclose(new, old + 0.25 * (weight - old), rtol=1e-5, atol=1e-7)


def test_the_five_networks_start_apart_but_for_the_copies():
    run = SACDiscrete(tiny())
    actor, first, second = (
        part[2].weight for part in (run.model.actor, run.model.critics[0], run.model.critics[1])
    )
    assert not torch.equal(first, second)
    assert not torch.equal(first, actor)
    assert torch.equal(first, run.model.targets[0][2].weight)
    assert torch.equal(second, run.model.targets[1][2].weight)


def test_actions_are_drawn_from_the_policy():
    run = SACDiscrete(tiny())
    with torch.no_grad():
        run.model.actor[-1].weight.zero_()
        run.model.actor[-1].bias.copy_(torch.tensor([0.0, math.log(3.0)]))
        observations = torch.zeros(40_000, 4)
        actions = run.behave(observations, torch.Generator().manual_seed(1))
        share = actions.double().mean().item()
        assert (run.prefer(observations) == 1).all()
    assert abs(share - 0.75) <= 5 * (0.75 * 0.25 / 40_000) ** 0.5


def test_sac_learns_to_balance_the_pole():
    config = SACDiscreteConfig.tuned(
        "CartPole-v1", target_return=90.0, env_steps=12_000, eval_every=2
    )
    run = SACDiscrete(config)
    records = run.run()
    assert records[0]["eval_return"] < 60
    assert run.score >= 90


@pytest.mark.parametrize("env", ["Taxi-v3", "BitFlip-v0"])
def test_all_kinds_of_observations_are_learned_from(env):
    records = SACDiscrete(tiny(env=env, env_steps=200)).run()
    assert np.isfinite(records[-1]["critic_loss"])


@pytest.mark.parametrize("env", SACDiscreteConfig.presets)
def test_presets_are_configs_and_take_changes(env):
    config = SACDiscreteConfig.tuned(env, seed=3)
    assert (config.env, config.seed) == (env, 3)
    assert SACDiscreteConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target_entropy": 2}, r"SACDiscreteConfig: `target_entropy` must be in \[0, 1\], got 2"),
        ({"temperature": 0}, "SACDiscreteConfig: `temperature` must be finite and greater than 0"),
        ({"temperature_rate": -1}, "`temperature_rate` must be finite and at least 0, got -1"),
        ({"env": "Pendulum-v1"}, "SACDiscrete: `env` must have Discrete actions, got Box"),
    ],
)
def test_sac_rejects(changes, message):
    with pytest.raises(ValueError, match=message):
        SACDiscrete(tiny(**changes))
