"""Batches of environments with goals."""

from typing import Any

import numpy as np
import numpy.typing as npt

from fastrl._dispatch import Arguments, address
from fastrl.envs.vector import VectorEnv


class GoalVectorEnv(VectorEnv):
    """B goal environments; made by `make_vec`.

    Observations are dicts of "observation", "achieved_goal" [B, G] and "desired_goal" [B, G], and
    every reward equals `compute_reward` of its goals.
    """

    def compute_reward(
        self,
        achieved_goal: npt.NDArray[np.float32],
        desired_goal: npt.NDArray[np.float32],
        info: object = None,
    ) -> npt.NDArray[np.float64]:
        """The rewards of any goals, for hindsight relabeling.

        Args:
            achieved_goal: [..., G] float32.
            desired_goal: [..., G] float32.
            info: Not read; Gymnasium-Robotics' signature has it.

        Returns:
            [...] float64.
        """
        arguments = Arguments("compute_reward")
        goals: list[npt.NDArray[np.float32]] = []
        for name, value in (("achieved_goal", achieved_goal), ("desired_goal", desired_goal)):
            given: npt.NDArray[Any] = np.asarray(value)
            if given.dtype.kind not in "fiub":
                raise arguments.error(name, "hold numbers", given.dtype, kind=TypeError)
            size = self._description.goal_size
            if given.ndim == 0 or given.shape[-1] != size:
                raise arguments.error(name, f"have shape [..., G = {size}]", list(given.shape))
            goals.append(np.ascontiguousarray(given, np.float32))
        achieved, desired = goals
        if achieved.shape != desired.shape:
            raise arguments.error(
                "desired_goal",
                f"have the shape of `achieved_goal`, {list(achieved.shape)}",
                list(desired.shape),
            )
        rewards = np.empty(achieved.shape[:-1], np.float64)
        self._native.goal_rewards(
            rewards.size, address(achieved), address(desired), address(rewards)
        )
        return rewards
