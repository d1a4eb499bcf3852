"""The replay buffer against its specification, and what its batches promise."""

import os

import fastrl
import numpy as np
import pytest
from fastrl.reference import replay as spec
from fastrl.reference.envs import RandomStream
from fastrl.replay import Field, Prioritized, ReplayBuffer
from fresh_process import run_python
from numbered_rows import FIELDS, filled, rows
from tolerance import assert_close


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


def test_relabel_gets_the_batch_and_gives_another():
    def doubled(buffer, batch):
        return batch.of({name: np.repeat(batch[name], 2, axis=0) for name in batch})

    assert len(filled(5).sample(4, relabel=doubled)) == 8


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
    code = f"""
        import numpy as np
        from fastrl.replay import ReplayBuffer
        buffer = ReplayBuffer.open("shared:{name}")
        flags = np.zeros(3, bool)
        for step in range(5):
            observations = {{"a": np.full((3, 2), step, np.uint8), "b": np.arange(3.0)}}
            buffer.add(observations=observations, terminated=flags, truncated=flags)
    """
    run_python(code)
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


def test_rows_of_final_observations_have_no_other_fields():
    buffer = ReplayBuffer(24, FIELDS, autoreset_mode="next_step")
    for step in range(5):
        buffer.add(**{name: value[:1] for name, value in rows(1, step + 1, [step == 2]).items()})
    found = buffer.gather_rows([0] * 5, range(5))
    np.testing.assert_array_equal(found["observations"][:, 1], [1, 2, 3, 4, 5])
    np.testing.assert_array_equal(found["actions"], [1, 2, 3, 0, 5])


def test_the_public_class_is_this_one():
    assert fastrl.ReplayBuffer is ReplayBuffer
