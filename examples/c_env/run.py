r"""An environment from a shared library in plain C.

cc -O2 -fPIC -shared -I$(python -c "import fastrl.envs; print(fastrl.envs.get_include())") \
    examples/c_env/bandit.c -o libbandit.so
python examples/c_env/run.py ./libbandit.so
"""

import sys

import numpy as np
from fastrl import make_vec
from fastrl.envs import load


def main(library: str) -> None:
    env = make_vec(load(library), 1000)
    env.reset(seed=0)

    # Every arm five times.
    returns = np.zeros(env.num_envs)
    for pull in range(20):
        _, rewards, terminated, _, _ = env.step(np.full(env.num_envs, pull % 4))
        returns += rewards
    assert terminated.all()
    print(f"return of equal pulls {returns.mean():.2f} of 20, expected 10")


if __name__ == "__main__":
    main(sys.argv[1])
