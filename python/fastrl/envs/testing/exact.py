"""Where two trees of arrays, or two spaces, differ in a bit or a type."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from gymnasium import Space, spaces


class Difference(NamedTuple):
    """The first difference: where, what was expected there, and what is."""

    path: str
    expected: str
    got: str
    row: int | None = None  # of the array, where it is one


def difference(expected: Any, got: Any, path: str) -> Difference | None:
    """The first difference of observations, rewards, flags or infos; None if there is none.

    Types and dtypes must be the same, floats the same to the last bit: NaN equals a NaN of the
    same bits, and -0.0 is not 0.0.
    """
    if type(expected) is not type(got):
        return Difference(path, _described(expected), _described(got))
    if isinstance(expected, dict):
        if expected.keys() != got.keys():
            return Difference(f"the keys of {path}", str(sorted(expected)), str(sorted(got)))
        pairs = [(f"{path}[{key!r}]", value, got[key]) for key, value in expected.items()]
    elif isinstance(expected, tuple | list):
        if len(expected) != len(got):
            return Difference(f"the length of {path}", str(len(expected)), str(len(got)))
        pairs = [(f"{path}[{i}]", x, y) for i, (x, y) in enumerate(zip(expected, got, strict=True))]
    elif isinstance(expected, np.ndarray):
        return _array_difference(expected, got, path)
    else:
        x, y = np.asarray(expected), np.asarray(got)
        same = x.tobytes() == y.tobytes() if x.dtype != object else expected == got
        return None if same else Difference(path, _described(expected), _described(got))
    found = (difference(x, y, name) for name, x, y in pairs)
    return next((each for each in found if each is not None), None)


def _array_difference(
    expected: npt.NDArray[Any], got: npt.NDArray[Any], path: str
) -> Difference | None:
    if expected.shape != got.shape or expected.dtype != got.dtype:
        return Difference(path, _form(expected), _form(got))
    if expected.dtype == object:
        for index in np.ndindex(expected.shape):
            found = difference(expected[index], got[index], path + _subscript(index))
            if found is not None:
                return found._replace(row=index[0] if index else None)
        return None
    if expected.tobytes() == got.tobytes():
        return None
    x, y = (
        np.ascontiguousarray(a).view(np.uint8).reshape(expected.size, -1) for a in (expected, got)
    )
    first = int((x != y).any(axis=1).argmax())
    index = tuple(int(i) for i in np.unravel_index(first, expected.shape))
    return Difference(
        path + _subscript(index),
        _described(expected[index]),
        _described(got[index]),
        index[0] if index else None,
    )


def space_difference(expected: Space[Any], got: Space[Any], path: str) -> Difference | None:
    """The first difference of two spaces; stricter than `==`, which takes bounds that are close."""
    if type(expected) is not type(got):
        return Difference(path, repr(expected), repr(got))
    if isinstance(expected, spaces.Dict):
        assert isinstance(got, spaces.Dict)
        if list(expected) != list(got):
            return Difference(f"the keys of {path}", str(list(expected)), str(list(got)))
        pairs = [(expected[key], got[key], f"{path}[{key!r}]") for key in expected]
    elif isinstance(expected, spaces.Tuple):
        assert isinstance(got, spaces.Tuple)
        if len(expected) != len(got):
            return Difference(f"the length of {path}", str(len(expected)), str(len(got)))
        pairs = [(expected[i], got[i], f"{path}[{i}]") for i in range(len(expected))]
    elif isinstance(expected, spaces.Box):
        assert isinstance(got, spaces.Box)
        return difference(expected.low, got.low, f"{path}.low") or difference(
            expected.high, got.high, f"{path}.high"
        )
    elif expected != got or expected.dtype != got.dtype:
        return Difference(path, repr(expected), repr(got))
    else:
        return None
    found = (space_difference(*pair) for pair in pairs)
    return next((each for each in found if each is not None), None)


def _subscript(index: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, index))}]" if index else ""


def _form(array: npt.NDArray[Any]) -> str:
    return f"{array.dtype}{list(array.shape)}"


def _described(value: Any) -> str:
    return f"an array {_form(value)}" if isinstance(value, np.ndarray) else repr(value)
