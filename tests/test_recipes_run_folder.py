"""A run's files: what they hold, and that damaged ones are refused by name."""

import dataclasses
import json
import shutil

import pytest
import torch
from fastrl.recipes import run_folder
from fastrl.recipes.checkpoints import load_checkpoint, save_checkpoint
from fastrl.recipes.run_folder import CHECKPOINT_FILE, LOG_FILE, REPLAYS
from fastrl.recipes.run_log import RunLog, read_log
from safetensors.torch import save_file
from tiny_runs import LINE, Errors, Line, RememberingLine


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
    Line(LINE, folder).run()
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
        (rewritten(lambda t, s: s.pop("lag")), "safetensors: it has no lag"),
        (rewritten(lambda t, s: t.pop("model.line.weight")), "model.line.weight has shape None"),
        (
            rewritten(lambda t, s: t.pop("optimizer.exp_avg.line.weight")),
            "optimizer.exp_avg.line.weight has shape None",
        ),
        (
            rewritten(lambda t, s: t.update({"optimizer.step.target.weight": torch.zeros(())})),
            r"optimizer.step.target.weight has shape \[\], this run's has None",
        ),
        (
            rewritten(lambda t, s: t.update({"model.line.weight": torch.zeros(1, 2)})),
            r"model.line.weight has shape \[1, 2\], this run's has \[1, 1\]",
        ),
        (
            rewritten(lambda t, s: s.update(config=dataclasses.replace(LINE, seed=9).to_json())),
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
        Line(LINE, folder)


# --- the replay beside a checkpoint -----------------------------------------------------------


def stopped_at(update):
    def stop(record):
        if record["update"] == update:
            raise KeyboardInterrupt

    return stop


def stop_run(folder, update):
    with pytest.raises(KeyboardInterrupt):
        RememberingLine(LINE, folder).run(stopped_at(update))


def replays_in(folder):
    return {
        name: len(Errors.load(folder / name).values) for name in REPLAYS if (folder / name).exists()
    }


def test_a_replay_is_saved_where_the_last_checkpoint_has_none(tmp_path):
    stop_run(tmp_path, 5)
    assert replays_in(tmp_path) == {"replay-0": 3}
    run = RememberingLine(LINE, tmp_path)
    assert len(run.replay.values) == run.update == 3
    run.run()
    assert replays_in(tmp_path) == {"replay-0": 9, "replay-1": 10}
    assert load_checkpoint(tmp_path / CHECKPOINT_FILE)[1]["replay"] == "replay-1"


@pytest.mark.parametrize("moment", ["before the replay", "in the replay", "before the checkpoint"])
def test_a_process_killed_while_it_saves_leaves_a_pair_that_belongs_together(
    tmp_path, monkeypatch, moment
):
    whole, folder = tmp_path / "whole", tmp_path / "run"
    RememberingLine(LINE, whole).run()
    stop_run(folder, 5)
    run = RememberingLine(LINE, folder)

    def stop(*_):
        raise KeyboardInterrupt

    def write_half(self, path):
        path.mkdir()
        (path / "errors.json").write_text("[1.0, 0.")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if moment == "before the checkpoint":
            patch.setattr(run_folder, "save_checkpoint", stop)
        else:
            patch.setattr(Errors, "save", stop if moment == "before the replay" else write_half)
        with pytest.raises(KeyboardInterrupt):
            run.run()
    again = RememberingLine(LINE, folder)
    assert len(again.replay.values) == again.update == 3
    assert replays_in(folder) == {"replay-0": 3}
    again.run()
    assert (folder / LOG_FILE).read_bytes() == (whole / LOG_FILE).read_bytes()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: shutil.rmtree(folder / "replay-1"), "replay-1 is not beside it"),
        (rewritten(lambda t, s: s.pop("replay")), "safetensors: it has no replay"),
        (rewritten(lambda t, s: s.update(replay="../x")), "safetensors: its replay is '../x'"),
    ],
)
def test_a_checkpoint_without_its_replay_is_refused(tmp_path, damage, message):
    RememberingLine(LINE, tmp_path).run()
    damage(tmp_path)
    with pytest.raises(ValueError, match=message):
        RememberingLine(LINE, tmp_path)
