"""The batch of native environments that training loops step."""

import secrets
import threading
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium.vector.utils import batch_space

from fastrl import _core
from fastrl._dispatch import Arguments, address
from fastrl.envs.arguments import Ids, Seed, check_ids, check_mask, check_reset_options, check_seed
from fastrl.envs.outputs import Outputs
from fastrl.envs.snapshot import Snapshot, check_snapshot
from fastrl.envs.vocabulary import VOCABULARY

RNG_MODES = ("restore", "keep", "fork")


class VectorEnv(gymnasium.vector.VectorEnv[Any, Any, Any]):
    """B native environments of one kind; made by `make_vec`.

    Observations are int32 tokens [B, O], padded with 0; `observation_lengths` says how many count.
    Actions are integers [B]; -1 is a malformed action, which moves nothing and costs the turn.
    Infos have "action_valid" and "success", each with Gymnasium's "_" mask. Returned arrays belong
    to the caller: they are never written again while somebody holds them.

    Attributes:
        num_actions: A; actions are 0, …, A − 1, or -1.
        action_names: [A] words, as `parse_actions` reads them.
        action_tokens: [A] int32, the one token that each action is.
        vocabulary: The spelling of each token.
        max_observation_tokens: O.
        max_episode_steps: Where episodes are truncated.
        group_size: So many neighbors share their levels.

    A batch is used by one thread at a time; a second one gets an error and changes nothing. Numbers
    depend on seeds, actions and calls alone, not on the number of threads.
    """

    def __init__(
        self,
        native: Any,
        name: str,
        num_envs: int,
        group_size: int,
        autoreset_mode: gymnasium.vector.AutoresetMode,
        render_mode: str | None,
    ) -> None:
        self._native = native
        self._name = name
        self._lock = threading.Lock()
        self.num_envs = num_envs
        self.group_size = group_size
        self.render_mode = render_mode
        self.metadata = {"autoreset_mode": autoreset_mode, "render_modes": ["ansi"]}
        self.max_observation_tokens: int = native.max_observation_tokens
        self.max_episode_steps: int = native.max_episode_steps
        self.action_names: list[str] = native.action_names
        self.num_actions = len(self.action_names)
        self.action_tokens = np.array(native.action_tokens, np.int32)
        self.vocabulary = list(VOCABULARY)
        self.single_observation_space = gymnasium.spaces.MultiDiscrete(
            np.full(self.max_observation_tokens, len(VOCABULARY), np.int32), dtype=np.int32
        )
        self.single_action_space = gymnasium.spaces.Discrete(self.num_actions)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

        self._all_ids = np.arange(num_envs, dtype=np.int64)
        self._actions = np.zeros(num_envs, np.int64)
        self._active = np.zeros(num_envs, np.bool_)
        same_step = autoreset_mode == gymnasium.vector.AutoresetMode.SAME_STEP
        self._final_observations = (
            np.zeros((num_envs, self.max_observation_tokens), np.int32) if same_step else None
        )
        self._ring: list[Outputs] = []
        self._observation_lengths = np.zeros(num_envs, np.int32)
        self._np_random_seed = secrets.randbits(63)
        native.seed(self._np_random_seed, 0)

    def __repr__(self) -> str:
        return f"{self._name}(num_envs={self.num_envs}, {self._native.options})"

    # --- Gymnasium ----------------------------------------------------------------------------

    def reset(
        self,
        *,
        seed: Seed = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[npt.NDArray[np.int32], dict[str, Any]]:
        """Starts new episodes, in all environments or where ``options["reset_mask"]`` is set.

        Args:
            seed: An integer gives every environment a stream of its own and every group a level
                sequence of its own. A list names a seed for each environment, wherever it stands
                in the batch (a group takes its level from its first member); None in it leaves an
                environment's streams as they are. None leaves all.
            options: ``{"reset_mask": [B] bool}``, or nothing.

        Returns:
            The observations [B, O] of all environments and an empty dict.
        """
        arguments = Arguments("reset")
        mask = check_reset_options(arguments, options, self.num_envs)
        seeds = check_seed(arguments, seed, mask, self.num_envs)
        with self._exclusive("reset"):
            if isinstance(seeds, int):
                self._native.seed(seeds, address(mask))
                self._np_random_seed = seeds
            elif seeds is not None:
                self._native.seed_each(address(seeds[0]), address(seeds[1]))
            outputs = self._next_outputs()
            observations, self._observation_lengths = outputs.arrays[:2]
            self._native.reset(
                address(mask), address(observations), address(self._observation_lengths)
            )
        return observations, {}

    def step(
        self, actions: Any, active: npt.NDArray[np.bool_] | None = None
    ) -> tuple[
        npt.NDArray[np.int32],
        npt.NDArray[np.float64],
        npt.NDArray[np.bool_],
        npt.NDArray[np.bool_],
        dict[str, Any],
    ]:
        """One action in every environment, or in those that are `active`.

        Args:
            actions: [B] integers from -1 (malformed) to `num_actions` - 1.
            active: [B] bool. The others keep their state and observation, with reward 0 and flags
                False; their actions are not read.

        Returns:
            Observations [B, O], rewards [B] float64, terminated and truncated [B] bool, and infos:
            "action_valid" and "success" with masks, in "same_step" mode "final_obs" and
            "final_info" of the episodes that ended.
        """
        given = np.asarray(actions)
        if given.dtype.kind not in "iu" or given.shape != self._actions.shape:
            raise self._action_error(given)
        if active is not None:
            check_mask(Arguments("step"), "active", active, self.num_envs)
        if given.dtype == np.uint64:
            self._check_unsigned(given, active)
        if not self._lock.acquire(blocking=False):
            raise _busy("step")
        try:
            self._actions[:] = given
            if active is not None:
                self._active[:] = active
            outputs = self._next_outputs()
            num_ended = self._native.step(outputs.buffers, active is None)
            (
                observations,
                self._observation_lengths,
                rewards,
                terminated,
                truncated,
                action_valid,
                success,
                stepped,
            ) = outputs.arrays
            infos: dict[str, Any] = {}
            if num_ended:
                ended = terminated | truncated
                infos = self._final_infos(ended, action_valid, success)
                stepped &= ~ended
            infos["action_valid"] = action_valid
            infos["_action_valid"] = stepped
            infos["success"] = success
            infos["_success"] = stepped
        finally:
            self._lock.release()
        return observations, rewards, terminated, truncated, infos

    def render(self) -> tuple[str, ...] | None:
        """All environments as texts if made with ``render_mode="ansi"``, else None."""
        return tuple(self.render_text()) if self.render_mode == "ansi" else None

    # --- Text ---------------------------------------------------------------------------------

    @property
    def observation_lengths(self) -> npt.NDArray[np.int32]:
        """[B] int32: how many tokens of each observation count, as of the last reset or step."""
        return self._observation_lengths

    def observe(self, ids: Ids = None) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Observations [n, O] and lengths [n] of the present states, as after a `restore`."""
        return self._observe("observe", ids, whole=False)

    def render_text(self, ids: Ids = None) -> list[str]:
        """All there is to see of each environment, whatever the form of the observations."""
        tokens, lengths = self._observe("render_text", ids, whole=True)
        texts: list[str] = _core.detokenize_rows(
            address(tokens), address(lengths), *map(int, tokens.shape)
        )
        return texts

    def parse_actions(
        self, texts: Sequence[str] | npt.NDArray[np.str_]
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
        """The actions that texts name, and which of them name one.

        Actions are whole words, in any case. The last complete ``<answer>…</answer>`` counts and in
        it the first action; a text without one counts by its last action. -1 where there is none.
        """
        given = texts.tolist() if isinstance(texts, np.ndarray) else texts
        if (
            not isinstance(given, Sequence)
            or isinstance(given, str | bytes)
            or not all(isinstance(text, str) for text in given)
        ):
            raise Arguments("parse_actions").error(
                "texts", "be a sequence of strings", type(texts).__name__, kind=TypeError
            )
        actions = np.empty(len(given), np.int32)
        # A lone surrogate separates words, like all that is not ASCII, but has no UTF-8.
        encodable = [
            text if text.isascii() else text.encode("utf-8", "replace").decode() for text in given
        ]
        self._native.parse_actions(encodable, address(actions))
        return actions, actions >= 0

    def parse_action_tokens(
        self, tokens: npt.NDArray[np.int32], lengths: npt.NDArray[np.int32]
    ) -> npt.NDArray[np.int32]:
        """The actions that tokens name: what comes before ``<end>`` is read as its text would be.

        Args:
            tokens: [N, L] int32.
            lengths: [N] int32, how many of each row count.

        Returns:
            [N] int32, -1 where a row names no action.
        """
        arguments = Arguments("parse_action_tokens")
        arguments.array("tokens", tokens, ("N", "L"), ("int32",))
        arguments.array("lengths", lengths, ("N",), ("int32",))
        n, width = tokens.shape
        if n and not (lengths.min() >= 0 and lengths.max() <= width):
            wrong = lengths[(lengths < 0) | (lengths > width)][0]
            raise arguments.error("lengths", f"be from 0 to L = {width}", wrong)
        tokens, lengths = np.ascontiguousarray(tokens), np.ascontiguousarray(lengths)
        actions = np.empty(n, np.int32)
        self._native.parse_action_tokens(
            address(tokens), address(lengths), n, width, address(actions)
        )
        return actions

    # --- Time ---------------------------------------------------------------------------------

    def snapshot(self, ids: Ids = None) -> Snapshot:
        """The states of some environments, or of all, in the order of `ids`."""
        chosen = self._chosen("snapshot", "ids", ids)
        with self._exclusive("snapshot"):
            return Snapshot(self._native.snapshot(address(chosen), chosen.size))

    def restore(self, snapshot: Snapshot, ids: Ids = None, *, rng: str = "restore") -> None:
        """Puts the i-th state into environment ids[i], with its elapsed steps and return.

        `observe` shows the restored observations; nothing is rendered here.

        Args:
            snapshot: Of the same environment and options; the batch may be another.
            ids: [n], each at most once; all if None.
            rng: "restore" makes the future repeat itself, later levels included. "keep" goes on
                with the environment's own random stream, "fork" with a new one that depends on both
                streams and on the place; both keep the environment's own sequence of levels.
        """
        check_snapshot("restore", "snapshot", snapshot)
        mode = RNG_MODES.index(Arguments("restore").choice("rng", rng, RNG_MODES))
        chosen = self._chosen("restore", "ids", ids)
        with self._exclusive("restore"):
            self._native.restore(snapshot._native, address(chosen), chosen.size, mode)

    def branch(self, source_ids: Ids, target_ids: Ids, *, rng: str = "fork") -> None:
        """Copies environments onto others: one source to all targets, or each to its own.

        All sources are read before the first target is written. `rng` is as in `restore`.
        """
        mode = RNG_MODES.index(Arguments("branch").choice("rng", rng, RNG_MODES))
        sources = self._chosen("branch", "source_ids", source_ids)
        targets = self._chosen("branch", "target_ids", target_ids)
        with self._exclusive("branch"):
            self._native.branch(
                address(sources), sources.size, address(targets), targets.size, mode
            )

    def state_hash(self, ids: Ids = None) -> npt.NDArray[np.uint64]:
        """[n] uint64, equal for equal states; random streams and step counts do not matter."""
        chosen = self._chosen("state_hash", "ids", ids)
        hashes = np.empty(chosen.size, np.uint64)
        with self._exclusive("state_hash"):
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
        solutions = np.empty((len(snapshot), 2), np.int32)
        with self._exclusive("solve"):
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

    # --- Inside -------------------------------------------------------------------------------

    def _exclusive(self, function: str) -> "_Exclusive":
        return _Exclusive(self._lock, function)

    def _next_outputs(self) -> Outputs:
        for outputs in self._ring:
            if outputs.is_free():
                break
        else:
            outputs = Outputs(
                self.num_envs,
                self.max_observation_tokens,
                self._actions,
                self._active,
                self._final_observations,
            )
            # A caller that keeps a whole rollout keeps its arrays; the ring need not.
            self._ring = [*self._ring[-3:], outputs]
        return outputs

    def _final_infos(
        self,
        ended: npt.NDArray[np.bool_],
        action_valid: npt.NDArray[np.bool_],
        success: npt.NDArray[np.bool_],
    ) -> dict[str, Any]:
        """Moves what the ended episodes have to say to where Gymnasium wants it."""
        assert self._final_observations is not None
        final_obs = np.full(self.num_envs, None, object)
        for i in np.flatnonzero(ended):
            final_obs[i] = self._final_observations[i].copy()
        final_info = {
            "action_valid": action_valid & ended,
            "_action_valid": ended.copy(),
            "success": success & ended,
            "_success": ended.copy(),
        }
        action_valid &= ~ended
        success &= ~ended
        return {
            "final_obs": final_obs,
            "_final_obs": ended.copy(),
            "final_info": final_info,
            "_final_info": ended.copy(),
        }

    def _observe(
        self, function: str, ids: Ids, *, whole: bool
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        chosen = self._chosen(function, "ids", ids)
        native = self._native
        width = native.whole_observation_tokens if whole else self.max_observation_tokens
        tokens = np.empty((chosen.size, width), np.int32)
        lengths = np.empty(chosen.size, np.int32)
        with self._exclusive(function):
            native.observe(address(chosen), chosen.size, whole, address(tokens), address(lengths))
        return tokens, lengths

    def _episodes(self) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float64]]:
        elapsed = np.empty(self.num_envs, np.int32)
        returns = np.empty(self.num_envs, np.float64)
        with self._exclusive("episodes"):
            self._native.episodes(address(elapsed), address(returns))
        return elapsed, returns

    def _chosen(self, function: str, argument: str, ids: Ids) -> npt.NDArray[np.int64]:
        return self._all_ids if ids is None else check_ids(function, argument, ids)

    def _check_unsigned(
        self, given: npt.NDArray[np.uint64], active: npt.NDArray[np.bool_] | None
    ) -> None:
        """As int64 these would be negative, and 2⁶⁴ − 1 a malformed action."""
        wrong = given > np.iinfo(np.int64).max
        if active is not None:
            wrong &= active
        if wrong.any():
            i = int(np.argmax(wrong))
            raise Arguments("step").error(
                "actions",
                f"be from -1 to {self.num_actions - 1}",
                f"{given[i]} for environment {i}",
            )

    def _action_error(self, given: npt.NDArray[Any]) -> Exception:
        error = Arguments("step").error
        if given.dtype.kind not in "iu":
            return error("actions", "hold integers", given.dtype, kind=TypeError)
        return error("actions", f"have shape [B] = [{self.num_envs}]", list(given.shape))


class _Exclusive:
    """Holds a batch for one call; a second thread is refused, it does not wait."""

    __slots__ = ("_function", "_lock")

    def __init__(self, lock: threading.Lock, function: str) -> None:
        self._lock = lock
        self._function = function

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            raise _busy(self._function)

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def _busy(function: str) -> RuntimeError:
    return RuntimeError(f"{function}: another thread is using this environment")
