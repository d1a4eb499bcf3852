"""Batches that are drawn while the learner learns."""

import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from fastrl import _core
from fastrl._dispatch import Arguments
from fastrl.replay.batch import Batch
from fastrl.replay.buffer import ReplayBuffer
from fastrl.replay.mixing import MixReplay

# What a closed one may still wait for: a limiter is asked again so often.
_SLICE = 0.1


class _Line:
    """Batches on their way from the thread that draws to the one that learns.

    The thread knows this alone, not the Prefetcher, so that one that is dropped is closed.
    """

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.ready: deque[Any] = deque()
        self.error: BaseException | None = None
        self.is_closed = False
        self.changed = threading.Condition()

    def put(self, batch: Any) -> None:
        """Waits for room."""
        with self.changed:
            if self.is_closed:
                return
            self.ready.append(batch)
            self.changed.notify_all()
            self.changed.wait_for(lambda: self.is_closed or len(self.ready) < self.depth)

    def close(self) -> None:
        with self.changed:
            self.is_closed = True
            self.ready.clear()
            self.changed.notify_all()


def _draw_ahead(line: _Line, draw: Callable[[], Any]) -> None:
    try:
        while not line.is_closed:
            try:
                batch = draw()
            except _core.LimiterTimeout:
                continue
            line.put(batch)
            del batch  # or its arrays could not be written again
    except BaseException as error:
        with line.changed:
            line.error = error
            line.changed.notify_all()


def _stop(line: _Line, thread: threading.Thread) -> None:
    line.close()
    if thread is not threading.current_thread():
        thread.join()


class Prefetcher:
    """Draws batches ahead, in a thread of its own, and hands them out in the order of the draws.

    While the learner works on a batch the next ones are drawn: alone, they are the same that
    `sample` would have returned. Priorities that are given meanwhile count for later draws, and
    those that come after their rows were overwritten are refused, as always. `relabel` is called in
    that thread.

    What a draw raises is raised by `next` after all batches before it, and ends the prefetching.
    Close it, leave its `with` block or drop it: then the thread ends, also where it waits for a
    limiter, and at the latest when the interpreter exits. A forked child cannot use it.

    Args:
        source: A `ReplayBuffer` or `MixReplay`.
        n: Of each batch.
        depth: Batches that may be waiting, at least 1; one more is being drawn.
        **options: Of the source's `sample`, but `timeout`; with `length` those of
            `sample_sequences`.

    Example:
        >>> import numpy as np
        >>> from fastrl.replay import Prefetcher, ReplayBuffer
        >>> buffer = ReplayBuffer(50, {"observations": ((2,), "float32")})
        >>> flags = np.zeros((10, 1), bool)
        >>> handles = buffer.add(
        ...     observations=np.zeros((10, 1, 2)), terminated=flags, truncated=flags
        ... )
        >>> with Prefetcher(buffer, 4, depth=3) as batches:
        ...     batch = next(batches)
        >>> len(batch)
        4
    """

    def __init__(
        self, source: ReplayBuffer | MixReplay, n: int, *, depth: int = 2, **options: Any
    ) -> None:
        arguments = Arguments("Prefetcher")
        given: Any = source
        if not isinstance(given, ReplayBuffer | MixReplay):
            rule = "be a ReplayBuffer or a MixReplay"
            raise arguments.error("source", rule, type(given).__name__, kind=TypeError)
        n = arguments.integer("n", n, low=1)
        depth = arguments.integer("depth", depth, low=1)
        if "timeout" in options:
            raise arguments.error("options", "not have a timeout", options["timeout"])
        if "length" in options and not isinstance(given, ReplayBuffer):
            rule = "be a ReplayBuffer, for sequences"
            raise arguments.error("source", rule, type(given).__name__, kind=TypeError)
        sample = getattr(given, "sample_sequences" if "length" in options else "sample")
        self._line = _Line(depth)
        self._process = os.getpid()
        self._num_waits = 0
        thread = threading.Thread(
            target=_draw_ahead,
            args=(self._line, lambda: sample(n, timeout=_SLICE, **options)),
            name="fastrl-prefetcher",
            daemon=True,  # the finalizer ends it before the interpreter does
        )
        self._finalizer = weakref.finalize(self, _stop, self._line, thread)
        thread.start()

    @property
    def num_waits(self) -> int:
        """How often `next` found no batch ready."""
        return self._num_waits

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        line = self._line
        if self._process != os.getpid():
            raise RuntimeError("Prefetcher: made before a fork, its thread is not in this process")
        with line.changed:
            if not (line.ready or line.error or line.is_closed):
                self._num_waits += 1
                line.changed.wait_for(lambda: line.ready or line.error or line.is_closed)
            if line.ready:
                batch = line.ready.popleft()
                line.changed.notify_all()
                return batch  # type: ignore[no-any-return]
            if line.error is not None:
                raise line.error
        raise StopIteration

    def close(self) -> None:
        """Ends the thread; batches that are waiting are dropped."""
        if self._process == os.getpid():
            self._finalizer()

    def __enter__(self) -> "Prefetcher":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
