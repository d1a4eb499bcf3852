"""fastrl's replay buffer where Stable-Baselines3 wants one of its own.

    from fastrl.integrations.sb3 import ReplayBuffer
    DQN("MlpPolicy", env, replay_buffer_class=ReplayBuffer)

`ReplayBuffer`, `DictReplayBuffer` and `HerReplayBuffer` are subclasses of SB3's of the same names
and take their arguments. What is different:

- Each observation is stored once, as the next one of the step before, with time limits handled
  rightly all the same; so `optimize_memory_usage` must be False. An observation that does not go on
  from the last one begins an episode, and the one before is cut there.
- An episode's final observation is a row: `buffer_size` rows hold one transition less for each
  episode.
- The newest step of each environment is drawn once the next one has come, or where there is
  nothing else to draw.
- Handles name transitions, so `update_priorities` never gives a priority to a newer one: with
  ``replay_buffer_kwargs={"sampler": Prioritized()}`` draws are prioritized, `last_batch` has the
  importance weights, and ``update_priorities(priorities)`` is of that batch.
- `n_steps` and `gamma` make n-step transitions of all three classes. Their discounted sums go
  through `VecNormalize`, which is as if each reward did, but for what it clips.
- `HerReplayBuffer` draws open episodes, too, and relabels each transition by chance, k / (k + 1)
  of them on average, in any place of the batch.
- Draws follow `seed`, else NumPy's global generator as it is when the buffer is made. Tensors on
  the CPU share the batch's memory.
- It cannot be pickled, so ``model.save_replay_buffer`` is an error. ``model.replay_buffer`` has
  ``save(path)`` and ``load(path)`` instead, which never run code out of a file.
"""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from stable_baselines3.common import buffers
from stable_baselines3.common.type_aliases import DictReplayBufferSamples, ReplayBufferSamples
from stable_baselines3.her import GoalSelectionStrategy
from stable_baselines3.her import HerReplayBuffer as SB3HerReplayBuffer

from fastrl._dispatch import Arguments
from fastrl.replay import HER, Batch
from fastrl.replay import ReplayBuffer as Rows
from fastrl.replay.samplers import Sampler
from fastrl.replay.saving import SavedState

Observations = npt.NDArray[Any] | dict[str, npt.NDArray[Any]]


class _Stored(buffers.BaseBuffer):
    """What the three classes share: SB3's calls, and rows behind them."""

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


class ReplayBuffer(_Stored, buffers.ReplayBuffer):
    """`stable_baselines3.common.buffers.ReplayBuffer`, and what fastrl's can do beyond.

    Args:
        buffer_size: Rows of all environments together.
        observation_space: Any space but dicts.
        action_space: Of the actions.
        device: Where the tensors go.
        n_envs: How many environments write.
        optimize_memory_usage: Must be False; it always is.
        handle_timeout_termination: Whether "TimeLimit.truncated" of the infos means that the next
            value counts.
        sampler: As of `fastrl.ReplayBuffer`.
        n_steps: Rewards of so many steps are summed.
        gamma: Their discount.
        storage: As of `fastrl.ReplayBuffer`.
        seed: As of `fastrl.ReplayBuffer`.
    """

    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        device: Any = "auto",
        n_envs: int = 1,
        optimize_memory_usage: bool = False,
        handle_timeout_termination: bool = True,
        *,
        sampler: Sampler | Mapping[str, Sampler] | None = None,
        n_steps: int = 1,
        gamma: float = 0.99,
        storage: Any = "memory",
        seed: int | None = None,
    ) -> None:
        self._make(
            buffer_size,
            observation_space,
            action_space,
            device,
            n_envs,
            optimize_memory_usage,
            handle_timeout_termination,
            sampler,
            n_steps,
            gamma,
            storage,
            seed,
        )


class DictReplayBuffer(_Stored, buffers.DictReplayBuffer):
    """`stable_baselines3.common.buffers.DictReplayBuffer`; arguments as of `ReplayBuffer`."""

    is_dict = True
    __init__ = ReplayBuffer.__init__


class HerReplayBuffer(_Stored, SB3HerReplayBuffer):
    """`stable_baselines3.HerReplayBuffer`.

    Args:
        buffer_size: As of `ReplayBuffer`, and so are all that are not named here.
        observation_space: With "observation", "achieved_goal" and "desired_goal".
        action_space: Of the actions.
        env: Whose first environment's ``compute_reward(achieved, desired, infos)`` is called with
            all transitions at once; infos are empty dicts.
        device: Where the tensors go.
        n_envs: How many environments write.
        optimize_memory_usage: Must be False.
        handle_timeout_termination: As of `ReplayBuffer`.
        n_sampled_goal: Transitions with new goals for one with its own, k.
        goal_selection_strategy: "future", "final" or "episode".
        copy_info_dict: Must be False: infos are not stored.
        **options: `sampler`, `n_steps`, `gamma`, `storage` and `seed`, as of `ReplayBuffer`.
    """

    is_dict = True

    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Dict,
        action_space: spaces.Space[Any],
        env: Any,
        device: Any = "auto",
        n_envs: int = 1,
        optimize_memory_usage: bool = False,
        handle_timeout_termination: bool = True,
        n_sampled_goal: int = 4,
        goal_selection_strategy: GoalSelectionStrategy | str = "future",
        copy_info_dict: bool = False,
        **options: Any,
    ) -> None:
        if copy_info_dict:
            raise Arguments("HerReplayBuffer").error("copy_info_dict", "be False", copy_info_dict)
        DictReplayBuffer.__init__(
            self,
            buffer_size,
            observation_space,
            action_space,
            device,
            n_envs,
            optimize_memory_usage,
            handle_timeout_termination,
            **options,
        )
        self.env = env
        self.copy_info_dict = False
        self.n_sampled_goal = n_sampled_goal
        self.her_ratio = 1 - 1 / (n_sampled_goal + 1)
        name = getattr(goal_selection_strategy, "name", goal_selection_strategy)
        self.goal_selection_strategy = name.lower()
        self._her = HER(
            self.goal_selection_strategy,
            n_sampled_goal,
            compute_reward=self._compute_reward,
            seed=int(self.buffer._options["seed"]),
        )

    def _compute_reward(self, achieved: Any, desired: Any, info: Any) -> npt.NDArray[np.float32]:
        if self.env is None:
            raise RuntimeError("HerReplayBuffer: set_env must come before sample")
        infos: list[dict[str, Any]] = [{} for _ in range(len(achieved))]
        made = self.env.env_method("compute_reward", achieved, desired, infos, indices=[0])
        rewards: npt.NDArray[np.float32] = np.asarray(made[0]).astype(np.float32)
        return rewards

    def _drawn(self, batch_size: int) -> Batch:
        return self.buffer.sample(batch_size, relabel=self._her)

    def truncate_last_trajectory(self) -> None:
        """Cut the open episodes."""
        self._cut(self._open)
