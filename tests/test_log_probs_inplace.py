"""Token log-probs: gradients in the memory of the logits, and what cannot be differentiated."""

import pytest

torch = pytest.importorskip("torch")

from fastrl import token_log_probs  # noqa: E402
from token_stats import ALL, DTYPES, make_logits  # noqa: E402


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("softcap", [None, 4.0])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_inplace_backward_gives_the_same_gradient_in_the_same_memory(cpu_backend, dtype, softcap):
    logits, ids, gradients = make_logits((5, 131), dtype)
    mask = torch.tensor([1, 1, 0, 1, 1]).bool()
    results = []
    for inplace in (False, True):
        x = logits.clone().requires_grad_()
        stats = token_log_probs(x, ids, mask=mask, softcap=softcap, inplace_backward=inplace, **ALL)
        torch.autograd.backward(stats, list(gradients))
        results.append(x.grad)
        assert (x.grad.data_ptr() == x.data_ptr()) == inplace
    assert torch.equal(*results)


def test_inplace_backward_through_a_model():
    weight = torch.randn(16, 50, requires_grad=True)
    hidden = torch.randn(4, 6, 16)
    ids = torch.randint(0, 50, (4, 6))
    gradients = []
    for inplace in (False, True):
        weight.grad = None
        stats = token_log_probs(hidden @ weight, ids, entropy=True, inplace_backward=inplace)
        (stats.log_probs.mean() + 0.1 * stats.entropies.mean()).backward()
        gradients.append(weight.grad)
    assert torch.equal(*gradients)


def test_inplace_backward_refuses_a_second_backward_pass():
    logits, ids, _ = make_logits((3, 20))
    loss = token_log_probs(logits.requires_grad_(), ids, inplace_backward=True).log_probs.sum()
    loss.backward(retain_graph=True)
    with pytest.raises(
        RuntimeError,
        match="token_log_probs: `inplace_backward` must be False to run the backward pass twice",
    ):
        loss.backward()


def test_inplace_backward_is_noticed_by_others_who_need_the_logits():
    logits, ids, _ = make_logits((3, 20))
    x = logits.requires_grad_() * 1.0
    first = token_log_probs(x, ids, inplace_backward=True).log_probs.sum()
    second = token_log_probs(x, ids, inplace_backward=True).log_probs.sum()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        (first + second).backward()
    y = torch.tanh(logits)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        token_log_probs(y, ids, inplace_backward=True).log_probs.sum().backward()


@pytest.mark.parametrize(
    ("logits", "strides"),
    [
        (torch.zeros(1, 7).expand(3, 7), r"\[0, 1\]"),
        (torch.zeros(20).as_strided((3, 7), (5, 1)), r"\[5, 1\]"),
    ],
)
def test_inplace_backward_refuses_overlapping_logits(logits, strides):
    ids = torch.zeros(3, dtype=torch.int64)
    message = (
        "token_log_probs: `logits` must not overlap or interleave with itself in memory with "
        f"inplace_backward=True, got strides {strides}; pass inplace_backward=False"
    )
    with pytest.raises(ValueError, match=message):
        token_log_probs(logits, ids, inplace_backward=True)


def test_inplace_backward_refuses_rows_that_two_strides_cannot_walk():
    logits = torch.zeros(2, 7, 6, 4)[:, :6:2, ::2]
    ids = torch.zeros(2, 3, 3, dtype=torch.int64)
    message = (
        "token_log_probs: `logits` must have leading dimensions that merge into two with "
        r"inplace_backward=True, got strides \[168, 48, 8, 1\]; pass inplace_backward=False"
    )
    with pytest.raises(ValueError, match=message):
        token_log_probs(logits, ids, inplace_backward=True)


def test_a_second_derivative_is_an_error():
    logits, ids, _ = make_logits((3, 20))
    x = logits.requires_grad_()
    loss = token_log_probs(x, ids).log_probs.square().sum()
    (gradient,) = torch.autograd.grad(loss, x, create_graph=True)
    with pytest.raises(
        RuntimeError,
        match="token_log_probs: `logits` must be differentiated only once, got a second derivative",
    ):
        gradient.sum().backward()


def test_inplace_backward_refuses_to_be_part_of_a_graph():
    logits, ids, _ = make_logits((3, 20))
    x = logits.clone().requires_grad_()
    loss = token_log_probs(x, ids, inplace_backward=True).log_probs.square().sum()
    with pytest.raises(
        RuntimeError,
        match="token_log_probs: `inplace_backward` must be False with create_graph=True, got True",
    ):
        torch.autograd.grad(loss, x, create_graph=True)
    assert torch.equal(x, logits)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
def test_a_forward_mode_tangent_is_an_error():
    logits, ids, _ = make_logits((3, 20))
    with pytest.raises(
        RuntimeError,
        match="token_log_probs: `logits` must be differentiated in reverse mode, got a tangent",
    ):
        torch.func.jvp(lambda x: token_log_probs(x, ids).log_probs, (logits,), (logits,))
