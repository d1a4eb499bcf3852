"""Logits, what one would write for their log-probs, and both against the specification."""

import math

import pytest
from tolerance import as_float64, assert_close

torch = pytest.importorskip("torch")

from fastrl import token_log_probs  # noqa: E402
from fastrl.reference import log_probs as reference  # noqa: E402

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
ALL = {"entropy": True, "self_certainty": True}
GRADIENTS = ("log_probs", "entropies", "self_certainties")
# Two, a prime, around a vector and around the block of 2048 columns.
CPU_SHAPES = [(3, 2), (5, 31), (4, 32), (2, 33), (7, 113), (2, 2047), (3, 2049), (2, 5003)]
TRITON_SHAPES = [(3, 2), (4, 113), (2, 4099)]


def make_logits(shape, dtype=torch.float32, seed=0, scale=3.0):
    """Logits, token ids and gradients of the three outputs."""
    random = torch.Generator().manual_seed(seed)
    logits = (scale * torch.randn(shape, generator=random)).to(dtype)
    ids = torch.randint(0, shape[-1], shape[:-1], generator=random)
    return logits, ids, torch.randn(3, *shape[:-1], generator=random)


def naive_token_log_probs(logits, ids, gradients=None, *, temperature=1.0, softcap=None):
    """What one would write, in float32 because the results are float32."""
    x = logits.detach().float().requires_grad_()
    y = x if softcap is None else softcap * torch.tanh(x / softcap)
    log_p = torch.log_softmax(y / temperature, -1)
    own = log_p.gather(-1, ids.long()[..., None])[..., 0]
    entropies = -(log_p.exp() * log_p).sum(-1)
    certainties = -(log_p + math.log(x.shape[-1])).mean(-1)
    outputs = own, entropies, certainties
    if gradients is None:
        return [output.detach() for output in outputs]
    (gradient,) = torch.autograd.grad(outputs, x, list(gradients))
    return gradient.to(logits.dtype)


def check_token_log_probs(logits, ids, gradients, *, mask=None, **options):
    """Forward and backward against the specification."""
    x = logits.detach().requires_grad_()
    stats = token_log_probs(x, ids, mask=mask, **ALL, **options)
    data = as_float64(logits)
    # The specification takes no CUDA tensors.
    on_cpu = [None if t is None else t.cpu() for t in (ids, mask, gradients)]
    wanted = reference.token_log_probs(data, on_cpu[0], mask=on_cpu[1], **options)
    simple = naive_token_log_probs(logits, ids, **options)
    for name, actual, want, plain in zip(GRADIENTS, stats, wanted, simple, strict=True):
        assert actual.dtype == torch.float32
        plain = plain if mask is None else torch.where(mask.bool(), plain, 0.0)
        assert_close(actual, want, plain, what=name)
    torch.autograd.backward(stats, list(gradients))
    want = reference.token_log_probs_gradient(
        data, on_cpu[0], *on_cpu[2], mask=on_cpu[1], **options
    )
    plain = naive_token_log_probs(logits, ids, gradients, **options)
    if mask is not None:
        plain = torch.where(mask.bool()[..., None], plain, 0.0)
    assert x.grad.dtype == logits.dtype
    assert_close(x.grad, want, plain, what="gradient")
    return stats, x.grad


def check_all_numbers():
    """On the instruction set of this process: blocks and their tails, and every half."""
    for dtype in DTYPES:
        for shape in [(3, 2), (3, 33), (2, 4113)]:
            for options in [{}, {"softcap": 4.0, "temperature": 0.6}]:
                check_token_log_probs(*make_logits(shape, dtype), **options)
    x = torch.arange(65536, dtype=torch.int32).to(torch.int16).view(torch.float16)
    x = x[torch.isfinite(x)]  # subnormal ones too
    rows = torch.stack([x, torch.zeros_like(x)], -1)
    ids = torch.zeros(len(x), dtype=torch.int64)
    want = reference.token_log_probs(rows.double(), ids)[0]
    naive = naive_token_log_probs(rows, ids)[0]
    assert_close(token_log_probs(rows, ids).log_probs, want, naive)
