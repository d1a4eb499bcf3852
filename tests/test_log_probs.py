"""Token log-probs against their specification."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from tolerance import as_float64, assert_close

torch = pytest.importorskip("torch")

from fastrl import token_log_probs  # noqa: E402
from fastrl.reference import log_probs as reference  # noqa: E402
from token_stats import (  # noqa: E402
    ALL,
    CPU_SHAPES,
    DTYPES,
    TRITON_SHAPES,
    check_token_log_probs,
    make_logits,
    naive_token_log_probs,
)

# --- the specification itself


@pytest.mark.parametrize("options", [{}, {"temperature": 0.7, "softcap": 2.0}])
def test_reference_gradient_is_the_derivative(options):
    logits, ids, gradients = make_logits((4, 7))
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
    logits, ids, gradients = make_logits((4, 50))
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
    check_token_log_probs(*make_logits(shape, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", TRITON_SHAPES)
@pytest.mark.usefixtures("triton_backend")
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_token_log_probs_matches_reference_on_triton(shape, dtype):
    check_token_log_probs(*make_logits(shape, dtype))


@pytest.mark.parametrize("temperature", [0.1, 1.7])
@pytest.mark.parametrize("softcap", [None, 1.5, 30.0])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_token_log_probs_options(cpu_backend, dtype, softcap, temperature):
    check_token_log_probs(*make_logits((3, 83), dtype), temperature=temperature, softcap=softcap)


@pytest.mark.parametrize("value", [1e-30, 1e30])
@pytest.mark.parametrize("name", ["temperature", "softcap"])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_token_log_probs_at_the_ends_of_its_options(cpu_backend, name, value):
    logits, ids, gradients = make_logits((3, 113))
    options = {name: value}
    x = logits.clone().requires_grad_()
    stats = token_log_probs(x, ids, **ALL, **options)
    wanted = reference.token_log_probs(logits, ids, **options)
    for actual, want, plain in zip(
        stats, wanted, naive_token_log_probs(logits, ids, **options), strict=True
    ):
        # Self-certainty is 0 here but for rounding, or of the size of 1 / temperature.
        error = np.abs(as_float64(actual) - as_float64(want)).max()
        assert error <= 1e-6 * (1 + np.abs(as_float64(want)).max())
        assert torch.isfinite(plain).all()
    torch.autograd.backward(stats, list(gradients))
    want = reference.token_log_probs_gradient(logits, ids, *gradients, **options)
    assert_close(
        x.grad, want, naive_token_log_probs(logits, ids, gradients, **options), what="gradient"
    )


@pytest.mark.parametrize("scale", [1e-3, 50.0, 1e4])
@pytest.mark.parametrize("offset", [-3000.0, 0.0, 3000.0])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_token_log_probs_of_hard_logits(cpu_backend, scale, offset):
    logits, ids, gradients = make_logits((4, 300), scale=scale)
    # The largest logit late, and a token far below it: the sums have to move their origin.
    logits[0, 250] = logits.max() + 40.0
    check_token_log_probs(logits + offset, ids, gradients)


def test_token_log_probs_of_maxima_in_later_blocks():
    logits, ids, _ = make_logits((4, 9000))
    logits[0, 4500] = 60.0
    logits[1, 8999] = 90.0
    logits[2, :4096] = -math.inf
    ids[2] = 1
    logits[3] -= 1000.0
    ids[3] = 0
    logits[3, 0] = -math.inf
    stats = token_log_probs(logits, ids, entropy=True)
    wanted = reference.token_log_probs(logits, ids)
    for actual, want, plain in zip(
        stats[:2], wanted, naive_token_log_probs(logits, ids), strict=False
    ):
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
    logits, ids, gradients = make_logits((20, 1), dtype)
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
    logits, _, _ = make_logits((1, 400))
    row = logits.expand(400, 400).contiguous().requires_grad_()
    stats = token_log_probs(row, torch.arange(400), entropy=True)
    assert abs(stats.log_probs.detach().double().exp().sum().item() - 1.0) < 1e-6
    (stats.log_probs + stats.entropies).sum().backward()
    ones = torch.ones(2, 400)
    plain = naive_token_log_probs(row, torch.arange(400), [*ones, 0 * ones[0]])
    zeros = torch.zeros(400)
    assert_close(row.grad.double().sum(-1), zeros, plain.double().sum(-1), dtype="float32")
