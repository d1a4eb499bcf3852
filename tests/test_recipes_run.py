"""What every run does, whatever it learns: it repeats, logs, ends, and goes on where it stopped."""

import dataclasses
import math
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from fastrl.recipes.checkpoints import load_checkpoint
from fastrl.recipes.run import Run
from fastrl.recipes.run_folder import CHECKPOINT_FILE, LOG_FILE, TIMINGS_FILE
from fastrl.recipes.run_log import read_log
from fresh_process import run_python
from tiny_runs import LINE, RUNS, Line

every_recipe = pytest.mark.parametrize(("recipe", "config"), RUNS.values(), ids=RUNS)


def changed(config, **changes):
    return dataclasses.replace(config, **changes)


def log_of(recipe, config, folder):
    recipe(config, folder).run()
    return (folder / LOG_FILE).read_bytes()


class Whole(NamedTuple):
    """A run from start to end, for tests that only look at it."""

    run: Run
    shown: list
    folder: Path


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Gives the whole run of a recipe, which is run once."""
    runs = {}

    def of(recipe, config):
        if (recipe, config.to_json()) not in runs:
            folder, shown = tmp_path_factory.mktemp("whole"), []
            run = recipe(config, folder)
            assert run.run(shown.append) == shown
            runs[recipe, config.to_json()] = Whole(run, shown, folder)
        return runs[recipe, config.to_json()]

    return of


def assert_same_end(ours, theirs):
    assert (ours / LOG_FILE).read_bytes() == (theirs / LOG_FILE).read_bytes()
    our_tensors, our_state = load_checkpoint(ours / CHECKPOINT_FILE)
    their_tensors, their_state = load_checkpoint(theirs / CHECKPOINT_FILE)
    assert our_state == their_state
    assert our_tensors.keys() == their_tensors.keys()
    for name, tensor in our_tensors.items():
        assert torch.equal(tensor, their_tensors[name]), name


# --- from start to end ------------------------------------------------------------------------


@every_recipe
def test_the_log_depends_on_the_seed_and_not_on_the_number_of_threads(
    tmp_path, recipe, config, set_threads, whole
):
    log = (whole(recipe, config).folder / LOG_FILE).read_bytes()
    assert log.count(b"\n") > 10
    for threads in (1, 3):
        set_threads(threads)
        assert log_of(recipe, config, tmp_path / str(threads)) == log
    assert log_of(recipe, changed(config, seed=1), tmp_path / "other") != log


@every_recipe
def test_the_last_update_is_evaluated_and_evaluations_change_nothing(recipe, config):
    last = recipe(changed(config, eval_every=1000)).run()
    evaluated = [record["update"] for record in last if recipe.score_name in record]
    assert evaluated == [0, len(last) - 1]
    often = recipe(changed(config, eval_every=1)).run()
    assert last[-1] == often[-1]


@every_recipe
def test_every_update_is_logged_and_timed(recipe, config, whole):
    run, records, folder = whole(recipe, config)
    assert records == run.run() == run.records == read_log(folder / LOG_FILE)
    assert [record["update"] for record in records] == list(range(run.update + 1))
    for record in records:
        evaluated = record["update"] % config.eval_every == 0 or record is records[-1]
        assert (recipe.score_name in record) == evaluated
    assert records[-2]["env_steps"] < config.env_steps <= records[-1]["env_steps"] == run.env_steps
    assert records[-1][recipe.score_name] == run.score
    timings = read_log(folder / TIMINGS_FILE)
    assert timings == run.timings
    assert [row["update"] for row in timings] == list(range(1, run.update + 1))
    for row in timings:
        assert all(name.endswith("_seconds") for name in row.keys() - {"update"})
        assert row["evaluate_seconds"] >= 0


def test_a_run_ends_where_its_target_is_reached():
    run = Line(changed(LINE, env_steps=10_000, least_score=-0.5))
    assert run.score == -math.inf
    records = run.run()
    scores = [record["score"] for record in records if "score" in record]
    assert run.finished
    assert run.env_steps < 10_000
    assert scores[-1] == run.score >= -0.5 > max(scores[:-1])


def test_a_target_that_holds_from_the_start_needs_no_update():
    run = Line(changed(LINE, least_score=-2.0))
    assert run.finished is False
    assert run.run() == [{"update": 0, "env_steps": 0, "score": -2.0}]


# --- stopped and gone on with -----------------------------------------------------------------


@every_recipe
def test_an_interrupted_run_goes_on_to_the_same_bits(tmp_path, recipe, config, whole):
    def interrupt(record):
        if record["update"] == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        recipe(config, tmp_path).run(interrupt)
    run = recipe(config, tmp_path)
    assert run.update == 3
    assert run.finished is False
    run.run()
    assert_same_end(whole(recipe, config).folder, tmp_path)


@every_recipe
def test_a_finished_run_is_not_run_again(recipe, config, whole):
    folder = whole(recipe, config).folder
    log = (folder / LOG_FILE).read_bytes()
    again = recipe(config, folder)
    assert again.finished
    assert again.score == read_log(folder / LOG_FILE)[-1][recipe.score_name]
    assert again.run() == []
    assert (folder / LOG_FILE).read_bytes() == log


# Imports once, then trains in children that it kills, each at a random moment after a checkpoint;
# the last one may finish.
KILLER = """
import os, random, signal, sys, time
from pathlib import Path
import fastrl.recipes
import torch._dynamo  # the first optimizer of each child would import it
recipe, config = (getattr(fastrl.recipes, name) for name in sys.argv[1:3])
config, folder = config.from_json(sys.argv[3]), Path(sys.argv[4])
checkpoint = folder / "checkpoint.safetensors"


def written():
    return checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0


moments = random.Random(3)
kills = 0
for attempt in range(7):
    before = written()
    child = os.fork()
    if child == 0:
        recipe(config, folder).run()
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


@pytest.mark.parametrize(("name", "env_steps"), [("r3l", 3000), ("ppo-taxi", 15_000)])
def test_a_run_killed_at_random_moments_ends_like_one_that_was_not(tmp_path, name, env_steps):
    recipe, config = RUNS[name]
    config = changed(config, env_steps=env_steps)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    recipe(config, whole).run()
    names = [recipe.__name__, type(config).__name__]
    assert int(run_python(KILLER, *names, config.to_json(), killed)) >= 3
    assert_same_end(whole, killed)


# --- whose folder it is -----------------------------------------------------------------------


@every_recipe
def test_a_folder_with_another_run_is_refused(tmp_path, recipe, config):
    recipe(config, tmp_path).close()
    name = recipe.__name__
    message = (
        rf"^{name}: `folder` must be empty or hold .* same config, got .*seed = 0 instead of 1$"
    )
    with pytest.raises(ValueError, match=message):
        recipe(changed(config, seed=1), tmp_path)


@every_recipe
def test_a_folder_belongs_to_one_run(tmp_path, recipe, config):
    first = recipe(config, tmp_path)
    name = recipe.__name__
    message = rf"^{name}: `folder` must be no other trainer's, got .* at work"
    with pytest.raises(ValueError, match=message):
        recipe(config, tmp_path)
    first.close()
    message = rf"^{name}\.run: the folder is closed; make a new {name} to go on"
    with pytest.raises(RuntimeError, match=message):
        first.run()
    recipe(config, tmp_path).close()


def test_a_folder_must_be_one(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"`folder` must be a folder to write in, got .*file"):
        Line(LINE, tmp_path / "file")


def test_a_run_that_cannot_go_on_leaves_its_folder(tmp_path, monkeypatch):
    log_of(Line, LINE, tmp_path)

    def fail(self, state):
        raise ValueError("of another version")

    with monkeypatch.context() as patch:
        patch.setattr(Line, "restore", fail)
        with pytest.raises(ValueError, match="of another version") as kept:
            Line(LINE, tmp_path)
    Line(LINE, tmp_path).close()
    assert kept  # and with it the frames of the failed call, so nothing but `close` let go
