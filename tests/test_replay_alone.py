"""Buffers without observations: each step stands alone."""

import numpy as np
import pytest
from fastrl.replay import Prioritized, ReplayBuffer, Uniform

FIELDS = {"inputs": ((2,), "float32"), "rewards": ((), "float64")}


def step(numbers, **options):
    numbers = np.asarray(numbers, np.float64)
    ends = {"terminated": numbers % 2 == 1, "truncated": numbers % 3 == 0}
    inputs = np.stack([numbers, -numbers], -1).astype(np.float32)
    return {"inputs": inputs, "rewards": numbers, **ends, **options}


def test_a_step_can_be_drawn_at_once():
    buffer = ReplayBuffer(5, FIELDS, num_lanes=1)
    for number in range(12):
        buffer.add(**step([number]))
        first = max(number - 4, 0)
        assert len(buffer) == buffer.num_drawable == number + 1 - first
        batch = buffer.gather(buffer.handles())
        assert sorted(batch.rewards) == list(range(first, number + 1))
        np.testing.assert_array_equal(batch.inputs[:, 0], batch.rewards)
        np.testing.assert_array_equal(batch.terminated, batch.rewards % 2 == 1)
        np.testing.assert_array_equal(batch.truncated, batch.rewards % 3 == 0)
        np.testing.assert_array_equal(batch.discounts, np.where(batch.terminated, 0, 0.99))
        assert "next_observations" not in batch
    drawn = set(buffer.sample(200).rewards)
    assert drawn == set(range(7, 12))


@pytest.mark.parametrize("capacity", [1, 2, 3, 7])
def test_chunks_longer_than_a_lane(capacity):
    buffer = ReplayBuffer(capacity, FIELDS, sampler=Prioritized())
    handles = buffer.add(**step(np.arange(20)[:, None]))
    assert buffer.num_added == 20
    kept = buffer.gather(buffer.handles())
    assert kept.rewards.tolist() == list(range(20 - capacity, 20))
    np.testing.assert_array_equal(kept.handles, handles[20 - capacity :, 0])
    np.testing.assert_array_equal(
        buffer.are_drawable(handles[:, 0]), np.arange(20) >= 20 - capacity
    )


def test_priorities_and_eviction():
    buffer = ReplayBuffer(8, FIELDS, num_lanes=2, sampler={"per": Prioritized(), "all": Uniform()})
    handles = buffer.add(**step([[0, 1], [2, 3], [4, 5]], priorities=np.full((3, 2), 2.0)))
    assert buffer.update_priorities(handles[2], np.array([0.0, 5.0])) == 2
    chances = buffer.sample(300)
    assert set(chances.rewards) == {0, 1, 2, 3, 5}
    np.testing.assert_allclose(buffer.priorities(handles.ravel()), [2, 2, 2, 2, 0, 5], rtol=1e-6)
    assert buffer.evict(handles[1]) == 2
    assert buffer.num_drawable == 4
    assert buffer.num_drawable_by("per") == 3
    assert buffer.update_priorities(handles[1], np.ones(2)) == 0
    buffer.add(**step([[6, 7], [8, 9]]))
    assert buffer.num_drawable == 6  # the first step of each lane is overwritten
    # New ones take the largest priority that was ever given, 5.
    new = buffer.handles()[[2, 5]]
    np.testing.assert_allclose(buffer.priorities(new), 5, rtol=1e-6)


def test_what_needs_observations():
    buffer = ReplayBuffer(8, FIELDS)
    buffer.add(**step([1]))
    with pytest.raises(ValueError, match="sample_sequences: `fields` must have 'observations'"):
        buffer.sample_sequences(1, 1)
    rule = "`final_observations` must be None where fields have no 'observations', got dict"
    with pytest.raises(ValueError, match=f"end_episode: {rule}"):
        buffer.end_episode(np.array([0]), {})
    with pytest.raises(ValueError, match=f"add: {rule}"):
        buffer.add(**step([1]), final_observations={})
    with pytest.raises(ValueError, match="`n_step` must be 1 where fields have no 'observations'"):
        ReplayBuffer(8, FIELDS, n_step=2)
