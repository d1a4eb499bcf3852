"""Rows that tell their step and lane."""

import numpy as np
from fastrl.replay import ReplayBuffer

FIELDS = {
    "observations": ((3,), "float32"),
    "actions": ((), "int64"),
    "rewards": ((), "float32"),
}


def rows(num_lanes, first=0, ended=None):
    """One step of every lane, each number telling its step and lane."""
    step = first + np.arange(num_lanes, dtype=np.float32) * 1000
    return {
        "observations": np.repeat(step[:, None], 3, 1),
        "actions": step.astype(np.int64),
        "rewards": step,
        "terminated": np.zeros(num_lanes, bool) if ended is None else ended,
        "truncated": np.zeros(num_lanes, bool),
    }


def filled(steps=10, **options):
    buffer = ReplayBuffer(options.pop("capacity", 64), FIELDS, **options)
    for step in range(steps):
        buffer.add(**rows(buffer.num_lanes, step))
    return buffer
