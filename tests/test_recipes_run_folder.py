"""A run's files: what they hold, and that damaged ones are refused by name."""

import dataclasses
import json
import shutil

import pytest
import torch
from fastrl.recipes.checkpoints import load_checkpoint, save_checkpoint
from fastrl.recipes.run_folder import CHECKPOINT_FILE, LOG_FILE
from fastrl.recipes.run_log import RunLog, read_log
from safetensors.torch import save_file
from tiny_runs import LINE, Line


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
