"""Whole numbers of items in exact proportions, batch after batch."""

import math
from collections.abc import Sequence
from fractions import Fraction


class Shares:
    """Whole numbers in exact proportions: what one batch cannot have, later ones get.

    Integers over one denominator, so nothing is ever rounded: of N items in all, each has its
    share · N but for a carried remainder, which stays below the number of shares.

    Args:
        weights: What they are in proportion to, at least 0, not all 0.
    """

    def __init__(self, weights: Sequence[float]) -> None:
        # As they are written: 0.1 is a tenth, not the nearest binary number.
        exact = [Fraction(repr(float(weight))) for weight in weights]
        parts = [fraction / sum(exact) for fraction in exact]
        self.whole = math.lcm(*(part.denominator for part in parts))
        self._parts = [int(part * self.whole) for part in parts]
        self.carried = [0] * len(parts)

    def next(self, n: int) -> tuple[list[int], list[int]]:
        """How many of each, n together, and what is to be carried then; changes nothing."""
        due = [carried + part * n for carried, part in zip(self.carried, self._parts, strict=True)]
        counts = [max(one // self.whole, 0) for one in due]
        while (lacking := n - sum(counts)) != 0:
            rest = [one - count * self.whole for one, count in zip(due, counts, strict=True)]
            if lacking > 0:  # to the largest remainder, the first of equal ones
                counts[rest.index(max(rest))] += 1
            else:
                able = [i for i, count in enumerate(counts) if count > 0]
                counts[min(able, key=rest.__getitem__)] -= 1
        return counts, [one - count * self.whole for one, count in zip(due, counts, strict=True)]
