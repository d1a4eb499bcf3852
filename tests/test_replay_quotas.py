"""Quotas of tasks, and eviction by what stored fields say."""

import resource
import subprocess
import sys
import time

import numpy as np
import pytest
from fastrl.replay import MixReplay, Prioritized, QuotaReplay, ReplayBuffer

FIELDS = {"observations": {"x": ((2,), "float32")}, "tasks": ((), "int64"), "rewards": ((), "f4")}


def rows(keys, numbers, ends=False, **options):
    """Steps of environments; the observation is (task, number), and the next one's number + ½."""
    keys = np.asarray(keys)
    numbers = np.broadcast_to(np.asarray(numbers, np.float32), keys.shape)
    observations = np.stack([keys.astype(np.float32), numbers], -1)
    finals = observations + np.float32([0, 0.5])
    return {
        "keys": keys,
        "observations": {"x": observations},
        "tasks": keys,
        "rewards": numbers,
        "terminated": np.broadcast_to(np.asarray(ends), keys.shape).copy(),
        "truncated": np.zeros(keys.shape, bool),
        "final_observations": {"x": finals},
    } | options


def held(replay):
    return {
        key: buffer.gather(buffer.handles()).rewards.tolist()
        for key, buffer in replay.buffers.items()
        if buffer.num_drawable
    }


def test_a_task_only_overwrites_its_own_oldest():
    replay = QuotaReplay({5: 8, -3: 4, 9: 20}, FIELDS)
    replay.add(**rows([-3], 0, ends=True))
    for number in range(1, 100):
        replay.add(**rows([5], number, ends=True))
    # Each episode is a step and its final observation.
    assert held(replay) == {-3: [0], 5: [96, 97, 98, 99]}
    assert replay.sizes == {5: 8, -3: 2, 9: 0}
    assert len(replay) == 10
    assert replay.num_drawable == 5
    replay.add(**rows([-3], 100, ends=True))
    replay.add(**rows([-3], 101, ends=True))
    assert held(replay)[-3] == [100, 101]
    batch = replay.sample(10)
    assert np.bincount(batch.sources, minlength=3).tolist() == [5, 5, 0]
    np.testing.assert_array_equal(np.array(replay.keys)[batch.sources], batch.tasks)
    np.testing.assert_array_equal(batch.observations["x"][:, 0], batch.tasks)


@pytest.mark.parametrize("mode", [None, "next_step"])
def test_every_row_goes_to_its_key(mode):
    """Chunks and steps, all and some lanes: each key's buffer is as if it had been alone."""
    random = np.random.default_rng(1)
    options = {"num_lanes": 3, "n_step": 2, "autoreset_mode": mode}
    replay = QuotaReplay({0: 60, 1: 90, 2: 30}, FIELDS, **options)
    alone = {key: ReplayBuffer(60 + (0, 30, -30)[key], FIELDS, **options) for key in range(3)}
    task, ended = np.zeros(3, np.int64), np.zeros(3, bool)
    fresh = np.ones(3, bool)
    for number in range(60):
        lanes = np.sort(random.choice(3, random.integers(1, 4), replace=False))
        num_steps = int(random.choice([1, 1, 4]))
        chunk = []
        for step in range(num_steps):
            choose = fresh[lanes] & ~ended[lanes]
            task[lanes] = np.where(choose, random.integers(0, 3, len(lanes)), task[lanes])
            ends = (random.random(len(lanes)) < 0.3) & ~ended[lanes]
            one = rows(task[lanes].copy(), 10 * number + step, ends)
            if mode == "next_step":
                del one["final_observations"]
            for column, lane in enumerate(lanes):
                part = _mapped(one, lambda value, column=column: value[[column]])
                alone[int(part.pop("keys")[0])].add(**part, lanes=np.array([lane]))
            was = ended[lanes]
            if mode == "next_step":
                one["keys"] = np.where(was, random.integers(0, 3, len(lanes)), one["keys"])
                fresh[lanes], ended[lanes] = was, ends
            else:
                fresh[lanes] = ends
            chunk.append(one)
        given = {name: _stacked([one[name] for one in chunk]) for name in chunk[0]}
        if num_steps == 1:
            given = _mapped(given, lambda value: value[0])
        handles = replay.add(**given, lanes=lanes if len(lanes) < 3 else None)
        assert handles.shape == given["keys"].shape
    for key, buffer in replay.buffers.items():
        assert buffer.num_drawable > 0
        np.testing.assert_array_equal(buffer.handles(), alone[key].handles())
        one, other = (each.gather(each.handles()) for each in (buffer, alone[key]))
        for name in ("rewards", "discounts", "tasks", "terminated"):
            np.testing.assert_array_equal(one[name], other[name], name)
        np.testing.assert_array_equal(one.next_observations["x"], other.next_observations["x"])


def _mapped(value, change):
    if isinstance(value, dict):
        return {name: _mapped(one, change) for name, one in value.items()}
    return change(value)


def _stacked(values):
    if isinstance(values[0], dict):
        return {name: _stacked([value[name] for value in values]) for name in values[0]}
    return np.stack(values)


def test_priorities_find_their_key_and_relabels_too():
    replay = QuotaReplay({0: 20, 1: 20}, FIELDS, sampler=Prioritized(), shares={0: 1, 1: 3})
    for number in range(8):
        replay.add(**rows([number % 2], number, ends=True, priorities=np.ones(1)))
    batch = replay.sample(16)
    assert np.bincount(batch.sources).tolist() == [4, 12]
    assert replay.update_priorities(batch.handles, batch.rewards + 1.0, batch.sources) == 16
    for number, buffer in replay.buffers.items():
        mine = batch.sources == number
        values = buffer.priorities(batch.handles[mine])
        np.testing.assert_allclose(values, batch.rewards[mine] + 1, rtol=1e-6)
    seen = []
    replay.sample(8, relabel=lambda buffer, batch: seen.append(buffer) or batch)
    assert seen == list(replay.buffers.values())


def test_files_hold_the_quotas(tmp_path):
    path = tmp_path / "tasks"
    replay = QuotaReplay({3: 10, 4: 30}, FIELDS, storage=path, num_lanes=2, seed=5)
    replay.add(**rows([3, 4], 0))
    again = QuotaReplay.of({key: ReplayBuffer.open(f"{path}.{key}") for key in (3, 4)})
    # The open episodes are known.
    with pytest.raises(
        ValueError, match="add: `keys` must stay the same throughout an episode, got"
    ):
        again.add(**rows([4, 4], 1))
    again.add(**rows([3, 4], 1, ends=True))
    assert again.sizes == {3: 3, 4: 3}
    again.add(**rows([4, 3], 2))
    again.end_episode(np.array([1]), {"x": np.ones((1, 2), np.float32)})
    assert again.sizes == {3: 5, 4: 4}
    first, second = replay.sample(6), again.sample(6)
    assert first.rewards.shape == second.rewards.shape


def test_all_keys_are_saved(tmp_path):
    replay = QuotaReplay({4: 20, -2: 20}, FIELDS, shares={4: 2, -2: 1}, sampler=Prioritized())
    for number in range(9):
        replay.add(**rows([(4, 4, -2)[number % 3]], number, ends=True))
    replay.add(**rows([4], 9))
    replay.sample(10)
    replay.save(tmp_path / "all")
    replay.save(tmp_path / "all")
    again = QuotaReplay.load(tmp_path / "all", storage=tmp_path / "rows")
    assert again.keys == [4, -2]
    assert again.mix.shares == {"4": 2 / 3, "-2": 1 / 3}
    assert again.mix.carried == replay.mix.carried
    for one in (replay, again):
        one.add(**rows([4], 10))
    with pytest.raises(ValueError, match="`keys` must stay the same throughout an episode"):
        again.add(**rows([-2], 10))
    for _ in range(5):
        one, other = replay.sample(7), again.sample(7)
        for name in ("rewards", "handles", "sources", "probabilities"):
            np.testing.assert_array_equal(one[name], other[name])
    assert (tmp_path / "rows.-2").exists()
    with pytest.raises(ValueError, match=r"load_state_dict: `state` must have the keys \[4, -2\]"):
        again.load_state_dict({"keys": [1], "mix": again.mix.state_dict()})
    with pytest.raises(FileNotFoundError, match="nothing"):
        QuotaReplay.load(tmp_path / "nothing")
    # What the folder has already is not written again, and the loaded one goes on there, too.
    assert replay.save(tmp_path / "all").rows_written <= 4
    again = QuotaReplay.load(tmp_path / "all")
    again.add(**rows([4], 11))
    assert again.save(tmp_path / "all").rows_written <= 4
    assert QuotaReplay.load(tmp_path / "all").sizes == again.sizes
    with pytest.raises(ValueError, match="load: `path` must hold a saved MixReplay, got a saved Q"):
        MixReplay.load(tmp_path / "all")


def test_a_save_that_fails_between_two_keys_leaves_all_as_they_were(tmp_path):
    replay = QuotaReplay({0: 4, 1: 2000}, FIELDS)
    replay.add(**rows([0], 0, ends=True))
    replay.save(tmp_path)
    replay.add(**rows([0], 1, ends=True))
    for number in range(2000):
        replay.add(**rows([1], number, ends=True))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Room for the first key's few rows, and not for the second one's.
    resource.setrlimit(resource.RLIMIT_FSIZE, (16_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            replay.save(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert held(QuotaReplay.load(tmp_path)) == {0: [0]}
    replay.save(tmp_path)
    assert held(QuotaReplay.load(tmp_path)) == held(replay)


WRITER = """
import itertools, sys
import numpy as np
from fastrl.replay import QuotaReplay
replay = QuotaReplay({0: 50, 1: 500}, {"rewards": ((), "float32")}, num_lanes=2)
no = np.zeros(2, bool)
for number in itertools.count():
    values = np.full(2, number, np.float32)
    replay.add(keys=np.array([0, 1]), rewards=values, terminated=no, truncated=no)
    replay.save(sys.argv[1])
    print(flush=True)
"""


def test_a_kill_leaves_all_keys_of_the_same_moment(tmp_path):
    random = np.random.default_rng(0)
    for turn in range(4):
        path = tmp_path / str(turn)
        process = subprocess.Popen([sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE)
        for _ in range(random.integers(1, 20)):
            process.stdout.readline()
        time.sleep(random.random() * 0.003)
        process.kill()
        process.communicate()
        replay = QuotaReplay.load(path)
        newest = [one.gather(one.handles()).rewards.max() for one in replay.buffers.values()]
        assert newest[0] == newest[1]


@pytest.mark.parametrize("evicted", [False, True])
def test_what_has_nothing_to_draw_is_saved_and_loaded(tmp_path, evicted):
    replay = QuotaReplay({4: 20, -2: 20}, FIELDS)
    if evicted:
        for number in range(6):
            replay.add(**rows([(4, 4, -2)[number % 3]], number, ends=True))
        replay.sample(5)
        replay.evict(lambda batch: np.ones(len(batch), bool))
    carried = replay.mix.carried
    replay.save(tmp_path)
    again = QuotaReplay.load(tmp_path)
    assert again.num_drawable == 0
    assert again.mix.carried == carried
    again.add(**rows([4], 9, ends=True))
    assert again.sample(3).sources.tolist() == [0, 0, 0]


def test_eviction_by_stored_fields():
    buffer = ReplayBuffer(40, FIELDS, num_lanes=2, n_step=3)
    for number in range(30):
        given = rows([number % 4, 7], number, ends=number % 7 == 6)
        del given["keys"]
        buffer.add(**given)
    seen = []

    def even(fields):
        seen.append(sorted(fields))
        return fields["tasks"] % 2 == 0

    stored = buffer.gather_rows(*_places(buffer), ["tasks", "rewards"])
    before = buffer.num_drawable
    count = int((stored["tasks"] % 2 == 0).sum())
    assert buffer.evict(even, names=["tasks", "rewards"], chunk=5) == count
    assert buffer.num_drawable == before - count
    assert set(map(tuple, seen)) == {("rewards", "tasks")}
    assert len(seen) == -(-before // 5)
    assert (buffer.gather(buffer.handles()).tasks % 2 == 1).all()
    assert buffer.evict(even, names=["tasks"]) == 0
    everything = QuotaReplay({0: 20, 1: 20}, FIELDS)
    everything.add(**rows([0], 0, ends=True))
    everything.add(**rows([1], 1, ends=True))
    assert everything.evict(lambda fields: fields["tasks"] == 1, names=["tasks"]) == {0: 0, 1: 1}


def _places(buffer):
    places = buffer.places(buffer.handles())
    return places.lanes, places.rows


@pytest.mark.parametrize("names", [None, ["rewards"]])
def test_rows_that_go_meanwhile_are_passed_over(names):
    buffer = ReplayBuffer(20, FIELDS)

    def add(number):
        given = rows([0], number)
        del given["keys"], given["final_observations"]
        buffer.add(**given)

    for number in range(18):
        add(number)

    sizes = []

    def slow(fields):
        sizes.append(len(fields["rewards"]))
        for number in range(8 if len(sizes) < 3 else 0):
            add(20 + number)
        return np.ones(sizes[-1], bool)

    # Rows 0 to 16 can be drawn; when the last of them are read, those before 14 have gone.
    assert buffer.evict(slow, names=names, chunk=6) == 3
    assert sizes == [6, 6, 3]
    assert buffer.num_drawable == 19 - 3


def test_wrong_arguments():
    with pytest.raises(ValueError, match="QuotaReplay: `quotas` must be a dict of rows by key, at"):
        QuotaReplay({}, FIELDS)
    with pytest.raises(
        TypeError, match="QuotaReplay: `quotas` must have integers as keys, got 'a'"
    ):
        QuotaReplay({"a": 5}, FIELDS)
    with pytest.raises(ValueError, match=r"QuotaReplay: `quotas\[1\]` must be at least 1, got 0"):
        QuotaReplay({1: 0}, FIELDS)
    with pytest.raises(ValueError, match="of: `buffers` must have the same num_lanes, got"):
        QuotaReplay.of({i: ReplayBuffer(30, FIELDS, num_lanes=i + 1) for i in range(2)})
    with pytest.raises(ValueError, match="of: `buffers` must be a dict of buffers by key"):
        QuotaReplay.of({})
    replay = QuotaReplay({0: 20, 1: 20}, FIELDS, num_lanes=2, sampler=Prioritized())
    with pytest.raises(
        ValueError, match="sample: `sources` must have transitions that can be drawn"
    ):
        replay.sample(4)
    wrong = {
        "`keys` must hold integers, got float64": {"keys": np.zeros(2)},
        r"`keys` must have shape \[B\] or \[B\] = \[2\], got \[3\]": {"keys": np.zeros(3, int)},
        r"`keys` must be among \[0, 1\], got 7": {"keys": np.array([0, 7])},
        "`final_observations` must be given where an episode ends, got None, but lane 0 ends": {
            "final_observations": None,
            "terminated": np.ones(2, bool),
        },
        "`priorities` must be finite and at least 0, got nan": {
            "priorities": np.array([0, np.nan])
        },
        "`lanes` must be from 0 to 1, got 2": {"lanes": np.array([0, 2])},
        "`lanes` must name each lane once": {"lanes": np.array([1, 1])},
        "`rewards` must have shape": {"rewards": np.zeros(3)},
    }
    for message, change in wrong.items():
        with pytest.raises((ValueError, TypeError, IndexError), match=f"add: {message}"):
            replay.add(**rows([0, 1], 0) | change)
    assert len(replay) == 0
    replay.add(**rows([0, 1], 0))
    with pytest.raises(
        ValueError, match="stay the same throughout an episode, got 0 after 1 in la"
    ):
        replay.add(**rows([0, 0], 1))
    with pytest.raises(TypeError, match="evict: `which` must be a function; masks and handles"):
        replay.evict(np.ones(3, bool))
    with pytest.raises(ValueError, match="evict: `names` must be None, but with a function"):
        replay.buffers[0].evict(np.ones(0, bool), names=["rewards"])
    replay.end_episode(np.array([0]), {"x": np.ones((1, 2), np.float32)})
    with pytest.raises(ValueError, match="end_episode: `lanes` must be lanes with an open episode"):
        replay.end_episode(np.array([0]), {"x": np.ones((1, 2), np.float32)})
    waiting = QuotaReplay({0: 20}, FIELDS, autoreset_mode="next_step")
    given = rows([0], 0, ends=True)
    del given["final_observations"]
    waiting.add(**given)
    with pytest.raises(ValueError, match="`terminated` must be False in the row after the end"):
        waiting.add(**given)
