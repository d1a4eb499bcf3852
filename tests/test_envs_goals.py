"""BitFlip and PointReach against plain Python."""

import fastrl
import numpy as np
import pytest
from fastrl.reference import goals as reference
from fastrl.reference.envs import level_stream

KEYS = ("observation", "achieved_goal", "desired_goal")


def check_goal_environment(name, options, twins, choose, max_episode_steps=None):
    """Steps `name` and its twins side by side; returns how many episodes had a success."""
    env = fastrl.make_vec(
        name,
        len(twins),
        autoreset_mode="disabled",
        max_episode_steps=max_episode_steps,
        **options,
    )
    observations, _ = env.reset(seed=3)
    random = np.random.default_rng(0)
    active = np.ones(len(twins), bool)
    reached = np.zeros(len(twins), bool)

    def check_observations():
        for i, twin in enumerate(twins):
            for key, wanted in twin.observation().items():
                assert observations[key].dtype == wanted.dtype
                np.testing.assert_array_equal(observations[key][i], wanted)

    check_observations()
    while active.any():
        actions = np.array([choose(twin, random) for twin in twins])
        observations, rewards, terminated, truncated, infos = env.step(actions, active)
        for i, twin in enumerate(twins):
            wanted = twin.step(actions[i]) if active[i] else (0.0, False, False)
            assert (rewards[i], terminated[i], infos["success"][i]) == wanted
            reached[i] |= wanted[2]
        check_observations()
        achieved, desired = observations["achieved_goal"], observations["desired_goal"]
        again = env.compute_reward(achieved, desired, {})
        np.testing.assert_array_equal(again[active], rewards[active])
        active &= ~(terminated | truncated)
    return reached


@pytest.mark.parametrize("terminate_at_goal", [True, False])
@pytest.mark.parametrize("num_bits", [1, 7, 32, 33, 64, 65, 128])
def test_bit_flip_matches_the_reference(num_bits, terminate_at_goal):
    options = {"num_bits": num_bits, "terminate_at_goal": terminate_at_goal}
    twins = [
        reference.BitFlip.drawn(
            level_stream(3, i, 0), num_bits, terminate_at_goal=terminate_at_goal
        )
        for i in range(8)
    ]

    def choose(twin, random):
        wrong = [i for i in range(num_bits) if twin.bits[i] != twin.goal[i]]
        return wrong[0] if wrong and random.random() < 0.9 else random.integers(num_bits)

    reached = check_goal_environment("BitFlip-v0", options, twins, choose)
    assert reached.any()


def test_bit_flip_solver_flips_the_first_wrong_bit_until_all_are_right():
    env = fastrl.make_vec("BitFlip-v0", 32, num_bits=70, autoreset_mode="disabled")
    observations, _ = env.reset(seed=0)
    wrong = observations["achieved_goal"] != observations["desired_goal"]
    active = np.ones(32, bool)
    for t in range(70):
        distances, actions = env.solve(env.snapshot())
        np.testing.assert_array_equal(distances, np.maximum(wrong.sum(1) - t, 0))
        if not active.any():
            break
        _, _, terminated, _, infos = env.step(np.maximum(actions, 0), active)
        np.testing.assert_array_equal(infos["success"], terminated)
        active &= ~terminated
    assert not active.any()


def test_bit_flip_starts_away_from_its_goal_and_everywhere_equally_often():
    env = fastrl.make_vec("BitFlip-v0", 60_000, num_bits=2)
    observations, _ = env.reset(seed=1)
    pairs = observations["observation"] @ [8, 4] + observations["desired_goal"] @ [2, 1]
    counts = np.bincount(pairs, minlength=16)
    assert (counts[[0, 5, 10, 15]] == 0).all()
    others = np.delete(counts, [0, 5, 10, 15])
    assert abs(others - 5000).max() < 5 * np.sqrt(5000)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"dimensions": 1, "threshold": 0.5},
        {"dimensions": 8, "reward": "dense"},
        {"control": "position", "speed": 0.3},
        {"control": "position", "speed": 2.0, "dimensions": 3, "terminate_at_goal": True},
        {"terminate_at_goal": True, "reward": "dense", "threshold": 0.3, "speed": 0.25},
    ],
)
def test_point_reach_matches_the_reference(options):
    own = {key: value for key, value in options.items() if key != "dimensions"}
    dimensions = options.get("dimensions", 2)
    twins = [
        reference.PointReach.drawn(level_stream(3, i, 0), dimensions, **own) for i in range(16)
    ]

    def choose(twin, random):
        action = random.uniform(-1.5, 1.5, dimensions)
        if random.random() < 0.7:  # to the goal
            to_go = np.subtract(twin.goal, twin.position) / twin.speed
            action = to_go if twin.control == "velocity" else twin.goal
        return np.asarray(action, np.float32)

    reached = check_goal_environment("PointReach-v0", options, twins, choose)
    assert reached.any()


def test_point_reach_starts_farther_from_its_goal_than_the_threshold():
    env = fastrl.make_vec("PointReach-v0", 2000, threshold=0.5, dimensions=1)
    observations, _ = env.reset(seed=1)
    distances = abs(observations["achieved_goal"] - observations["desired_goal"])
    assert distances.min() > 0.5
    assert abs(observations["achieved_goal"]).max() <= 1.0


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("BitFlip-v0", {"num_bits": 129}, "`num_bits` must be an integer from 1 to 128, got 129"),
        ("PointReach-v0", {"dimensions": 0}, "`dimensions` must be an integer from 1 to 8, got 0"),
        ("PointReach-v0", {"speed": 0.0}, r"`speed` must be a number in \[0.001, 2\], got 0"),
        (
            "PointReach-v0",
            {"control": "force"},
            "`control` must be one of 'velocity', 'position', got 'force'",
        ),
    ],
)
def test_options_are_checked(name, options, message):
    with pytest.raises(ValueError, match="make_vec: " + message):
        fastrl.make_vec(name, 1, **options)


def test_goals_that_are_no_numbers_are_not_reached():
    env = fastrl.make_vec("PointReach-v0", 1)
    goals = np.array([[np.nan, 0.0], [0.0, 0.0]], np.float32)
    assert env.compute_reward(goals, np.zeros((2, 2), np.float32)).tolist() == [-1.0, 0.0]
