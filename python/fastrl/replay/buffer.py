"""Experience replay over rows that are stored once."""

import math
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from fastrl import _core
from fastrl._dispatch import Arguments, Array
from fastrl.replay import samplers as sampling
from fastrl.replay.arguments import (
    MAX_DRAWS,
    OWN,
    check_finals,
    check_function,
    check_integers,
    check_rows,
    place,
)
from fastrl.replay.batch import Batch, batch_of
from fastrl.replay.buffer_layout import BufferLayout, check_layout
from fastrl.replay.buffer_rows import BufferRows
from fastrl.replay.buffer_saving import BufferSaves
from fastrl.replay.fields import leaves_of
from fastrl.replay.limiter import SamplesPerInsert, check_timeout
from fastrl.replay.samplers import Sampler
from fastrl.replay.sequences import Cut, SequenceBatch, SequenceReader

_FOREVER = math.inf

Relabel = Callable[["ReplayBuffer", Batch], Batch]


class ReplayBuffer(BufferRows, BufferSaves):
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
        described = {"fields": [leaf.native() for leaf in leaves]}
        native = _core.ReplayBuffer.open(kind, name, described)
        if identity not in (None, native.identity):
            raise RuntimeError(
                f"ReplayBuffer: {name!r} is not the buffer that was pickled: that one is gone, and "
                "another has its name"
            )
        return cls._of(native, BufferLayout(options, leaves, samplers), kind, name)

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
        super()._take(native, layout, kind, name)
        self._sequences = SequenceReader(native, layout.leaves, layout.options)

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
            priorities: [B] or [T, B], where a sampler has any; else what the samplers have for new
                transitions.
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
        if priorities is not None and not self._with_priorities:
            rule = "be None: no sampler of this buffer has priorities"
            raise Arguments("add").error("priorities", rule, type(priorities).__name__)
        handles = self._native.add(
            fields, terminated, truncated, final_observations, priorities, lanes, patience
        )
        if handles is None:
            rows = self._checked_rows(
                fields, terminated, truncated, final_observations, priorities, lanes
            )
            handles = self._native.add(*rows, patience)
        return handles  # type: ignore[no-any-return]

    def _checked_rows(self, *given: Any) -> tuple[Any, ...]:
        """Arguments of `add` as the native side takes them: arrays of each field's dtype."""
        next_step = self._options["next_step_autoreset"]
        return check_rows(self._leaves, self.num_lanes, next_step, *given)

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
        batch = batch_of(values, output)
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
