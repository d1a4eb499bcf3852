"""What `fastrl train` can train: from the command's words to the config of a run."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from fastrl._dispatch import argument_error
from fastrl.cli.options import read_option
from fastrl.recipes.config import RunConfig, TrainConfig
from fastrl.recipes.dqn import DQN, DQNConfig
from fastrl.recipes.her import HindsightDQN, HindsightDQNConfig
from fastrl.recipes.ppo import PPO, PPOConfig
from fastrl.recipes.run import Run
from fastrl.recipes.sac_discrete import SACDiscrete, SACDiscreteConfig
from fastrl.recipes.train import Trainer


class Recipe(NamedTuple):
    """An algorithm of the command line."""

    label: str
    run: type[Run[Any]]
    config: type[RunConfig]
    values: Mapping[str, Any]
    """What the command gives the config if the user says nothing else."""
    picture: str
    is_text: bool = False
    """Whether it learns text environments, on levels of its own."""


def _of_texts(label: str, algorithm: str) -> Recipe:
    values = {"algorithm": algorithm, "env": "CodeLock-v0", "learning_rate": 1e-3}
    return Recipe(label, Trainer, TrainConfig, values, "success.png", is_text=True)


RECIPES = {
    "r3l": _of_texts("R³L", "r3l"),
    "grpo": _of_texts("GRPO", "grpo"),
    "ppo": Recipe("PPO", PPO, PPOConfig, {"env": "CartPole-v1"}, "returns.png"),
    "dqn": Recipe("DQN", DQN, DQNConfig, {"env": "CartPole-v1"}, "returns.png"),
    "sac": Recipe("SAC", SACDiscrete, SACDiscreteConfig, {"env": "Acrobot-v1"}, "returns.png"),
    "her": Recipe(
        "DQN + HER", HindsightDQN, HindsightDQNConfig, {"env": "BitFlip-v0"}, "success.png"
    ),
}

# What has a flag of its own is no key of --option.
_FLAGS = {
    "algorithm": "the argument",
    "env": "--env",
    "env_options": "--option",
    "num_levels": "--levels",
    "seed": "--seed",
    "env_steps": "--steps",
    "learning_rate": "--learning-rate",
}


def parse_options(
    options: Sequence[str], config: type[RunConfig]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Splits key=value texts into the environment's options and those of the run's config."""
    of_the_run = {field.name for field in dataclasses.fields(config)} - set(_FLAGS)
    env_options: dict[str, Any] = {}
    run_options: dict[str, Any] = {}
    for option in options:
        key, value = read_option("train", option)
        if key in _FLAGS:
            flag = _FLAGS[key]
            raise argument_error("train", "--option", f"not be {key}, which is {flag}", option)
        (run_options if key in of_the_run else env_options)[key] = value
    return env_options, run_options


def read_config(
    recipe: Recipe, flags: Mapping[str, Any], levels: int | None, options: Sequence[str]
) -> RunConfig:
    """The config of a run.

    Args:
        recipe: Of the run.
        flags: Fields of the config that the user gave by flags of their own.
        levels: Fixed levels to train on; 0 for ever new ones, None for what is usual.
        options: key=value texts.
    """
    env_options, run_options = parse_options(options, recipe.config)
    if recipe.is_text:
        # Policies here read the whole history, so what stands still is shown once.
        num_levels = 1 if levels is None else levels or None
        env_options = {"num_levels": num_levels, "observation": "compact"} | env_options
    elif levels:
        env_options["num_levels"] = levels
    values: dict[str, Any] = {**recipe.values, **flags, **run_options}
    return recipe.config.tuned(**values, env_options=env_options)
