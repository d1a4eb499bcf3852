"""Decision problems in plain Python: TSP and Bandit, with their random numbers.

Every class has `drawn` (a level) and `step(action)` → (reward, terminated, success).
"""

import math
from typing import Self

import numpy as np
import numpy.typing as npt

from fastrl.reference.envs import RandomStream

Outcome = tuple[float, bool, bool]


class Bandit:
    """Pull one of k arms."""

    def __init__(self, arms: list[float], stream: RandomStream, noise: float | None) -> None:
        """`noise` is None for arms that pay 0 or 1."""
        self.arms, self.stream, self.noise = arms, stream, noise
        self.regret = 0.0

    @classmethod
    def drawn(
        cls, level: RandomStream, num_arms: int, stream: RandomStream, noise: float | None
    ) -> Self:
        """Probabilities uniform in [0, 1), means standard normal."""
        draw = level.uniform if noise is None else lambda: _normal(level)
        return cls([draw() for _ in range(num_arms)], stream, noise)

    def step(self, action: int) -> Outcome:
        """Pulls an arm; success is a pull of the best one."""
        expected, best = self.arms[action], max(self.arms)
        self.regret = best - expected
        if self.noise is None:
            reward = 1.0 if self.stream.uniform() < expected else 0.0
        else:
            reward = expected + self.noise * _normal(self.stream)
        return reward, False, expected == best


class TSP:
    """Visit every city once; the first action says where the tour starts."""

    def __init__(self, cities: list[tuple[float, float]]) -> None:
        self.cities = cities
        self.tour: list[int] = []

    @classmethod
    def drawn(cls, level: RandomStream, num_cities: int) -> Self:
        """Cities uniform in the unit square."""
        return cls([(level.uniform(), level.uniform()) for _ in range(num_cities)])

    def step(self, action: int) -> Outcome:
        """Travels to a city; one that was visited before ends the episode."""
        n = len(self.cities)
        if action in self.tour:
            return -math.sqrt(2.0) * n, True, False
        traveled = self._distance(self.tour[-1], action) if self.tour else 0.0
        self.tour.append(action)
        complete = len(self.tour) == n
        if complete:
            traveled += self._distance(action, self.tour[0])
        return -traveled, complete, complete

    def _distance(self, a: int, b: int) -> float:
        dx = self.cities[a][0] - self.cities[b][0]
        dy = self.cities[a][1] - self.cities[b][1]
        return math.sqrt(dx * dx + dy * dy)

    def observation(self) -> dict[str, npt.NDArray[np.generic]]:
        """Cities, those visited, and where the agent is."""
        visited = [i in self.tour for i in range(len(self.cities))]
        return {
            "cities": np.array(self.cities, np.float32),
            "visited": np.array(visited, np.int8),
            "current": np.array(self.tour[-1] if self.tour else -1),
        }

    def action_mask(self) -> npt.NDArray[np.int8]:
        """1 for the cities to come."""
        return np.array([i not in self.tour for i in range(len(self.cities))], np.int8)


def _normal(stream: RandomStream) -> float:
    """Box and Muller's method."""
    u, v = 1.0 - stream.uniform(), stream.uniform()
    return math.sqrt(-2.0 * math.log(u)) * math.cos(2.0 * math.pi * v)
