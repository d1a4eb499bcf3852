import math
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from tolerance import as_float64, assert_close

torch = pytest.importorskip("torch")

import fastrl  # noqa: E402
from fastrl import token_log_probs  # noqa: E402
from fastrl.reference import log_probs as reference  # noqa: E402
from torch._dynamo.testing import CompileCounterWithBackend  # noqa: E402
from torch._subclasses import FakeTensorMode  # noqa: E402

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
ALL = {"entropy": True, "self_certainty": True}
GRADIENTS = ("log_probs", "entropies", "self_certainties")

# Two, a prime, around a vector and around the block of 2048 columns.
CPU_SHAPES = [(3, 2), (5, 31), (4, 32), (2, 33), (7, 113), (2, 2047), (3, 2049), (2, 5003)]
TRITON_SHAPES = [(3, 2), (4, 113), (2, 4099)]


def make(shape, dtype=torch.float32, seed=0, scale=3.0):
    """Logits, token ids and gradients of the three outputs."""
    random = torch.Generator().manual_seed(seed)
    logits = (scale * torch.randn(shape, generator=random)).to(dtype)
    ids = torch.randint(0, shape[-1], shape[:-1], generator=random)
    return logits, ids, torch.randn(3, *shape[:-1], generator=random)


def naive(logits, ids, gradients=None, *, temperature=1.0, softcap=None):
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


def check(logits, ids, gradients, *, mask=None, **options):
    """Forward and backward against the specification."""
    x = logits.detach().requires_grad_()
    stats = token_log_probs(x, ids, mask=mask, **ALL, **options)
    data = as_float64(logits)
    # The specification takes no CUDA tensors.
    on_cpu = [None if t is None else t.cpu() for t in (ids, mask, gradients)]
    wanted = reference.token_log_probs(data, on_cpu[0], mask=on_cpu[1], **options)
    simple = naive(logits, ids, **options)
    for name, actual, want, plain in zip(GRADIENTS, stats, wanted, simple, strict=True):
        assert actual.dtype == torch.float32
        plain = plain if mask is None else torch.where(mask.bool(), plain, 0.0)
        assert_close(actual, want, plain, what=name)
    torch.autograd.backward(stats, list(gradients))
    want = reference.token_log_probs_gradient(
        data, on_cpu[0], *on_cpu[2], mask=on_cpu[1], **options
    )
    plain = naive(logits, ids, gradients, **options)
    if mask is not None:
        plain = torch.where(mask.bool()[..., None], plain, 0.0)
    assert x.grad.dtype == logits.dtype
    assert_close(x.grad, want, plain, what="gradient")
    return stats, x.grad


# --- the specification itself


@pytest.mark.parametrize("options", [{}, {"temperature": 0.7, "softcap": 2.0}])
def test_reference_gradient_is_the_derivative(options):
    logits, ids, gradients = make((4, 7))
    x = logits.double().numpy()

    def loss(x):
        outputs = reference.token_log_probs(x, ids, **options)
        return sum((g.numpy() * o).sum() for g, o in zip(gradients.double(), outputs, strict=True))

    expected = np.zeros_like(x)
    step = 1e-6
    for index in np.ndindex(*x.shape):
        shift = np.zeros_like(x)
        shift[index] = step
        expected[index] = (loss(x + shift) - loss(x - shift)) / (2 * step)
    actual = reference.token_log_probs_gradient(x, ids, *gradients.double(), **options)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-8)


def test_reference_agrees_with_torch_in_float64():
    logits, ids, gradients = make((4, 50))
    x = logits.double().requires_grad_()
    log_p = torch.log_softmax(x / 0.7, -1)
    distribution = torch.distributions.Categorical(logits=x / 0.7)
    outputs = (
        distribution.log_prob(ids),
        distribution.entropy(),
        -(log_p + math.log(50)).mean(-1),
    )
    for actual, want in zip(
        reference.token_log_probs(logits, ids, temperature=0.7), outputs, strict=True
    ):
        np.testing.assert_allclose(actual, want.detach(), rtol=1e-13)
    torch.autograd.backward(outputs, list(gradients.double()))
    actual = reference.token_log_probs_gradient(logits, ids, *gradients, temperature=0.7)
    np.testing.assert_allclose(actual, x.grad, rtol=0, atol=1e-14)


# --- against the specification


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", CPU_SHAPES)
def test_token_log_probs_matches_reference(shape, dtype):
    check(*make(shape, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", TRITON_SHAPES)
@pytest.mark.usefixtures("triton_backend")
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_token_log_probs_matches_reference_on_triton(shape, dtype):
    check(*make(shape, dtype))


@pytest.mark.parametrize("temperature", [0.1, 1.7])
@pytest.mark.parametrize("softcap", [None, 1.5, 30.0])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_token_log_probs_options(cpu_backend, dtype, softcap, temperature):
    check(*make((3, 83), dtype), temperature=temperature, softcap=softcap)


@pytest.mark.parametrize("value", [1e-30, 1e30])
@pytest.mark.parametrize("name", ["temperature", "softcap"])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_token_log_probs_at_the_ends_of_its_options(cpu_backend, name, value):
    logits, ids, gradients = make((3, 113))
    options = {name: value}
    x = logits.clone().requires_grad_()
    stats = token_log_probs(x, ids, **ALL, **options)
    wanted = reference.token_log_probs(logits, ids, **options)
    for actual, want, plain in zip(stats, wanted, naive(logits, ids, **options), strict=True):
        # Self-certainty is 0 here but for rounding, or of the size of 1 / temperature.
        error = np.abs(as_float64(actual) - as_float64(want)).max()
        assert error <= 1e-6 * (1 + np.abs(as_float64(want)).max())
        assert torch.isfinite(plain).all()
    torch.autograd.backward(stats, list(gradients))
    want = reference.token_log_probs_gradient(logits, ids, *gradients, **options)
    assert_close(x.grad, want, naive(logits, ids, gradients, **options), what="gradient")


@pytest.mark.parametrize("scale", [1e-3, 50.0, 1e4])
@pytest.mark.parametrize("offset", [-3000.0, 0.0, 3000.0])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_token_log_probs_of_hard_logits(cpu_backend, scale, offset):
    logits, ids, gradients = make((4, 300), scale=scale)
    # The largest logit late, and a token far below it: the sums have to move their origin.
    logits[0, 250] = logits.max() + 40.0
    check(logits + offset, ids, gradients)


def test_token_log_probs_of_maxima_in_later_blocks():
    logits, ids, _ = make((4, 9000))
    logits[0, 4500] = 60.0
    logits[1, 8999] = 90.0
    logits[2, :4096] = -math.inf
    ids[2] = 1
    logits[3] -= 1000.0
    ids[3] = 0
    logits[3, 0] = -math.inf
    stats = token_log_probs(logits, ids, entropy=True)
    wanted = reference.token_log_probs(logits, ids)
    for actual, want, plain in zip(stats[:2], wanted, naive(logits, ids), strict=False):
        assert_close(actual, want, torch.nan_to_num(plain, 0.0, 0.0, 0.0), what="row")


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st_numpy.arrays(
        np.float32,
        st.tuples(st.integers(1, 4), st.integers(1, 70)),
        elements=st.floats(-80, 80, width=32),
    ),
    st.data(),
)
def test_token_log_probs_identities(x, data):
    logits = torch.from_numpy(x)
    V = x.shape[-1]
    ids = torch.tensor(data.draw(st.lists(st.integers(0, V - 1), min_size=len(x), max_size=len(x))))
    stats = token_log_probs(logits, ids, **ALL)
    assert (stats.log_probs <= 1e-6).all()
    assert (stats.entropies >= -1e-5).all()
    assert (stats.entropies <= math.log(V) + 1e-5).all()
    assert (stats.self_certainties >= -1e-4).all()
    # Adding a constant to a row changes nothing.
    shifted = token_log_probs(logits + 16.0, ids, **ALL)
    exact = torch.equal((logits + 16.0) - 16.0, logits)
    if exact:
        for a, b in zip(stats, shifted, strict=True):
            assert_close(a, as_float64(b), torch.zeros_like(a) + as_float64(b).min(), what="shift")


@pytest.mark.parametrize("V", [1, 2, 37, 4096])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_uniform_distribution_has_entropy_log_v_and_no_self_certainty(cpu_backend, V):
    stats = token_log_probs(torch.full((2, V), 7.5), torch.zeros(2, dtype=torch.int64), **ALL)
    assert_close(stats.entropies, np.full(2, math.log(V)), what="entropy")
    assert_close(stats.log_probs, np.full(2, -math.log(V)), what="log-prob")
    assert stats.self_certainties.abs().max() <= 1e-6


@pytest.mark.parametrize("options", [{}, {"temperature": 0.7, "softcap": 2.0}])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_vocabulary_of_one_token_leaves_nothing_to_learn(cpu_backend, dtype, options):
    logits, ids, gradients = make((20, 1), dtype)
    x = logits.requires_grad_()
    stats = token_log_probs(x, ids, **ALL, **options)
    assert all((output == 0).all() for output in stats)
    torch.autograd.backward(stats, list(gradients))
    assert (x.grad == 0).all()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_vocabulary_of_one_token_without_a_distribution_is_nan(cpu_backend):
    x = torch.tensor([[1.0], [math.nan], [-math.inf]], requires_grad=True)
    log_probs = token_log_probs(x, torch.zeros(3, dtype=torch.int64)).log_probs
    log_probs.backward(torch.tensor([2.0, 1.0, 1.0]))
    assert torch.isnan(log_probs).tolist() == [False, True, True]
    assert torch.isnan(x.grad[:, 0]).tolist() == [False, True, True]


def test_probabilities_sum_to_one_and_gradients_to_zero():
    logits, _, _ = make((1, 400))
    row = logits.expand(400, 400).contiguous().requires_grad_()
    stats = token_log_probs(row, torch.arange(400), entropy=True)
    assert abs(stats.log_probs.detach().double().exp().sum().item() - 1.0) < 1e-6
    (stats.log_probs + stats.entropies).sum().backward()
    ones = torch.ones(2, 400)
    plain = naive(row, torch.arange(400), [*ones, 0 * ones[0]])
    zeros = torch.zeros(400)
    assert_close(row.grad.double().sum(-1), zeros, plain.double().sum(-1), dtype="float32")


# --- what is read and what is written


@pytest.mark.parametrize("mask_dtype", [torch.bool, torch.uint8])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_masked_rows_are_not_read(cpu_backend, dtype, mask_dtype):
    logits, ids, gradients = make((2, 5, 67), dtype)
    mask = torch.tensor([[1, 0, 1, 0, 1], [0, 0, 1, 1, 1]], dtype=mask_dtype)
    want = check(logits, ids, gradients, mask=mask)
    logits[mask == 0] = math.nan
    ids[mask == 0] = -100
    stats = token_log_probs(logits.requires_grad_(), ids, mask=mask, **ALL)
    torch.autograd.backward(stats, list(gradients))
    for actual, wanted in zip(stats, want[0], strict=True):
        assert torch.equal(actual, wanted)
        assert (actual[mask == 0] == 0).all()
    assert torch.equal(logits.grad, want[1])
    assert (logits.grad[mask == 0] == 0).all()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_rows_without_gradient_are_not_read_in_the_backward_pass(cpu_backend):
    logits, ids, gradients = make((4, 67))
    gradients[:, 1] = 0.0
    x = logits.clone().requires_grad_()
    stats = token_log_probs(x, ids, **ALL)
    with torch.no_grad():
        torch._C._autograd._unsafe_set_version_counter((x,), (x._version,))
        x.data[1] = math.nan
    torch.autograd.backward(stats, list(gradients))
    assert (x.grad[1] == 0).all()
    want = reference.token_log_probs_gradient(logits, ids, *gradients)
    assert_close(x.grad, want, naive(logits, ids, gradients))


@pytest.mark.parametrize("names", [("log_probs",), ("entropies",), ("self_certainties",)])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_each_output_has_its_own_gradient(cpu_backend, names):
    logits, ids, gradients = make((3, 45))
    x = logits.requires_grad_()
    stats = token_log_probs(x, ids, **ALL)
    sum((getattr(stats, n) * gradients[GRADIENTS.index(n)]).sum() for n in names).backward()
    kept = torch.stack(
        [g if n in names else g * 0 for n, g in zip(GRADIENTS, gradients, strict=True)]
    )
    want = reference.token_log_probs_gradient(logits.detach(), ids, *kept)
    assert_close(x.grad, want, naive(logits, ids, kept))


def test_only_what_was_asked_for_is_returned():
    logits, ids, _ = make((3, 45))
    full = token_log_probs(logits, ids, **ALL)
    plain = token_log_probs(logits, ids)
    assert plain.entropies is None
    assert plain.self_certainties is None
    assert torch.equal(plain.log_probs, full.log_probs)
    assert torch.equal(token_log_probs(logits, ids, entropy=True).entropies, full.entropies)
    assert not plain.log_probs.requires_grad
    with torch.no_grad():
        assert not token_log_probs(logits.requires_grad_(), ids).log_probs.requires_grad


@pytest.mark.parametrize("softcap", [None, 5.0])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_minus_infinity_is_probability_zero(cpu_backend, dtype, softcap):
    logits, ids, gradients = make((3, 100), dtype)
    logits[:, ::3] = -math.inf
    ids[:] = 1
    gradients[2] = 0.0  # self-certainty is infinite here
    options = {"softcap": softcap}
    x = logits.clone().requires_grad_()
    stats = token_log_probs(x, ids, **ALL, **options)
    wanted = reference.token_log_probs(as_float64(logits), ids, **options)
    for actual, want in zip(stats, wanted, strict=True):
        # Rounding of a sum of up to 100 terms; plain torch gives NaN here.
        assert_close(actual, want, as_float64(actual) * 0 + want * (1 + 2e-7))
    torch.autograd.backward(stats[:2], list(gradients[:2]))
    want = reference.token_log_probs_gradient(as_float64(logits), ids, *gradients, **options)
    assert_close(x.grad, want)
    assert (x.grad[:, ::3] == 0).all()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_the_uniform_part_of_the_gradient_spares_minus_infinity(cpu_backend):
    logits, ids, gradients = make((2, 100))
    logits[:, ::3] = -math.inf
    ids[:] = 1
    x = logits.requires_grad_()
    stats = token_log_probs(x, ids, self_certainty=True)
    torch.autograd.backward([stats.self_certainties], [gradients[2]])
    zero = torch.zeros_like(gradients[2])
    want = reference.token_log_probs_gradient(logits.detach(), ids, zero, zero, gradients[2])
    assert_close(x.grad, want)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_rows_without_a_distribution_are_nan_and_stay_alone(cpu_backend, dtype, value):
    logits, ids, gradients = make((4, 100), dtype)
    logits[1, 99] = value
    logits[2] = -math.inf
    x = logits.requires_grad_()
    stats = token_log_probs(x, ids, **ALL)
    torch.autograd.backward(stats, list(gradients))
    for output in stats:
        assert torch.isnan(output[[1, 2]]).all()
        assert torch.isfinite(output[[0, 3]]).all()
    assert torch.isnan(x.grad[[1, 2]]).all()
    assert torch.isfinite(x.grad[[0, 3]]).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_nan_gradient_stays_nan(cpu_backend, dtype):
    logits, ids, _ = make((3, 50), dtype)
    x = logits.requires_grad_()
    upstream = torch.tensor([0x7FFFFFFF, 0x3F800000, 0], dtype=torch.int32).view(torch.float32)
    token_log_probs(x, ids).log_probs.backward(upstream)
    assert torch.isnan(x.grad[0]).all()
    assert torch.isfinite(x.grad[1:]).all()


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x[:, :-1],
        lambda x: x[1:, ::2],
        lambda x: x.transpose(0, 1),
        lambda x: x[0],
        lambda x: x[:1].expand(3, -1, -1),
        lambda x: x.reshape(1, *x.shape),
        lambda x: x[:, None, 1:].expand(-1, 2, -1, -1).transpose(0, 2),
    ],
    ids=["slice", "step", "transposed", "one", "expanded", "more", "three strides"],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_token_log_probs_takes_any_leading_strides(cpu_backend, view):
    logits, _, _ = make((3, 6, 40), torch.bfloat16)
    x = view(logits)
    ids = torch.randint(0, 40, x.shape[:-1], dtype=torch.int32)
    gradients = torch.randn(3, *x.shape[:-1])
    check(x, ids, gradients)


def test_sliced_logits_are_not_copied(monkeypatch):
    logits, ids, _ = make((3, 6, 40))
    calls = []
    native = fastrl._core.token_log_probs
    monkeypatch.setattr(
        fastrl._core, "token_log_probs", lambda *args: (calls.append(args), native(*args))[1]
    )
    token_log_probs(logits[:, 1:], ids[:, 1:])
    assert calls[0][0] == logits[:, 1:].data_ptr()
    assert calls[0][4] == (5, 240, 40)


@pytest.mark.parametrize("shape", [(0, 5), (3, 0, 5), (5,)])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_token_log_probs_without_rows_or_leading_dimensions(cpu_backend, shape):
    logits, ids, gradients = make(shape)
    check(logits, ids, gradients)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("inplace", [False, True])
def test_nothing_outside_the_rows_is_written(dtype, inplace):
    logits, ids, gradients = make((3, 45), dtype)
    arena = torch.full((3, 45 + 40), 7.0, dtype=dtype)
    arena[:, 20:65] = logits
    x = arena[:, 20:65].requires_grad_()
    stats = token_log_probs(x, ids, inplace_backward=inplace, **ALL)
    torch.autograd.backward(stats, list(gradients))
    edges = torch.cat([arena[:, :20], arena[:, 65:]], 1)
    assert (edges == 7.0).all()
    want = reference.token_log_probs_gradient(as_float64(logits), ids, *gradients)
    assert_close(x.grad, want, naive(logits, ids, gradients))
    if not inplace:
        assert torch.equal(arena[:, 20:65], logits)


# --- inplace_backward


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("softcap", [None, 4.0])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_inplace_backward_gives_the_same_gradient_in_the_same_memory(cpu_backend, dtype, softcap):
    logits, ids, gradients = make((5, 131), dtype)
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
    logits, ids, _ = make((3, 20))
    loss = token_log_probs(logits.requires_grad_(), ids, inplace_backward=True).log_probs.sum()
    loss.backward(retain_graph=True)
    with pytest.raises(
        RuntimeError,
        match="token_log_probs: `inplace_backward` must be False to run the backward pass twice",
    ):
        loss.backward()


def test_inplace_backward_is_noticed_by_others_who_need_the_logits():
    logits, ids, _ = make((3, 20))
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
    logits, ids, _ = make((3, 20))
    x = logits.requires_grad_()
    loss = token_log_probs(x, ids).log_probs.square().sum()
    (gradient,) = torch.autograd.grad(loss, x, create_graph=True)
    with pytest.raises(
        RuntimeError,
        match="token_log_probs: `logits` must be differentiated only once, got a second derivative",
    ):
        gradient.sum().backward()


def test_inplace_backward_refuses_to_be_part_of_a_graph():
    logits, ids, _ = make((3, 20))
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
    logits, ids, _ = make((3, 20))
    with pytest.raises(
        RuntimeError,
        match="token_log_probs: `logits` must be differentiated in reverse mode, got a tangent",
    ):
        torch.func.jvp(lambda x: token_log_probs(x, ids).log_probs, (logits,), (logits,))


# --- the same bits


@pytest.mark.parametrize("dtype", DTYPES)
def test_results_do_not_depend_on_the_number_of_threads(dtype):
    logits, ids, gradients = make((64, 20011), dtype)
    results = []
    threads = fastrl.num_threads()
    try:
        for n in (1, 2, 3, 8):
            fastrl.set_num_threads(n)
            x = logits.clone().requires_grad_()
            stats = token_log_probs(x, ids, **ALL)
            torch.autograd.backward(stats, list(gradients))
            results.append([*stats, x.grad])
    finally:
        fastrl.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("instruction_set", ["portable", "x86-64-v3", "x86-64-v4"])
def test_every_instruction_set_matches_reference(instruction_set):
    code = """
import torch
import test_log_probs as t
for dtype in t.DTYPES:
    for shape in [(3, 2), (3, 33), (2, 4113)]:
        for options in [{}, {"softcap": 4.0, "temperature": 0.6}]:
            t.check(*t.make(shape, dtype), **options)
x = torch.arange(-40.0, 90.0, 0.001).half()  # every kind of half, subnormal ones too
x = torch.cat([torch.arange(65536, dtype=torch.int32).to(torch.int16).view(torch.float16), x])
x = x[torch.isfinite(x)]
rows = torch.stack([x, torch.zeros_like(x)], -1)
stats = t.token_log_probs(rows, torch.zeros(len(x), dtype=torch.int64))
want = t.reference.token_log_probs(rows.double(), torch.zeros(len(x), dtype=torch.int64))[0]
t.assert_close(stats.log_probs, want, t.naive(rows, torch.zeros(len(x), dtype=torch.int64))[0])
"""
    environment = os.environ | {
        "FASTRL_INSTRUCTION_SET": instruction_set,
        "PYTHONPATH": str(Path(__file__).parent),
    }
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    if "at most what this processor has" in result.stderr:
        pytest.skip(f"this processor lacks {instruction_set}")
    assert result.returncode == 0, result.stderr


# --- torch.compile


@pytest.mark.parametrize("inplace", [False, True])
def test_token_log_probs_compiles_as_one_graph(inplace):
    logits, ids, _ = make((6, 50))
    mask = torch.arange(6) % 2 == 0

    def loss(x, ids, mask):
        stats = token_log_probs(
            x * 2.0, ids, mask=mask, temperature=0.8, inplace_backward=inplace, **ALL
        )
        return stats.log_probs.sum() + stats.entropies.mean() - stats.self_certainties.sum()

    gradients = []
    for function in (loss, torch.compile(loss, fullgraph=True, backend="aot_eager")):
        x = logits.clone().requires_grad_()
        function(x, ids, mask).backward()
        gradients.append(x.grad)
    assert_close(gradients[1], as_float64(gradients[0]))


@pytest.mark.parametrize(("dynamic", "lengths_to_learn"), [(None, 2), (True, 1)])
def test_a_new_length_does_not_compile_again(dynamic, lengths_to_learn):
    def loss(x, ids, mask):
        stats = token_log_probs(x, ids, mask=mask, entropy=True)
        return stats.log_probs.sum() + stats.entropies.sum()

    torch.compiler.reset()
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(loss, fullgraph=True, backend=counter, dynamic=dynamic)
    counts = []
    for length in (5, 9, 17, 33):
        logits, ids, _ = make((2, length, 11))
        mask = ids % 3 != 0
        gradients = []
        for function in (loss, compiled):
            x = logits.clone().requires_grad_()
            function(x, ids, mask).backward()
            gradients.append(x.grad)
        assert torch.equal(*gradients)
        counts.append(counter.frame_count)
    assert len(set(counts[lengths_to_learn - 1 :])) == 1, counts


def test_token_log_probs_of_fake_tensors_has_shapes_only():
    with FakeTensorMode():
        stats = token_log_probs(torch.zeros(2, 3, 5), torch.zeros(2, 3, dtype=torch.int64))
    assert stats.log_probs.shape == (2, 3)


@pytest.mark.parametrize("inplace", [False, True])
def test_forward_operator_passes_opcheck(inplace):
    logits, ids, _ = make((4, 30))
    mask = torch.tensor([1, 0, 1, 1]).bool()
    x = logits.requires_grad_() * 1.0
    for arguments in [
        (x.detach().requires_grad_(not inplace), ids, mask, 0.9, None, True, True, inplace),
        (x.detach(), ids, None, 1.0, 5.0, False, False, inplace),
    ]:
        torch.library.opcheck(torch.ops.fastrl.token_log_probs.default, arguments)


def test_backward_operators_pass_opcheck():
    logits, ids, gradients = make((4, 30))
    _, entropies, _, origins, sums = torch.ops.fastrl.token_log_probs(
        logits, ids, None, 1.0, None, True, False, False
    )
    arguments = (gradients[0], gradients[1], None, logits, ids, None, entropies, origins, sums)
    torch.library.opcheck(
        torch.ops.fastrl.token_log_probs_backward.default, (*arguments, 1.0, None)
    )
    torch.library.opcheck(
        torch.ops.fastrl.token_log_probs_backward_.default, (*arguments, 1.0, None)
    )


# --- on a GPU


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [*CPU_SHAPES, (3, 151936)])
@pytest.mark.parametrize("options", [{}, {"temperature": 0.7, "softcap": 20.0}])
def test_token_log_probs_matches_reference_on_cuda(shape, dtype, options):
    check(*(tensor.cuda() for tensor in make(shape, dtype)), **options)


@pytest.mark.gpu
def test_token_log_probs_on_cuda_takes_strides_masks_and_other_streams():
    logits, ids, gradients = (tensor.cuda() for tensor in make((4, 9, 1000), torch.bfloat16))
    mask = torch.rand(4, 8, device="cuda") < 0.5
    with torch.cuda.stream(torch.cuda.Stream()):
        check(logits[:, :-1], ids[:, 1:], gradients[..., 1:], mask=mask)


@pytest.mark.gpu
def test_token_log_probs_on_cuda_never_waits_for_the_device():
    logits, ids, _ = (tensor.cuda() for tensor in make((8, 5000)))
    x = logits.requires_grad_()
    token_log_probs(x, ids, **ALL).log_probs.sum().backward()  # compiles
    torch.cuda.set_sync_debug_mode("error")
    try:
        stats = token_log_probs(x, ids, inplace_backward=True, **ALL)
        (stats.log_probs.sum() + stats.entropies.sum()).backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
@pytest.mark.slow
def test_token_log_probs_on_cuda_past_two_to_the_31_elements():
    logits = torch.zeros(17000, 131072, device="cuda", dtype=torch.bfloat16).requires_grad_()
    with torch.no_grad():
        logits[-1, -1] = 5.0
    ids = torch.full((17000,), 131071, device="cuda")
    log_probs = token_log_probs(logits, ids, inplace_backward=True).log_probs
    want = 5.0 - math.log(math.exp(5.0) + 131071)
    assert abs(log_probs[-1].item() - want) < 1e-4
    log_probs[-1].backward()
    assert abs(logits.grad[-1, -1].item() - (1.0 - math.exp(want))) < 1e-2
    assert (logits.grad[:-1] == 0).all()


# --- errors

X, IDS = torch.zeros(2, 3, 5), torch.zeros(2, 3, dtype=torch.int64)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: token_log_probs(X.numpy(), IDS), TypeError, "`logits` must be a torch tensor"),
        (
            lambda: token_log_probs(X.double(), IDS),
            TypeError,
            "`logits` must have dtype float32 or bfloat16 or float16, got float64",
        ),
        (
            lambda: token_log_probs(torch.tensor(1.0), IDS),
            ValueError,
            r"`logits` must have shape \[..., V\], got \[\]",
        ),
        (
            lambda: token_log_probs(X[..., :0], IDS),
            ValueError,
            "`logits` must have at least 1 column, got 0",
        ),
        (
            lambda: token_log_probs(torch.zeros(2, 5, 3).mT, IDS),
            ValueError,
            r"`logits` must have stride 1 in the last dimension, got 3; call `.contiguous\(\)`",
        ),
        (
            lambda: token_log_probs(X, IDS.float()),
            TypeError,
            "`token_ids` must have dtype int64 or int32, got float32",
        ),
        (
            lambda: token_log_probs(X, IDS[:, :2]),
            ValueError,
            r"`token_ids` must have shape \[2, 3\], got \[2, 2\]",
        ),
        (
            lambda: token_log_probs(X, IDS.numpy()),
            TypeError,
            "`token_ids` must be a torch tensor, got ndarray",
        ),
        (
            lambda: token_log_probs(X, IDS.to("meta")),
            ValueError,
            "`token_ids` must be on cpu, where `logits` is, got meta",
        ),
        (
            lambda: token_log_probs(X, IDS, mask=IDS),
            TypeError,
            "`mask` must have dtype bool or uint8, got int64",
        ),
        (
            lambda: token_log_probs(X, IDS, mask=torch.ones(3, 2).bool()),
            ValueError,
            r"`mask` must have shape \[2, 3\], got \[3, 2\]",
        ),
        *(
            (
                lambda value=value: token_log_probs(X, IDS, temperature=value),
                ValueError,
                rf"`temperature` must be in \[1e-30, 1e\+30\], got {re.escape(str(value))}",
            )
            for value in (0.0, -1.0, math.nan, math.inf, 1e39, 1e-45, 1e-46)
        ),
        (
            lambda: token_log_probs(X, IDS, temperature="hot"),
            TypeError,
            "`temperature` must be a number, got str",
        ),
        *(
            (
                lambda name=name: token_log_probs(X, IDS, **{name: 1}),
                TypeError,
                f"`{name}` must be True or False, got 1",
            )
            for name in ("entropy", "self_certainty", "inplace_backward")
        ),
        *(
            (
                lambda value=value: token_log_probs(X, IDS, softcap=value),
                ValueError,
                rf"`softcap` must be in \[1e-30, 1e\+30\], got {re.escape(str(value))}",
            )
            for value in (0.0, math.nan, 1e39, 1e-45)
        ),
        (
            lambda: token_log_probs(X, IDS + torch.tensor([[0, 0, 0], [0, 5, 0]])),
            IndexError,
            r"`token_ids` must be in \[0, V = 5\), got 5 at \[1, 1\]",
        ),
        (
            lambda: token_log_probs(X, IDS - torch.tensor([[0, 0, 1], [0, 0, 0]])),
            IndexError,
            r"`token_ids` must be in \[0, V = 5\), got -1 at \[0, 2\]",
        ),
    ],
)
def test_token_log_probs_errors(call, kind, message):
    with pytest.raises(kind, match="token_log_probs: " + message):
        call()


@pytest.mark.usefixtures("triton_backend")
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("softcap", [None, 4.0])
def test_a_token_outside_the_vocabulary_gives_nan_on_triton(softcap):
    logits, ids, gradients = make((5, 20))
    ids[0], ids[1], ids[3] = 20, -100, -100
    logits[1, 7] = -math.inf
    x = logits.requires_grad_()
    mask = torch.tensor([1, 1, 1, 0, 1]).bool()
    stats = token_log_probs(x, ids, mask=mask, softcap=softcap, **ALL)
    assert torch.isnan(stats.log_probs).tolist() == [True, True, False, False, False]
    gradients[:, 4] = 0
    torch.autograd.backward(stats, list(gradients))
    assert torch.isnan(x.grad[:2]).all()
    assert torch.isfinite(x.grad[2:]).all()
