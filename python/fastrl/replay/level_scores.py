"""What a level is worth for learning, from what happened on it.

The functions of a rollout give one score per step, [T, B], which `EpisodeScores` turns into scores
of levels; those of returns give one score per level at once. Arrays may be NumPy's or torch's, on
any device; results are float64 NumPy, because samplers live there.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from fastrl._dispatch import MASKS, Arguments, Array, is_torch

Scores = npt.NDArray[np.float64]
NUMBERS = ("float32", "float64", "bfloat16", "float16")


def value_l1(advantages: Array) -> Scores:
    """|A_t|: how wrong the value function was, the score of prioritized level replay.

    Args:
        advantages: [T, B], of `gae`.

    Reference: Jiang et al., "Prioritized Level Replay", 2021.
    """
    return np.abs(_steps(Arguments("value_l1"), advantages=advantages))


def positive_value_loss(advantages: Array) -> Scores:
    """max(A_t, 0): an estimate of regret from below.

    Args:
        advantages: [T, B], of `gae`.

    Reference: Jiang et al., "Replay-Guided Adversarial Environment Design", 2021.
    """
    return np.maximum(_steps(Arguments("positive_value_loss"), advantages=advantages), 0.0)


def signed_advantage(advantages: Array) -> Scores:
    """A_t as it is, the strategy "gae".

    Args:
        advantages: [T, B], of `gae`.
    """
    return _steps(Arguments("signed_advantage"), advantages=advantages).copy()


def one_step_td_error(
    rewards: Array, values: Array, next_values: Array, terminated: Array, *, gamma: float
) -> Scores:
    """|r_t + γ (1 - terminated_t) v(s'_t) - v(s_t)|, of every step, the last one too.

    Args:
        rewards: [T, B].
        values: [T, B], v(s_t).
        next_values: [T, B], v(s'_t), s'_t before any reset; not read where `terminated` is set.
        terminated: [T, B] bool.
        gamma: Discount, in [0, 1].
    """
    arguments = Arguments("one_step_td_error")
    r = _steps(arguments, rewards=rewards)
    v = _steps(arguments, values=values)
    v_next = _steps(arguments, next_values=next_values)
    arguments.array("terminated", terminated, ["T", "B"], MASKS)
    discount = arguments.number("gamma", gamma, low=0.0, high=1.0)
    bootstrap = np.where(as_numpy(terminated).astype(bool), 0.0, v_next)
    return np.abs(r + discount * bootstrap - v)


def policy_entropy(logits: Array) -> Scores:
    """Entropy of π(·|s_t) over log A, from 0 to 1.

    Args:
        logits: [T, B, A], of any normalization; -inf is an action that cannot be taken.
    """
    log_probs = _log_probs(Arguments("policy_entropy"), logits)
    terms = np.exp(log_probs) * np.where(np.isneginf(log_probs), 0.0, log_probs)
    entropies: Scores = -terms.sum(-1) / max(np.log(log_probs.shape[-1]), np.log(2.0))
    return np.maximum(entropies, 0.0)


def least_confidence(logits: Array) -> Scores:
    """1 - max_a π(a|s_t).

    Args:
        logits: As of `policy_entropy`.
    """
    confidence: Scores = np.exp(_log_probs(Arguments("least_confidence"), logits).max(-1))
    return 1.0 - confidence


def min_margin(logits: Array) -> Scores:
    """1 - (π(a₁|s_t) - π(a₂|s_t)) of the two likeliest actions.

    Args:
        logits: As of `policy_entropy`, of at least two actions.
    """
    arguments = Arguments("min_margin")
    log_probs = _log_probs(arguments, logits)
    if log_probs.shape[-1] < 2:
        raise arguments.error("logits", "have at least 2 actions", log_probs.shape[-1])
    best = np.exp(np.partition(log_probs, -2, axis=-1)[..., -2:])
    return 1.0 - (best[..., 1] - best[..., 0])


def learnability(success_rates: Array) -> Scores:
    """Variance p (1 - p) of a 0/1 reward, largest where half of the attempts succeed.

    Args:
        success_rates: [N], from 0 to 1.

    Reference: Tzannetos et al., "Proximal Curriculum for Reinforcement Learning Agents", 2023.
    """
    arguments = Arguments("learnability")
    rates = _numbers(arguments, "success_rates", success_rates, ["N"])
    wrong = ~((rates >= 0) & (rates <= 1))
    if wrong.any():
        raise arguments.error("success_rates", "be in [0, 1]", rates[wrong][0])
    return rates * (1.0 - rates)


def group_return_variance(returns: Array) -> Scores:
    """Variance of the returns of each group of attempts; `learnability` where they are 0 or 1.

    Args:
        returns: [G, K], K attempts at each of G tasks.

    Reference: Jiang et al., "Bootstrapping Task Spaces for Self-Improvement", 2025.
    """
    rewards = _numbers(Arguments("group_return_variance"), "returns", returns, ["G", "K"])
    variances: Scores = rewards.var(-1)
    return variances


def success_band(
    success_rates: Array, *, low: float = 0.1, high: float = 0.9
) -> npt.NDArray[np.bool_]:
    """Which groups to keep: those whose mean accuracy is in [low, high].

    Args:
        success_rates: [N], mean accuracy of each group.
        low: Groups that fail more than this allows are too hard.
        high: Groups that succeed more than this teach nothing.

    Reference: Wan et al., "SRPO: Enhancing Multimodal LLM Reasoning via Reflection-Aware
    Reinforcement Learning", 2025.
    """
    arguments = Arguments("success_band")
    rates = _numbers(arguments, "success_rates", success_rates, ["N"])
    least, most = check_band(arguments, low, high)
    kept: npt.NDArray[np.bool_] = (rates >= least) & (rates <= most)
    return kept


def paired_regret(
    antagonist_returns: Array, protagonist_returns: Array, *, flexible: bool = False
) -> Scores:
    """max(0, max return of the antagonist - mean return of the protagonist).

    Args:
        antagonist_returns: [N, K], K episodes on each of N levels.
        protagonist_returns: [N, J].
        flexible: The antagonist of a level is who had the larger maximum there; the protagonist
            where they are equal.

    Reference: Dennis et al., "Emergent Complexity and Zero-shot Transfer via Unsupervised
    Environment Design", 2020.
    """
    arguments = Arguments("paired_regret")
    antagonist = _numbers(arguments, "antagonist_returns", antagonist_returns, ["N", "K"])
    protagonist = _numbers(arguments, "protagonist_returns", protagonist_returns, ["N", "J"])
    regret = antagonist.max(-1) - protagonist.mean(-1)
    if arguments.flag("flexible", flexible):
        swaps = antagonist.max(-1) <= protagonist.max(-1)
        regret = np.where(swaps, protagonist.max(-1) - antagonist.mean(-1), regret)
    positive: Scores = np.maximum(regret, 0.0)
    return positive


def minimax_regret(protagonist_returns: Array) -> Scores:
    """-max return of the protagonist: the adversary that PAIRED is compared with.

    Args:
        protagonist_returns: [N, J], J episodes on each of N levels.
    """
    arguments = Arguments("minimax_regret")
    returns = _numbers(arguments, "protagonist_returns", protagonist_returns, ["N", "J"])
    hardness: Scores = -returns.max(-1)
    return hardness


def check_band(arguments: Arguments, low: object, high: object) -> tuple[float, float]:
    """Two rates, `low` at most `high`."""
    least = arguments.number("low", low, low=0.0, high=1.0)
    most = arguments.number("high", high, low=0.0, high=1.0)
    if least > most:
        raise arguments.error("low", f"be at most `high` = {most:g}", low)
    return least, most


def as_numpy(array: Array) -> npt.NDArray[Any]:
    """A NumPy array of the same numbers; floats as float64."""
    if is_torch(array):
        array = array.detach().cpu()
        array = (array.double() if array.is_floating_point() else array).numpy()
    result: npt.NDArray[Any] = array
    return result.astype(np.float64) if result.dtype.kind == "f" else result


def _numbers(arguments: Arguments, name: str, value: Array, shape: list[str | int]) -> Scores:
    arguments.array(name, value, shape, NUMBERS)
    if 0 in value.shape:
        raise arguments.error(name, "not be empty", list(value.shape))
    numbers: Scores = as_numpy(value)
    return numbers


def _steps(arguments: Arguments, **named: Array) -> Scores:
    ((name, value),) = named.items()
    return _numbers(arguments, name, value, ["T", "B"])


def _log_probs(arguments: Arguments, logits: Array) -> Scores:
    numbers = _numbers(arguments, "logits", logits, ["T", "B", "A"])
    shifted = numbers - numbers.max(-1, keepdims=True)
    log_probs: Scores = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return log_probs
