"""An environment in one C++ header, compiled when it is needed.

python examples/compiled_env/run.py
"""

import time
from pathlib import Path

import numpy as np
from fastrl import make_vec
from fastrl.envs import compile

STEPS = 288


def main() -> None:
    thermostat = compile(Path(__file__).with_name("my_env.hpp"))
    env = make_vec(thermostat, 1024, insulation=0.9)
    observations, _ = env.reset(seed=0)

    returns = np.zeros(env.num_envs)
    begin = time.perf_counter()
    for _ in range(STEPS):
        indoor = observations[:, 0]
        actions = np.where(indoor < 19.5, 2, np.where(indoor < 20.0, 1, 0))
        observations, rewards, _, truncated, _ = env.step(actions)
        returns += rewards
    seconds = time.perf_counter() - begin

    assert truncated.all()
    print(f"return of a day {returns.mean():.1f}")
    print(f"{env.num_envs * STEPS / seconds / 1e6:.0f} million steps per second")


if __name__ == "__main__":
    main()
