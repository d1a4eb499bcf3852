"""Levels and contexts from outside, for curricula."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastrl._dispatch import Arguments
from fastrl.envs.snapshot import Snapshot, check_snapshot
from fastrl.envs.vocabulary import check_string
from fastrl.envs.wrappers import check_contexts, check_weights


class Levels:
    """The part of `VectorEnv` that says what later episodes begin with."""

    _native: Any

    def levels(self, n: int, seed: int) -> Snapshot:
        """`n` levels of the environment's own, each the beginning of an episode.

        A function of the options, `seed` and the level's index alone; the batch does not change.
        """
        arguments = Arguments("levels")
        count = arguments.integer("n", n, low=0, high=2**40)
        number = arguments.integer("seed", seed, low=0, high=2**64 - 1)
        return Snapshot(self._native.make_levels(count, number))

    def parse_levels(self, texts: Sequence[str]) -> Snapshot:
        """Levels drawn by hand, where an environment reads such; errors say what is wrong."""
        if isinstance(texts, str) or not isinstance(texts, Sequence):
            kind = type(texts).__name__
            raise Arguments("parse_levels").error("texts", "be a list", kind, kind=TypeError)
        for i, text in enumerate(texts):
            check_string("parse_levels", f"texts[{i}]", text)
        return Snapshot(self._native.parse_levels(list(texts)))

    def set_levels(
        self,
        levels: Snapshot | Sequence[str] | None,
        weights: Sequence[float] | npt.NDArray[np.floating] | None = None,
    ) -> None:
        """From now on each reset begins with one of these; running episodes go on.

        Any running state can be a level, also one from the middle of an episode: its step count and
        return begin at 0. From the first call on, info "level" is the index of each environment's
        level, -1 where the episode has none of these. Members of a group share their level.

        Args:
            levels: L states of this environment and options, or texts for `parse_levels`. None goes
                back to the environment's own.
            weights: [L], in proportion to which levels are drawn; evenly if None.
        """
        arguments = Arguments("set_levels")
        if levels is None:
            if weights is not None:
                raise arguments.error("weights", "be None without `levels`", weights)
            self._native.set_levels(None, [])
            return
        if not isinstance(levels, Snapshot) and isinstance(levels, Sequence):
            levels = self.parse_levels(levels)
        check_snapshot("set_levels", "levels", levels)
        if len(levels) == 0:
            raise arguments.error("levels", "hold at least one level", "none")
        chances = (
            []
            if weights is None
            else check_weights(arguments, "weights", weights, "L", len(levels))
        )
        self._native.set_levels(levels._native, chances)
        self._renew_outputs()

    def set_contexts(
        self,
        contexts: Mapping[str, Sequence[Any]],
        context_selector: str | Sequence[float] = "round_robin",
    ) -> None:
        """Replaces the contexts that `make_vec` was given; all environments must be reset then.

        Snapshots from before are refused from now on. Args are those of `make_vec`; where contexts
        are observed, as many options must vary as before.
        """
        arguments = Arguments("set_contexts")
        self._native.set_contexts(
            check_contexts(arguments, contexts, context_selector, self._native.observes_context)
        )

    def _renew_outputs(self) -> None:
        raise NotImplementedError
