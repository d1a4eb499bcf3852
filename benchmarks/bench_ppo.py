"""PPO through the engine: do its presets solve three environments, how fast, and where time goes.

Each run trains `fastrl.recipes.ppo` with the preset of its environment, and evaluates every few
updates on 500 fresh episodes with the most likely actions. What counts is the evaluation after the
last update. The environments' share is the time inside `step_into` over that of rollouts and
learning together; evaluations are in neither.

    python benchmarks/bench_ppo.py

Every run is a line of results/bench_ppo.jsonl, and one that stands there is not run again. The
table and the picture beside it are written anew at each call. --quick trains one seed with a
fiftieth of the budget, to see that everything runs; it wants a folder of its own.
"""

import argparse
import dataclasses
import json
import statistics
import time
from pathlib import Path

import harness
from fastrl.recipes.plots import plot_scores, steps_to
from fastrl.recipes.ppo import PPO, PPOConfig

# Mean returns to reach. The best policy of Taxi has 7.93 over all starts, below the 8 that
# Gymnasium asks for; 7.7 is two standard errors of 500 episodes less.
TARGETS = {"CartPole-v1": 500.0, "Acrobot-v1": -100.0, "Taxi-v3": 7.7}
SEEDS = (0, 1, 2, 3, 4)
LARGEST_SHARE = 0.05
RESULTS = Path(__file__).parent / "results"


def read(path):
    """The runs in a file of results, by environment and seed."""
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return sorted(rows, key=lambda row: (list(TARGETS).index(row["env"]), row["seed"]))


def train(env, seed, quick, threads):
    """One run: its line of results."""
    config = PPOConfig.tuned(env, seed=seed, eval_episodes=500, torch_threads=threads)
    if quick:
        config = dataclasses.replace(config, env_steps=config.env_steps // 50)
    begin, cpu_begin = time.perf_counter(), time.process_time()
    ppo = PPO(config)
    records = ppo.run()
    return {
        "env": env,
        "seed": seed,
        "return": ppo.score,
        "target": TARGETS[env],
        "env_steps": ppo.env_steps,
        "steps_to_target": steps_to(records, "eval_return", TARGETS[env]),
        "seconds": time.perf_counter() - begin,
        "cpu_seconds": time.process_time() - cpu_begin,
        "env_share": ppo.env_share,
        "curve": [
            {name: record[name] for name in ("env_steps", "eval_return")}
            for record in records
            if "eval_return" in record
        ],
        "config": vars(config),
    }


def table(rows):
    """The results as Markdown, a line for each environment."""
    head = ("environment", "target", "return at the end, by seed", "seeds that reach it")
    head += (
        "steps to it, median",
        "steps",
        "seconds, median (slowest)",
        "of the processor, median",
        "environments' share, most",
    )
    lines = [list(head), ["---"] * len(head)]
    for env in dict.fromkeys(row["env"] for row in rows):
        runs = [row for row in rows if row["env"] == env]
        steps = [row["steps_to_target"] for row in runs if row["steps_to_target"] is not None]
        seconds = [row["seconds"] for row in runs]
        reached = sum(row["return"] >= row["target"] for row in runs)
        lines.append([
            env,
            f"{TARGETS[env]:g}",
            ", ".join(f"{row['return']:.2f}" for row in runs),
            f"{reached} of {len(runs)}",
            f"{statistics.median(steps):,.0f}" if steps else "-",
            f"{runs[0]['config']['env_steps']:,}",
            f"{statistics.median(seconds):.1f} ({max(seconds):.1f})",
            f"{statistics.median(row['cpu_seconds'] for row in runs):.1f}",
            f"{max(row['env_share'] for row in runs):.1%}",
        ])  # fmt: skip
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one seed, a fiftieth of the budget")
    parser.add_argument("--env", choices=list(TARGETS), help="default: all")
    parser.add_argument("--threads", type=int, default=1, help="of torch and of fastrl")
    parser.add_argument("--out", type=Path, default=RESULTS, help="default: results/")
    arguments = parser.parse_args()
    if arguments.quick and arguments.out == RESULTS:
        parser.error("--quick wants an --out of its own")
    harness.fastrl.set_num_threads(arguments.threads)
    facts = harness.machine("cpu")
    print("fastrl {commit}, {device}, {threads} threads, {instruction_set}".format(**facts))

    arguments.out.mkdir(parents=True, exist_ok=True)
    results = arguments.out / "bench_ppo.jsonl"
    for env in [arguments.env] if arguments.env else TARGETS:
        for seed in SEEDS[:1] if arguments.quick else SEEDS:
            if any((row["env"], row["seed"]) == (env, seed) for row in read(results)):
                continue
            row = train(env, seed, arguments.quick, arguments.threads)
            with results.open("a") as file:
                file.write(json.dumps(facts | row) + "\n")
            print(
                f"{env}, seed {seed}: return {row['return']:.2f} after {row['env_steps']:,} steps, "
                f"{row['seconds']:.1f} s, {row['env_share']:.2%} of them in the environments",
                flush=True,
            )
    rows = read(results)
    where = "fastrl {commit}, {device}, {threads} threads, {instruction_set}".format(**rows[-1])
    most = max(row["env_share"] for row in rows)
    share = f"Environments' share: at most {most:.2%}, bar {LARGEST_SHARE:.0%}."
    (arguments.out / "bench_ppo.md").write_text(f"# PPO\n\n{where}\n\n{table(rows)}\n{share}\n")
    print(f"{table(rows)}\n{share}")
    panels = {
        env: {f"seed {row['seed']}": row["curve"] for row in rows if row["env"] == env}
        for env in dict.fromkeys(row["env"] for row in rows)
    }
    plot_scores(panels, PPO.score_name, arguments.out / "bench_ppo.png")


if __name__ == "__main__":
    main()
