"""The float32 forms of classic control: close to the exact ones, alike in their returns."""

import importlib.util
from pathlib import Path

import fastrl
import numpy as np
import pytest

PROGRAM = Path(__file__).parent.parent / "benchmarks" / "fast_envs_error.py"


@pytest.fixture(scope="module")
def program():
    spec = importlib.util.spec_from_file_location("fast_envs_error", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# Observation after 1 and 100 steps, reward after 1 and 100. Poles and links are unstable by nature.
BOUNDS = {
    "CartPole-v1": (2e-7, 2e-3, 0.0, 0.0),
    "MountainCar-v0": (1.2e-7, 5e-6, 0.0, 0.0),
    "MountainCarContinuous-v0": (1.2e-7, 1e-5, 1e-7, 1e-6),
    "Pendulum-v1": (2e-7, 1e-1, 1e-7, 0.5),
    "Acrobot-v1": (1e-6, 1e-1, 0.0, 0.0),
}


@pytest.mark.parametrize("name", BOUNDS)
def test_fast_stays_close_to_exact(program, name):
    rows, running = program.errors(name, 32, 100)
    worst = rows.max(axis=0)
    for found, bound in zip(
        (rows[0, 0], worst[0], rows[0, 1], worst[1]), BOUNDS[name], strict=True
    ):
        assert found <= bound
    assert running >= 10


@pytest.mark.parametrize("name", ["CartPole-v1", "Pendulum-v1", "MountainCarContinuous-v0"])
def test_returns_come_from_one_distribution(program, name):
    exact = program.returns(name, "exact", 1500, 1)
    fast = program.returns(name, "fast", 1500, 2)
    assert len(exact) == len(fast) == 1500
    assert program.kolmogorov_smirnov(exact, fast)[1] > 1e-3


def test_the_test_of_distributions_tells_them_apart(program):
    random = np.random.default_rng(0)
    a, b, c = random.normal(size=2000), random.normal(size=3000), random.normal(0.3, 1, size=2000)
    assert program.kolmogorov_smirnov(a, b)[1] > 0.01
    assert program.kolmogorov_smirnov(a, c)[1] < 1e-6
    assert program.kolmogorov_smirnov(a, a) == (0.0, 1.0)


@pytest.mark.parametrize("num_envs", [1, 15, 16, 17, 33])
def test_results_do_not_depend_on_the_size_of_the_batch(num_envs):
    few = fastrl.make_vec("CartPole-v1", num_envs, precision="fast")
    many = fastrl.make_vec("CartPole-v1", 48, precision="fast")
    few.reset(seed=4)
    many.reset(seed=4)
    random = np.random.default_rng(0)
    for _ in range(60):
        actions = random.integers(2, size=48)
        for ours, theirs in zip(
            few.step(actions[:num_envs])[:4], many.step(actions)[:4], strict=True
        ):
            np.testing.assert_array_equal(ours, theirs[:num_envs])
