"""Random steps of any batch, and locks to take them in."""

import fastrl
import numpy as np


def play(env, steps, seed, ended=None):
    """What each of some random steps says; resets what has ended in "disabled" mode."""
    random = np.random.default_rng(seed)
    rests = env.metadata["autoreset_mode"].name == "DISABLED"
    ended = np.zeros(env.num_envs, bool) if ended is None else ended
    told = []
    for _ in range(steps):
        if rests and ended.any():
            env.reset(options={"reset_mask": ended})
        said = env.step(random.integers(0, env.single_action_space.n, env.num_envs))
        told.append(said)
        ended = said[2] | said[3]
    return told


def locks(num_envs, **options):
    return fastrl.make_vec("CodeLock-v0", num_envs, length=4, **options)
