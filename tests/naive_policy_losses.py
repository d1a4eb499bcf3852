"""The policy loss in plain torch, and batches to compare it with."""

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from fastrl import PolicyLossSpec, policy_loss
from fastrl.reference import policy_losses as reference
from tolerance import assert_close

# Plain torch, differentiated by autograd: the golden form of each choice. A new surrogate adds a
# row: its loss, where its clips act, and its hyper-parameters that are not the default.
NAIVE_SURROGATES = {
    "reinforce": (lambda lp, r, a, s: -r.detach() * a * lp, None, {}),
    "opmd": (lambda lp, r, a, s: -r.detach() * a * lp / (1 + s.opmd_tau), None, {"opmd_tau": 0.5}),
    "ppo": (
        lambda lp, r, a, s: (
            -torch.minimum(r * a, torch.clamp(r, 1 - s.clip_low, 1 + s.clip_high) * a)
        ),
        lambda r, a, s: ((r < 1 - s.clip_low) & (a < 0), (r > 1 + s.clip_high) & (a > 0)),
        {"clip_low": 0.15, "clip_high": 0.28},
    ),
    "cispo": (
        lambda lp, r, a, s: -torch.clamp(r, max=1 + s.clip_high).detach() * a * lp,
        lambda r, a, s: (torch.zeros_like(r), r > 1 + s.clip_high),
        {"clip_high": 0.1},
    ),
}
NAIVE_KL = {
    "none": lambda d: torch.zeros_like(d),
    "k1": lambda d: d,
    "k2": lambda d: d * d / 2,
    "k3": lambda d: torch.exp(-d) + d - 1,
}
NAIVE_AGGREGATIONS = {
    "token_mean": lambda x, m, s: (x * m).sum() / m.sum().clamp(min=1),
    "seq_mean_token_mean": lambda x, m, s: ((x * m).sum(1) / m.sum(1).clamp(min=1)).mean(),
    "seq_mean_token_sum": lambda x, m, s: (x * m).sum(1).mean(),
    "seq_mean_token_sum_norm": lambda x, m, s: (x * m).sum() / (len(x) * s.max_length),
    "token_sum": lambda x, m, s: (x * m).sum(),
}
TOKEN_INPUTS = ("old_log_probs", "behavior_log_probs", "ref_log_probs", "entropies")


def naive_policy_loss(batch, spec, dtype):
    """The loss, its gradients and the metrics of a padded batch, in plain torch operations."""
    x = {k: v.to(dtype) if v.is_floating_point() else v for k, v in batch.items()}
    mask = x["mask"].to(dtype)
    log_probs = x["log_probs"].clone().requires_grad_()
    entropies = x["entropies"].clone().requires_grad_()
    old = x["old_log_probs"] if spec.ratio == "token" else log_probs.detach()
    advantages = x["advantages"]
    if advantages.ndim == 1:
        advantages = advantages[:, None].expand_as(log_probs)
    surrogate, clips, _ = NAIVE_SURROGATES[spec.surrogate]
    losses = surrogate(log_probs, torch.exp(log_probs - old), advantages, spec)
    losses = losses + spec.kl_coef * NAIVE_KL[spec.kl](log_probs - x["ref_log_probs"])
    losses = losses - spec.entropy_coef * entropies
    loss = NAIVE_AGGREGATIONS[spec.aggregation](losses, mask, spec)
    gradients = torch.autograd.grad(loss, (log_probs, entropies), allow_unused=True)
    gradients = [torch.zeros_like(log_probs) if g is None else g for g in gradients]
    return loss.detach(), *gradients, naive_metrics(x, mask, advantages, surrogate, clips, spec)


def naive_metrics(x, mask, advantages, surrogate, clips, spec):
    log_probs = x["log_probs"]
    log_ratios = log_probs - x["old_log_probs"]
    behavior = log_probs - x["behavior_log_probs"]
    used = torch.exp(log_ratios) if spec.ratio == "token" else torch.ones_like(log_probs)
    losses = surrogate(log_probs, used, advantages, spec)
    nowhere = torch.zeros_like(log_probs)
    low, high = clips(used, advantages, spec) if clips else (nowhere, nowhere)
    token_means = {
        "advantage_mean": advantages,
        "ratio_mean": torch.exp(log_ratios),
        "clip_fraction_low": low,
        "clip_fraction_high": high,
        "kl_to_old": torch.exp(log_ratios) - 1 - log_ratios,
        "kl_to_behavior": torch.exp(behavior) - 1 - behavior,
        "kl_to_ref": NAIVE_KL[spec.kl](log_probs - x["ref_log_probs"]),
        "entropy": x["entropies"],
    }
    metrics = {k: (v * mask).sum() / mask.sum().clamp(min=1) for k, v in token_means.items()}
    metrics["policy_loss"] = NAIVE_AGGREGATIONS[spec.aggregation](losses, mask, spec)
    metrics["tokens"] = mask.sum()
    return metrics


def make_batch(lengths, width=None, *, per_token=False, seed=0):
    """A padded batch whose row i has lengths[i] tokens that may count, some of which do not.

    Most advantages are positive and most ratios above 1, so that no sum is a small difference of
    large numbers.
    """
    generator = torch.Generator().manual_seed(seed)
    shape = (len(lengths), max(lengths, default=0) if width is None else width)

    def normal(mean, deviation, *size):
        return mean + deviation * torch.randn(*(size or shape), generator=generator)

    log_probs = -2.5 * torch.rand(*shape, generator=generator) - 0.01
    inside = torch.arange(shape[1]) < torch.tensor(lengths, dtype=torch.int64)[:, None]
    advantages = normal(0.7, 1.0, *shape) if per_token else normal(0.7, 1.0, shape[0])
    return {
        "log_probs": log_probs,
        "advantages": advantages,
        "mask": inside & (torch.rand(*shape, generator=generator) < 0.7),
        "old_log_probs": log_probs + normal(-0.05, 0.3),
        "behavior_log_probs": log_probs + normal(-0.05, 0.3),
        "ref_log_probs": log_probs + normal(-0.1, 0.3),
        "entropies": 2 * torch.rand(*shape, generator=generator),
    }


def packed(batch, lengths):
    """The same batch without its padding."""
    inside = torch.arange(batch["mask"].shape[1]) < torch.tensor(lengths)[:, None]
    result = {k: v[inside] if v.ndim == 2 else v for k, v in batch.items()}
    ends = torch.tensor([0, *lengths]).cumsum(0)
    return result | {"cu_seqlens": ends.to(torch.int32)}


def needed(batch, spec):
    return {k: v for k, v in batch.items() if k != "ref_log_probs" or spec.kl != "none"}


def fused(batch, spec, **options):
    """The result and the gradients of fastrl's loss."""
    inputs = needed(batch, spec)
    log_probs = inputs.pop("log_probs").clone().requires_grad_()
    entropies = inputs.pop("entropies").clone().requires_grad_()
    result = policy_loss(log_probs, entropies=entropies, spec=spec, **inputs, **options)
    gradients = torch.autograd.grad(result.loss, (log_probs, entropies))
    return result, *gradients


def expected(batch, spec, **options):
    inputs = {k: v.numpy() for k, v in needed(batch, spec).items()}
    return reference.policy_loss(**inputs, spec=spec, **options)


def make_spec(ratio="token", surrogate="ppo", kl="k3", aggregation="token_mean"):
    return PolicyLossSpec(
        ratio=ratio,
        surrogate=surrogate,
        kl=kl,
        kl_coef=0.0 if kl == "none" else 0.3,
        entropy_coef=0.05,
        aggregation=aggregation,
        max_length=11,
        **NAIVE_SURROGATES[surrogate][2],
    )


def assert_statistics_close(result, want, naive, what):
    """Loss and metrics as one array: a single sum of plain torch may be exact by chance."""
    assert result.metrics.keys() == want.metrics.keys()
    assert all(m.ndim == 0 and not m.requires_grad for m in result.metrics.values())
    assert result.metrics["tokens"] == want.metrics["tokens"]
    names = [name for name in want.metrics if name != "tokens"]
    assert_close(
        torch.stack([result.loss.detach(), *(result.metrics[name] for name in names)]).cpu(),
        np.array([want.loss, *(want.metrics[name] for name in names)]),
        torch.stack([naive[0], *(naive[3][name] for name in names)]),
        what=what,
    )


LENGTHS = [9, 0, 3, 7, 1]
