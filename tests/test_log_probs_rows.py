"""Token log-probs: what is read and what is written."""

import math

import pytest
from tolerance import as_float64, assert_close

torch = pytest.importorskip("torch")

import fastrl  # noqa: E402
from fastrl import token_log_probs  # noqa: E402
from fastrl.reference import log_probs as reference  # noqa: E402
from token_stats import (  # noqa: E402
    ALL,
    DTYPES,
    GRADIENTS,
    check_token_log_probs,
    make_logits,
    naive_token_log_probs,
)


@pytest.mark.parametrize("mask_dtype", [torch.bool, torch.uint8])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_masked_rows_are_not_read(cpu_backend, dtype, mask_dtype):
    logits, ids, gradients = make_logits((2, 5, 67), dtype)
    mask = torch.tensor([[1, 0, 1, 0, 1], [0, 0, 1, 1, 1]], dtype=mask_dtype)
    want = check_token_log_probs(logits, ids, gradients, mask=mask)
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
    logits, ids, gradients = make_logits((4, 67))
    gradients[:, 1] = 0.0
    x = logits.clone().requires_grad_()
    stats = token_log_probs(x, ids, **ALL)
    with torch.no_grad():
        torch._C._autograd._unsafe_set_version_counter((x,), (x._version,))
        x.data[1] = math.nan
    torch.autograd.backward(stats, list(gradients))
    assert (x.grad[1] == 0).all()
    want = reference.token_log_probs_gradient(logits, ids, *gradients)
    assert_close(x.grad, want, naive_token_log_probs(logits, ids, gradients))


@pytest.mark.parametrize("names", [("log_probs",), ("entropies",), ("self_certainties",)])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_each_output_has_its_own_gradient(cpu_backend, names):
    logits, ids, gradients = make_logits((3, 45))
    x = logits.requires_grad_()
    stats = token_log_probs(x, ids, **ALL)
    sum((getattr(stats, n) * gradients[GRADIENTS.index(n)]).sum() for n in names).backward()
    kept = torch.stack(
        [g if n in names else g * 0 for n, g in zip(GRADIENTS, gradients, strict=True)]
    )
    want = reference.token_log_probs_gradient(logits.detach(), ids, *kept)
    assert_close(x.grad, want, naive_token_log_probs(logits, ids, kept))


def test_only_what_was_asked_for_is_returned():
    logits, ids, _ = make_logits((3, 45))
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
    logits, ids, gradients = make_logits((3, 100), dtype)
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
    logits, ids, gradients = make_logits((2, 100))
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
    logits, ids, gradients = make_logits((4, 100), dtype)
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
    logits, ids, _ = make_logits((3, 50), dtype)
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
    logits, _, _ = make_logits((3, 6, 40), torch.bfloat16)
    x = view(logits)
    ids = torch.randint(0, 40, x.shape[:-1], dtype=torch.int32)
    gradients = torch.randn(3, *x.shape[:-1])
    check_token_log_probs(x, ids, gradients)


def test_sliced_logits_are_not_copied(monkeypatch):
    logits, ids, _ = make_logits((3, 6, 40))
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
    logits, ids, gradients = make_logits(shape)
    check_token_log_probs(logits, ids, gradients)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("inplace", [False, True])
def test_nothing_outside_the_rows_is_written(dtype, inplace):
    logits, ids, gradients = make_logits((3, 45), dtype)
    arena = torch.full((3, 45 + 40), 7.0, dtype=dtype)
    arena[:, 20:65] = logits
    x = arena[:, 20:65].requires_grad_()
    stats = token_log_probs(x, ids, inplace_backward=inplace, **ALL)
    torch.autograd.backward(stats, list(gradients))
    edges = torch.cat([arena[:, :20], arena[:, 65:]], 1)
    assert (edges == 7.0).all()
    want = reference.token_log_probs_gradient(as_float64(logits), ids, *gradients)
    assert_close(x.grad, want, naive_token_log_probs(logits, ids, gradients))
    if not inplace:
        assert torch.equal(arena[:, 20:65], logits)
