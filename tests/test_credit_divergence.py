"""Where two sequences part, against the specification."""

import fastrl
import numpy as np
import pytest
from conftest import HAS_CUDA
from fastrl.reference import credit as reference
from sameness import assert_same

torch = pytest.importorskip("torch")


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
