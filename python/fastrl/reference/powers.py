"""Logarithms and powers of the replay's priorities, to the bit, from float64's own operations."""

import math

LN2 = float.fromhex("0x1.62e42fefa39efp-1")


def log2_of(x: float) -> float:
    """The logarithm of x > 0, from additions, multiplications and a division of float64."""
    mantissa, e = math.frexp(x)  # [½, 1)
    if mantissa >= float.fromhex("0x1.6a09e667f3bcdp-1"):
        m, e = mantissa, e
    else:
        m, e = mantissa * 2.0, e - 1
    s = (m - 1.0) / (m + 1.0)
    z = s * s
    scale = float.fromhex("0x1.71547652b82fep+1")
    p = scale / 21.0
    for k in range(19, 0, -2):
        p = p * z + scale / k
    return e + p * s


def binary_exponential(y: float) -> tuple[float, int]:
    """(m, n) with 2^y = (1 + m) 2^n."""
    n = (y + 1.5 * 2.0**52) - 1.5 * 2.0**52
    g = (y - n) * LN2
    p = 1.0 / math.factorial(13)
    for k in range(12, 1, -1):
        p = p * g + 1.0 / math.factorial(k)
    return (p * g) * g + g, int(n)


def power(x: float, a: float) -> float:
    """x^a for x > 0."""
    m, n = binary_exponential(a * log2_of(x))
    return math.ldexp(1.0 + m, n)


def one_minus_exponential(x: float) -> float:
    """1 − e^−x for x ≥ 0."""
    m, n = binary_exponential(-min(x, 700.0) * float.fromhex("0x1.71547652b82fep+0"))
    return -m if n == 0 else 1.0 - math.ldexp(1.0 + m, n)
