"""Annealed exponents of priorities and importance weights, against plain integers and float64."""

import numpy as np
import pytest
from fastrl.reference import priority as spec
from fastrl.reference import ranks
from fastrl.replay import Linear, Prioritized, RankPrioritized, ReplayBuffer

ITEMS, CAPACITY = 40, 100
FIELDS = {"numbers": ((), "int64")}


def filled(sampler, priorities, capacity=CAPACITY):
    buffer = ReplayBuffer(capacity, FIELDS, sampler=sampler, seed=3)
    no = np.zeros((len(priorities), 1), bool)
    numbers = np.arange(len(priorities))[:, None]
    buffer.add(numbers=numbers, terminated=no, truncated=no, priorities=priorities[:, None])
    return buffer


@pytest.fixture
def priorities():
    values = np.exp(np.random.default_rng(0).normal(0, 3, ITEMS))
    values[::7] = 0
    return values.astype(np.float32).astype(np.float64)


@pytest.mark.parametrize(
    ("start", "end", "steps"), [(0.2, 0.9, 10), (1.0, 0.0, 200), (0.5, 0.7, 1)]
)
def test_priority_exponents_go_in_64_steps_from_the_priorities_themselves(
    priorities, start, end, steps
):
    sampler = Prioritized(Linear(start, end, steps), Linear(0.4, 1.0, steps))
    buffer = filled(sampler, priorities)
    twin = spec.PriorityIndex(CAPACITY, priority_exponent=start, keep_priorities=True, seed=0)
    twin.set_priorities(range(ITEMS), priorities)
    for number in range(steps + 3):
        twin.set_exponent(spec.annealed(start, end, steps, number, stages=64))
        batch = buffer.sample(16)
        weights = np.array(twin.weights, np.float64)
        expected = (weights / weights.sum())[batch.numbers]
        np.testing.assert_array_equal(batch.probabilities, expected)
        exponent = spec.annealed(0.4, 1.0, steps, number)
        ratios = (batch.probabilities.min() / batch.probabilities) ** exponent
        np.testing.assert_allclose(batch.importance_weights, ratios, rtol=1e-6)
        # Later priorities are weighed by the exponent of their time, and again with the next one.
        new = float(np.float32(batch.probabilities[0] * 50))
        buffer.update_priorities(batch.handles[:1], np.array([new]))
        twin.set_priorities([int(batch.numbers[0])], [new])


def test_an_exponent_that_has_come_back_leaves_no_trace(priorities):
    buffer = filled(Prioritized(Linear(1.0, 0.0, 64), new_priority=1.0), priorities)
    for _ in range(65):
        buffer.sample(4)
    # 0 is uniform among the priorities that are not 0.
    chances = buffer.sample(8).probabilities
    assert (chances == 1 / np.count_nonzero(priorities)).all()
    drawable = buffer.handles()
    np.testing.assert_array_equal(buffer.priorities(drawable), priorities)


def test_ranks_are_annealed_too(priorities):
    steps = 5
    buffer = filled(RankPrioritized(Linear(0.0, 2.0, steps)), priorities)
    twin = ranks.RankIndex(CAPACITY, priority_exponent=0.0, seed=0)
    for number in range(steps + 2):
        exponent = spec.annealed(0.0, 2.0, steps, number, stages=64)
        twin = ranks.RankIndex(CAPACITY, priority_exponent=exponent, seed=0)
        twin.set_priorities(range(ITEMS), priorities)
        line = dict(twin.line())
        total = sum(line.values())
        batch = buffer.sample(16)
        expected = [line[int(number)] / total for number in batch.numbers]
        np.testing.assert_allclose(batch.probabilities, expected, rtol=1e-9)


def test_a_file_remembers_how_far_it_went(tmp_path, priorities):
    path = tmp_path / "buffer"
    sampler = Prioritized(Linear(0.0, 1.0, 10), Linear(0.0, 1.0, 20))
    buffer = ReplayBuffer(CAPACITY, FIELDS, sampler=sampler, storage=path)
    no = np.zeros((ITEMS, 1), bool)
    buffer.add(
        numbers=np.arange(ITEMS)[:, None],
        terminated=no,
        truncated=no,
        priorities=priorities[:, None],
    )
    for _ in range(6):
        buffer.sample(4)
    other = ReplayBuffer.open(path)
    assert other.samplers == {"default": sampler}
    assert buffer.num_bytes > ReplayBuffer(CAPACITY, FIELDS, sampler=Prioritized()).num_bytes - 4096
    batch = other.sample(16)
    twin = spec.PriorityIndex(CAPACITY, priority_exponent=0.0, keep_priorities=True, seed=0)
    twin.set_priorities(range(ITEMS), priorities)
    twin.set_exponent(spec.annealed(0.0, 1.0, 10, 6, stages=64))
    weights = np.array(twin.weights, np.float64)
    np.testing.assert_array_equal(batch.probabilities, (weights / weights.sum())[batch.numbers])


@pytest.mark.parametrize("kind", [Prioritized, RankPrioritized])
@pytest.mark.parametrize(
    ("exponent", "message"),
    [
        (Linear(-0.1, 1, 5), "ReplayBuffer: `priority_exponent` must be finite and at least 0"),
        (Linear(0.1, float("nan"), 5), "`priority_exponent` must be finite and at least 0"),
        (Linear(0.1, 1, -5), "`priority_exponent.steps` must be from 0 to 46"),
    ],
)
def test_wrong_exponents(kind, exponent, message):
    with pytest.raises(ValueError, match=message):
        ReplayBuffer(9, FIELDS, sampler=kind(exponent))
