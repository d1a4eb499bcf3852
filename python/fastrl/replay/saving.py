"""Folders that hold saved objects: what they are made of, and what is common to all of them.

A folder has segment files, each written once, and a manifest that says what lies where; replacing
the manifest is the commit. What the bytes mean is JSON in the manifest, so nothing is ever run by
loading.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from fastrl import _core
from fastrl._dispatch import Arguments, address

_KIND = "set of states"
_EXTRA = "extras/"  # what the names of their arrays begin with


class SaveReport(NamedTuple):
    """What a save has done.

    Attributes:
        bytes_written: To all files together.
        rows_written: That the folder had not, or that were written again with their neighbors.
        segments_kept: Files of earlier saves that are still in use.
        segments_written: New files, without the manifest.
    """

    bytes_written: int
    rows_written: int
    segments_kept: int
    segments_written: int


@runtime_checkable
class Stateful(Protocol):
    """What can be saved along with a buffer, or with `save_states`.

    A state is a dict of numbers, strings, None, bytes, NumPy arrays, and lists and dicts of these.
    """

    def state_dict(self) -> dict[str, Any]:
        """All that it remembers."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on as the object would have that `state_dict` was taken of."""


class SavedState:
    """Takes a state as it is, for whoever looks at it before it goes on."""

    state: Mapping[str, Any]

    def state_dict(self) -> dict[str, Any]:
        """The same."""
        return dict(self.state)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Keeps it."""
        self.state = state


def save_states(path: str | os.PathLike[str], objects: Mapping[str, Stateful]) -> SaveReport:
    """Save the state of objects that are no buffers: samplers of levels and tasks, indices, ….

    The folder holds either all of the new states or all of the last ones, whatever happens.

    Args:
        path: A folder, which is made. It is for objects of these names alone.
        objects: By name, with `state_dict` and `load_state_dict`.

    Raises:
        ValueError: The folder holds something else, such as a `ReplayBuffer` or objects of other
            names.
        OSError: The system refused, for example because the disk is full. What was saved before is
            still there.
    """
    arguments = Arguments("save_states")
    tree, arrays = packed_states(arguments, "objects", objects)
    blobs = [(name, address(array), array.nbytes) for name, array in arrays.items()]
    kind = kind_of(_KIND, tree)
    report = _core.save_blobs(check_path(arguments, path), kind, json.dumps(tree), blobs)
    return SaveReport(*report)


def load_states(path: str | os.PathLike[str], objects: Mapping[str, Stateful]) -> None:
    """Give objects the states that `save_states` has saved.

    Args:
        path: The folder.
        objects: By the names under which they were saved; others of the folder are passed over.

    Raises:
        ValueError: A file is missing or damaged (the message names it), or has no such object.
        OSError: The system refused.
    """
    arguments = Arguments("load_states")
    saved = _core.SavedFolder(arguments.function, check_path(arguments, path), _KIND)
    load_packed(arguments, "objects", objects, json.loads(saved.layout), saved.blobs())


def kind_of(kind: str, names: Iterable[str]) -> str:
    """What the folder of exactly these objects holds; no save of others takes its place."""
    listed = ", ".join(repr(name) for name in sorted(names))
    return f"{kind} of {listed}" if listed else kind


def check_path(arguments: Arguments, path: Any) -> str:
    """A path as the native side takes it."""
    if not isinstance(path, str | os.PathLike):
        raise arguments.error("path", "be a path", type(path).__name__, kind=TypeError)
    text = os.fspath(path)
    if not isinstance(text, str) or not text or "\0" in text:
        raise arguments.error("path", "be a path", repr(text))
    return text


@contextmanager
def understood_layout(arguments: Arguments, path: str) -> Iterator[None]:
    """Reads what another version may have written."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        rule = "hold a layout that this version knows"
        raise arguments.error("path", rule, f"{error!r} in {path!r}") from error


def packed_states(
    arguments: Arguments, argument: str, objects: Mapping[str, Stateful] | None
) -> tuple[dict[str, Any], dict[str, npt.NDArray[np.uint8]]]:
    """The objects' states as JSON, and the bytes of their arrays by name."""
    arrays: dict[str, npt.NDArray[np.uint8]] = {}
    tree: dict[str, Any] = {}
    given: Any = {} if objects is None else objects
    if not isinstance(given, Mapping):
        rule = "be a dict of objects with state_dict"
        raise arguments.error(argument, rule, type(given).__name__, kind=TypeError)
    for name, one in given.items():
        label = f"{argument}[{name!r}]"
        if not isinstance(name, str) or not isinstance(one, Stateful):
            rule = "be an object with state_dict and load_state_dict, under a string"
            raise arguments.error(label, rule, type(one).__name__, kind=TypeError)
        tree[name] = _packed(arguments, label, one.state_dict(), arrays)
    return tree, arrays


def load_packed(
    arguments: Arguments,
    argument: str,
    objects: Mapping[str, Stateful] | None,
    tree: Mapping[str, Any],
    blobs: Mapping[str, bytearray],
) -> None:
    """Gives objects the states that `packed_states` made."""
    given: Any = {} if objects is None else objects
    if not isinstance(given, Mapping):
        rule = "be a dict of objects with load_state_dict"
        raise arguments.error(argument, rule, type(given).__name__, kind=TypeError)
    for name, one in given.items():
        if name not in tree:
            raise arguments.error(f"{argument}[{name!r}]", f"be one of {sorted(tree)}", repr(name))
        if not isinstance(one, Stateful):
            rule = "be an object with state_dict and load_state_dict"
            actual = type(one).__name__
            raise arguments.error(f"{argument}[{name!r}]", rule, actual, kind=TypeError)
    for name, one in given.items():
        one.load_state_dict(_unpacked(tree[name], blobs))


def _packed(
    arguments: Arguments, label: str, value: Any, arrays: dict[str, npt.NDArray[np.uint8]]
) -> Any:
    """Scalars are themselves; all else is a dict of one name that says what it is."""
    if isinstance(value, np.bool_ | np.integer | np.floating):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
        items: Iterator[tuple[str, Any]] = iter(value.items())
        return {"dict": {k: _packed(arguments, f"{label}[{k!r}]", v, arrays) for k, v in items}}
    if isinstance(value, list | tuple):
        parts = [_packed(arguments, f"{label}[{i}]", v, arrays) for i, v in enumerate(value)]
        return {"list": parts}
    if isinstance(value, bytes | bytearray):
        return {"bytes": _put_apart(np.frombuffer(value, np.uint8), arrays)}
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufcSUmM":
        name = _put_apart(np.ascontiguousarray(value).reshape(-1).view(np.uint8), arrays)
        return {"array": name, "dtype": value.dtype.str, "shape": list(value.shape)}
    actual = f"{type(value).__name__}" + (f" of {value.dtype}" if hasattr(value, "dtype") else "")
    rule = "be numbers, strings, None, bytes, NumPy arrays, or lists and dicts of these"
    raise arguments.error(label, rule, actual, kind=TypeError)


def _put_apart(array: npt.NDArray[np.uint8], arrays: dict[str, npt.NDArray[np.uint8]]) -> str:
    name = f"{_EXTRA}{len(arrays)}"
    arrays[name] = array
    return name


def _unpacked(value: Any, blobs: Mapping[str, bytearray]) -> Any:
    if not isinstance(value, dict):
        return value
    if "dict" in value:
        return {name: _unpacked(one, blobs) for name, one in value["dict"].items()}
    if "list" in value:
        return [_unpacked(one, blobs) for one in value["list"]]
    if "bytes" in value:
        return bytes(blobs[value["bytes"]])
    flat = np.frombuffer(blobs[value["array"]], np.dtype(value["dtype"]))
    return flat.reshape(value["shape"])
