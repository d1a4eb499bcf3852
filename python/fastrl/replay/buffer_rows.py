"""What handles and rows of a buffer name: transitions, where they lie, and their priorities."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastrl._dispatch import Arguments, Array, address
from fastrl.replay import samplers as sampling
from fastrl.replay.arguments import check_handles, check_integers, converted, put
from fastrl.replay.batch import Batch, batch_of, check_output, make_ring
from fastrl.replay.buffer_facts import BufferFacts
from fastrl.replay.episodes import Places, places_of
from fastrl.replay.eviction import chosen_handles


class BufferRows(BufferFacts):
    """The part of `ReplayBuffer` that is asked about some of its rows."""

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
        return batch_of(values, output)

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
        chosen = check_integers(arguments, "lanes", lanes, "n")
        numbers = check_integers(arguments, "rows", rows, "n")
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
        n = len(chosen)
        values = converted(arguments, "priorities", priorities, (n,), (), np.float64, ("n",))
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

    def _ring(self, arguments: Arguments, n: int, output: str) -> Any:
        check_output(arguments, output, self._leaves)
        return self._rings.at((n, output), lambda: make_ring(self._leaves, n, output, self.n_step))
