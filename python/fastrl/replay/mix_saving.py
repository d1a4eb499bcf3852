"""Mixes on the disk: all their sources whole or not at all, and what they carry."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from fastrl._dispatch import Arguments
from fastrl.replay.arguments import check_state
from fastrl.replay.buffer import ReplayBuffer
from fastrl.replay.joint_saving import JointSaver
from fastrl.replay.saving import SaveReport, Stateful
from fastrl.replay.shares import Shares


class MixSaves:
    """The part of `MixReplay` that is saved."""

    _kind = "MixReplay"  # that a folder is for
    _sources: dict[str, ReplayBuffer]
    _numbers: list[float]
    _samplers: list[str | None]
    _shares: Shares
    _present: list[int]  # those that the shares are of
    _skip_empty: bool
    _joint_exponent: float | None
    _saver: JointSaver

    def state_dict(self) -> dict[str, Any]:
        """What is carried, and among which sources; `save` keeps the buffers, too."""
        return {"carried": list(self._shares.carried), "present": list(self._present)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where `state_dict` was taken, of a mix with the same shares."""
        arguments = Arguments("load_state_dict")
        check_state(arguments, state, ("carried", "present"))
        for name in ("carried", "present"):
            if not isinstance(state[name], Sequence) or isinstance(state[name], str):
                actual = type(state[name]).__name__
                raise arguments.error(f"state[{name!r}]", "be a list", actual, kind=TypeError)
        last = len(self._sources) - 1
        present = [
            arguments.integer("state['present']", i, low=0, high=last) for i in state["present"]
        ]
        if sorted(set(present)) != present or not any(self._numbers[i] for i in present):
            rule = "be different sources in order, and have a share"
            raise arguments.error("state['present']", rule, present)
        shares = Shares([self._numbers[i] for i in present])
        most = len(present) * shares.whole
        owed = [
            arguments.integer("state['carried']", number, low=-most, high=most)
            for number in state["carried"]
        ]
        if len(owed) != len(present) or sum(owed) != 0:
            rule = f"be {len(present)} numbers whose sum is 0"
            raise arguments.error("state['carried']", rule, owed)
        shares.carried = owed
        self._shares, self._present = shares, present

    def save(
        self, path: str | os.PathLike[str], *, extras: Mapping[str, Stateful] | None = None
    ) -> SaveReport:
        """Save all sources, and what is carried, whole or not at all.

        As `ReplayBuffer.save`: a process that is killed leaves the folder's last save of all
        sources, never some as they are now and others as they were. Each is saved as it is at a
        moment of its own: writers that go on meanwhile may be further in one than in another.

        Args:
            path: A folder, which is made.
            extras: As of `ReplayBuffer.save`.

        Raises:
            ValueError: The folder holds something else, or sources of other names.
            OSError: The system refused; what was saved before is untouched.
        """
        about = {
            "shares": self._numbers,
            "joint_exponent": self._joint_exponent,
            "skip_empty": self._skip_empty,
            "samplers": self._samplers,
            "state": self.state_dict(),
        }
        return self._saver.save(path, self._kind, self._sources, about, extras)
