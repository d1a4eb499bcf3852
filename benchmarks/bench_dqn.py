"""How much sooner Q-learning solves a chain with a rare reward from prioritized replay.

The blind cliff walk of Schaul et al., "Prioritized experience replay", 2016, section 3.1: in each
of n states one of two actions leads on and the other ends the episode; only the last right action
is rewarded. The buffer holds all 2^n sequences of actions in random order, 2^(n+1) - 2 transitions
of which one has a reward. Each step draws one transition and moves a table of action values by a
quarter of its TD error, which becomes its priority. The chain is solved when the mean squared error
of the table is below 0.001.

    python benchmarks/bench_dqn.py

Results are kept as kept_runs.py says, in results/bench_dqn.jsonl.
"""

import argparse
import itertools
import statistics
import time

import harness
import kept_runs
import numpy as np
from fastrl.replay import Prioritized, ReplayBuffer, Uniform

LENGTHS = (4, 6, 8, 10, 12)
SEEDS = tuple(range(10))
SAMPLERS = {
    "uniform": Uniform(),
    "prioritized": Prioritized(priority_exponent=0.6, epsilon=1e-4),
}
STEP_SIZE = 0.25
LARGEST_ERROR = 1e-3
CHECK_EVERY = 16


def cliff_walk(n, sampler, seed):
    """A buffer of all 2^n sequences of actions, each up to its first wrong one."""
    sequences = list(itertools.product((0, 1), repeat=n))
    np.random.default_rng(seed).shuffle(sequences)
    states, actions = [], []
    for sequence in sequences:
        length = min(n, sequence.index(0) + 1 if 0 in sequence else n)
        states += range(length)
        actions += sequence[:length]
    states, actions = np.array(states), np.array(actions)
    rewards = (states == n - 1) & (actions == 1)
    ended = (states == n - 1) | (actions == 0)
    fields = {
        "observations": ((), "int64"),
        "actions": ((), "int64"),
        "rewards": ((), "float64"),
    }
    rows = len(states) + int(ended.sum())
    buffer = ReplayBuffer(rows, fields, gamma=1 - 1 / n, sampler=sampler, seed=seed)
    buffer.add(
        observations=states[:, None],
        actions=actions[:, None],
        rewards=rewards[:, None].astype(np.float64),
        terminated=ended[:, None],
        truncated=np.zeros((len(states), 1), bool),
        final_observations=np.zeros((len(states), 1), np.int64),
    )
    assert buffer.num_drawable == 2 ** (n + 1) - 2
    return buffer


def steps_to_solve(n, replay, seed):
    """Updates of the table until it is right."""
    buffer = cliff_walk(n, SAMPLERS[replay], seed)
    right = np.zeros((n, 2))
    right[:, 1] = (1 - 1 / n) ** np.arange(n - 1, -1, -1)
    values = np.random.default_rng([seed, 1]).normal(0, 0.1, (n, 2))
    prioritized = replay == "prioritized"
    for step in itertools.count(1):
        batch = buffer.sample(1)
        state, action = batch.observations[0], batch.actions[0]
        after = batch.discounts[0] * values[batch.next_observations[0]].max()
        td_error = batch.rewards[0] + after - values[state, action]
        values[state, action] += STEP_SIZE * td_error
        if prioritized:
            buffer.update_priorities(batch.handles, np.abs(td_error)[None])
        if step % CHECK_EVERY == 0 and np.square(values - right).mean() < LARGEST_ERROR:
            return step


def median_steps(rows, n, replay):
    """Over the seeds."""
    return statistics.median(
        row["steps"] for row in rows if (row["n"], row["replay"]) == (n, replay)
    )


def table(rows):
    """The results as Markdown, a line for each length."""
    head = ["states", "transitions", "uniform, steps, median", "prioritized, steps, median"]
    head += ["times fewer", "seeds with fewer"]
    lines = []
    for n in sorted({row["n"] for row in rows}):
        uniform, prioritized = (median_steps(rows, n, replay) for replay in SAMPLERS)
        steps = {(row["seed"], row["replay"]): row["steps"] for row in rows if row["n"] == n}
        seeds = sorted({seed for seed, _ in steps})
        fewer = sum(steps[seed, "prioritized"] < steps[seed, "uniform"] for seed in seeds)
        lines.append([
            str(n),
            f"{2 ** (n + 1) - 2:,}",
            f"{uniform:,.0f}",
            f"{prioritized:,.0f}",
            f"{uniform / prioritized:.1f}",
            f"{fewer} of {len(seeds)}",
        ])  # fmt: skip
    return kept_runs.table(head, lines)


def plot(rows, path):
    """Steps of every seed and their medians against the number of transitions."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    lengths = sorted({row["n"] for row in rows})
    for replay in SAMPLERS:
        medians = [median_steps(rows, n, replay) for n in lengths]
        sizes = [2 ** (n + 1) - 2 for n in lengths]
        (line,) = axes.loglog(sizes, medians, label=f"{replay}, median", linewidth=1.5)
        runs = [(2 ** (row["n"] + 1) - 2, row["steps"]) for row in rows if row["replay"] == replay]
        axes.loglog(*zip(*runs, strict=True), ".", color=line.get_color(), alpha=0.5)
    axes.set_xlabel("transitions in the buffer, one of them rewarded")
    axes.set_ylabel("updates until the chain is solved")
    axes.set_title("Blind cliff walk")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)


def run(job):
    """One run: its line of results."""
    begin = time.perf_counter()
    steps = steps_to_solve(**job)
    return job | {"steps": steps, "seconds": time.perf_counter() - begin}


def say(row):
    """One line of a run."""
    chain = f"{row['n']} states, {row['replay']}, seed {row['seed']}"
    return f"{chain}: {row['steps']:,} steps, {row['seconds']:.1f} s"


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments = kept_runs.parse(parser, "two seeds of the two shortest chains")
    runs = kept_runs.KeptRuns("bench_dqn", ("n", "replay", "seed"), arguments)
    few = slice(2 if arguments.quick else None)
    rows = runs.complete(
        [
            {"n": n, "replay": replay, "seed": seed}
            for n, replay, seed in itertools.product(LENGTHS[few], SAMPLERS, SEEDS[few])
        ],
        run,
        say,
    )
    title = "# Prioritized against uniform replay on the blind cliff walk"
    runs.write_page([title, "", harness.where(rows[-1]), "", *table(rows)])
    plot(rows, runs.picture())


if __name__ == "__main__":
    main()
