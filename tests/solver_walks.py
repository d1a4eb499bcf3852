"""Native solvers along walks: beside brute force, and followed to the end."""

import copy

import numpy as np
from fastrl.reference.envs import solve


def assert_solves_as_brute_force(env, states, num_steps, seed):
    """In the states of random walks; `states` are the reference's, as the episodes begin."""
    random = np.random.default_rng(seed)
    num_actions = env.single_action_space.n
    active = np.ones(env.num_envs, bool)
    for _ in range(num_steps):
        distances, firsts = env.solve(env.snapshot())
        for i in np.flatnonzero(active):
            distance, best = solve(states[i], num_actions)
            assert distances[i] == distance
            assert firsts[i] in (best or [-1])
        actions = random.integers(0, num_actions, env.num_envs)
        for i in np.flatnonzero(active):
            states[i] = copy.copy(states[i])
            states[i].step(actions[i])
        _, _, terminated, _, _ = env.step(actions, active)
        assert (env.solve(env.snapshot())[0][terminated] <= 0).all()
        active &= ~terminated


def follow_the_solver(env):
    """Steps until every episode has ended with success, each of them one action nearer to it."""
    active = np.ones(env.num_envs, bool)
    distances, actions = env.solve(env.snapshot())
    while active.any():
        before = distances
        _, _, terminated, _, infos = env.step(actions, active)
        np.testing.assert_array_equal(infos["success"], terminated)
        active &= ~terminated
        distances, actions = env.solve(env.snapshot())
        np.testing.assert_array_equal(distances, np.maximum(before - 1, 0))
