"""Specification of the rules over `fastrl.replay.TrajectoryStore`, in plain Python."""

import math
from collections.abc import Sequence


def recalibrated(
    rewards: Sequence[float], group_means: Sequence[float], percentile: float = 50.0
) -> list[float]:
    """R − P, P between the two group means that the percentile falls between."""
    ordered = sorted(group_means)
    place = percentile / 100 * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    baseline = ordered[low] + (place - low) * (ordered[high] - ordered[low])
    return [reward - baseline for reward in rewards]


def dead_groups(
    rewards: Sequence[float],
    group_ids: Sequence[int],
    *,
    max_std: float = 0.05,
    max_mean: float = 0.2,
) -> dict[int, int]:
    """Group id → first row, of the groups with little variance and a low mean."""
    found = {}
    for key in dict.fromkeys(group_ids):
        rows = [i for i, group_id in enumerate(group_ids) if group_id == key]
        mean = math.fsum(rewards[i] for i in rows) / len(rows)
        variance = math.fsum((rewards[i] - mean) ** 2 for i in rows) / len(rows)
        if math.sqrt(variance) < max_std and mean < max_mean:
            found[key] = rows[0]
    return found


def difficulty_weight(weighting: str, successes: int, group_size: int) -> float:
    """How likely the prompts with so many successes are drawn."""
    k, n = successes, group_size
    if not 0 < k < n:
        return 0.0
    if weighting == "normal":
        return math.exp(-((k - n / 2) ** 2) / 2) / math.sqrt(2 * math.pi)
    if weighting == "linear":
        return k / n
    if weighting == "sqrt":
        return math.sqrt(k / n)
    return 0.5 if k > n / 2 else k / n
