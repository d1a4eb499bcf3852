"""Stores of trajectories on the disk, and as named bytes."""

import json
import os
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from fastrl import _core
from fastrl._dispatch import Arguments, address, contiguous
from fastrl.replay.saving import (
    SaveReport,
    Stateful,
    check_path,
    load_packed,
    packed_states,
    understood_layout,
)
from fastrl.replay.trajectory_facts import TrajectoryFacts

_Store = TypeVar("_Store", bound="TrajectorySaves")


class TrajectorySaves(TrajectoryFacts):
    """The part of `TrajectoryStore` that is saved and loaded."""

    _arguments: dict[str, Any]

    def state(self) -> dict[str, npt.NDArray[np.uint8]]:
        """A copy of all that the store remembers, random state included, as named bytes."""
        return {name: np.frombuffer(part, np.uint8) for name, part in self._core.state().items()}

    def restore(self, state: Mapping[str, npt.NDArray[np.uint8]]) -> None:
        """Takes up a `state`, of this store or of one made with the same sizes and columns.

        Limits (`max_staleness`, `ttl`, …) are those of this store; counters are the state's.
        """
        check = Arguments("restore")
        given: Any = state
        if not isinstance(given, Mapping):
            raise check.error("state", "be a dict", type(given).__name__, kind=TypeError)
        parts = []
        for name, part in state.items():
            check.array(f"state[{name!r}]", part, [f"bytes of {name}"], ["uint8"])
            parts.append((name, contiguous(part)))
        self._core.restore([(name, address(part), part.size) for name, part in parts])

    def save(
        self, path: str | os.PathLike[str], *, extras: Mapping[str, Stateful] | None = None
    ) -> SaveReport:
        """Save the store as it is now, whole or not at all.

        As `ReplayBuffer.save`: atomic, and incremental in each of several folders. Tokens that a
        folder has already are not written again; all else is, about 200 bytes for each of the most
        trajectories that there ever were. Other threads may go on: they wait while these numbers
        and the tokens that came since the save began are copied, about 0.3 ms a MB, and while a
        trajectory's tokens are now and then. The copies are the memory that is needed, with about
        150 bytes a trajectory for what lies where.

        Args:
            path: A folder, which is made.
            extras: Other objects whose states belong to this one, as of `ReplayBuffer.save`.

        Raises:
            ValueError: The folder holds something else, such as a `ReplayBuffer`.
            OSError: The system refused. The store and what was saved before are untouched, and the
                call can be repeated.
        """
        check = Arguments("save")
        where = check_path(check, path)
        states, arrays = packed_states(check, "extras", extras)
        others = [(name, address(array), array.nbytes) for name, array in arrays.items()]
        layout = json.dumps({"arguments": self._arguments, "extras": states})
        return SaveReport(*self._core.save(where, layout, others))

    @classmethod
    def load(
        cls: type[_Store],
        path: str | os.PathLike[str],
        *,
        extras: Mapping[str, Stateful] | None = None,
    ) -> _Store:
        """The store that was saved, exactly: the same calls give the same batches from here on.

        Tokens, log-probs, groups, versions, uses, counters, random numbers and handles are as they
        were, and so are the store's arguments. No code is run and no pickle is read. Checksums find
        damage, not forgery.

        Args:
            path: The folder.
            extras: Objects that get their states, as of `ReplayBuffer.load`.

        Raises:
            ValueError: A file is missing, truncated or changed (the message names it and its
                segment), of a newer version, or the folder holds something else.
            OSError: There is no save (FileNotFoundError), or the system refused.
        """
        check = Arguments("load")
        where = check_path(check, path)
        saved = _core.SavedFolder("load", where, "TrajectoryStore")
        with understood_layout(check, where):
            layout = json.loads(saved.layout)
            store = cls(**layout["arguments"])
            states = layout["extras"]
        others = store._core.load(saved)
        load_packed(check, "extras", extras, states, others)
        return store
