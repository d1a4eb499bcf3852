"""Exact equality of arrays, tensors, and what holds them: structure, dtypes, shapes, values."""

import numpy as np


def assert_same(one, other, what="result"):
    """Keys may come in another order; a tensor may stand for an array."""
    if isinstance(one, dict):
        assert isinstance(other, dict), what
        assert one.keys() == other.keys(), what
        for key, value in one.items():
            assert_same(value, other[key], f"{what}[{key!r}]")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), what
        for i, pair in enumerate(zip(one, other, strict=True)):
            assert_same(*pair, f"{what}[{i}]")
    elif one is None or other is None:
        assert one is other, what
    else:
        one, other = np.asarray(one), np.asarray(other)
        if one.dtype == object:
            assert_same(one.tolist(), other.tolist(), what)
            return
        assert one.dtype == other.dtype, what
        assert one.shape == other.shape, what
        np.testing.assert_array_equal(one, other, what)
