"""Log-probs of the tokens that were taken, with entropy and self-certainty, from the logits.

Three custom operators stand behind one function: the forward pass, the backward pass into a fresh
tensor and the backward pass over the logits' own memory. CPU tensors run C++, CUDA tensors Triton.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad

from fastrl import _core, _dispatch

_FUNCTION = "token_log_probs"

# Of temperature and softcap: they and their inverses stay normal numbers in the kernels' float32.
_LEAST, _MOST = 1e-30, 1e30


class TokenStats(NamedTuple):
    """What `token_log_probs` gives for each token; None for what was not asked for.

    Attributes:
        log_probs: [...] float32, log p(token).
        entropies: [...] float32, in nats.
        self_certainties: [...] float32, KL divergence from the uniform distribution to p, in nats.
    """

    log_probs: Tensor
    entropies: Tensor | None
    self_certainties: Tensor | None


def token_log_probs(
    logits: Tensor,
    token_ids: Tensor,
    *,
    temperature: float = 1.0,
    mask: Tensor | None = None,
    softcap: float | None = None,
    entropy: bool = False,
    self_certainty: bool = False,
    inplace_backward: bool = False,
) -> TokenStats:
    """Log-probs of tokens, and on request the entropy and self-certainty of their distributions.

        y = softcap tanh(x / softcap), or y = x;    p = softmax(y / temperature)
        log_prob       = log p_token
        entropy        = -Σ_j p_j log p_j
        self_certainty = KL(uniform ‖ p) = -(1/V) Σ_j log(V p_j)

    One read of the logits gives all three; one more read and one write give the gradients of all
    three. The logits are never copied and no second [..., V] tensor is made but the gradient.

    A logit of -inf has probability 0: it adds nothing to the entropy and its gradient is 0 (a
    softcap makes it finite first). A row that holds NaN or +inf, or nothing but -inf, has no
    distribution: its results and its gradient are NaN. Self-certainty is +inf where a probability
    is 0. Results do not depend on the number of threads.

    Args:
        logits: [..., V] float32, bfloat16 or float16, stride 1 in the last dimension and any
            strides before it, so `logits[:, :-1]` costs no copy. (Leading dimensions that cannot
            be walked with two strides are copied.)
        token_ids: [...] int64 or int32, in [0, V). On the CPU another id is an IndexError. On CUDA,
            where checking would stall the host, its log-prob is NaN and nothing is read out of
            bounds; TRITON_DEBUG=1 makes it stop the kernel.
        temperature: Divides the logits, after the softcap; in [1e-30, 1e30].
        mask: [...] bool or uint8. Rows where it is 0 are not read: they may hold NaN and any token
            id, give 0 and get gradient 0. Prompt and tool tokens then cost nothing.
        softcap: The bound that the model puts on its logits, in [1e-30, 1e30], or None.
        entropy: Also give entropies.
        self_certainty: Also give self-certainties.
        inplace_backward: Write the gradient over the logits instead of into a fresh tensor, which
            saves its memory and the time to get it. After the backward pass the logits hold their
            gradient, so nothing else may need them: autograd raises an error for an operation that
            saved them, and for a second backward pass. A leaf is no exception: its `.grad` is its
            own memory, its values are gone, and an optimizer must not step it. Slice with `mask`
            rather than with `logits[:, :-1]`, whose own backward pass copies. Code that is being
            compiled with `torch.compile` gets a fresh tensor, whose memory the compiler plans.

    Returns:
        `TokenStats` of [...] float32 tensors. Gradients flow from all of them; rows whose gradients
        are all 0 are not read in the backward pass. They are first-order and of reverse mode only:
        a second derivative and a forward-mode tangent are errors.

    Self-certainty: Kang et al., "Scalable Best-of-N Selection for Large Language Models via
    Self-Certainty", 2025. Specification: `fastrl.reference.log_probs.token_log_probs`.
    """
    arguments = _dispatch.Arguments(_FUNCTION)
    arguments.array("logits", logits, ["...", "V"], _dispatch.FLOATS, framework="torch")
    if logits.shape[-1] == 0:
        raise arguments.error("logits", "have at least 1 column", 0)
    if logits.stride(-1) != 1 and logits.shape[-1] != 1:
        raise arguments.error(
            "logits",
            "have stride 1 in the last dimension",
            logits.stride(-1),
            hint="call `.contiguous()` on it",
        )
    rows = list(logits.shape[:-1])
    arguments.array("token_ids", token_ids, rows, _dispatch.INTEGERS, framework="torch")
    if mask is not None:
        arguments.array("mask", mask, rows, _dispatch.MASKS, framework="torch")
    temperature = arguments.number("temperature", temperature, low=_LEAST, high=_MOST)
    if softcap is not None:
        softcap = arguments.number("softcap", softcap, low=_LEAST, high=_MOST)
    entropy = arguments.flag("entropy", entropy)
    self_certainty = arguments.flag("self_certainty", self_certainty)
    inplace_backward = arguments.flag("inplace_backward", inplace_backward)
    if not torch.compiler.is_compiling():
        if forward_ad.unpack_dual(logits).tangent is not None:  # type: ignore[no-untyped-call]
            raise arguments.error(
                "logits", "be differentiated in reverse mode", "a tangent", kind=RuntimeError
            )
        if inplace_backward:
            _check_writable(arguments, logits)

    log_probs, entropies, self_certainties, _, _ = _forward(
        logits,
        token_ids,
        mask,
        temperature,
        softcap,
        entropy,
        self_certainty,
        inplace_backward and not torch.compiler.is_compiling(),
    )
    return TokenStats(
        log_probs, entropies if entropy else None, self_certainties if self_certainty else None
    )


def _layout(tensor: Tensor) -> tuple[int, int, int] | None:
    """(rows_inner, stride_outer, stride_inner), or None where two strides cannot walk the rows."""
    merged: list[tuple[int, int]] = []  # (size, stride), outermost first
    for size, stride in zip(tensor.shape[:-1], tensor.stride()[:-1], strict=True):
        if size == 1:
            continue
        if merged and merged[-1][1] == size * stride:
            merged[-1] = (merged[-1][0] * size, stride)
        else:
            merged.append((size, stride))
    if len(merged) > 2:
        return None
    outer, inner = [(1, 0), (1, 0), *merged][-2:]
    return inner[0], outer[1], inner[1]


def _check_writable(arguments: _dispatch.Arguments, logits: Tensor) -> None:
    """Every element must have an address of its own, and two strides must walk the rows."""

    def error(expected: str) -> Exception:
        return arguments.error(
            "logits",
            f"{expected} with inplace_backward=True",
            f"strides {list(logits.stride())}",
            hint="pass inplace_backward=False",
        )

    extent = 1
    dimensions = sorted(zip(logits.stride(), logits.shape, strict=True))
    for stride, size in dimensions:
        if size > 1 and stride < extent:
            raise error("not overlap or interleave with itself in memory")
        extent += (size - 1) * stride
    if _layout(logits) is None:
        raise error("have leading dimensions that merge into two")


def _flat(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.reshape(-1).contiguous()


def _walkable(logits: Tensor) -> tuple[Tensor, tuple[int, int, int]]:
    """The logits, copied only where they must be, and their layout."""
    layout = _layout(logits)
    if layout is None:
        logits = logits.contiguous()
        layout = (logits.numel() // logits.shape[-1], 0, logits.shape[-1])
    return logits, layout


@torch.library.custom_op("fastrl::token_log_probs", mutates_args=())
def _forward(
    logits: Tensor,
    token_ids: Tensor,
    mask: Tensor | None,
    temperature: float,
    softcap: float | None,
    entropy: bool,
    self_certainty: bool,
    inplace_backward: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Log-probs, entropies, self-certainties; then what the backward pass needs of each row."""
    outputs = _empty_outputs(logits, entropy, self_certainty)
    if token_ids.numel() == 0:
        return outputs
    rows, layout = _walkable(logits)
    ids, keep = _flat(token_ids), _flat(mask)
    assert ids is not None
    if _dispatch.backend(logits) == "triton":
        from fastrl.kernels.log_probs import launch_token_log_probs_fwd

        with _dispatch.on_device_of(logits):
            launch_token_log_probs_fwd(
                rows,
                ids,
                keep,
                *outputs,
                layout=layout,
                inverse_temperature=1.0 / temperature,
                softcap=softcap,
                entropy=entropy,
                self_certainty=self_certainty,
            )
        return outputs
    ids = ids.to(torch.int64)
    size = rows.shape[-1]
    _check_token_ids(ids, keep, size, token_ids.shape)
    log_probs, entropies, self_certainties, origins, sums = outputs
    _core.token_log_probs(
        _dispatch.address(rows),
        _dispatch.dtype_name(rows),
        ids.numel(),
        size,
        layout,
        temperature,
        softcap or 0.0,
        _dispatch.address(ids),
        _dispatch.address(keep),
        _dispatch.address(log_probs),
        _dispatch.address(entropies) if entropy else 0,
        _dispatch.address(self_certainties) if self_certainty else 0,
        _dispatch.address(origins),
        _dispatch.address(sums),
    )
    return outputs


def _empty_outputs(
    logits: Tensor, entropy: bool, self_certainty: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    def empty(wanted: bool) -> Tensor:
        return logits.new_empty(logits.shape[:-1] if wanted else (0,), dtype=torch.float32)

    return empty(True), empty(entropy), empty(self_certainty), empty(True), empty(True)


def _check_token_ids(ids: Tensor, keep: Tensor | None, size: int, shape: torch.Size) -> None:
    row = _core.first_token_outside(
        _dispatch.address(ids), _dispatch.address(keep), ids.numel(), size
    )
    if row < 0:
        return
    position, rest = [], row
    for length in reversed(shape):
        position.append(rest % length)
        rest //= length
    place = ", ".join(map(str, reversed(position)))
    raise _dispatch.argument_error(
        _FUNCTION,
        "token_ids",
        f"be in [0, V = {size})",
        f"{int(ids[row])} at [{place}]",
        kind=IndexError,
    )


@_forward.register_fake
def _(
    logits: Tensor,
    token_ids: Tensor,
    mask: Tensor | None,
    temperature: float,
    softcap: float | None,
    entropy: bool,
    self_certainty: bool,
    inplace_backward: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    return _empty_outputs(logits, entropy, self_certainty)


def _write_gradient(
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
    grad_logits: Tensor,
) -> None:
    """Fills `grad_logits`, which may be `logits`."""
    if token_ids.numel() == 0:
        return
    rows, layout = _walkable(logits)
    grad_layout = _layout(grad_logits)
    assert grad_layout is not None
    ids, keep = _flat(token_ids), _flat(mask)
    assert ids is not None
    gradients = [_flat(g) for g in (grad_log_probs, grad_entropies, grad_self_certainties)]
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


@torch.library.custom_op("fastrl::token_log_probs_backward", mutates_args=())
def _backward_fresh(
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
) -> Tensor:
    """The gradient of the logits, contiguous, in their dtype."""
    grad_logits = torch.empty(logits.shape, dtype=logits.dtype, device=logits.device)
    if _dispatch.backend(logits) == "cpp":
        _core.prefer_huge_pages(grad_logits.data_ptr(), grad_logits.nbytes)
    _write_gradient(
        grad_log_probs,
        grad_entropies,
        grad_self_certainties,
        logits,
        token_ids,
        mask,
        entropies,
        origins,
        sums,
        temperature,
        softcap,
        grad_logits,
    )
    return grad_logits


@_backward_fresh.register_fake
def _(
    grad_log_probs: Tensor | None,
    grad_entropies: Tensor | None,
    grad_self_certainties: Tensor | None,
    logits: Tensor,
    *rest: Any,
) -> Tensor:
    return torch.empty(logits.shape, dtype=logits.dtype, device=logits.device)


def _refuse_second_derivative(ctx: Any, *gradients: Tensor | None) -> None:
    raise _dispatch.argument_error(
        _FUNCTION,
        "logits",
        "be differentiated only once",
        "a second derivative",
        kind=RuntimeError,
    )


_backward_fresh.register_autograd(_refuse_second_derivative)


@torch.library.custom_op("fastrl::token_log_probs_backward_", mutates_args=("logits",))
def _backward_inplace(
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
    """Writes the gradient over the logits."""
    _write_gradient(
        grad_log_probs,
        grad_entropies,
        grad_self_certainties,
        logits,
        token_ids,
        mask,
        entropies,
        origins,
        sums,
        temperature,
        softcap,
        logits,
    )


@_backward_inplace.register_fake
def _(*arguments: Any) -> None:
    return None


def _save_for_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    logits, token_ids, mask, temperature, softcap, _, _, inplace_backward = inputs
    _, entropies, _, origins, sums = output
    ctx.mark_non_differentiable(origins, sums)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(logits, token_ids, mask, entropies, origins, sums)
    ctx.options = (temperature, softcap)
    ctx.inplace_backward = inplace_backward
    ctx.spent = False


def _backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
    if ctx.spent:
        raise RuntimeError(
            f"{_FUNCTION}: `inplace_backward` must be False to run the backward pass twice, got "
            "True; the first pass wrote the gradient over the logits"
        )
    logits, *saved = ctx.saved_tensors
    nothing = (None,) * 7
    if ctx.inplace_backward:
        if torch.is_grad_enabled():
            raise RuntimeError(
                f"{_FUNCTION}: `inplace_backward` must be False with create_graph=True, got True"
            )
        ctx.spent = True
        _backward_inplace(*gradients[:3], logits, *saved, *ctx.options)
        return logits.detach(), *nothing
    return _backward_fresh(*gradients[:3], logits, *saved, *ctx.options), *nothing


_forward.register_autograd(_backward, setup_context=_save_for_backward)
