"""Draws from a few thousand weights at once, with counter-based random numbers.

A draw is an integer mass below an exact integer total, as in the priority index, so what has weight
0 is never drawn and what has any can be. The weights of levels all change with every draw (ranks,
staleness), so the sums are made anew for each batch: one pass over N, no tree to keep. For millions
of weights that stay, `PriorityIndex` is the better one.
"""

import numpy as np
import numpy.typing as npt

DISTINCT_SCHEMES = ("without_replacement", "top")
SCHEMES = ("independent", "stratified", "systematic", *DISTINCT_SCHEMES)
_SCALE = 2.0**52  # every rounded float64 of up to this size is an exact integer
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


class WeightedDraws:
    """A stream of random numbers; its state is two integers."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.position = 0

    def bits(self, n: int) -> npt.NDArray[np.uint64]:
        """The stream's next numbers; a call begins with a new block of four."""
        philox = np.random.Philox(key=self.seed, counter=self.position)
        self.position += -(-n // 4)
        numbers: npt.NDArray[np.uint64] = philox.random_raw(n)
        return numbers

    def uniforms(self, n: int) -> npt.NDArray[np.float64]:
        """In (0, 1)."""
        fractions = (self.bits(n) >> np.uint64(12)).astype(np.float64) + 0.5
        return fractions / _SCALE

    def draw(self, weights: npt.NDArray[np.float64], n: int, scheme: str) -> npt.NDArray[np.int64]:
        """Draws n places in `weights`, which are not negative and not all 0.

        Schemes are those of the priority index, and "top": the n largest weights, without chance.
        Those of `DISTINCT_SCHEMES` need n weights that are not 0.
        """
        if scheme in DISTINCT_SCHEMES:
            return self._distinct(weights, n, scheme)
        ends = np.cumsum(integer_weights(weights))
        masses = multiply_shift(self.bits(1 if scheme == "systematic" else n), ends[-1])
        if scheme != "independent":
            # floor((k · total + mass) / n), written so that nothing overflows.
            k, count = np.arange(n, dtype=np.uint64), np.uint64(n)
            whole, rest = ends[-1] // count, ends[-1] % count
            masses = k * whole + (k * rest + masses) // count
            masses = masses[np.argsort(self.bits(n), kind="stable")]
        return np.searchsorted(ends, masses, side="right")

    def _distinct(
        self, weights: npt.NDArray[np.float64], n: int, scheme: str
    ) -> npt.NDArray[np.int64]:
        if scheme == "top":
            return np.argsort(-weights, kind="stable")[:n]
        # The first n of exponential clocks that tick at rate w ring as successive draws do.
        drawable = np.flatnonzero(weights)
        clocks = -np.log(self.uniforms(len(drawable))) / weights[drawable]
        return drawable[np.argsort(clocks, kind="stable")[:n]]


def integer_weights(weights: npt.NDArray[np.float64]) -> npt.NDArray[np.uint64]:
    """Integers in proportion to the weights, that sum to about 2^52; 0 for 0 alone."""
    scaled = np.rint(weights * (_SCALE / weights.sum()))
    integers: npt.NDArray[np.uint64] = np.maximum(scaled, weights > 0.0).astype(np.uint64)
    return integers


def multiply_shift(bits: npt.NDArray[np.uint64], n: np.uint64) -> npt.NDArray[np.uint64]:
    """floor(bits · n / 2^64) for n < 2^63, exactly."""
    high, low = bits >> _HALF, bits & _LOW
    n_high, n_low = n >> _HALF, n & _LOW
    carry = ((low * n_low) >> _HALF) + ((high * n_low) & _LOW) + ((low * n_high) & _LOW)
    middle = ((high * n_low) >> _HALF) + ((low * n_high) >> _HALF) + (carry >> _HALF)
    product: npt.NDArray[np.uint64] = high * n_high + middle
    return product
