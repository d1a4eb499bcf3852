import numpy as np
import pytest
from fastrl.reference import levels as reference
from fastrl.replay import level_weights, task_weights
from fastrl.replay.level_weights import TRANSFORMS
from fastrl.replay.weighted_draws import WeightedDraws, integer_weights, multiply_shift
from frequencies import chi_squared_p
from tolerance import assert_close


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.0])
def test_weights_are_those_of_the_specification(transform, temperature):
    rng = np.random.default_rng(0)
    for scores in (rng.random(40), rng.normal(size=7), np.repeat(rng.random(5), 3), np.zeros(4)):
        weights = level_weights(scores, transform=transform, temperature=temperature, offset=1e-3)
        expected = reference.level_weights(scores.tolist(), transform, temperature, offset=1e-3)
        np.testing.assert_allclose(weights, expected, rtol=1e-12, atol=0)
        assert weights.sum() == pytest.approx(1.0, abs=1e-14)


def test_rank_divides_no_score_by_the_temperature():
    scores = np.array([0.1, 0.9, 0.5])
    expected = np.array([3.0**-2, 1.0, 2.0**-2])
    weights = level_weights(scores, transform="rank", temperature=0.5)
    assert_close(weights, expected / expected.sum())
    weights = level_weights(scores, transform="power", temperature=0.5)
    assert_close(weights, scores**2 / (scores**2).sum())


def test_equal_scores_have_equal_weights():
    for transform in TRANSFORMS:
        weights = level_weights(np.array([0.2, 0.5, 0.5, 0.2]), transform=transform)
        assert weights[0] == weights[3]
        assert weights[1] == weights[2]


def test_extreme_scores_neither_overflow_nor_vanish():
    scores = np.array([-1e300, 0.0, 1e300, 1e-300])
    for transform in TRANSFORMS:
        weights = level_weights(scores, transform=transform, temperature=0.1)
        assert np.isfinite(weights).all()
        assert weights.sum() == pytest.approx(1.0, abs=1e-15)


def test_task_weights_prefer_low_rewards():
    rewards = np.array([0.9, 0.5, 0.1])
    np.testing.assert_allclose(task_weights(rewards), [0.0159, 0.1173, 0.8668], atol=5e-5)
    by_class = task_weights(rewards, np.array([4, 7, 2]))
    np.testing.assert_allclose(by_class, [0.0159, 0.1173, 0.8668], atol=5e-5)
    rng = np.random.default_rng(1)
    rewards, classes = rng.random(20), rng.integers(0, 4, 20)
    for alpha in (0.0, 0.3, 1.0):
        expected = reference.task_weights(rewards.tolist(), classes.tolist(), 5.0, alpha)
        weights = task_weights(rewards, classes, alpha=alpha)
        np.testing.assert_allclose(weights, expected, rtol=1e-13)
    assert task_weights(rewards * 1e6, classes).sum() == pytest.approx(1.0)


def test_masses_are_exact_products():
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**64, 1000, dtype=np.uint64)
    for total in (1, 7, 2**52 + 12345, 2**63 - 1):
        expected = [(int(b) * total) >> 64 for b in bits]
        assert multiply_shift(bits, np.uint64(total)).tolist() == expected


def test_integer_weights_keep_zeros_and_what_is_tiny():
    weights = np.array([0.0, 1e-300, 1.0, 0.0, 3.0])
    assert integer_weights(weights).tolist() == [0, 1, 2**50, 0, 3 * 2**50]


@pytest.mark.parametrize("bits", [0, 2**64 - 1])
def test_the_outermost_masses_hit_no_zero_weight(bits, monkeypatch):
    draws = WeightedDraws(0)
    monkeypatch.setattr(draws, "bits", lambda n: np.full(n, bits, np.uint64))
    weights = np.array([0.0, 0.25, 0.0, 0.75, 0.0])
    assert draws.draw(weights, 2, "independent").tolist() == ([3, 3] if bits else [1, 1])


@pytest.mark.parametrize("scheme", ["independent", "stratified", "systematic"])
def test_frequencies_are_the_weights(scheme):
    weights = np.random.default_rng(2).random(50) ** 4
    weights[::7] = 0.0
    weights /= weights.sum()
    draws = WeightedDraws(3)
    slots = np.concatenate([draws.draw(weights, 10, scheme) for _ in range(1000)])
    if scheme == "independent":
        assert chi_squared_p(slots, weights) > 0.01
    else:  # spread more evenly than chance
        counts = np.bincount(slots, minlength=50)
        assert (np.abs(counts - 10_000 * weights) < 5 * np.sqrt(10_000 * weights) + 1e-9).all()


def test_stratified_draws_take_one_of_each_part():
    weights = np.full(12, 1 / 12)
    for scheme in ("stratified", "systematic"):
        slots = WeightedDraws(0).draw(weights, 4, scheme)
        assert sorted(slots // 3) == [0, 1, 2, 3]
        assert len({tuple(WeightedDraws(s).draw(weights, 4, scheme) // 3) for s in range(20)}) > 5


def test_distinct_draws_are_successive_ones():
    weights = np.array([0.1, 0.2, 0.3, 0.4])
    draws = WeightedDraws(5)
    pairs = np.array([draws.draw(weights, 2, "without_replacement") for _ in range(4000)])
    assert (pairs[:, 0] != pairs[:, 1]).all()
    expected = np.outer(weights, weights) / (1.0 - weights[:, None])
    np.fill_diagonal(expected, 0.0)
    assert chi_squared_p(pairs[:, 0] * 4 + pairs[:, 1], expected.ravel()) > 0.01
    assert draws.draw(weights, 3, "top").tolist() == [3, 2, 1]
