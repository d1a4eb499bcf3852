"""An environment in a nanobind module.

python examples/nanobind_env/build.py build/walk
PYTHONPATH=build/walk python examples/nanobind_env/run.py
"""

import numpy as np
import walk_env
from fastrl import make_vec


def main() -> None:
    env = make_vec(walk_env, 1024, length=5, success_rate=0.5, autoreset_mode="same_step")
    env.reset(seed=0)

    episodes, wins = 0, 0.0
    for _ in range(200):
        _, rewards, terminated, _, _ = env.step(np.ones(env.num_envs, np.int64))
        episodes += int(terminated.sum())
        wins += float(rewards.sum())
    print(f"value of the middle {wins / episodes:.3f}, by example 6.2 0.5")
    assert abs(wins / episodes - 0.5) < 0.02


if __name__ == "__main__":
    main()
