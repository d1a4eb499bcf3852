"""Rows of which every number follows from the first, so that torn ones are seen."""

import multiprocessing
import os

import numpy as np
from fastrl.replay import ReplayBuffer, SamplesPerInsert

FIELDS = {"observations": ((4,), "float64"), "actions": ((), "int64"), "rewards": ((), "float32")}
SPAWN = multiprocessing.get_context("spawn")


def name_of(what):
    return f"shared:fastrl-{what}-{os.getpid()}"


def steps(first, num_steps=1, num_lanes=1):
    """Rows of which every number follows from the first one, lanes a million apart."""
    names = first + np.arange(num_steps)[:, None] + 1e6 * np.arange(num_lanes)
    flags = np.zeros(names.shape, bool)
    return {
        "observations": names[..., None] * np.array([1, 2, 3, 5]),
        "actions": names.astype(np.int64),
        "rewards": (names % 1000).astype(np.float32),
        "terminated": flags,
        "truncated": flags,
    }


def torn(batch):
    """How many items are not a step and the one after it."""
    names = np.asarray(batch.actions, np.float64)
    factors = np.array([1, 2, 3, 5])
    whole = (batch.observations == names[:, None] * factors).all(1)
    whole &= (batch.next_observations == (names + 1)[:, None] * factors).all(1)
    whole &= batch.rewards == (names % 1000).astype(np.float32)
    return int((~whole).sum())


def forge(path, at, data):
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def limited(ratio, *, capacity=100, storage="memory", **options):
    limiter = SamplesPerInsert(ratio, **options)
    return ReplayBuffer(capacity, FIELDS, limiter=limiter, storage=storage)


def can_add(buffer, count=1):
    try:
        buffer.add(**steps(buffer.num_added, count), timeout=0)
    except TimeoutError:
        return False
    return True


def can_sample(buffer, n=1):
    try:
        buffer.sample(n, timeout=0)
    except TimeoutError:
        return False
    return True


def filled(count=50, **options):
    buffer = ReplayBuffer(options.pop("capacity", 100), FIELDS, **options)
    buffer.add(**steps(0, count))
    return buffer
