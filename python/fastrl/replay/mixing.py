"""Batches of several buffers, each with its exact share."""

import os
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from fastrl._dispatch import Arguments, Array, address
from fastrl.replay.arguments import (
    MAX_DRAWS,
    as_integers,
    as_numpy,
    check_function,
    check_handles,
    checked_array,
    converted,
)
from fastrl.replay.batch import OUTPUTS, Batch
from fastrl.replay.buffer import Relabel, ReplayBuffer
from fastrl.replay.joined_batches import check_joinable, concatenated, pinned
from fastrl.replay.joint_saving import JointSaver
from fastrl.replay.limiter import check_timeout
from fastrl.replay.mix_saving import MixSaves
from fastrl.replay.samplers import Marked, Uniform
from fastrl.replay.saving import Stateful
from fastrl.replay.shares import Shares
from fastrl.replay.single_steps import like


class MixReplay(MixSaves):
    """Draws batches of which each buffer has its exact share.

    Counts are rounded by the largest remainder, and what is rounded away is carried to the next
    batch: shares of 0.5 of 25 items are 13 and 12, then 12 and 13. Half of prior data and half of
    new is "Efficient Online Reinforcement Learning with Offline Data" (Ball et al., 2023).

    A batch has the items of one source after those of the other, and two things of its own:
    "sources", [n] int64, which of `names` an item came from, and "probabilities", which are those
    of the mixture, n_s / n · P_s.

    Args:
        sources: Buffers by name, with the same fields.
        shares: Of the same names, in proportion to numbers that are at least 0; else equal ones.
        joint_exponent: None: importance weights are those that each source gave. A number: they are
            (N · n_s / n · P_s)^−joint_exponent with N the drawable transitions of all sources,
            divided by the largest of the batch: as if all were one buffer.
        skip_empty: A source that has nothing to draw is left out of the batch, and the others have
            its items in proportion to their shares; else it is an error.
        samplers: Which sampler draws from a source, by name of the source, else the buffer's first.
            One buffer may be several sources, with different samplers.

    Example:
        >>> import numpy as np
        >>> from fastrl.replay import MixReplay, ReplayBuffer
        >>> fields = {"observations": ((2,), "float32"), "rewards": ((), "float32")}
        >>> buffers = {name: ReplayBuffer(50, fields) for name in ("online", "offline")}
        >>> for buffer in buffers.values():
        ...     for step in range(10):
        ...         handles = buffer.add(
        ...             observations=np.zeros((1, 2)), rewards=np.zeros(1),
        ...             terminated=np.zeros(1, bool), truncated=np.zeros(1, bool),
        ...         )
        >>> mix = MixReplay(buffers, {"online": 0.25, "offline": 0.75})
        >>> np.bincount(mix.sample(16).sources).tolist()
        [4, 12]
    """

    def __init__(
        self,
        sources: Mapping[str, ReplayBuffer],
        shares: Mapping[str, float] | None = None,
        *,
        joint_exponent: float | None = None,
        skip_empty: bool = False,
        samplers: Mapping[str, str] | None = None,
    ) -> None:
        arguments = Arguments("MixReplay")
        if not isinstance(sources, Mapping) or not sources:
            actual = "{}" if isinstance(sources, Mapping) else type(sources).__name__
            raise arguments.error("sources", "be a dict of buffers, at least one", actual)
        given_buffers: Mapping[str, Any] = sources
        for name, buffer in given_buffers.items():
            if not isinstance(buffer, ReplayBuffer):
                actual = type(buffer).__name__
                rule = "be a ReplayBuffer"
                raise arguments.error(f"sources[{name!r}]", rule, actual, kind=TypeError)
        self._sources = dict(sources)
        first = next(iter(self._sources.values())).field_names
        for name, buffer in self._sources.items():
            if set(buffer.field_names) != set(first):
                rule = f"have the fields of the first, {sorted(first)}"
                names = sorted(buffer.field_names)
                raise arguments.error(f"sources[{name!r}]", rule, names)
            check_joinable(arguments, name, next(iter(self._sources.values())), buffer)
        given: Any = dict.fromkeys(self._sources, 1.0) if shares is None else shares
        if not isinstance(given, Mapping) or set(given) != set(self._sources):
            shown = list(given) if isinstance(given, Mapping) else type(given).__name__
            raise arguments.error("shares", f"be a dict of {list(self._sources)}", shown)
        numbers = [
            arguments.number(f"shares[{name!r}]", given[name], low=0) for name in self._sources
        ]
        if not any(numbers):
            raise arguments.error("shares", "not all be 0", numbers)
        self._samplers = self._check_samplers(arguments, "samplers", samplers)
        self._numbers = numbers
        self._shares = Shares(numbers)
        self._present = list(range(len(numbers)))  # those that the shares are of
        self._skip_empty = arguments.flag("skip_empty", skip_empty)
        self._proportions = [number / sum(numbers) for number in numbers]
        self._joint_exponent = (
            None
            if joint_exponent is None
            else arguments.number("joint_exponent", joint_exponent, low=0)
        )
        self._saver = JointSaver()

    @property
    def names(self) -> list[str]:
        """Of the sources, as the numbers of "sources" mean them."""
        return list(self._sources)

    @property
    def sources(self) -> dict[str, ReplayBuffer]:
        """By name."""
        return dict(self._sources)

    @property
    def shares(self) -> dict[str, float]:
        """By name; their sum is 1."""
        return dict(zip(self._sources, self._proportions, strict=True))

    @property
    def num_drawable(self) -> int:
        """Transitions of all sources that can be drawn."""
        return sum(buffer.num_drawable for buffer in self._sources.values())

    @property
    def carried(self) -> list[float]:
        """Items that each source is to get beyond its share of the next batch, sum 0.

        Assign what was read earlier to go on from there, after sources were restored.
        """
        carried = [0.0] * len(self._sources)
        for i, one in zip(self._present, self._shares.carried, strict=True):
            carried[i] = one / self._shares.whole
        return carried

    @carried.setter
    def carried(self, values: Sequence[float]) -> None:
        arguments = Arguments("carried")
        listed = checked_array(arguments, "values", values)
        if listed.ndim != 1:
            raise arguments.error("values", "have shape [S]", list(listed.shape))
        given = [arguments.number("values", value) for value in listed]
        if len(given) != len(self._sources):
            raise arguments.error("values", f"be {len(self._sources)} numbers", len(given))
        if self._skip_empty and (present := self._drawable_sources(self._samplers)):
            self._share_among(present)
        whole = [round(Fraction(given[i]) * self._shares.whole) for i in self._present]
        whole[-1] -= sum(whole)
        self._shares.carried = whole

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        storage: str | os.PathLike[str] = "memory",
        extras: Mapping[str, Stateful] | None = None,
    ) -> "MixReplay":
        """The mix that was saved, its sources included, exactly; see `ReplayBuffer.load`.

        Args:
            path: The folder.
            storage: As of `ReplayBuffer`; names of files and shared memory get ".NAME" behind them.
            extras: As of `ReplayBuffer.load`.
        """
        loaded = JointSaver.load(path, cls._kind, storage, extras)
        about, names = loaded.about, list(loaded.buffers)
        samplers = zip(names, about["samplers"], strict=True)
        made = cls(
            loaded.buffers,
            dict(zip(names, about["shares"], strict=True)),
            joint_exponent=about["joint_exponent"],
            skip_empty=about["skip_empty"],
            samplers={name: one for name, one in samplers if one is not None},
        )
        made.load_state_dict(about["state"])
        made._saver = loaded.saver
        return made

    def __len__(self) -> int:
        """Rows that all sources hold."""
        return sum(len(buffer) for buffer in self._sources.values())

    def __repr__(self) -> str:
        parts = (f"{name}: {share:g}" for name, share in self.shares.items())
        return f"MixReplay({', '.join(parts)})"

    def sample(
        self,
        n: int,
        *,
        sampler: str | Mapping[str, str] | None = None,
        importance_exponent: float | None = None,
        relabel: Relabel | Mapping[str, Relabel] | None = None,
        output: str = "numpy",
        timeout: float | None = None,
    ) -> Batch:
        """Draw n transitions, each source's share of them; a relabel may make these more.

        Args:
            n: How many.
            sampler: Of the sources: one name, or a dict of some sources'; else `samplers`.
            importance_exponent: Instead of the samplers' own.
            relabel: For all sources, or a dict of some sources'; each sees its own source.
            output: As of `ReplayBuffer.sample`.
            timeout: Of each source. Where one is over, what was drawn from those before is lost.
        """
        arguments = Arguments("sample")
        n = arguments.integer("n", n, low=1, high=MAX_DRAWS)
        arguments.choice("output", output, OUTPUTS)
        check_timeout(arguments, timeout)
        if importance_exponent is not None:
            arguments.number("importance_exponent", importance_exponent, low=0)
        relabels = self._by_source(arguments, "relabel", relabel)
        for name, one in relabels.items():
            check_function(arguments, f"relabel[{name!r}]", one, optional=True)
        names = self.names
        own = [
            self._samplers[i] if one is None else one
            for i, one in enumerate(self._sampler_names(arguments, sampler))
        ]
        if self._skip_empty:
            present = self._drawable_sources(own)
            if not present:
                rule = "have transitions that can be drawn, at least one"
                raise arguments.error("sources", rule, "none")
            self._share_among(present)
        counts, carried = self._shares.next(n)
        for i, count in zip(self._present, counts, strict=True):
            source = self._sources[names[i]]
            if count and source.limiter is None and source.num_drawable_by(own[i]) == 0:
                rule = "have transitions that can be drawn"
                raise arguments.error(f"sources[{names[i]!r}]", rule, "none")
        drawn: list[tuple[int, int, Batch]] = []
        for i, count in zip(self._present, counts, strict=True):
            name = names[i]
            if count:
                batch = self._sources[name].sample(
                    count,
                    sampler=own[i],
                    importance_exponent=importance_exponent,
                    relabel=relabels[name],
                    output="numpy" if output == "numpy" else "torch",
                    timeout=timeout,
                )
                drawn.append((i, count, batch))
        self._shares.carried = carried
        return self._joined(drawn, n, output)

    def _check_samplers(self, arguments: Arguments, argument: str, given: Any) -> list[str | None]:
        if given is not None and not isinstance(given, Mapping):
            rule = f"be a dict of some of {self.names}"
            raise arguments.error(argument, rule, type(given).__name__)
        named = self._by_source(arguments, argument, given)
        for name, sampler in named.items():
            if sampler is not None:
                known = list(self._sources[name].samplers)
                arguments.choice(f"{argument}[{name!r}]", sampler, known)
        return list(named.values())

    def _by_source(self, arguments: Arguments, argument: str, given: Any) -> dict[str, Any]:
        """What is for all sources, or a dict of what is for some, by name."""
        if not isinstance(given, Mapping):
            return dict.fromkeys(self._sources, given)
        if not set(given) <= set(self._sources):
            raise arguments.error(argument, f"be a dict of some of {self.names}", list(given))
        return {name: given.get(name) for name in self._sources}

    def _sampler_names(self, arguments: Arguments, given: Any) -> list[str | None]:
        """The samplers that a call names, which all of their sources have."""
        named = self._by_source(arguments, "sampler", given)
        for name, one in named.items():
            known = self._sources[name].samplers
            if one is not None and not (isinstance(one, str) and one in known):
                rule = f"be a sampler of source {name!r}, one of {list(known)}"
                raise arguments.error("sampler", rule, repr(one))
        return list(named.values())

    def _drawable_sources(self, samplers: Sequence[str | None]) -> list[int]:
        sources = list(self._sources.values())
        return [
            i
            for i, number in enumerate(self._numbers)
            if number and sources[i].num_drawable_by(samplers[i]) > 0
        ]

    def _share_among(self, present: list[int]) -> None:
        """Shares of those that have something; with others than before, nothing is carried."""
        if present != self._present:
            self._shares = Shares([self._numbers[i] for i in present])
            self._present = present

    def _joined(self, drawn: list[tuple[int, int, Batch]], n: int, output: str) -> Batch:
        batches = [batch for _, _, batch in drawn]
        values = {name: concatenated([b[name] for b in batches]) for name in batches[0]}
        sizes = [len(batch) for batch in batches]
        factors = np.repeat([count / n for _, count, _ in drawn], sizes)
        probabilities = as_numpy(values["probabilities"]) * factors
        if self._joint_exponent is not None:
            weights = (self.num_drawable * probabilities) ** -self._joint_exponent
            joint = (weights / weights.max()).astype(np.float32)
            values["importance_weights"] = like(values["importance_weights"], joint)
        values["probabilities"] = like(values["probabilities"], probabilities)
        sources = np.repeat(np.array([i for i, _, _ in drawn], np.int64), sizes)
        values["sources"] = like(values["probabilities"], sources)
        return Batch.of(pinned(values) if output == "pinned" else values)

    def update_priorities(
        self,
        handles: Array,
        priorities: Array,
        sources: Array,
        *,
        sampler: str | Mapping[str, str] | None = None,
    ) -> int:
        """Give transitions new priorities, each in the buffer that it came from.

        Args:
            handles: Of a batch, [n] uint64.
            priorities: [n], finite and at least 0.
            sources: Of the batch, [n] integers.
            sampler: Whose priorities they are: one name, or a dict of some sources'; else of the
                sampler that the source is drawn by, or of its buffer's first, whichever has
                priorities. Sources without any (`Uniform`, `Marked`) are passed over.

        Returns:
            How many were applied; each buffer counts those that it refused.
        """
        arguments = Arguments("update_priorities")
        chosen = check_handles(arguments, handles)
        n = len(chosen)
        values = converted(arguments, "priorities", priorities, (n,), (), np.float64, ("n",))
        if not (np.isfinite(values) & (values >= 0)).all():
            wrong = values[~(np.isfinite(values) & (values >= 0))][0]
            raise arguments.error("priorities", "be finite and at least 0", wrong)
        which = as_integers(arguments, "sources", checked_array(arguments, "sources", sources))
        if which.shape != (n,):
            raise arguments.error("sources", f"have shape [n] = [{n}]", list(which.shape))
        if n and (which.min() < 0 or which.max() >= len(self._sources)):
            wrong = which[(which < 0) | (which >= len(self._sources))][0]
            raise arguments.error("sources", f"be from 0 to {len(self._sources) - 1}", wrong)
        named = self._sampler_names(arguments, sampler)
        valued = [self._valued(i, one) for i, one in enumerate(named)]
        places = [np.flatnonzero(which == i) for i in range(len(self._sources))]
        # All of them before the first buffer is written to.
        for mine, (name, buffer) in zip(places, self._sources.items(), strict=True):
            own_handles = chosen[mine]
            wrong = buffer._native.first_foreign(address(own_handles), len(mine))
            if wrong < len(mine):
                rule = f"be handles of rows of the source that they name, {name!r}"
                raise arguments.error("handles", rule, f"{own_handles[wrong]} at {mine[wrong]}")
        applied = 0
        for mine, own, buffer in zip(places, valued, self._sources.values(), strict=True):
            if own is not None and len(mine):
                applied += buffer.update_priorities(chosen[mine], values[mine], sampler=own)
        return applied

    def _valued(self, i: int, given: str | None) -> str | None:
        """The sampler of source i that takes priorities, None where there is none."""
        samplers = self._sources[self.names[i]].samplers
        choices = (given,) if given is not None else (self._samplers[i], next(iter(samplers)))
        return next(
            (
                one
                for one in choices
                if one is not None and not isinstance(samplers[one], Uniform | Marked)
            ),
            None,
        )
