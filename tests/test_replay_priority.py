"""The index of priorities against its specification, and against what probability says."""

import math

import numpy as np
import pytest
import torch
from fastrl.reference import powers, ranks
from fastrl.reference import priority as reference
from fastrl.replay import MixReplay, Prioritized, PriorityIndex, ReplayBuffer
from fresh_process import run_python
from tolerance import assert_close

SCHEMES = ("independent", "stratified", "systematic", "without_replacement")
NORMALIZATIONS = (None, "batch", "buffer")


def both(capacity, exponent, kind, keep, seed):
    index = PriorityIndex(
        capacity, priority_exponent=exponent, kind=kind, keep_priorities=keep, seed=seed
    )
    if kind == "rank":
        return index, ranks.RankIndex(capacity, priority_exponent=exponent, seed=seed)
    twin = reference.PriorityIndex(
        capacity, priority_exponent=exponent, keep_priorities=keep, seed=seed
    )
    return index, twin


def some_priorities(random, n):
    """Of many magnitudes, whose middle wanders, with zeros and float32 and float64 in turn."""
    priorities = np.exp(random.normal(random.normal(0, 20), random.choice([0.1, 8.0]), n))
    priorities[random.random(n) < 0.2] = 0.0
    dtype = random.choice([np.float32, np.float64])
    with np.errstate(over="ignore", under="ignore"):
        return priorities.astype(dtype)


def assert_same(index, twin):
    weights = dict(twin.line())
    expected = [weights.get(slot, 0) for slot in range(index.capacity)]
    assert index.weights(np.arange(index.capacity)).tolist() == expected
    assert index.total == sum(expected)
    assert len(index) == sum(weight > 0 for weight in expected)
    assert index.largest_priority == (twin.largest_priority or 1.0)


def test_one_absurd_priority_makes_others_equal_until_it_is_gone():
    index = PriorityIndex(64, priority_exponent=1.0)
    slots, ordinary = np.arange(64), np.arange(1.0, 65.0)

    def errors():
        exact = ordinary / ordinary.sum()
        return np.abs(index.weights(slots) / index.total / exact - 1)

    index.set_priorities(slots, ordinary)
    assert errors().max() < 64 * 2.0**-29
    index.set_priorities([7], [1e30])
    weights = index.weights(slots)
    # None is left out, and probabilities are still those of the weights.
    assert len(index) == 64
    np.testing.assert_array_equal(np.delete(weights, 7), 1)
    assert 2**29 <= weights[7] < 2**30
    drawn = index.draw(64, scheme="without_replacement")
    assert sorted(drawn.slots) == slots.tolist()
    # Gone: once as many were given as there are slots, none of them absurd, the scale is right.
    for _ in range(2):
        index.set_priorities(slots, ordinary)
        weights = index.weights(slots)
        assert len(set(weights.tolist())) == 1, "what was made equal stays so"
    index.set_priorities(slots[:32], ordinary[:32])
    # Who has not been given anew counts as up to 8 times the largest that was given.
    equal, given = index.weights(slots[32:]), index.weights(slots[:32])
    assert len(set(equal.tolist())) == 1
    assert 1 <= equal[0] / (given.max() * 64 / 32) <= 8
    index.set_priorities(slots[32:], ordinary[32:])
    assert errors().max() < 64 * 2.0**-29


def test_kept_priorities_survive_an_absurd_one():
    index = PriorityIndex(8, priority_exponent=1.0, keep_priorities=True)
    ordinary = np.arange(1.0, 9.0)
    index.set_priorities(np.arange(8), ordinary)
    index.set_priorities([0], [1e30])
    np.testing.assert_array_equal(index.weights(np.arange(1, 8)), 1)
    index.set_priorities(np.zeros(8, np.int64), np.ones(8))
    shares = index.weights(np.arange(8)) / index.total
    np.testing.assert_allclose(shares, ordinary / ordinary.sum(), rtol=8 * 2.0**-29)


@pytest.mark.parametrize("k", [0, 5, 20, 28])
def test_the_relative_error_of_a_probability_is_bounded(k):
    index = PriorityIndex(1001, priority_exponent=1.0)
    priorities = np.concatenate(([1.0], np.random.default_rng(k).uniform(2.0**-k, 1.0, 1000)))
    index.set_priorities(np.arange(1001), priorities)
    weights = index.weights(np.arange(1001)) / index.weights([0])
    assert np.abs(weights / priorities - 1).max() <= 2.0 ** (k - 30) * (1 + 1e-9)


def test_an_absurd_priority_goes_with_its_row():
    sampler = Prioritized(1.0, new_priority="max_in_buffer")
    buffer = ReplayBuffer(50, {"numbers": ((), "int64")}, sampler=sampler)
    no = np.zeros((50, 1), bool)
    rows = {"numbers": np.arange(50)[:, None], "terminated": no, "truncated": no}
    buffer.add(**rows)
    ordinary = np.arange(1.0, 51.0)
    buffer.update_priorities(buffer.handles()[:1], [1e30])
    buffer.update_priorities(buffer.handles()[1:], ordinary[1:])
    assert len(set(buffer.priorities(buffer.handles())[1:])) == 1
    buffer.add(**{name: values[:1] for name, values in rows.items()})  # over the absurd one
    for _ in range(3):
        buffer.update_priorities(buffer.handles(), ordinary)
    np.testing.assert_allclose(buffer.priorities(buffer.handles()), ordinary, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_priorities_of_half_precision(dtype):
    values = torch.tensor([0.5, 1.25, 3.0, 0.0]).to(getattr(torch, dtype))
    exact = values.double().numpy()
    index = PriorityIndex(4, priority_exponent=1.0)
    index.set_priorities(np.arange(4), values)
    np.testing.assert_allclose(index.weights(np.arange(4)) / index.total, exact / exact.sum())
    buffer = ReplayBuffer(8, {"numbers": ((), "int64")}, num_lanes=4, sampler=Prioritized(1.0))
    no = np.zeros(4, bool)
    given = buffer.add(numbers=np.arange(4), terminated=no, truncated=no, priorities=values)
    np.testing.assert_allclose(buffer.priorities(given[:3]), exact[:3])
    assert not len(buffer.sample(50).handles[buffer.sample(50).handles == given[3]])
    assert buffer.update_priorities(given, values.flip(0)) == 4
    np.testing.assert_allclose(buffer.priorities(given[1:]), exact[::-1][1:])
    mix = MixReplay({"a": buffer})
    mix.update_priorities(given, values * 2, np.zeros(4, np.int64))
    np.testing.assert_allclose(buffer.priorities(given[:3]), 2 * exact[:3])
    wrong = values.clone()
    wrong[1] = -1
    with pytest.raises(ValueError, match="update_priorities: `priorities` must be finite and at"):
        buffer.update_priorities(given, wrong)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("kind", "keep"), [("proportional", False), ("proportional", True), ("rank", False)]
)
def test_draws_equal_the_specification(kind, keep, seed):
    random = np.random.default_rng(seed)
    capacity = int(random.integers(1, 90))
    exponent = [0.6, 1.0, 0.0, 1.7][seed]
    index, twin = both(capacity, exponent, kind, keep, seed)
    for _ in range(60):
        slots = random.integers(0, capacity, random.integers(0, 40))  # with duplicates
        what = random.integers(6)
        if what < 3:
            priorities = some_priorities(random, len(slots))
            index.set_priorities(slots, priorities)
            twin.set_priorities(slots, priorities)
        elif what == 3:
            new = [0.0, "max", "max_in_buffer", float(random.exponential())][random.integers(4)]
            index.set_new(slots, new)
            twin.set_new(slots, new)
        elif what == 4:
            index.clear(slots[:3])
            twin.clear(slots[:3])
        elif keep or kind == "rank":
            exponent = float(random.choice([0.0, 0.3, 1.0, 2.5]))
            index.priority_exponent = exponent
            twin.set_exponent(exponent)
            assert index.priority_exponent == exponent
        assert_same(index, twin)
        if len(index) == 0:
            continue
        for scheme in SCHEMES:
            n = int(random.integers(1, 30))
            if scheme == "without_replacement":
                n = min(n, len(index))
            draw = index.draw(n, scheme=scheme)
            drawn, probabilities, tau = twin.draw(n, scheme)
            assert draw.slots.tolist() == drawn
            assert draw.probabilities.tolist() == probabilities
            assert draw.tau == tau
            for normalize in NORMALIZATIONS:
                weights = index.importance_weights(draw, 0.7, normalize=normalize)
                twins = twin.importance_weights(probabilities, tau, 0.7, normalize)
                np.testing.assert_array_equal(weights, np.float32(twins))


def test_power_is_close_to_the_library():
    for x in np.geomspace(1e-300, 1e300, 601):
        for a in (-0.4, 0.6, 1.0):
            exact = float(x) ** a
            error = abs(powers.power(float(x), a) - exact)
            assert error <= exact * 2.0**-52 * (4 + 2 * abs(math.log2(exact)))


def p_values(counts, probabilities, draws):
    """Upper tails of χ² of counts with expectation at least 5, by Wilson & Hilferty."""
    expected = draws * probabilities
    chi_square = ((counts - expected) ** 2 / expected).sum(-1)
    k = len(probabilities) - 1
    z = ((chi_square / k) ** (1 / 3) - (1 - 2 / (9 * k))) / math.sqrt(2 / (9 * k))
    return np.array([0.5 * math.erfc(value / math.sqrt(2)) for value in z])


def assert_uniform(values):
    """Kolmogorov and Smirnov at the level 10^-4."""
    ordered = np.sort(values)
    n = len(ordered)
    steps = np.arange(n + 1) / n
    distance = max((steps[1:] - ordered).max(), (ordered - steps[:-1]).max())
    assert distance < math.sqrt(-math.log(1e-4 / 2) / 2) / math.sqrt(n), distance


@pytest.mark.parametrize("kind", ["proportional", "rank"])
def test_chi_square_is_uniform_over_seeds(kind):
    """Priorities span 10^12, some are 0, the ring has wrapped many times over."""
    capacity, draws, seeds = 1000, 20_000, 200
    random = np.random.default_rng(8)
    values = []
    for seed in range(seeds):
        index = PriorityIndex(capacity, priority_exponent=0.6, kind=kind, seed=seed)
        for begin in range(0, 3 * capacity, 250):
            index.set_new(np.arange(begin, begin + 250) % capacity)
            slots = random.integers(0, capacity, 250)
            index.set_priorities(slots, 10 ** random.uniform(-12, 0, 250))
            index.set_priorities(slots[:50], np.zeros(50))
        weights = index.weights(np.arange(capacity)).astype(float)
        counts = np.bincount(index.draw(draws).slots, minlength=capacity)
        assert not counts[weights == 0].any()
        probabilities = weights / weights.sum()
        order = np.argsort(-probabilities)
        often = order[draws * probabilities[order] >= 10]
        rest = np.setdiff1d(order, often)
        probabilities = np.append(probabilities[often], probabilities[rest].sum())
        counts = np.append(counts[often], counts[rest].sum())
        keep = probabilities * draws >= 5
        assert keep[:-1].all()
        if not keep[-1]:
            probabilities, counts = probabilities[:-1] / probabilities[:-1].sum(), counts[:-1]
        values.append(p_values(counts[None], probabilities, counts.sum())[0])
    assert_uniform(np.array(values))


@pytest.mark.parametrize("kind", ["proportional", "rank"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_full_importance_weights_are_unbiased(scheme, kind):
    random = np.random.default_rng(3)
    index = PriorityIndex(200, kind=kind, seed=5)
    index.set_priorities(np.arange(150), np.exp(random.normal(0, 2, 150)))
    values = random.normal(1, 1, 200)
    estimates = []
    for _ in range(4000):
        draw = index.draw(16, scheme=scheme)
        weights = index.importance_weights(draw, 1.0, normalize=None)
        estimates.append((values[draw.slots] * weights).mean())
    deviation = np.std(estimates) / math.sqrt(len(estimates))
    assert abs(np.mean(estimates) - values[:150].mean()) <= 4 * deviation


@pytest.mark.parametrize("scheme", ["stratified", "systematic"])
def test_stratified_draws_come_from_each_stratum(scheme):
    index = PriorityIndex(64, priority_exponent=1.0, seed=1)
    index.set_priorities(np.arange(64), np.ones(64, np.float32))
    draw = index.draw(16, scheme=scheme)
    assert sorted(draw.slots // 4) == list(range(16))
    assert list(draw.slots) != sorted(draw.slots)


def test_without_replacement_takes_each_slot_once():
    index = PriorityIndex(100, seed=1)
    index.set_priorities(np.arange(0, 100, 2), np.geomspace(1e-9, 1, 50))
    draw = index.draw(50, scheme="without_replacement")
    assert sorted(draw.slots) == list(range(0, 100, 2))
    assert (draw.probabilities == 1 / 50).all()
    assert draw.tau == math.inf


def test_the_exponent_can_be_annealed():
    kept = PriorityIndex(50, priority_exponent=0.9, keep_priorities=True)
    priorities = np.geomspace(1e-3, 10, 50).astype(np.float32)
    kept.set_priorities(np.arange(50), priorities)
    for exponent in (0.7, 0.5, 1.0):
        kept.priority_exponent = exponent
        expected = priorities.astype(float) ** exponent
        got = kept.weights(np.arange(50)) / kept.total
        assert_close(got, expected / expected.sum(), dtype="float32")


def test_extremes_of_small_and_large_priorities_keep_their_places():
    index = PriorityIndex(4, priority_exponent=1.0)
    index.set_priorities(np.arange(4), np.array([5e-324, 1e-300, 1.0, 1.7e308]))
    assert index.weights(np.arange(4)).tolist() == [1, 1, 1, round(1.7e308 / 2**1023 * 2**29)]
    index.set_priorities(np.array([3]), np.array([0.0]))
    assert len(index) == 3


DIGEST = """
import hashlib, sys
import numpy as np
import fastrl
from fastrl.replay import PriorityIndex
digest = hashlib.sha256()
for kind in ("proportional", "rank"):
    for exponent in (0.6, 1.0):
        random = np.random.default_rng(0)
        index = PriorityIndex(5000, priority_exponent=exponent, kind=kind, seed=3)
        for _ in range(40):
            index.set_priorities(random.integers(0, 5000, 600), random.exponential(size=600) ** 4)
            for scheme in ("independent", "stratified", "systematic", "without_replacement"):
                draw = index.draw(257, scheme=scheme)
                for array in (*draw[:2], index.importance_weights(draw, 0.4, normalize="buffer")):
                    digest.update(array.tobytes())
        digest.update(index.weights(np.arange(5000)).tobytes())
sys.stdout.write(digest.hexdigest())
"""


def test_instruction_sets_agree_bit_for_bit():
    from fastrl import _core

    sets = ["portable", "x86-64-v3", "x86-64-v4"]
    best = sets.index(_core.instruction_set())
    digests = set()
    for name in sets[: best + 1]:
        digests.add(run_python(DIGEST, FASTRL_INSTRUCTION_SET=name))
    assert len(digests) == 1


def test_the_index_is_small():
    assert PriorityIndex(10**6).bytes <= 5 * 10**6
    assert PriorityIndex(10**6, kind="rank").bytes <= 11 * 10**6


def test_errors_name_the_function_and_change_nothing():
    index = PriorityIndex(10, seed=0)
    with pytest.raises(ValueError, match="draw: nothing can be drawn: no item has a priority"):
        index.draw(1)
    index.set_priorities(np.array([1]), np.array([1.0]))
    two = np.array([1, 2])
    for bad in (-1.0, math.nan, math.inf, -math.inf):
        with pytest.raises(ValueError, match="set_priorities: `priorities` must be finite and at"):
            index.set_priorities(two, np.array([3.0, bad]))
        with pytest.raises(ValueError, match="set_priorities: `priorities` must be finite and at"):
            index.set_priorities(two, np.array([3.0, bad], np.float32))
        with pytest.raises(ValueError, match="set_new: `priority` must be finite and at least 0"):
            index.set_new(two, bad)
    with pytest.raises(IndexError, match="set_priorities: `slots` must be from 0 to 9, got 10"):
        index.set_priorities(np.array([2, 10]), np.ones(2))
    with pytest.raises(IndexError, match="set_new: `slots` must be from 0 to 9, got -1"):
        index.set_new(np.array([2, -1]))
    with pytest.raises(IndexError, match="clear: `slots` must be from 0 to 9, got 11"):
        index.clear(np.array([1, 11]))
    with pytest.raises(IndexError, match="weights: `slots` must be from 0 to 9, got 11"):
        index.weights(np.array([1, 11]))
    with pytest.raises(TypeError, match="set_priorities: `slots` must have dtype int64"):
        index.set_priorities(np.array([1.0]), np.ones(1))
    with pytest.raises(ValueError, match=r"clear: `slots` must have shape \[B\], got \[1, 1\]"):
        index.clear(np.array([[1]]))
    with pytest.raises(TypeError, match="`priorities` must have dtype float32 or float64, got int"):
        index.set_priorities(two, two)
    with pytest.raises(ValueError, match=r"`priorities` must have shape \[B\] = \[2\], got \[3\]"):
        index.set_priorities(two, np.ones(3))
    with pytest.raises(ValueError, match="set_new: `priority` must be one of 'max', 'max_in_buf"):
        index.set_new(two, "largest")
    with pytest.raises(ValueError, match="draw: `n` must be at most the number of drawable items"):
        index.draw(2, scheme="without_replacement")
    with pytest.raises(ValueError, match="draw: `n` must be from 1 to 2147483647, got 0"):
        index.draw(0)
    with pytest.raises(ValueError, match="draw: `scheme` must be one of 'independent'"):
        index.draw(1, scheme="iid")
    with pytest.raises(ValueError, match=r"`priority_exponent` must stay 0\.6 while there"):
        index.priority_exponent = 0.5
    with pytest.raises(ValueError, match="importance_weights: `normalize` must be 'batch', 'buf"):
        index.importance_weights(index.draw(1), 0.4, normalize="max")
    with pytest.raises(ValueError, match="PriorityIndex: `capacity` must be from 1 to 4294967296"):
        PriorityIndex(0)
    with pytest.raises(ValueError, match="PriorityIndex: `kind` must be one of 'proportional'"):
        PriorityIndex(1, kind="ranks")
    assert len(index) == 1
    assert index.total == int(index.weights(np.array([1]))[0])
