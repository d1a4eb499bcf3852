"""Training runs on the terminal: a live display, then a table and a picture."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from fastrl._dispatch import argument_error
from fastrl.cli.options import read_option
from fastrl.recipes.config import RunConfig, TrainConfig
from fastrl.recipes.plots import plot_returns, plot_success, steps_to
from fastrl.recipes.ppo import PPO, PPOConfig
from fastrl.recipes.run_folder import LOG_FILE
from fastrl.recipes.run_log import Record, read_log
from fastrl.recipes.train import Trainer

TARGET = 0.9

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
    options: Sequence[str], config: type[RunConfig] = TrainConfig
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


def open_runs(
    configs: Mapping[str, TrainConfig], folders: Mapping[str, Path], picture: Path
) -> dict[str, Trainer]:
    """Trainers by label; whatever is wrong with configs, folders or the picture is said here."""
    _check_picture(picture)
    return {label: Trainer(config, folders[label]) for label, config in configs.items()}


def _check_picture(picture: Path) -> None:
    if picture.is_dir():
        raise argument_error("train", "--out", "leave the picture's name free", picture)


def run_training(
    trainers: Mapping[str, Trainer], folders: Mapping[str, Path], picture: Path, title: str
) -> None:
    """Trains one run after the other with a live display, then shows how they did.

    Args:
        trainers: By label.
        folders: Of the same labels.
        picture: PNG of success against environment steps.
        title: Of the picture and the table.
    """
    console = Console()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} steps"),
        TextColumn("success {task.fields[success]:.2f}  reward {task.fields[reward]:.2f}"),
        TimeElapsedColumn(),
    )
    seconds: dict[str, float] = {}
    with Progress(*columns, console=console) as progress:
        tasks = {
            label: progress.add_task(
                label,
                start=False,
                total=trainer.config.env_steps,
                completed=min(trainer.env_steps, trainer.config.env_steps),
                success=trainer.success,
                reward=0.0,
            )
            for label, trainer in trainers.items()
        }
        for label, trainer in trainers.items():
            task = tasks[label]
            progress.start_task(task)

            def show(record: Record, task: Any = task, trainer: Trainer = trainer) -> None:
                progress.update(
                    task,
                    completed=min(record["env_steps"], trainer.config.env_steps),
                    success=trainer.success,
                    reward=record.get("base_reward", 0.0),
                )

            trainer.run(show)
            progress.stop_task(task)
            seconds[label] = progress.tasks[task].elapsed or 0.0
    logs = {label: read_log(folders[label] / LOG_FILE) for label in trainers}
    plot_success(logs, title, picture)
    console.print(_summary(logs, seconds, title))
    console.print(f"picture: {picture}")


def open_ppo(config: PPOConfig, folder: Path, picture: Path) -> PPO:
    """The run; whatever is wrong with config, folder or the picture is said here."""
    _check_picture(picture)
    return PPO(config, folder)


def run_ppo(trainer: PPO, folder: Path, picture: Path, title: str) -> None:
    """Trains with a live display, then shows how it went and where the time was spent.

    Args:
        trainer: The run.
        folder: Its own.
        picture: PNG of the returns of evaluations against environment steps.
        title: Of the picture and the table.
    """
    console = Console()
    columns = (
        TextColumn("PPO"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} steps"),
        TextColumn(
            "return {task.fields[episode_return]:.1f}  evaluated {task.fields[evaluated]:.1f}"
        ),
        TimeElapsedColumn(),
    )
    total = trainer.config.env_steps
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(
            "PPO",
            total=total,
            completed=min(trainer.env_steps, total),
            episode_return=math.nan,
            evaluated=trainer.eval_return,
        )

        def show(record: Record) -> None:
            progress.update(
                task,
                completed=min(record["env_steps"], total),
                episode_return=record.get("episode_return", math.nan),
                evaluated=trainer.eval_return,
            )

        trainer.run(show)
        seconds = progress.tasks[task].elapsed or 0.0
    log = read_log(folder / LOG_FILE)
    plot_returns({title: {"PPO": log}}, picture)
    table = Table(title=title)
    row = {
        "environment steps": f"{log[-1]['env_steps']:,}",
        "return at the end": f"{log[-1]['eval_return']:.1f}",
        "best return": f"{max(record.get('eval_return', -math.inf) for record in log):.1f}",
        "seconds": f"{seconds:.1f}",
        "of them in the environments": f"{trainer.env_share:.1%}" if trainer.timings else "-",
    }
    for name in row:
        table.add_column(name, justify="right")
    table.add_row(*row.values())
    console.print(table)
    console.print(f"picture: {picture}")


def _summary(logs: Mapping[str, list[Record]], seconds: Mapping[str, float], title: str) -> Table:
    table = Table(title=title)
    for name in (
        "algorithm",
        "environment steps",
        f"steps to {TARGET} success",
        "success at the end",
        "retries",
        "seconds",
    ):
        table.add_column(name, justify="left" if name == "algorithm" else "right")
    for label, log in logs.items():
        reached = steps_to(log, "success", TARGET)
        last = next(record["success"] for record in reversed(log) if "success" in record)
        table.add_row(
            label,
            f"{log[-1]['env_steps']:,}",
            "not reached" if reached is None else f"{reached:,}",
            f"{last:.2f}",
            f"{sum(record.get('retries', 0) for record in log):,}",
            f"{seconds[label]:.0f}",
        )
    return table
