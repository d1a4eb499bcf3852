"""Specification of `fastrl.replay.TopKRetriever` in NumPy: all scores, sorted."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def top_k(queries: Any, keys: Any, k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Rows [Q, k] and scores; −1 and −inf where there are fewer keys."""
    scores = np.asarray(queries, np.float64) @ np.asarray(keys, np.float64).T  # [Q, M]
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    missing = ((0, 0), (0, k - order.shape[1]))
    best = np.take_along_axis(scores, order, axis=1)
    return (
        np.pad(order, missing, constant_values=-1),
        np.pad(best, missing, constant_values=-np.inf),
    )
