import dataclasses
import json
import shutil
import subprocess
import sys

import fastrl
import numpy as np
import pytest
import torch
from fastrl.recipes import TrainConfig, Trainer, Transformer, TransformerConfig
from fastrl.recipes.checkpoints import load_checkpoint, save_checkpoint
from fastrl.recipes.demo import demo_configs
from fastrl.recipes.objectives import grpo_objective, r3l_objective
from fastrl.recipes.plots import plot_success, steps_to
from fastrl.recipes.run_folder import CHECKPOINT_FILE, LOG_FILE
from fastrl.recipes.run_log import RunLog, read_log
from fastrl.rollout import Role
from safetensors.torch import save_file

TINY = TrainConfig(
    algorithm="r3l",
    env="CodeLock-v0",
    env_options={"length": 3, "num_choices": 3, "num_levels": 1},
    env_steps=1500,
    num_groups=2,
    width=16,
    num_layers=1,
    num_heads=2,
    eval_every=4,
    eval_episodes=16,
    checkpoint_every=3,
)


def tiny(**changes):
    return dataclasses.replace(TINY, **changes)


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
    assert TrainConfig.from_json(TINY.to_json()) == TINY


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
    assert trainer.success >= 0.9
    assert steps_to(records, "success", 0.9) == trainer.env_steps
    counted = sum(
        record.get("base_env_steps", 0) + record.get("retry_env_steps", 0) for record in records
    )
    assert counted == trainer.env_steps


def test_the_log_does_not_depend_on_the_number_of_threads(tmp_path):
    logs = []
    before = fastrl.num_threads()
    try:
        for threads in (1, 2, 3):
            fastrl.set_num_threads(threads)
            Trainer(TINY, tmp_path / str(threads)).run()
            logs.append((tmp_path / str(threads) / LOG_FILE).read_bytes())
    finally:
        fastrl.set_num_threads(before)
    assert logs[0].count(b"\n") > 10
    assert logs[0] == logs[1] == logs[2]


# Imports once, then trains in children that it kills, each at a random moment after a checkpoint;
# the last one may finish.
KILLER = """
import os, random, signal, sys, time
from pathlib import Path
import torch._dynamo  # the first optimizer of each child would import it
from fastrl.recipes import TrainConfig, Trainer
config, folder = TrainConfig.from_json(sys.argv[1]), Path(sys.argv[2])
checkpoint = folder / "checkpoint.safetensors"


def written():
    return checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0


moments = random.Random(3)
kills = 0
for attempt in range(7):
    before = written()
    child = os.fork()
    if child == 0:
        Trainer(config, folder).run()
        os._exit(0)
    if attempt < 6:
        ended = 0
        while written() == before and not ended:
            time.sleep(0.001)
            ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            break
        time.sleep(moments.uniform(0, 0.1))
        os.kill(child, signal.SIGKILL)
    kills += os.WIFSIGNALED(os.waitpid(child, 0)[1])
print(kills)
"""


def test_a_run_killed_at_random_moments_ends_like_one_that_was_not(tmp_path):
    config = tiny(env_steps=3000)
    whole = Trainer(config, tmp_path / "whole")
    whole.run()
    killed = tmp_path / "killed"
    output = subprocess.run(
        [sys.executable, "-c", KILLER, config.to_json(), str(killed)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    kills = int(output)
    assert kills >= 3
    assert (killed / LOG_FILE).read_bytes() == (tmp_path / "whole" / LOG_FILE).read_bytes()
    ours, our_state = load_checkpoint(killed / CHECKPOINT_FILE)
    theirs, their_state = load_checkpoint(tmp_path / "whole" / CHECKPOINT_FILE)
    assert our_state == their_state
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name


def test_a_finished_run_is_not_run_again(tmp_path):
    Trainer(TINY, tmp_path).run()
    before = (tmp_path / LOG_FILE).read_bytes()
    again = Trainer(TINY, tmp_path)
    assert again.finished
    assert again.run() == []
    assert (tmp_path / LOG_FILE).read_bytes() == before


def test_a_folder_with_another_run_is_refused(tmp_path):
    Trainer(TINY, tmp_path).close()
    message = r"`folder` must be empty or hold .* same config, got .*seed = 0 instead of 1$"
    with pytest.raises(ValueError, match=message):
        Trainer(tiny(seed=1), tmp_path)


def test_a_folder_belongs_to_one_trainer(tmp_path):
    first = Trainer(TINY, tmp_path)
    with pytest.raises(ValueError, match=r"`folder` must be no other trainer's, got .* at work"):
        Trainer(TINY, tmp_path)
    first.close()
    with pytest.raises(RuntimeError, match="the folder is closed; make a new Trainer"):
        first.run()
    Trainer(TINY, tmp_path).close()


def test_a_folder_must_be_one(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"`folder` must be a folder to write in, got .*file"):
        Trainer(TINY, tmp_path / "file")


def rewritten(change):
    """A damage that `save_checkpoint` itself writes, with a right checksum."""

    def damage(folder):
        tensors, state = load_checkpoint(folder / CHECKPOINT_FILE)
        change(tensors, state)
        save_checkpoint(folder / CHECKPOINT_FILE, tensors, state)

    return damage


def edited(name, change):
    def damage(folder):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(change(content))

    return damage


def flipped(content):
    return content[:-40] + bytes([content[-40] ^ 4]) + content[-39:]


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    Trainer(tiny(env_steps=60), folder).run()
    return folder


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (edited(CHECKPOINT_FILE, lambda c: c[:-7]), "safetensors: cannot be read"),
        (edited(CHECKPOINT_FILE, lambda c: c[:5]), "safetensors: cannot be read"),
        (edited(CHECKPOINT_FILE, lambda c: b"garbage" * 9), "safetensors: cannot be read"),
        (edited(CHECKPOINT_FILE, lambda c: b""), "safetensors: cannot be read"),
        (edited(CHECKPOINT_FILE, flipped), "safetensors: its checksum is wrong"),
        (
            edited(CHECKPOINT_FILE, lambda c: c.replace(b"env_steps", b"env_stepz")),
            "safetensors: its checksum is wrong",
        ),
        (rewritten(lambda t, s: s.pop("update")), "safetensors: it has no update"),
        (rewritten(lambda t, s: t.pop("model.head.weight")), "model.head.weight has shape None"),
        (
            rewritten(lambda t, s: t.pop("optimizer.exp_avg.head.weight")),
            "optimizer.exp_avg.head.weight has shape None",
        ),
        (
            rewritten(lambda t, s: t.update({"model.head.weight": torch.zeros(128, 8)})),
            r"model.head.weight has shape \[128, 8\], this run's has \[128, 16\]",
        ),
        (
            rewritten(lambda t, s: s.update(config=tiny(seed=9).to_json())),
            "safetensors with .*seed = 9 instead of 0",
        ),
        (edited(LOG_FILE, lambda c: c[:-5]), r"must hold the \d+ bytes .*log.jsonl of \d+"),
        (lambda folder: (folder / LOG_FILE).unlink(), "must hold the .*log.jsonl of 0"),
        (edited(LOG_FILE, lambda c: b"\0" * 9 + c[9:]), "hold JSON objects, got .*jsonl, line 1"),
        (edited("config.json", lambda c: c[:20]), "config.json with something that is no config"),
        (edited("config.json", lambda c: b"\xff\xfe"), "config.json with something that is no"),
    ],
)
def test_damaged_folders_are_refused_and_named(tmp_path, finished_run, damage, message):
    folder = tmp_path / "run"
    shutil.copytree(finished_run, folder)
    damage(folder)
    with pytest.raises(ValueError, match=message):
        Trainer(tiny(env_steps=60), folder)


def test_the_last_update_is_evaluated_and_training_stays_the_same():
    last = Trainer(tiny(eval_every=1000)).run()
    assert [record["update"] for record in last if "success" in record] == [0, len(last) - 1]
    often = Trainer(tiny(eval_every=1)).run()
    assert last[-1] == often[-1]


def test_seeds_draw_their_own_levels():
    codes = {Trainer(tiny(seed=seed)).rollout.collect(0)[0].rewards.tobytes() for seed in range(4)}
    assert len(codes) > 1


# --- files ----------------------------------------------------------------------------------------


def test_checkpoints_hold_tensors_and_json_and_no_code(tmp_path):
    path = tmp_path / "checkpoint"
    save_checkpoint(path, {"a": torch.arange(3), "b": torch.zeros(0, 2)}, {"update": 3})
    tensors, state = load_checkpoint(path)
    assert state == {"update": 3}
    assert torch.equal(tensors["a"], torch.arange(3))
    assert [entry.name for entry in tmp_path.iterdir()] == ["checkpoint"]
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(
        ValueError, match="load_checkpoint: `path` must hold a whole fastrl-checkpoint-2"
    ):
        load_checkpoint(path)


def test_a_log_is_cut_back_and_a_torn_line_is_skipped(tmp_path):
    path = tmp_path / "log"
    log = RunLog(path)
    log.write({"update": 1})
    offset = log.offset
    log.write({"update": 2})
    with path.open("ab") as file:
        file.write(b'{"upd')
    assert [record["update"] for record in read_log(path)] == [1, 2]
    RunLog(path, offset)
    assert [json.loads(line) for line in path.read_text().splitlines()] == [{"update": 1}]


def test_plots_are_written(tmp_path):
    records = [{"env_steps": 0, "success": 0.0}, {"env_steps": 5}, {"env_steps": 9, "success": 1.0}]
    plot_success({"R³L": records}, "a title", tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert steps_to(records, "success", 0.9) == 9
    assert steps_to(records[:2], "success", 0.9) is None


def test_the_demo_compares_equal_budgets_of_one_model():
    configs = list(demo_configs(0).values())
    for config in configs[1:]:
        changed = {"algorithm", "learning_rate"}
        ours, first = dataclasses.asdict(config), dataclasses.asdict(configs[0])
        assert {key for key in ours if ours[key] != first[key]} <= changed
