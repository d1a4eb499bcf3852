"""What a batch of environments can do with time: save, restore, branch, rewind."""

from typing import Any

import numpy as np
import numpy.typing as npt

from fastrl._dispatch import Arguments, address
from fastrl.envs.arguments import Ids, check_ids
from fastrl.envs.outputs import addresses, allocate, structured
from fastrl.envs.snapshot import Snapshot, check_snapshot

RNG_MODES = ("restore", "keep", "fork")
_RESTORE = RNG_MODES[0]
_MANY = 2**62  # more steps than anybody can go back


class TimeTravel:
    """The part of `VectorEnv` that looks at states and moves them."""

    _native: Any
    _description: Any
    num_envs: int

    def observe(self, ids: Ids = None) -> Any:
        """Observations [n, …] of the present states, as after a `restore`."""
        return structured(self._description, self._observed(ids)["observations"])

    def snapshot(self, ids: Ids = None) -> Snapshot:
        """The states of some environments, or of all, in the order of `ids`."""
        return Snapshot(self._native.snapshot(self._named("snapshot", "ids", ids)))

    def restore(self, snapshot: Snapshot, ids: Ids = None, *, rng: str = "restore") -> None:
        """Puts the i-th state into environment ids[i], with its elapsed steps and return.

        `observe` shows the restored observations; nothing is rendered here. What was recorded for
        `rewind` is forgotten.

        Args:
            snapshot: Of the same environment and options; the batch may be another.
            ids: [n], each at most once; all if None.
            rng: "restore" makes the future repeat itself, later levels included. "keep" goes on
                with the environment's own random stream, "fork" with a new one that depends on both
                streams and on the place; both keep the environment's own sequence of levels.
        """
        check_snapshot("restore", "snapshot", snapshot)
        mode = _rng_mode("restore", rng)
        self._native.restore(snapshot._native, self._named("restore", "ids", ids), mode)

    def branch(self, source_ids: Ids, target_ids: Ids, *, rng: str = "fork") -> None:
        """Copies environments onto others: one source to all targets, or each to its own.

        All sources are read before the first target is written. `rng` is as in `restore`.
        """
        mode = _rng_mode("branch", rng)
        sources = self._named("branch", "source_ids", source_ids)
        self._native.branch(sources, self._named("branch", "target_ids", target_ids), mode)

    def rewind(self, steps: int, ids: Ids = None, *, rng: str = "restore") -> None:
        """Goes back by `steps` steps in each of `ids`: a copy, whatever the number of steps.

        A reset that happened in a step counts as one; one that was called is not recorded.
        ``make_vec(…, history=K)`` records the last K steps. Everything is checked before the first
        environment moves.

        Args:
            steps: At most what `rewindable_steps` says of each of `ids`.
            ids: [n], each at most once; all if None.
            rng: As in `restore`.
        """
        # After many steps this code is in no cache: the usual arguments call nothing else.
        if type(steps) is not int or not 0 <= steps <= _MANY:
            arguments = Arguments("rewind")
            steps = arguments.integer("steps", steps, low=0)
            if steps > _MANY:
                raise arguments.error("steps", "be at most `history`", steps)
        mode = 0 if rng is _RESTORE else _rng_mode("rewind", rng)
        if ids is not None:
            ids = self._named("rewind", "ids", ids)
        self._native.rewind(steps, ids, mode)

    @property
    def rewindable_steps(self) -> npt.NDArray[np.int32]:
        """[B] int32: how far each environment can be rewound."""
        steps = np.empty(self.num_envs, np.int32)
        self._native.rewindable(address(steps))
        return steps

    def state_hash(self, ids: Ids = None) -> npt.NDArray[np.uint64]:
        """[n] uint64, equal for equal states; random streams and step counts do not matter."""
        chosen = self._chosen("state_hash", "ids", ids)
        hashes = np.empty(chosen.size, np.uint64)
        self._native.state_hash(address(chosen), chosen.size, address(hashes))
        return hashes

    def solve(self, snapshot: Snapshot) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """The fewest actions to success from each state, and the first of them.

        Step limits do not count, and slippery ground is taken to hold.

        Returns:
            Distances [n] int32 (-1 where success is out of reach, -2 where the search gave up) and
            first actions [n] int32 (-1 where there is none).
        """
        check_snapshot("solve", "snapshot", snapshot)
        if not self._native.can_solve:
            raise NotImplementedError(f"solve: {self!r} has no solver")
        solutions = np.empty((len(snapshot), 2), np.int32)
        self._native.solve(snapshot._native, address(solutions))
        return np.ascontiguousarray(solutions[:, 0]), np.ascontiguousarray(solutions[:, 1])

    @property
    def elapsed_steps(self) -> npt.NDArray[np.int32]:
        """[B] int32: the steps of each current episode."""
        return self._episodes()[0]

    @property
    def episode_returns(self) -> npt.NDArray[np.float64]:
        """[B] float64: the rewards of each current episode, summed."""
        return self._episodes()[1]

    def _observed(self, ids: Ids) -> dict[str, Any]:
        chosen = self._chosen("observe", "ids", ids)
        arrays = allocate(self._description, (chosen.size,))
        self._native.observe(address(chosen), chosen.size, addresses(arrays))
        return arrays

    def _episodes(self) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float64]]:
        elapsed = np.empty(self.num_envs, np.int32)
        returns = np.empty(self.num_envs, np.float64)
        self._native.episodes(address(elapsed), address(returns))
        return elapsed, returns

    def _chosen(self, function: str, argument: str, ids: Ids) -> npt.NDArray[np.int64]:
        raise NotImplementedError

    def _named(self, function: str, argument: str, ids: Ids) -> int | npt.NDArray[np.int64] | None:
        """As the native side reads ids in place: None for all, one of them, or [n]."""
        if ids is None or (type(ids) is int and 0 <= ids < self.num_envs):
            return ids
        return check_ids(function, argument, ids)


def _rng_mode(function: str, rng: str) -> int:
    if type(rng) is str and rng in RNG_MODES:
        return RNG_MODES.index(rng)
    return RNG_MODES.index(Arguments(function).choice("rng", rng, RNG_MODES))
