"""The arrays of a batch: who owns them, which are written, and tensors over them."""

import fastrl
import numpy as np
import pytest
from sameness import assert_same


def test_returned_arrays_are_not_written_again():
    env = fastrl.make_vec("Sokoban-v0", 8)
    observations, _ = env.reset(seed=0)
    kept = [(observations[1:3], observations[1:3].copy())]
    lengths = env.observation_lengths
    before = lengths.copy()
    for t in range(20):
        observations, rewards, terminated, _, infos = env.step(np.full(8, t % 4))
        held = (observations.T, rewards[::2], terminated, infos["_success"])
        kept += [(array, array.copy()) for array in held]
    for array, copied in kept:
        np.testing.assert_array_equal(array, copied)
    np.testing.assert_array_equal(lengths, before)


def test_a_step_reuses_arrays_that_nobody_holds():
    env = fastrl.make_vec("Sokoban-v0", 8)
    env.reset(seed=0)
    addresses = {env.step(np.zeros(8, int))[0].ctypes.data for _ in range(50)}
    assert len(addresses) <= 4


def test_tensors_share_the_memory_of_the_arrays():
    torch = pytest.importorskip("torch")
    env = fastrl.make_vec("CodeLock-v0", 3, output="torch")
    twin = fastrl.make_vec("CodeLock-v0", 3)
    observations, _ = env.reset(seed=0)
    assert isinstance(observations, torch.Tensor)
    twin.reset(seed=0)
    held = []
    for _ in range(9):
        actions = torch.tensor([0, 1, 2])
        result, expected = env.step(actions), twin.step(actions)
        held.append((result[0], result[0].clone(), result[1][1:], result[1][1:].clone()))
        for tensor, array in zip(result[:4], expected[:4], strict=True):
            assert isinstance(tensor, torch.Tensor)
            assert np.array_equal(tensor.numpy(), array)
        del result
    # What somebody holds, if only a view, is never written again.
    for kept, copy, view, view_copy in held:
        assert torch.equal(kept, copy)
        assert torch.equal(view, view_copy)


def test_step_into_writes_the_arrays_of_the_caller():
    torch = pytest.importorskip("torch")
    env, twin = (fastrl.make_vec("CodeLock-v0", 3, length=2) for _ in range(2))
    env.reset(seed=0)
    twin.reset(seed=0)
    with pytest.raises(RuntimeError, match="step_infos: there was no step_into yet"):
        _ = env.step_infos
    observations = np.zeros((6, 3, env.max_observation_tokens), np.int32)
    rewards = torch.zeros(6, 3, dtype=torch.float64)
    flags = np.zeros((2, 6, 3), np.bool_)
    arrays = {"observations": observations[0], "rewards": rewards[0]}
    arrays |= {"terminated": flags[0, 0], "truncated": flags[1, 0]}
    for t in range(6):
        arrays = {"observations": observations[t], "rewards": rewards[t]}
        arrays |= {"terminated": flags[0, t], "truncated": flags[1, t]}
        env.step_into([0, 1, 2], **arrays)
        expected = twin.step([0, 1, 2])
        for name, array in zip(arrays, expected, strict=False):
            assert np.array_equal(np.asarray(arrays[name]), array)
        assert_same(env.step_infos, expected[4])
    for name, wrong, error, message in [
        ("rewards", np.zeros(3, np.float32), TypeError, "`rewards` must have dtype float64, got"),
        ("rewards", np.zeros(4), ValueError, r"`rewards` must have shape \[3\], got \[4\]"),
        ("truncated", [0, 0, 0], TypeError, "`truncated` must be a NumPy array, a buffer or a"),
        ("terminated", np.zeros(6, bool)[::2], ValueError, "`terminated` must be contiguous"),
        ("observations", flags[0, 0], TypeError, "`observations` must have dtype int32, got bool"),
    ]:
        before = env.snapshot().tobytes()
        with pytest.raises(error, match=f"step_into: {message}"):
            env.step_into([0, 1, 2], **(arrays | {name: wrong}))
        assert env.snapshot().tobytes() == before
