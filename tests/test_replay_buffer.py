"""The replay buffer against its specification, and what its batches promise."""

import os
import subprocess
import sys

import fastrl
import numpy as np
import pytest
import torch
from fastrl.reference import replay as spec
from fastrl.reference.envs import RandomStream
from fastrl.replay import Field, Linear, Prioritized, RankPrioritized, ReplayBuffer, Uniform
from tolerance import assert_close

FIELDS = {
    "observations": ((3,), "float32"),
    "actions": ((), "int64"),
    "rewards": ((), "float32"),
}


def rows(num_lanes, first=0, ended=None):
    """One step of every lane, each number telling its step and lane."""
    step = first + np.arange(num_lanes, dtype=np.float32) * 1000
    return {
        "observations": np.repeat(step[:, None], 3, 1),
        "actions": step.astype(np.int64),
        "rewards": step,
        "terminated": np.zeros(num_lanes, bool) if ended is None else ended,
        "truncated": np.zeros(num_lanes, bool),
    }


def filled(steps=10, **options):
    buffer = ReplayBuffer(options.pop("capacity", 64), FIELDS, **options)
    for step in range(steps):
        buffer.add(**rows(buffer.num_lanes, step))
    return buffer


class Twins:
    """The buffer and its specification, which are told the same."""

    def __init__(self, seed, *, capacity, num_lanes, n_step, stack, padding, mode, discounts):
        self.random = np.random.default_rng(seed)
        observations = Field((2,), "float32", stack, padding)
        fields = {"observations": observations, "rewards": ((), "float32"), "extra": ((3,), "i2")}
        if discounts:
            fields["discounts"] = ((), "float64")
        self.discounts = discounts
        self.buffer = ReplayBuffer(
            capacity, fields, num_lanes=num_lanes, n_step=n_step, autoreset_mode=mode, seed=seed
        )
        self.twin = spec.ReplayBuffer(
            capacity // num_lanes,
            num_lanes,
            n_step,
            next_step_autoreset=mode == "next_step",
            stack=stack,
            padding=padding,
        )
        self.stream = RandomStream(seed, 0)

    def add(self, num_steps):
        chosen = np.sort(
            self.random.choice(
                self.twin.num_lanes, self.random.integers(1, self.twin.num_lanes + 1), False
            )
        )
        shape = (num_steps, len(chosen)) if num_steps else (len(chosen),)
        flat = (max(num_steps, 1), len(chosen))
        values = {
            "observations": self.random.normal(size=(*flat, 2)).astype(np.float32),
            "rewards": self.random.normal(size=flat).astype(np.float32),
            "extra": self.random.integers(-99, 99, (*flat, 3)).astype(np.int16),
        }
        if self.discounts:
            values["discounts"] = self.random.random(flat)
        terminated, truncated = self.random.random((2, *flat)) < 0.15
        finals = self.random.normal(size=(*flat, 2)).astype(np.float32)
        expected = np.empty(flat, np.uint64)
        for column, lane in enumerate(chosen):
            for step in range(flat[0]):
                place = step, column
                steps = self.twin.lanes[lane]
                if self.twin.next_step_autoreset and steps and self.twin._ended(steps[-1]):
                    terminated[place] = truncated[place] = False
                expected[place] = self.twin.add(
                    int(lane),
                    {name: value[place] for name, value in values.items() if name != "discounts"},
                    terminated[place],
                    truncated[place],
                    finals[place],
                    values["discounts"][place] if self.discounts else None,
                )
        given = {name: value.reshape(*shape, *value.shape[2:]) for name, value in values.items()}
        handles = self.buffer.add(
            **given,
            terminated=terminated.reshape(shape),
            truncated=truncated.reshape(shape),
            final_observations=None if self.twin.next_step_autoreset else finals.reshape(*shape, 2),
            lanes=chosen if len(chosen) < self.twin.num_lanes else None,
        )
        np.testing.assert_array_equal(handles, expected.reshape(shape))

    def end_episodes(self):
        lanes = [
            lane
            for lane, steps in enumerate(self.twin.lanes)
            if steps and not steps[-1].is_final and self.random.random() < 0.5
        ]
        finals = self.random.normal(size=(len(lanes), 2)).astype(np.float32)
        if lanes:
            self.buffer.end_episode(np.array(lanes), finals)
        for lane, final in zip(lanes, finals, strict=True):
            self.twin.end_episode(lane, final)

    def evict(self):
        handles = self.buffer.handles()
        mask = self.random.random(len(handles)) < 0.2
        assert self.buffer.evict(mask) == mask.sum()
        for handle in handles[mask]:
            lane, row = self.twin.find(int(handle))
            self.twin.lanes[lane][row].evicted = True

    def compare(self):
        drawable = self.twin.drawable()
        assert len(self.buffer) == self.twin.size()
        assert self.buffer.num_drawable == len(drawable)
        np.testing.assert_array_equal(self.buffer.handles(), drawable)
        if not drawable:
            return
        self.compare_batch(self.buffer.gather(np.array(drawable, np.uint64)))
        batch = self.buffer.sample(7)
        self.compare_batch(batch)
        assert list(batch.handles) == spec.draw_uniform(self.twin, 7, self.stream)
        assert (batch.probabilities == 1 / len(drawable)).all()
        assert (batch.importance_weights == 1).all()

    def compare_batch(self, batch):
        expected = [self.twin.transition(int(handle)) for handle in batch.handles]
        names = ["observations", "next_observations", "extra", "terminated", "truncated"]
        if self.buffer.n_step > 1:
            names.append("lengths")
        assert ("lengths" in batch) == (self.buffer.n_step > 1)
        for name in names:
            np.testing.assert_array_equal(batch[name], [one[name] for one in expected], name)
        for name in ("rewards", "discounts"):
            assert_close(batch[name], np.array([one[name] for one in expected]), what=name)


@pytest.mark.parametrize("mode", [None, "next_step"])
@pytest.mark.parametrize(
    ("capacity", "num_lanes", "n_step", "stack", "padding", "discounts"),
    [
        (40, 1, 1, 1, "first", False),
        (90, 3, 1, 1, "first", True),
        (90, 3, 3, 1, "first", True),
        (61, 2, 1, 4, "zeros", False),
        (90, 3, 4, 3, "first", False),
        (3, 1, 1, 1, "first", False),
        (14, 2, 3, 3, "zeros", True),
    ],
)
def test_everything_is_as_specified(mode, capacity, num_lanes, n_step, stack, padding, discounts):
    for seed in range(3):
        twins = Twins(
            seed,
            capacity=capacity,
            num_lanes=num_lanes,
            n_step=n_step,
            stack=stack,
            padding=padding,
            mode=mode,
            discounts=discounts,
        )
        for _ in range(25):
            twins.add(int(twins.random.choice([0, 0, 1, 5, 33])))
            if twins.random.random() < 0.3:
                twins.end_episodes()
            if twins.random.random() < 0.3:
                twins.evict()
            twins.compare()


def test_large_fields_lie_apart_and_stack():
    fields = {"observations": Field((40, 20), "uint8", stack=3), "rewards": ((), "float64")}
    buffer = ReplayBuffer(50, fields)
    frames = np.random.default_rng(0).integers(0, 256, (60, 1, 40, 20)).astype(np.uint8)
    ended = np.zeros((60, 1), bool)
    buffer.add(observations=frames, rewards=np.zeros((60, 1)), terminated=ended, truncated=ended)
    # Rows 10, … are there; rows 12, … with their stacks.
    assert buffer.num_drawable == 47
    batch = buffer.sample(100)
    assert batch.observations.shape == (100, 3, 40, 20)
    newest = {frames[i].tobytes(): i for i in range(60)}
    for item in range(100):
        i = newest[batch.observations[item, 2].tobytes()]
        assert 12 <= i < 59
        np.testing.assert_array_equal(batch.observations[item], frames[i - 2 : i + 1, 0])
        np.testing.assert_array_equal(batch.next_observations[item], frames[i - 1 : i + 2, 0])


def test_observations_may_be_dicts():
    fields = {
        "observations": {"camera": ((30, 30), "uint8"), "arm": {"joints": ((2,), "float64")}},
        "rewards": ((2,), "float32"),
    }
    buffer = ReplayBuffer(20, fields, num_lanes=2, n_step=2, gamma=0.5)
    for step in range(4):
        buffer.add(
            observations={
                "camera": np.full((2, 30, 30), step, np.uint8),
                "arm": {"joints": np.full((2, 2), step + 0.5)},
            },
            rewards=np.array([[1, 2], [3, 4]]),
            terminated=np.array([False, step == 3]),
            truncated=np.zeros(2, bool),
            final_observations={
                "camera": np.full((2, 30, 30), 9, np.uint8),
                "arm": {"joints": np.full((2, 2), 9.5)},
            },
        )
    batch = buffer.gather(buffer.handles())
    joints = batch.observations["arm"]["joints"]
    np.testing.assert_array_equal(batch.observations["camera"][:, 3, 4], [0, 1, 2, 0, 1, 2, 3])
    np.testing.assert_array_equal(joints[:, 1], [0.5, 1.5, 2.5, 0.5, 1.5, 2.5, 3.5])
    np.testing.assert_array_equal(batch.next_observations["camera"][:, 0, 0], [2, 3, 3, 2, 3, 9, 9])
    np.testing.assert_array_equal(batch.rewards[0], [1.5, 3])
    np.testing.assert_array_equal(batch.rewards[2], [1, 2])
    np.testing.assert_array_equal(batch.discounts, [0.25, 0.25, 0.5, 0.25, 0.25, 0, 0])


@pytest.mark.parametrize(
    "scheme", ["independent", "stratified", "systematic", "without_replacement"]
)
def test_uniform_draws_are_uniform(scheme):
    buffer = filled(45, num_lanes=2, capacity=80, sampler=Uniform(scheme))
    handles = buffer.handles()
    draws, n = 400, 20
    counts = dict.fromkeys(handles.tolist(), 0)
    for _ in range(draws):
        batch = buffer.sample(n)
        if scheme == "without_replacement":
            assert len(set(batch.handles.tolist())) == n
        for handle in batch.handles.tolist():
            counts[handle] += 1
    expected = draws * n / len(handles)
    chi_square = sum((count - expected) ** 2 / expected for count in counts.values())
    # At most a p-value of 10⁻⁶; dependent draws vary less.
    degrees = len(handles) - 1
    assert chi_square < degrees + 4.8 * (2 * degrees) ** 0.5 + 15


@pytest.mark.parametrize("scheme", ["stratified", "systematic"])
def test_spread_draws_take_one_of_each_stratum(scheme):
    buffer = filled(60, capacity=61, sampler=Uniform(scheme))
    place = {handle: i for i, handle in enumerate(buffer.handles().tolist())}
    orders = set()
    for _ in range(50):
        places = np.array([place[handle] for handle in buffer.sample(10).handles.tolist()])
        # 59 transitions: stratum i is [5.9 i, 5.9 (i + 1)), which rounds down by less than 1.
        strata = np.sort(places)
        assert (strata >= np.floor(5.9 * np.arange(10))).all()
        assert (strata < 5.9 * np.arange(1, 11)).all()
        orders.add(tuple(np.argsort(places)))
    assert len(orders) > 40


@pytest.mark.parametrize("n", [10, 40, 59])
def test_without_replacement_takes_all_when_asked(n):
    buffer = filled(60, capacity=61, sampler=Uniform("without_replacement"))
    assert len(set(buffer.sample(n).handles.tolist())) == n
    with pytest.raises(
        ValueError, match="sample: `n` must be at most the 59 that can be drawn, got"
    ):
        buffer.sample(60)


def test_rare_drawable_rows_are_drawn_uniformly():
    buffer = filled(60, capacity=1024, num_lanes=16)
    keep = np.zeros(buffer.num_drawable, bool)
    keep[::100] = True
    kept = buffer.handles()[keep]
    assert buffer.evict(~keep) == (~keep).sum()
    assert buffer.num_drawable == len(kept)
    drawn = np.concatenate([buffer.sample(500).handles for _ in range(4)])
    values, counts = np.unique(drawn, return_counts=True)
    np.testing.assert_array_equal(values, np.sort(kept))
    assert counts.min() > 2000 / len(kept) - 6 * (2000 / len(kept)) ** 0.5


def test_evicted_rows_stay_next_observations_and_steps():
    buffer = filled(10, n_step=2, sampler=Prioritized())
    handles = buffer.handles()
    assert buffer.evict(lambda batch: batch.actions % 2 == 1, chunk=4) == 4
    batch = buffer.gather(buffer.handles())
    np.testing.assert_array_equal(batch.actions, [0, 2, 4, 6, 8])
    np.testing.assert_array_equal(batch.next_observations[:, 0], [2, 4, 6, 8, 9])
    assert buffer.update_priorities(handles, np.ones(9)) == 5
    assert buffer.refused_updates == 4
    assert buffer.evict(handles[:3]) == 2
    drawn = {int(action) for _ in range(20) for action in buffer.sample(16).actions}
    assert drawn == {4, 6, 8}


def test_the_newest_row_can_be_evicted_before_it_can_be_drawn():
    buffer = ReplayBuffer(20, FIELDS, sampler=Prioritized())
    handles = [buffer.add(**rows(1, step)) for step in range(3)]
    assert buffer.evict(handles[2]) == 1
    buffer.add(**rows(1, 3))
    np.testing.assert_array_equal(buffer.handles(), np.concatenate(handles[:2]))


def test_priorities_come_late_early_and_never_to_newer_rows():
    buffer = ReplayBuffer(8, FIELDS, sampler=Prioritized(1.0))
    handles = np.concatenate([buffer.add(**rows(1, step)) for step in range(3)])
    # Row 2 has no successor yet: its priority waits.
    assert buffer.update_priorities(handles, np.array([1.0, 0.0, 3.0])) == 3
    buffer.add(**rows(1, 3), priorities=np.array([6.0]))
    buffer.add(**rows(1, 4))
    drawn = buffer.handles()
    assert_close(buffer.priorities(drawn), np.array([1.0, 0.0, 3.0, 6.0]), dtype="float32")
    batch = buffer.sample(1000)
    assert set(batch.actions.tolist()) == {0, 2, 3}
    assert_close(batch.probabilities, np.array([1, 0, 3, 6])[batch.actions] / 10, dtype="float32")
    for step in range(5, 12):
        buffer.add(**rows(1, step))
    assert buffer.update_priorities(handles, np.full(3, 9.0)) == 0
    assert buffer.refused_updates == 3
    assert (buffer.priorities(buffer.handles()) < 7).all()


def test_importance_weights_are_those_of_the_paper():
    buffer = filled(6, sampler=Prioritized(1.0, Linear(0.0, 1.0, 2), normalize=None))
    buffer.update_priorities(buffer.handles(), np.arange(1.0, 6.0))
    for exponent in (0.0, 0.5, 1.0, 1.0):
        batch = buffer.sample(32)
        assert_close(
            batch.importance_weights, (5 * batch.probabilities) ** -exponent, dtype="float32"
        )
    batch = buffer.sample(32, importance_exponent=0.25)
    assert_close(batch.importance_weights, (5 * batch.probabilities) ** -0.25, dtype="float32")


@pytest.mark.parametrize(
    "scheme", ["independent", "stratified", "systematic", "without_replacement"]
)
@pytest.mark.parametrize("kind", [Prioritized, RankPrioritized])
def test_prioritized_draws_have_the_stated_probabilities(kind, scheme):
    buffer = filled(21, sampler=kind(1.0, scheme=scheme))
    handles = buffer.handles()
    priorities = np.where(np.arange(20) % 4 == 3, 0, 2.0 ** -np.arange(20))
    buffer.update_priorities(handles, priorities)
    ranks = np.cumsum(priorities > 0)
    expected = priorities if kind is Prioritized else np.where(priorities > 0, 1 / ranks, 0)
    expected = expected / expected.sum()
    counts, draws = np.zeros(20), 2000
    estimate = np.zeros(20)
    for _ in range(draws):
        batch = buffer.sample(8)
        counts += np.bincount(batch.actions, minlength=20)
        np.add.at(estimate, batch.actions, 1 / (8 * batch.probabilities))
        if scheme != "without_replacement":
            np.testing.assert_allclose(batch.probabilities, expected[batch.actions], rtol=1e-3)
    assert (counts[expected == 0] == 0).all()
    if scheme != "without_replacement":
        deviation = np.sqrt(8 * draws * expected * (1 - expected)) + 1e-9
        assert (np.abs(counts - 8 * draws * expected) < 5 * deviation + 1).all()
    # Each item's estimate of 1 is unbiased; likely ones have small errors.
    likely = expected > 0.02
    np.testing.assert_allclose(estimate[likely] / draws, 1, atol=0.15)


def test_samplers_share_rows_and_nothing_else():
    samplers = {
        "td": Prioritized(1.0),
        "even": Uniform(),
        "age": Prioritized(1.0, new_priority=0.0),
    }
    buffer = filled(6, sampler=samplers)
    handles = buffer.handles()
    assert buffer.update_priorities(handles[2:3], np.array([5.0]), sampler="age") == 1
    assert set(buffer.sample(50, sampler="age").actions.tolist()) == {2}
    assert set(buffer.sample(200, sampler="even").actions.tolist()) == {0, 1, 2, 3, 4}
    assert set(buffer.sample(200).actions.tolist()) == {0, 1, 2, 3, 4}
    with pytest.raises(ValueError, match="update_priorities: `sampler` must be one that has prio"):
        buffer.update_priorities(handles, np.ones(5), sampler="even")


def test_the_same_seed_gives_the_same_batches():
    def draws(seed, sampler):
        buffer = filled(40, seed=seed, sampler=sampler)
        return np.concatenate([buffer.sample(8).handles for _ in range(4)]).tolist()

    for sampler in (Uniform(), Prioritized(), Uniform("stratified")):
        assert draws(3, sampler) == draws(3, sampler)
        assert draws(3, sampler) != draws(4, sampler)


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


def test_relabel_gets_the_batch_and_gives_another():
    def doubled(buffer, batch):
        return batch.of({name: np.repeat(batch[name], 2, axis=0) for name in batch})

    assert len(filled(5).sample(4, relabel=doubled)) == 8


def test_results_do_not_depend_on_threads_or_instruction_set():
    code = """if True:
        import hashlib, numpy as np, fastrl
        from fastrl.replay import Prioritized
        fields = {"observations": ((40,), "float32"), "rewards": ((), "float32")}
        buffer = fastrl.ReplayBuffer(9000, fields, num_lanes=3, n_step=3, sampler=Prioritized())
        random = np.random.default_rng(0)
        for _ in range(10):
            ended = random.random((400, 3)) < 0.02
            observations = random.normal(size=(400, 3, 40)).astype("f4")
            handles = buffer.add(
                observations=observations, rewards=random.normal(size=(400, 3)),
                terminated=ended, truncated=ended & False, final_observations=observations,
            )
            buffer.update_priorities(handles[:, 0], random.random(400))
            batch = buffer.sample(4096)
            print(hashlib.sha256(b"".join(batch[name].tobytes() for name in batch)).hexdigest())
    """
    outputs = set()
    for environment in (
        {"FASTRL_NUM_THREADS": "1"},
        {"FASTRL_NUM_THREADS": "3"},
        {"FASTRL_INSTRUCTION_SET": "portable"},
    ):
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env=environment,
        )
        outputs.add(done.stdout)
    assert len(outputs) == 1
    assert len(outputs.pop().split()) == 10


def test_a_file_holds_the_buffer(tmp_path):
    path = tmp_path / "buffer"
    buffer = filled(40, storage=path, sampler=Prioritized())
    plain = filled(40, sampler=Prioritized())
    assert path.stat().st_size == buffer.num_bytes
    np.testing.assert_array_equal(buffer.sample(16).handles, plain.sample(16).handles)
    other = ReplayBuffer.open(path)
    assert other.samplers == buffer.samplers
    np.testing.assert_array_equal(other.handles(), plain.handles())
    np.testing.assert_array_equal(other.sample(16).handles, plain.sample(16).handles)
    np.testing.assert_array_equal(buffer.sample(16).handles, plain.sample(16).handles)
    other.add(**rows(1, 40))
    assert len(buffer) == 41
    with pytest.raises(FileExistsError, match=r"cannot create .*buffer"):
        ReplayBuffer(64, FIELDS, storage=path)


def test_another_process_sees_shared_memory():
    name = f"fastrl-test-{os.getpid()}"
    fields = {"observations": {"a": Field((2,), "u1", 2, "zeros"), "b": ((), "float64")}}
    buffer = ReplayBuffer(30, fields, num_lanes=3, storage=f"shared:{name}", sampler=Prioritized())
    flags = np.zeros(3, bool)
    code = f"""if True:
        import numpy as np
        from fastrl.replay import ReplayBuffer
        buffer = ReplayBuffer.open("shared:{name}")
        flags = np.zeros(3, bool)
        for step in range(5):
            observations = {{"a": np.full((3, 2), step, np.uint8), "b": np.arange(3.0)}}
            buffer.add(observations=observations, terminated=flags, truncated=flags)
    """
    subprocess.run([sys.executable, "-c", code], check=True)
    assert buffer.num_drawable == 12
    batch = buffer.sample(5)
    assert batch.observations["a"].shape == (5, 2, 2)
    del buffer, flags
    with pytest.raises(FileNotFoundError, match=f"cannot open shared memory '{name}'"):
        ReplayBuffer.open(f"shared:{name}")


def test_places_and_rows_of_handles():
    buffer = ReplayBuffer(24, FIELDS, num_lanes=2)
    for step in range(13):
        ended = np.array([step in (2, 9), False])
        finals = np.full((2, 3), -step, np.float32)
        buffer.add(**rows(2, step, ended), final_observations=finals)
    handles = buffer.handles()
    places = buffer.places(handles)
    # Lane 0: episodes of rows 0–3, 4–11 and 12–14; rows 3, … are there, and 3 is a final one.
    first = places.lanes == 0
    np.testing.assert_array_equal(places.rows[first], [*range(4, 11), 12, 13])
    np.testing.assert_array_equal(places.first_rows[first], [4] * 7 + [12] * 2)
    np.testing.assert_array_equal(places.last_rows[first], [11] * 7 + [14] * 2)
    np.testing.assert_array_equal(places.complete[first], [True] * 7 + [False] * 2)
    np.testing.assert_array_equal(places.rows[~first], range(1, 12))
    np.testing.assert_array_equal(places.first_rows[~first], [1] * 11)
    np.testing.assert_array_equal(places.last_rows[~first], [12] * 11)
    found = buffer.gather_rows([0, 0, 1], [11, 12, 12])
    np.testing.assert_array_equal(found["observations"][:, 1], [-9, 10, 1012])
    np.testing.assert_array_equal(found["actions"], [0, 10, 1012])
    assert list(buffer.gather_rows([0], [4], ["rewards"])) == ["rewards"]


def test_the_public_class_is_this_one():
    assert fastrl.ReplayBuffer is ReplayBuffer
