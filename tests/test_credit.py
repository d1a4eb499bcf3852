"""Pivot masks and divergence points against the specification."""

import fastrl
import numpy as np
import pytest
from conftest import HAS_CUDA
from fastrl.reference import credit as reference

torch = pytest.importorskip("torch")


def batch(num_sequences, num_turns, longest, padding, seed=0):
    """Sequences of any length with up to `num_turns` turns, and one pivot each."""
    random = np.random.default_rng(seed)
    lengths = random.integers(max(1, longest // 2), longest + 1, num_sequences)
    starts = np.full((num_sequences, num_turns), padding, np.int32)
    pivots = np.full(num_sequences, -1, np.int32)
    for row, length in enumerate(lengths):
        turns = random.integers(1, min(num_turns, length) + 1)
        starts[row, :turns] = np.sort(random.choice(length, turns, replace=False))
        pivots[row] = random.integers(-1, turns)
    return lengths, torch.tensor(starts), torch.tensor(pivots)


def assert_same(actual, expected):
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.dtype == expected.dtype
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("padding", [-1, 2000])
@pytest.mark.parametrize(
    ("num_sequences", "longest"), [(0, 4), (1, 1), (3, 17), (5, 1024), (7, 2000)]
)
@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8])
def test_pivot_mask_matches_reference(cpu_backend, num_sequences, longest, padding, dtype):
    lengths, starts, pivots = batch(num_sequences, 6, longest, padding)
    random = np.random.default_rng(1)
    mask = torch.tensor(random.random((num_sequences, longest)) < 0.7).to(dtype)
    assert_same(fastrl.pivot_mask(mask, starts, pivots), reference.pivot_mask(mask, starts, pivots))

    ends = torch.tensor(np.concatenate([[0], np.cumsum(lengths)]), dtype=torch.int32)
    packed = torch.tensor(random.random(int(ends[-1])) < 0.7).to(dtype)
    assert_same(
        fastrl.pivot_mask(packed, starts, pivots.long(), cu_seqlens=ends),
        reference.pivot_mask(packed, starts, pivots, cu_seqlens=ends),
    )


def test_pivot_mask_of_numpy_is_numpy():
    mask = np.ones((2, 6), bool)
    actual = fastrl.pivot_mask(mask, np.array([[1, 4], [0, -1]]), np.array([1, 0]))
    assert actual.tolist() == [[False] * 4 + [True] * 2, [True] * 6]
    assert actual.dtype == bool
    assert mask.all()  # the input is left alone


def test_pivot_mask_without_a_pivot_is_the_action_mask(cpu_backend):
    mask = torch.tensor([[1, 0, 1, 1], [0, 1, 1, 0]], dtype=torch.uint8)
    starts = torch.tensor([[2, 3], [1, -1]])
    assert_same(fastrl.pivot_mask(mask, starts, torch.tensor([-1, 0])), mask)


def test_pivot_mask_accepts_strided_views(cpu_backend):
    mask, starts = torch.ones(8, 4, dtype=torch.bool).t(), torch.tensor([[0, 3]] * 4)
    pivots = torch.ones(8, dtype=torch.int64)[::2]
    assert_same(
        fastrl.pivot_mask(mask, starts, pivots), torch.tensor([[False] * 3 + [True] * 5] * 4)
    )


def test_pivot_mask_on_triton_masks_a_row_whose_pivot_is_no_turn(triton_backend):
    mask = torch.ones(4, 5, dtype=torch.bool)
    starts = torch.tensor([[0, 2], [0, -1], [0, 9], [0, 3]])
    actual = fastrl.pivot_mask(mask, starts, torch.tensor([2, 1, 1, -2]))
    assert not actual.any()


def test_pivot_mask_results_do_not_depend_on_threads():
    _, starts, pivots = batch(64, 8, 20000, -1)
    mask = np.random.default_rng(0).random((64, 20000)) < 0.5
    expected = reference.pivot_mask(mask, starts, pivots)
    before = fastrl.num_threads()
    for threads in [1, 2, 3]:
        fastrl.set_num_threads(threads)
        actual = fastrl.pivot_mask(mask, starts.numpy(), pivots.numpy())
        np.testing.assert_array_equal(actual, expected)
    fastrl.set_num_threads(before)


def pairs(num_pairs, longest, dtype, seed=0):
    """Sequences that part anywhere, continue one another, or are the same."""
    random = np.random.default_rng(seed)
    base, retry = [], []
    for kind in random.integers(0, 4, num_pairs):
        length = int(random.integers(0, longest + 1))
        a = random.integers(-(2**31), 2**31, length).astype(dtype)
        b = a.copy()
        if kind == 0 and length > 0:
            b[random.integers(length) :] += 1
        elif kind == 1:
            b = a[: random.integers(length + 1)]
        elif kind == 2:
            a = a[: random.integers(length + 1)]
        base.append(a)
        retry.append(b)
    return base, retry


def padded(sequences, dtype):
    rows = np.full((len(sequences), max([len(s) for s in sequences], default=0) + 1), 7, dtype)
    for row, sequence in zip(rows, sequences, strict=True):
        row[: len(sequence)] = sequence
    return torch.tensor(rows), torch.tensor([len(s) for s in sequences], dtype=torch.int32)


def packed(sequences, dtype):
    ends = np.cumsum([0, *map(len, sequences)]).astype(np.int32)
    return torch.tensor(np.concatenate([np.zeros(0, dtype), *sequences])), torch.tensor(ends)


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize(("num_pairs", "longest"), [(0, 5), (1, 0), (12, 3), (24, 2500)])
def test_divergence_points_match_reference(cpu_backend, num_pairs, longest, dtype):
    base, retry = pairs(num_pairs, longest, dtype)
    (base_rows, base_lengths), (retry_rows, retry_lengths) = (
        padded(base, dtype),
        padded(retry, dtype),
    )
    expected = reference.divergence_points(
        base_rows, retry_rows, base_lengths=base_lengths, retry_lengths=retry_lengths
    )
    assert_same(
        fastrl.divergence_points(
            base_rows, retry_rows, base_lengths=base_lengths, retry_lengths=retry_lengths
        ),
        expected,
    )
    (base_tokens, base_ends), (retry_tokens, retry_ends) = packed(base, dtype), packed(retry, dtype)
    options = {"base_cu_seqlens": base_ends, "retry_cu_seqlens": retry_ends}
    assert_same(fastrl.divergence_points(base_tokens, retry_tokens, **options), expected)
    assert_same(reference.divergence_points(base_tokens, retry_tokens, **options), expected)


@pytest.mark.parametrize("position", [0, 1, 255, 256, 257, 511, 1023, 1024, 1299])
def test_divergence_points_at_every_block_edge(cpu_backend, position):
    base = torch.arange(1300)[None]
    retry = base.clone()
    retry[0, position] = -1
    assert fastrl.divergence_points(base, retry).tolist() == [position]


def test_divergence_points_of_a_prefix_and_of_equals(cpu_backend):
    a, b = torch.tensor([[1, 2, 3]]), torch.tensor([[1, 2, 3, 4]])
    assert fastrl.divergence_points(a, b).tolist() == [3]
    assert fastrl.divergence_points(b, a).tolist() == [3]
    assert fastrl.divergence_points(a, a).tolist() == [-1]
    assert fastrl.divergence_points(a[:, :0], a[:, :0]).tolist() == [-1]


PARTING = [  # base, retry, and what the masks of ones then are
    ([5, 6, 7, 8], [5, 6, 9, 9], [0, 0, 1, 1], [0, 0, 1, 1]),
    ([5, 6, 7, 8], [5, 6, 7, 8], [1, 1, 1, 1], [1, 1, 1, 1]),  # identical: no pivot
    ([1, 2, 3, 4], [2, 2, 3, 4], [1, 1, 1, 1], [1, 1, 1, 1]),
    ([1, 2], [1, 2, 3, 4], [0, 0], [0, 0, 1, 1]),  # the retry continues the base
    ([1, 2, 3, 4, 5], [1, 2, 3], [0, 0, 0, 1, 1], [0, 0, 0]),
    ([], [1], [], [1]),
]


def test_divergence_points_serve_as_pivots_of_rows(cpu_backend):
    (base, base_lengths), (retry, retry_lengths) = (
        padded([np.array(pair[side], np.int64) for pair in PARTING], np.int64) for side in (0, 1)
    )
    points = fastrl.divergence_points(
        base, retry, base_lengths=base_lengths, retry_lengths=retry_lengths
    )
    assert points.tolist() == [2, -1, 0, 2, 3, 0]
    for tokens, expected in [(base, 2), (retry, 3)]:
        mask = torch.ones(tokens.shape, dtype=torch.bool)
        actual = fastrl.pivot_mask(mask, pivot_tokens=points)
        assert_same(actual, reference.pivot_mask(mask, pivot_tokens=points))
        for row, pair in zip(actual.int().tolist(), PARTING, strict=True):
            assert row[: len(pair[expected])] == pair[expected]


def test_divergence_points_serve_as_pivots_of_packed_tokens(cpu_backend):
    (base, base_ends), (retry, retry_ends) = (
        packed([np.array(pair[side], np.int64) for pair in PARTING], np.int64) for side in (0, 1)
    )
    points = fastrl.divergence_points(
        base, retry, base_cu_seqlens=base_ends, retry_cu_seqlens=retry_ends
    )
    for ends, expected in [(base_ends, 2), (retry_ends, 3)]:
        mask = torch.ones(int(ends[-1]), dtype=torch.uint8)
        actual = fastrl.pivot_mask(mask, pivot_tokens=points, cu_seqlens=ends)
        assert actual.tolist() == [bit for pair in PARTING for bit in pair[expected]]
        assert_same(actual, reference.pivot_mask(mask, pivot_tokens=points, cu_seqlens=ends))


def test_a_pivot_at_the_length_masks_the_whole_row(cpu_backend):
    """As where two rows without lengths part behind the shorter one."""
    base, retry = np.array([[1, 2, 3], [1, 2, 3]]), np.array([[1, 2, 3, 4], [1, 2, 9, 9]])
    points = fastrl.divergence_points(torch.tensor(base), torch.tensor(retry))
    actual = fastrl.pivot_mask(torch.ones(2, 3, dtype=torch.bool), pivot_tokens=points)
    assert actual.int().tolist() == [[0, 0, 0], [0, 0, 1]]


def test_pivot_tokens_of_numpy_need_no_torch_tensor():
    base, retry = np.array([[1, 2, 3]]), np.array([[1, 2, 4]])
    mask = np.array([[True, True, True]])
    actual = fastrl.pivot_mask(mask, pivot_tokens=fastrl.divergence_points(base, retry))
    assert actual.tolist() == [[False, False, True]]


def test_pivot_mask_on_triton_masks_a_row_whose_pivot_is_no_token(triton_backend):
    mask = torch.ones(3, 5, dtype=torch.bool)
    assert not fastrl.pivot_mask(mask, pivot_tokens=torch.tensor([6, -2, 2**40])).any()


WRONG_ENDS = [[0, 40, 12], [-9, 5, 30], [0, 9, 3], [20, 30, 40], [-(2**31), 2**31 - 1, -5]]


@pytest.mark.skipif(HAS_CUDA, reason="the interpreter is off where a GPU runs the kernels")
@pytest.mark.parametrize("ends", WRONG_ENDS)
def test_pivot_mask_on_triton_never_writes_outside_of_the_mask(ends):
    from fastrl.kernels.credit import launch_pivot_mask

    guarded = torch.full([5000], 7, dtype=torch.uint8)
    actions = torch.ones(12, dtype=torch.uint8)
    ends = torch.tensor(ends).clamp(-2000, 2000).int()  # so that a bad write hits the guards
    pivots = torch.tensor([-1, -1])
    launch_pivot_mask(actions, None, pivots, ends, guarded[2500:2512])
    assert (guarded[:2500] == 7).all()
    assert (guarded[2512:] == 7).all()


@pytest.mark.parametrize("lengths", [[12, 40], [12, 2**31 - 1], [40, 13]])
def test_divergence_points_on_triton_never_read_outside_of_the_rows(triton_backend, lengths):
    around = torch.arange(3000)
    base, retry = around[1000:1024].view(2, 12), (around * (around < 1024))[1000:1024].view(2, 12)
    base_lengths, retry_lengths = torch.tensor(lengths), torch.tensor([12, 12])
    assert fastrl.divergence_points(
        base, retry, base_lengths=base_lengths, retry_lengths=base_lengths
    ).tolist() == [-1, -1]
    assert fastrl.divergence_points(
        base, retry, base_lengths=base_lengths, retry_lengths=retry_lengths
    ).tolist() == [-1, -1]
    assert fastrl.divergence_points(
        base, retry, base_lengths=-base_lengths, retry_lengths=retry_lengths
    ).tolist() == [0, 0]


@pytest.mark.parametrize("ends", WRONG_ENDS)
def test_divergence_points_on_triton_never_read_outside_of_packed_tokens(triton_backend, ends):
    around = torch.arange(5000)
    inside = (around >= 2500) & (around < 2512)
    base, retry = around[2500:2512], (around * inside)[2500:2512]  # equal inside, not outside
    ends = torch.tensor(ends).clamp(-2000, 2000).int()
    points = fastrl.divergence_points(base, retry, base_cu_seqlens=ends, retry_cu_seqlens=ends)
    assert points.tolist() == [-1, -1]


MASK = np.ones((2, 6), bool)
STARTS = np.array([[0, 3], [1, -1]], np.int32)
PIVOTS = np.array([1, 0], np.int32)
ENDS = np.array([0, 6, 12], np.int32)


def starts_with(*row):
    return np.array([row, [1, -1]], np.int32)


def ends(*values):
    return np.array(values, np.int32)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (
            (MASK.astype(np.float32), STARTS, PIVOTS),
            {},
            TypeError,
            r"`action_mask` must have dtype bool or uint8, got float32",
        ),
        (
            (MASK[0], STARTS, PIVOTS),
            {},
            ValueError,
            r"`action_mask` must have shape \[B, L\], got \[6\]",
        ),
        (
            (MASK, STARTS[:1], PIVOTS),
            {},
            ValueError,
            r"`turn_starts` must have shape \[B, K\] = \[2, K\], got \[1, 2\]",
        ),
        (
            (MASK, STARTS, PIVOTS[:1]),
            {},
            ValueError,
            r"`pivot_turns` must have shape \[B\] = \[2\], got \[1\]",
        ),
        (
            (MASK, STARTS.astype(np.int16), PIVOTS),
            {},
            TypeError,
            r"`turn_starts` must have dtype int64 or int32, got int16",
        ),
        (
            (MASK, STARTS, torch.tensor(PIVOTS)),
            {},
            TypeError,
            r"`pivot_turns` must be a NumPy array, as `action_mask` is, got Tensor",
        ),
        (
            (MASK, STARTS, np.array([2, 0])),
            {},
            ValueError,
            r"`pivot_turns` must be -1 \(no pivot\) or one of the turns .* \(row 0 has 2\), got 2",
        ),
        (
            (MASK, STARTS, np.array([0, 1])),
            {},
            ValueError,
            r"`pivot_turns` must be .* \(row 1 has 1\), got 1",
        ),
        ((MASK, STARTS, np.array([-2, 0])), {}, ValueError, r"`pivot_turns` must be .*, got -2"),
        (
            (MASK, starts_with(3, 2), PIVOTS),
            {},
            ValueError,
            r"`turn_starts` must not decrease along a row, .*, got 2 after 3 in row 0",
        ),
        (
            (MASK, starts_with(-1, 2), PIVOTS),
            {},
            ValueError,
            r"`turn_starts` must .*, padding last, got 2 after -1 in row 0",
        ),
        (
            (MASK.ravel(), STARTS, PIVOTS),
            {"cu_seqlens": ENDS[:2]},
            ValueError,
            r"`cu_seqlens` must have shape \[B \+ 1\] = \[3\], got \[2\]",
        ),
        (
            (MASK.ravel(), STARTS, PIVOTS),
            {"cu_seqlens": ENDS.astype(np.int64)},
            TypeError,
            r"`cu_seqlens` must have dtype int32, got int64",
        ),
        (
            (MASK,),
            {},
            ValueError,
            r"`turn_starts` must be given when `pivot_tokens` is not, got None",
        ),
        (
            (MASK, STARTS),
            {},
            ValueError,
            r"`pivot_turns` must be given when `pivot_tokens` is not, got None",
        ),
        (
            (MASK, STARTS),
            {"pivot_tokens": PIVOTS},
            ValueError,
            r"`turn_starts` must be None when `pivot_tokens` is given, got an array",
        ),
        (
            (MASK,),
            {"pivot_turns": PIVOTS, "pivot_tokens": PIVOTS},
            ValueError,
            r"`pivot_turns` must be None when `pivot_tokens` is given, got an array",
        ),
        (
            (MASK,),
            {"pivot_tokens": PIVOTS[:1]},
            ValueError,
            r"`pivot_tokens` must have shape \[B\] = \[2\], got \[1\]",
        ),
        (
            (MASK,),
            {"pivot_tokens": PIVOTS.astype(float)},
            TypeError,
            r"`pivot_tokens` must have dtype int64 or int32, got float64",
        ),
        (
            (MASK,),
            {"pivot_tokens": np.array([6, 7])},
            ValueError,
            r"`pivot_tokens` must be -1 \(no pivot\) or from 0 to the length of its row "
            r"\(row 1 has 6\), got 7",
        ),
        (
            (MASK.ravel(),),
            {"pivot_tokens": np.array([-2, 0]), "cu_seqlens": ENDS},
            ValueError,
            r"`pivot_tokens` must be .* \(row 0 has 6\), got -2",
        ),
        (
            (MASK, STARTS, PIVOTS),
            {"cu_seqlens": ENDS},
            ValueError,
            r"`action_mask` must have shape \[N\], got \[2, 6\]",
        ),
        (
            (MASK.ravel(), STARTS, PIVOTS),
            {"cu_seqlens": ENDS + 1},
            ValueError,
            r"`cu_seqlens` must go from 0 to 12 without .*, got 1 at index 0",
        ),
        (
            (MASK.ravel(), STARTS, PIVOTS),
            {"cu_seqlens": ends(0, 13, 12)},
            ValueError,
            r"`cu_seqlens` must .*, got 12 after 13 at index 2",
        ),
        (
            (MASK.ravel(), STARTS, PIVOTS),
            {"cu_seqlens": ends(0, 6, 11)},
            ValueError,
            r"`cu_seqlens` must .*, got 11 at the end",
        ),
    ],
)
def test_pivot_mask_rejects(arguments, options, error, message):
    with pytest.raises(error, match=f"pivot_mask: {message}"):
        fastrl.pivot_mask(*arguments, **options)


IDS = np.arange(6).reshape(2, 3)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (
            (IDS.astype(float), IDS),
            {},
            TypeError,
            r"`base` must have dtype int64 or int32, got float64",
        ),
        ((IDS, IDS.astype(np.int32)), {}, TypeError, r"`retry` must have dtype int64, got int32"),
        (
            (IDS, IDS[:1]),
            {},
            ValueError,
            r"`retry` must have shape \[B, M\] = \[2, M\], got \[1, 3\]",
        ),
        ((IDS[0], IDS), {}, ValueError, r"`base` must have shape \[B, L\], got \[3\]"),
        (
            (IDS, IDS),
            {"base_lengths": np.array([1])},
            ValueError,
            r"`base_lengths` must have shape \[B\] = \[2\], got \[1\]",
        ),
        (
            (IDS, IDS),
            {"base_lengths": np.array([1, 4])},
            ValueError,
            r"`base_lengths` must be from 0 to 3, got 4 at index 1",
        ),
        (
            (IDS, IDS),
            {"retry_lengths": np.array([-1, 0])},
            ValueError,
            r"`retry_lengths` must be from 0 to 3, got -1 at index 0",
        ),
        (
            (IDS[0], IDS[0]),
            {"base_cu_seqlens": ends(0, 3)},
            ValueError,
            r"`retry_cu_seqlens` must be given, as `base_cu_seqlens` is, got None",
        ),
        (
            (IDS, IDS),
            {"retry_cu_seqlens": ends(0, 3)},
            ValueError,
            r"`retry_cu_seqlens` must be None, as `base_cu_seqlens` is, got an",
        ),
        (
            (IDS[0], IDS[0]),
            {"base_cu_seqlens": ends(0, 3), "retry_cu_seqlens": ends(0, 1, 3)},
            ValueError,
            r"`retry_cu_seqlens` must have shape \[B \+ 1\] = \[2\], got \[3\]",
        ),
        (
            (IDS[0], IDS[0]),
            {"base_cu_seqlens": np.array([0, 3]), "retry_cu_seqlens": ends(0, 3)},
            TypeError,
            r"`base_cu_seqlens` must have dtype int32, got int64",
        ),
        (
            (IDS[0], IDS[0]),
            {"base_cu_seqlens": ends(), "retry_cu_seqlens": ends(0)},
            ValueError,
            r"`base_cu_seqlens` must have shape \[B \+ 1\], got \[0\]",
        ),
        (
            (IDS[0], IDS[0]),
            {"base_cu_seqlens": ends(0, 3), "retry_cu_seqlens": ends(0, 2)},
            ValueError,
            r"`retry_cu_seqlens` must go from 0 to 3 without decreasing, got 2 at the end",
        ),
        (
            (IDS[0], IDS[0]),
            {
                "base_cu_seqlens": ends(0, 3),
                "retry_cu_seqlens": ends(0, 3),
                "base_lengths": np.array([3]),
            },
            ValueError,
            r"`base_lengths` must be None for packed sequences, got an array",
        ),
    ],
)
def test_divergence_points_rejects(arguments, options, error, message):
    with pytest.raises(error, match=f"divergence_points: {message}"):
        fastrl.divergence_points(*arguments, **options)


def test_advantages_amplification_pivots_and_loss_compose(cpu_backend):
    """Two groups of a base and its retry; in the first both fail, in the second the retry works."""
    group_ids = torch.tensor([7, 4, 7, 4])
    rewards = torch.tensor([0.0, 0.0, 0.0, 1.0])
    action_mask = torch.tensor([[0, 1, 1, 0, 1, 1, 0, 1]] * 4, dtype=torch.bool)
    turn_starts = torch.tensor([[1, 4, 7]] * 4, dtype=torch.int32)
    loss_mask = fastrl.pivot_mask(action_mask, turn_starts, torch.tensor([2, 1, 2, 1]))
    advantages = fastrl.group_advantages(rewards, group_ids, scale="none")
    amplified = fastrl.positive_amplification(advantages, rewards)
    assert amplified.tolist() == [0.0, -0.5, 0.0, 3.0]

    log_probs = torch.full([4, 8], -1.0).masked_fill(~loss_mask, float("nan")).requires_grad_()
    result = fastrl.policy_loss(log_probs, amplified, loss_mask, spec="r3l")
    result.loss.backward()
    assert result.loss.isfinite()
    credited = loss_mask & (amplified != 0)[:, None]
    assert torch.equal(log_probs.grad != 0, credited)
    assert credited.sum(1).tolist() == [0, 3, 0, 3]

    failures = torch.zeros(4)
    nothing = fastrl.positive_amplification(fastrl.group_advantages(failures, group_ids), failures)
    fresh = torch.full([4, 8], -1.0, requires_grad=True)
    loss = fastrl.policy_loss(fresh, nothing, loss_mask, spec="r3l").loss
    loss.backward()
    assert loss == 0
    assert not fresh.grad.any()
