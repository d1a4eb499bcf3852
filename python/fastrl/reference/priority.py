"""Prioritized sampling in plain integers: the same weights, random numbers and draws, slowly."""

import math
from collections.abc import Sequence

import numpy as np

from fastrl.reference.envs import philox4x32
from fastrl.reference.powers import (
    LN2,
    binary_exponential,
    log2_of,
    one_minus_exponential,
    power,
)

_TARGET_LOG2 = 29
_SMALL_LARGEST = 2**20


class Random:
    """64 bits at a time from a Philox stream, each call from its next whole block."""

    def __init__(self, seed: int) -> None:
        self._key, self._position = seed, 0

    def bits(self, n: int) -> list[int]:
        """N numbers of 64 bits."""
        block = (self._position + 3) // 4
        numbers: list[int] = []
        while len(numbers) < n:
            a, b, c, d = philox4x32(self._key, block, 0)
            numbers += [a << 32 | b, c << 32 | d]
            block += 1
        self._position = block * 4
        return numbers[:n]


def _scaled(bits: int, n: int) -> int:
    return bits * n >> 64


def _shuffle(random: Random, slots: list[int]) -> None:
    for i, bits in zip(range(len(slots) - 1, 0, -1), random.bits(len(slots) - 1), strict=True):
        j = _scaled(bits, i + 1)
        slots[i], slots[j] = slots[j], slots[i]


def annealed(start: float, end: float, steps: int, batch: int, stages: int | None = None) -> float:
    """An exponent for a batch, counted from 0; with `stages` it goes in so many equal steps."""
    if batch >= steps:
        return end
    share = batch / steps
    if stages is not None:
        share = math.floor(share * stages) / stages
    return start + share * (end - start)


class Index:
    """What both kinds share: a line of masses, on which each slot owns as many as its weight."""

    def __init__(self, capacity: int, priority_exponent: float, seed: int) -> None:
        self.capacity = capacity
        self.largest_priority: float | None = None
        self._exponent = float(priority_exponent)
        self._random = Random(seed)

    def line(self) -> list[tuple[int, int]]:
        """(slot, weight) in the order of the masses."""
        raise NotImplementedError

    def draw(self, n: int, scheme: str) -> tuple[list[int], list[float], float]:
        """Slots, probabilities and τ."""
        line = [(slot, weight) for slot, weight in self.line() if weight]
        total = sum(weight for _, weight in line)
        weights = dict(line)

        def owner(mass: int, gone: Sequence[int] = ()) -> int:
            for slot, weight in line:
                if slot in gone:
                    continue
                if mass < weight:
                    return slot
                mass -= weight
            raise AssertionError

        if scheme == "without_replacement":
            taken: list[int] = []
            while len(taken) < n:
                gone = list(taken)
                left = total - sum(weights[slot] for slot in gone)
                for bits in self._random.bits(n - len(gone)):
                    slot = owner(_scaled(bits, left), gone)
                    if slot not in taken:
                        taken.append(slot)
            tau, left = 0.0, total
            for bits, slot in zip(self._random.bits(n + 1), [*taken, -1], strict=True):
                if left == 0:
                    tau = math.inf
                    break
                u = (float(bits >> 11) + 0.5) * 2.0**-53
                tau += -(log2_of(u) * LN2) / left
                left -= weights.get(slot, 0)
            chances = [one_minus_exponential(weights[slot] * tau) / n for slot in taken]
            return taken, chances, tau
        if scheme == "systematic":
            offsets = self._random.bits(1) * n
        else:
            offsets = self._random.bits(n)
        masses = [_scaled(bits, total) for bits in offsets]
        if scheme != "independent":
            masses = [(k * total + mass) // n for k, mass in enumerate(masses)]
        slots = [owner(mass) for mass in masses]
        if scheme != "independent":
            _shuffle(self._random, slots)
        return slots, [float(weights[slot]) / float(total) for slot in slots], 0.0

    def importance_weights(
        self,
        probabilities: Sequence[float],
        tau: float,
        importance_exponent: float,
        normalize: str | None,
    ) -> list[float]:
        """(N P)^−β, divided by the largest of the batch or of the buffer."""
        n = len(probabilities)
        line = [weight for _, weight in self.line() if weight]
        if normalize is None:
            ratios = [1.0 / (len(line) * p) for p in probabilities]
        else:
            smallest = min(probabilities)
            if normalize == "buffer":
                least = min(line)
                smallest = (
                    one_minus_exponential(least * tau) / n
                    if tau
                    else float(least) / float(sum(line))
                )
            ratios = [smallest / p for p in probabilities]
        return [power(ratio, importance_exponent) for ratio in ratios]

    def _saw(self, priorities: Sequence[float]) -> None:
        largest = max(priorities, default=0.0)
        if largest > 0.0:
            self.largest_priority = max(self.largest_priority or 0.0, largest)


class PriorityIndex(Index):
    """P(i) = w_i / Σ w with w_i = round(p_i^exponent · 2^scale), at least 1 where p_i > 0."""

    def __init__(
        self, capacity: int, *, priority_exponent: float, keep_priorities: bool, seed: int
    ) -> None:
        super().__init__(capacity, priority_exponent, seed)
        self.weights = [0] * capacity
        self.scale = 0
        self._kept = [0.0] * capacity if keep_priorities else None
        self._updates_since_look = 0
        self._largest_since_look = 0.0

    def line(self) -> list[tuple[int, int]]:
        """Slots in order."""
        return list(enumerate(self.weights))

    def set_priorities(self, slots: Sequence[int], priorities: Sequence[float]) -> None:
        """The last priority of a slot stays."""
        if not len(slots):
            return
        values = [self._as_kept(float(p)) for p in priorities]
        self._make_room_for(max(values))
        for slot, p in zip(slots, values, strict=True):
            self._set(slot, self._weight(p), p)
        self._saw(values)
        self._largest_since_look = max(self._largest_since_look, *values)
        self._look_for_lost_range(len(slots))

    def set_new(self, slots: Sequence[int], priority: str | float) -> None:
        """At the largest priority ever ("max"), the largest there is, or a number."""
        if not len(slots):
            return
        largest = max(self.weights)
        if priority == "max_in_buffer" and largest > 0 and self._kept is None:
            weight, value = largest, 0.0
        else:
            value = self.largest_priority or 1.0
            if priority == "max_in_buffer" and largest > 0 and self._kept is not None:
                value = self._kept[self.weights.index(largest)]
            elif not isinstance(priority, str):
                value = float(priority)
            value = self._as_kept(value)
            self._make_room_for(value)
            weight = self._weight(value)
            self._largest_since_look = max(self._largest_since_look, value)
        for slot in slots:
            self._set(slot, weight, value)
        self._look_for_lost_range(len(slots))

    def clear(self, slots: Sequence[int]) -> None:
        """Never drawn until set again."""
        for slot in slots:
            self._set(slot, 0, 0.0)

    def set_exponent(self, exponent: float) -> None:
        """Weighs the kept priorities anew."""
        if exponent == self._exponent:
            return
        self._exponent = exponent
        if any(self.weights):
            assert self._kept is not None
            self._rescale(_TARGET_LOG2 - self._log2(max(self._kept)))

    def _set(self, slot: int, weight: int, priority: float) -> None:
        self.weights[slot] = weight
        if self._kept is not None:
            self._kept[slot] = priority

    def _as_kept(self, priority: float) -> float:
        if self._kept is None or priority == 0.0:
            return priority
        limits = np.finfo(np.float32)
        clipped = min(max(priority, float(limits.smallest_subnormal)), float(limits.max))
        return float(np.float32(clipped))

    def _log2(self, priority: float) -> int:
        if self._exponent == 1.0:
            return math.frexp(priority)[1] - 1
        m, n = binary_exponential(self._exponent * log2_of(priority))
        return n - (m < 0.0)

    def _weight(self, priority: float) -> int:
        if priority == 0.0:
            return 0
        if self._exponent == 1.0:
            weight = math.ldexp(priority, self.scale)
        else:
            m, n = binary_exponential(self._exponent * log2_of(priority))
            weight = math.ldexp(1.0 + m, min(n + self.scale, 40))
        return int(max(min(weight, 2.0**32 - 1), 1.0) + 2.0**52) - 2**52

    def _make_room_for(self, largest: float) -> None:
        if largest == 0.0:
            return
        fitting = _TARGET_LOG2 - self._log2(largest)
        if not any(self.weights):
            self.scale = fitting
        elif fitting + 32 - _TARGET_LOG2 <= self.scale:
            self._rescale(fitting)

    def _rescale(self, scale: int) -> None:
        bits = scale - self.scale
        self.scale = scale
        if self._kept is not None:
            self.weights = [self._weight(p) for p in self._kept]
        elif bits >= 0:
            self.weights = [min(w << bits, 2**32 - 1) for w in self.weights]
        else:
            half = 1 << (-bits - 1)
            self.weights = [max((w + half) >> -bits, int(w > 0)) for w in self.weights]

    def _look_for_lost_range(self, updates: int) -> None:
        self._updates_since_look += updates
        if self._updates_since_look < self.capacity:
            return
        self._updates_since_look = 0
        given, self._largest_since_look = self._largest_since_look, 0.0
        largest = max(self.weights)
        if not 0 < largest < _SMALL_LARGEST:
            return
        if self._kept is not None:
            self._rescale(_TARGET_LOG2 - self._log2(max(self._kept)))
        elif largest > 1:
            self._rescale(self.scale + _TARGET_LOG2 - (largest.bit_length() - 1))
        elif given > 0.0:
            # Nobody knows how small these priorities are: they become the largest there are.
            fitting = _TARGET_LOG2 - self._log2(given)
            if fitting > self.scale:
                self._rescale(fitting)
