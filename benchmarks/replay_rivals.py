"""Other libraries' replay buffers behind one face: made by capacity, filled by the same chunks.

Each is an optional import. A maker returns a `Memory`, or raises `MissingError` with the reason.
Every row says its own number, as its reward and at the front of its observation, so that what is
drawn can be checked.
"""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from rivals import MissingError, imported, label

CHUNK = 256  # rows that are added at once: a step of so many environments
OBSERVATION, ACTION = 17, 6  # float32: with next ones, reward and flag a row has 165 bytes
ROW_BYTES = 4 * (2 * OBSERVATION + ACTION + 1) + 1
ALPHA, BETA = 0.6, 0.4


@dataclass
class Drawn:
    """A batch as the gate reads it."""

    rewards: np.ndarray
    observations: np.ndarray
    next_observations: np.ndarray
    keys: Any  # what `update` takes
    weights: np.ndarray | None  # for the loss, up to a common factor


@dataclass
class Memory:
    """A replay buffer of somebody."""

    name: str
    add: Callable[[dict[str, np.ndarray]], object]
    sample: Callable[[int], Any]  # ready when it returns
    view: Callable[[Any], Drawn]
    update: Callable[[Any, np.ndarray], object] | None = None  # keys of a batch, priorities
    refused: Callable[[], int] | None = None  # updates that came too late, where they are counted


def chunk(number: int) -> dict[str, np.ndarray]:
    """The rows that are added as the `number`-th chunk; the next row of each is in the next one."""
    numbers = np.arange(CHUNK, dtype=np.float32) + number * CHUNK
    observations = np.zeros((CHUNK, OBSERVATION), np.float32)
    observations[:, 0] = numbers
    return {
        "observations": observations,
        "actions": np.zeros((CHUNK, ACTION), np.float32),
        "rewards": numbers,
        "next_observations": observations + CHUNK * np.eye(1, OBSERVATION, dtype=np.float32),
        "terminated": np.zeros(CHUNK, np.bool_),
        "truncated": np.zeros(CHUNK, np.bool_),
    }


def cpprb(capacity: int, *, prioritized: bool = True, guarded: bool = False) -> Memory:
    """Guarded: it keeps the late updates of one batch from rows that were written meanwhile."""
    module = imported("cpprb")
    fields = {
        "obs": {"shape": OBSERVATION, "dtype": np.float32},
        "act": {"shape": ACTION, "dtype": np.float32},
        "rew": {"dtype": np.float32},
        "next_obs": {"shape": OBSERVATION, "dtype": np.float32},
        "done": {"dtype": np.bool_},
    }
    if prioritized:
        buffer = module.PrioritizedReplayBuffer(
            capacity, fields, alpha=ALPHA, eps=1e-8, check_for_update=guarded
        )
    else:
        buffer = module.ReplayBuffer(capacity, fields)

    def add(rows):
        return buffer.add(
            obs=rows["observations"],
            act=rows["actions"],
            rew=rows["rewards"],
            next_obs=rows["next_observations"],
            done=rows["terminated"],
        )

    def view(batch):
        rows = (batch["rew"][:, 0], batch["obs"], batch["next_obs"])
        if not prioritized:
            return Drawn(*rows, None, None)
        # Its own memory, which the next batch overwrites or frees.
        return Drawn(*rows, batch["indexes"].copy(), batch["weights"].copy())

    sample = (lambda n: buffer.sample(n, beta=BETA)) if prioritized else buffer.sample
    update = buffer.update_priorities if prioritized else None
    return Memory(label("cpprb"), add, sample, view, update)


def torchrl(capacity: int, *, prioritized: bool = True) -> Memory:
    """TorchRL: contiguous storage; its segment trees are in its compiled extension."""
    torch = imported("torch")
    # A wheel built for another torch lacks functions that its trees do not call. Bound when called,
    # they are not missed.
    flags = sys.getdlopenflags()
    sys.setdlopenflags(os.RTLD_LAZY)
    try:
        imported("torchrl._torchrl")
    finally:
        sys.setdlopenflags(flags)
    data, tensordict = imported("torchrl.data"), imported("tensordict")
    storage = data.LazyTensorStorage(capacity)
    if prioritized:
        buffer = data.TensorDictPrioritizedReplayBuffer(
            alpha=ALPHA, beta=BETA, storage=storage, batch_size=CHUNK
        )
    else:
        buffer = data.TensorDictReplayBuffer(storage=storage, batch_size=CHUNK)

    def add(rows):
        tensors = {
            name: torch.from_numpy(array) for name, array in rows.items() if name != "truncated"
        }
        return buffer.extend(tensordict.TensorDict(tensors, batch_size=[CHUNK]))

    def view(batch):
        weights = batch.get("priority_weight", None)
        return Drawn(
            batch["rewards"].numpy(),
            batch["observations"].numpy(),
            batch["next_observations"].numpy(),
            batch["index"],
            None if weights is None else weights.numpy(),
        )

    def update(index, priorities):
        return buffer.update_priority(index, torch.from_numpy(priorities))

    return Memory(label("torchrl"), add, buffer.sample, view, update if prioritized else None)


def tianshou(capacity: int, *, prioritized: bool = True, vector: bool = False) -> Memory:
    """Tianshou: one buffer, which draws fastest and takes row by row, or one an environment."""
    data = imported("tianshou.data")
    options = {"alpha": ALPHA, "beta": BETA} if prioritized else {}
    name = "VectorReplayBuffer" if vector else "ReplayBuffer"
    kind = getattr(data, "Prioritized" * prioritized + name)
    buffer = kind(capacity, CHUNK, **options) if vector else kind(capacity, **options)
    ids = np.arange(CHUNK)

    def add(rows):
        batch = data.Batch(
            obs=rows["observations"],
            act=rows["actions"],
            rew=rows["rewards"],
            terminated=rows["terminated"],
            truncated=rows["truncated"],
            obs_next=rows["next_observations"],
            info=data.Batch(),
        )
        if vector:
            return buffer.add(batch, buffer_ids=ids)
        return [buffer.add(batch[i]) for i in range(CHUNK)]

    def view(drawn):
        batch, indices = drawn
        weights = batch.weight if prioritized else None
        return Drawn(batch.rew, batch.obs, batch.obs_next, indices, weights)

    update = buffer.update_weight if prioritized else None
    return Memory(label("tianshou") + " vector" * vector, add, buffer.sample, view, update)


def flashbax(capacity: int, *, prioritized: bool = True) -> Memory:
    """Flashbax: compiled functions over a state that is handed over, so that none is copied."""
    module, jax = imported("flashbax"), imported("jax")
    make = module.make_prioritised_item_buffer if prioritized else module.make_item_buffer
    options = {"priority_exponent": ALPHA} if prioritized else {}

    def buffer_of(n):
        return make(
            max_length=capacity, min_length=1, sample_batch_size=n, add_batches=True, **options
        )

    buffer = buffer_of(CHUNK)
    fields = [name for name in chunk(0) if name != "truncated"]
    state = [buffer.init({name: chunk(0)[name][0] for name in fields})]
    key = [jax.random.PRNGKey(0)]
    add_rows = jax.jit(buffer.add, donate_argnums=0)
    samples: dict[int, Any] = {}

    def add(rows):
        state[0] = jax.block_until_ready(add_rows(state[0], {name: rows[name] for name in fields}))

    def sample(n):
        if n not in samples:
            drawn = buffer_of(n).sample

            @jax.jit
            def draw(now, key):
                key, own = jax.random.split(key)
                return key, drawn(now, own)

            samples[n] = draw
        key[0], batch = jax.block_until_ready(samples[n](state[0], key[0]))
        return batch

    def view(batch):
        rows = {name: np.asarray(array) for name, array in batch.experience.items()}
        rows = [rows[name] for name in ("rewards", "observations", "next_observations")]
        if not prioritized:
            return Drawn(*rows, None, None)
        # Weights are left to the caller.
        return Drawn(*rows, batch.indices, np.asarray(batch.probabilities) ** -BETA)

    if prioritized:
        set_priorities = jax.jit(buffer.set_priorities, donate_argnums=0)

        def update(indices, priorities):
            state[0] = jax.block_until_ready(set_priorities(state[0], indices, priorities))

    return Memory(label("flashbax") + " jit", add, sample, view, update if prioritized else None)


def stable_baselines3(capacity: int, *, prioritized: bool = False) -> Memory:
    """Stable-Baselines3, which draws uniformly only."""
    if prioritized:
        raise MissingError("stable-baselines3 has no prioritized replay")
    buffers, spaces = imported("stable_baselines3.common.buffers"), imported("gymnasium.spaces")
    buffer = buffers.ReplayBuffer(
        capacity,
        spaces.Box(-np.inf, np.inf, (OBSERVATION,), np.float32),
        spaces.Box(-1, 1, (ACTION,), np.float32),
        device="cpu",
        n_envs=CHUNK,
        handle_timeout_termination=False,
    )

    def add(rows):
        return buffer.add(
            rows["observations"],
            rows["next_observations"],
            rows["actions"],
            rows["rewards"],
            rows["terminated"],
            [],
        )

    def view(batch):
        rows = (batch.rewards[:, 0], batch.observations, batch.next_observations)
        return Drawn(*(tensor.numpy() for tensor in rows), None, None)

    return Memory(label("stable-baselines3"), add, buffer.sample, view)


MAKERS = {
    "cpprb": cpprb,
    "torchrl": torchrl,
    "tianshou": tianshou,
    "flashbax": flashbax,
    "stable-baselines3": stable_baselines3,
}
# Who takes a step of many environments faster in another form than the one that draws fastest.
ADDING = {"tianshou": partial(tianshou, vector=True)}
