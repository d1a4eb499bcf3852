"""TSP and bandits against plain Python."""

import math

import fastrl
import numpy as np
import pytest
from fastrl.reference import decisions as reference
from fastrl.reference.envs import level_stream, step_stream


@pytest.mark.parametrize("num_cities", [2, 5, 64, 128])
def test_tsp_matches_the_reference(num_cities):
    env = fastrl.make_vec("TSP-v0", 12, num_cities=num_cities, autoreset_mode="disabled")
    observations, infos = env.reset(seed=4)
    twins = [reference.TSP.drawn(level_stream(4, i, 0), num_cities) for i in range(12)]
    random = np.random.default_rng(0)
    active = np.ones(12, bool)

    def check_observations(where):
        for i in np.flatnonzero(where):
            for key, wanted in twins[i].observation().items():
                np.testing.assert_array_equal(observations[key][i], wanted)
            np.testing.assert_array_equal(infos["action_mask"][i], twins[i].action_mask())

    check_observations(active)
    completed = failed = 0
    while active.any():
        actions = random.integers(0, num_cities, 12)
        for i in range(0 if num_cities == 2 else 4, 12):  # these take legal cities only
            legal = np.flatnonzero(twins[i].action_mask())
            actions[i] = random.choice(legal) if legal.size else 0
        observations, rewards, terminated, truncated, infos = env.step(actions, active)
        assert not (truncated & ~terminated).any()
        for i in np.flatnonzero(active):
            wanted = twins[i].step(actions[i])
            assert (rewards[i], terminated[i], infos["success"][i]) == wanted
            completed += wanted[2]
            failed += wanted[1] and not wanted[2]
        check_observations(active)
        active &= ~terminated
    assert completed >= 8
    assert failed > 0 or num_cities == 2


def test_tsp_return_is_minus_the_length_of_the_closed_tour():
    env = fastrl.make_vec("TSP-v0", 4, num_cities=9, autoreset_mode="disabled")
    observations, _ = env.reset(seed=0)
    cities = observations["cities"].astype(np.float64)
    total = np.zeros(4)
    for city in range(9):
        _, rewards, _, _, _ = env.step(np.full(4, city))
        total += rewards
    lengths = np.linalg.norm(cities - np.roll(cities, 1, axis=1), axis=2).sum(1)
    np.testing.assert_allclose(total, -lengths, rtol=1e-12)


def test_tsp_ends_at_a_city_that_was_visited_and_no_tour_is_worse():
    env = fastrl.make_vec("TSP-v0", 1, num_cities=4, autoreset_mode="disabled")
    env.reset(seed=0)
    env.step(np.array([2]))
    observations, rewards, terminated, _, infos = env.step(np.array([2]))
    assert rewards[0] == -4 * math.sqrt(2.0)
    assert terminated[0]
    assert not infos["success"][0]
    assert observations["current"][0] == 2


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_arms": 2},
        {"num_arms": 64, "distribution": "gaussian"},
        {"num_arms": 5, "distribution": "gaussian", "noise": 0.1},
    ],
)
def test_bandit_matches_the_reference(options):
    env = fastrl.make_vec("Bandit-v0", 16, autoreset_mode="disabled", **options)
    observations, _ = env.reset(seed=4)
    assert not observations.any()
    gaussian = options.get("distribution") == "gaussian"
    noise = options.get("noise", 1.0) if gaussian else None
    num_arms = options.get("num_arms", 10)
    twins = [
        reference.Bandit.drawn(level_stream(4, i, 0), num_arms, step_stream(4, i), noise)
        for i in range(16)
    ]
    distances, best = env.solve(env.snapshot())
    assert (distances == 1).all()
    np.testing.assert_array_equal(best, [np.argmax(twin.arms) for twin in twins])
    random = np.random.default_rng(0)
    for t in range(100):
        actions = np.where(random.random(16) < 0.3, best, random.integers(0, num_arms, 16))
        observations, rewards, terminated, truncated, infos = env.step(actions)
        assert not observations.any()
        for i, twin in enumerate(twins):
            assert (rewards[i], terminated[i], infos["success"][i]) == twin.step(actions[i])
            assert infos["regret"][i] == twin.regret
        assert (truncated == (t == 99)).all()


def test_bandit_arms_pay_what_they_say():
    arms = [0.1, 0.5, 0.9]
    env = fastrl.make_vec("Bandit-v0", 30_000, num_arms=3)
    env.set_levels([" ".join(map(str, arms))])
    env.reset(seed=0)
    for arm, expected in enumerate(arms):
        _, rewards, _, _, infos = env.step(np.full(30_000, arm))
        assert abs(rewards.mean() - expected) < 5 * math.sqrt(0.25 / 30_000)
        np.testing.assert_array_equal(infos["regret"], 0.9 - expected)


def test_gaussian_arms_pay_with_the_noise_they_say():
    env = fastrl.make_vec("Bandit-v0", 30_000, num_arms=2, distribution="gaussian", noise=0.5)
    env.set_levels(["-3 4"])
    env.reset(seed=0)
    _, rewards, _, _, _ = env.step(np.ones(30_000, np.int64))
    assert abs(rewards.mean() - 4.0) < 5 * 0.5 / math.sqrt(30_000)
    assert abs(rewards.std() - 0.5) < 0.02


def test_cities_can_be_given():
    env = fastrl.make_vec("TSP-v0", 2, num_cities=3)
    env.set_levels(["0 0\n0 1\n0.5 0.25"])
    observations, _ = env.reset(seed=0)
    np.testing.assert_array_equal(observations["cities"][1], [[0, 0], [0, 1], [0.5, 0.25]])


@pytest.mark.parametrize(
    ("name", "options", "text", "message"),
    [
        ("Bandit-v0", {"num_arms": 2}, "0.5", "hold 2 probabilities from 0 to 1, got 1"),
        ("Bandit-v0", {"num_arms": 2}, "0.5 1.5", "hold 2 probabilities from 0 to 1, got '1.5'"),
        ("Bandit-v0", {"num_arms": 2}, "0 1 1", "hold 2 probabilities from 0 to 1, got more"),
        (
            "Bandit-v0",
            {"num_arms": 2, "distribution": "gaussian"},
            "0 nan",
            "hold 2 expected rewards, got 'nan'",
        ),
        ("TSP-v0", {"num_cities": 2}, "0 0 1x 1", "hold 2 pairs of numbers from 0 to 1, got '1x'"),
    ],
)
def test_levels_are_checked(name, options, text, message):
    env = fastrl.make_vec(name, 1, **options)
    with pytest.raises(ValueError, match="must " + message):
        env.set_levels([text])


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("TSP-v0", {"num_cities": 129}, "`num_cities` must be an integer from 2 to 128, got 129"),
        ("Bandit-v0", {"num_arms": 1}, "`num_arms` must be an integer from 2 to 64, got 1"),
        (
            "Bandit-v0",
            {"distribution": "beta"},
            "`distribution` must be one of 'bernoulli', 'gaussian', got 'beta'",
        ),
    ],
)
def test_options_are_checked(name, options, message):
    with pytest.raises(ValueError, match="make_vec: " + message):
        fastrl.make_vec(name, 1, **options)
