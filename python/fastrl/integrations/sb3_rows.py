"""What fastrl's replay buffers for Stable-Baselines3 share: its calls, and rows behind them."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from stable_baselines3.common import buffers
from stable_baselines3.common.type_aliases import DictReplayBufferSamples, ReplayBufferSamples

from fastrl._dispatch import Arguments
from fastrl.replay import Batch
from fastrl.replay import ReplayBuffer as Rows
from fastrl.replay.samplers import Sampler
from fastrl.replay.saving import SavedState

Observations = npt.NDArray[Any] | dict[str, npt.NDArray[Any]]


class StoredRows(buffers.BaseBuffer):
    """The base of the three classes."""

    is_dict = False
    pos: int
    full: bool

    def _make(
        self,
        buffer_size: int,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        device: Any,
        n_envs: int,
        optimize_memory_usage: bool,
        handle_timeout_termination: bool,
        sampler: Sampler | Mapping[str, Sampler] | None,
        n_steps: int,
        gamma: float,
        storage: Any,
        seed: int | None,
    ) -> None:
        buffers.BaseBuffer.__init__(
            self, buffer_size, observation_space, action_space, device, n_envs=n_envs
        )
        arguments = Arguments(type(self).__name__)
        if isinstance(observation_space, spaces.Dict) != self.is_dict:
            rule = "be a Dict space" if self.is_dict else "not be a Dict space; there is a class"
            raise arguments.error("observation_space", rule, observation_space)
        if optimize_memory_usage:
            rule = "be False: each observation is stored once anyway"
            raise arguments.error("optimize_memory_usage", rule, optimize_memory_usage)
        self.buffer_size = max(buffer_size // n_envs, 1)
        self.optimize_memory_usage = False
        self.handle_timeout_termination = handle_timeout_termination
        self.n_steps = n_steps
        self.last_batch: Batch | None = None
        dtype = buffers.ReplayBuffer._maybe_cast_dtype(action_space.dtype)
        self.buffer = Rows(
            self.buffer_size * n_envs,
            {
                "observations": self._observation_fields(),
                "actions": ((self.action_dim,), dtype),
                "rewards": ((), np.float32),
            },
            num_lanes=n_envs,
            n_step=n_steps,
            gamma=gamma,
            sampler=sampler,
            storage=storage,
            seed=int(np.random.randint(2**31)) if seed is None else seed,  # noqa: NPY002 - SB3 seeds it
        )
        self._next: Observations | None = None  # after the newest step of each environment
        self._open = np.zeros(n_envs, np.bool_)

    def _observation_fields(self) -> Any:
        shapes: Any = self.obs_shape
        space: Any = self.observation_space
        if self.is_dict:
            return {key: (shape, space[key].dtype) for key, shape in shapes.items()}
        return shapes, space.dtype

    def _rows(self, observations: Any, *, copy: bool = False) -> Observations:
        """As they are stored."""
        shapes: Any = self.obs_shape
        space: Any = self.observation_space

        def rows(given: Any, dtype: Any, shape: tuple[int, ...]) -> npt.NDArray[Any]:
            array = np.array(given, dtype) if copy else np.asarray(given, dtype)
            return array.reshape(self.n_envs, *shape)

        if self.is_dict:
            return {
                key: rows(observations[key], space[key].dtype, shape)
                for key, shape in shapes.items()
            }
        return rows(observations, space.dtype, shapes)

    def add(self, obs: Any, next_obs: Any, action: Any, reward: Any, done: Any, infos: Any) -> None:
        """Store a step of each environment.

        Args:
            obs: [n_envs, …], or a dict of these.
            next_obs: What came after it; where the episode ended, its final observation.
            action: [n_envs, …].
            reward: [n_envs].
            done: [n_envs], whether the episode ended.
            infos: [n_envs] dicts; "TimeLimit.truncated" says that it was only cut off.
        """
        # Environments may write to their arrays again.
        rows, successors = self._rows(obs), self._rows(next_obs, copy=True)
        self._cut(self._open & ~self._goes_on(rows))
        done = np.asarray(done).reshape(self.n_envs).astype(np.bool_)
        timeouts = np.zeros(self.n_envs, np.bool_)
        if self.handle_timeout_termination:
            timeouts[:] = [bool(info.get("TimeLimit.truncated", False)) for info in infos]
        self.buffer.add(
            observations=rows,
            actions=np.asarray(action).reshape(self.n_envs, self.action_dim),
            rewards=np.asarray(reward).reshape(self.n_envs),
            terminated=done & ~timeouts,
            truncated=done & timeouts,
            final_observations=successors,
        )
        self._next, self._open = successors, ~done
        self.full = self.full or self.pos + 1 == self.buffer_size
        self.pos = (self.pos + 1) % self.buffer_size

    def _goes_on(self, rows: Observations) -> npt.NDArray[np.bool_]:
        """Whether each observation is what came after the step before."""
        if self._next is None:
            return np.zeros(self.n_envs, np.bool_)
        pairs: list[tuple[Any, Any]] = [(rows, self._next)]
        if isinstance(rows, dict) and isinstance(self._next, dict):
            pairs = [(rows[key], self._next[key]) for key in rows]
        same = np.ones(self.n_envs, np.bool_)
        for one, other in pairs:
            equal = one == other
            if one.dtype.kind == "f":
                equal |= np.isnan(one) & np.isnan(other)
            same &= np.all(np.reshape(equal, (self.n_envs, -1)), axis=1)
        return same

    def _cut(self, which: npt.NDArray[np.bool_]) -> None:
        """Ends open episodes with the observations that came last."""
        if not which.any():
            return
        finals: Any = self._next
        chosen = {key: one[which] for key, one in finals.items()} if self.is_dict else finals[which]
        self.buffer.end_episode(np.flatnonzero(which), chosen)
        self._open &= ~which

    def size(self) -> int:
        """Transitions of each environment, on average."""
        transitions = self.buffer.num_drawable + int(self._open.sum())
        return int(transitions // self.n_envs)

    def reset(self) -> None:
        """Forget all transitions."""
        self._cut(self._open)
        self.buffer.evict(self.buffer.handles())
        self.pos, self.full, self.last_batch = 0, False, None

    def sample(self, batch_size: int, env: Any = None) -> Any:
        """Draw transitions.

        Args:
            batch_size: How many.
            env: A `VecNormalize` that observations and rewards go through.

        Returns:
            SB3's ReplayBufferSamples, or those of dicts. "discounts" are given where n_steps > 1.
        """
        if self.buffer.num_drawable == 0:
            self._cut(self._open)
        batch = self.last_batch = self._drawn(batch_size)
        return self._samples(batch, env)

    def _drawn(self, batch_size: int) -> Batch:
        return self.buffer.sample(batch_size)

    def _samples(self, batch: Batch, env: Any) -> Any:
        kind = DictReplayBufferSamples if self.is_dict else ReplayBufferSamples
        rewards = self._normalize_reward(batch.rewards.reshape(-1, 1), env)
        return kind(
            observations=self._tensors(self._normalize_obs(batch.observations, env)),
            actions=self._tensors(batch.actions),
            next_observations=self._tensors(self._normalize_obs(batch.next_observations, env)),
            dones=self._tensors(batch.terminated.astype(np.float32).reshape(-1, 1)),
            rewards=self._tensors(rewards),
            discounts=self._tensors(batch.discounts.reshape(-1, 1)) if self.n_steps > 1 else None,
        )

    def _tensors(self, arrays: Any) -> Any:
        if isinstance(arrays, dict):
            return {key: self._tensors(array) for key, array in arrays.items()}
        return self.to_torch(arrays, copy=False)

    def _get_samples(self, batch_inds: Any, env: Any = None) -> Any:
        raise NotImplementedError("places do not name transitions: call `sample`")

    def update_priorities(self, priorities: Any, *, sampler: str | None = None) -> int:
        """Give the transitions of the last batch new priorities; returns how many were applied."""
        if self.last_batch is None:
            raise Arguments("update_priorities").error(
                "priorities", "be of a batch", "no batch yet"
            )
        return self.buffer.update_priorities(self.last_batch.handles, priorities, sampler=sampler)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save all transitions, priorities and random numbers; see `fastrl.ReplayBuffer.save`."""
        self.buffer.save(path, extras={"sb3": self})

    def load(self, path: str | os.PathLike[str]) -> None:
        """Go on from what was saved, in memory. It must be of the same spaces and environments."""
        saved = SavedState()
        loaded = Rows.load(path, extras={"sb3": saved})
        mine, others = (
            [(leaf.path, leaf.shape, leaf.dtype) for leaf in one._leaves]
            for one in (self.buffer, loaded)
        )
        if mine != others or loaded.num_lanes != self.n_envs:
            rule = f"hold {self.n_envs} environments' {mine}"
            raise Arguments("load").error(
                "path", rule, f"{loaded.num_lanes} environments' {others}"
            )
        self.buffer = loaded
        self.load_state_dict(saved.state)
        self.buffer_size = self.buffer.capacity // self.n_envs
        self.n_steps = self.buffer.n_step
        self.last_batch = None

    def state_dict(self) -> dict[str, Any]:
        """What is not in the rows."""
        return {"pos": self.pos, "full": self.full, "open": self._open, "next": self._next}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where `state_dict` was taken."""
        self.pos, self.full = state["pos"], state["full"]
        self._open, self._next = state["open"], state["next"]

    def __getstate__(self) -> dict[str, Any]:
        raise TypeError(
            f"{type(self).__name__}: cannot be pickled; call its save(path) and load(path)"
        )
