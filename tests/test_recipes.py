"""R³L and GRPO: the transformer, the losses, and that both learn."""

import dataclasses

import numpy as np
import pytest
import torch
from fastrl.recipes import TrainConfig, Trainer, Transformer, TransformerConfig
from fastrl.recipes.demo import demo_configs
from fastrl.recipes.objectives import grpo_objective, r3l_objective
from fastrl.recipes.plots import steps_to
from fastrl.rollout import Role
from tiny_runs import R3L


def tiny(**changes):
    return dataclasses.replace(R3L, **changes)


# --- model ----------------------------------------------------------------------------------------


def test_the_model_is_causal():
    torch.manual_seed(0)
    model = Transformer(TransformerConfig(width=16, num_heads=2))
    tokens = torch.randint(0, 128, (2, 9))
    changed = tokens.clone()
    changed[:, 6:] = 5
    with torch.no_grad():
        before, after = model(tokens), model(changed)
    torch.testing.assert_close(before[:, :6], after[:, :6])
    assert not torch.allclose(before[:, 6:], after[:, 6:])


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"width": 20, "num_heads": 4}, r"`width` must be a multiple of 2 · num_heads = 8, got 20"),
        ({"num_layers": 0}, "TransformerConfig: `num_layers` must be at least 1, got 0"),
        ({"vocabulary_size": 1.5}, "`vocabulary_size` must be an integer, got float"),
    ],
)
def test_the_model_names_a_wrong_size(sizes, message):
    with pytest.raises((ValueError, TypeError), match=message):
        TransformerConfig(**sizes)


# --- configs --------------------------------------------------------------------------------------


def test_a_config_survives_json():
    assert TrainConfig.from_json(R3L.to_json()) == R3L


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"algorithm": "ppo"}, "TrainConfig: `algorithm` must be one of 'r3l', 'grpo', got 'ppo'"),
        ({"learning_rate": float("nan")}, "`learning_rate` must be finite and greater than 0"),
        ({"group_size": 7}, "`group_size` must be even, half attempts and half retries, got 7"),
        ({"env_steps": 0}, "`env_steps` must be at least 1, got 0"),
        ({"amplification": 0.5}, "`amplification` must be finite and at least 1, got 0.5"),
        ({"target_success": 2.0}, r"`target_success` must be in \[0, 1\], got 2"),
        ({"guidance": "maybe"}, "`guidance` must be one of 'episode', 'turn', 'none'"),
        ({"seed": -1}, "`seed` must be at least 0, got -1"),
        ({"reflection": "False"}, "`reflection` must be True or False, got 'False'"),
        ({"mask_prefix": 1}, "`mask_prefix` must be True or False, got 1"),
        ({"avoid": None}, "TrainConfig: `avoid` must be True or False, got None"),
        ({"suggest": 0.0}, "`suggest` must be True or False, got 0.0"),
        ({"env": 3}, "`env` must be a string, got int"),
        ({"env_options": [1]}, "`env_options` must be a dict, got list"),
        (
            {"env_options": {"num_envs": 4}},
            "`env_options` must leave this to the run, got num_envs",
        ),
    ],
)
def test_a_config_names_what_is_wrong(changes, message):
    with pytest.raises((ValueError, TypeError), match=message):
        tiny(**changes)


# --- objectives -----------------------------------------------------------------------------------


def collected(**changes):
    trainer = Trainer(tiny(**changes))
    batch, _ = trainer.rollout.collect(5)
    return trainer, batch


def gradients(trainer, objective):
    trainer.optimizer.zero_grad()
    objective.loss.backward()
    return torch.cat([p.grad.flatten() for p in trainer.model.parameters()])


def test_the_r3l_loss_equals_its_formula():
    trainer, batch = collected(env_options={"length": 3, "num_levels": 1}, seed=1)
    ours = r3l_objective(trainer.policy, batch, trainer.config)
    guided = batch.roles == Role.GUIDED
    assert guided.any()
    advantages = np.zeros(len(batch))
    for group in np.unique(batch.group_ids):
        members = (batch.group_ids == group) & ~guided
        advantages[members] = batch.rewards[members] - batch.rewards[members].mean()
    advantages = np.where(advantages >= 0, 3 * advantages, advantages)
    advantages = np.where(batch.rewards >= 1, 3 * np.maximum(1, advantages / 3), advantages)
    advantages[guided] = 1
    np.testing.assert_allclose(ours.advantages, advantages[~guided], atol=1e-6)

    logits = trainer.policy.logits(trainer.model(torch.from_numpy(batch.tokens).long()))
    scores = logits.log_softmax(-1)
    sums, counts = {True: 0.0, False: 0.0}, {True: 0, False: 0}
    for row in range(len(batch)):
        first = batch.turn_starts[row, max(batch.pivot_turns[row], 0)]
        for t in np.flatnonzero(batch.action_mask[row]):
            if t < first:
                continue
            index = int((trainer.policy.allowed_tokens == int(batch.tokens[row, t])).nonzero())
            sums[guided[row]] -= advantages[row] * scores[row, t - 1, index]
            counts[guided[row]] += 1
    reinforced, taught = (sums[kind] / counts[kind] / 2 for kind in (False, True))
    expected = reinforced + trainer.config.sft_coef * taught
    torch.testing.assert_close(ours.loss, expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(
        gradients(trainer, ours),
        torch.cat([g.flatten() for g in torch.autograd.grad(expected, trainer.model.parameters())]),
        atol=1e-6,
        rtol=1e-4,
    )


def test_reflections_are_learned_and_do_not_dilute_the_rest():
    trainer, batch = collected(env_options={"length": 3, "num_levels": 1}, seed=1)
    guided = np.flatnonzero(batch.roles == Role.GUIDED)
    assert len(guided)
    expected = r3l_objective(trainer.policy, batch, trainer.config)
    roles = batch.roles.copy()
    roles[guided] = Role.REFLECTION
    ours = r3l_objective(trainer.policy, dataclasses.replace(batch, roles=roles), trainer.config)
    assert ours.loss.item() == expected.loss.item()
    assert torch.equal(ours.advantages, expected.advantages)


def test_actions_that_the_policy_may_not_say_are_refused():
    trainer, batch = collected()
    batch.tokens[batch.action_mask] = 0
    with pytest.raises(ValueError, match="`batch` must hold actions of tokens that `policy` may"):
        r3l_objective(trainer.policy, batch, trainer.config)


def test_an_all_failure_batch_changes_nothing():
    trainer, batch = collected(
        env_options={"length": 6, "num_choices": 10, "num_levels": 1, "reward": "binary"}
    )
    assert not batch.successes.any()
    assert not gradients(trainer, r3l_objective(trainer.policy, batch, trainer.config)).any()


def test_the_grpo_gradient_is_the_policy_gradient_of_normalized_rewards():
    trainer, batch = collected(algorithm="grpo")
    ours = gradients(trainer, grpo_objective(trainer.policy, batch, trainer.config))
    logits = trainer.policy.logits(trainer.model(torch.from_numpy(batch.tokens).long()))
    scores = logits.log_softmax(-1)
    loss = 0.0
    for row in range(len(batch)):
        group = batch.rewards[batch.group_ids == batch.group_ids[row]]
        spread = group.std(ddof=1)
        advantage = (batch.rewards[row] - group.mean()) / (spread + 1e-4) if spread else 0.0
        chosen = np.flatnonzero(batch.action_mask[row])
        for t in chosen:
            index = int((trainer.policy.allowed_tokens == int(batch.tokens[row, t])).nonzero())
            loss -= advantage * scores[row, t - 1, index] / len(chosen) / len(batch)
    expected = torch.autograd.grad(loss, trainer.model.parameters())
    torch.testing.assert_close(
        ours, torch.cat([g.flatten() for g in expected]), atol=1e-5, rtol=1e-3
    )


# --- runs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["r3l", "grpo"])
def test_training_solves_a_small_lock(algorithm):
    config = tiny(
        algorithm=algorithm, env_steps=20_000, target_success=0.9, width=32, learning_rate=3e-3
    )
    trainer = Trainer(config)
    records = trainer.run()
    assert records[0]["success"] < 0.5
    assert trainer.score >= 0.9
    assert steps_to(records, "success", 0.9) == trainer.env_steps
    counted = sum(
        record.get("base_env_steps", 0) + record.get("retry_env_steps", 0) for record in records
    )
    assert counted == trainer.env_steps


def test_seeds_draw_their_own_levels():
    codes = {Trainer(tiny(seed=seed)).rollout.collect(0)[0].rewards.tobytes() for seed in range(4)}
    assert len(codes) > 1


def test_the_demo_compares_equal_budgets_of_one_model():
    configs = list(demo_configs(0).values())
    for config in configs[1:]:
        changed = {"algorithm", "learning_rate"}
        ours, first = dataclasses.asdict(config), dataclasses.asdict(configs[0])
        assert {key for key in ours if ours[key] != first[key]} <= changed
