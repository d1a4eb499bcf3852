"""Whether prioritized draws have the probabilities that they say, at length.

    python benchmarks/replay_distribution.py --workers 2

Three questions, of proportional and rank-based draws: are the χ² p-values of counts against the
stated probabilities uniform over 1,000 seeds; is a slot of priority 0 ever drawn, in 10^9 draws;
are importance weights unbiased in every scheme. The full form takes some minutes and writes
results/replay_distribution.md; a shorter one (--scale 0.01) prints the same, and writes it where
--output says. The exit status is 1 if any answer is wrong.
"""

import argparse
import math
import platform
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from fastrl import _core
from fastrl.replay import PriorityIndex

RESULTS = Path(__file__).parent / "results" / "replay_distribution.md"
KINDS = ("proportional", "rank")
SCHEMES = ("independent", "stratified", "systematic", "without_replacement")
CAPACITIES = (10, 1_000, 100_000, 10_000_000)
SEEDS, UPDATES, DRAWS, BATCHES = 1_000, 10_000_000, 1_000_000_000, 100_000
BINS, LEAST = 50, 100
INTRODUCTION = """\
# Prioritized draws against their probabilities

`python benchmarks/replay_distribution.py`, {when}; fastrl {version}, {instruction_set}, Python
{python}, {minutes:.0f} minutes. **{verdict}**

Before its draws each index is lived in: new items come at the maximum and wrap around the ring,
priorities are set that span 10^12, duplicates among them, and a fifth of them is 0. Then the total
is compared with the sum of the weights: they have to agree as integers.
"""
CHI_SQUARE = """
## χ² over seeds

{draws:,} draws of each of {seeds:,} seeds are counted in {bins} bins of about equal probability,
into which the slots are dealt at random; bins of fewer than {least} expected draws are one. If
the stated probabilities are the true ones, the
p-values of these counts are uniform; D is their Kolmogorov–Smirnov distance from that, and p bounds
its probability. Up to 1,000 slots every seed has an index of its own, beyond that all draw from
one, each from where the last one's random numbers ended; a row's indices have had {updates:,}
updates in all.

| kind | capacity | drawable | D | p | total = Σ weights |
|---|---|---|---|---|---|
"""
ZEROS = """
## Slots of priority 0

| kind | capacity | of priority 0 | draws | of these | scheme |
|---|---|---|---|---|---|
"""
UNBIASED = """
## Importance weights with exponent 1

The mean over 200 slots, estimated from {batches:,} batches of 16 draws: the error in units of its
standard deviation. Four are allowed.

| kind | scheme | error | standard deviation of a batch | if it were uniform |
|---|---|---|---|---|
"""


def lived_in(kind, capacity, updates, seed):
    """An index after updates of every sort."""
    random = np.random.default_rng(seed)
    index = PriorityIndex(capacity, kind=kind, seed=seed)
    chunk = min(65_536, max(capacity // 2, 1))
    begin = 0
    for _ in range(max(updates // (2 * chunk), 4)):
        index.set_new(np.arange(begin, begin + chunk) % capacity)
        begin = (begin + chunk) % capacity
        slots = random.integers(0, capacity, chunk)
        priorities = 10 ** random.uniform(-6, 6, chunk)
        priorities[random.random(chunk) < 0.2] = 0.0
        index.set_priorities(slots, priorities)
    index.set_priorities(np.array([0]), np.array([1.0]))  # so that something can be drawn
    return index


def weights_of(index):
    return index.weights(np.arange(index.capacity))


def total_is_exact(index, weights):
    low, high = int((weights & 0xFFFFFFFF).sum()), int((weights >> np.uint64(32)).sum())
    return index.total == low + (high << 32)


def bins_of(weights, seed):
    """For each slot its bin, of BINS with about the same probability; and these probabilities."""
    probabilities = weights.astype(float) / weights.astype(float).sum()
    dealt = np.random.default_rng(seed).permutation(len(weights))
    ends = np.empty(len(weights))
    ends[dealt] = np.cumsum(probabilities[dealt])
    bins = np.minimum((ends - probabilities / 2) * BINS, BINS - 1).astype(np.int64)
    return bins, np.bincount(bins, probabilities, BINS)


def chi_square_p(counts, probabilities):
    """None where all draws are expected in one bin.

    Bins of fewer than LEAST expected draws are pooled, and with the next larger one if they are too
    few together: the statistic of small counts does not have the distribution that p comes from.
    """
    expected = counts.sum() * probabilities
    order = np.argsort(-expected)
    counts, expected = counts[order], expected[order]
    enough = int((expected >= LEAST).sum())
    if expected[enough:].sum() < LEAST:
        enough -= 1
    if enough < 1:
        return None
    counts = np.r_[counts[:enough], counts[enough:].sum()]
    expected = np.r_[expected[:enough], expected[enough:].sum()]
    chi_square = ((counts - expected) ** 2 / expected).sum()
    half_freedom = torch.tensor(enough / 2, dtype=torch.float64)
    half = torch.tensor(chi_square / 2, dtype=torch.float64)
    return torch.special.gammaincc(half_freedom, half).item()


def distance_from_uniform(values):
    """The Kolmogorov–Smirnov distance and a bound of its probability."""
    ordered = np.sort(values)
    steps = np.arange(len(ordered) + 1) / len(ordered)
    distance = max((steps[1:] - ordered).max(), (ordered - steps[:-1]).max())
    return distance, min(2 * math.exp(-2 * len(ordered) * distance**2), 1.0)


def chi_square(kind, capacity, scale):
    """One row: the same history, other random numbers for each seed."""
    seeds, draws = max(int(SEEDS * scale), 20), 20_000
    lives = seeds if capacity <= 1_000 else 1
    updates = max(int(UPDATES * scale), 10_000) // lives
    values, exact, index, weights = [], True, None, None
    for seed in range(seeds):
        if index is None or lives > 1:
            index = lived_in(kind, capacity, updates, seed)
            weights = weights_of(index)
            exact &= total_is_exact(index, weights)
            bins, probabilities = bins_of(weights, seed)
        counts = np.bincount(bins[index.draw(draws).slots], minlength=BINS)
        value = chi_square_p(counts, probabilities)
        if value is not None:
            values.append(value)
    distance, p = distance_from_uniform(np.array(values))
    row = f"| {kind} | {capacity:,} | {len(index):,} | {distance:.4f} | {p:.3f} | {exact} |"
    return row, bool(exact and p > 1e-4)


def zeros(kind, capacity, scale):
    """One row: priorities from 10^-6 to 10^6, half of all 0, in runs and alone."""
    index = lived_in(kind, capacity, 4 * capacity, 7)
    index.clear(np.arange(1, capacity, 2))
    index.clear(np.arange(capacity // 3, capacity // 3 + capacity // 10))
    is_zero = weights_of(index) == 0
    batch = 200_000
    hits, drawn = 0, 0
    schemes = SCHEMES[:3]
    for k in range(max(int(DRAWS * scale / batch), 3)):
        slots = index.draw(batch, scheme=schemes[k % 3]).slots
        hits += int(is_zero[slots].sum())
        drawn += batch
    zero_slots = int(is_zero.sum())
    names = ", ".join(schemes)
    return f"| {kind} | {capacity:,} | {zero_slots:,} | {drawn:,} | {hits} | {names} |", hits == 0


def unbiased(kind, scheme, scale):
    """One row."""
    random = np.random.default_rng(3)
    index = PriorityIndex(250, kind=kind, seed=11)
    index.set_priorities(np.arange(200), 10 ** random.uniform(-3, 0, 200))
    values = random.normal(1.0, 1.0, 250)
    estimates = np.empty(max(int(BATCHES * scale), 1_000))
    for k in range(len(estimates)):
        draw = index.draw(16, scheme=scheme)
        weights = index.importance_weights(draw, 1.0, normalize=None)
        estimates[k] = (values[draw.slots] * weights).mean()
    deviation = estimates.std()
    error = (estimates.mean() - values[:200].mean()) / deviation * math.sqrt(len(estimates))
    uniform = values[:200].std() / 4
    row = f"| {kind} | {scheme} | {error:+.2f} σ | {deviation:.3f} | {uniform:.3f} |"
    return row, abs(error) <= 4


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--scale", type=float, default=1.0, help="share of the draws and seeds")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--output", type=Path, help="where the report goes")
    arguments = parser.parse_args()
    scale = arguments.scale
    started = time.perf_counter()
    with ProcessPoolExecutor(arguments.workers) as pool:
        tables = [
            [
                pool.submit(chi_square, kind, capacity, scale)
                for kind in KINDS
                for capacity in CAPACITIES
                if capacity <= 100_000 or scale == 1.0
            ],
            [pool.submit(zeros, kind, 1_000_000, scale) for kind in KINDS],
            [pool.submit(unbiased, kind, scheme, scale) for kind in KINDS for scheme in SCHEMES],
        ]
        results = [[future.result() for future in table] for table in tables]
    passed = all(ok for table in results for _, ok in table)
    heads = (
        CHI_SQUARE.format(
            draws=20_000,
            seeds=max(int(SEEDS * scale), 20),
            bins=BINS,
            least=LEAST,
            updates=max(int(UPDATES * scale), 10_000),
        ),
        ZEROS,
        UNBIASED.format(batches=max(int(BATCHES * scale), 1_000)),
    )
    report = INTRODUCTION.format(
        when=datetime.now(UTC).strftime("%Y-%m-%d"),
        version=version("fastrl"),
        instruction_set=_core.instruction_set(),
        python=platform.python_version(),
        minutes=(time.perf_counter() - started) / 60,
        verdict="All as stated." if passed else "Something is wrong.",
    )
    for head, table in zip(heads, results, strict=True):
        report += head + "".join(f"{row}\n" for row, _ in table)
    output = arguments.output or (RESULTS if scale == 1.0 else None)
    if output:
        output.write_text(report)
    print(report)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
