"""No sequence crosses the end of an episode, whoever writes meanwhile."""

import threading

import numpy as np
import pytest
from fastrl.replay import Prioritized, ReplayBuffer, Uniform


def crossings(batch, columns):
    """Sequences that hold rows of two episodes, or rows that are not neighbors."""
    episodes, steps = batch.observations[..., 0], batch.observations[..., 1]
    valid = batch.validity_mask
    neighbors = valid[:, 1:] & valid[:, :-1]
    wrong = (episodes[:, 1:] != episodes[:, :-1]) | (steps[:, 1:] != steps[:, :-1] + 1)
    ragged = valid[:, 1:] & ~valid[:, :-1]
    # What is learned from has the next observation of its own episode in the next column.
    lonely = np.zeros(len(valid), bool)
    lonely |= (batch.learning_mask[:, :-1] & ~valid[:, 1:]).any(1)
    assert valid.shape[1] <= columns
    return int(((neighbors & wrong).any(1) | ragged.any(1) | lonely).sum())


def draw_sequences(draws, *, n=1000):
    """Sequences of random episodes, which are written between the draws; how many cross an end."""
    random = np.random.default_rng(0)
    num_lanes = 16
    fields = {"observations": ((2,), "int64"), "rewards": ((), "float32")}
    samplers = {"uniform": Uniform(), "by_priority": Prioritized(new_priority=1.0)}
    buffer = ReplayBuffer(16 * 300, fields, num_lanes=num_lanes, sampler=samplers)
    episodes, steps = np.arange(num_lanes), np.zeros(num_lanes, np.int64)
    next_episode, bad = num_lanes, 0
    for done in range(0, draws, n):
        num_steps = 400 if done == 0 else 40
        observations = np.empty((num_steps, num_lanes, 2), np.int64)
        terminated, truncated = random.random((2, num_steps, num_lanes)) < 0.04
        for step, ended in enumerate(terminated | truncated):
            observations[step] = np.stack([episodes, steps], 1)
            steps = np.where(ended, 0, steps + 1)
            episodes = np.where(ended, next_episode + np.arange(num_lanes), episodes)
            next_episode += num_lanes
        buffer.add(
            observations=observations,
            rewards=np.zeros((num_steps, num_lanes), np.float32),
            terminated=terminated,
            truncated=truncated,
            final_observations=observations + np.array([0, 1]),
        )
        options = {
            "length": int(random.integers(1, 30)),
            "burn_in": int(random.integers(0, 20)),
            "bootstrap": int(random.integers(1, 5)),
        }
        batch = buffer.sample_sequences(
            n,
            **options,
            boundary=str(random.choice(["pad", "stop", "shift"])),
            sampler=str(random.choice(list(samplers))),
        )
        bad += crossings(batch, sum(options.values()))
        buffer.update_priorities(batch.handles, random.random(n) + 0.1, sampler="by_priority")
    return bad


def test_no_sequence_crosses_the_end_of_an_episode():
    assert draw_sequences(100_000) == 0


@pytest.mark.slow
def test_no_sequence_of_a_million_crosses_the_end_of_an_episode():
    assert draw_sequences(1_000_000, n=4000) == 0


def test_crossings_are_noticed():
    batch = filled_pairs().sample_sequences(50, 4)
    assert crossings(batch, 5) == 0
    batch.observations[7, 1, 0] += 1
    assert crossings(batch, 5) == 1


def filled_pairs():
    fields = {"observations": ((2,), "int64"), "rewards": ((), "float32")}
    buffer = ReplayBuffer(100, fields)
    steps = np.arange(50)
    ended = np.zeros((50, 1), bool)
    buffer.add(
        observations=np.stack([np.zeros(50, int), steps], 1)[:, None],
        rewards=np.zeros((50, 1)),
        terminated=ended,
        truncated=ended,
    )
    return buffer


def test_a_writer_may_overwrite_meanwhile():
    fields = {"observations": ((2,), "int64"), "rewards": ((), "float32")}
    buffer = ReplayBuffer(4000, fields, num_lanes=4)
    done = threading.Event()
    random = np.random.default_rng(0)

    def write():
        episode, step = np.arange(4), np.zeros(4, np.int64)
        while not done.is_set():
            observations = np.stack([episode, step], 1)
            ended = random.random(4) < 0.05
            buffer.add(
                observations=observations,
                rewards=np.zeros(4),
                terminated=ended,
                truncated=np.zeros(4, bool),
                final_observations=observations + np.array([0, 1]),
            )
            step, episode = np.where(ended, 0, step + 1), episode + 4 * ended

    writer = threading.Thread(target=write)
    writer.start()
    try:
        while buffer.num_added < 4000:
            pass
        for _ in range(100):
            assert crossings(buffer.sample_sequences(32, 8, burn_in=4), 13) == 0
    finally:
        done.set()
        writer.join()
