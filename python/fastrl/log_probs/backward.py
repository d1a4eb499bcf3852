"""The backward operators: into a fresh tensor, and over the logits' own memory."""

from typing import Any

import torch
from torch import Tensor

from fastrl import _core, _dispatch
from fastrl.log_probs.rows import flat, layout_of, walkable


def _write_gradient(
    grad_logits: Tensor,
    grad_log_probs: Tensor | None,
    grad_entropies: Tensor | None,
    grad_self_certainties: Tensor | None,
    logits: Tensor,
    token_ids: Tensor,
    mask: Tensor | None,
    entropies: Tensor,
    origins: Tensor,
    sums: Tensor,
    temperature: float,
    softcap: float | None,
) -> None:
    """Fills `grad_logits`, which may be `logits`."""
    if token_ids.numel() == 0:
        return
    rows, layout = walkable(logits)
    grad_layout = layout_of(grad_logits)
    assert grad_layout is not None
    ids, keep = flat(token_ids), flat(mask)
    assert ids is not None
    gradients = [flat(g) for g in (grad_log_probs, grad_entropies, grad_self_certainties)]
    if _dispatch.backend(logits) == "triton":
        from fastrl.kernels.log_probs import launch_token_log_probs_bwd

        with _dispatch.on_device_of(logits):
            launch_token_log_probs_bwd(
                *gradients,
                rows,
                ids,
                keep,
                entropies,
                origins,
                sums,
                grad_logits,
                layout=layout,
                grad_layout=grad_layout,
                inverse_temperature=1.0 / temperature,
                softcap=softcap,
            )
        return
    ids = ids.to(torch.int64)
    _core.token_log_probs_backward(
        _dispatch.address(rows),
        _dispatch.dtype_name(rows),
        ids.numel(),
        rows.shape[-1],
        layout,
        temperature,
        softcap or 0.0,
        _dispatch.address(ids),
        _dispatch.address(keep),
        _dispatch.address(gradients[0]),
        _dispatch.address(gradients[1]),
        _dispatch.address(gradients[2]),
        _dispatch.address(entropies),
        _dispatch.address(origins),
        _dispatch.address(sums),
        _dispatch.address(grad_logits),
        grad_layout,
    )


# The arguments of both operators; the second one overwrites its logits.
_SCHEMA = (
    "(Tensor? grad_log_probs, Tensor? grad_entropies, Tensor? grad_self_certainties, "
    "Tensor{written} logits, Tensor token_ids, Tensor? mask, Tensor entropies, Tensor origins, "
    "Tensor sums, float temperature, float? softcap) -> {result}"
)


def _empty_gradient(logits: Tensor) -> Tensor:
    return torch.empty(logits.shape, dtype=logits.dtype, device=logits.device)


@torch.library.custom_op(
    "fastrl::token_log_probs_backward",
    mutates_args=(),
    schema=_SCHEMA.format(written="", result="Tensor"),
)
def _backward_fresh(*arguments: Any) -> Tensor:
    """The gradient of the logits, contiguous, in their dtype."""
    _, _, _, logits, *_ = arguments
    grad_logits = _empty_gradient(logits)
    if _dispatch.backend(logits) == "cpp":
        _core.prefer_huge_pages(grad_logits.data_ptr(), grad_logits.nbytes)
    _write_gradient(grad_logits, *arguments)
    return grad_logits


@_backward_fresh.register_fake
def _(*arguments: Any) -> Tensor:
    _, _, _, logits, *_ = arguments
    return _empty_gradient(logits)


def _refuse_second_derivative(ctx: Any, *gradients: Tensor | None) -> None:
    raise _dispatch.argument_error(
        "token_log_probs",
        "logits",
        "be differentiated only once",
        "a second derivative",
        kind=RuntimeError,
    )


_backward_fresh.register_autograd(_refuse_second_derivative)


@torch.library.custom_op(
    "fastrl::token_log_probs_backward_",
    mutates_args=("logits",),
    schema=_SCHEMA.format(written="(a!)", result="()"),
)
def _backward_inplace(*arguments: Any) -> None:
    """Writes the gradient over the logits."""
    _, _, _, logits, *_ = arguments
    _write_gradient(logits, *arguments)


@_backward_inplace.register_fake
def _(*arguments: Any) -> None:
    return None


def save_for_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    """Keeps what `backward` needs of a call of the forward operator."""
    logits, token_ids, mask, temperature, softcap, _, _, inplace_backward = inputs
    _, entropies, _, origins, sums = output
    ctx.mark_non_differentiable(origins, sums)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(logits, token_ids, mask, entropies, origins, sums)
    ctx.options = (temperature, softcap)
    ctx.inplace_backward = inplace_backward
    ctx.spent = False


def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
    """The gradient of the logits, and None for each other argument of the forward operator."""
    if ctx.spent:
        raise RuntimeError(
            "token_log_probs: `inplace_backward` must be False to run the backward pass twice, got "
            "True; the first pass wrote the gradient over the logits"
        )
    logits, *saved = ctx.saved_tensors
    nothing = (None,) * 7
    if ctx.inplace_backward:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "token_log_probs: `inplace_backward` must be False with create_graph=True, got True"
            )
        ctx.spent = True
        _backward_inplace(*gradients[:3], logits, *saved, *ctx.options)
        return logits.detach(), *nothing
    return _backward_fresh(*gradients[:3], logits, *saved, *ctx.options), *nothing
