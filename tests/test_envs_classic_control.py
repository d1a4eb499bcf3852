"""Gymnasium's classic control: spaces, options, physical constants, errors."""

import fastrl
import gymnasium
import numpy as np
import pytest
from fastrl.envs.testing import check_parity

IDS = {
    "CartPole-v1": 500,
    "MountainCar-v0": 200,
    "MountainCarContinuous-v0": 999,
    "Pendulum-v1": 200,
    "Acrobot-v1": 500,
}


@pytest.mark.parametrize("precision", ["exact", "fast"])
@pytest.mark.parametrize("name", IDS)
def test_spaces_are_gymnasiums(name, precision):
    env = fastrl.make_vec(name, 2, precision=precision)
    single = gymnasium.make(name)
    assert env.single_observation_space == single.observation_space
    assert env.single_action_space == single.action_space


@pytest.mark.parametrize("precision", ["exact", "fast"])
@pytest.mark.parametrize("name", IDS)
def test_time_limits_are_gymnasiums(name, precision):
    env = fastrl.make_vec(name, 2, precision=precision)
    options = {"low": -0.5, "high": -0.5} if name.startswith("Mountain") else {}
    env.reset(seed=0, options=options)
    still = {"MountainCar-v0": 1, "Acrobot-v1": 1}.get(name, 0)
    shape = (2, *env.single_action_space.shape)
    for step in range(1, IDS[name] + 1):
        action = np.full(shape, still, env.single_action_space.dtype)
        _, _, terminated, truncated, _ = env.step(action)
        if terminated.any():
            assert name == "CartPole-v1"
            return
        assert truncated.all() == (step == IDS[name])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("CartPole-v1", {"sutton_barto_reward": True}),
        ("MountainCar-v0", {"goal_velocity": 0.02}),
        ("MountainCarContinuous-v0", {"goal_velocity": 0.02}),
        ("Pendulum-v1", {"g": 9.81}),
    ],
)
def test_options_are_gymnasiums(name, options):
    check_parity(fastrl.make_vec(name, 3, **options), name, steps=250, **options)


def pushes(limit):
    """Random ones, some of them at the limit."""
    return lambda random: random.uniform(-1.5, 1.5, 1).clip(-limit, limit).astype(np.float32)


def side_by_side(name, options, attributes, bounds, steps=150, actions=None):
    """Steps one of ours and Gymnasium's with its attributes set, and compares every bit."""
    single = gymnasium.make(name).unwrapped
    for attribute, value in attributes.items():
        assert hasattr(single, attribute)
        setattr(single, attribute, value)
    ours = fastrl.make_vec(name, 1, autoreset_mode="disabled", **options)
    random = np.random.default_rng(3)
    for seed in range(4):
        observation, _ = single.reset(seed=seed, options=dict(bounds))
        observations, _ = ours.reset(seed=seed, options=dict(bounds))
        np.testing.assert_array_equal(observations[0], observation)
        for _ in range(steps):
            action = actions(random) if actions else random.integers(single.action_space.n)
            observation, reward, terminated, _, _ = single.step(action)
            observations, rewards, ends, truncated, _ = ours.step(np.array([action]))
            np.testing.assert_array_equal(observations[0], observation)
            assert rewards[0] == reward
            assert ends[0] == terminated
            if terminated or truncated[0]:
                break


def test_cart_pole_has_its_physics_as_options():
    options = {"gravity": 3.7, "masscart": 2.5, "masspole": 0.3, "length": 1.25, "force_mag": 7.0}
    options |= {"tau": 0.03}
    derived = {"total_mass": 0.3 + 2.5, "polemass_length": 0.3 * 1.25}
    side_by_side("CartPole-v1", options, options | derived, {"low": -0.02, "high": 0.03})


def test_cart_pole_integrates_semi_implicitly():
    options = {"kinematics_integrator": "semi-implicit euler"}
    side_by_side("CartPole-v1", options, options, {})


def test_mountain_car_has_its_physics_as_options():
    options = {"force": 0.0015, "gravity": 0.002, "max_speed": 0.05, "goal_position": 0.3}
    options |= {"min_position": -1.1, "max_position": 0.55}
    side_by_side("MountainCar-v0", options, options, {"low": -1.1, "high": 0.4})


def test_mountain_car_continuous_has_its_physics_as_options():
    options = {"power": 0.003, "max_speed": 0.06, "goal_position": 0.3, "min_position": -1.0}
    actions = pushes(1.0)
    side_by_side(
        "MountainCarContinuous-v0", options, options, {"low": -1.0, "high": 0.2}, actions=actions
    )


def test_pendulum_has_its_physics_as_options():
    options = {"g": 7.3, "m": 1.7, "l": 0.9, "dt": 0.04, "max_speed": 5.0, "max_torque": 1.5}
    actions = pushes(1.5)
    side_by_side("Pendulum-v1", options, options, {"x_init": 2.0, "y_init": 0.5}, actions=actions)


@pytest.mark.parametrize("equations", ["book", "nips"])
def test_acrobot_has_its_physics_as_options(equations):
    options = {"link_length_1": 1.1, "link_mass_1": 0.9, "link_mass_2": 1.2, "link_moi": 1.3}
    options |= {"link_com_pos_1": 0.45, "link_com_pos_2": 0.6}
    attributes = {key.upper(): value for key, value in options.items()}
    options |= {"max_vel_1": 9.0, "max_vel_2": 20.0, "dt": 0.1, "book_or_nips": equations}
    attributes |= {"MAX_VEL_1": 9.0, "MAX_VEL_2": 20.0, "dt": 0.1, "book_or_nips": equations}
    side_by_side("Acrobot-v1", options, attributes, {"low": -1.5, "high": 1.5})


def test_acrobot_shows_the_sines_of_float32_after_a_reset():
    for low, high in ((-0.1, 0.1), (-3.0, 3.0), (-500.0, 500.0), (-3e5, 3e5)):
        side_by_side("Acrobot-v1", {}, {}, {"low": low, "high": high}, steps=0)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("CartPole-v1", {"masspole": 0.0}, r"`masspole` must be a number in \[1e-06, 1e\+06\]"),
        ("CartPole-v1", {"gravity": "9.8"}, r"`gravity` must be a number in .*, got '9.8'"),
        (
            "CartPole-v1",
            {"kinematics_integrator": "rk4"},
            r"`kinematics_integrator` must be one of 'euler', 'semi-implicit euler', got 'rk4'",
        ),
        ("CartPole-v1", {"sutton_barto_reward": 1}, "`sutton_barto_reward` must be True or False"),
        (
            "MountainCar-v0",
            {"min_position": 0.5, "max_position": 0.25},
            r"`max_position` must be greater than `min_position` \(0.5\), got 0.25",
        ),
        ("Pendulum-v1", {"l": -1.0}, "`l` must be a number in"),
        ("Acrobot-v1", {"book_or_nips": "paper"}, "`book_or_nips` must be one of 'book', 'nips'"),
    ],
)
@pytest.mark.parametrize("precision", ["exact", "fast"])
def test_wrong_options_are_refused(name, options, message, precision):
    with pytest.raises(ValueError, match=message):
        fastrl.make_vec(name, 1, precision=precision, **options)


@pytest.mark.parametrize("precision", ["exact", "fast"])
@pytest.mark.parametrize("name", ["CartPole-v1", "Acrobot-v1", "MountainCar-v0"])
def test_reset_bounds_are_checked(name, precision):
    env = fastrl.make_vec(name, 1, precision=precision)
    with pytest.raises(ValueError, match=r"`low` must be at most `high` = -1\.0, got 1\.0"):
        env.reset(options={"low": 1.0, "high": -1.0})


@pytest.mark.parametrize("precision", ["exact", "fast"])
@pytest.mark.parametrize("name", IDS)
def test_huge_reset_bounds_do_no_harm(name, precision):
    env = fastrl.make_vec(name, 20, precision=precision)
    first, second = ("x_init", "y_init") if name == "Pendulum-v1" else ("low", "high")
    env.reset(seed=1, options={first: 1e12, second: 1e12})
    for _ in range(3):
        env.step(env.action_space.sample())
