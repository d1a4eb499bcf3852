"""DQN, SAC and DQN with hindsight by their presets: do they solve their environments, how soon.

Each run trains a recipe with the preset of its environment until an evaluation, 100 fresh episodes
with the preferred actions, reaches the target. BitFlip has 15 bits; without hindsight it trains for
its whole budget.

    python benchmarks/bench_off_policy.py

Every run is a line of results/bench_off_policy.jsonl, and one that stands there is not run again.
The table and the pictures beside it are written anew at each call. --quick trains one seed with a
twentieth of the budget, to see that everything runs; it wants a folder of its own.
"""

import argparse
import dataclasses
import json
import statistics
import time
from pathlib import Path
from typing import NamedTuple

import harness
from fastrl.recipes import (
    DQN,
    DQNConfig,
    HindsightDQN,
    HindsightDQNConfig,
    SACDiscrete,
    SACDiscreteConfig,
)
from fastrl.recipes.plots import plot_scores


class Task(NamedTuple):
    """A recipe on an environment."""

    recipe: type
    config: type
    env: str
    target: float
    options: dict
    target_name: str = "target_return"


BITS = {"env_options": {"num_bits": 15}}
HINDSIGHT = (HindsightDQN, HindsightDQNConfig, "BitFlip-v0", 1.0)
TASKS = {
    "DQN, CartPole": Task(DQN, DQNConfig, "CartPole-v1", 500.0, {}),
    "DQN, Acrobot": Task(DQN, DQNConfig, "Acrobot-v1", -100.0, {}),
    "SAC, Acrobot": Task(SACDiscrete, SACDiscreteConfig, "Acrobot-v1", -100.0, {}),
    "DQN + HER, BitFlip 15": Task(*HINDSIGHT, BITS, "target_success"),
    "DQN, BitFlip 15": Task(*HINDSIGHT, BITS | {"num_goals": 0}, "target_success"),
}
SEEDS = (0, 1, 2)
RESULTS = Path(__file__).parent / "results"


def train(name, seed, quick, threads):
    """One run: its line of results."""
    task = TASKS[name]
    options = task.options | {task.target_name: task.target}
    config = task.config.tuned(task.env, seed=seed, torch_threads=threads, **options)
    if quick:
        config = dataclasses.replace(config, env_steps=config.env_steps // 20)
    begin, cpu_begin = time.perf_counter(), time.process_time()
    run = task.recipe(config)
    records = run.run()
    return {
        "task": name,
        "seed": seed,
        "score": run.score,
        "score_name": run.score_name,
        "target": task.target,
        "env_steps": run.env_steps,
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


def table(rows):
    """The results as Markdown, a line for each task."""
    head = ["task", "target", "score at the end, by seed", "seeds that reach it"]
    head += ["steps, median", "budget", "seconds, median (slowest)", "of the processor, median"]
    lines = [head, ["---"] * len(head)]
    for name in dict.fromkeys(row["task"] for row in rows):
        runs = [row for row in rows if row["task"] == name]
        seconds = [row["seconds"] for row in runs]
        reached = sum(row["score"] >= row["target"] for row in runs)
        lines.append([
            name,
            f"{runs[0]['target']:g}",
            ", ".join(f"{row['score']:.2f}" for row in runs),
            f"{reached} of {len(runs)}",
            f"{statistics.median(row['env_steps'] for row in runs):,.0f}",
            f"{runs[0]['config']['env_steps']:,}",
            f"{statistics.median(seconds):.1f} ({max(seconds):.1f})",
            f"{statistics.median(row['cpu_seconds'] for row in runs):.1f}",
        ])  # fmt: skip
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one seed, a twentieth of the budget")
    parser.add_argument("--task", choices=list(TASKS), help="default: all")
    parser.add_argument("--threads", type=int, default=1, help="of torch and of fastrl")
    parser.add_argument("--out", type=Path, default=RESULTS, help="default: results/")
    arguments = parser.parse_args()
    if arguments.quick and arguments.out == RESULTS:
        parser.error("--quick wants an --out of its own")
    harness.fastrl.set_num_threads(arguments.threads)
    facts = harness.machine("cpu")
    print("fastrl {commit}, {device}, {threads} threads, {instruction_set}".format(**facts))

    arguments.out.mkdir(parents=True, exist_ok=True)
    results = arguments.out / "bench_off_policy.jsonl"
    rows = (
        [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    )
    there = {(row["task"], row["seed"]) for row in rows}
    for name in [arguments.task] if arguments.task else TASKS:
        for seed in SEEDS[:1] if arguments.quick else SEEDS:
            if (name, seed) in there:
                continue
            row = facts | train(name, seed, arguments.quick, arguments.threads)
            rows.append(row)
            with results.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(
                f"{name}, seed {seed}: {row['score']:.2f} after {row['env_steps']:,} steps, "
                f"{row['seconds']:.1f} s",
                flush=True,
            )
    rows.sort(key=lambda row: (list(TASKS).index(row["task"]), row["seed"]))
    where = "fastrl {commit}, {device}, {threads} threads, {instruction_set}".format(**rows[-1])
    (arguments.out / "bench_off_policy.md").write_text(f"# DQN and SAC\n\n{where}\n\n{table(rows)}")
    print(table(rows))
    for score_name in dict.fromkeys(row["score_name"] for row in rows):
        panels = {}
        for row in rows:
            if row["score_name"] == score_name:
                panels.setdefault(row["task"], {})[f"seed {row['seed']}"] = row["curve"]
        path = arguments.out / f"bench_off_policy_{score_name.removeprefix('eval_')}.png"
        plot_scores(panels, score_name, path)


if __name__ == "__main__":
    main()
