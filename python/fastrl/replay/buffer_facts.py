"""What a buffer says of itself: its options, what it holds, and what it has counted."""

from pathlib import Path
from typing import Any

from fastrl._dispatch import Arguments
from fastrl.replay import samplers as sampling
from fastrl.replay.arguments import FILE, check_names
from fastrl.replay.batch import Rings
from fastrl.replay.buffer_layout import BufferLayout
from fastrl.replay.limiter import SamplesPerInsert, limiter_of
from fastrl.replay.samplers import Sampler


class BufferFacts:
    """The part of `ReplayBuffer` that answers questions about the whole."""

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
