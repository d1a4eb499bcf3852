"""Other libraries' batches of environments behind one face: made by id, stepped by number.

Each is an optional import. `make` returns a function that does the t-th step of a fixed series of
random actions and waits for its results, or raises `MissingError` with the reason.
"""

import importlib.util
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from rivals import MissingError, imported, label

Step = Callable[[int], object]
# Gymnasium's own batch of thousands of Python objects needs minutes for what others do in one.
MOST_IN_PYTHON = 1024


def envpool(name: str, num_envs: int, actions: np.ndarray, threads: int) -> tuple[str, Step]:
    """EnvPool, all environments a step, in as many threads as ours."""
    module = imported("envpool")
    env = module.make(name, env_type="gymnasium", num_envs=num_envs, num_threads=threads)
    env.reset()
    rows = actions.astype(env.action_space.dtype)
    return label("envpool", "EnvPool"), lambda t: env.step(rows[t % len(rows)])


def gymnasium_sync(name: str, num_envs: int, actions: np.ndarray, threads: int) -> tuple[str, Step]:
    """One Python object for each environment."""
    if num_envs > MOST_IN_PYTHON:
        raise MissingError(f"Gymnasium's SyncVectorEnv is measured up to B = {MOST_IN_PYTHON:,}")
    env = gymnasium.make_vec(name, num_envs, vectorization_mode="sync")
    env.reset(seed=0)
    return label("gymnasium", "Gymnasium") + " Sync", lambda t: env.step(actions[t % len(actions)])


def gymnasium_vector(
    name: str, num_envs: int, actions: np.ndarray, threads: int
) -> tuple[str, Step]:
    """Gymnasium's CartPole in NumPy over the whole batch."""
    if gymnasium.spec(name).vector_entry_point is None:
        raise MissingError(f"Gymnasium has no vectorized {name}")
    env = gymnasium.make_vec(name, num_envs, vectorization_mode="vector_entry_point")
    env.reset(seed=0)
    title = label("gymnasium", "Gymnasium") + " vector"
    return title, lambda t: env.step(actions[t % len(actions)])


def gymnax(name: str, num_envs: int, actions: np.ndarray, threads: int) -> tuple[str, Step]:
    """Gymnax: one step of the batch as one compiled function."""
    module, jax = imported("gymnax"), imported("jax")
    if name not in module.registered_envs:
        raise MissingError(f"gymnax has no {name}")
    env, params = module.make(name)
    single = jax.vmap(env.step, in_axes=(0, 0, 0, None))

    @jax.jit
    def step(key, state, action):
        key, now = jax.random.split(key)
        keys = jax.random.split(now, num_envs)
        # Older versions say `done` where newer ones say terminated and truncated.
        observation, state, *rest, _ = single(keys, state, action, params)
        return key, state, (observation, *rest)

    first = jax.random.split(jax.random.PRNGKey(0), num_envs)
    state = jax.jit(jax.vmap(env.reset, in_axes=(0, None)))(first, params)[1]
    rows = [jax.numpy.asarray(row) for row in actions]
    carried = [jax.random.PRNGKey(1), state]

    def run(t):
        *carried[:], results = step(*carried, rows[t % len(rows)])
        return jax.block_until_ready(results)

    run(0)
    return label("gymnax") + " jit", run


@cache
def _pufferlib_binding(source: Path):
    """The C CartPole of an unpacked source distribution, built as its setup.py does."""
    folder = source / "pufferlib" / "ocean" / "cartpole"
    raylib = source / "raylib-5.5_linux_amd64"
    if not (folder / "binding.c").exists():
        raise MissingError(f"PufferLib has no pufferlib/ocean/cartpole in {source}")
    compiler = shutil.which("gcc")
    if compiler is None or not (raylib / "lib" / "libraylib.a").exists():
        raise MissingError(
            f"PufferLib's binding needs gcc and {raylib.name}, which setup.py fetches"
        )
    built = Path(tempfile.mkdtemp()) / "binding.so"
    includes = [np.get_include(), sysconfig.get_path("include"), raylib / "include"]
    command = [compiler, "-shared", "-fPIC", "-O2", "-DNDEBUG", "-fwrapv", "-w"]
    command += [f"-I{path}" for path in includes]
    command += ["-DPLATFORM_DESKTOP", "-DNPY_NO_DEPRECATED_API=NPY_1_7_API_VERSION"]
    command += [folder / "binding.c", raylib / "lib" / "libraylib.a", "-lm", "-o", built]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode:
        raise MissingError(
            f"PufferLib's binding does not compile: {finished.stderr.strip()[-200:]}"
        )
    spec = importlib.util.spec_from_file_location("binding", built)
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault("binding", module)
    spec.loader.exec_module(module)
    return module


def pufferlib(source: Path | None) -> Callable[..., tuple[str, Step]]:
    """PufferLib's CartPole in C, driven as its own class does.

    It plays by other rules: 200 steps, starts within ±0.04, no reward for the step that ends an
    episode, and no word of truncation. Its rate is that of another environment.
    """

    def make(name: str, num_envs: int, actions: np.ndarray, threads: int) -> tuple[str, Step]:
        if name != "CartPole-v1":
            raise MissingError(f"PufferLib's {name} is not compared")
        if source is None:
            raise MissingError("PufferLib needs --pufferlib PATH, its unpacked source distribution")
        binding = _pufferlib_binding(source)
        rows = actions.astype(np.float32)
        held = np.zeros(num_envs, np.float32)
        arrays = (
            np.zeros((num_envs, 4), np.float32),
            held,
            np.zeros(num_envs, np.float32),
            np.zeros(num_envs, np.bool_),
            np.zeros(num_envs, np.bool_),
        )
        envs = binding.vec_init(*arrays, num_envs, 0, continuous=0)
        binding.vec_reset(envs, 0)

        def run(t):
            held[:] = rows[t % len(rows)]
            binding.vec_step(envs)
            return arrays

        return "PufferLib 3.0.0 C (other rules)", run

    return make


def gymnasium_state(name: str, observation: np.ndarray) -> np.ndarray:
    """The state that Gymnasium's environment has where it shows an observation."""
    o = np.asarray(observation, np.float64)
    if name == "Pendulum-v1":
        return np.array([np.arctan2(o[1], o[0]), o[2]])
    if name == "Acrobot-v1":
        return np.array([np.arctan2(o[1], o[0]), np.arctan2(o[3], o[2]), o[4], o[5]])
    return o


def reference(name: str, num_envs: int) -> gymnasium.vector.VectorEnv:
    """Gymnasium's own, for the gate."""
    return gymnasium.make_vec(
        name,
        num_envs,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": AutoresetMode.NEXT_STEP},
    )
