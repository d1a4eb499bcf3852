"""What the replay buffer reads and returns: dtypes, layouts, who owns the memory."""

import numpy as np
import pytest
import torch
from fastrl.replay import ReplayBuffer
from numbered_rows import FIELDS, filled


def test_arrays_are_reused_only_once_nobody_holds_them():
    buffer = filled(20)
    first = buffer.sample(16)
    address = first.observations.ctypes.data
    kept = first.observations[3:5]
    expected = kept.copy()
    del first
    for _ in range(30):
        batch = buffer.sample(16)
        assert batch.observations.ctypes.data != address
    np.testing.assert_array_equal(kept, expected)
    del kept, batch
    seen = {buffer.sample(16).observations.ctypes.data for _ in range(30)}
    assert address in seen
    assert len(seen) <= 3


def test_tensors_hold_their_arrays():
    buffer = filled(20)
    batch = buffer.sample(16, output="torch")
    assert isinstance(batch.observations, torch.Tensor)
    assert batch.rewards.dtype == torch.float32
    assert isinstance(batch.handles, np.ndarray)
    kept = batch.observations[2]
    expected = kept.clone()
    del batch
    for _ in range(30):
        buffer.sample(16, output="torch")
    assert torch.equal(kept, expected)


def test_inputs_are_converted_where_nothing_is_lost():
    buffer = ReplayBuffer(20, FIELDS, num_lanes=2)
    wide = np.arange(24, dtype=np.float64).reshape(2, 12)
    for observations in (
        wide[:, ::4],
        torch.from_numpy(wide[:, ::4]),
        wide[:, ::4].astype(np.int16),
        wide[:, ::4].tolist(),
        torch.from_numpy(wide[:, ::4]).bfloat16(),
    ):
        buffer.add(
            observations=observations,
            actions=np.array([1, 2], np.uint8),
            rewards=torch.tensor([1.0, 2.0]),
            terminated=torch.tensor([False, False]),
            truncated=np.zeros(2, np.uint8),
        )
    batch = buffer.gather(buffer.handles())
    np.testing.assert_array_equal(batch.observations, np.repeat(wide[:, ::4], 4, 0))
    np.testing.assert_array_equal(batch.actions, [1, 1, 1, 1, 2, 2, 2, 2])


def test_any_dtype_of_fixed_size_is_kept():
    dtypes = ["?", "i1", "u2", "i8", "u8", "f2", "f8", "c16", "S5", "U3", ">f4", "M8[s]"]
    buffer = ReplayBuffer(20, {"observations": {dtype: ((2,), dtype) for dtype in dtypes}})
    flags = np.zeros((6, 1), bool)
    numbers = np.arange(12).reshape(6, 1, 2)
    given = {dtype: (numbers if dtype != "?" else numbers % 2).astype(dtype) for dtype in dtypes}
    buffer.add(observations=given, terminated=flags, truncated=flags)
    batch = buffer.gather(buffer.handles())
    for dtype in dtypes:
        assert batch.observations[dtype].dtype == np.dtype(dtype)
        np.testing.assert_array_equal(batch.observations[dtype], given[dtype][:5, 0])
        np.testing.assert_array_equal(batch.next_observations[dtype], given[dtype][1:, 0])


def test_arrays_of_any_layout_are_read():
    buffer = ReplayBuffer(20, FIELDS)
    raw = np.zeros(1 + 5 * 3 * 4, np.uint8)[1:].view(np.float32).reshape(5, 1, 3)
    assert not raw.flags.aligned
    raw[:] = np.arange(15).reshape(5, 1, 3)
    flags = np.zeros((5, 1), bool)
    plain = np.asfortranarray(np.zeros((5, 1)))
    buffer.add(observations=raw, actions=flags, rewards=plain, terminated=flags, truncated=flags)
    batch = buffer.gather(buffer.handles())
    np.testing.assert_array_equal(batch.observations, np.arange(12).reshape(4, 3))


def test_a_batch_reads_like_a_dict_too():
    batch = filled(5).sample(4)
    assert batch["observations"] is batch.observations
    assert {"observations", "next_observations", "handles"} <= set(batch.keys())
    assert "rewards" in batch
    assert len(batch) == 4
    assert list(batch) == list(batch.keys())
    with pytest.raises(AttributeError, match="this batch has no 'reward', but"):
        batch.reward  # noqa: B018
