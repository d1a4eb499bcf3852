"""From scores to the weights that levels and tasks are drawn with. Pure functions of [N]."""

from typing import Literal

import numpy as np
import numpy.typing as npt

from fastrl._dispatch import INTEGERS, Arguments, Array
from fastrl.replay.level_scores import NUMBERS, as_numpy, check_band

Weights = npt.NDArray[np.float64]
Transform = Literal[
    "constant", "rank", "power", "proportional", "softmax", "max", "eps_greedy", "match",
    "match_rank", "band",
]  # fmt: skip
TRANSFORMS: tuple[str, ...] = Transform.__args__  # type: ignore[attr-defined]


def level_weights(
    scores: Array,
    *,
    transform: Transform = "rank",
    temperature: float = 1.0,
    offset: float = 0.0,
    epsilon: float = 0.05,
    low: float = 0.1,
    high: float = 0.9,
) -> Weights:
    """Weights of scores s, with T the temperature; they sum to 1.

        constant      1
        rank          1 / rank^(1/T), rank 1 for the largest; equal scores share their mean
        power         (max(s, 0) + offset)^(1/T)
        proportional  max(s, 0)
        softmax       exp(s / T)
        max           1 for the largest; several share it
        eps_greedy    1 - ε for the largest, shared by several, and ε / N for each
        match         (p (1 - p))^(1/T) of success rates s = p, 0 outside of [0, 1]
        match_rank    rank of p (1 - p)
        band          1 where low ≤ s ≤ high

    Where all of them are 0 nothing is preferred: all weights are equal then.

    Args:
        scores: [N], finite, N ≥ 1.
        transform: One of the above.
        temperature: T > 0; small ones prefer large scores more.
        offset: Gives levels of score 0 a chance under `power`.
        epsilon: ε of `eps_greedy`.
        low: Of `band`.
        high: Of `band`.

    Reference: Jiang et al., "Prioritized Level Replay", 2021.
    """
    arguments = Arguments("level_weights")
    arguments.array("scores", scores, ["N"], NUMBERS)
    if not len(scores):
        raise arguments.error("scores", "not be empty", "[0]")
    numbers = as_numpy(scores)
    if not np.isfinite(numbers).all():
        raise arguments.error("scores", "be finite", numbers[~np.isfinite(numbers)][0])
    arguments.choice("transform", transform, TRANSFORMS)
    band = check_band(arguments, low, high)
    return transformed(
        numbers,
        transform,
        arguments.number("temperature", temperature, low=0.0, exclusive_low=True),
        arguments.number("offset", offset, low=0.0),
        arguments.number("epsilon", epsilon, low=0.0, high=1.0),
        band,
    )


def mixed_weights(scores: Weights, staleness: Weights, staleness_coef: float) -> Weights:
    """(1 - ρ) · scores + ρ · staleness of two distributions over the same levels.

    Args:
        scores: [N] float64, of `level_weights`.
        staleness: [N] float64, likewise, of how many draws ago each level was drawn last.
        staleness_coef: ρ, in [0, 1].
    """
    arguments = Arguments("mixed_weights")
    arguments.array("scores", scores, ["N"], ["float64"])
    arguments.array("staleness", staleness, ["N"], ["float64"])
    rho = arguments.number("staleness_coef", staleness_coef, low=0.0, high=1.0)
    mixture: Weights = (1.0 - rho) * as_numpy(scores) + rho * as_numpy(staleness)
    return mixture


def task_weights(
    rewards: Array, classes: Array | None = None, *, lambda_: float = 5.0, alpha: float = 1.0
) -> Weights:
    """Adaptive trajectory sampling: tasks of low reward more often, first by class, then within.

        w_i = (1 - α) / M + α · softmax over classes(-λ r̄_c) · softmax within the class(-λ r_i)

    r̄_c is the mean reward of the tasks of a class. The weights sum to 1.

    Args:
        rewards: [M], mean reward of each task, finite.
        classes: [M] integers, any numbers; None puts all tasks into one class.
        lambda_: How sharply low rewards are preferred, at least 0.
        alpha: 0 draws evenly.

    Reference: Yu et al., "SkillMimic-V2", 2025.
    """
    arguments = Arguments("task_weights")
    arguments.array("rewards", rewards, ["M"], NUMBERS)
    if not len(rewards):
        raise arguments.error("rewards", "not be empty", "[0]")
    numbers = as_numpy(rewards)
    if not np.isfinite(numbers).all():
        raise arguments.error("rewards", "be finite", numbers[~np.isfinite(numbers)][0])
    members = np.zeros(len(numbers), np.int64)
    if classes is not None:
        arguments.array("classes", classes, ["M"], INTEGERS)
        members = np.unique(as_numpy(classes), return_inverse=True)[1].reshape(-1)
    sharpness = arguments.number("lambda_", lambda_, low=0.0)
    share = arguments.number("alpha", alpha, low=0.0, high=1.0)
    sizes = np.bincount(members)
    of_classes = softmax(-sharpness * np.bincount(members, numbers) / sizes)
    focused = of_classes[members] * grouped_softmax(-sharpness * numbers, members, len(sizes))
    weights: Weights = (1.0 - share) / len(numbers) + share * focused
    return weights


def softmax(numbers: Weights) -> Weights:
    """exp(x) / Σ exp(x), without overflow."""
    powers: Weights = np.exp(numbers - numbers.max())
    shares: Weights = powers / powers.sum()
    return shares


def grouped_softmax(numbers: Weights, groups: npt.NDArray[np.integer], num_groups: int) -> Weights:
    """`softmax` over each group's members."""
    largest = np.full(num_groups, -np.inf)
    np.maximum.at(largest, groups, numbers)
    powers: Weights = np.exp(numbers - largest[groups])
    shares: Weights = powers / np.bincount(groups, powers, num_groups)[groups]
    return shares


def transformed(
    scores: Weights,
    transform: str,
    temperature: float,
    offset: float,
    epsilon: float,
    band: tuple[float, float],
) -> Weights:
    """`level_weights` of checked arguments."""
    if transform.startswith("match"):
        scores = np.clip(scores, 0.0, 1.0)
        scores = scores * (1.0 - scores)
    if transform in ("rank", "match_rank"):
        weights = _rank_weights(scores, temperature)
    elif transform == "power":
        weights = _powers(np.maximum(scores, 0.0) + offset, temperature)
    elif transform == "match":
        weights = _powers(scores, temperature)
    elif transform == "proportional":
        weights = np.maximum(scores, 0.0)
        weights = weights / max(weights.max(), np.finfo(np.float64).tiny)
    elif transform == "softmax":
        weights = np.exp((scores - scores.max()) / temperature)
    elif transform == "band":
        weights = ((scores >= band[0]) & (scores <= band[1])).astype(np.float64)
    elif transform == "constant":
        weights = np.ones_like(scores)
    else:
        largest = scores == scores.max()
        weights = largest / largest.sum()
        if transform == "eps_greedy":
            weights = (1.0 - epsilon) * weights + epsilon / len(scores)
    total = weights.sum()
    if total == 0.0:
        return np.full(len(scores), 1.0 / len(scores))
    distribution: Weights = weights / total
    return distribution


def _powers(numbers: Weights, temperature: float) -> Weights:
    # Relative to the largest, so that no power overflows.
    largest = numbers.max()
    return (numbers / largest) ** (1.0 / temperature) if largest > 0.0 else np.zeros_like(numbers)


def _rank_weights(scores: Weights, temperature: float) -> Weights:
    order = np.argsort(-scores, kind="stable")
    by_rank = np.arange(1.0, len(scores) + 1.0) ** (-1.0 / temperature)
    descending = scores[order]
    starts = np.flatnonzero(np.r_[True, descending[1:] != descending[:-1]])
    sizes = np.diff(np.r_[starts, len(scores)])
    weights = np.empty_like(scores)
    weights[order] = np.repeat(np.add.reduceat(by_rank, starts) / sizes, sizes)
    return weights
