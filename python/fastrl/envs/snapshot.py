"""States of environments outside of their batch."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastrl import _core
from fastrl._dispatch import Arguments, address


class Snapshot:
    """The states of some environments, in order, as `VectorEnv.snapshot` took them.

    A state carries everything that the future of its episode depends on: the level, what has
    happened, elapsed steps, the return so far and the random stream. It does not change when the
    environments go on. ``snapshot[i]``, ``snapshot[2:5]`` and ``snapshot[[3, 3, 0]]`` are
    snapshots, too. Pickling works.
    """

    __slots__ = ("_native",)

    def __init__(self, native: Any) -> None:
        self._native = native

    def __len__(self) -> int:
        return len(self._native)

    def __repr__(self) -> str:
        return f"Snapshot({len(self)} of {self._native.id}({self._native.options}))"

    def __getitem__(self, index: int | slice | Sequence[int] | np.ndarray) -> "Snapshot":
        if isinstance(index, slice):
            indices = np.arange(len(self))[index]
        else:
            indices = np.atleast_1d(np.asarray(index))
            if indices.size == 0:
                indices = indices.astype(np.int64)
            if indices.dtype.kind not in "iu" or indices.ndim != 1:
                raise Arguments("Snapshot").error(
                    "index", "be an integer, a slice or [N] integers", repr(index), kind=TypeError
                )
        wrong = (indices < -len(self)) | (indices >= len(self))
        if wrong.any():
            raise Arguments("Snapshot").error(
                "index",
                f"be from {-len(self)} to {len(self) - 1}",
                indices[wrong][0],
                kind=IndexError,
            )
        indices = indices.astype(np.int64)
        indices = np.where(indices < 0, indices + len(self), indices)
        return Snapshot(self._native.select(address(indices), indices.size))

    @staticmethod
    def concatenate(snapshots: Sequence["Snapshot"]) -> "Snapshot":
        """One snapshot of all the states, in order; they must be of one kind and options."""
        for snapshot in snapshots:
            check_snapshot("Snapshot.concatenate", "snapshots", snapshot)
        return Snapshot(_core.Snapshot.concatenate([part._native for part in snapshots]))

    def tobytes(self) -> bytes:
        """Bytes that `frombytes` reads in any process: header, checksum and states."""
        data: bytes = self._native.to_bytes()
        return data

    @staticmethod
    def frombytes(data: bytes) -> "Snapshot":
        """Reads what `tobytes` wrote; anything else is a ValueError that says what is wrong."""
        if not isinstance(data, bytes):
            raise Arguments("Snapshot.frombytes").error(
                "data", "be bytes", type(data).__name__, kind=TypeError
            )
        return Snapshot(_core.Snapshot.from_bytes(data))

    def __reduce__(self) -> tuple[Any, ...]:
        return (Snapshot.frombytes, (self.tobytes(),))


def check_snapshot(function: str, argument: str, value: object) -> None:
    """Raises the error that says so if `value` is no Snapshot."""
    if not isinstance(value, Snapshot):
        raise Arguments(function).error(
            argument, "be a Snapshot", type(value).__name__, kind=TypeError
        )
