"""Who is compared in bench_replay.py: ours behind the rivals' face, filled, and checked."""

from functools import cache

import fastrl
import numpy as np
import replay_rivals
from fastrl.replay import Prioritized, Uniform
from replay_rivals import ALPHA, BETA, CHUNK, Drawn, Memory, chunk
from rivals import MissingError

OURS = "fastrl"


def ours(capacity: int, *, prioritized: bool = True, num_lanes: int = CHUNK) -> Memory:
    """A chunk is a step of as many environments, or so many steps of `num_lanes`: see `shaped`."""
    fields = {
        "observations": ((replay_rivals.OBSERVATION,), "float32"),
        "actions": ((replay_rivals.ACTION,), "float32"),
        "rewards": ((), "float32"),
    }
    sampler = Prioritized(ALPHA, BETA) if prioritized else Uniform()
    buffer = fastrl.ReplayBuffer(capacity, fields, num_lanes=num_lanes, sampler=sampler)

    def add(rows):
        return buffer.add(
            observations=rows["observations"],
            actions=rows["actions"],
            rewards=rows["rewards"],
            terminated=rows["terminated"],
            truncated=rows["truncated"],
        )

    def view(batch):
        return Drawn(
            batch.rewards,
            batch.observations,
            batch.next_observations,
            batch.handles,
            batch.importance_weights if prioritized else None,
        )

    return Memory(
        OURS,
        add,
        buffer.sample,
        view,
        buffer.update_priorities if prioritized else None,
        lambda: buffer.refused_updates,
    )


MAKERS = {OURS: ours, **replay_rivals.MAKERS}


def makers(arguments, *, prioritized: bool):
    """Who can be here, ours first; who cannot is said."""
    found = {}
    for name in (OURS, *arguments.rivals):
        try:
            MAKERS[name](CHUNK * 4, prioritized=prioritized)
        except MissingError as error:
            print(f"not compared: {error}")
            continue
        found[name] = MAKERS[name]
    return found


@cache
def filled(name: str, capacity: int, prioritized: bool, adding: bool = False) -> Memory:
    make = replay_rivals.ADDING.get(name, MAKERS[name]) if adding else MAKERS[name]
    memory = make(capacity, prioritized=prioritized)
    for number in range(capacity // CHUNK):
        memory.add(chunk(number))
    return memory


def shaped(rows: dict[str, np.ndarray], num_lanes: int) -> dict[str, np.ndarray]:
    """A chunk as so many environments give it."""
    if num_lanes == CHUNK:
        return rows
    steps = (CHUNK // num_lanes, num_lanes)
    return {name: values.reshape(*steps, *values.shape[1:]) for name, values in rows.items()}


def filled_by_steps(capacity: int, num_lanes: int) -> Memory:
    memory = ours(capacity, num_lanes=num_lanes)
    for number in range(capacity // CHUNK):
        memory.add(shaped(chunk(number), num_lanes))
    return memory


def assert_whole(drawn: Drawn, oldest: int, end: int) -> None:
    numbers = np.asarray(drawn.rewards)
    np.testing.assert_array_equal(drawn.observations[:, 0], numbers)
    np.testing.assert_array_equal(drawn.next_observations[:, 0], numbers + CHUNK)
    assert oldest <= numbers.min(), "rows that are gone"
    assert numbers.max() < end, "rows that have not come"


@cache
def assert_right(name: str, prioritized: bool) -> None:
    """Rows are whole after a wrap-around; shares and weights follow from the priorities."""
    chunks = 8
    memory = MAKERS[name](CHUNK * chunks, prioritized=prioritized)
    for number in range(2 * chunks):
        memory.add(chunk(number))
    oldest, end = CHUNK * chunks, 2 * CHUNK * chunks
    draws, classes = 100, 4
    for _ in range(2 * draws):
        drawn = memory.view(memory.sample(CHUNK))
        assert_whole(drawn, oldest, end)
        if prioritized:
            # At most the first priority, so that the others are drawn and get theirs.
            priorities = (1 + np.asarray(drawn.rewards) % classes) / classes
            memory.update(drawn.keys, priorities.astype(np.float32))
    powers = (1 + np.arange(classes)) ** (ALPHA if prioritized else 0.0)
    shares = powers / powers.sum()
    counts = np.zeros(classes)
    for _ in range(draws):
        drawn = memory.view(memory.sample(CHUNK))
        found = np.asarray(drawn.rewards).astype(int) % classes
        counts += np.bincount(found, minlength=classes)
        if prioritized:
            # Some are divided by the batch's largest: the ratios count.
            ratios = np.asarray(drawn.weights) * powers[found] ** BETA
            np.testing.assert_allclose(ratios, ratios[0], rtol=1e-3)
    total = draws * CHUNK
    off = np.abs(counts - total * shares) / np.sqrt(total * shares * (1 - shares))
    assert off.max() < 6, f"shares {counts / total}, not {shares}"
