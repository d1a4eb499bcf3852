"""Wrong arguments of draws, priorities and evictions: each is named, and nothing changes."""

import numpy as np
import pytest
from fastrl.replay import Marked, Prioritized, ReplayBuffer, Uniform
from small_rows import FIELDS, made, rows


def test_sampling_what_is_not_there_says_why():
    buffer = ReplayBuffer(20, FIELDS, sampler=Prioritized())
    with pytest.raises(ValueError, match=r"^sample: the buffer is empty"):
        buffer.sample(4)
    one = {name: value[:1] for name, value in rows().items()}
    buffer.add(**one)
    with pytest.raises(
        ValueError, match=r"^sample: no transition can be drawn yet, only once the ro"
    ):
        buffer.sample(4)
    buffer.add(**one)
    buffer.update_priorities(buffer.handles(), np.zeros(1))
    with pytest.raises(ValueError, match=r"^sample: all priorities are 0"):
        buffer.sample(4)


def test_sampling_says_that_nothing_is_marked():
    buffer = made(sampler={"all": Uniform(), "best": Marked()})
    with pytest.raises(ValueError, match=r"^sample: no transition is marked"):
        buffer.sample(4, sampler="best")


def test_fields_that_torch_has_no_dtype_for_are_named_before_a_draw():
    fields = {"observations": ((), "float32"), "rewards": ((), "float32"), "names": ((), "S3")}
    buffer = ReplayBuffer(10, fields)
    for _ in range(3):
        flags = {"terminated": [False], "truncated": [False]}
        buffer.add(observations=[0.0], rewards=[0.0], names=[b"abc"], **flags)
    message = r": `output` must be 'numpy', as torch has no dtype like \|S3 of 'names', got 'torch'"
    with pytest.raises(ValueError, match="^sample" + message):
        buffer.sample(2, output="torch")
    with pytest.raises(ValueError, match="^gather" + message):
        buffer.gather(buffer.handles(), output="torch")
    with pytest.raises(ValueError, match="^sample_sequences" + message):
        buffer.sample_sequences(1, 2, output="torch")
    assert buffer.num_sampled == 0
    assert buffer.sample(2).names.tolist() == [b"abc"] * 2


def test_new_priorities_need_a_sampler_that_has_some():
    buffer = made(sampler=Uniform())
    before = len(buffer)
    with pytest.raises(ValueError, match=r"^add: `priorities` must be None: no sampler of this"):
        buffer.add(**rows(), priorities=np.ones(len(rows()["terminated"])))
    assert len(buffer) == before


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n": 0}, ValueError, "`n` must be from 1 to 2147483647, got 0"),
        ({"n": 4.0}, TypeError, "`n` must be an integer, got float"),
        ({"n": True}, TypeError, "`n` must be an integer, got bool"),
        ({"output": "jax"}, ValueError, "`output` must be one of 'numpy', 'torch', 'pinned', got"),
        ({"sampler": "other"}, ValueError, "`sampler` must be one of 'default', got 'other'"),
        ({"importance_exponent": -1}, ValueError, "`importance_exponent` must be finite and at le"),
    ],
)
def test_sample_says_what_is_wrong(options, error, message):
    buffer = made()
    buffer.sample(4)
    buffer.sample(1)
    with pytest.raises(error, match=f"^sample: {message}"):
        buffer.sample(**{"n": 4} | options)


@pytest.mark.parametrize("scheme", ["independent", "without_replacement"])
def test_without_replacement_there_must_be_enough(scheme):
    buffer = made(sampler=Prioritized(scheme=scheme))
    assert len(buffer.sample(12)) == 12
    if scheme == "without_replacement":
        with pytest.raises(
            ValueError, match=r"^sample: `n` must be at most the 12 that can be draw"
        ):
            buffer.sample(13)


@pytest.mark.parametrize(
    ("handles", "priorities", "error", "message"),
    [
        (
            [0, 80],
            [1.0, 1],
            ValueError,
            "`handles` must be handles of this buffer's rows, got 80 at",
        ),
        (
            [0, 5],
            [1.0, 1],
            ValueError,
            "`handles` must be handles of this buffer's rows, got 5 at 1",
        ),
        (
            [2**32],
            [1.0],
            ValueError,
            "`handles` must be handles of this buffer's rows, got 42949672",
        ),
        (
            [0, 1],
            [1.0, np.nan],
            ValueError,
            "`priorities` must be finite and at least 0, got nan at",
        ),
        ([0, 1], [-1.0, 1], ValueError, "`priorities` must be finite and at least 0, got -1 at 0"),
        ([0, 1], [1.0], ValueError, r"`priorities` must have shape \[n\] = \[2\], got \[1\]"),
    ],
)
def test_update_priorities_says_what_is_wrong_and_changes_nothing(
    handles, priorities, error, message
):
    buffer = made()
    before = buffer.priorities(buffer.handles())
    for dtype in (np.float64, np.float32):
        with pytest.raises(error, match=f"^update_priorities: {message}"):
            buffer.update_priorities(np.array(handles, np.uint64), np.array(priorities, dtype))
    np.testing.assert_array_equal(buffer.priorities(buffer.handles()), before)
    assert buffer.refused_updates == 0


def test_handles_must_be_handles():
    buffer = made()
    with pytest.raises(TypeError, match=r"^gather: `handles` must have dtype uint64, got int64"):
        buffer.gather(np.arange(3))
    with pytest.raises(
        ValueError, match=r"^priorities: `handles` must have shape \[n\], got \[1, 2\]"
    ):
        buffer.priorities(np.zeros((1, 2), np.uint64))
    with pytest.raises(
        ValueError, match=r"^gather: `handles` must be of transitions that can be dra"
    ):
        buffer.gather(np.array([3], np.uint64))
    for _ in range(20):
        buffer.add(**rows())
    with pytest.raises(ValueError, match=r"got 0 at 0, whose row has been overwritten"):
        buffer.gather(np.array([0], np.uint64))


def test_rows_must_be_there():
    buffer = made()
    for _ in range(30):
        buffer.add(**rows())
    with pytest.raises(
        ValueError, match=r"^places: `handles` must be of rows that are still there"
    ):
        buffer.places(np.zeros(1, np.uint64))
    with pytest.raises(
        IndexError, match=r"^gather_rows: `rows` must be from 14 to 33 in lane 3, go"
    ):
        buffer.gather_rows([3], [13])
    with pytest.raises(
        IndexError, match=r"^gather_rows: `rows` must be from 14 to 33 in lane 3, go"
    ):
        buffer.gather_rows([3], [34])
    with pytest.raises(
        ValueError, match=r"^gather_rows: `lanes` must have shape \[n\], got \[1, 1\]"
    ):
        buffer.gather_rows([[3]], [34])
    with pytest.raises(IndexError, match=r"^gather_rows: `lanes` must be from 0 to 3, got 4"):
        buffer.gather_rows([4], [20])
    with pytest.raises(
        ValueError, match=r"^gather_rows: `rows` must have shape \[n\] = \[1\], got"
    ):
        buffer.gather_rows([3], [20, 21])
    with pytest.raises(TypeError, match=r"^gather_rows: `rows` must hold integers, got float64"):
        buffer.gather_rows([3], [20.0])
    with pytest.raises(ValueError, match=r"^gather_rows: `names` must be one of 'actions', 'obse"):
        buffer.gather_rows([3], [20], ["action"])


def test_evict_says_what_is_wrong():
    buffer = made()
    with pytest.raises(
        ValueError, match=r"^evict: `which` must be a mask, bool of shape \[n\] = \[12"
    ):
        buffer.evict(np.zeros(3, bool))
    with pytest.raises(ValueError, match=r"^evict: `which` must be a mask, .*, got float64 \[12\]"):
        buffer.evict(lambda batch: batch.rewards.astype(float))
    with pytest.raises(ValueError, match=r"^evict: `which` must be handles of this buffer's rows"):
        buffer.evict(np.array([0, 999], np.uint64))
    assert buffer.num_drawable == 12


def test_uniform_samplers_have_no_priorities():
    buffer = made(sampler=Uniform())
    with pytest.raises(
        ValueError, match=r"^priorities: `sampler` must be a Prioritized one, got Unif"
    ):
        buffer.priorities(buffer.handles())
    with pytest.raises(
        ValueError, match=r"^update_priorities: `sampler` must be one that has priorities, go"
    ):
        buffer.update_priorities(buffer.handles(), np.ones(12))
