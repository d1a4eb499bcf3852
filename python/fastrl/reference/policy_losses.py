"""Policy losses in float64: ratio × surrogate × KL estimator × aggregation, with their gradients.

A surrogate takes (log_probs, ratios, advantages, spec), [N] each, and returns the losses, their
derivatives with respect to log_probs, and where its lower and its upper clip acted. `ratios` are
π/π_old, or ones; a derivative includes the ratio's own.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
SurrogateTerms = tuple[Floats, Floats, Bools, Bools]


def surrogate_reinforce(
    log_probs: Floats, ratios: Floats, advantages: Floats, spec: Any
) -> SurrogateTerms:
    """ℓ = −sg(r) A log π: the policy gradient itself, importance-weighted where r is a ratio."""
    nowhere = np.zeros(log_probs.shape, bool)
    return -ratios * advantages * log_probs, -ratios * advantages, nowhere, nowhere


def surrogate_opmd(
    log_probs: Floats, ratios: Floats, advantages: Floats, spec: Any
) -> SurrogateTerms:
    """ℓ = −sg(r) A log π / (1 + τ): online policy mirror descent with regularizer strength τ."""
    gradients = -ratios * advantages / (1.0 + spec.opmd_tau)
    nowhere = np.zeros(log_probs.shape, bool)
    return gradients * log_probs, gradients, nowhere, nowhere


def surrogate_ppo(
    log_probs: Floats, ratios: Floats, advantages: Floats, spec: Any
) -> SurrogateTerms:
    """ℓ = −min(r A, clip(r, 1 − clip_low, 1 + clip_high) A)."""
    clipped_low = (advantages < 0) & (ratios < 1.0 - spec.clip_low)
    clipped_high = (advantages > 0) & (ratios > 1.0 + spec.clip_high)
    clipped = np.clip(ratios, 1.0 - spec.clip_low, 1.0 + spec.clip_high)
    losses = -np.minimum(ratios * advantages, clipped * advantages)
    gradients = np.where(clipped_low | clipped_high, 0.0, -ratios * advantages)
    return losses, gradients, clipped_low, clipped_high


def surrogate_cispo(
    log_probs: Floats, ratios: Floats, advantages: Floats, spec: Any
) -> SurrogateTerms:
    """ℓ = −sg(min(r, 1 + clip_high)) A log π: the weight is capped, the gradient stays."""
    clipped_high = ratios > 1.0 + spec.clip_high
    gradients = -np.minimum(ratios, 1.0 + spec.clip_high) * advantages
    return gradients * log_probs, gradients, np.zeros_like(clipped_high), clipped_high


SURROGATES: dict[str, Callable[[Floats, Floats, Floats, Any], SurrogateTerms]] = {
    "reinforce": surrogate_reinforce,
    "opmd": surrogate_opmd,
    "ppo": surrogate_ppo,
    "cispo": surrogate_cispo,
}

# Estimators of KL(π || π_ref) from d = log π − log π_ref, each with its derivative in d. Schulman,
# "Approximating KL divergence", 2020.
KL_ESTIMATORS: dict[str, Callable[[Floats], tuple[Floats, Floats]]] = {
    "none": lambda d: (np.zeros_like(d), np.zeros_like(d)),
    "k1": lambda d: (d, np.ones_like(d)),
    "k2": lambda d: (0.5 * d * d, d),
    "k3": lambda d: (np.expm1(-d) + d, -np.expm1(-d)),
}


class PolicyLossReference(NamedTuple):
    """What `policy_loss` computes, and the gradients of `loss` with every masked token at zero."""

    loss: float
    metrics: dict[str, float]
    log_prob_gradients: Floats
    entropy_gradients: Floats


@np.errstate(invalid="ignore")  # ∞ − ∞ is NaN, and is meant to be
def policy_loss(
    log_probs: npt.ArrayLike,
    advantages: npt.ArrayLike,
    mask: npt.ArrayLike,
    *,
    old_log_probs: npt.ArrayLike | None = None,
    behavior_log_probs: npt.ArrayLike | None = None,
    ref_log_probs: npt.ArrayLike | None = None,
    entropies: npt.ArrayLike | None = None,
    cu_seqlens: npt.ArrayLike | None = None,
    spec: Any,
    normalizer: float | None = None,
) -> PolicyLossReference:
    """The loss, its metrics and its gradients, token by token as the formulas say.

    Shapes and meanings are those of `fastrl.policy_loss`; `spec` has the fields of
    `PolicyLossSpec`.
    """
    shape = np.shape(log_probs)
    keep = np.asarray(mask, bool).reshape(-1)  # [N]

    def tokens(values: npt.ArrayLike | None, default: Floats) -> Floats:
        if values is None:
            return default
        return np.where(keep, np.asarray(values, np.float64).reshape(-1), 0.0)

    if cu_seqlens is None:
        lengths = np.full(shape[0], shape[1])
    else:
        lengths = np.diff(np.asarray(cu_seqlens))
    num_sequences = lengths.size
    sequence_of = np.repeat(np.arange(num_sequences), lengths)  # [N]

    advantages = np.asarray(advantages, np.float64)
    if advantages.shape != shape:
        advantages = advantages[sequence_of]
    new = tokens(log_probs, np.zeros(keep.size))
    a = tokens(advantages, new)
    old_ratios = np.exp(new - tokens(old_log_probs, new))
    # x − x is 0 for finite x and NaN else: a broken log-prob shows even where the ratio is 1.
    ratios = old_ratios if spec.ratio == "token" else np.exp(new - new)
    losses, gradients, clipped_low, clipped_high = SURROGATES[spec.surrogate](new, ratios, a, spec)
    kl, kl_gradients = KL_ESTIMATORS[spec.kl](new - tokens(ref_log_probs, new))
    entropy = tokens(entropies, np.zeros_like(new))

    # How tokens become one number: token t weighs weights[t] / denominator.
    num_tokens = float(keep.sum())
    weights = keep.astype(np.float64)
    if spec.aggregation == "seq_mean_token_mean":
        counts = np.bincount(sequence_of, weights=keep, minlength=num_sequences)
        weights = np.where(keep, 1.0 / np.maximum(counts, 1.0)[sequence_of], 0.0)
    count = {"token_mean": num_tokens, "token_sum": 1.0}.get(spec.aggregation, float(num_sequences))
    denominator = count if normalizer is None else float(normalizer)
    if spec.aggregation == "seq_mean_token_sum_norm":
        denominator *= spec.max_length
    if num_tokens > 0:  # else there is nothing to divide, and the loss is 0
        weights = weights / (denominator if 0 < denominator < np.inf else np.nan)

    def token_mean(values: Floats | Bools) -> float:
        return float((values * keep).sum() / max(num_tokens, 1.0))

    metrics = {
        "policy_loss": float((weights * losses).sum()),
        "tokens": num_tokens,
        "advantage_mean": token_mean(a),
    }
    if old_log_probs is not None:
        metrics["ratio_mean"] = token_mean(old_ratios)
        metrics["clip_fraction_low"] = token_mean(clipped_low)
        metrics["clip_fraction_high"] = token_mean(clipped_high)
        log_ratios = new - tokens(old_log_probs, new)
        metrics["kl_to_old"] = token_mean(np.expm1(log_ratios) - log_ratios)
    if behavior_log_probs is not None:
        log_ratios = new - tokens(behavior_log_probs, new)
        metrics["kl_to_behavior"] = token_mean(np.expm1(log_ratios) - log_ratios)
    if spec.kl != "none":
        metrics["kl_to_ref"] = token_mean(kl)
    if entropies is not None:
        metrics["entropy"] = token_mean(entropy)

    total = losses + spec.kl_coef * kl - spec.entropy_coef * entropy
    return PolicyLossReference(
        loss=float((weights * total).sum()),
        metrics=metrics,
        log_prob_gradients=(weights * (gradients + spec.kl_coef * kl_gradients)).reshape(shape),
        entropy_gradients=(-spec.entropy_coef * weights).reshape(shape),
    )
