"""Goal environments in plain Python: BitFlip and PointReach, with their random numbers.

Every class has `drawn` (a level), `step(action)` → (reward, terminated, success), `observation()`
and `goal_reward(achieved, desired)`, for which reward == goal_reward(achieved_goal, desired_goal).
"""

import math
from collections.abc import Sequence
from typing import Self

import numpy as np
import numpy.typing as npt

from fastrl.reference.envs import RandomStream

Outcome = tuple[float, bool, bool]
Observation = dict[str, npt.NDArray[np.generic]]


class BitFlip:
    """Flip n bits, one a step, into those of the goal."""

    def __init__(self, bits: list[int], goal: list[int], *, terminate_at_goal: bool = True) -> None:
        self.bits, self.goal = bits, goal
        self.terminate_at_goal = terminate_at_goal

    @classmethod
    def drawn(cls, level: RandomStream, num_bits: int, *, terminate_at_goal: bool = True) -> Self:
        """Start and goal, uniform over all pairs that differ; 32 bits a number, lowest first."""

        def bits() -> list[int]:
            words = [level.next_u32() for _ in range(0, num_bits, 32)]
            return [words[i // 32] >> i % 32 & 1 for i in range(num_bits)]

        start, goal = bits(), bits()
        while goal == start:
            goal = bits()
        return cls(start, goal, terminate_at_goal=terminate_at_goal)

    def step(self, action: int) -> Outcome:
        """Flips one bit."""
        self.bits = [bit ^ (i == action) for i, bit in enumerate(self.bits)]
        success = self.bits == self.goal
        return self.goal_reward(self.bits, self.goal), success and self.terminate_at_goal, success

    @staticmethod
    def goal_reward(achieved: Sequence[float], desired: Sequence[float]) -> float:
        """0 where all bits are equal, else -1."""
        return 0.0 if list(achieved) == list(desired) else -1.0

    def observation(self) -> Observation:
        """The bits, twice, and the goal."""
        bits, goal = np.array(self.bits, np.int8), np.array(self.goal, np.int8)
        return {"observation": bits, "achieved_goal": bits, "desired_goal": goal}


class PointReach:
    """Move a point in [-1, 1]^d to the goal: float64, rounded to float32 once a step."""

    def __init__(
        self,
        position: Sequence[float],
        goal: Sequence[float],
        *,
        threshold: float = 0.05,
        speed: float = 0.1,
        reward: str = "sparse",
        control: str = "velocity",
        terminate_at_goal: bool = False,
    ) -> None:
        self.position, self.goal = list(position), list(goal)
        self.threshold, self.speed = threshold, speed
        self.reward, self.control = reward, control
        self.terminate_at_goal = terminate_at_goal

    @classmethod
    def drawn(
        cls, level: RandomStream, dimensions: int, *, threshold: float = 0.05, **options: object
    ) -> Self:
        """Start and goal, uniform over all pairs farther apart than the threshold."""

        def place() -> list[float]:
            return [2.0 * level.uniform() - 1.0 for _ in range(dimensions)]

        start, goal = place(), place()
        while math.sqrt(_square_distance(start, goal)) <= threshold:
            goal = place()
        return cls(start, goal, threshold=threshold, **options)  # type: ignore[arg-type]

    def step(self, action: Sequence[float]) -> Outcome:
        """By velocity x += speed · a; by position towards a, at most `speed` far."""
        clipped = [_clip(float(a)) for a in action]
        if self.control == "velocity":
            moves = [self.speed * a for a in clipped]
        else:
            to_go = [a - x for a, x in zip(clipped, self.position, strict=True)]
            distance = math.sqrt(_square_distance(clipped, self.position))
            scale = min(1.0, self.speed / distance) if distance else 1.0
            moves = [scale * d for d in to_go]
        moved = [_clip(x + d) for x, d in zip(self.position, moves, strict=True)]
        self.position = [float(np.float32(x)) for x in moved]
        distance = math.sqrt(_square_distance(self.position, self.goal))
        success = distance <= self.threshold
        reward = self.goal_reward(self.position, self.goal)
        return reward, success and self.terminate_at_goal, success

    def goal_reward(self, achieved: Sequence[float], desired: Sequence[float]) -> float:
        """Sparse: 0 within the threshold, else -1. Dense: minus the distance."""
        distance = math.sqrt(_square_distance(achieved, desired))
        if self.reward == "dense":
            return -distance
        return -1.0 if distance > self.threshold else 0.0

    def observation(self) -> Observation:
        """The position, twice, and the goal."""
        position, goal = np.array(self.position, np.float32), np.array(self.goal, np.float32)
        return {"observation": position, "achieved_goal": position, "desired_goal": goal}


def _clip(x: float) -> float:
    return min(max(x, -1.0), 1.0)


def _square_distance(a: Sequence[float], b: Sequence[float]) -> float:
    total = 0.0
    for x, y in zip(a, b, strict=True):
        total += (float(x) - float(y)) * (float(x) - float(y))
    return total
