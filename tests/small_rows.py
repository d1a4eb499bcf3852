"""Rows of four lanes, and a buffer of them."""

import numpy as np
from fastrl.replay import Prioritized, ReplayBuffer

FIELDS = {
    "observations": ((3,), "float32"),
    "actions": ((), "int8"),
    "rewards": ((), "float32"),
}


def rows(n=4, **changes):
    values = {
        "observations": np.zeros((n, 3), np.float32),
        "actions": np.zeros(n, np.int8),
        "rewards": np.zeros(n, np.float32),
        "terminated": np.zeros(n, bool),
        "truncated": np.zeros(n, bool),
    } | changes
    return {name: value for name, value in values.items() if value is not None}


def made(**options):
    buffer = ReplayBuffer(80, FIELDS, num_lanes=4, **{"sampler": Prioritized()} | options)
    for _ in range(4):
        buffer.add(**rows())
    return buffer


def first_is(value, n=4):
    values = np.zeros(n)
    values[0] = value
    return values
