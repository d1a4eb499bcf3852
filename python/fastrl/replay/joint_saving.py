"""Several buffers in one folder: all of them as they are at a save, or all as they were before.

They have one manifest, whose replacement is the commit of all.
"""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from fastrl import _core
from fastrl._dispatch import Arguments, address
from fastrl.replay.arguments import place
from fastrl.replay.buffer import ReplayBuffer
from fastrl.replay.buffer_layout import from_json
from fastrl.replay.saving import (
    SaveReport,
    Stateful,
    check_path,
    kind_of,
    load_packed,
    packed_states,
    understood_layout,
)


class LoadedBuffers(NamedTuple):
    """What was saved of several buffers.

    Attributes:
        buffers: By name; one that had several names has them again.
        about: What was saved about them.
        saver: Whose next save to the folder adds to it.
    """

    buffers: dict[str, ReplayBuffer]
    about: Any
    saver: "JointSaver"


class JointSaver:
    """Saves the same buffers again and again: what a folder has already is not written again."""

    def __init__(self) -> None:
        self._native = _core.JointSaver()

    def save(
        self,
        path: str | os.PathLike[str],
        kind: str,
        buffers: Mapping[str, ReplayBuffer],
        about: Any,
        extras: Mapping[str, Stateful] | None,
    ) -> SaveReport:
        """Buffers by name, and what JSON can say about them, in a folder for this kind of them."""
        arguments = Arguments("save")
        where = check_path(arguments, path)
        states, arrays = packed_states(arguments, "extras", extras)
        others = [(name, address(array), array.nbytes) for name, array in arrays.items()]
        parts = list(dict.fromkeys(buffers.values()))
        layout = {
            "parts": [one._layout.to_json({}) for one in parts],
            "buffers": {name: parts.index(one) for name, one in buffers.items()},
            "about": about,
            "extras": states,
        }
        natives = [one._native for one in parts]
        kind = kind_of(kind, buffers)
        return SaveReport(*self._native.save(where, kind, json.dumps(layout), natives, others))

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        kind: str,
        storage: str | os.PathLike[str],
        extras: Mapping[str, Stateful] | None,
    ) -> LoadedBuffers:
        """What `save` has saved; a name of files and shared memory gets the buffer's behind it."""
        arguments = Arguments("load")
        where = check_path(arguments, path)
        place(arguments, storage)
        saved = _core.SavedFolder("load", where, kind)
        with understood_layout(arguments, where):
            layout = json.loads(saved.layout)
            names: dict[str, int] = layout["buffers"]
            parts: Sequence[str] = layout["parts"]
            about, states = layout["about"], layout["extras"]
            firsts = {number: name for name, number in reversed(names.items())}
            places = [firsts[number] for number in range(len(parts))]
        layouts = [from_json(arguments, where, part)[0] for part in parts]
        to = os.fspath(storage)
        given = [place(arguments, to if to == "memory" else f"{to}.{name}") for name in places]
        natives, others = _core.load_buffers(
            saved,
            [(*at, one.options) for at, one in zip(given, layouts, strict=True)],
        )
        loaded = [
            ReplayBuffer._of(native, one, *at)
            for native, one, at in zip(natives, layouts, given, strict=True)
        ]
        made = cls()
        made._native.adopt(saved)
        load_packed(arguments, "extras", extras, states, others)
        return LoadedBuffers({name: loaded[i] for name, i in names.items()}, about, made)
