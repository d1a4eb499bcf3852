"""R³L against GRPO: environment steps to 0.9 success, the worth of each part, how far each gets.

Both train the same transformer from scratch, with the same size of groups and batches. First each
gets its learning rate from one grid, on seeds of its own. Then both, and R³L without one of its
parts, run on five other seeds. Last, both run on harder and harder settings with one budget. Steps
of attempts and retries count; a retry starts from a snapshot, so nothing is replayed, and the
search for the pivot is free. Evaluations (64 attempts without advice every 5 updates) do not count.

    python benchmarks/bench_r3l.py --workers 2

Results are kept as kept_runs.py says, in results/bench_r3l.jsonl.
"""

import argparse
import json
import statistics
import time

import kept_runs

TARGET = 0.9
LEARNING_RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
TUNING_SEEDS = (100, 101)
SEEDS = (0, 1, 2, 3, 4)
LADDER_SEEDS = (0, 1, 2)

ICE = {
    "num_levels": 1,
    "observation": "compact",
    "ends": "corners",
    "frozen_probability": 0.75,
}

# Each seed has one level of its own. The budget is for tuning and for the comparison.
SETTINGS = {
    "CodeLock": {
        "env": "CodeLock-v0",
        "env_options": {"length": 6, "num_choices": 4, "num_levels": 1},
        "env_steps": 120_000,
    },
    "FrozenLake": {
        "env": "FrozenLakeText-v0",
        "env_options": {**ICE, "size": 6, "max_episode_steps": 20},
        "env_steps": 100_000,
    },
}

# What changes from rung to rung, and the one budget of all rungs.
LADDERS = {
    "CodeLock": ([{"length": n} for n in (4, 6, 8, 12, 16)], 60_000),
    "FrozenLake": (
        [
            {"size": n, "max_episode_steps": steps}
            for n, steps in ((4, 12), (5, 16), (6, 20), (7, 24))
        ],
        60_000,
    ),
}

VARIANTS = {
    "GRPO": {"algorithm": "grpo"},
    "R³L": {"algorithm": "r3l"},
    "R³L without pivot mask": {"algorithm": "r3l", "mask_prefix": False},
    "R³L without amplification": {"algorithm": "r3l", "amplification": 1.0},
    "R³L without reflection": {"algorithm": "r3l", "reflection": False},
    "R³L without advice in the context": {"algorithm": "r3l", "guidance": "none"},
}


def task(phase, setting, variant, learning_rate, seed, options=None, env_steps=None):
    """One run: what names it, and its config."""
    base = SETTINGS[setting]
    key = [phase, setting, variant, learning_rate, seed, options or {}]
    config = {
        **base,
        **VARIANTS[variant],
        "env_options": base["env_options"] | (options or {}),
        "env_steps": env_steps or base["env_steps"],
        "learning_rate": learning_rate,
        "seed": seed,
        "target_success": TARGET,
    }
    return {"key": key, "config": config}


def run(job):
    """One run: its line of results."""
    from fastrl.recipes import TrainConfig, Trainer

    begin = time.perf_counter()
    trainer = Trainer(TrainConfig(**job["config"]))
    records = trainer.run()
    reached = trainer.score >= TARGET
    return job | {
        "steps_to_target": trainer.env_steps if reached else None,
        "success": trainer.score,
        "seconds": round(time.perf_counter() - begin, 1),
        "updates": trainer.update,
        "curve": [(r["env_steps"], r["success"]) for r in records if "success" in r],
    }


def say(row):
    """One line of a run: steps to the target, or the success at the end."""
    return f"{row['key']}: {row['steps_to_target'] or format(row['success'], '.2f')}"


def tuning(setting, variant):
    return [
        task("tune", setting, variant, learning_rate, seed)
        for learning_rate in LEARNING_RATES
        for seed in TUNING_SEEDS
    ]


def steps_or_budget(result):
    return result["steps_to_target"] or result["config"]["env_steps"]


def best_learning_rate(results):
    """By how many runs reach the target, then by the mean steps to it, then by final success."""

    def cost(learning_rate):
        runs = [r for r in results if r["config"]["learning_rate"] == learning_rate]
        return (
            sum(r["steps_to_target"] is None for r in runs),
            statistics.mean(map(steps_or_budget, runs)),
            -statistics.mean(r["success"] for r in runs),
        )

    return min(LEARNING_RATES, key=cost)


def comparison(setting, rates):
    return {
        variant: [
            task("main", setting, variant, rates[setting, algorithm_of(variant)], seed)
            for seed in SEEDS
        ]
        for variant in VARIANTS
    }


def ladder(setting, rates):
    rungs, env_steps = LADDERS[setting]
    return {
        (variant, index): [
            task("hardest", setting, variant, rates[setting, variant], seed, options, env_steps)
            for seed in LADDER_SEEDS
        ]
        for variant in ("GRPO", "R³L")
        for index, options in enumerate(rungs)
    }


def algorithm_of(variant):
    return "GRPO" if variant == "GRPO" else "R³L"


def number(steps, budget):
    return f"> {budget:,}" if steps is None or steps >= budget else f"{steps:,}"


def median_and_range(results):
    """As text, and the median; runs that did not get there count as the budget."""
    budget = results[0]["config"]["env_steps"]
    steps = sorted(map(steps_or_budget, results))
    median = int(statistics.median(steps))
    text = f"{number(median, budget)} ({number(steps[0], budget)} – {number(steps[-1], budget)})"
    return text, median


def report(results, rates):
    lines = [
        "# R³L against GRPO",
        "",
        "`python benchmarks/bench_r3l.py` wrote this page; what is measured is said there. The",
        "reflections come from a rule, not from language: a search in the environment finds the",
        "pivot, and the advice is to avoid the action taken there, as words in the context of the",
        "pivot's turn and as a ban on that token. GRPO is told nothing. R³L without one of its",
        "parts keeps the learning rate of the whole.",
        "",
        "| learning rate | " + " | ".join(SETTINGS) + " |",
        "|---|" + "---|" * len(SETTINGS),
    ]
    for algorithm in ("GRPO", "R³L"):
        chosen = " | ".join(f"{rates[setting, algorithm]:g}" for setting in SETTINGS)
        lines.append(f"| {algorithm} | {chosen} |")
    lines += ["", f"Chosen from {', '.join(f'{r:g}' for r in LEARNING_RATES)}."]
    for setting in SETTINGS:
        lines += comparison_table(results, setting, rates) + ladder_table(results, setting, rates)
    results.write_page(lines)
    plot(results, rates, results.picture())


def comparison_table(results, setting, rates):
    options = SETTINGS[setting]["env_options"]
    lines = [
        "",
        f"## {setting}",
        "",
        f"{SETTINGS[setting]['env']}, {json.dumps(options)}",
        "",
        f"| | steps to {TARGET}: median (range) of {len(SEEDS)} seeds | of GRPO's | reached |",
        "|---|---|---|---|",
    ]
    medians = {}
    for variant, jobs in comparison(setting, rates).items():
        runs = results.select(jobs)
        if len(runs) < len(jobs):
            continue
        text, medians[variant] = median_and_range(runs)
        share = f"{medians[variant] / medians['GRPO']:.2f}" if "GRPO" in medians else "–"
        reached = sum(run["steps_to_target"] is not None for run in runs)
        lines.append(f"| {variant} | {text} | {share} | {reached} of {len(runs)} |")
    without = "R³L without "
    useless = [
        variant.removeprefix(without)
        for variant, median in medians.items()
        if variant.startswith(without) and median <= medians.get("R³L", 0)
    ]
    if useless:
        lines += ["", f"Of no help here, by the median: {', '.join(useless)}."]
    return lines


def ladder_table(results, setting, rates):
    rungs, env_steps = LADDERS[setting]
    names = [", ".join(f"{key} {value}" for key, value in rung.items()) for rung in rungs]
    lines = [
        "",
        f"Runs of {len(LADDER_SEEDS)} that reach {TARGET} within {env_steps:,} steps:",
        "",
        "| | " + " | ".join(names) + " |",
        "|---|" + "---|" * len(names),
    ]
    jobs = ladder(setting, rates)
    for variant in ("GRPO", "R³L"):
        cells = []
        for index in range(len(rungs)):
            runs = results.select(jobs[variant, index])
            reached = sum(run["steps_to_target"] is not None for run in runs)
            cells.append(str(reached) if len(runs) == len(LADDER_SEEDS) else "–")
        lines.append(f"| {variant} | {' | '.join(cells)} |")
    return lines


def plot(results, rates, path):
    """All runs of the comparison, faint, and the median run of each variant."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7 * len(SETTINGS), 5), layout="constrained")
    FigureCanvasAgg(figure)
    for index, setting in enumerate(SETTINGS):
        axes = figure.add_subplot(1, len(SETTINGS), index + 1)
        for color, (variant, jobs) in enumerate(comparison(setting, rates).items()):
            runs = sorted(results.select(jobs), key=steps_or_budget)
            for rank, result in enumerate(runs):
                middle = rank == len(runs) // 2
                axes.plot(
                    *zip(*result["curve"], strict=True),
                    color=f"C{color}",
                    alpha=1.0 if middle else 0.2,
                    label=variant if middle else None,
                )
        axes.set_title(setting)
        axes.set_xlabel("environment steps (attempts and retries)")
        axes.set_ylabel("success without advice")
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments = kept_runs.parse(parser)
    results = kept_runs.KeptRuns("bench_r3l", ("key",), arguments)

    def complete(jobs):
        return results.complete(jobs, run, say)

    pairs = [(setting, variant) for setting in SETTINGS for variant in ("GRPO", "R³L")]
    complete([job for pair in pairs for job in tuning(*pair)])
    rates = {pair: best_learning_rate(results.select(tuning(*pair))) for pair in pairs}
    complete([j for s in SETTINGS for jobs in comparison(s, rates).values() for j in jobs])
    complete([j for s in SETTINGS for jobs in ladder(s, rates).values() for j in jobs])
    report(results, rates)


if __name__ == "__main__":
    main()
