"""Saves of buffers: what is loaded goes on as what was saved, whatever happened in between."""

import os
import time
from pathlib import Path

import numpy as np
import pytest
from fastrl.replay import Prioritized, ReplayBuffer
from fresh_process import run_python
from lives import KINDS, SAMPLERS, Counter, assert_equal_buffers, made, running
from sameness import assert_same

CRASHES = Path(__file__).parents[1] / "benchmarks" / "replay_crash.py"


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_loaded_goes_on_as_what_was_saved(kind, tmp_path):
    life = made(kind)
    for steps in (0, 1, 4, 30, 45):  # empty, open episodes, not full, around the ring
        life.live(steps)
        life.buffer.save(tmp_path)
        twin = life.twin(ReplayBuffer.load(tmp_path))
        assert_equal_buffers(life.buffer, twin.buffer)
        assert_same(life.live(12), twin.live(12))
        assert_equal_buffers(life.buffer, twin.buffer)
        life = twin  # goes on with what was loaded
    assert life.buffer.refused_updates > 0 or kind == "plain"


def test_the_next_ten_thousand_samples_are_equal(tmp_path):
    life = made(capacity=3000)
    life.live(400)
    life.buffer.save(tmp_path)
    loaded = ReplayBuffer.load(tmp_path)
    for name in SAMPLERS:
        for _ in range(10):
            ours, theirs = (b.sample(1000, sampler=name) for b in (life.buffer, loaded))
            assert_same({key: ours[key] for key in ours}, {key: theirs[key] for key in theirs})


@pytest.mark.parametrize("source", ["memory", "shared", "file"])
@pytest.mark.parametrize("target", ["memory", "shared", "file"])
def test_any_storage_is_saved_and_loaded(source, target, tmp_path):
    storages = {
        "memory": ("memory", "memory"),
        "shared": tuple(f"shared:fastrl-durable-{os.getpid()}-{end}" for end in "ab"),
        "file": (tmp_path / "a", tmp_path / "b"),
    }
    life = made("pictures", storage=storages[source][0])
    life.live(30)
    life.buffer.save(tmp_path / "saved")
    twin = life.twin(ReplayBuffer.load(tmp_path / "saved", storage=storages[target][1]))
    assert_same(life.live(5), twin.live(5))
    if target != "memory":
        assert_equal_buffers(ReplayBuffer.open(storages[target][1]), twin.buffer)


def test_a_buffer_that_is_opened_can_be_saved(tmp_path):
    life = made(storage=tmp_path / "rows")
    life.live(20)
    ReplayBuffer.open(tmp_path / "rows").save(tmp_path / "saved")
    twin = life.twin(ReplayBuffer.load(tmp_path / "saved"))
    assert_same(life.live(5), twin.live(5))


def test_saves_write_what_is_new(tmp_path):
    life = made("plain", capacity=30_000)
    life.add(5000)
    whole = life.buffer.save(tmp_path)
    assert whole.rows_written >= 15_000
    assert whole.segments_kept == 0
    life.add(100)
    report = life.buffer.save(tmp_path)
    assert 300 <= report.rows_written < 400  # with final observations
    assert report.segments_kept == 1
    assert report.bytes_written < whole.bytes_written
    # Also by the buffer that is loaded, and no longer by the other one once that has saved.
    loaded = life.twin(ReplayBuffer.load(tmp_path))
    loaded.add(100)
    assert loaded.buffer.save(tmp_path).rows_written < 500
    assert life.buffer.save(tmp_path).rows_written > 15_000


@pytest.mark.parametrize("change", ["cut off", "evicted"])
def test_the_newest_rows_are_written_again_when_they_change(change, tmp_path):
    life = made("plain")
    buffer = life.buffer
    life.live(10)
    while True:  # until all episodes are open
        newest = life.add(1)[0]
        buffer.save(tmp_path)
        if not buffer.places(newest).complete.any():
            break
    if change == "cut off":
        buffer.end_episode([0, 1, 2], np.ones((3, 3)))
    else:
        assert buffer.evict(newest) == 3
    report = buffer.save(tmp_path)
    assert report.segments_kept > 0
    twin = life.twin(ReplayBuffer.load(tmp_path))
    for one in (life, twin):
        one.add(1)
        assert not (change == "evicted" and np.isin(newest, one.buffer.handles()).any())
    assert_equal_buffers(buffer, twin.buffer)
    if change == "cut off":
        drawn = twin.buffer.gather(newest)
        assert drawn.truncated.all()
        assert (drawn.next_observations == 1).all()
    assert_same(life.live(3), twin.live(3))


def test_two_folders_in_turn_are_both_incremental(tmp_path):
    life = made("plain", capacity=30_000)
    life.add(3000)
    reports = []
    for turn in range(8):
        reports.append(life.buffer.save(tmp_path / f"replay-{turn % 2}"))
        life.live(10)
        if turn == 5:  # a restart, from the newer one
            life = life.twin(ReplayBuffer.load(tmp_path / "replay-1"))
            life.live(10)
    assert [report.rows_written > 9000 for report in reports] == [
        *(True, True, False, False, False, False),
        *(True, False),  # replay-0 is not what replay-1 goes on from
    ]
    for turn in (0, 1):
        assert len(list((tmp_path / f"replay-{turn}").iterdir())) < 20


def test_many_saves_leave_few_files_and_no_more_than_the_rows_twice(tmp_path):
    life = made("plain", capacity=3000)
    for _ in range(60):
        life.live(5)
        life.buffer.save(tmp_path)
    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert len(sizes) < 30
    life.buffer.save(tmp_path / "whole")
    assert sum(sizes) < 3 * sum(path.stat().st_size for path in (tmp_path / "whole").iterdir())


def test_threads_go_on_while_a_buffer_is_saved(tmp_path):
    fields = {"observations": ((64,), "int64"), "rewards": ((), "float32")}
    buffer = ReplayBuffer(60_000, fields, num_lanes=2, sampler=Prioritized())
    done = [0, 0]

    def write(stop, lane):
        while not stop.is_set():
            number = np.arange(done[lane], done[lane] + 50)
            buffer.add(
                observations=np.repeat(number[:, None, None], 64, 2),
                rewards=number[:, None].astype(np.float32),
                terminated=np.zeros((50, 1), bool),
                truncated=np.zeros((50, 1), bool),
                lanes=np.array([lane]),
            )
            done[lane] += 50

    with running(write, (0, 1)):
        while min(done) < 500:
            time.sleep(0.01)
        for turn in range(6):
            before = sum(done)
            buffer.save(tmp_path)
            loaded = ReplayBuffer.load(tmp_path, storage=tmp_path / f"rows-{turn}")
            assert before <= loaded.num_added <= sum(done) + 100
            for lane in (0, 1):  # every lane's rows are the newest ones, without a gap, whole
                places = loaded.places(loaded.handles())
                first, last = (f(places.rows[places.lanes == lane]) for f in (np.min, np.max))
                numbers = np.arange(first, last + 2)
                rows = loaded.gather_rows(np.full(len(numbers), lane), numbers)
                assert (rows["observations"] == numbers[:, None]).all()
                assert (rows["rewards"] == numbers.astype(np.float32)).all()
                assert last + 2 - first == min(last + 2, 30_000)
            handles = loaded.handles()
            assert len(handles) == loaded.num_drawable
            assert (loaded.priorities(handles) > 0).all()


def test_other_objects_travel_along(tmp_path):
    state = {
        "numbers": [1, 2.5, True, None, -(2**70), float("inf"), np.int8(3), np.float32(0.1)],
        "text": "ä\ud800/",
        "bytes": b"\0\1",
        "nested": {"array": {"list": [{}]}},
        "arrays": [
            np.arange(6, dtype=">i2").reshape(2, 3)[:, ::2],
            np.array(7.0),
            np.zeros((0, 3), "U4"),
            np.array(["2020-01-01"], "M8[D]"),
        ],
    }
    life = made("plain")
    life.live(3)
    life.buffer.save(tmp_path, extras={"all": Counter(**state), "none": Counter()})
    loaded = Counter()
    ReplayBuffer.load(tmp_path, extras={"all": loaded})
    arrays, state["arrays"] = state["arrays"], None
    loaded_arrays, loaded.state["arrays"] = loaded.state["arrays"], None
    assert loaded.state == state
    assert_same(
        loaded_arrays, [np.ascontiguousarray(array) if array.ndim else array for array in arrays]
    )
    with pytest.raises(ValueError, match=r"load: `extras\['x'\]` must be one of \['all', 'none'\]"):
        ReplayBuffer.load(tmp_path, extras={"x": Counter()})
    with pytest.raises(
        TypeError, match=r"save: `extras\['x'\]\['a'\]\[0\]` must be numbers, .* got object"
    ):
        life.buffer.save(tmp_path, extras={"x": Counter(a=[object()])})
    with pytest.raises(TypeError, match=r"`extras\['x'\]` must be an object with state_dict"):
        life.buffer.save(tmp_path, extras={"x": {}})
    with pytest.raises(TypeError, match="`extras` must be a dict of objects with state_dict, got"):
        life.buffer.save(tmp_path, extras=[Counter()])


def test_killed_processes_lose_nothing_that_was_committed():
    said = run_python(CRASHES, "--kills", 6)
    assert "| SIGKILLs | 6 |" in said
    assert "Nothing was lost." in said
