"""Argument checks, frameworks, devices and addresses: what every public function needs first.

`Arguments` checks the arguments of one call. Sizes are letters (design: T, B, N, L, V, H, K): the
first array that names a letter binds it, later ones must agree, so every message can say both the
rule and the numbers: ``gae: `values` must have shape [T, B] = [128, 16], got [129, 16]``.
"""

import math
import os
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

FLOATS = ("float32", "bfloat16", "float16")
INTEGERS = ("int64", "int32")
MASKS = ("bool", "uint8")
DEVICES = ("cpu", "cuda")

Array = Any
"""A NumPy array or a torch tensor; a function returns the kind that it was given."""


def argument_error(
    function: str,
    argument: str,
    expected: str,
    actual: object,
    *,
    kind: type[Exception] = ValueError,
    hint: str | None = None,
) -> Exception:
    """The one form that all of fastrl's argument errors have."""
    message = f"{function}: `{argument}` must {expected}, got {actual}"
    return kind(f"{message}; {hint}" if hint else message)


def is_torch(array: object) -> bool:
    """True for torch tensors; never imports torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(array, torch.Tensor)


def dtype_name(array: Array) -> str:
    """The dtype without its framework's prefix, as in "float32"."""
    return str(array.dtype).removeprefix("torch.")


def device_name(array: Array) -> str:
    """The device as torch writes it; NumPy arrays are on "cpu"."""
    return str(array.device) if is_torch(array) else "cpu"


def address(array: Array | None) -> int:
    """The address of the first element, 0 for None."""
    if array is None:
        return 0
    return int(array.data_ptr() if is_torch(array) else array.ctypes.data)


def contiguous(array: Array, dtype: str | None = None) -> Array:
    """The array itself if it is contiguous and of that dtype, else a copy that is."""
    if not is_torch(array):
        return np.ascontiguousarray(array, dtype)
    array = array.detach()
    return (array if dtype is None else array.to(_torch_dtype(dtype))).contiguous()


def empty(like: Array, shape: Sequence[int], dtype: str | None = None) -> Array:
    """A new array of `like`'s framework, device and, unless `dtype` is given, dtype."""
    if not is_torch(like):
        return np.empty(shape, dtype or like.dtype)
    return like.new_empty(shape, dtype=_torch_dtype(dtype) if dtype else None)


def _torch_dtype(name: str) -> Any:
    return getattr(sys.modules["torch"], name)


def _device_type(array: Array) -> str:
    return str(array.device.type) if is_torch(array) else "cpu"


def backend(array: Array) -> str:
    """Which kernels serve this array, which `Arguments.array` has passed: "cpp" or "triton".

    FASTRL_BACKEND=triton sends CPU tensors to the Triton kernels too, for TRITON_INTERPRET=1.
    """
    if _device_type(array) == "cuda":
        return "triton"
    return os.environ.get("FASTRL_BACKEND", "cpp")


def on_device_of(tensor: Array) -> Any:
    """A context in which kernels start on this CUDA tensor's device; nothing for a CPU tensor."""
    return sys.modules["torch"].cuda.device_of(tensor)


def _brackets(items: Sequence[object]) -> str:
    return "[" + ", ".join(str(item) for item in items) + "]"


class Arguments:
    """The checks of one call of `function`; nothing is written before all of them have passed."""

    def __init__(self, function: str) -> None:
        self.function = function
        self._sizes: dict[str, int] = {}
        self._first: tuple[str, Array] | None = None

    def error(
        self,
        argument: str,
        expected: str,
        actual: object,
        *,
        kind: type[Exception] = ValueError,
        hint: str | None = None,
    ) -> Exception:
        """An error for this function, to be raised."""
        return argument_error(self.function, argument, expected, actual, kind=kind, hint=hint)

    def array(
        self,
        name: str,
        value: Array,
        shape: Sequence[str | int],
        dtypes: Sequence[str],
        *,
        framework: str | None = None,
    ) -> None:
        """Checks kind, layout, dtype, shape and device of an array.

        Args:
            name: The argument's name.
            value: What the caller passed.
            shape: Letters and numbers; a leading "..." takes any further dimensions.
            dtypes: The dtypes allowed.
            framework: "torch" when only tensors will do.
        """
        torch_wanted = framework == "torch" or (
            self._first is not None and is_torch(self._first[1])
        )
        numpy_wanted = self._first is not None and not torch_wanted
        if torch_wanted and not is_torch(value):
            raise self.error(name, "be a torch tensor", type(value).__name__, kind=TypeError)
        if numpy_wanted and not isinstance(value, np.ndarray):
            first = self._first[0] if self._first else ""
            raise self.error(
                name, f"be a NumPy array, as `{first}` is", type(value).__name__, kind=TypeError
            )
        if not is_torch(value) and not isinstance(value, np.ndarray):
            raise self.error(
                name, "be a NumPy array or a torch tensor", type(value).__name__, kind=TypeError
            )
        if is_torch(value):
            self._check_layout(name, value)
        if dtype_name(value) not in dtypes:
            raise self.error(
                name, "have dtype " + " or ".join(dtypes), dtype_name(value), kind=TypeError
            )
        self._check_shape(name, value, shape)
        if self._first is None:
            if _device_type(value) not in DEVICES:
                raise self.error(name, "be on " + " or ".join(DEVICES), device_name(value))
            self._first = (name, value)
        elif device_name(value) != device_name(self._first[1]):
            raise self.error(
                name,
                f"be on {device_name(self._first[1])}, where `{self._first[0]}` is",
                device_name(value),
            )

    def _check_layout(self, name: str, value: Array) -> None:
        strided = sys.modules["torch"].strided
        if value.is_nested or value.layout != strided:
            actual = "a nested tensor" if value.is_nested else f"layout {value.layout}"
            raise self.error(name, "be a dense tensor, of layout torch.strided", actual)

    def _check_shape(self, name: str, value: Array, shape: Sequence[str | int]) -> None:
        actual = list(value.shape)
        letters = list(shape)
        if letters and letters[0] == "...":
            letters = letters[1:]
            matches = len(actual) >= len(letters)
            actual_end = actual[len(actual) - len(letters) :]
        else:
            matches = len(actual) == len(letters)
            actual_end = actual
        # Sizes pass through as they are: in torch.compile they may be symbols.
        expected = [
            self._sizes.get(letter, letter) if isinstance(letter, str) else letter
            for letter in letters
        ]
        matches = matches and all(
            isinstance(want, str) or want == got
            for want, got in zip(expected, actual_end, strict=True)
        )
        if not matches:
            rule = _brackets(shape)
            if expected != letters:
                dots = ["..."] if shape[0] == "..." else []
                rule += f" = {_brackets([*dots, *expected])}"
            raise self.error(name, f"have shape {rule}", _brackets(actual))
        for letter, size in zip(letters, actual_end, strict=True):
            if isinstance(letter, str):
                self._sizes[letter] = size

    def size(self, letter: str) -> int:
        """The number that a letter was bound to."""
        return self._sizes[letter]

    def number(
        self,
        name: str,
        value: object,
        *,
        low: float = -math.inf,
        high: float = math.inf,
        exclusive_low: bool = False,
    ) -> float:
        """A finite number in [low, high], or in (low, high] with `exclusive_low`."""
        if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
            raise self.error(name, "be a number", type(value).__name__, kind=TypeError)
        try:
            number = float(value)
        except OverflowError:
            rule = _range_rule(low, high, exclusive_low)
            raise self.error(name, rule, "an integer too large for a float") from None
        above = number > low if exclusive_low else number >= low
        # `math.isfinite` would not take the symbols of torch.compile.
        if not (-math.inf < number < math.inf and above and number <= high):
            raise self.error(name, _range_rule(low, high, exclusive_low), value)
        return number

    def integer(self, name: str, value: object, *, low: int, high: int | None = None) -> int:
        """A whole number, at least `low` and at most `high`."""
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise self.error(name, "be an integer", type(value).__name__, kind=TypeError)
        if value < low or (high is not None and value > high):
            rule = f"be at least {low}" if high is None else f"be from {low} to {high}"
            raise self.error(name, rule, value)
        return int(value)

    def flag(self, name: str, value: object) -> bool:
        """True or False."""
        if not isinstance(value, bool | np.bool_):
            raise self.error(name, "be True or False", repr(value), kind=TypeError)
        return bool(value)

    def choice(self, name: str, value: object, choices: Sequence[str]) -> str:
        """One of a few names."""
        if not isinstance(value, str) or value not in choices:
            listed = ", ".join(repr(choice) for choice in choices)
            raise self.error(name, f"be one of {listed}", repr(value))
        return str(value)


def _range_rule(low: float, high: float, exclusive_low: bool) -> str:
    bracket = "(" if exclusive_low else "["
    if math.isinf(low) and math.isinf(high):
        return "be finite"
    if math.isinf(high):
        return f"be finite and {'greater than' if exclusive_low else 'at least'} {low:g}"
    if math.isinf(low):
        return f"be finite and at most {high:g}"
    return f"be in {bracket}{low:g}, {high:g}]"
