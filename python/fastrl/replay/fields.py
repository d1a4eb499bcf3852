"""What one step consists of: names, shapes and dtypes, and arrays that are checked against them."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastrl._dispatch import Arguments

PADDINGS = ("first", "zeros")
ROLES = {"observations": 0, "rewards": 1, "discounts": 2}
_OTHER = 3
_MAX_BYTES = 2**31 - 1
# What `add` and batches call things that are no fields.
_TAKEN = (
    "terminated",
    "truncated",
    "final_observations",
    "next_observations",
    "priorities",
    "lanes",
    "timeout",
    "handles",
    "probabilities",
    "importance_weights",
    "lengths",
    "keys",
)


@dataclass(frozen=True, slots=True)
class Field:
    """One value of a step.

    Attributes:
        shape: Of one step's value, () for a number.
        dtype: Anything that NumPy takes as a dtype of fixed size.
        stack: So many steps' values, the newest last, make one observation: batches have shape
            [n, stack, *shape], and each value is stored once. Observations only.
        padding: What is before the first value of an episode: "first", it again, or "zeros".
    """

    shape: Sequence[int] = ()
    dtype: Any = "float32"
    stack: int = 1
    padding: str = "first"


@dataclass(frozen=True, slots=True)
class Leaf:
    """A field with its place: ("observations", "camera") is observations["camera"]."""

    path: tuple[str, ...]
    siblings: tuple[int, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    stack: int
    padding: str

    @property
    def is_observation(self) -> bool:
        """Whether a step's successor has one, too."""
        return self.path[0] == "observations"

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Of one item of a batch."""
        return (self.stack, *self.shape) if self.stack > 1 else self.shape

    @property
    def depths(self) -> range:
        """Of the dicts that it is in, and its own."""
        return range(1, len(self.path) + 1)

    @property
    def label(self) -> str:
        """As an error names it: observations['camera']."""
        return self.path[0] + "".join(f"[{part!r}]" for part in self.path[1:])

    def native(self) -> dict[str, Any]:
        """As the native side takes it."""
        return {
            "name": "/".join(self.path),
            "path": self.path,
            "siblings": self.siblings,
            "dtype": self.dtype.str,
            "dtype_object": self.dtype,
            "role": ROLES.get(self.path[0], _OTHER),
            "shape": list(self.shape),
            "item_bytes": self.dtype.itemsize,
            "stack": self.stack,
            "padding": PADDINGS.index(self.padding),
        }


def check_fields(arguments: Arguments, fields: object) -> list[Leaf]:
    """All fields, those of nested dicts one by one."""
    if not isinstance(fields, Mapping):
        raise arguments.error("fields", "be a dict", type(fields).__name__, kind=TypeError)
    if not fields:
        raise arguments.error("fields", "not be empty", "{}")
    for name in fields:
        if name in _TAKEN or (isinstance(name, str) and name.startswith("_")):
            raise arguments.error("fields", "not use a name that is taken", repr(name))
    return list(_leaves(arguments, fields, (), ()))


def _leaves(
    arguments: Arguments,
    fields: Mapping[Any, Any],
    path: tuple[str, ...],
    siblings: tuple[int, ...],
) -> Iterator[Leaf]:
    label = "fields" + "".join(f"[{part!r}]" for part in path)
    if not fields:
        raise arguments.error(label, "not be empty", "{}")
    siblings = (*siblings, len(fields))
    for name, field in fields.items():
        if not isinstance(name, str) or not name or "/" in name or "\0" in name:
            raise arguments.error(label, "have names without '/'", repr(name))
        if isinstance(field, Mapping):
            yield from _leaves(arguments, field, (*path, name), siblings)
        else:
            yield _leaf(arguments, f"{label}[{name!r}]", field, (*path, name), siblings)


def leaves_of(native: Sequence[Mapping[str, Any]]) -> list[Leaf]:
    """The fields that `Leaf.native` described."""
    paths = [tuple(field["name"].split("/")) for field in native]

    def siblings(path: tuple[str, ...], depth: int) -> int:
        return len({other[: depth + 1] for other in paths if other[:depth] == path[:depth]})

    return [
        Leaf(
            path,
            tuple(siblings(path, depth) for depth in range(len(path))),
            tuple(field["shape"]),
            np.dtype(field["dtype"]),
            field["stack"],
            PADDINGS[field["padding"]],
        )
        for path, field in zip(paths, native, strict=True)
    ]


def _leaf(
    arguments: Arguments,
    label: str,
    field: object,
    path: tuple[str, ...],
    siblings: tuple[int, ...],
) -> Leaf:
    if isinstance(field, tuple) and len(field) == 2:
        field = Field(*field)
    if not isinstance(field, Field):
        rule = "be (shape, dtype), a Field or a dict of these"
        raise arguments.error(label, rule, repr(field), kind=TypeError)
    try:
        dtype = np.dtype(field.dtype)
    except (TypeError, ValueError, SyntaxError):
        raise arguments.error(label, "have a dtype of NumPy's", repr(field.dtype)) from None
    if dtype.hasobject or dtype.itemsize == 0 or dtype.kind not in "biufcSUmM":
        raise arguments.error(label, "have a dtype of fixed size", dtype)
    given: Any = field.shape
    if not isinstance(given, int | Sequence) or isinstance(given, str | bytes):
        rule = "be a sequence of integers"
        raise arguments.error(f"{label}.shape", rule, repr(given), kind=TypeError)
    shape = (given,) if isinstance(given, int) else tuple(given)
    if len(shape) > 8:
        raise arguments.error(label, "have at most 8 dimensions", len(shape))
    for size in shape:
        arguments.integer(f"{label}.shape", size, low=1)
    stack = arguments.integer(f"{label}.stack", field.stack, low=1)
    padding = arguments.choice(f"{label}.padding", field.padding, PADDINGS)
    if math.prod(shape) * dtype.itemsize * stack > _MAX_BYTES:
        rule = f"have at most {_MAX_BYTES} bytes with its stack"
        raise arguments.error(label, rule, math.prod(shape) * dtype.itemsize * stack)
    if stack > 1 and path[0] != "observations":
        raise arguments.error(f"{label}.stack", "be 1 but for observations", stack)
    if path[0] in ("rewards", "discounts") and dtype not in (np.float32, np.float64):
        raise arguments.error(label, "have dtype float32 or float64", dtype)
    if path[0] in ("rewards", "discounts") and len(path) > 1:
        raise arguments.error(f"fields[{path[0]!r}]", "be one field", "a dict")
    if path[0] == "discounts" and shape:
        raise arguments.error(label, "have shape ()", shape)
    return Leaf(path, siblings, tuple(int(size) for size in shape), dtype, stack, padding)


def rows_needed(arguments: Arguments, leaves: Sequence[Leaf], n_step: int) -> int:
    """How many rows a lane must hold for a transition to be whole."""
    if any(leaf.is_observation for leaf in leaves):
        return max(leaf.stack for leaf in leaves) + n_step + 1
    if n_step != 1:
        raise arguments.error("n_step", "be 1 where fields have no 'observations'", n_step)
    return 1


def nested(leaves: Sequence[Leaf], values: Sequence[Any], *, below: int = 0) -> Any:
    """Values of fields as a dict of dicts, or the only one itself; `below` leaves out dicts."""
    if len(leaves) == 1 and len(leaves[0].path) == below:
        return values[0]
    made: dict[str, Any] = {}
    for leaf, value in zip(leaves, values, strict=True):
        level = made
        for part in leaf.path[below:-1]:
            level = level.setdefault(part, {})
        level[leaf.path[-1]] = value
    return made
