"""Episodes that nobody ends."""

import numpy as np
import pytest
from fastrl.replay import Field, Prioritized, ReplayBuffer
from told_rows import FIELDS, steps


def test_an_episode_without_an_end_is_cut():
    buffer = ReplayBuffer(40, FIELDS, num_lanes=2, sampler=Prioritized(), n_step=2)
    handles = buffer.add(**steps(0, 5, 2), priorities=np.full((5, 2), 3.0))
    buffer.end_episode([0])
    assert buffer.num_drawable == 4 + 4
    buffer.end_episode([0])  # nothing is open
    buffer.add(**steps(100, 3), lanes=[0])
    batch = buffer.gather(handles[:4, 0][:-1])
    np.testing.assert_array_equal(batch.truncated, [False, False, True])
    np.testing.assert_array_equal(batch.next_observations[:, 0], [2, 3, 4])
    np.testing.assert_array_equal(buffer.places(handles[:1, 0]).last_rows, [4])
    with pytest.raises(
        ValueError, match=r"^end_episode: `lanes` must be lanes with an open episode"
    ):
        buffer.end_episode([0, 1], np.zeros((2, 4))), buffer.end_episode([0], np.zeros((1, 4)))


def test_a_cut_is_saved(tmp_path):
    """The rows that it changes were saved before, and are saved again."""
    buffer = ReplayBuffer(40, FIELDS, n_step=3, sampler=Prioritized())
    handles = buffer.add(**steps(0, 8))[:, 0]
    buffer.save(tmp_path / "saved")
    buffer.end_episode(0)
    buffer.add(**steps(100, 5))
    buffer.save(tmp_path / "saved")
    loaded = ReplayBuffer.load(tmp_path / "saved")
    batches = [one.gather(handles[:7]) for one in (buffer, loaded)]
    for name in batches[0]:
        np.testing.assert_array_equal(batches[0][name], batches[1][name])
    np.testing.assert_array_equal(batches[1].truncated, np.arange(7) >= 4)
    np.testing.assert_array_equal(batches[1].next_observations[4:, 0], 7)


def test_a_single_step_without_an_end_is_left_alone():
    fields = {"observations": Field((), "float64", 3, "first"), "rewards": ((), "float32")}
    buffer = ReplayBuffer(12, fields, sampler=Prioritized())
    flag = np.zeros(1, bool)
    handles = []
    for step in range(40):  # more episodes than the lane has rows
        added = buffer.add(
            observations=[float(step)], rewards=[1.0], terminated=flag, truncated=flag
        )
        handles.append(added[0])
        if step % 4 != 2:
            buffer.end_episode(0)
            with pytest.raises(ValueError, match="lanes with an open episode, got lane 0"):
                buffer.end_episode(0, np.zeros(1))
            assert buffer.update_priorities(added, [9.0]) == 0
    # Of every four rows the third goes on in the fourth, which ends it.
    drawable = buffer.gather(buffer.handles())
    np.testing.assert_array_equal(drawable.observations[:, -1] % 4, 2)
    np.testing.assert_array_equal(
        drawable.next_observations[:, -1], drawable.observations[:, -1] + 1
    )
    np.testing.assert_array_equal(drawable.observations[:, 0], drawable.observations[:, -1])
    assert drawable.truncated.all()
    assert buffer.gather_rows([0], [37])["observations"].tolist() == [[37.0] * 3]
