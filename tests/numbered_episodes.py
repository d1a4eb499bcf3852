"""Episodes whose observations number their rows."""

import numpy as np
from fastrl.replay import ReplayBuffer

FIELDS = {"observations": ((), "int64"), "rewards": ((), "float32")}


def filled(lengths, *, open_steps=0, capacity=1000, truncated=False, fields=FIELDS, **options):
    """One lane with episodes of these lengths; observation and reward number the rows."""
    buffer = ReplayBuffer(capacity, fields, **options)
    row = 0
    for length in [*lengths, *([open_steps] if open_steps else [])]:
        is_open = length == open_steps and row == sum(lengths) + len(lengths)
        ended = np.zeros((length, 1), bool)
        ended[-1] = not is_open
        values = row + np.arange(length)[:, None]
        buffer.add(
            observations=values,
            rewards=values.astype(np.float32),
            terminated=ended & (not truncated),
            truncated=ended & truncated,
            final_observations=values + 1,
        )
        row += length + (not is_open)
    return buffer
