"""Rank-based prioritized sampling in plain numbers."""

import itertools
import math
from collections.abc import Sequence

from fastrl.reference.powers import LN2, binary_exponential, log2_of, power
from fastrl.reference.priority import Index


def bucket_of(priority: float) -> int:
    """16 buckets to a factor of two, from 2^-64 to 2^64; −1 for 0."""
    if priority == 0.0:
        return -1
    mantissa, exponent = math.frexp(priority)
    return min(max((exponent + 63) * 16 + int((mantissa * 2.0 - 1.0) * 16.0), 0), 2047)


def antiderivative(rank: int, exponent: float) -> float:
    """Euler and Maclaurin's F with Σ_{k=a+1}^{b} k^−exponent = F(b) − F(a), for ranks from 32."""
    x = max(rank, 32) + 0.5
    rest = 1.0 - exponent
    log2_x = log2_of(x)
    y = rest * log2_x
    m, n = binary_exponential(y)
    power_of_x = math.ldexp(1.0 + m, n)
    if abs(y) < 1e-12:
        integral = log2_x * LN2
    elif abs(rest) < 0.25:  # less a constant, so that it goes to ln x
        integral = (m if n == 0 else power_of_x - 1.0) / rest
    else:
        integral = power_of_x / rest
    f = power_of_x / x
    first = exponent * f / (24.0 * x)
    third = 7.0 / 5760.0 * exponent * (exponent + 1.0) * (exponent + 2.0) * f / (x * x * x)
    return integral + first - third


def sum_of_powers(begin: int, end: int, exponent: float) -> float:
    """Σ k^−exponent for k = begin + 1 … end."""
    direct = 0.0
    for rank in range(begin + 1, min(end, 32) + 1):
        direct += power(float(rank), -exponent)
    return direct + (antiderivative(end, exponent) - antiderivative(begin, exponent))


class RankIndex(Index):
    """P(i) ∝ 1 / rank^exponent; a bucket's slots share the mean over the ranks they take."""

    def __init__(self, capacity: int, *, priority_exponent: float, seed: int) -> None:
        super().__init__(capacity, priority_exponent, seed)
        self._buckets: list[list[int]] = [[] for _ in range(2048)]
        self._bucket_of = [-1] * capacity

    def line(self) -> list[tuple[int, int]]:
        """Slots by falling priority, within a bucket as they came."""
        ends = [0]
        for bucket in reversed(self._buckets):
            ends.append(ends[-1] + len(bucket))
        sums = [
            sum_of_powers(begin, end, self._exponent) if begin < end else 0.0
            for begin, end in itertools.pairwise(ends)
        ]
        every = 1.0
        for of_bucket in sums:
            every += of_bucket
        scale = 2.0 ** (60.0 - math.ceil(log2_of(every)))
        line = []
        for bucket, of_bucket in zip(reversed(self._buckets), sums, strict=True):
            line += [(slot, int(max(of_bucket / len(bucket) * scale, 1.0))) for slot in bucket]
        return line

    def set_priorities(self, slots: Sequence[int], priorities: Sequence[float]) -> None:
        """The last priority of a slot stays."""
        for slot, p in zip(slots, priorities, strict=True):
            self._move(slot, bucket_of(float(p)))
        self._saw([float(p) for p in priorities])

    def set_new(self, slots: Sequence[int], priority: str | float) -> None:
        """At the largest priority ever ("max"), the largest there is, or a number."""
        value = self.largest_priority or 1.0 if isinstance(priority, str) else float(priority)
        bucket = bucket_of(value)
        if priority == "max_in_buffer" and any(self._buckets):
            bucket = max(b for b, slots_in in enumerate(self._buckets) if slots_in)
        for slot in slots:
            self._move(slot, bucket)

    def clear(self, slots: Sequence[int]) -> None:
        """Never drawn until set again."""
        for slot in slots:
            self._move(slot, -1)

    def set_exponent(self, exponent: float) -> None:
        """Ranks do not depend on it."""
        self._exponent = exponent

    def _move(self, slot: int, bucket: int) -> None:
        old = self._bucket_of[slot]
        if old == bucket:
            return
        if old >= 0:
            slots = self._buckets[old]
            slots[slots.index(slot)] = slots[-1]
            slots.pop()
        if bucket >= 0:
            self._buckets[bucket].append(slot)
        self._bucket_of[slot] = bucket
