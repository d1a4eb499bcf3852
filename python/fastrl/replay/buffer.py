"""Experience replay over rows that are stored once."""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fastrl import _core
from fastrl._dispatch import Arguments, Array, address
from fastrl.replay import samplers as sampling
from fastrl.replay.arguments import (
    FILE,
    MAX_DRAWS,
    OWN,
    check_finals,
    check_function,
    check_handles,
    check_integers,
    check_names,
    check_rows,
    converted,
    place,
    put,
)
from fastrl.replay.batch import OUTPUTS, Batch, Rings, as_tensors, make_ring
from fastrl.replay.buffer_layout import BufferLayout, check_layout, from_json
from fastrl.replay.episodes import Places, places_of
from fastrl.replay.eviction import chosen_handles
from fastrl.replay.fields import leaves_of
from fastrl.replay.limiter import SamplesPerInsert, check_timeout, limiter_of
from fastrl.replay.samplers import Sampler
from fastrl.replay.saving import SaveReport, Stateful, check_path, load_packed, packed_states
from fastrl.replay.sequences import Cut, SequenceBatch, SequenceReader

_FOREVER = math.inf
_new_batch = Batch.of


Relabel = Callable[["ReplayBuffer", Batch], Batch]


class ReplayBuffer:
    """Transitions of many environments, drawn uniformly or by priority.

    A step is one row: its observation is also the next one of the step before, so nothing is stored
    twice. Rows come in the order of time, each environment's into a lane of its own, where the
    oldest is overwritten when the lane is full. An episode's last observation is a row, too, which
    is never drawn. So next observations, frame stacks, n-step returns and truncation are found by
    counting, and a transition can be drawn as soon as the row after it is there.

    Handles name a row for ever: a priority that comes after its row was overwritten is refused and
    counted, it never lands on a newer one. One that this buffer never gave out is an error where it
    can be told: handles count from 0 in every buffer, so one of another buffer that has as many
    rows is taken for this one's. They are numbers, equal in a buffer that was loaded and in all
    processes. The same seed and calls give the same batches, on any
    processor, with any number of threads.

    All threads of a process may call it at once, without holding up each other's Python, and with
    ``storage="shared:NAME"`` or a path all processes may: pass it to a process that is spawned or
    forked, or `open` it by name. A call is whole or not at all for all others. Where a process is
    killed inside of a call, the next call of any process undoes that one and goes on: of an `add`
    no row is there, nor are the oldest rows that it had overwritten, and the open episodes of its
    lanes end as with ``end_episode(lanes)``; of `update_priorities` and `evict` a part may be done.
    `num_repairs` counts these. A writer that takes over the lanes of one that died begins with
    ``end_episode(lanes)``, so that no step of one's is followed by the other's.

    Args:
        capacity: Rows in all lanes together, final observations included; each lane has
            ``capacity // num_lanes``.
        fields: Names with (shape, dtype) or `Field`. "observations" may be a dict of these, and so
            may others. "rewards" and per-step "discounts" are known by these names. Without
            "observations" each step stands alone: it can be drawn at once and has no next one.
        num_lanes: How many environments write, B.
        n_step: Rewards of so many steps are summed, up to the end of the episode and up to the
            newest step.
        gamma: The discount, where steps have none of their own.
        sampler: `Uniform` (the default), `Prioritized`, or a dict of several by name.
        autoreset_mode: Where an episode's final observation comes from. "next_step": it is the
            observation of the lane's next row, as in Gymnasium's default mode. Else (also None) it
            is passed as `final_observations` with the last step.
        storage: "memory", "shared:NAME" for memory that other processes can open by that name
            until this one ends (see also `shared_buffers`), or the path of a new file that is
            mapped, for buffers larger than memory. A file can be opened again as long as the system
            runs, whatever became of the processes, and after that if the last one closed it.
        limiter: `SamplesPerInsert`, else neither side ever waits for the other.
        seed: Of the random numbers.

    Example:
        >>> import numpy as np
        >>> import fastrl
        >>> fields = {"observations": ((4,), "float32"), "rewards": ((), "float32")}
        >>> buffer = fastrl.ReplayBuffer(100, fields, num_lanes=2)
        >>> ended = np.zeros(2, bool)
        >>> for step in range(3):
        ...     observations = np.full((2, 4), step, np.float32)
        ...     handles = buffer.add(
        ...         observations=observations, rewards=np.ones(2), terminated=ended, truncated=ended
        ...     )
        >>> batch = buffer.sample(8)
        >>> batch.next_observations.shape, buffer.num_drawable
        ((8, 4), 4)
    """

    def __init__(
        self,
        capacity: int,
        fields: Mapping[str, Any],
        *,
        num_lanes: int = 1,
        n_step: int = 1,
        gamma: float = 0.99,
        sampler: Sampler | Mapping[str, Sampler] | None = None,
        autoreset_mode: Any = None,
        storage: str | os.PathLike[str] = "memory",
        limiter: SamplesPerInsert | None = None,
        seed: int = 0,
    ) -> None:
        arguments = Arguments("ReplayBuffer")
        layout = check_layout(
            arguments,
            capacity,
            fields,
            num_lanes,
            n_step,
            gamma,
            sampler,
            autoreset_mode,
            seed,
            limiter,
        )
        kind, name = place(arguments, storage)
        self._take(_core.ReplayBuffer(kind, name, layout.options), layout, kind, name)

    @classmethod
    def open(cls, storage: str | os.PathLike[str]) -> "ReplayBuffer":
        """The buffer that another process has there: both see the same rows.

        Args:
            storage: "shared:NAME", while the process that made it lives, or the path of its file.

        Raises:
            FileNotFoundError: Nothing is there (any more).
            ValueError: It is not a buffer, or one of another version.
            RuntimeError: A file that was in use when the system went down: its rows may be of
                different times.
        """
        arguments = Arguments("open")
        kind, name = place(arguments, storage)
        if kind == OWN:
            raise arguments.error("storage", "be 'shared:NAME' or a path", repr(storage))
        return cls._open(kind, name)

    @classmethod
    def _open(cls, kind: int, name: str, identity: int | None = None) -> "ReplayBuffer":
        options = _core.ReplayBuffer.options_at(kind, name)
        leaves = leaves_of(options["fields"])
        samplers = {one["name"]: sampling.from_native(one) for one in options["samplers"]}
        buffer = cls.__new__(cls)
        described = {"fields": [leaf.native() for leaf in leaves]}
        native = _core.ReplayBuffer.open(kind, name, described)
        if identity not in (None, native.identity):
            raise RuntimeError(
                f"ReplayBuffer: {name!r} is not the buffer that was pickled: that one is gone, and "
                "another has its name"
            )
        buffer._take(native, BufferLayout(options, leaves, samplers), kind, name)
        return buffer

    def __reduce__(self) -> tuple[Any, ...]:
        """What another process opens: the same memory."""
        kind, name = self._place
        if kind == OWN:
            raise TypeError(
                "ReplayBuffer: only one that processes can share can be pickled, made with "
                "storage='shared:NAME' or with a path"
            )
        return ReplayBuffer._open, (kind, name, self._native.identity)

    def _take(self, native: Any, layout: BufferLayout, kind: int, name: str) -> None:
        options, leaves, samplers = layout
        self._place = (kind, str(Path(name).resolve()) if kind == FILE else name)
        self._native = native
        self._layout = layout
        self._options = options
        self._leaves = leaves
        self._samplers = dict(samplers)
        self._sampler_indices: dict[str | None, int] = {
            name: index for index, name in enumerate(samplers)
        }
        self._sampler_indices[None] = 0
        self._with_priorities = {
            index
            for index, one in enumerate(samplers.values())
            if not isinstance(one, sampling.Uniform)
        }
        self._rings = Rings()
        self._sequences = SequenceReader(native, leaves, options)

    @property
    def capacity(self) -> int:
        """Rows that it can hold."""
        return int(self._options["num_lanes"] * self._options["rows_per_lane"])

    @property
    def num_lanes(self) -> int:
        """Environments that write to it."""
        return int(self._options["num_lanes"])

    @property
    def n_step(self) -> int:
        """Steps of a transition."""
        return int(self._options["n_step"])

    @property
    def gamma(self) -> float:
        """The discount of steps that have none of their own."""
        return float(self._options["gamma"])

    @property
    def samplers(self) -> dict[str, Sampler]:
        """The samplers by name; the first is the default."""
        return dict(self._samplers)

    @property
    def field_names(self) -> tuple[str, ...]:
        """What `gather_rows` can give: fields, those of dicts as "observations/camera"."""
        return tuple("/".join(leaf.path) for leaf in self._leaves)

    @property
    def num_drawable(self) -> int:
        """Transitions that can be drawn, but for their priorities."""
        return int(self._native.num_drawable)

    def num_drawable_by(self, sampler: str | None = None) -> int:
        """Transitions that this sampler can draw: their priorities are not 0."""
        index = self._sampler_index(Arguments("num_drawable_by"), sampler)
        return int(self._native.num_drawable_by(index))

    @property
    def num_added(self) -> int:
        """Transitions that were ever added."""
        return int(self._native.counters[0])

    @property
    def num_sampled(self) -> int:
        """Items that were ever drawn."""
        return int(self._native.counters[1])

    @property
    def refused_updates(self) -> int:
        """Priorities that came after their row was overwritten or evicted."""
        return int(self._native.counters[2])

    @property
    def num_repairs(self) -> int:
        """Calls of processes that died in them, which were undone."""
        return int(self._native.counters[3])

    @property
    def limiter(self) -> SamplesPerInsert | None:
        """What makes `add` and `sample` wait."""
        return limiter_of(self._options["limiter"])

    @property
    def num_waits(self) -> tuple[int, int]:
        """Calls of `add` and of draws that had to wait, of all processes."""
        adds, samples = self._native.num_waits
        return int(adds), int(samples)

    def restart_limiter(self) -> None:
        """From here on the limiter takes both sides to be even, whatever was added and drawn."""
        self._native.restart_limiter()

    @property
    def num_bytes(self) -> int:
        """Memory that it takes, all told."""
        return int(self._native.num_bytes)

    def __len__(self) -> int:
        """Rows that it holds, final observations included."""
        return len(self._native)

    def __repr__(self) -> str:
        return (
            f"ReplayBuffer({len(self)} of {self.capacity} rows, {self.num_lanes} lanes, "
            f"{', '.join(f'{name}: {one}' for name, one in self._samplers.items())})"
        )

    def add(
        self,
        *,
        terminated: Array,
        truncated: Array,
        final_observations: Any = None,
        discounts: Array | None = None,
        priorities: Array | None = None,
        lanes: Array | None = None,
        timeout: float | None = None,
        **fields: Any,
    ) -> npt.NDArray[np.uint64]:
        """Store a step of each environment, or several in a row.

        Args:
            terminated: Whether the step ended its episode, [B] or [T, B] bool.
            truncated: Whether it was cut off there.
            final_observations: Like `observations`; read where an episode ends, unless
                ``autoreset_mode="next_step"``.
            discounts: Of each step, where the buffer has such a field.
            priorities: [B] or [T, B]; else what the samplers have for new transitions.
            lanes: Which lanes the B columns are of, [B] integers; else all of them in order.
            timeout: Seconds to wait where the limiter makes it wait for the learner, else for ever.
            **fields: All other fields, [B, …] or [T, B, …], as they were before the step.

        Returns:
            The steps' handles, [B] or [T, B].

        Raises:
            TimeoutError: Over which nothing was added.
        """
        patience = _FOREVER if timeout is None else check_timeout(Arguments("add"), timeout)
        if discounts is not None:
            fields["discounts"] = discounts
        handles = self._native.add(
            fields, terminated, truncated, final_observations, priorities, lanes, patience
        )
        if handles is None:
            handles = self._native.add(
                *check_rows(
                    self._leaves,
                    self.num_lanes,
                    self._options["next_step_autoreset"],
                    fields,
                    terminated,
                    truncated,
                    final_observations,
                    priorities,
                    lanes,
                ),
                patience,
            )
        return handles  # type: ignore[no-any-return]

    def end_episode(self, lanes: Array, final_observations: Any = None) -> None:
        """Cut episodes from outside: their newest step was truncated.

        Args:
            lanes: Which, [n] integers or one.
            final_observations: What came after that step, [n, …], or a dict of these. None where
                nobody knows, because who wrote it is gone: then the newest step is lost, and its
                observation is the final one of the step before; lanes without an open episode are
                passed over.
        """
        arguments = Arguments("end_episode")
        chosen = check_integers(arguments, "lanes", lanes)
        if final_observations is None:
            self._native.end_episodes(chosen, None)
            return
        finals = check_finals(arguments, self._leaves, final_observations, (len(chosen),))
        self._native.end_episodes(chosen, finals)

    def sample(
        self,
        n: int,
        *,
        sampler: str | None = None,
        importance_exponent: float | None = None,
        relabel: Relabel | None = None,
        output: str = "numpy",
        timeout: float | None = None,
    ) -> Batch:
        """Draw n transitions.

        Args:
            n: How many.
            sampler: The name of one of several samplers, else the first.
            importance_exponent: Instead of the sampler's own.
            relabel: Is called with this buffer and the batch, and returns the batch to give out,
                which may be larger.
            output: "numpy", "torch", or "pinned": torch tensors in page-locked memory.
            timeout: Seconds to wait where the limiter makes it wait for writers, else for ever.

        Raises:
            TimeoutError: Over which nothing was drawn.
        """
        try:
            index = self._sampler_indices.get(sampler, -1)
            ring = self._rings.get((n, output)) if type(n) is int else None
        except TypeError:  # what has no hash is no name, either
            index, ring = -1, None
        if (
            ring is None
            or index < 0
            or importance_exponent is not None
            or not (relabel is None or callable(relabel))
        ):
            arguments = Arguments("sample")
            n = arguments.integer("n", n, low=1, high=MAX_DRAWS)
            check_function(arguments, "relabel", relabel, optional=True)
            ring = self._ring(arguments, n, output)
            index = self._sampler_index(arguments, sampler)
            if importance_exponent is not None:
                importance_exponent = arguments.number(
                    "importance_exponent", importance_exponent, low=0
                )
        exponent = math.nan if importance_exponent is None else importance_exponent
        patience = _FOREVER if timeout is None else check_timeout(Arguments("sample"), timeout)
        values = self._native.sample(n, index, exponent, ring, patience)
        batch = _new_batch(values if output == "numpy" else _tensors(values))
        if relabel is None:
            return batch
        batch = relabel(self, batch)
        given: Any = batch
        if not isinstance(given, Batch):
            rule = "return a Batch"
            actual = type(given).__name__
            raise Arguments("sample").error("relabel", rule, actual, kind=TypeError)
        return batch

    def sample_sequences(
        self,
        n: int,
        length: int,
        *,
        burn_in: int = 0,
        bootstrap: int = 1,
        boundary: str = "pad",
        sampler: str | None = None,
        importance_exponent: float | None = None,
        time_major: bool = False,
        output: str = "numpy",
        timeout: float | None = None,
    ) -> SequenceBatch:
        """Draw n steps, and for each the steps around it, of its own episode alone.

        The step that is drawn is the first to learn from. Evicted steps are never drawn, but may
        be inside of a sequence; one that ends its episode is left out with what follows.

        Args:
            n: How many.
            length: Steps to learn from, T is burn_in + length + bootstrap.
            burn_in: Rows before them that only warm up a recurrent state; fewer where the episode,
                or what is left of it, begins.
            bootstrap: Rows after them, for their observations; fewer where the episode ends.
            boundary: What is done where an episode ends, or goes no further yet. "pad": zeros fill
                the T columns. "stop": there are only as many columns as the longest sequence of
                this batch needs. "shift": the steps to learn from begin earlier, so that there are
                `length` if the episode has them; else as "pad".
            sampler: The name of one of several samplers, else the first.
            importance_exponent: Instead of the sampler's own.
            time_major: [T, n, …] instead of [n, T, …].
            output: As of `sample`.
            timeout: As of `sample`.

        Reference: Kapturowski et al., "Recurrent Experience Replay in Distributed Reinforcement
        Learning", 2019. Specification: `fastrl.reference.sequences`.
        """
        arguments = Arguments("sample_sequences")
        cut = self._sequences.check(
            arguments, Cut(n, length, burn_in, bootstrap, boundary, time_major, output)
        )
        index = self._sampler_index(arguments, sampler)
        exponent = math.nan
        if importance_exponent is not None:
            exponent = arguments.number("importance_exponent", importance_exponent, low=0)
        return self._sequences.sample(cut, index, exponent, check_timeout(arguments, timeout))

    def gather(self, handles: Array, *, output: str = "numpy") -> Batch:
        """The transitions that these handles name, all of which must be drawable.

        Args:
            handles: [n] uint64.
            output: As of `sample`.
        """
        arguments = Arguments("gather")
        chosen = check_handles(arguments, handles)
        ring = self._ring(arguments, len(chosen), output)
        values = self._native.gather(address(chosen), len(chosen), ring)
        for name in ("probabilities", "importance_weights"):
            del values[name]
        return _new_batch(values if output == "numpy" else _tensors(values))

    def places(self, handles: Array) -> Places:
        """Where rows lie that are still there, and which rows their episodes have.

        Args:
            handles: [n] uint64.
        """
        return places_of(self._native, check_handles(Arguments("places"), handles))

    def gather_rows(
        self, lanes: Array, rows: Array, names: Sequence[str] | None = None
    ) -> dict[str, Any]:
        """Fields of any rows that are still there, final observations as well.

        Args:
            lanes: [n] integers.
            rows: [n], numbers as `places` gives them.
            names: Of the fields, else all; "observations/camera" is one of a dict.

        Returns:
            Each field's values, [n, …]; of a final observation all others are 0.
        """
        arguments = Arguments("gather_rows")
        chosen = check_integers(arguments, "lanes", lanes)
        numbers = check_integers(arguments, "rows", rows)
        if len(numbers) != len(chosen):
            raise arguments.error("rows", f"have shape [n] = [{len(chosen)}]", [len(numbers)])
        if names is not None:
            names = self._check_fields(arguments, names)
        made: dict[str, Any] = {}
        for index, leaf in enumerate(self._leaves):
            if names is None or any("/".join(leaf.path[:depth]) in names for depth in leaf.depths):
                values = np.empty((len(chosen), *leaf.batch_shape), leaf.dtype)
                self._native.gather_rows(
                    address(chosen), address(numbers), len(chosen), index, address(values)
                )
                put(made, leaf.path, values)
        return made

    def update_priorities(
        self, handles: Array, priorities: Array, *, sampler: str | None = None
    ) -> int:
        """Give transitions new priorities; of a handle that comes twice the last one stays.

        Args:
            handles: Of a batch, or as `add` gave them, [n] uint64.
            priorities: [n], finite and at least 0.
            sampler: The name of one of several samplers, else the first.

        Returns:
            How many were applied. The others' rows have been overwritten or evicted;
            `refused_updates` counts them.
        """
        try:
            index = self._sampler_indices.get(sampler, -1)
        except TypeError:
            index = -1
        if index in self._with_priorities:
            applied = self._native.update_priorities(handles, priorities, index)
            if applied is not None:
                return applied  # type: ignore[no-any-return]
        arguments = Arguments("update_priorities")
        index = self._prioritized_index(arguments, sampler)
        chosen = check_handles(arguments, handles)
        values = converted(arguments, "priorities", priorities, (len(chosen),), (), np.float64)
        return int(self._native.update_priorities(chosen, values, index))

    def priorities(self, handles: Array, *, sampler: str | None = None) -> npt.NDArray[np.float64]:
        """Priorities of drawable transitions, as the weights of a `Prioritized` stand for them."""
        arguments = Arguments("priorities")
        index = self._sampler_index(arguments, sampler)
        if not isinstance(of := list(self._samplers.values())[index], sampling.Prioritized):
            raise arguments.error("sampler", "be a Prioritized one", of)
        chosen = check_handles(arguments, handles)
        values = np.empty(len(chosen))
        self._native.priorities(address(chosen), len(chosen), index, address(values))
        return values

    def handles(self) -> npt.NDArray[np.uint64]:
        """Of all transitions that can be drawn, by lane and age."""
        found = np.empty(self.num_drawable, np.uint64)
        while (count := self._native.drawable_handles(address(found), len(found))) != len(found):
            found = np.empty(count, np.uint64)
        return found

    def are_drawable(self, handles: Array) -> npt.NDArray[np.bool_]:
        """Which of these can be drawn, [n]: neither overwritten nor evicted, and not the newest."""
        chosen = check_handles(Arguments("are_drawable"), handles)
        found = np.empty(len(chosen), np.bool_)
        self._native.are_drawable(address(chosen), len(chosen), address(found))
        return found

    def evict(
        self,
        which: Array | Callable[[Any], Array],
        *,
        names: Sequence[str] | None = None,
        chunk: int = 4096,
    ) -> int:
        """Never draw some transitions again; their rows stay until they are overwritten.

        Args:
            which: A mask over `handles()`, handles (uint64), or a function that is given batches of
                all transitions in turn and returns masks, [n] bool.
            names: The function is given a dict of these stored fields of the steps instead, [n, …]
                each, and no other is read.
            chunk: How many transitions the function is given at once.

        Returns:
            How many could have been drawn before, or once the next row had come.
        """
        chosen = chosen_handles(self, which, names, chunk)
        return int(self._native.evict(address(chosen), len(chosen)))

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
        cls,
        path: str | os.PathLike[str],
        *,
        storage: str | os.PathLike[str] = "memory",
        extras: Mapping[str, Stateful] | None = None,
    ) -> "ReplayBuffer":
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
        saved = _core.SavedFolder(where, "ReplayBuffer")
        layout, states = from_json(arguments, where, saved.layout)
        native, others = _core.ReplayBuffer.load(saved, kind, name, layout.options)
        buffer = cls.__new__(cls)
        buffer._take(native, layout, kind, name)
        load_packed(arguments, "extras", extras, states, others)
        return buffer

    def _ring(self, arguments: Arguments, n: int, output: str) -> Any:
        arguments.choice("output", output, OUTPUTS)
        return self._rings.at((n, output), lambda: make_ring(self._leaves, n, output, self.n_step))

    def _check_fields(self, arguments: Arguments, names: Any) -> list[str]:
        known = {"/".join(leaf.path[:depth]) for leaf in self._leaves for depth in leaf.depths}
        listed = check_names(arguments, "names", names)
        for name in listed:
            arguments.choice("names", name, sorted(known))
        return listed

    def _sampler_index(self, arguments: Arguments, name: str | None) -> int:
        if name is not None:
            arguments.choice("sampler", name, list(self._samplers))
        return self._sampler_indices[name]

    def _prioritized_index(self, arguments: Arguments, name: str | None) -> int:
        index = self._sampler_index(arguments, name)
        if index not in self._with_priorities:
            rule = "be one that has priorities"
            raise arguments.error("sampler", rule, list(self._samplers.values())[index])
        return index


def _tensors(values: dict[str, Any]) -> dict[str, Any]:
    import torch

    return as_tensors(values, torch.from_numpy)
