"""Log-probability, entropy and self-certainty of token distributions: the specification.

Float64, one formula a line. A logit of -inf (without a softcap) has probability 0: it adds nothing
to the entropy and its gradient is 0. A row with NaN, with +inf or with nothing but -inf has no
distribution: its results and its gradient are NaN. Masked rows give 0 whatever they hold.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def _distribution(
    logits: ArrayLike, temperature: float, softcap: float | None
) -> tuple[Floats, Floats, Floats]:
    """Logarithms of the probabilities, the probabilities, and dy/dx of the softcap. # [..., V]."""
    x = np.asarray(logits, np.float64)
    y = x if softcap is None else softcap * np.tanh(x / softcap)
    slope = np.ones_like(x) if softcap is None else 1.0 - np.tanh(x / softcap) ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        z = (y - y.max(-1, keepdims=True)) / temperature
        log_p = z - np.log(np.exp(z).sum(-1, keepdims=True))
    return log_p, np.exp(log_p), slope


def token_log_probs(
    logits: ArrayLike,
    token_ids: ArrayLike,
    *,
    temperature: float = 1.0,
    mask: ArrayLike | None = None,
    softcap: float | None = None,
) -> tuple[Floats, Floats, Floats]:
    """`(log_probs, entropies, self_certainties)`, each [...], of logits [..., V].

    log_prob = log p_token; entropy = -Σ_j p_j log p_j; self_certainty = -(1/V) Σ_j log(V p_j).
    """
    log_p, p, _ = _distribution(logits, temperature, softcap)
    size = log_p.shape[-1]
    ids = np.asarray(token_ids, np.int64)
    keep = np.ones(ids.shape, bool) if mask is None else np.asarray(mask, bool)
    with np.errstate(invalid="ignore"):
        own = np.take_along_axis(log_p, np.where(keep, ids, 0)[..., None], -1)[..., 0]
        entropies = -np.where(p == 0, 0.0, p * log_p).sum(-1)
        certainties = -(log_p + np.log(size)).mean(-1)
    return (
        np.where(keep, own, 0.0),
        np.where(keep, entropies, 0.0),
        np.where(keep, certainties, 0.0),
    )


def token_log_probs_gradient(
    logits: ArrayLike,
    token_ids: ArrayLike,
    grad_log_probs: ArrayLike,
    grad_entropies: ArrayLike,
    grad_self_certainties: ArrayLike,
    *,
    temperature: float = 1.0,
    mask: ArrayLike | None = None,
    softcap: float | None = None,
) -> Floats:
    """The gradient of Σ (g log_prob + h entropy + s self_certainty) with respect to the logits.

    ∂z_j = g ([j = token] - p_j) - h p_j (log p_j + entropy) + s (p_j - 1/V), times dy/dx / T.
    A row where g, h and s are 0 gives 0.
    """
    log_p, p, slope = _distribution(logits, temperature, softcap)
    size = log_p.shape[-1]
    ids = np.asarray(token_ids, np.int64)
    keep = np.ones(ids.shape, bool) if mask is None else np.asarray(mask, bool)
    g, h, s = (
        np.broadcast_to(np.asarray(gradient, np.float64), ids.shape)[..., None]
        for gradient in (grad_log_probs, grad_entropies, grad_self_certainties)
    )
    own = np.arange(size) == ids[..., None]  # [..., V]
    with np.errstate(invalid="ignore"):
        p_log_p = np.where(p == 0, 0.0, p * log_p)
        entropies = -p_log_p.sum(-1, keepdims=True)
        # Not p * entropy where h is 0: that entropy may be infinite or NaN, and does not matter.
        change = np.where(h == 0, 0.0, -h * (p_log_p + p * entropies))
        gradient = (g * (own - p) + change + s * (p - 1.0 / size)) * slope / temperature
        gradient = np.where((np.isneginf(log_p)) & ~np.isnan(p), 0.0, gradient)
    read = keep[..., None] & ((g != 0) | (h != 0) | (s != 0))
    return np.where(read, gradient, 0.0)
