"""Buffers in shared memory that this machine has, also those that a killed process left."""

from pathlib import Path
from typing import Any, NamedTuple

from fastrl import _core
from fastrl._dispatch import Arguments
from fastrl.replay.arguments import SHARED, place

_FOLDER = Path("/dev/shm")


class SharedBuffer(NamedTuple):
    """A buffer in shared memory.

    Attributes:
        storage: What `ReplayBuffer.open` takes, "shared:NAME".
        num_bytes: Memory that it takes.
        is_open: Whether some process has it open.
    """

    storage: str
    num_bytes: int
    is_open: bool


def shared_buffers() -> list[SharedBuffer]:
    """All buffers in shared memory that this user may open, by name.

    The memory of a buffer goes when the process that made it drops it or exits. Only where that was
    killed by a signal it stays, with all that was added: until it is opened and used again, removed
    with `remove_shared_buffer`, or the system is started anew. `is_open` tells it from one in use.
    """
    found = []
    for path in sorted(_FOLDER.iterdir()) if _FOLDER.is_dir() else []:
        try:
            looked: Any = _core.ReplayBuffer.look_at(path.name) if path.is_file() else None
        except OSError:  # of another user, or gone meanwhile
            continue
        if looked is not None:
            found.append(SharedBuffer(f"shared:{path.name}", *looked))
    return found


def remove_shared_buffer(storage: str) -> None:
    """Removes a buffer that no process has open from shared memory.

    Args:
        storage: "shared:NAME", as `shared_buffers` gives it.
    """
    arguments = Arguments("remove_shared_buffer")
    kind, name = place(arguments, storage)
    if kind != SHARED:
        raise arguments.error("storage", "be 'shared:NAME'", repr(storage))
    looked: Any = _core.ReplayBuffer.look_at(name)
    if looked is None:
        raise arguments.error("storage", "be a replay buffer's", repr(storage))
    if looked[1]:
        raise arguments.error("storage", "be of a buffer that no process has open", repr(storage))
    _core.ReplayBuffer.remove(name)
