"""Training runs on the terminal: a live display, then a table and a picture."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from fastrl._dispatch import argument_error
from fastrl.cli.options import read_option
from fastrl.recipes.config import TrainConfig
from fastrl.recipes.plots import plot_success, steps_to_success
from fastrl.recipes.run_log import Record, read_log
from fastrl.recipes.train import LOG_FILE, Trainer

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
_RUN_OPTIONS = {field.name for field in dataclasses.fields(TrainConfig)} - set(_FLAGS)


def parse_options(options: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Splits key=value texts into the environment's options and the run's."""
    env_options: dict[str, Any] = {}
    run_options: dict[str, Any] = {}
    for option in options:
        key, value = read_option("train", option)
        if key in _FLAGS:
            flag = _FLAGS[key]
            raise argument_error("train", "--option", f"not be {key}, which is {flag}", option)
        (run_options if key in _RUN_OPTIONS else env_options)[key] = value
    return env_options, run_options


def open_runs(
    configs: Mapping[str, TrainConfig], folders: Mapping[str, Path], picture: Path
) -> dict[str, Trainer]:
    """Trainers by label; whatever is wrong with configs, folders or the picture is said here."""
    if picture.is_dir():
        raise argument_error("train", "--out", "leave the picture's name free", picture)
    return {label: Trainer(config, folders[label]) for label, config in configs.items()}


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
        reached = steps_to_success(log, TARGET)
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
