"""The specification of hindsight relabeling: one transition at a time, read from lists of steps."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fastrl.reference.replay import ReplayBuffer


def goal_rows(buffer: ReplayBuffer, lane: int, row: int, strategy: str) -> list[int]:
    """Rows whose achieved goals a transition may be given, each as likely as the others.

    What step t' achieved is in row t' + 1: t' ≥ t for "future", all of the episode for "episode".
    """
    first, last = buffer.episode(lane, row)
    starts = {"future": row, "episode": first, "final": last - 1}
    return list(range(starts[strategy] + 1, last + 1))


def relabeled(
    buffer: ReplayBuffer,
    handle: int,
    goal: Any,
    reward: Callable[[Any, Any], float],
    terminated: Callable[[Any, Any], bool] | None = None,
) -> dict[str, Any]:
    """The n-step transition to another goal; `observations` of steps are (achieved, desired).

    R = Σ_k (∏_{j<k} d_j) reward(achieved_{k+1}, goal), up to the first step that terminates, where
    the next value counts nothing.
    """
    lane, row = buffer.find(handle)
    steps = buffer.lanes[lane]
    total, discount, ends, last = 0.0, 1.0, False, row
    for last in range(row, min(row + buffer.n_step, len(steps) - 1)):
        achieved = steps[last + 1].values["observations"][0]
        total += discount * reward(achieved, goal)
        discount *= steps[last].discount
        ends = terminated(achieved, goal) if terminated else steps[last].terminated
        if ends or steps[last].terminated or steps[last].truncated:
            break
    return {
        "rewards": total,
        "discounts": 0.0 if ends else discount,
        "terminated": ends,
        "truncated": steps[last].truncated or (steps[last].terminated and not ends),
        "next_achieved": steps[last + 1].values["observations"][0],
    }


def counts(shares: list[float], sizes: list[int]) -> list[list[int]]:
    """How many of each source batches of these sizes have: largest remainders, carried."""
    due = np.zeros(len(shares))
    made = []
    for size in sizes:
        due += np.array(shares) / sum(shares) * size
        row = [max(math.floor(one + 1e-9), 0) for one in due]
        while sum(row) < size:
            row[int(np.argmax(np.round(due - row, 9)))] += 1
        while sum(row) > size:
            rest = [one - count if count else math.inf for one, count in zip(due, row, strict=True)]
            row[int(np.argmin(np.round(rest, 9)))] -= 1
        due -= row
        made.append(row)
    return made
