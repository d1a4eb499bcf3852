"""Whether things were drawn as often as they should be."""

import math

import numpy as np


def chi_squared_p(ids, probabilities):
    """p of the counts of `ids` against the probabilities; small cells are pooled."""
    counts = np.bincount(ids, minlength=len(probabilities))
    assert not counts[probabilities == 0].any()
    expected = probabilities * len(ids)
    small = expected < 5
    if small.any():
        counts = np.r_[counts[~small], counts[small].sum()]
        expected = np.r_[expected[~small], expected[small].sum()]
        counts, expected = counts[expected > 0], expected[expected > 0]
    statistic, freedom = ((counts - expected) ** 2 / expected).sum(), len(counts) - 1
    # Wilson and Hilferty: the cube root of χ² / df is nearly normal.
    spread = 2.0 / (9.0 * freedom)
    z = ((statistic / freedom) ** (1.0 / 3.0) - (1.0 - spread)) / math.sqrt(spread)
    return 0.5 * math.erfc(z / math.sqrt(2.0))
