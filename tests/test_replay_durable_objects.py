"""Saves of stores, indices, levels, tasks and mixes: what is loaded goes on."""

import numpy as np
import pytest
from fastrl.replay import (
    LevelSampler,
    MixReplay,
    Prioritized,
    PriorityIndex,
    ReplayBuffer,
    TaskSampler,
    TrajectoryStore,
    load_states,
    save_states,
)
from lives import PLAIN, Counter, made, running
from sameness import assert_same


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
