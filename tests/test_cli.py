import importlib.util
import json

import fastrl
import pytest
from fastrl.cli import main
from fastrl.cli.app import app
from fastrl.cli.recipes import RECIPES, parse_options, read_config
from fastrl.recipes import PPOConfig, TrainConfig
from fastrl.recipes.run_log import read_log
from typer.testing import CliRunner

TEXT = [
    *("--env", "CodeLock-v0", "--steps", "400", "--learning-rate", "0.01"),
    *("--option", "length=3", "--option", "width=16"),
    *("--option", "num_layers=1", "--option", "num_heads=2", "--option", "eval_episodes=8"),
]
TEXT_OPTIONS = {"num_levels": 1, "observation": "compact", "length": 3}
TAXI = [
    *("--env", "Taxi-v3", "--steps", "600", "--option", "is_rainy=true"),
    *("--option", "num_envs=4", "--option", "width=8", "--option", "eval_episodes=2"),
]
BIT_FLIP = [
    *("--env", "BitFlip-v0", "--steps", "300", "--option", "num_bits=4", "--option", "width=8"),
    *("--option", "num_envs=4", "--option", "gradient_steps=2", "--option", "eval_episodes=2"),
]


def run(*arguments):
    runner = CliRunner(env={"COLUMNS": "200"})
    return runner.invoke(app, [str(argument) for argument in arguments])


@pytest.mark.parametrize(
    ("command", "steps", "env_options", "picture", "said"),
    [
        (["r3l", *TEXT], 400, TEXT_OPTIONS, "success.png", "steps to 0.9 success"),
        (["grpo", *TEXT], 400, TEXT_OPTIONS, "success.png", "steps to 0.9 success"),
        (["ppo", *TAXI], 600, {"is_rainy": True}, "returns.png", "of them in the environments"),
        (["dqn", *BIT_FLIP], 300, {"num_bits": 4}, "returns.png", "of them in the environments"),
        (["sac", *BIT_FLIP], 300, {"num_bits": 4}, "returns.png", "of them in the environments"),
        (["her", *BIT_FLIP], 300, {"num_bits": 4}, "success.png", "success at the end"),
    ],
    ids=["r3l", "grpo", "ppo", "dqn", "sac", "her"],
)
def test_train_writes_log_checkpoint_and_picture(
    tmp_path, command, steps, env_options, picture, said
):
    result = run("train", *command, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "checkpoint.safetensors").exists()
    log = read_log(tmp_path / "log.jsonl")
    assert log[-1]["env_steps"] >= steps
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["env_options"] == env_options
    assert said in result.output
    again = run("train", *command, "--out", tmp_path)
    assert again.exit_code == 0, again.output
    assert read_log(tmp_path / "log.jsonl") == log


@pytest.mark.parametrize(
    ("algorithm", "levels", "env_options"),
    [
        ("r3l", None, {"num_levels": 1, "observation": "compact"}),
        ("r3l", 3, {"num_levels": 3, "observation": "compact"}),
        ("r3l", 0, {"num_levels": None, "observation": "compact"}),
        ("ppo", None, {}),
        ("ppo", 3, {"num_levels": 3}),
        ("ppo", 0, {}),
    ],
)
def test_levels_are_fixed_or_ever_new(algorithm, levels, env_options):
    assert read_config(RECIPES[algorithm], {}, levels, []).env_options == env_options


def test_flags_and_options_win_over_presets():
    flags, options = {"env": "Acrobot-v1", "seed": 4, "env_steps": 9}, ["epochs=3"]
    config = read_config(RECIPES["ppo"], flags, None, options)
    assert config == PPOConfig(
        env="Acrobot-v1", seed=4, env_steps=9, epochs=3, num_steps=128, eval_every=5
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["trpo"],
            "train: `algorithm` must be one of 'r3l', 'grpo', 'ppo', 'dqn', 'sac', 'her', got",
        ),
        (["her", "--env", "CartPole-v1"], "HindsightDQN: `env` must have goals, got CartPole-v1"),
        (["dqn", "--option", "epsilon=2"], "DQNConfig: `epsilon` must be in [0, 1], got 2"),
        (["ppo", "--option", "seed=3"], "`--option` must not be seed, which is --seed"),
        (["ppo", "--env", "Nothing-v0"], "Nothing-v0"),
        (["ppo", "--env", "CodeLock-v0"], "PPO: `env` must have Discrete or one-dimensional Box"),
        (["ppo", "--env", "Taxi-v3", "--option", "clip=2"], "`clip` must be in (0, 1], got 2"),
        (["ppo", "--env", "Taxi-v3", "--steps", "0"], "`env_steps` must be at least 1, got 0"),
        (["r3l", "--option", "length"], "`--option` must be key=value, got 'length'"),
        (["r3l", "--option", "seed=3"], "`--option` must not be seed, which is --seed"),
        (
            ["r3l", "--option", "num_levels=3"],
            "`--option` must not be num_levels, which is --levels",
        ),
        (["r3l", "--option", "env_steps=3"], "`--option` must not be env_steps, which is --steps"),
        (["r3l", "--option", "lengths=3"], "lengths"),
        (["r3l", "--env", "Nothing-v0"], "Nothing-v0"),
        (["r3l", "--option", "reflection=no"], "`reflection` must be True or False, got 'no'"),
        (["r3l", "--steps", "0"], "`env_steps` must be at least 1, got 0"),
    ],
)
def test_train_names_what_is_wrong(tmp_path, arguments, message):
    result = run("train", *arguments, "--out", tmp_path)
    assert result.exit_code == 2
    assert message in result.output
    assert result.output.startswith("fastrl: error: ")
    assert result.output.count("\n") == 1


@pytest.mark.parametrize("command", [["train", "r3l"], ["demo"]])
def test_a_folder_that_is_none_is_named(tmp_path, command):
    (tmp_path / "file").touch()
    result = run(*command, "--out", tmp_path / "file")
    assert result.exit_code == 2
    assert "`folder` must be a folder to write in" in result.output
    assert result.output.count("\n") == 1


def test_errors_of_training_itself_are_not_swallowed(tmp_path, monkeypatch):
    def fail(self):
        raise ValueError("in the middle")

    monkeypatch.setattr("fastrl.recipes.train.Trainer.step", fail)
    result = run("train", "r3l", *TEXT, "--out", tmp_path)
    assert result.exit_code == 1
    assert str(result.exception) == "in the middle"


def test_options_go_to_the_environment_or_to_the_run():
    env_options, run_options = parse_options(
        ["length=12", "reward=binary", "width=32", "x=true"], TrainConfig
    )
    assert env_options == {"length": 12, "reward": "binary", "x": True}
    assert run_options == {"width": 32}


@pytest.mark.parametrize(
    ("text", "value"), [("false", False), ("False", False), ("true", True), ("True", True)]
)
def test_options_take_both_spellings_of_bools(text, value):
    assert parse_options([f"reflection={text}"], TrainConfig) == ({}, {"reflection": value})


def test_info_says_what_this_build_has():
    result = run("info")
    assert result.exit_code == 0
    for word in (fastrl.__version__, "instruction set", "threads", "torch", "triton", "CUDA"):
        assert word in result.output


def test_main_says_what_to_install(monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        "fastrl.cli.find_spec", lambda name: None if name == "typer" else find_spec(name)
    )
    with pytest.raises(SystemExit, match=r"needs typer: pip install 'fastrl\[train\]'"):
        main()


def test_envs_lists_what_there_is():
    result = CliRunner().invoke(app, ["envs", "Taxi-v4", "Minesweeper-v0"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    for text in ["Taxi-v4", "Discrete(500)", "is_rainy=False", "solve", "num_mines=3", "lamer"]:
        assert text in result.output
    assert "Sokoban" not in result.output
    result = CliRunner().invoke(app, ["envs", "Chess-v0"])
    assert result.exit_code == 2
    assert "`IDS` must be among Acrobot-v1" in result.output
