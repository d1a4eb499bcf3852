"""What `precision="fast"` costs in accuracy: classic control in float32 against the exact form.

    python benchmarks/fast_envs_error.py

Two questions. How far apart are both forms 1 and 100 steps after the same state, under the same
actions? And do the returns of many episodes, each form with random numbers of its own, come from
one distribution? Writes results/fast_envs_error.md; with --output elsewhere. The exit status is 1
if a distribution differs.
"""

import argparse
import math
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import fastrl
import numpy as np

RESULTS = Path(__file__).parent / "results" / "fast_envs_error.md"
SIGNIFICANCE = 1e-3  # of ten tests together one in a hundred fails by chance


def noisily(actions, random, count, rate):
    """Some of the actions replaced by random ones of `count`."""
    chosen = random.integers(count, size=len(actions))
    return np.where(random.random(len(actions)) < rate, chosen, actions)


# Policies under which returns differ from episode to episode: pumping, with noise.
POLICIES = {
    "CartPole-v1": lambda x, random: noisily((x[:, 2] + x[:, 3] > 0).astype(int), random, 2, 0.3),
    "MountainCar-v0": lambda x, random: noisily(np.where(x[:, 1] < 0, 0, 2), random, 3, 0.4),
    "MountainCarContinuous-v0": lambda x, random: (
        np.where(x[:, 1:] < 0, -1, 1) * random.random((len(x), 1)) * 0.9
    ).astype(np.float32),
    "Pendulum-v1": lambda x, random: random.uniform(-2, 2, (len(x), 1)).astype(np.float32),
    "Acrobot-v1": lambda x, random: noisily(np.where(x[:, 5] < 0, 0, 2), random, 3, 0.2),
}

# The same state for both forms: bounds of a reset that leave one value.
STARTS = {
    "CartPole-v1": ("low", "high", 0.05),
    "MountainCar-v0": ("low", "high", 0.1),
    "MountainCarContinuous-v0": ("low", "high", 0.1),
    "Pendulum-v1": ("x_init", "y_init", 0.0),
    "Acrobot-v1": ("low", "high", 0.1),
}


def errors(name, num_envs, steps, seed=0):
    """Largest differences of observations, and of rewards, by step, while no episode has ended."""
    random = np.random.default_rng(seed)
    envs = [
        fastrl.make_vec(name, num_envs, precision=precision, autoreset_mode="disabled")
        for precision in ("exact", "fast")
    ]
    first, second, span = STARTS[name]
    center = -0.5 if name.startswith("Mountain") else 0.0
    for env in envs:
        env.reset(seed=seed)
    observations = []
    for i, value in enumerate(random.uniform(center - span, center + span, num_envs)):
        mask = np.arange(num_envs) == i
        options = {"reset_mask": mask, first: float(np.float32(value)) + 0.0}
        options[second] = options[first]
        observations = [env.reset(options=dict(options))[0] for env in envs]
    running = np.ones(num_envs, bool)
    rows = []
    for _ in range(steps):
        actions = POLICIES[name](np.array(observations[0]), random)
        (exact, reward, *ends), (fast, fast_reward, *fast_ends) = (
            env.step(actions, active=running)[:4] for env in envs
        )
        rows.append(
            (
                np.abs(exact - fast)[running].max(initial=0.0),
                np.abs(reward - fast_reward)[running].max(initial=0.0),
            )
        )
        for flags in (*ends, *fast_ends):
            running = running & ~flags
        observations = [np.array(exact), np.array(fast)]
        if not running.any():
            break
    return np.array(rows), int(running.sum())


def returns(name, precision, episodes, seed):
    """The returns of the first `episodes` of a batch: equally many of each environment."""
    num_envs = min(episodes, 2000)
    rounds = -(-episodes // num_envs)
    env = fastrl.make_vec(name, num_envs, precision=precision)
    random = np.random.default_rng([seed, 1])  # default_rng(seed) is environment 0's own
    observations, _ = env.reset(seed=seed)
    sums, counts = np.zeros(num_envs), np.zeros(num_envs, int)
    found = []
    while (counts < rounds).any():
        observations, rewards, terminated, truncated, _ = env.step(
            POLICIES[name](observations, random)
        )
        sums += rewards
        ended = terminated | truncated
        found.append(sums[ended & (counts < rounds)])
        counts[ended] += 1
        sums[ended] = 0.0
    return np.concatenate(found)


def kolmogorov_smirnov(a, b):
    """The largest distance of two empirical distributions, and the asymptotic p-value."""
    a, b = np.sort(a), np.sort(b)
    values = np.concatenate([a, b])
    distance = np.abs(
        np.searchsorted(a, values, "right") / len(a) - np.searchsorted(b, values, "right") / len(b)
    ).max()
    scaled = distance * math.sqrt(len(a) * len(b) / (len(a) + len(b)))
    if scaled < 0.2:  # where the series has not begun to converge, p is 1
        return float(distance), 1.0
    terms = ((-1) ** (k - 1) * math.exp(-2 * k * k * scaled * scaled) for k in range(1, 101))
    return float(distance), min(1.0, max(0.0, 2 * sum(terms)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--episodes", type=int, default=100_000)
    parser.add_argument("--seeds", type=int, default=5, help="of --episodes each, pooled")
    parser.add_argument("--envs", type=int, default=256, help="environments that are compared")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    lines = [
        "# The fast forms of classic control against the exact ones",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}, fastrl {version('fastrl')}, NumPy {version('numpy')}, "
        f"Python {platform.python_version()}. `python benchmarks/fast_envs_error.py`",
        "",
        f"Largest difference in {arguments.envs} environments that start in the same states and "
        "take the same actions,",
        "while neither form's episode has ended.",
        "",
        "| environment | observation, 1 step | 100 steps | reward, 1 step | 100 steps "
        "| running after 100 |",
        "|---|---|---|---|---|---|",
    ]
    for name in POLICIES:
        rows, left = errors(name, arguments.envs, 100)
        cells = [
            f"{row:.1e}" for column in (0, 1) for row in (rows[0, column], rows[:, column].max())
        ]
        lines.append(f"| {name} | {' | '.join(cells)} | {left} |")
    lines += [
        "",
        f"Returns of {arguments.seeds} × {arguments.episodes:,} episodes of each form under a "
        "noisy policy, the forms with random numbers of their own.",
        "z is the difference of the means in standard errors, D and p are Kolmogorov and "
        "Smirnov's two-sample test.",
        "",
        "| environment | mean, exact | mean, fast | z | D | p |",
        "|---|---|---|---|---|---|",
    ]
    differs = []
    for name in POLICIES:
        exact, fast = (
            np.concatenate(
                [
                    # Far apart: an exact batch takes as many seeds as it has environments.
                    returns(name, form, arguments.episodes, 1_000_000 * seed + offset)
                    for seed in range(1, arguments.seeds + 1)
                ]
            )
            for form, offset in (("exact", 0), ("fast", 500_000))
        )
        error = math.sqrt(exact.var() / len(exact) + fast.var() / len(fast))
        z = (fast.mean() - exact.mean()) / error if error > 0 else 0.0
        distance, p = kolmogorov_smirnov(exact, fast)
        lines.append(
            f"| {name} | {exact.mean():.3f} ± {exact.std():.3f} | {fast.mean():.3f} ± "
            f"{fast.std():.3f} | {z:+.2f} | {distance:.4f} | {p:.2f} |"
        )
        if p < SIGNIFICANCE or abs(z) > 3.5:
            differs.append(name)
        print(lines[-1], flush=True)
    arguments.output.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))
    if differs:
        print(f"returns differ: {', '.join(differs)}", file=sys.stderr)
    return 1 if differs else 0


if __name__ == "__main__":
    sys.exit(main())
