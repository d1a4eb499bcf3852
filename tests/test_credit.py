"""Pivot masks against the specification."""

import fastrl
import numpy as np
import pytest
from fastrl.reference import credit as reference
from sameness import assert_same

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


def test_pivot_mask_results_do_not_depend_on_threads(set_threads):
    _, starts, pivots = batch(64, 8, 20000, -1)
    mask = np.random.default_rng(0).random((64, 20000)) < 0.5
    expected = reference.pivot_mask(mask, starts, pivots)
    for threads in [1, 2, 3]:
        set_threads(threads)
        actual = fastrl.pivot_mask(mask, starts.numpy(), pivots.numpy())
        np.testing.assert_array_equal(actual, expected)


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
