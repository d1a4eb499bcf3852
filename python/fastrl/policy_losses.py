"""Policy-gradient losses over tokens: one fused pass with closed-form gradients."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad

from fastrl import _core
from fastrl._dispatch import MASKS, Arguments, address, backend, on_device_of
from fastrl.policy_loss_specs import (
    AGGREGATIONS,
    LARGEST_NUMBER,
    PRESETS,
    PolicyLossSpec,
    spec_of,
)


class PolicyLoss(NamedTuple):
    """A loss and what was measured on the way.

    Attributes:
        loss: 0-dim float32, differentiable in log_probs and entropies.
        metrics: 0-dim float32 tensors on the same device, without a gradient. `tokens` is N, the
            number of unmasked tokens; `policy_loss` is the surrogate's part of the loss,
            aggregated like it; the others are means over unmasked tokens of this call, 0 if there
            are none (for a mean over several calls weigh with `tokens`):
            `advantage_mean`;
            with old_log_probs `ratio_mean` (π / π_old, whether or not the loss uses it),
            `clip_fraction_low` and `clip_fraction_high` (tokens where the surrogate's lower and
            upper clip acted) and `kl_to_old` (r − 1 − log r, an estimate of
            KL(π_old || π) that is never negative);
            with behavior_log_probs `kl_to_behavior`, the same against the sampler;
            with a KL estimator `kl_to_ref`, before its coefficient;
            with entropies `entropy`.
    """

    loss: Tensor
    metrics: dict[str, Tensor]


def policy_loss(
    log_probs: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    old_log_probs: Tensor | None = None,
    behavior_log_probs: Tensor | None = None,
    ref_log_probs: Tensor | None = None,
    entropies: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    spec: str | PolicyLossSpec = "grpo",
    normalizer: float | Tensor | None = None,
) -> PolicyLoss:
    """A policy-gradient loss over padded [B, L] or packed [N] tokens, to be minimized.

    The formulas are `PolicyLossSpec`'s. Forward and gradient are one pass over the tokens; sums are
    float64 on the CPU and bitwise repeatable on every device. Masked tokens are not read: they may
    hold NaN, and their gradient is exactly 0. An unmasked NaN makes the loss NaN; so does an
    infinite log-prob where the ratio is 1. Nothing waits for the device. Gradients are first-order
    and in reverse mode, in `log_probs` and `entropies` (create_graph=True and forward-mode tangents
    are RuntimeErrors); everything else is a constant.

    Args:
        log_probs: [B, L] or [N] float32, log π of the tokens under the current policy.
        advantages: Float32, per token like `log_probs`, or [B] per sequence. (In a packed batch
            with as many sequences as tokens, one value per token is assumed.)
        mask: Bool or uint8, like `log_probs`: true where a token counts.
        old_log_probs: Like `log_probs`, under the policy before this update. None stands for
            `log_probs` itself: the ratio is 1 and has a gradient. With ratio "none" they only feed
            the metrics.
        behavior_log_probs: Like `log_probs`, under the policy that sampled; metrics only.
        ref_log_probs: Like `log_probs`, under the KL reference. Every KL estimator needs them;
            without one they are an error.
        entropies: Like `log_probs`, of the current policy. Needed where entropy_coef is not 0.
        cu_seqlens: [B + 1] int32 for packed tokens: sequence i has tokens cu_seqlens[i] up to
            cu_seqlens[i + 1]. On CUDA the values are not checked.
        spec: A `PolicyLossSpec` or the name of one in `PRESETS`.
        normalizer: The tokens (token_mean) or sequences (seq_mean_…) of the whole batch, where
            this call sees a part of it: a number or a 0-dim tensor on the same device. The losses
            of the parts then add up to the loss of the whole. For token_sum a divisor, else 1.
            From 1e-18 to 1e18; as a tensor 0 too, where the mask is empty. A CUDA tensor's value
            is not checked: one that is not positive and finite makes the loss and its gradients
            NaN unless the mask is empty.

    Returns:
        The loss and its metrics.

    References: Schulman et al., "Proximal policy optimization algorithms", 2017; Shao et al.,
    "DeepSeekMath", 2024 (GRPO); Yu et al., "DAPO", 2025; Liu et al., "Understanding R1-Zero-like
    training", 2025 (Dr. GRPO); Shi et al., "R³L", 2026. Specification:
    `fastrl.reference.policy_losses.policy_loss`.
    """
    check = Arguments("policy_loss")
    spec = _resolve_spec(check, spec)
    shape = ("B", "L") if cu_seqlens is None else ("N",)
    check.array("log_probs", log_probs, shape, ("float32",), framework="torch")
    if cu_seqlens is not None:
        check.array("cu_seqlens", cu_seqlens, ("B + 1",), ("int32",))
        if cu_seqlens.shape[0] == 0:
            raise check.error("cu_seqlens", "have shape [B + 1]", "[0]")
    _check_advantages(check, log_probs, advantages, cu_seqlens)
    check.array("mask", mask, shape, MASKS)
    for name, values in (
        ("old_log_probs", old_log_probs),
        ("behavior_log_probs", behavior_log_probs),
        ("ref_log_probs", ref_log_probs),
        ("entropies", entropies),
    ):
        if values is not None:
            check.array(name, values, shape, ("float32",))
    _check_needs(check, spec, ref_log_probs, entropies)
    divisor, normalizer_tensor = _check_normalizer(check, normalizer)
    _check_reverse_mode(log_probs, entropies)

    gradients = torch.is_grad_enabled() and (
        log_probs.requires_grad or (entropies is not None and entropies.requires_grad)
    )
    loss, statistics, _, _, _ = _policy_loss(
        log_probs,
        advantages,
        mask,
        old_log_probs,
        behavior_log_probs,
        ref_log_probs,
        entropies,
        cu_seqlens,
        normalizer_tensor,
        divisor,
        spec.text,
        gradients,
    )
    names = {
        "policy_loss": True,
        "tokens": True,
        "advantage_mean": True,
        "ratio_mean": old_log_probs is not None,
        "clip_fraction_low": old_log_probs is not None,
        "clip_fraction_high": old_log_probs is not None,
        "kl_to_old": old_log_probs is not None,
        "kl_to_behavior": behavior_log_probs is not None,
        "kl_to_ref": spec.kl != "none",
        "entropy": entropies is not None,
    }
    values = statistics[1:].unbind()  # the first is the loss
    return PolicyLoss(
        loss,
        {name: value for (name, given), value in zip(names.items(), values, strict=True) if given},
    )


def _resolve_spec(check: Arguments, spec: object) -> PolicyLossSpec:
    if isinstance(spec, PolicyLossSpec):
        return spec
    if not isinstance(spec, str):
        raise check.error(
            "spec", "be a PolicyLossSpec or a preset's name", type(spec).__name__, kind=TypeError
        )
    return PRESETS[check.choice("spec", spec, tuple(PRESETS))]


def _check_advantages(
    check: Arguments, log_probs: Tensor, advantages: Tensor, cu_seqlens: Tensor | None
) -> None:
    check.array("advantages", advantages, ("...",), ("float32",))
    num_sequences = _num_sequences(log_probs, cu_seqlens)
    if advantages.shape != log_probs.shape and tuple(advantages.shape) != (num_sequences,):
        letters = "[B, L]" if cu_seqlens is None else "[N]"
        raise check.error(
            "advantages",
            f"have shape [B] = [{num_sequences}] or {letters} = {list(log_probs.shape)}",
            list(advantages.shape),
        )


def _num_sequences(log_probs: Tensor, cu_seqlens: Tensor | None) -> int:
    return log_probs.shape[0] if cu_seqlens is None else cu_seqlens.shape[0] - 1


def _check_needs(
    check: Arguments,
    spec: PolicyLossSpec,
    ref_log_probs: Tensor | None,
    entropies: Tensor | None,
) -> None:
    if spec.kl != "none" and ref_log_probs is None:
        raise check.error("ref_log_probs", f"be given for kl='{spec.kl}'", None)
    if spec.kl == "none" and ref_log_probs is not None:
        raise check.error(
            "ref_log_probs",
            "be None where the spec's kl is 'none'",
            "a tensor",
            hint="kl='k3' with kl_coef=0 reports the KL without adding it",
        )
    if spec.entropy_coef != 0.0 and entropies is None:
        raise check.error("entropies", "be given where entropy_coef is not 0", None)
    if spec.aggregation == "seq_mean_token_sum_norm" and spec.max_length is None:
        raise check.error(
            "spec",
            "set max_length for aggregation='seq_mean_token_sum_norm'",
            None,
            hint="use dataclasses.replace(spec, max_length=...)",
        )


def _check_normalizer(
    check: Arguments, normalizer: float | Tensor | None
) -> tuple[float | None, Tensor | None]:
    if isinstance(normalizer, Tensor):
        check.array("normalizer", normalizer, (), ("float32", "int64", "int32"))
        return None, normalizer.detach().float()
    if normalizer is None:
        return None, None
    return _check_divisor(check, normalizer), None


def _check_divisor(check: Arguments, normalizer: float) -> float:
    return check.number("normalizer", normalizer, low=1.0 / LARGEST_NUMBER, high=LARGEST_NUMBER)


def _check_reverse_mode(*inputs: Tensor | None) -> None:
    """A custom operator has no forward-mode rule: torch would take its tangent for zero."""
    if torch.compiler.is_compiling():
        return
    unpack: Any = forward_ad.unpack_dual
    for tensor in inputs:
        if tensor is not None and unpack(tensor).tangent is not None:
            raise RuntimeError(
                "policy_loss: forward-mode derivatives are not implemented; use reverse mode"
            )


@torch.library.custom_op("fastrl::policy_loss", mutates_args=())
def _policy_loss(
    log_probs: Tensor,
    advantages: Tensor,
    mask: Tensor,
    old_log_probs: Tensor | None,
    behavior_log_probs: Tensor | None,
    ref_log_probs: Tensor | None,
    entropies: Tensor | None,
    cu_seqlens: Tensor | None,
    normalizer_tensor: Tensor | None,
    normalizer: float | None,
    spec_text: str,
    gradients: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The loss, the statistics, 1 / denominator, and the gradients that it still multiplies."""
    spec = spec_of(spec_text)
    outputs = _allocate(log_probs, entropies, spec, gradients)
    loss, statistics, scale, grad_log_probs, grad_entropies = outputs
    num_sequences = _num_sequences(log_probs, cu_seqlens)
    mean_over_sequence, counted = AGGREGATIONS[spec.aggregation]
    given = normalizer is not None or normalizer_tensor is not None
    denominator = 1.0 if normalizer is None else normalizer
    if counted.startswith("sequences") and not given:
        denominator *= num_sequences
    if counted.endswith("max_length"):
        denominator *= spec.max_length or 1
    tensors = {
        "log_probs": log_probs,
        "advantages": advantages,
        "mask": mask.view(torch.uint8),
        "old_log_probs": old_log_probs,
        "behavior_log_probs": behavior_log_probs,
        "ref_log_probs": ref_log_probs,
        "entropies": entropies,
        "cu_seqlens": cu_seqlens,
    }
    inputs = {
        name: None if tensor is None else tensor.detach().contiguous()
        for name, tensor in tensors.items()
    }
    options: dict[str, Any] = {
        "advantages_per_token": advantages.shape == log_probs.shape,
        "ratio": spec.ratio,
        "surrogate": spec.surrogate,
        "kl": spec.kl,
        "clip_low": spec.clip_low,
        "clip_high": spec.clip_high,
        "opmd_tau": spec.opmd_tau,
        "kl_coef": spec.kl_coef,
        "entropy_coef": spec.entropy_coef,
        "mean_over_sequence": mean_over_sequence,
        "count_tokens": counted == "tokens" and not given,
    }
    if backend(log_probs) == "triton":
        from fastrl.kernels import policy_losses as kernels

        blocks = -(-log_probs.numel() // kernels.BLOCK)
        with on_device_of(log_probs):
            kernels.policy_loss(
                **inputs,
                **options,
                normalizer=normalizer_tensor,
                loss=loss,
                statistics=statistics,
                scale=scale,
                log_prob_gradients=grad_log_probs if gradients else None,
                entropy_gradients=grad_entropies if grad_entropies.numel() else None,
                partials=loss.new_empty(statistics.numel(), blocks),
                inverse_counts=loss.new_empty(num_sequences),
                num_sequences=num_sequences,
                denominator=denominator,
            )
        return outputs
    if normalizer_tensor is not None:
        value = float(normalizer_tensor)
        if value != 0.0 or mask.any():  # the whole of a distributed batch may be empty
            _check_divisor(Arguments("policy_loss"), value)
        denominator *= value
    addresses: dict[str, Any] = {name: address(tensor) for name, tensor in inputs.items()}
    _core.policy_loss(
        **addresses,
        **options,
        num_tokens=log_probs.numel(),
        num_sequences=num_sequences,
        denominator=denominator,
        loss=address(loss),
        statistics=address(statistics),
        scale=address(scale),
        log_prob_gradients=address(grad_log_probs),
        entropy_gradients=address(grad_entropies),
    )
    return outputs


def _allocate(
    log_probs: Tensor, entropies: Tensor | None, spec: PolicyLossSpec, gradients: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    def empty(*shape: int) -> Tensor:
        return torch.empty(shape, dtype=torch.float32, device=log_probs.device)

    entropy_gradients = gradients and entropies is not None and spec.entropy_coef != 0.0
    return (
        empty(),
        empty(_core.num_policy_loss_statistics),
        empty(),
        empty(*log_probs.shape) if gradients else empty(0),
        empty(*log_probs.shape) if entropy_gradients else empty(0),
    )


@_policy_loss.register_fake
def _(log_probs: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    *_, entropies, _, _, _, spec_text, gradients = rest
    return _allocate(log_probs, entropies, spec_of(spec_text), gradients)


def _setup_context(ctx: Any, inputs: Any, output: Any) -> None:
    _, *others = output
    ctx.mark_non_differentiable(*others)
    ctx.save_for_backward(*others[1:])
    ctx.entropies_matter = spec_of(inputs[10]).entropy_coef != 0.0


def _backward(ctx: Any, grad_loss: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
    if torch.is_grad_enabled():  # create_graph=True: the curvature would be missing unnoticed
        raise RuntimeError(
            "policy_loss: second derivatives are not implemented; differentiate without "
            "create_graph=True"
        )
    scale, grad_log_probs, grad_entropies = ctx.saved_tensors
    factor = grad_loss * scale
    gradients: list[Tensor | None] = [None] * 12
    if ctx.needs_input_grad[0]:
        gradients[0] = grad_log_probs * factor
    if ctx.needs_input_grad[6]:
        gradients[6] = grad_entropies * factor if ctx.entropies_matter else None
    return tuple(gradients)


_policy_loss.register_autograd(_backward, setup_context=_setup_context)
