"""Group advantages and positive amplification against the float64 specification."""

import fastrl
import numpy as np
import pytest
from fastrl.reference import advantages as reference
from fresh_process import run_python
from hypothesis import given, settings
from hypothesis import strategies as st
from tolerance import assert_close

torch = pytest.importorskip("torch")

BASELINES = ["mean", "leave_one_out", "none"]
SCALES = ["group", "batch", "none"]


def batch(size, num_groups, seed=0, dtype=torch.float32):
    """Rewards of groups of any size, in any order, with ids that are anything."""
    random = np.random.default_rng(seed)
    names = random.choice(2**40, num_groups, replace=False) - 2**39
    ids = torch.tensor(random.choice(names, size))
    rewards = torch.tensor(random.choice([0.0, 0.3, 1.0, -0.1, 2.5], size), dtype=dtype)
    return rewards, ids


@pytest.mark.parametrize(
    ("size", "num_groups"), [(0, 1), (1, 1), (2, 1), (31, 5), (65, 1), (130, 40)]
)
@pytest.mark.parametrize("baseline", BASELINES)
@pytest.mark.parametrize("scale", SCALES)
def test_group_advantages_matches_reference(cpu_backend, size, num_groups, baseline, scale):
    rewards, ids = batch(size, num_groups)
    options = {"baseline": baseline, "scale": scale, "unbiased": size % 2 == 0}
    actual = fastrl.group_advantages(rewards, ids, **options)
    assert actual.dtype == torch.float32
    assert_close(actual, reference.group_advantages(rewards, ids, **options))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("id_dtype", [np.int32, np.int64])
def test_group_advantages_of_numpy_is_numpy(dtype, id_dtype):
    rewards, ids = np.array([0, 1, 0.5, 0.25], dtype), np.array([7, -3, 7, -3], id_dtype)
    actual = fastrl.group_advantages(rewards, ids)
    assert isinstance(actual, np.ndarray)
    assert actual.dtype == dtype
    assert_close(actual, reference.group_advantages(rewards, ids))


def test_group_advantages_in_float64(cpu_backend):
    rewards, ids = batch(40, 6, dtype=torch.float64)
    eps = 2.0**-13  # the interpreter rounds a number to float32; a GPU gets the float64
    for scale in SCALES:
        actual = fastrl.group_advantages(rewards, ids, scale=scale, eps=eps)
        assert_close(actual, reference.group_advantages(rewards, ids, scale=scale, eps=eps))


def test_group_advantages_accepts_strided_views(cpu_backend):
    rewards, ids = batch(40, 6)
    expected = fastrl.group_advantages(rewards[::2].clone(), ids[::2].clone())
    assert torch.equal(fastrl.group_advantages(rewards[::2], ids[::2]), expected)


@pytest.mark.parametrize("baseline", ["mean", "leave_one_out"])
@pytest.mark.parametrize("scale", SCALES)
def test_equal_rewards_give_exact_zeros(cpu_backend, baseline, scale):
    rewards = torch.full([7], 0.1)
    actual = fastrl.group_advantages(
        rewards, torch.zeros(7, dtype=torch.int32), baseline=baseline, scale=scale, eps=0.0
    )
    assert torch.equal(actual, torch.zeros(7))


def test_singletons_get_zero_or_keep_their_reward(cpu_backend):
    rewards, ids = torch.tensor([0.7, -2.0]), torch.tensor([4, 9])
    assert torch.equal(fastrl.group_advantages(rewards, ids), torch.zeros(2))
    for baseline in ["leave_one_out", "none"]:
        assert torch.equal(fastrl.group_advantages(rewards, ids, baseline=baseline), rewards)


def test_nothing_is_divided_by_a_missing_spread(cpu_backend):
    rewards = torch.tensor([0.1, 0.1, 0.1, 3.0], dtype=torch.float64)  # whose sum rounds
    actual = fastrl.group_advantages(rewards, torch.tensor([1, 1, 1, 2]), baseline="none", eps=0.0)
    assert torch.equal(actual, rewards)


def test_group_advantages_sum_to_zero_and_ignore_shift_and_scale(cpu_backend):
    rewards, ids = batch(48, 5)
    actual = fastrl.group_advantages(rewards, ids, eps=0.0)
    for group in ids.unique():
        assert abs(actual[ids == group].double().sum()) < 1e-5
    moved = fastrl.group_advantages(4.0 * rewards + 8.0, ids, eps=0.0)
    assert_close(moved, reference.group_advantages(4.0 * rewards + 8.0, ids, eps=0.0))
    np.testing.assert_allclose(moved, actual, rtol=1e-5)


@pytest.mark.parametrize("scale", SCALES)
def test_the_order_of_the_members_changes_no_bit(scale):
    random = np.random.default_rng(3)
    rewards = random.normal(size=200) * 10.0 ** random.integers(-9, 9, 200)
    ids = random.integers(0, 4, 200)
    expected = fastrl.group_advantages(rewards, ids, scale=scale)
    for _ in range(5):
        order = random.permutation(200)
        actual = fastrl.group_advantages(rewards[order], ids[order], scale=scale)
        np.testing.assert_array_equal(actual, expected[order])


def test_group_advantages_on_triton_spreads_nan_over_its_group_only(triton_backend):
    rewards, ids = torch.tensor([1.0, float("nan"), 1.0, 0.0, 1.0]), torch.tensor([1, 1, 1, 2, 2])
    actual = fastrl.group_advantages(rewards, ids)
    assert actual.isnan().tolist() == [True, True, True, False, False]
    assert fastrl.group_advantages(rewards, ids, scale="batch").isnan().all()


def test_import_and_call_need_no_torch():
    code = (
        "import sys; sys.modules['torch'] = None; sys.modules['triton'] = None\n"
        "import fastrl, numpy as np\n"
        "a = fastrl.group_advantages(np.array([0.0, 1.0]), np.array([3, 3]), scale='none')\n"
        "print(fastrl.positive_amplification(a, np.array([0.0, 1.0])).tolist())\n"
        "m = np.ones((1, 4), bool)\n"
        "print(fastrl.pivot_mask(m, np.array([[0, 2]]), np.array([1])).tolist())\n"
        "print(fastrl.divergence_points(np.array([[1, 2]]), np.array([[1, 3]])).tolist())\n"
    )
    assert run_python(code).split("\n")[:3] == [
        "[-0.5, 3.0]",
        "[[False, False, True, True]]",
        "[1]",
    ]


# One group, rewards, and what each reading of the paper gives.
READINGS = {
    "default": ({"scale": "none"}, {}),
    "released code": ({"scale": "none"}, {"success_value": 1.0}),
    "authors' clarification": ({"scale": "none"}, {"success_value": 3.0}),
    "paper": (
        {"eps": 0.0, "unbiased": False},
        {"success_value": 3.0, "success_threshold": "group_max"},
    ),
}
THIRD = 1 / 3**0.5
GOLDEN = [
    ("default", [0, 0, 0, 1], [-0.25, -0.25, -0.25, 3]),
    ("default", [0, 0.05, 0.6, 1], [-0.4125, -0.3625, 0.5625, 3]),
    ("default", [0, 0, 0, 0], [0, 0, 0, 0]),
    ("default", [1, 1, 1, 1], [3, 3, 3, 3]),
    ("default", [0, 0, 0, 9], [-2.25, -2.25, -2.25, 20.25]),
    ("released code", [0, 0, 0, 1], [-0.25, -0.25, -0.25, 1]),
    ("released code", [0, 0.05, 0.6, 1], [-0.4125, -0.3625, 0.5625, 1]),
    ("released code", [0, 0, 0, 0], [0, 0, 0, 0]),
    ("released code", [0, 0, 0, 0, 0, 0, 0.9, 1], [-0.2375] * 6 + [1.9875, 1]),
    ("authors' clarification", [0, 0, 0, 1], [-0.25, -0.25, -0.25, 3]),
    ("paper", [0, 0, 0, 1], [-THIRD, -THIRD, -THIRD, 3]),
    ("paper", [0, 0, 0, 0], [3, 3, 3, 3]),
]


@pytest.mark.parametrize(("reading", "rewards", "expected"), GOLDEN)
def test_golden_cases(cpu_backend, reading, rewards, expected):
    advantage_options, amplification_options = READINGS[reading]
    rewards = torch.tensor(rewards, dtype=torch.float32)
    ids = torch.full_like(rewards, 12, dtype=torch.int64)
    if "success_threshold" in amplification_options:
        amplification_options = amplification_options | {"group_ids": ids}
    advantages = fastrl.group_advantages(rewards, ids, **advantage_options)
    actual = fastrl.positive_amplification(advantages, rewards, **amplification_options)
    np.testing.assert_allclose(actual, expected, atol=1e-6, rtol=0)
    reference_advantages = reference.group_advantages(rewards, ids, **advantage_options)
    golden = reference.positive_amplification(
        reference_advantages, rewards.double().numpy(), **amplification_options
    )
    np.testing.assert_allclose(golden, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", [0, 1, 33, 100])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"alpha": 0.5, "success_threshold": 0.3},
        {"alpha": 0.0},
        {"success_value": -1.5},
        {"success_threshold": "group_max"},
    ],
)
def test_positive_amplification_matches_reference(cpu_backend, size, options):
    rewards, ids = batch(size, 5)
    if "success_threshold" in options and options["success_threshold"] == "group_max":
        options = options | {"group_ids": ids}
    advantages = fastrl.group_advantages(rewards, ids)
    actual = fastrl.positive_amplification(advantages, rewards, **options)
    expected = reference.positive_amplification(advantages, rewards.numpy(), **options)
    assert_close(actual, expected)


def test_a_reward_reaches_a_threshold_written_as_the_same_decimal(cpu_backend):
    rewards = torch.tensor([0.7, 0.6])
    actual = fastrl.positive_amplification(torch.zeros(2), rewards, success_threshold=0.7)
    assert actual.tolist() == [3.0, 0.0]


finite = st.floats(-1e6, 1e6, width=32)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    rewards=st.lists(finite | st.sampled_from([0.0, 1.0, -0.1]), min_size=1, max_size=9),
    alpha=st.floats(0, 100),
    threshold=finite,
    baseline=st.sampled_from(BASELINES),
    scale=st.sampled_from(SCALES),
)
def test_amplified_advantages_never_decrease_in_the_reward(
    rewards, alpha, threshold, baseline, scale
):
    rewards = np.array(rewards, np.float32)
    ids = np.zeros(len(rewards), np.int64)
    advantages = fastrl.group_advantages(rewards, ids, baseline=baseline, scale=scale)
    amplified = fastrl.positive_amplification(
        advantages, rewards, alpha=alpha, success_threshold=threshold
    )
    by_reward = amplified[np.argsort(rewards, kind="stable")]
    assert (np.diff(by_reward) >= 0).all()


@settings(max_examples=50, deadline=None, derandomize=True)
@given(reward=st.floats(-10, 0.75, width=32), size=st.integers(2, 9))
def test_a_group_of_equal_failures_stays_exactly_zero(reward, size):
    rewards = np.full(size, reward, np.float32)
    advantages = fastrl.group_advantages(rewards, np.zeros(size, np.int64))
    assert not fastrl.positive_amplification(advantages, rewards).any()


R = np.zeros(3, np.float32)
I = np.zeros(3, np.int64)  # noqa: E741
NAN = np.array([0, 0, np.nan], np.float32)
INF = np.array([0, np.inf, 0], np.float32)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (([0.0], I), {}, TypeError, r"`rewards` must be a NumPy array or a torch tensor, got list"),
        (
            (R.astype(int), I),
            {},
            TypeError,
            r"`rewards` must have dtype float32 or float64, got int64",
        ),
        ((R[None], I), {}, ValueError, r"`rewards` must have shape \[B\], got \[1, 3\]"),
        ((R, I[:2]), {}, ValueError, r"`group_ids` must have shape \[B\] = \[3\], got \[2\]"),
        ((R, R), {}, TypeError, r"`group_ids` must have dtype int64 or int32, got float32"),
        (
            (R, torch.zeros(3, dtype=torch.int64)),
            {},
            TypeError,
            r"`group_ids` must be a NumPy array, as `rewards` is, got Tensor",
        ),
        (
            (R, I),
            {"baseline": "median"},
            ValueError,
            r"`baseline` must be one of 'mean', 'leave_one_out', 'none', got 'median'",
        ),
        (
            (R, I),
            {"scale": None},
            ValueError,
            r"`scale` must be one of 'group', 'batch', 'none', got None",
        ),
        ((R, I), {"eps": -1e-9}, ValueError, r"`eps` must be finite and at least 0, got -1e-09"),
        (
            (R, I),
            {"eps": float("nan")},
            ValueError,
            r"`eps` must be finite and at least 0, got nan",
        ),
        ((R, I), {"eps": "1"}, TypeError, r"`eps` must be a number, got str"),
        ((R, I), {"unbiased": 1}, TypeError, r"`unbiased` must be True or False, got 1"),
        ((NAN, I), {}, ValueError, r"`rewards` must be finite, got nan at index 2"),
        ((INF, I), {}, ValueError, r"`rewards` must be finite, got inf at index 1"),
    ],
)
def test_group_advantages_rejects(arguments, options, error, message):
    with pytest.raises(error, match=f"group_advantages: {message}"):
        fastrl.group_advantages(*arguments, **options)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((R, R[:2]), {}, ValueError, r"`rewards` must have shape \[B\] = \[3\], got \[2\]"),
        (
            (R, R.astype(np.float64)),
            {},
            TypeError,
            r"`rewards` must have dtype float32, got float64",
        ),
        ((I, R), {}, TypeError, r"`advantages` must have dtype float32 or float64, got int64"),
        ((R, R), {"alpha": -1.0}, ValueError, r"`alpha` must be finite and at least 0, got -1.0"),
        (
            (R, R),
            {"alpha": float("nan")},
            ValueError,
            r"`alpha` must be finite and at least 0, got nan",
        ),
        (
            (R, R),
            {"success_threshold": float("inf")},
            ValueError,
            r"`success_threshold` must be finite, got inf",
        ),
        (
            (R, R),
            {"success_threshold": "max"},
            ValueError,
            r"`success_threshold` must be one of 'group_max', got 'max'",
        ),
        (
            (R, R),
            {"success_value": "beta"},
            ValueError,
            r"`success_value` must be one of 'alpha', got 'beta'",
        ),
        (
            (R, R),
            {"success_value": float("nan")},
            ValueError,
            r"`success_value` must be finite, got nan",
        ),
        (
            (R, R),
            {"success_threshold": "group_max"},
            ValueError,
            r"`group_ids` must be given when `success_threshold` is 'group_max', got None",
        ),
        (
            (R, R),
            {"group_ids": I},
            ValueError,
            r"`group_ids` must be None when `success_threshold` is 1.0, got an array",
        ),
        (
            (R, R),
            {"group_ids": I[:2], "success_threshold": "group_max"},
            ValueError,
            r"`group_ids` must have shape \[B\] = \[3\], got \[2\]",
        ),
        ((NAN, R), {}, ValueError, r"`advantages` must be finite, got nan at index 2"),
        ((R, NAN), {}, ValueError, r"`rewards` must be finite, got nan at index 2"),
    ],
)
def test_positive_amplification_rejects(arguments, options, error, message):
    with pytest.raises(error, match=f"positive_amplification: {message}"):
        fastrl.positive_amplification(*arguments, **options)
