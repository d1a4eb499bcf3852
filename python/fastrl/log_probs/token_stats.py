"""The function itself: what it promises, and what it asks of its arguments."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad

from fastrl import _dispatch
from fastrl.log_probs.forward import forward
from fastrl.log_probs.rows import check_writable

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
    arguments = _dispatch.Arguments("token_log_probs")
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
            check_writable(arguments, logits)

    log_probs, entropies, self_certainties, _, _ = forward(
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
