"""Saves of buffers: what is loaded goes on as what was saved, whatever happened in between."""

import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from fastrl.replay import (
    Field,
    LevelSampler,
    Linear,
    Marked,
    MixReplay,
    Prioritized,
    PriorityIndex,
    RankPrioritized,
    ReplayBuffer,
    TaskSampler,
    TrajectoryStore,
    Uniform,
    load_states,
    save_states,
)
from sameness import assert_same

CRASHES = Path(__file__).parents[1] / "benchmarks" / "replay_crash.py"
SAMPLERS = {
    "priorities": Prioritized(importance_exponent=Linear(0.4, 1.0, 50), epsilon=0.01),
    "ranks": RankPrioritized(new_priority="max_in_buffer", normalize="buffer"),
    "distinct": Prioritized(scheme="without_replacement", new_priority=0.5),
    "annealed": Prioritized(Linear(0.2, 0.9, 300), new_priority=2.0),
    "marked": Marked(),
    "all": Uniform("stratified"),
}
PLAIN = {"observations": ((3,), "float32"), "rewards": ((), "float32")}
KINDS = {
    "plain": {"fields": PLAIN},
    "samplers": {"fields": PLAIN, "sampler": SAMPLERS, "n_step": 3},
    "pictures": {
        "fields": {
            "observations": {
                "camera": Field((24, 24), "uint8", stack=3),  # lies apart
                "body": {"speeds": Field((2,), "float64", 2, "zeros")},
            },
            "actions": {"arm": ((2,), "float16"), "gripper": ((), "?")},
            "rewards": ((2,), "float64"),
            "discounts": ((), "float32"),
        },
        "sampler": Prioritized(scheme="systematic"),
        "n_step": 2,
        "gamma": 0.3,
    },
    "next_step": {"fields": PLAIN, "autoreset_mode": "next_step", "sampler": SAMPLERS},
    "alone": {"fields": {"goals": ((3,), "int16")}, "sampler": Prioritized()},
}


def values_of(leaf, random, leading):
    return random.integers(0, 2**16, (*leading, *leaf.shape)).astype(leaf.dtype)


class Life:
    """Uses a buffer; two with the same random numbers do the same."""

    def __init__(self, buffer, random):
        self.buffer, self.random = buffer, random
        self.ended = np.zeros(buffer.num_lanes, bool)
        self.first = np.zeros(0, np.uint64)  # handles of rows that get ever older

    def twin(self, buffer):
        """One of another buffer that goes on as this one does."""
        random = np.random.default_rng()
        random.bit_generator.state = self.random.bit_generator.state
        life = Life(buffer, random)
        life.ended, life.first = self.ended.copy(), self.first
        return life

    def add(self, num_steps):
        buffer, random = self.buffer, self.random
        next_step = buffer._options["next_step_autoreset"]
        leading = (num_steps, buffer.num_lanes)
        rows, finals = {}, {}
        for leaf in buffer._leaves:
            for into in (rows, finals)[: 1 + (leaf.is_observation and not next_step)]:
                level = into
                for part in leaf.path[:-1]:
                    level = level.setdefault(part, {})
                level[leaf.path[-1]] = values_of(leaf, random, leading)
        terminated, truncated = random.random((2, *leading)) < 0.08
        if next_step:  # the row after an end is the final observation
            for step in range(num_steps):
                terminated[step, self.ended] = truncated[step, self.ended] = False
                self.ended = terminated[step] | truncated[step]
        else:
            rows["final_observations"] = finals.get("observations")
        priorities = random.random(leading) if random.random() < 0.3 else None
        return buffer.add(**rows, terminated=terminated, truncated=truncated, priorities=priorities)

    def step(self):
        """Adds, draws, values and evicts; what was drawn."""
        buffer, random = self.buffer, self.random
        handles = self.add(int(random.integers(1, 6)))
        drawn = [handles]
        if not len(self.first):
            self.first = handles[0]
        n = min(16, buffer.num_drawable)
        for name, sampler in buffer.samplers.items() if n else ():
            if isinstance(sampler, Marked):
                some = buffer.handles()[::5]
                buffer.update_priorities(some, np.ones(len(some)), sampler=name)
            batch = buffer.sample(n, sampler=name)
            drawn.append({key: batch[key] for key in batch})
            if not isinstance(sampler, Uniform):
                handles_of_all_ages = np.concatenate([batch.handles, self.first])
                priorities = random.random(len(handles_of_all_ages))
                buffer.update_priorities(handles_of_all_ages, priorities, sampler=name)
        if random.random() < 0.3:
            buffer.evict(handles[-1])  # those that wait for their next observation
        if random.random() < 0.2:
            buffer.evict(buffer.handles()[:3])
        return drawn

    def live(self, num_steps):
        return [self.step() for _ in range(num_steps)]


def assert_equal_buffers(a, b):
    for name in (
        *("capacity", "num_lanes", "n_step", "gamma", "samplers", "field_names", "num_drawable"),
        *("num_added", "num_sampled", "refused_updates"),
    ):
        assert getattr(a, name) == getattr(b, name)
    assert len(a) == len(b)
    np.testing.assert_array_equal(a.handles(), b.handles())


def made(kind="samplers", *, capacity=120, num_lanes=3, seed=5, **options):
    buffer = ReplayBuffer(capacity, num_lanes=num_lanes, seed=seed, **KINDS[kind], **options)
    return Life(buffer, np.random.default_rng(seed))


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


@contextmanager
def running(write, arguments):
    """Threads that call write(stop, argument) until the block ends."""
    stop = threading.Event()
    threads = [threading.Thread(target=write, args=(stop, one), daemon=True) for one in arguments]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)


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


class Counter:
    """The smallest object that has a state."""

    def __init__(self, **state):
        self.state = state

    def state_dict(self):
        return self.state

    def load_state_dict(self, state):
        self.state = state


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


def made_store(**options):
    options = {
        "max_trajectories": 40,
        "token_columns": {"turns": "int16", "pairs": ((2,), "float32")},
        "columns": {"entropies": "float32", "keys": ((3,), "float32")},
        "weighted": True,
        "max_staleness": 6,
        "max_per_group": 9,
        "seed": 4,
    } | options
    return TrajectoryStore(120_000, **options)


class StoreLife:
    """Uses a store; two with the same random numbers do the same."""

    def __init__(self, store, random):
        self.store, self.random = store, random
        self.version = 0

    def twin(self, store):
        random = np.random.default_rng()
        random.bit_generator.state = self.random.bit_generator.state
        life = StoreLife(store, random)
        life.version = self.version
        return life

    def add(self, count, longest=90):
        random, store = self.random, self.store
        lengths = random.integers(1, longest, count)
        ends = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        n = int(ends[-1])
        return store.add(
            random.integers(0, 5000, n).astype(np.int32),
            cu_seqlens=ends,
            action_mask=random.random(n) < 0.5,
            log_probs=random.normal(size=n).astype(np.float32),
            turns=random.integers(0, 9, n).astype(np.int16),
            pairs=random.normal(size=(n, 2)).astype(np.float32),
            group_ids=random.integers(0, 12, count),
            rewards=random.integers(0, 2, count).astype(np.float32),
            policy_versions=self.version - random.integers(0, min(self.version, 3) + 1, count),
            weights=random.random(count).astype(np.float32),
            entropies=random.random(count).astype(np.float32),
            keys=random.normal(size=(count, 3)).astype(np.float32),
        )

    def step(self):
        store, random = self.store, self.random
        self.version += int(random.integers(0, 2))
        handles = self.add(int(random.integers(1, 5)))
        batches = [
            store.sample(3, order="uniform", replacement=True),
            store.sample(2, order="weighted", replacement=True),
            store.sample_groups(2, group_size=2),
        ]
        store.update(
            batches[0].handles,
            rewards=random.random(3).astype(np.float32),
            successes=random.random(3) < 0.5,
            weights=random.random(3).astype(np.float32),
        )
        store.remove(batches[2].handles[:1])
        drawn = [{key: batch[key] for key in batch} for batch in batches]
        return [handles, *drawn]

    def live(self, num_steps):
        return [self.step() for _ in range(num_steps)]


def assert_equal_stores(a, b):
    for name in ("num_groups", "num_tokens", "policy_version", "clock", "counters"):
        assert getattr(a, name) == getattr(b, name)
    np.testing.assert_array_equal(a.handles(), b.handles())
    ours, theirs = (store.get(store.handles()) for store in (a, b))
    assert_same(dict(ours), dict(theirs))


def test_a_loaded_store_goes_on_as_the_saved_one(tmp_path):
    life = StoreLife(made_store(), np.random.default_rng(1))
    life.store.save(tmp_path)
    assert len(TrajectoryStore.load(tmp_path)) == 0
    for steps in (1, 5, 40, 40):
        life.live(steps)
        life.store.save(tmp_path)
        twin = life.twin(TrajectoryStore.load(tmp_path))
        assert_equal_stores(life.store, twin.store)
        assert_same(life.live(15), twin.live(15))
        assert_equal_stores(life.store, twin.store)
        life = twin
    assert sum(life.store.counters["evicted"].values()) > 0
    assert life.store.success_threshold == 1.0
    assert life.store.column_names == ("log_probs", "turns", "pairs", "entropies", "keys")


def test_a_store_writes_new_tokens_only(tmp_path):
    life = StoreLife(made_store(max_staleness=None, max_per_group=None), np.random.default_rng(2))
    store = life.store
    life.add(20)
    whole = [store.save(tmp_path / name) for name in "ab"]
    assert whole[0].rows_written == whole[1].rows_written > 20  # blocks of 32 tokens
    life.add(1, longest=30)
    assert [store.save(tmp_path / name).rows_written for name in "ab"] == [1, 1]
    loaded = TrajectoryStore.load(tmp_path / "a")
    assert loaded.save(tmp_path / "a").rows_written == 0
    # What a store becomes by `restore` is not what it has saved.
    store.restore(store.state())
    assert store.save(tmp_path / "b").rows_written > 20
    assert_equal_stores(store, TrajectoryStore.load(tmp_path / "b"))


def test_threads_go_on_while_a_store_is_saved(tmp_path):
    store = TrajectoryStore(300_000, max_trajectories=60, log_probs=False)

    def write(stop, first):
        number = first
        while not stop.is_set():
            store.add(
                np.full(400, number, np.int32),
                cu_seqlens=np.array([0, 100, 101, 400], np.int32),
                action_mask=np.full(400, number % 2, bool),
                group_ids=np.full(3, number),
                rewards=np.full(3, number, np.float32),
                policy_versions=0,
            )
            number += 2

    with running(write, (1, 2)):
        for _ in range(8):
            before = store.counters["added"]
            store.save(tmp_path)
            loaded = TrajectoryStore.load(tmp_path)
            assert loaded.counters["added"] >= before
            if len(loaded):
                batch = loaded.get(loaded.handles())
                numbers = np.repeat(batch.rewards, np.diff(batch.cu_seqlens))
                np.testing.assert_array_equal(batch.token_ids, numbers)
                np.testing.assert_array_equal(batch.action_mask, numbers % 2 == 1)


def index_life(index, random):
    slots = random.integers(0, 50, 20)
    index.set_priorities(slots, random.random(20))
    index.clear(slots[:2])
    return list(index.draw(9)[:2])


def levels_life(levels, random):
    batch = levels.sample(4)
    levels.update(batch.ids, random.random(4))
    return [batch.ids, batch.probabilities]


def tasks_life(tasks, random):
    drawn = tasks.sample(4)
    tasks.update(drawn[0], random.random(4), drawn[1])
    return list(drawn)


def new_levels(seed):
    levels = LevelSampler(30, seed=seed)
    if seed == 0:
        levels.add(range(20))
    return levels


STATEFUL = {
    "proportional": (lambda seed: PriorityIndex(50, seed=seed), index_life),
    "ranks": (lambda seed: PriorityIndex(50, kind="rank", seed=seed), index_life),
    "kept": (lambda seed: PriorityIndex(50, keep_priorities=True, seed=seed), index_life),
    "levels": (new_levels, levels_life),
    "tasks": (lambda seed: TaskSampler([0, 0, 1], num_starts=[2, 1, 3], seed=seed), tasks_life),
}


def test_objects_that_are_no_buffers_go_on_as_they_were(tmp_path):
    objects = {name: make(0) for name, (make, _) in STATEFUL.items()}
    random = np.random.default_rng(0)
    for name, (_, live) in STATEFUL.items():
        for _ in range(10):
            live(objects[name], random)
    for _ in range(2):  # whole each time
        report = save_states(tmp_path, objects)
        assert report.segments_written == 1
    assert len(list(tmp_path.iterdir())) == 2
    loaded = {name: make(1) for name, (make, _) in STATEFUL.items()}
    load_states(tmp_path, loaded)
    for name, (_, live) in STATEFUL.items():
        for seed in range(10):
            ours, theirs = (
                live(both[name], np.random.default_rng(seed)) for both in (objects, loaded)
            )
            assert_same(ours, theirs)
    with pytest.raises(ValueError, match=r"load_states: `objects\['x'\]` must be one of \['kept'"):
        load_states(tmp_path, {"x": Counter()})
    with pytest.raises(ValueError, match=r"`state\['kind'\]` must be 'rank', as of this index"):
        load_states(tmp_path, {"kept": PriorityIndex(50, kind="rank")})
    with pytest.raises(ValueError, match=r"`state\['capacity'\]` must be 40, as of this index"):
        load_states(tmp_path, {"kept": PriorityIndex(40, keep_priorities=True)})


def test_a_mix_goes_on_with_what_its_sources_are_owed(tmp_path):
    buffers = {name: made("plain", seed=seed) for seed, name in enumerate(("a", "b"))}
    for life in buffers.values():
        life.live(20)
    mix = MixReplay({name: life.buffer for name, life in buffers.items()}, {"a": 1, "b": 2})
    mix.sample(16)
    buffers["a"].buffer.save(tmp_path / "a", extras={"mix": mix})
    buffers["b"].buffer.save(tmp_path / "b")
    b = ReplayBuffer.load(tmp_path / "b")
    other = MixReplay({"a": ReplayBuffer.load(tmp_path / "a"), "b": b}, {"a": 1, "b": 2})
    ReplayBuffer.load(tmp_path / "a", extras={"mix": other})
    mix.save(tmp_path / "both")
    third = MixReplay.load(tmp_path / "both")
    for _ in range(5):
        batch = mix.sample(16)
        for one in (other, third):
            again = one.sample(16)
            assert_same({key: batch[key] for key in batch}, {key: again[key] for key in again})


def test_a_mix_is_saved_whole_with_its_options(tmp_path):
    life = made("samplers")
    life.live(30)
    small = ReplayBuffer(40, PLAIN, num_lanes=2, n_step=3, sampler=Prioritized())
    mix = MixReplay(
        {"new": life.buffer, "old": small, "again": life.buffer},
        {"new": 0.1, "old": 0.7, "again": 0.2},
        joint_exponent=0.5,
        skip_empty=True,
        samplers={"again": "all", "new": "ranks"},
    )
    mix.sample(7)
    carried = mix.carried
    assert any(carried)
    # With nothing to draw, what two of three sources are owed is kept to the last bit.
    life.buffer.evict(life.buffer.handles())
    levels = LevelSampler(5)
    levels.add(range(5))
    mix.save(tmp_path, extras={"levels": levels})
    others = LevelSampler(5)
    loaded = MixReplay.load(tmp_path, extras={"levels": others}, storage=tmp_path / "rows")
    assert others.ids.tolist() == levels.ids.tolist()
    assert loaded.num_drawable == 0
    assert loaded.carried == carried
    assert loaded.state_dict() == mix.state_dict()
    assert loaded.shares == mix.shares
    assert loaded.sources["new"] is loaded.sources["again"]
    assert sorted(path.name for path in tmp_path.glob("rows.*")) == ["rows.new", "rows.old"]
    twin = life.twin(loaded.sources["new"])
    assert_same(life.live(5), twin.live(5))
    for _ in range(4):
        ours, theirs = mix.sample(7), loaded.sample(7)
        assert_same({key: ours[key] for key in ours}, {key: theirs[key] for key in theirs})


def test_killed_processes_lose_nothing_that_was_committed():
    finished = subprocess.run(
        [sys.executable, CRASHES, "--kills", "6"],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "| SIGKILLs | 6 |" in finished.stdout
    assert "Nothing was lost." in finished.stdout
