"""`fastrl play`: actions from lines and keys, and steps taken back."""

import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fastrl.cli.app import app
from fastrl.cli.play import Game
from fastrl.envs import Environment
from typer.testing import CliRunner

HEADER = Path(__file__).parents[1] / "examples" / "compiled_env" / "my_env.hpp"

# The reward is the sum of two numbers.
STEER = """
#include <fastrl/environment.h>
struct Steer {
  static constexpr const char* kId = "Steer-v0";
  static constexpr std::uint32_t kVersion = 1;
  using Action = const float*;
  struct Params {};
  struct State { double sum; };
  static Params parse(fastrl::Options&) { return {}; }
  static void describe(const Params&, fastrl::Description& d) {
    d.add_observation(fastrl::box<double>({1}, -fastrl::kInfinity, fastrl::kInfinity));
    d.set_action(fastrl::box<float>({2}, -1, 1));
  }
  static State reset(const Params&, fastrl::RandomStream&) { return {0}; }
  static fastrl::StepResult step(const Params&, State& s, fastrl::RandomStream&, Action a) {
    s.sum += a[0] + a[1];
    return {.reward = a[0] + a[1]};
  }
  static void observe(const Params&, const State& s, const fastrl::Rows& rows) {
    *rows.at<double>(0) = s.sum;
  }
};
FASTRL_ENVIRONMENT(Steer);
"""


def play(*arguments, lines=()):
    runner = CliRunner(env={"COLUMNS": "200"})
    text = "".join(f"{line}\n" for line in lines)
    return runner.invoke(app, ["play", *map(str, arguments)], input=text)


def states(output):
    return re.findall(r"^step .*$", output, re.MULTILINE)


def test_text_environments_ask_for_words():
    result = play("Countdown-v0", lines=["what"])
    assert "'what' names no action: an action in words; u undo" in result.output


def test_lines_are_words_numbers_and_commands():
    options = ("--seed", 3, "--option", "slippery=false")
    lines = ["Right", "1", "u", "nonsense", "9", "", "Down"]
    result = play("FrozenLakeText-v0", *options, lines=lines)
    assert result.exit_code == 0, result.output
    assert "0 left, 1 down, 2 right, 3 up; u undo, r reset, q quit" in result.output
    assert states(result.output) == [
        "step 1, return 0: reward 0",
        "step 2, return 0: reward 0",
        "step 1, return 0: Took a step back.",
        "step 1, return 0: 'nonsense' names no action: 0 left, 1 down, 2 right, 3 up; u undo, "
        "r reset, q quit",
        "step 1, return 0: '9' is out of range: 0 left, 1 down, 2 right, 3 up; u undo, r reset, "
        "q quit",
        "step 1, return 0",
        "step 2, return 0: reward 0",
    ]
    assert play("fastrl/FrozenLakeText-v0", *options, lines=lines).output == result.output


def test_q_ends_the_game_and_so_does_the_end_of_the_input():
    result = play("CodeLock-v0", lines=["0", "q", "1"])
    assert result.exit_code == 0
    assert len(states(result.output)) == 1
    assert "0, 1, 2, 3; u undo" in result.output


def test_an_episode_is_won_and_its_end_taken_back():
    env = Environment("CodeLock-v0", length=2)
    env.reset(seed=5)
    code = []
    for _ in range(2):
        code.append(int(env.batch.solve(env.snapshot())[1][0]))
        env.step(code[-1])
    wrong = (code[1] + 1) % 4
    lines = [code[0], wrong, 0, "u", code[1], "r", "u"]
    result = play("CodeLock-v0", "--seed", 5, "--option", "length=2", lines=lines)
    assert states(result.output) == [
        "step 1, return 0: reward 0",
        "step 2, return 0.5: reward 0.5, the end",
        "step 2, return 0.5: The episode is over: u undo, r reset, q quit.",
        "step 1, return 0: Took a step back.",
        "step 2, return 1: reward 1, the end, success",
        "step 0, return 0",
        "step 0, return 0: This is where the episode began.",
    ]


def test_boards_of_grids_and_observations_of_others_are_shown():
    lake = play("FrozenLake-v1", "--option", "is_slippery=false", lines=["down", "up"])
    assert lake.exit_code == 0, lake.output
    assert lake.output.count("\n") > 12
    assert "0 left, 1 down, 2 right, 3 up" in lake.output
    cards = play("Blackjack-v1", "--seed", 0, lines=["stick"])
    assert re.search(r"^\(\d+, \d+, [01]\)$", cards.output, re.MULTILINE)
    assert "the end" in cards.output


def test_a_header_of_ones_own_can_be_played(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTRL_CACHE_DIR", str(tmp_path))
    result = play(HEADER, "--option", "insulation=1", lines=["2", "1.5"])
    assert result.exit_code == 0, result.output
    assert states(result.output)[0].startswith("step 1, return -")
    assert "'1.5' is no whole number: an action of Discrete(3); u undo" in result.output


def test_what_is_malformed_costs_a_turn_only_where_it_was_meant():
    game = Game(Environment("Sokoban-v0", render_mode="ansi"), "Sokoban-v0", 0)
    assert game.has_keys
    assert game.obey("sideways")
    assert "'sideways' names no action" in game.message
    assert game.state() == "step 0, return 0"
    assert "#" in game.board()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["Nothing-v0"], "make_vec: `id` must be one of"),
        (["Sokoban-v0", "--option", "size"], "play: `--option` must be key=value, got 'size'"),
        (["Sokoban-v0", "--option", "size=99"], "make_vec: `size` must be"),
        (["Sokoban-v0", "--seed", "-1"], "play: `--seed` must be from 0 to"),
        (["none.hpp"], "compile: `source` must be a file"),
        (["none.so"], "load: `library` must be a file"),
    ],
)
def test_what_cannot_be_played_is_said_on_one_line(arguments, message):
    result = play(*arguments)
    assert result.exit_code == 2
    assert result.output.startswith(f"fastrl: error: {message}")
    assert result.output.count("\n") == 1


def test_rows_of_numbers_are_actions_of_a_box(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTRL_CACHE_DIR", str(tmp_path))
    (tmp_path / "steer.hpp").write_text(STEER)
    lines = ["0.5, -1", "0.25 0.25", "0.5 2", "1 2 3", "left"]
    result = play(tmp_path / "steer.hpp", lines=lines)
    assert states(result.output)[:2] == [
        "step 1, return -0.5: reward -0.5",
        "step 2, return 0: reward 0.5",
    ]
    assert "'0.5 2' is out of range: an action of Box(-1.0, 1.0, (2,), float32)" in result.output
    assert "'1 2 3' names no action" in result.output
    assert "'left' names no action" in result.output


def test_keys_play_in_a_terminal():
    main, terminal = pty.openpty()
    code = "from fastrl.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "play", "FrozenLakeText-v0", "--seed", "3"],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "30"},
    )
    os.close(terminal)
    shown = ""

    def wait_for(text):
        nonlocal shown
        deadline = time.monotonic() + 30
        while text not in shown:
            assert time.monotonic() < deadline, shown
            if select.select([main], [], [], 0.1)[0]:
                shown += os.read(main, 4096).decode(errors="replace")
        shown = ""

    wait_for("step 0, return 0")
    for key, text in ((b"\x1b[C", "step 1"), (b"1", "step 2"), (b"u", "step 1")):
        os.write(main, key)
        wait_for(text)
    os.write(main, b"q")
    assert process.wait(timeout=30) == 0
    os.close(main)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("Maze-v0", [], "0 up, 1 down, 2 left, 3 right;"),
        ("Maze-v0", ["--option", "actions=turns"], "0 left, 1 right, 2 forward;"),
        ("DarkRoom-v0", [], "0 up, 1 down, 2 left, 3 right, 4 stay;"),
        ("DarkKeyToDoor-v0", [], "0 up, 1 down, 2 left, 3 right, 4 stay;"),
    ],
)
def test_grids_name_their_actions(name, options, words):
    result = play(name, *options, lines=[words.split()[1].strip(",")])
    assert words in result.output
    assert states(result.output)[-1].startswith("step 1,")
