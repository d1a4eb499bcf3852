"""Sequences from the replay buffer against their specification, and that none leaves an episode."""

import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from fastrl.reference import replay as spec
from fastrl.reference import sequences as spec_sequences
from fastrl.replay import Field, Prioritized, ReplayBuffer, SequenceBatch, Uniform
from numbered_episodes import FIELDS, filled
from tolerance import assert_close

NO_HANDLE = 2**64 - 1


class Twins:
    """The buffer and its specification, which are told the same."""

    def __init__(self, seed, *, capacity, num_lanes, stack=1, mode=None, discounts=False, n_step=1):
        self.random = np.random.default_rng(seed)
        fields = {
            "observations": Field((2,), "float32", stack),
            "labels": ((), "S3"),
            "rewards": ((), "float32"),
            "recurrent_state": {"h": ((3,), "float32"), "c": ((), "float64")},
        }
        if discounts:
            fields["discounts"] = ((), "float64")
        self.discounts = discounts
        self.buffer = ReplayBuffer(
            capacity, fields, num_lanes=num_lanes, autoreset_mode=mode, n_step=n_step, seed=seed
        )
        self.twin = spec.ReplayBuffer(
            capacity // num_lanes,
            num_lanes,
            next_step_autoreset=mode == "next_step",
            stack=stack,
        )

    def step(self, ending=0.15):
        """A step of each lane; sometimes an episode is cut, sometimes a step is evicted."""
        twin, n = self.twin, self.twin.num_lanes
        observations, final = self.random.normal(size=(2, n, 2)).astype(np.float32)
        labels = np.array([b"%03d" % k for k in self.random.integers(0, 999, n)])
        h = self.random.normal(size=(n, 3)).astype(np.float32)
        c = self.random.normal(size=n)
        rewards = self.random.normal(size=n).astype(np.float32)
        discounts = self.random.random(n)
        terminated, truncated = self.random.random((2, n)) < ending
        for lane in range(n):
            steps = twin.lanes[lane]
            if twin.next_step_autoreset and steps and twin._ended(steps[-1]):
                terminated[lane] = truncated[lane] = False
            values = {"observations": observations[lane], "labels": labels[lane]}
            values |= {"rewards": rewards[lane], "h": h[lane], "c": c[lane]}
            discount = discounts[lane] if self.discounts else None
            twin.add(lane, values, terminated[lane], truncated[lane], final[lane], discount)
        given = {"discounts": discounts} if self.discounts else {}
        self.buffer.add(
            observations=observations,
            labels=labels,
            rewards=rewards,
            recurrent_state={"h": h, "c": c},
            terminated=terminated,
            truncated=truncated,
            final_observations=None if twin.next_step_autoreset else final,
            **given,
        )

    def evict(self, share=0.1):
        handles = self.buffer.handles()
        mask = self.random.random(len(handles)) < share
        self.buffer.evict(mask)
        for handle in handles[mask]:
            lane, row = self.twin.find(int(handle))
            self.twin.lanes[lane][row].evicted = True

    def end_episodes(self):
        for lane, steps in enumerate(self.twin.lanes):
            if steps and not steps[-1].is_final and self.random.random() < 0.3:
                final = self.random.normal(size=(1, 2)).astype(np.float32)
                self.buffer.end_episode([lane], final)
                self.twin.end_episode(lane, final[0])

    def compare(self, n=9, **options):
        batch = self.buffer.sample_sequences(n, **options)
        time_major = options.pop("time_major", False)
        expected = [
            spec_sequences.sequence(self.twin, int(handle), **options) for handle in batch.handles
        ]
        columns = options["length"] + options["burn_in"] + options["bootstrap"]
        if options["boundary"] == "stop":
            columns = max(len(rows) for rows in expected)
        stacked = (self.twin.stack, 2) if self.twin.stack > 1 else (2,)
        blanks = {
            "observations": np.zeros(stacked, np.float32),
            "labels": b"",
            "rewards": 0,
            "discounts": 0,
            "terminated": False,
            "truncated": False,
            "learning_mask": False,
            "is_first": False,
            "positions": -1,
            "step_handles": NO_HANDLE,
            "validity_mask": False,
        }
        for name, blank in blanks.items():
            wanted = []
            for rows in expected:
                assert len(rows) <= columns
                values = [{"validity_mask": True, **row}.get(name, blank) for row in rows]
                wanted.append(values + [blank] * (columns - len(rows)))
            wanted = np.array(wanted, np.uint64 if name == "step_handles" else None)
            actual = np.swapaxes(batch[name], 0, 1) if time_major else batch[name]
            if name == "discounts":
                assert_close(actual, wanted, what=name)
            else:
                np.testing.assert_array_equal(actual, wanted, name)
        for name in ("h", "c"):
            wanted = np.array([rows[0][name] for rows in expected])
            np.testing.assert_array_equal(batch.recurrent_state[name], wanted, name)
        assert batch.learning_mask.any(0 if time_major else 1).all()


@pytest.mark.parametrize("mode", [None, "next_step"])
@pytest.mark.parametrize(
    ("capacity", "num_lanes", "stack", "discounts", "n_step", "ending"),
    [
        (60, 1, 1, False, 1, 0.05),
        (90, 3, 1, True, 1, 0.15),
        (120, 4, 3, False, 1, 0.1),
        (60, 2, 4, True, 3, 0.02),
    ],
)
def test_sequences_are_as_specified(mode, capacity, num_lanes, stack, discounts, n_step, ending):
    twins = Twins(
        num_lanes,
        capacity=capacity,
        num_lanes=num_lanes,
        stack=stack,
        mode=mode,
        discounts=discounts,
        n_step=n_step,
    )
    for step in range(150):
        twins.step(ending)
        if step % 17 == 0:
            twins.end_episodes()
        if step % 29 == 28:
            twins.evict()
        if step < 3 or twins.buffer.num_drawable == 0:
            continue
        twins.compare(
            length=int(twins.random.integers(1, 9)),
            burn_in=int(twins.random.choice([0, 1, 5])),
            bootstrap=int(twins.random.choice([0, 1, 1, 4])),
            boundary=str(twins.random.choice(["pad", "stop", "shift"])),
            time_major=bool(twins.random.random() < 0.3),
        )


def only(buffer, row, length, **options):
    """The sequence whose drawn step is this row's, as a batch of one."""
    handles = buffer.handles()
    buffer.update_priorities(handles, (handles == row).astype(float))
    return buffer.sample_sequences(1, length, **options)


def as_list(array):
    return np.asarray(array)[0].tolist()


def test_pad_fills_the_window_with_zeros():
    batch = only(filled([10], sampler=Prioritized()), 8, 4, burn_in=2)
    assert as_list(batch.observations) == [6, 7, 8, 9, 10, 0, 0]
    assert as_list(batch.rewards) == [6, 7, 8, 9, 0, 0, 0]
    assert as_list(batch.positions) == [6, 7, 8, 9, 10, -1, -1]
    assert as_list(batch.validity_mask) == [True] * 5 + [False] * 2
    assert as_list(batch.learning_mask) == [False, False, True, True, False, False, False]
    assert as_list(batch.terminated) == [False, False, False, True, False, False, False]
    assert_close(batch.discounts, np.array([[0.99, 0.99, 0.99, 0, 0, 0, 0]]))
    assert batch.handles == [8]


def test_stop_has_as_many_columns_as_needed():
    batch = only(filled([10], sampler=Prioritized()), 8, 4, burn_in=2, boundary="stop")
    assert as_list(batch.observations) == [6, 7, 8, 9, 10]
    assert batch.validity_mask.all()


def test_shift_moves_back_as_far_as_the_episode_allows():
    buffer = filled([10, 3], sampler=Prioritized())
    batch = only(buffer, 8, 4, burn_in=2, boundary="shift")
    assert as_list(batch.observations) == [4, 5, 6, 7, 8, 9, 10]
    assert as_list(batch.learning_mask) == [False] * 2 + [True] * 4 + [False]
    assert batch.handles == [8]
    batch = only(buffer, 13, 4, burn_in=2, boundary="shift")
    assert as_list(batch.positions) == [11, 12, 13, 14, -1, -1, -1]
    assert as_list(batch.learning_mask) == [True] * 3 + [False] * 4
    # The last steps are learned from, whatever would be after the end.
    batch = only(buffer, 9, 4, bootstrap=3, boundary="shift")
    assert as_list(batch.positions) == [6, 7, 8, 9, 10, -1, -1]


def test_a_truncated_episode_goes_on_with_its_final_observation():
    batch = only(filled([10], truncated=True, sampler=Prioritized()), 8, 4)
    assert as_list(batch.observations) == [8, 9, 10, 0, 0]
    assert as_list(batch.truncated) == [False, True, False, False, False]
    assert as_list(batch.learning_mask) == [True, True, False, False, False]
    assert_close(batch.discounts, np.array([[0.99, 0.99, 0, 0, 0]]))


def test_burn_in_is_shorter_at_the_begin_of_an_episode():
    batch = only(filled([3, 10], sampler=Prioritized()), 5, 3, burn_in=4)
    assert as_list(batch.positions) == [4, 5, 6, 7, 8, -1, -1, -1]
    assert as_list(batch.learning_mask) == [False, True, True, True] + [False] * 4
    assert as_list(batch.is_first) == [True] + [False] * 7


def test_the_newest_row_of_an_open_episode_is_an_observation():
    batch = only(filled([3], open_steps=5, sampler=Prioritized()), 6, 4)
    assert as_list(batch.positions) == [6, 7, 8, -1, -1]
    assert as_list(batch.learning_mask) == [True, True, False, False, False]
    assert as_list(batch.rewards) == [6, 7, 0, 0, 0]


def test_an_evicted_end_is_left_out():
    buffer = filled([10], sampler=Prioritized())
    buffer.evict(np.array([9], np.uint64))
    batch = only(buffer, 7, 4)
    assert as_list(batch.positions) == [7, 8, 9, -1, -1]
    assert as_list(batch.learning_mask) == [True, True, False, False, False]
    assert not batch.terminated.any()


def test_nothing_is_before_rows_that_were_overwritten():
    buffer = filled([30], capacity=20, sampler=Prioritized())
    oldest = int(buffer.places(buffer.handles()).rows.min())
    handles = buffer.handles()
    buffer.update_priorities(handles, (np.arange(len(handles)) == 1).astype(float))
    batch = buffer.sample_sequences(1, 3, burn_in=5)
    assert as_list(batch.positions)[:3] == [oldest, oldest + 1, oldest + 2]
    assert as_list(batch.observations)[:3] == [oldest, oldest + 1, oldest + 2]
    assert not batch.is_first.any()


def test_an_episode_whose_row_before_was_overwritten_has_its_begin():
    # Rows 0 … 5 are an episode, 6 … 16 one of ten steps, whose first row is now the oldest.
    fields = {"observations": Field((), "int64", stack=2), "rewards": ((), "float32")}
    buffer = filled([5, 10], open_steps=9, capacity=20, fields=fields, sampler=Prioritized())
    assert int(buffer.places(buffer.handles()).rows.min()) == 6
    batch = only(buffer, 8, 3, burn_in=5)
    assert as_list(batch.positions) == [6, 7, 8, 9, 10, 11, -1, -1, -1]
    assert as_list(batch.is_first) == [True, *[False] * 8]
    assert as_list(batch.observations[..., 0])[:3] == [6, 6, 7]  # what is before the first is it
    assert as_list(batch.observations[..., 1])[:3] == [6, 7, 8]
    # One row more, and the begin of that episode is gone.
    buffer.add(
        observations=np.array([26]),
        rewards=np.zeros(1),
        terminated=np.zeros(1, bool),
        truncated=np.zeros(1, bool),
    )
    batch = only(buffer, 8, 3, burn_in=5)
    assert as_list(batch.positions)[:2] == [8, 9]
    assert not batch.is_first.any()


def test_places_say_where_episodes_began_and_how_they_ended():
    buffer = filled([5, 10, 3], open_steps=4, capacity=20, truncated=True, sampler=Prioritized())
    handles = buffer.handles()
    places = buffer.places(handles)
    rows = places.rows
    np.testing.assert_array_equal(
        places.begins, np.where(rows < 17, 6, np.where(rows < 21, 17, 21))
    )
    assert int(places.first_rows.min()) == int(rows.min()) > 5
    np.testing.assert_array_equal(places.truncated, rows < 21)
    assert not places.terminated.any()
    buffer.evict(handles[rows == 15])
    places = buffer.places(handles)
    np.testing.assert_array_equal(places.truncated, (rows > 16) & (rows < 21))
    np.testing.assert_array_equal(places.complete, rows < 21)


def test_starts_are_those_that_sample_draws():
    for sampler in (Uniform(), Uniform("without_replacement"), Prioritized()):
        one, other = (filled([7, 30, 4], seed=3, sampler=sampler) for _ in range(2))
        if isinstance(sampler, Prioritized):
            for buffer in (one, other):
                handles = buffer.handles()
                buffer.update_priorities(handles, np.arange(len(handles)) + 1.0)
        for _ in range(3):
            batch, sequences = one.sample(16), other.sample_sequences(16, 5)
            for name in ("handles", "probabilities", "importance_weights"):
                np.testing.assert_array_equal(batch[name], sequences[name], name)
            np.testing.assert_array_equal(sequences.observations[:, 0], batch.observations)
    assert one.num_sampled == other.num_sampled == 48


def test_tensors_and_time_first():
    buffers = [filled([20], seed=1) for _ in range(2)]
    batch = buffers[0].sample_sequences(3, 4, burn_in=1)
    tensors = buffers[1].sample_sequences(3, 4, burn_in=1, time_major=True, output="torch")
    assert isinstance(batch, SequenceBatch)
    assert repr(batch).startswith("SequenceBatch(n=3, observations, rewards")
    assert batch.observations.shape == (3, 6)
    for name in batch:
        ours, theirs = batch[name], tensors[name]
        if name in ("handles", "step_handles"):
            assert isinstance(theirs, np.ndarray)
        else:
            assert isinstance(theirs, torch.Tensor)
        theirs = np.asarray(theirs)
        np.testing.assert_array_equal(ours, theirs.T if ours.ndim == 2 else theirs, name)


def test_stored_recurrent_state_may_be_one_field():
    fields = {**FIELDS, "recurrent_state": ((2,), "float32")}
    buffer = ReplayBuffer(50, fields)
    state = np.arange(40, dtype=np.float32).reshape(20, 1, 2)
    ended = np.zeros((20, 1), bool)
    buffer.add(
        observations=np.arange(20)[:, None],
        rewards=np.zeros((20, 1)),
        recurrent_state=state,
        terminated=ended,
        truncated=ended,
    )
    batch = buffer.sample_sequences(8, 3, burn_in=2)
    np.testing.assert_array_equal(batch.recurrent_state, state[batch.positions[:, 0], 0])


def test_a_buffer_that_drew_sequences_is_freed(tmp_path):
    buffer = filled([20], storage=str(tmp_path / "rows"))
    buffer.sample_sequences(4, 3)
    alive = weakref.ref(buffer._sequences)
    del buffer
    assert alive() is None
    assert str(tmp_path) not in Path("/proc/self/maps").read_text()
