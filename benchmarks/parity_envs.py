"""The nine environments that promise Gymnasium's results, against Gymnasium's own, bit for bit.

    python benchmarks/parity_envs.py --workers 2

Every environment runs 100 seeds of 10,000 steps in each of the three autoreset modes; the time is
Gymnasium's. The full form writes results/parity_envs.md; a shorter one (--steps, --seeds) prints
the same, and writes it where --output says. The exit status is 1 if anything differs.
"""

import argparse
import multiprocessing
import platform
import sys
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

STEPS, SEEDS = 10_000, 100
ROWS = 50  # environments of a batch, each with a seed of its own
RESULTS = Path(__file__).parent / "results" / "parity_envs.md"
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
MODES = ("next_step", "same_step", "disabled")
ENVIRONMENTS = (
    "CartPole-v1",
    "MountainCar-v0",
    "MountainCarContinuous-v0",
    "Pendulum-v1",
    "Acrobot-v1",
    "FrozenLake-v1",
    "CliffWalking-v1",
    "Taxi-v4",
    "Blackjack-v1",
)
COUNTS = ("steps", "episodes", "terminated", "truncated", "resets")

COMPARED = """\
| compared | how |
|---|---|
| spaces | type, shape, dtype, every bound, of one environment and of the batch |
| observations | type, dtype and every bit, after each reset and step |
| rewards | every bit of the float64, as returned and under `NormalizeReward` |
| `terminated`, `truncated` | both, also where both are true |
| infos | keys, masks, dtypes and every bit, `final_obs` and `final_info` among them |
| resets | by seed, by list of seeds with `None` among them, without a seed, by `reset_mask` |
| caller's options | left as they were |
| wrappers | `RecordEpisodeStatistics`, `NormalizeReward`: each step's results and all they count |

The reference is a `SyncVectorEnv` of Gymnasium's environments in the same autoreset mode, under the
same wrappers, seeds and actions. Its `reset` is kept from taking `reset_mask` out of the caller's
options, where the wrappers outside look for it. Half of the environments act at random, the others
mostly by a rule of thumb that gets to goals; in Taxi all draw among the actions of the mask. Every
97th step resets about a quarter of the environments by mask, every 2,003rd and the last step reset
all of them without a seed.
"""


def check(name, mode, first_seed, rows, steps):
    """One batch; a report as a dict, or what differs."""
    import fastrl
    from fastrl.envs.testing import check_parity
    from parity_actions import purposeful_actions

    started = time.perf_counter()
    env = fastrl.make_vec(name, rows, autoreset_mode=mode)
    actions = purposeful_actions(name, env.action_space, first_seed)
    try:
        report = check_parity(env, name, steps=steps, seeds=[first_seed], actions=actions)
        counts, difference = {key: getattr(report, key) for key in COUNTS}, None
    except AssertionError as error:
        counts, difference = dict.fromkeys(COUNTS, 0), str(error)
    return counts, difference, time.perf_counter() - started


def run(arguments):
    """All batches, with a bar; sums by environment and mode, and all differences."""
    from rich.progress import (
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    jobs = [
        (name, mode, first, min(ROWS, arguments.seeds - first), arguments.steps)
        for name in arguments.only or ENVIRONMENTS
        for mode in MODES
        for first in range(0, arguments.seeds, ROWS)
    ]
    totals = defaultdict(lambda: dict.fromkeys((*COUNTS, "seconds"), 0))
    differences = []
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,} of {task.total:,} steps"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    context = multiprocessing.get_context("spawn")
    with bar, ProcessPoolExecutor(arguments.workers, mp_context=context) as pool:
        task = bar.add_task("comparing", total=sum(job[3] * job[4] for job in jobs))
        futures = {pool.submit(check, *job): job for job in jobs}
        for future in as_completed(futures):
            name, mode, _, rows, steps = futures[future]
            counts, difference, seconds = future.result()
            for key, count in (counts | {"seconds": seconds}).items():
                totals[name, mode][key] += count
            if difference is not None:
                differences.append(difference)
                bar.console.print(difference, style="red")
            bar.update(task, advance=rows * steps, description=f"{name} {mode}")
    return {(job[0], job[1]): totals[job[0], job[1]] for job in jobs}, differences


def written(totals, differences, arguments, seconds):
    """The report."""
    gymnasium_seconds = sum(total["seconds"] for total in totals.values())
    lines = [
        "# Nine environments against Gymnasium's own, bit for bit",
        "",
        f"{arguments.seeds} seeds of {arguments.steps:,} steps in each of the three autoreset "
        f"modes: {sum(total['steps'] for total in totals.values()):,} steps compared, "
        f"**{len(differences) or 'no'} differences**. "
        f"{datetime.now(UTC):%Y-%m-%d}, fastrl {version('fastrl')}, Gymnasium "
        f"{version('gymnasium')}, NumPy {version('numpy')}, Python {platform.python_version()}, "
        f"{' '.join(platform.libc_ver())}, {platform.system()} {platform.machine()}; "
        f"{seconds / 60:.1f} minutes with {arguments.workers} workers "
        f"({gymnasium_seconds / 60:.1f} of their time).",
        "",
        "Written by `python benchmarks/parity_envs.py`.",
        "",
        "| environment | autoreset mode | steps | episodes | terminated | truncated | resets |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for (name, mode), total in totals.items():
        counts = " | ".join(f"{total[key]:,}" for key in COUNTS)
        lines.append(f"| {name} | {mode} | {counts} |")
    if differences:
        lines += ["", *(f"- {difference}" for difference in differences)]
    return "\n".join([*lines, "", COMPARED])


def main():
    """Runs what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=STEPS, help="of each environment")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="0, 1, … in each environment")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--only", nargs="+", choices=ENVIRONMENTS, help="environments")
    parser.add_argument("--output", type=Path, help="where to write the report")
    arguments = parser.parse_args()
    started = time.perf_counter()
    totals, differences = run(arguments)
    text = written(totals, differences, arguments, time.perf_counter() - started)
    full = (arguments.steps, arguments.seeds, arguments.only) == (STEPS, SEEDS, None)
    output = arguments.output or (RESULTS if full else None)
    print(text)
    if output is not None:
        output.write_text(text)
    sys.exit(1 if differences else 0)


if __name__ == "__main__":
    main()
