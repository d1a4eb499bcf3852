"""Buffers on the disk: saved whole or not at all, and loaded as they were."""

import os
from collections.abc import Mapping
from typing import Any, TypeVar

from fastrl import _core
from fastrl._dispatch import Arguments, address
from fastrl.replay.arguments import place
from fastrl.replay.buffer_facts import BufferFacts
from fastrl.replay.buffer_layout import BufferLayout, from_json
from fastrl.replay.saving import SaveReport, Stateful, check_path, load_packed, packed_states

_Buffer = TypeVar("_Buffer", bound="BufferSaves")


class BufferSaves(BufferFacts):
    """The part of `ReplayBuffer` that is saved and loaded."""

    @classmethod
    def _of(cls: type[_Buffer], native: Any, layout: BufferLayout, kind: int, name: str) -> _Buffer:
        buffer = cls.__new__(cls)
        buffer._take(native, layout, kind, name)
        return buffer

    def save(
        self, path: str | os.PathLike[str], *, extras: Mapping[str, Stateful] | None = None
    ) -> SaveReport:
        """Save the buffer as it is now, whole or not at all.

        Rows that the folder has already are not written again, as long as its last save was one of
        this buffer, or of the one that it was loaded from; buffers saved to two folders in turn are
        incremental in both. What is written each time are the priorities and other numbers, about
        9 bytes for each row of the capacity with one `Prioritized`. A folder takes at most about
        twice the rows' bytes.

        The new save takes the place of the last one in a single step, after all of it is on the
        disk: a process that is killed, or a machine that loses power, leaves one or the other,
        never a mixture. Other threads and processes may go on to use the buffer. They wait while
        the numbers and the rows that came since the save began are copied, about 0.3 ms a MB, and
        for up to 1 MiB of older rows now and then; the copies are all the memory that is needed.
        What is saved is the state at that moment.

        Args:
            path: A folder, which is made.
            extras: Other objects whose states belong to this one, by name: a `MixReplay`, a
                `LevelSampler`, anything that has `state_dict` and `load_state_dict`. They are asked
                before the buffer is copied; let no other thread use them meanwhile.

        Raises:
            ValueError: The folder holds something else, such as a `TrajectoryStore`.
            OSError: The system refused: no space (ENOSPC), no permission, another process at work
                in the folder for more than a minute (BlockingIOError). The buffer and what was
                saved before are untouched, and the call can be repeated.
        """
        arguments = Arguments("save")
        where = check_path(arguments, path)
        states, arrays = packed_states(arguments, "extras", extras)
        others = [(name, address(array), array.nbytes) for name, array in arrays.items()]
        return SaveReport(*self._native.save(where, self._layout.to_json(states), others))

    @classmethod
    def load(
        cls: type[_Buffer],
        path: str | os.PathLike[str],
        *,
        storage: str | os.PathLike[str] = "memory",
        extras: Mapping[str, Stateful] | None = None,
    ) -> _Buffer:
        """The buffer that was saved, exactly: the same calls give the same batches from here on.

        Rows, priorities, random numbers, annealing, counters and open episodes are as they were,
        and so are handles. It is read straight into its memory, which is all that is needed.
        No code is run and no pickle is read. Checksums find damage, not forgery.

        Args:
            path: The folder.
            storage: Where the loaded buffer is to be, as of `ReplayBuffer`.
            extras: Objects that get their states, by the names under which they were saved; others
                of the folder are passed over.

        Raises:
            ValueError: A file is missing, truncated or changed (the message names it and its
                segment), of a newer version, or the folder holds something else.
            OSError: There is no save (FileNotFoundError), or the system refused.
        """
        arguments = Arguments("load")
        where = check_path(arguments, path)
        kind, name = place(arguments, storage)
        saved = _core.SavedFolder("load", where, "ReplayBuffer")
        layout, states = from_json(arguments, where, saved.layout)
        native, others = _core.ReplayBuffer.load(saved, kind, name, layout.options)
        buffer = cls._of(native, layout, kind, name)
        load_packed(arguments, "extras", extras, states, others)
        return buffer
