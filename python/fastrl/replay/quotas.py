"""Rows for each of several tasks: what one overwrites is its own."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastrl._dispatch import Arguments, Array
from fastrl.replay.arguments import (
    as_integers,
    check_finals,
    check_integers,
    check_state,
    checked_array,
    place,
)
from fastrl.replay.batch import Batch
from fastrl.replay.buffer import Relabel, ReplayBuffer
from fastrl.replay.mixing import MixReplay
from fastrl.replay.quota_rows import (
    NO_KEY,
    OpenEpisodes,
    check_columns,
    check_ends,
    check_priorities,
    reshaped,
    runs,
    taken,
)
from fastrl.replay.saving import SaveReport, Stateful


class _Mix(MixReplay):
    """What draws from the keys' buffers, and is saved with them."""

    _kind = "QuotaReplay"


class QuotaReplay:
    """Keeps the newest rows of every key, such as a task's number, however many others have.

    Each key has a `ReplayBuffer` of its own with as many rows as its quota. Where a key is over
    its quota the oldest of its rows goes, in O(1), and no other key loses anything. Batches have
    exact shares of the keys, as `MixReplay` draws them; keys that have nothing yet are left out.

    A lane is one environment, whichever key its episodes have; a key lasts for an episode. (Gai et
    al., "Offline Experience Replay for Continual Offline Reinforcement Learning", 2023, keep such a
    buffer for each task.)

    Args:
        quotas: Rows by key, final observations included; each of `num_lanes` lanes has
            ``quota // num_lanes``.
        fields: As of `ReplayBuffer`, for all.
        shares: Of the keys in a batch, in proportion to numbers that are at least 0; else equal
            ones.
        joint_exponent: As of `MixReplay`.
        storage: As of `ReplayBuffer`; names of files and shared memory get ".KEY" behind them.
        seed: Of the random numbers; the i-th key's buffer has ``seed + i``.
        **options: All others of `ReplayBuffer`.

    Example:
        >>> import numpy as np
        >>> from fastrl.replay import QuotaReplay
        >>> replay = QuotaReplay({7: 10, 8: 50}, {"observations": ((2,), "float32")})
        >>> no = np.zeros(1, bool)
        >>> for step in range(100):  # the task of every 20th episode is 8
        ...     handles = replay.add(
        ...         keys=np.array([8 if step % 20 == 0 else 7]), observations=np.zeros((1, 2)),
        ...         terminated=~no, truncated=no, final_observations=np.zeros((1, 2)),
        ...     )
        >>> replay.sizes, np.bincount(replay.sample(32).sources).tolist()
        ({7: 10, 8: 10}, [16, 16])
    """

    def __init__(
        self,
        quotas: Mapping[int, int],
        fields: Mapping[str, Any],
        *,
        shares: Mapping[int, float] | None = None,
        joint_exponent: float | None = None,
        storage: str | os.PathLike[str] = "memory",
        seed: int = 0,
        **options: Any,
    ) -> None:
        arguments = Arguments("QuotaReplay")
        if not isinstance(quotas, Mapping) or not quotas:
            actual = "{}" if isinstance(quotas, Mapping) else type(quotas).__name__
            raise arguments.error("quotas", "be a dict of rows by key, at least one", actual)
        for key, quota in quotas.items():
            _check_key(arguments, key)
            arguments.integer(f"quotas[{key}]", quota, low=1)
        seed = arguments.integer("seed", seed, low=0, high=2**64 - 1)
        place(arguments, storage)
        where = os.fspath(storage)
        buffers = {
            key: ReplayBuffer(
                quota,
                fields,
                storage=where if where == "memory" else f"{where}.{key}",
                seed=(seed + i) % 2**64,
                **options,
            )
            for i, (key, quota) in enumerate(quotas.items())
        }
        self._take(_mixed(arguments, buffers, shares, joint_exponent))

    @classmethod
    def of(
        cls,
        buffers: Mapping[int, ReplayBuffer],
        *,
        shares: Mapping[int, float] | None = None,
        joint_exponent: float | None = None,
    ) -> "QuotaReplay":
        """Of buffers that were opened or loaded, with the same fields and lanes."""
        arguments = Arguments("of")
        if not isinstance(buffers, Mapping) or not buffers:
            actual = "{}" if isinstance(buffers, Mapping) else type(buffers).__name__
            raise arguments.error("buffers", "be a dict of buffers by key, at least one", actual)
        for key, buffer in buffers.items():
            _check_key(arguments, key)
            given: Any = buffer
            if not isinstance(given, ReplayBuffer):
                actual = type(given).__name__
                rule = "be a ReplayBuffer"
                raise arguments.error(f"buffers[{key}]", rule, actual, kind=TypeError)
        lanes = {buffer.num_lanes for buffer in buffers.values()}
        if len(lanes) > 1:
            raise arguments.error("buffers", "have the same num_lanes", sorted(lanes))
        made = cls.__new__(cls)
        made._take(_mixed(arguments, buffers, shares, joint_exponent))
        return made

    def _take(self, mix: MixReplay) -> None:
        buffers = {int(name): buffer for name, buffer in mix.sources.items()}
        self._mix, self._buffers = mix, buffers
        self._first = next(iter(buffers.values()))
        self._order = np.argsort(list(buffers), kind="stable")
        self._sorted_keys = np.array(list(buffers), np.int64)[self._order]
        self._open = OpenEpisodes(list(buffers), list(buffers.values()))

    @property
    def keys(self) -> list[int]:
        """As the numbers of a batch's "sources" mean them."""
        return list(self._buffers)

    @property
    def buffers(self) -> dict[int, ReplayBuffer]:
        """By key; each can be saved, evicted from and sampled as any other."""
        return dict(self._buffers)

    @property
    def mix(self) -> MixReplay:
        """What draws the batches; its `save` is that of all keys."""
        return self._mix

    @property
    def sizes(self) -> dict[int, int]:
        """Rows that are there, by key."""
        return {key: len(buffer) for key, buffer in self._buffers.items()}

    @property
    def num_drawable(self) -> int:
        """Transitions of all keys that can be drawn."""
        return self._mix.num_drawable

    def __len__(self) -> int:
        """Rows of all keys."""
        return sum(self.sizes.values())

    def __repr__(self) -> str:
        parts = (f"{key}: {len(one)} of {one.capacity}" for key, one in self._buffers.items())
        return f"QuotaReplay({', '.join(parts)})"

    def add(
        self,
        *,
        keys: Array,
        terminated: Array,
        truncated: Array,
        final_observations: Any = None,
        discounts: Array | None = None,
        priorities: Array | None = None,
        lanes: Array | None = None,
        **fields: Any,
    ) -> npt.NDArray[np.uint64]:
        """Store a step of each environment, or several in a row.

        Args:
            keys: Whose they are, [B] or [T, B] integers; the same throughout an episode. A row that
                only is an episode's final observation, in the next-step mode, goes where the
                episode went.
            terminated: This and all others as of `ReplayBuffer.add`.
            truncated: As of `ReplayBuffer.add`.
            final_observations: As of `ReplayBuffer.add`.
            discounts: As of `ReplayBuffer.add`.
            priorities: As of `ReplayBuffer.add`.
            lanes: As of `ReplayBuffer.add`.
            **fields: As of `ReplayBuffer.add`.

        Returns:
            The steps' handles, [B] or [T, B], each of the buffer of its key.
        """
        arguments = Arguments("add")
        if discounts is not None:
            fields["discounts"] = discounts
        first = self._first
        fields, ended, cut, finals, values, chosen = first._checked_rows(
            fields, terminated, truncated, final_observations, priorities, lanes
        )
        columns = check_columns(arguments, chosen, first.num_lanes)
        check_priorities(arguments, values)
        steps = (1, *ended.shape) if ended.ndim == 1 else ended.shape
        indices = self._indices(arguments, keys, ended.shape).reshape(steps)
        ends = (ended | cut).reshape(steps)
        if finals is None and self._open.need_finals:
            check_ends(arguments, ends, columns)
        after = self._open.walk(arguments, indices, ends, ended.reshape(steps), columns)
        rows = {"fields": fields, "terminated": ended, "truncated": cut}
        rows |= {"final_observations": finals, "priorities": values}
        rows = reshaped(rows, ended.ndim, steps)
        handles = np.empty(steps, np.uint64)
        buffers = list(self._buffers.values())
        for begin, end in runs(indices):
            for index in np.unique(indices[begin]):
                mine = indices[begin] == index
                part = taken(rows, begin, end, mine)
                named = part.pop("fields")
                handles[begin:end, mine] = buffers[index].add(**named, **part, lanes=columns[mine])
        self._open.keys[columns], self._open.ended[columns] = after
        return handles.reshape(ended.shape)

    def end_episode(self, lanes: Array, final_observations: Any) -> None:
        """Cut episodes from outside, each of its own key; as of `ReplayBuffer`."""
        arguments = Arguments("end_episode")
        chosen = check_integers(arguments, "lanes", lanes)
        finals = check_finals(arguments, self._first._leaves, final_observations, (len(chosen),))
        columns = check_columns(arguments, chosen, self._first.num_lanes)
        for lane in columns:
            if self._open.keys[lane] == NO_KEY:
                actual = f"lane {lane}, which has none"
                raise arguments.error("lanes", "be lanes with an open episode", actual)
        for index, buffer in enumerate(self._buffers.values()):
            mine = self._open.keys[columns] == index
            if mine.any():
                buffer.end_episode(columns[mine], taken(finals, None, None, mine))
        self._open.keys[columns], self._open.ended[columns] = NO_KEY, False

    def sample(
        self,
        n: int,
        *,
        sampler: str | None = None,
        importance_exponent: float | None = None,
        relabel: Relabel | None = None,
        output: str = "numpy",
    ) -> Batch:
        """Draw n transitions, each key's share of them; as of `MixReplay`."""
        return self._mix.sample(
            n,
            sampler=sampler,
            importance_exponent=importance_exponent,
            relabel=relabel,
            output=output,
        )

    def update_priorities(
        self, handles: Array, priorities: Array, sources: Array, *, sampler: str | None = None
    ) -> int:
        """Give transitions new priorities; `sources` as the batch has them."""
        return self._mix.update_priorities(handles, priorities, sources, sampler=sampler)

    def evict(
        self, which: Callable[[Any], Array], *, names: Sequence[str] | None = None
    ) -> dict[int, int]:
        """Never draw some transitions again; how many of each key, as of `ReplayBuffer.evict`."""
        given: Any = which
        if not callable(given):
            rule = "be a function; masks and handles are for one key's buffer"
            actual = type(given).__name__
            raise Arguments("evict").error("which", rule, actual, kind=TypeError)
        return {key: buffer.evict(which, names=names) for key, buffer in self._buffers.items()}

    def save(
        self, path: str | os.PathLike[str], *, extras: Mapping[str, Stateful] | None = None
    ) -> SaveReport:
        """Save all keys' buffers into one folder, whole or not at all; as of `MixReplay.save`."""
        return self._mix.save(path, extras=extras)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        storage: str | os.PathLike[str] = "memory",
        extras: Mapping[str, Stateful] | None = None,
    ) -> "QuotaReplay":
        """What was saved, exactly, shares included; as of `MixReplay.load`."""
        made = cls.__new__(cls)
        made._take(_Mix.load(path, storage=storage, extras=extras))
        return made

    def state_dict(self) -> dict[str, Any]:
        """All but the buffers."""
        return {"keys": self.keys, "mix": self._mix.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where `state_dict` was taken, with the same keys."""
        check_state(arguments := Arguments("load_state_dict"), state, ("keys", "mix"))
        if state["keys"] != self.keys:
            rule = f"have the keys {self.keys}"
            raise arguments.error("state", rule, state["keys"])
        self._mix.load_state_dict(state["mix"])

    def _indices(
        self, arguments: Arguments, keys: Array, shape: tuple[int, ...]
    ) -> npt.NDArray[np.int64]:
        given = as_integers(arguments, "keys", checked_array(arguments, "keys", keys))
        if given.shape not in (shape, shape[-1:]):
            letters = ["B"] if len(shape) == 1 else ["T", "B"]
            rule = f"have shape [B] or [{', '.join(letters)}] = {list(shape)}"
            raise arguments.error("keys", rule, list(given.shape))
        places = np.searchsorted(self._sorted_keys, given).clip(max=len(self._order) - 1)
        unknown = self._sorted_keys[places] != given
        if unknown.any():
            raise arguments.error("keys", f"be among {self.keys}", given[unknown][0])
        return np.broadcast_to(self._order[places], shape).copy()


def _mixed(
    arguments: Arguments,
    buffers: Mapping[int, ReplayBuffer],
    shares: Any,
    joint_exponent: float | None,
) -> MixReplay:
    """What draws from them; keys that have nothing yet are left out."""
    if shares is not None and not (isinstance(shares, Mapping) and set(shares) == set(buffers)):
        shown = list(shares) if isinstance(shares, Mapping) else type(shares).__name__
        raise arguments.error("shares", f"be a dict of {list(buffers)}", shown)
    return _Mix(
        {str(int(key)): buffer for key, buffer in buffers.items()},
        None if shares is None else {str(key): share for key, share in shares.items()},
        joint_exponent=joint_exponent,
        skip_empty=True,
    )


def _check_key(arguments: Arguments, key: object) -> None:
    if isinstance(key, bool) or not isinstance(key, int | np.integer):
        raise arguments.error("quotas", "have integers as keys", repr(key), kind=TypeError)
    if not -(2**63) <= key < 2**63:
        raise arguments.error("quotas", "have keys that int64 can hold", key)
