"""Retrieval: which stored vectors match a query best."""

from typing import NamedTuple

import numpy as np

from fastrl import _core
from fastrl._dispatch import Arguments, Array, address
from fastrl.replay.trajectory_arguments import as_framework, finite_vectors


class Retrieved(NamedTuple):
    """The best matches of each query, best first."""

    rows: Array
    """[Q, k] int64 rows of the keys, −1 where there are no more."""
    scores: Array
    """[Q, k] float64 dot products, −inf where there are no more."""


class TopKRetriever:
    """The k keys with the largest dot product with each query.

        score(q, m) = Σ_d queries[q, d] · keys[m, d]

    Exact: all keys are looked at, block by block for all queries of a call, so the answer is that
    of sorting all scores. Sums are in float64, in an order that depends on neither the number of
    threads nor the instruction set; of equal scores the lower row comes first.

    Args:
        keys: [M, D] float32, finite; not copied if contiguous, so they may be changed in place.

    Reference: Goyal et al., "Retrieval-Augmented Reinforcement Learning", 2022. Specification:
    `fastrl.reference.retrieval.top_k`.
    """

    def __init__(self, keys: Array) -> None:
        check = Arguments("TopKRetriever")
        self._keys = finite_vectors(check, "keys", keys, "M", "D")

    def __len__(self) -> int:
        return len(self._keys)

    def search(self, queries: Array, k: int) -> Retrieved:
        """The best k rows for each of queries [Q, D] float32, finite; in their framework."""
        check = Arguments("TopKRetriever.search")
        asked = finite_vectors(check, "queries", queries, "Q", self._keys.shape[1])
        k = check.integer("k", k, low=1, high=2**31 - 1)
        rows, scores = np.empty((len(asked), k), np.int64), np.empty((len(asked), k))
        _core.top_k(
            address(asked),
            len(asked),
            address(self._keys),
            len(self._keys),
            self._keys.shape[1],
            k,
            address(rows),
            address(scores),
        )
        return Retrieved(as_framework(rows, queries), as_framework(scores, queries))
