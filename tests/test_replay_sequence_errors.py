"""Sequences: bad calls, and priorities of sequences."""

import re

import numpy as np
import pytest
import torch
from fastrl.reference import sequences as spec_sequences
from fastrl.replay import Prioritized, ReplayBuffer, Uniform, sequence_priorities
from numbered_episodes import FIELDS, filled
from tolerance import assert_close


def test_rows_that_go_too_fast_are_an_error(monkeypatch):
    buffer = filled([20])

    class Fast:
        def __getattr__(self, name):
            return getattr(buffer._native, name)

        def gather_rows(self, *arguments):
            raise IndexError

    monkeypatch.setattr(buffer._sequences, "_native", Fast())
    with pytest.raises(RuntimeError, match=r"^sample_sequences: rows were overwritten before they"):
        buffer.sample_sequences(4, 3)


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"n": 0}, ValueError, "`n` must be from 1 to 2147483647, got 0"),
        ({"n": 2.0}, TypeError, "`n` must be an integer, got float"),
        ({"length": 0}, ValueError, "`length` must be at least 1, got 0"),
        ({"burn_in": -1}, ValueError, "`burn_in` must be at least 0, got -1"),
        ({"bootstrap": -1}, ValueError, "`bootstrap` must be at least 0, got -1"),
        ({"boundary": "wrap"}, ValueError, "`boundary` must be one of 'pad', 'stop', 'shift', got"),
        ({"time_major": 1}, TypeError, "`time_major` must be True or False, got 1"),
        ({"output": "jax"}, ValueError, "`output` must be one of 'numpy', 'torch', 'pinned', got"),
        ({"sampler": "best"}, ValueError, "`sampler` must be one of 'default', got 'best'"),
        (
            {"importance_exponent": -1},
            ValueError,
            "`importance_exponent` must be finite and at least 0",
        ),
        (
            {"length": 990, "burn_in": 10},
            ValueError,
            "`length` must be at most a lane's 1000 rows with burn_in and bootstrap, got 990, "
            "which makes 1001",
        ),
    ],
)
def test_arguments_are_checked(arguments, kind, message):
    buffer = filled([20])
    with pytest.raises(kind, match="^" + re.escape(f"sample_sequences: {message}")):
        buffer.sample_sequences(**{"n": 4, "length": 5, **arguments})
    assert buffer.num_sampled == 0


def test_nothing_to_draw_is_an_error():
    with pytest.raises(ValueError, match=r"^sample_sequences: the buffer is empty$"):
        ReplayBuffer(100, FIELDS).sample_sequences(4, 5)
    buffer = filled([5], sampler=Uniform("without_replacement"))
    rule = "^sample_sequences: `n` must be at most the 5 that can be drawn, got 6$"
    with pytest.raises(ValueError, match=rule):
        buffer.sample_sequences(6, 2)


def test_names_of_masks_are_taken():
    buffer = ReplayBuffer(100, {**FIELDS, "is_first": ((), "bool")})
    rule = "^sample_sequences: `fields` must not have a name that sequences use, .*, got 'is_first'"
    with pytest.raises(ValueError, match=rule):
        buffer.sample_sequences(4, 5)


@pytest.mark.parametrize("eta", [0.0, 0.9, 1.0])
def test_sequence_priorities(eta):
    random = np.random.default_rng(0)
    errors = random.normal(size=(5, 7)).astype(np.float32)
    mask = random.random((5, 7)) < 0.6
    mask[:, 2] = True
    errors[~mask] = np.nan
    expected = [
        spec_sequences.sequence_priority(row[of].astype(float).tolist(), eta)
        for row, of in zip(errors, mask, strict=True)
    ]
    assert_close(sequence_priorities(errors, mask, eta), np.array(expected))
    tensors = torch.from_numpy(errors.T.copy()), torch.from_numpy(mask.T.copy())
    assert_close(sequence_priorities(*tensors, eta, time_major=True), np.array(expected))


def test_sequence_priorities_are_those_of_the_drawn_steps():
    buffer = filled([40], sampler=Prioritized())
    batch = buffer.sample_sequences(6, 5, burn_in=2, boundary="shift")
    errors = np.arange(48.0).reshape(6, 8)
    priorities = sequence_priorities(errors, batch.learning_mask)
    assert buffer.update_priorities(batch.handles, priorities) == 6
    _, last = np.unique(batch.handles[::-1], return_index=True)
    np.testing.assert_allclose(
        buffer.priorities(batch.handles[::-1][last]), priorities[::-1][last], rtol=1e-6
    )
    steps = batch.step_handles[batch.learning_mask]
    assert buffer.update_priorities(steps, np.ones(len(steps))) == len(steps)


@pytest.mark.parametrize(
    ("errors", "mask", "options", "kind", "message"),
    [
        (np.zeros((2, 3), int), np.ones((2, 3), bool), {}, TypeError,
         "`td_errors` must have a dtype of floating point, got int64"),
        (np.zeros(3), np.ones(3, bool), {}, ValueError,
         "`td_errors` must have shape [n, T], got [3]"),
        (np.zeros((2, 3)), np.ones((2, 3)), {}, TypeError,
         "`mask` must have dtype bool, got float64"),
        (np.zeros((2, 3)), np.ones((3, 2), bool), {}, ValueError,
         "`mask` must have shape [n, T] = [2, 3], got [3, 2]"),
        (np.zeros((2, 3)), np.array([[True] * 3, [False] * 3]), {}, ValueError,
         "`mask` must have a step of every sequence, got none of sequence 1"),
        (np.full((2, 3), np.nan), np.ones((2, 3), bool), {}, ValueError,
         "`td_errors` must be finite, got others in sequence 0"),
        (np.zeros((2, 3)), np.ones((2, 3), bool), {"eta": 2}, ValueError,
         "`eta` must be "),
        (np.zeros((2, 3)), np.ones((2, 3), bool), {"time_major": 1}, TypeError,
         "`time_major` must be True or False, got 1"),
    ],
)  # fmt: skip
def test_sequence_priorities_check_their_arguments(errors, mask, options, kind, message):
    with pytest.raises(kind, match="^" + re.escape(f"sequence_priorities: {message}")):
        sequence_priorities(errors, mask, **options)
