"""Training runs on the terminal: a live display, then a table and a picture."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from fastrl._dispatch import argument_error
from fastrl.recipes.config import RunConfig
from fastrl.recipes.plots import plot_scores, steps_to
from fastrl.recipes.run import Run
from fastrl.recipes.run_folder import LOG_FILE
from fastrl.recipes.run_log import Record, read_log

TARGET = 0.9


class Report(NamedTuple):
    """What is said of the runs of a recipe."""

    now: Callable[[Any, Record], str]
    """Of a run that has just logged a record, for a line of the live display."""
    summary: Callable[[str, Any, list[Record], float], dict[str, str]]
    """Of a label, its run, the whole log and the seconds that it took: a row of the table."""


def _success_now(run: Run[Any], record: Record) -> str:
    success = max(run.score, 0.0)
    return f"success {success:.2f}  reward {record.get('base_reward', 0.0):.2f}"


def _success_summary(
    label: str, run: Run[Any], log: list[Record], seconds: float
) -> dict[str, str]:
    reached = steps_to(log, "success", TARGET)
    return {
        "algorithm": label,
        "environment steps": f"{log[-1]['env_steps']:,}",
        f"steps to {TARGET} success": "not reached" if reached is None else f"{reached:,}",
        "success at the end": f"{run.score:.2f}",
        "retries": f"{sum(record.get('retries', 0) for record in log):,}",
        "seconds": f"{seconds:.0f}",
    }


def _return_now(run: Run[Any], record: Record) -> str:
    return f"return {record.get('episode_return', math.nan):.1f}  evaluated {run.score:.1f}"


def _return_summary(label: str, run: Run[Any], log: list[Record], seconds: float) -> dict[str, str]:
    return {
        "environment steps": f"{log[-1]['env_steps']:,}",
        "return at the end": f"{run.score:.1f}",
        "best return": f"{max(record.get('eval_return', -math.inf) for record in log):.1f}",
        "seconds": f"{seconds:.1f}",
        "of them in the environments": f"{run.env_share:.1%}" if run.timings else "-",
    }


def _goal_now(run: Run[Any], record: Record) -> str:
    return f"return {record.get('episode_return', math.nan):.1f}  success {max(run.score, 0.0):.2f}"


def _goal_summary(label: str, run: Run[Any], log: list[Record], seconds: float) -> dict[str, str]:
    reached = steps_to(log, "eval_success", TARGET)
    return {
        "environment steps": f"{log[-1]['env_steps']:,}",
        f"steps to {TARGET} success": "not reached" if reached is None else f"{reached:,}",
        "success at the end": f"{run.score:.2f}",
        "seconds": f"{seconds:.1f}",
    }


# By the name of the score.
REPORTS = {
    "success": Report(_success_now, _success_summary),
    "eval_return": Report(_return_now, _return_summary),
    "eval_success": Report(_goal_now, _goal_summary),
}


def open_runs(
    recipe: type[Run[Any]],
    configs: Mapping[str, RunConfig],
    folders: Mapping[str, Path],
    picture: Path,
) -> dict[str, Run[Any]]:
    """Runs by label; whatever is wrong with configs, folders or the picture is said here."""
    if picture.is_dir():
        raise argument_error("train", "--out", "leave the picture's name free", picture)
    return {label: recipe(config, folders[label]) for label, config in configs.items()}


def run_training(
    runs: Mapping[str, Run[Any]], folders: Mapping[str, Path], picture: Path, title: str
) -> None:
    """Trains one run after the other with a live display, then shows how they did.

    Args:
        runs: By label, all of one recipe.
        folders: Of the same labels.
        picture: PNG of the scores against environment steps.
        title: Of the picture and the table.
    """
    (score_name,) = {run.score_name for run in runs.values()}
    report = REPORTS[score_name]
    console = Console()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} steps"),
        TextColumn("{task.fields[now]}"),
        TimeElapsedColumn(),
    )
    seconds: dict[str, float] = {}
    with Progress(*columns, console=console) as progress:
        tasks = {
            label: progress.add_task(
                label,
                start=False,
                total=run.config.env_steps,
                completed=min(run.env_steps, run.config.env_steps),
                now=report.now(run, {}),
            )
            for label, run in runs.items()
        }
        for label, run in runs.items():
            task = tasks[label]
            progress.start_task(task)

            def show(record: Record, task: Any = task, run: Run[Any] = run) -> None:
                completed = min(record["env_steps"], run.config.env_steps)
                progress.update(task, completed=completed, now=report.now(run, record))

            run.run(show)
            progress.stop_task(task)
            seconds[label] = progress.tasks[task].elapsed or 0.0
    logs = {label: read_log(folders[label] / LOG_FILE) for label in runs}
    plot_scores({title: logs}, score_name, picture)
    rows = [report.summary(label, run, logs[label], seconds[label]) for label, run in runs.items()]
    table = Table(title=title)
    for name in rows[0]:
        table.add_column(name, justify="left" if name == "algorithm" else "right")
    for row in rows:
        table.add_row(*row.values())
    console.print(table)
    console.print(f"picture: {picture}")
