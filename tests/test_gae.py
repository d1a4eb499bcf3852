"""Generalized advantage estimates against the float64 specification and their own identities."""

import fastrl
import numpy as np
import pytest
from fastrl.reference import advantages as reference
from fresh_process import run_python
from hypothesis import given, settings
from hypothesis import strategies as st
from tolerance import assert_close

NAMES = ["rewards", "values", "next_values", "terminated", "truncated"]
DISCOUNTS = {"gamma": 0.99, "lambda_": 0.95}


def rollout(num_steps, num_envs, dtype=np.float32, ends=0.1, seed=0):
    """Arguments of `gae`, with NaN wherever it must not look."""
    random = np.random.default_rng(seed)
    shape = num_steps, num_envs
    arrays = {name: random.normal(size=shape).astype(dtype) for name in NAMES[:3]}
    arrays |= {name: random.random(shape) < ends for name in NAMES[3:]}
    arrays["next_values"][arrays["terminated"]] = np.nan
    return arrays


def stepped_rows(arrays, share=0.7, seed=1):
    """A `stepped` mask, and NaN and raised flags in the rows that are no steps."""
    stepped = np.random.default_rng(seed).random(arrays["rewards"].shape) < share
    for array in arrays.values():
        array[~stepped] = True if array.dtype == bool else np.nan
    return stepped


def naive(rewards, values, next_values, terminated, truncated, *, gamma, lambda_):
    """The same sweep in plain NumPy, in the dtype of the rewards."""
    bootstrap = np.where(terminated, rewards.dtype.type(0), next_values)
    advantages, tail = np.empty_like(rewards), np.zeros_like(rewards[0])
    for t in reversed(range(len(rewards))):
        ends = terminated[t] | truncated[t]
        tail = rewards[t] + gamma * bootstrap[t] - values[t] + gamma * lambda_ * tail * ~ends
        advantages[t] = tail
    return advantages


def assert_specified(arrays, stepped=None, **discounts):
    actual = fastrl.gae(**arrays, **discounts, stepped=stepped)
    want = reference.gae(**arrays, **discounts, stepped=stepped)
    rough = None if stepped is not None else naive(**arrays, **discounts)
    assert actual.dtype == arrays["rewards"].dtype
    assert_close(actual, want, rough)


# Around the widths of the vectors, the block of 64 environments and the pieces of the threads.
SHAPES = [(1, 1), (2, 3), (7, 1), (5, 17), (16, 63), (3, 64), (3, 65), (9, 131), (400, 300)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_gae_matches_reference(shape, dtype):
    assert_specified(rollout(*shape, dtype), **DISCOUNTS)


@pytest.mark.parametrize("shape", SHAPES[:-1])
def test_gae_passes_over_rows_that_are_no_steps(shape):
    # float64: there is no loop in the same dtype to compare the rounding with.
    arrays = rollout(*shape, np.float64, ends=0.3)
    stepped = stepped_rows(arrays)
    actual = fastrl.gae(**arrays, **DISCOUNTS, stepped=stepped)
    want = reference.gae(**arrays, **DISCOUNTS, stepped=stepped)
    np.testing.assert_allclose(actual, want, rtol=0, atol=1e-13)
    assert not actual[~stepped].any()


def test_gae_of_a_huge_rollout():
    assert_specified(rollout(200_000, 1, ends=1e-4), gamma=0.999, lambda_=0.99)


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0)])
def test_gae_of_an_empty_rollout(shape):
    assert fastrl.gae(**rollout(*shape), **DISCOUNTS).shape == shape


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gae_writes_all_of_its_output_and_nothing_else(monkeypatch, dtype):
    arrays = rollout(6, 70, dtype)
    want = fastrl.gae(**arrays, **DISCOUNTS)
    guarded = np.full((8, 70), np.nan, dtype)
    monkeypatch.setattr("fastrl.advantages.empty", lambda like, shape: guarded[1:-1])
    fastrl.gae(**arrays, **DISCOUNTS)
    np.testing.assert_array_equal(guarded[1:-1], want)
    assert np.isnan(guarded[[0, -1]]).all()


def test_gae_lambda_zero_is_the_td_error():
    arrays = rollout(20, 9, np.float64)
    td_errors = (
        arrays["rewards"]
        + 0.9 * np.where(arrays["terminated"], 0, arrays["next_values"])
        - arrays["values"]
    )
    for function in (fastrl.gae, reference.gae):
        np.testing.assert_allclose(function(**arrays, gamma=0.9, lambda_=0), td_errors, rtol=1e-14)


def test_gae_lambda_one_is_the_discounted_return_minus_the_value():
    arrays = rollout(50, 5, np.float64)
    returns, tail = np.empty((50, 5)), np.zeros(5)
    ends = arrays["terminated"] | arrays["truncated"]
    ends[-1] = True  # the rollout's last step bootstraps as a truncated one does
    for t in reversed(range(50)):
        bootstrap = np.where(arrays["terminated"][t], 0, arrays["next_values"][t])
        tail = arrays["rewards"][t] + 0.97 * np.where(ends[t], bootstrap, tail)
        returns[t] = tail
    # On the way the values in between have to cancel: each is the next value of the step before.
    inner = ~ends[:-1]
    arrays["next_values"][:-1][inner] = arrays["values"][1:][inner]
    for function in (fastrl.gae, reference.gae):
        actual = function(**arrays, gamma=0.97, lambda_=1)
        np.testing.assert_allclose(actual, returns - arrays["values"], rtol=0, atol=1e-12)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), cut=st.integers(1, 7), by=st.sampled_from(NAMES[3:]))
def test_gae_cutting_a_rollout_at_an_episode_end_changes_nothing(seed, cut, by):
    arrays = rollout(8, 3, seed=seed)
    arrays[by][cut - 1] = True
    whole = fastrl.gae(**arrays, **DISCOUNTS)
    parts = [
        fastrl.gae(**{name: array[rows] for name, array in arrays.items()}, **DISCOUNTS)
        for rows in (slice(0, cut), slice(cut, 8))
    ]
    np.testing.assert_array_equal(whole, np.concatenate(parts))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), extra=st.integers(1, 5), at=st.integers(0, 6))
def test_gae_rows_put_in_between_change_nothing(seed, extra, at):
    arrays = rollout(6, 3, seed=seed)
    wide = {
        name: np.insert(array, [at] * extra, True if array.dtype == bool else np.nan, axis=0)
        for name, array in arrays.items()
    }
    stepped = np.insert(np.ones((6, 3), bool), [at] * extra, False, axis=0)
    actual = fastrl.gae(**wide, **DISCOUNTS, stepped=stepped)
    np.testing.assert_array_equal(actual[stepped[:, 0]], fastrl.gae(**arrays, **DISCOUNTS))
    assert not actual[~stepped].any()


def test_gae_truncation_bootstraps_and_termination_does_not():
    flags = np.array([[True, False]])
    arrays = {name: np.array([[1.0, 1.0]]) for name in NAMES[:3]}
    arrays |= {"terminated": flags, "truncated": ~flags}
    assert fastrl.gae(**arrays, gamma=0.5, lambda_=1.0).tolist() == [[0.0, 0.5]]
    arrays["terminated"] = np.array([[True, True]])  # both at once: terminated wins
    assert fastrl.gae(**arrays, gamma=0.5, lambda_=1.0).tolist() == [[0.0, 0.0]]


def test_gae_is_linear_in_rewards_and_values():
    arrays = rollout(30, 4, np.float64)
    double = {name: 2.0 * arrays[name] for name in NAMES[:3]}
    np.testing.assert_array_equal(
        fastrl.gae(**(arrays | double), **DISCOUNTS), 2.0 * fastrl.gae(**arrays, **DISCOUNTS)
    )


def test_gae_spreads_what_is_not_finite_back_to_the_start_of_the_episode_only():
    arrays = rollout(6, 2, ends=0.0)
    arrays["truncated"][1] = True
    arrays["rewards"][3, 0] = np.inf
    arrays["rewards"][3, 1] = np.nan
    actual = fastrl.gae(**arrays, **DISCOUNTS)
    assert np.isfinite(actual[[0, 1, 4, 5]]).all()
    assert np.isinf(actual[2:4, 0]).all()
    assert np.isnan(actual[2:4, 1]).all()


def test_gae_bits_do_not_depend_on_threads_or_neighbors(set_threads):
    arrays = rollout(300, 777)
    expected = fastrl.gae(**arrays, **DISCOUNTS)
    for threads in (1, 2, 3, 8):
        set_threads(threads)
        np.testing.assert_array_equal(fastrl.gae(**arrays, **DISCOUNTS), expected)
    for columns in (slice(0, 1), slice(100, 229)):
        part = {name: array[:, columns] for name, array in arrays.items()}
        np.testing.assert_array_equal(fastrl.gae(**part, **DISCOUNTS), expected[:, columns])


@pytest.mark.parametrize("instruction_set", ["portable", "x86-64-v3"])
def test_gae_bits_do_not_depend_on_the_instruction_set(instruction_set, tmp_path):
    arrays = rollout(50, 77)
    np.savez(tmp_path / "in.npz", **arrays)
    code = (
        "import sys, numpy as np, fastrl\n"
        "arrays = dict(np.load(sys.argv[1] + '/in.npz'))\n"
        f"np.save(sys.argv[1] + '/out.npy', fastrl.gae(**arrays, **{DISCOUNTS}))\n"
    )
    run_python(code, tmp_path, FASTRL_INSTRUCTION_SET=instruction_set)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), fastrl.gae(**arrays, **DISCOUNTS))


def test_gae_takes_strided_views_and_bytes_as_flags():
    arrays = rollout(12, 10)
    expected = fastrl.gae(**arrays, **DISCOUNTS)
    for view in (
        lambda array: np.repeat(array, 2, axis=1)[:, ::2],
        lambda array: np.ascontiguousarray(array.T).T,
        lambda array: np.ascontiguousarray(array[::-1])[::-1],
    ):
        strided = {name: view(array) for name, array in arrays.items()}
        assert not any(array.flags.c_contiguous for array in strided.values())
        np.testing.assert_array_equal(fastrl.gae(**strided, **DISCOUNTS), expected)
    flags = {name: 2 * arrays[name].astype(np.uint8) for name in NAMES[3:]}
    np.testing.assert_array_equal(fastrl.gae(**(arrays | flags), **DISCOUNTS), expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gae_of_tensors_is_a_tensor_without_a_gradient(dtype):
    torch = pytest.importorskip("torch")
    arrays = rollout(12, 10, np.dtype(dtype))
    tensors = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
    tensors["values"].requires_grad_()
    tensors["rewards"] = tensors["rewards"].T.contiguous().T
    actual = fastrl.gae(**tensors, **DISCOUNTS)
    assert actual.dtype == getattr(torch, dtype)
    assert not actual.requires_grad
    np.testing.assert_array_equal(actual.numpy(), fastrl.gae(**arrays, **DISCOUNTS))


def wrong(**changes):
    return rollout(4, 3) | changes


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (wrong(rewards=[[1.0]]), TypeError, r"`rewards` must be a NumPy array or a torch tensor"),
        (wrong(rewards=np.zeros(4, np.float32)), ValueError, r"`rewards` must have shape \[T, B\]"),
        (
            wrong(rewards=np.zeros((4, 3), np.int64)),
            TypeError,
            "`rewards` must have dtype float32 or float64, got int64",
        ),
        (
            wrong(values=np.zeros((5, 3), np.float32)),
            ValueError,
            r"`values` must have shape \[T, B\] = \[4, 3\], got \[5, 3\]",
        ),
        (
            wrong(next_values=np.zeros((4, 3))),
            TypeError,
            "`next_values` must have dtype float32, got float64",
        ),
        (
            wrong(terminated=np.zeros((4, 3), np.float32)),
            TypeError,
            "`terminated` must have dtype bool or uint8, got float32",
        ),
        (wrong(truncated=None), TypeError, "`truncated` must be a NumPy array, as `rewards` is"),
        (
            wrong(truncated=np.zeros((3, 4), bool)),
            ValueError,
            r"`truncated` must have shape \[T, B\] = \[4, 3\], got \[3, 4\]",
        ),
        (
            wrong(stepped=np.ones((4, 2), bool)),
            ValueError,
            r"`stepped` must have shape \[T, B\] = \[4, 3\], got \[4, 2\]",
        ),
        (wrong(gamma=1.5), ValueError, r"`gamma` must be in \[0, 1\], got 1.5"),
        (wrong(gamma=None), TypeError, "`gamma` must be a number, got NoneType"),
        (wrong(lambda_=-0.1), ValueError, r"`lambda_` must be in \[0, 1\], got -0.1"),
        (wrong(lambda_=float("nan")), ValueError, r"`lambda_` must be in \[0, 1\], got nan"),
    ],
)
def test_gae_rejects(arguments, error, message):
    with pytest.raises(error, match=f"gae: {message}"):
        fastrl.gae(**(DISCOUNTS | arguments))


@pytest.mark.gpu
def test_gae_says_that_it_has_no_gpu_kernel():
    torch = pytest.importorskip("torch")
    tensors = {name: torch.from_numpy(array).cuda() for name, array in rollout(2, 2).items()}
    with pytest.raises(
        NotImplementedError, match=r"gae: `rewards` must be on the CPU, as gae has no GPU kernel"
    ):
        fastrl.gae(**tensors, **DISCOUNTS)


def test_gae_refuses_another_device_by_name(monkeypatch):
    monkeypatch.setattr("fastrl.advantages.device_name", lambda array: "cuda:1")
    message = "be on the CPU, as gae has no GPU kernel, got cuda:1; move all of its arrays with"
    with pytest.raises(NotImplementedError, match=message):
        fastrl.gae(**rollout(2, 2), **DISCOUNTS)
