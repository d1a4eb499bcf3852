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

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from stable_baselines3.common import buffers
from stable_baselines3.her import GoalSelectionStrategy
from stable_baselines3.her import HerReplayBuffer as SB3HerReplayBuffer

from fastrl._dispatch import Arguments
from fastrl.integrations.sb3_rows import StoredRows
from fastrl.replay import HER, Batch
from fastrl.replay.samplers import Sampler


class ReplayBuffer(StoredRows, buffers.ReplayBuffer):
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


class DictReplayBuffer(StoredRows, buffers.DictReplayBuffer):
    """`stable_baselines3.common.buffers.DictReplayBuffer`; arguments as of `ReplayBuffer`."""

    is_dict = True
    __init__ = ReplayBuffer.__init__


class HerReplayBuffer(StoredRows, SB3HerReplayBuffer):
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
