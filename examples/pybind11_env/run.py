"""An environment in a pybind11 module.

cmake -S examples/pybind11_env -B build/catch && cmake --build build/catch
PYTHONPATH=build/catch python examples/pybind11_env/run.py
"""

import catch_env
import numpy as np
from fastrl import make_vec


def main() -> None:
    env = make_vec(catch_env, 64, rows=8, columns=7, render_mode="ansi")
    boards, _ = env.reset(seed=0)
    print(env.render()[0])

    caught = 0
    for _ in range(7):
        balls = boards[:, :-1].max(1).argmax(1)  # [64]
        paddles = boards[:, -1].argmax(1)
        boards, _, terminated, _, infos = env.step(1 + np.sign(balls - paddles))
        caught += int(infos["success"].sum())
    assert terminated.all()
    print(f"caught {caught} of {env.num_envs}")


if __name__ == "__main__":
    main()
