"""Recipes by the presets of their environments: do they get to a target, how soon, in what time.

What bench_ppo.py and bench_off_policy.py share. A task is a recipe on an environment; it is run for
several seeds, and what counts is the evaluation after the last update.
"""

import argparse
import dataclasses
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import harness
import kept_runs
from fastrl.recipes.plots import plot_scores, steps_to
from kept_runs import Row


class Task(NamedTuple):
    """A recipe on an environment, and the score that it shall reach."""

    recipe: type
    config: type
    env: str
    target: float
    options: dict[str, Any] = {}  # noqa: RUF012, never written
    """Of the config, beside the preset's."""


def train(tasks: dict[str, Task], share: int, threads: int, job: Row) -> Row:
    """One run with one in so many steps and evaluations: its line of results."""
    task = tasks[job["task"]]
    config = task.config.tuned(task.env, seed=job["seed"], torch_threads=threads, **task.options)
    if share > 1:
        names = ("env_steps", "eval_episodes")
        fewer = {name: max(1, getattr(config, name) // share) for name in names}
        config = dataclasses.replace(config, **fewer)
    begin, cpu_begin = time.perf_counter(), time.process_time()
    run = task.recipe(config)
    records = run.run()
    return job | {
        "score": run.score,
        "score_name": run.score_name,
        "target": task.target,
        "env_steps": run.env_steps,
        "steps_to_target": steps_to(records, run.score_name, task.target),
        "seconds": time.perf_counter() - begin,
        "cpu_seconds": time.process_time() - cpu_begin,
        "env_share": run.env_share,
        "curve": [
            {name: record[name] for name in ("env_steps", run.score_name)}
            for record in records
            if run.score_name in record
        ],
        "config": vars(config),
    }


def say(row: Row) -> str:
    """One line of a run."""
    return (
        f"{row['task']}, seed {row['seed']}: {row['score']:.2f} after {row['env_steps']:,} steps, "
        f"{row['seconds']:.1f} s, {row['env_share']:.2%} of them in the environments"
    )


def table(rows: list[Row]) -> list[str]:
    """The results as Markdown, a line for each task."""
    head = (
        "task",
        "target",
        "score at the end, by seed",
        "seeds that reach it",
        "steps to it, median",
        "budget",
        "seconds, median (slowest)",
        "of the processor, median",
        "environments' share, most",
    )
    lines = []
    for name in dict.fromkeys(row["task"] for row in rows):
        runs = [row for row in rows if row["task"] == name]
        steps = [row["steps_to_target"] for row in runs if row["steps_to_target"] is not None]
        seconds = [row["seconds"] for row in runs]
        reached = sum(row["score"] >= row["target"] for row in runs)
        lines.append([
            name,
            f"{runs[0]['target']:g}",
            ", ".join(f"{row['score']:.2f}" for row in runs),
            f"{reached} of {len(runs)}",
            f"{statistics.median(steps):,.0f}" if steps else "-",
            f"{runs[0]['config']['env_steps']:,}",
            f"{statistics.median(seconds):.1f} ({max(seconds):.1f})",
            f"{statistics.median(row['cpu_seconds'] for row in runs):.1f}",
            f"{max(row['env_share'] for row in runs):.1%}",
        ])  # fmt: skip
    return kept_runs.table(head, lines)


def main(
    name: str,
    title: str,
    about: str,
    tasks: dict[str, Task],
    *,
    seeds: int,
    share: int,
    notes: Callable[[list[Row]], list[str]] = lambda rows: [],
) -> None:
    """Runs tasks as the command line says, and writes page and pictures.

    Args:
        name: The program's.
        title: Of the page.
        about: What `--help` says.
        tasks: By name.
        seeds: How many, from 0 on.
        share: --quick trains one seed with one in so many steps of the budget.
        notes: What the page says below the table of all lines.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--task", choices=list(tasks), help="default: all")
    arguments = kept_runs.parse(parser, f"one seed, 1/{share} of the budget")
    runs = kept_runs.KeptRuns(name, ("task", "seed"), arguments)
    jobs = [{"task": task, "seed": seed} for task in tasks for seed in range(seeds)]
    wanted = [
        job
        for job in jobs
        if arguments.task in (None, job["task"]) and not (arguments.quick and job["seed"])
    ]
    one = partial(train, tasks, share if arguments.quick else 1, arguments.threads)
    runs.complete(wanted, one, say)
    rows = runs.select(jobs)
    head = [f"# {title}", "", harness.where(rows[-1]), ""]
    runs.write_page([*head, *table(rows), *notes(rows)])
    scores = list(dict.fromkeys(row["score_name"] for row in rows))
    for score_name in scores:
        panels: dict[str, dict[str, Any]] = {}
        for row in rows:
            if row["score_name"] == score_name:
                panels.setdefault(row["task"], {})[f"seed {row['seed']}"] = row["curve"]
        suffix = f"_{score_name.removeprefix('eval_')}" if len(scores) > 1 else ""
        plot_scores(panels, score_name, runs.picture(suffix))
