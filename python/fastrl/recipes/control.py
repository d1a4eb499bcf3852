"""What PPO, DQN and SAC share: they act in environments for a while, then learn for a while.

Environments are stepped in the engine's NEXT_STEP mode: the step after an episode's last one only
resets, and costs no budget. Checkpoints hold a snapshot of the environments, so that a run goes on
in the middle of episodes.
"""

import base64
import time
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

import fastrl
from fastrl.envs.snapshot import Snapshot
from fastrl.recipes.config import RunConfig
from fastrl.recipes.networks import as_inputs, check_spaces
from fastrl.recipes.run import Run, Update
from fastrl.recipes.run_log import Record

# Streams of random numbers; an algorithm's own are 3, and 5 and on.
WEIGHTS, ENVIRONMENTS, ACTIONS, EVALUATION = 0, 1, 2, 4


@dataclass(frozen=True, kw_only=True)
class ControlConfig(RunConfig):
    """What runs on environments with Discrete actions have; see `RunConfig` for what all have.

    Args:
        env: Id, of Discrete (learned from as one-hot rows) or one-dimensional Box observations.
            Action masks of infos are not used.
        env_steps: Budget; resets are no steps.
        eval_episodes: Episodes of an evaluation, with the actions that the policy prefers.
        target_return: Training also ends when an evaluation reaches this; None never does.
        num_envs: B, environments stepped together.
        num_steps: T, steps of each environment in an update.
        learning_rate: Of Adam.
        gamma: Discount.
        reward_scale: What is learned from are rewards times this; what is logged is not scaled.
        width: Of the two hidden layers of each network.
    """

    eval_every: int = 10
    eval_episodes: int = 100
    target_return: float | None = None
    num_envs: int
    num_steps: int
    learning_rate: float
    gamma: float = 0.99
    reward_scale: float = 1.0
    width: int

    def __post_init__(self) -> None:
        super().__post_init__()
        check = self._arguments
        for name in ("num_envs", "num_steps", "width"):
            check.integer(name, getattr(self, name), low=1)
        for name in ("learning_rate", "reward_scale"):
            check.number(name, getattr(self, name), low=0, exclusive_low=True)
        check.number("gamma", self.gamma, low=0, high=1)
        if self.target_return is not None:
            check.number("target_return", self.target_return)

    @property
    def target(self) -> float | None:
        """The return that also ends training."""
        return self.target_return


ConfigT = TypeVar("ConfigT", bound=ControlConfig)


class Collected(NamedTuple):
    """What some steps of all environments were."""

    env_steps: int
    """Without those that only reset."""
    returns: list[float]
    """Of the episodes that ended."""
    env_seconds: float
    """What the engine took."""


class ControlRun(Run[ConfigT]):
    """Acts, then learns; see `Run` for what all runs can do.

    Attributes:
        takes_goals: Whether goal environments can be learned from.
        envs: The environments.
        observations: Of the environments, for the next action.
        ended: [B] bool, where the next step only resets.
    """

    score_name = "eval_return"
    takes_goals = False
    observations: Any
    ended: npt.NDArray[np.bool_]

    # --- What an algorithm says -------------------------------------------------------------

    @abstractmethod
    def prefer(self, inputs: Tensor) -> Tensor:
        """The actions that seem best, [B] int64."""

    @abstractmethod
    def collect(self) -> Collected:
        """Takes `num_steps` steps; leaves `observations` and `ended` as of the last one."""

    @abstractmethod
    def optimize(self, collected: Collected) -> Record:
        """Learns from what was collected; measurements for the log."""

    # --- What it gets -----------------------------------------------------------------------

    def build(self) -> None:
        """The environments, at the start of an episode; an algorithm adds model and optimizer."""
        config = self.config
        self.envs, self._eval_envs = (
            fastrl.make_vec(config.env, num_envs, **config.env_options)
            for num_envs in (config.num_envs, config.eval_episodes)
        )
        check_spaces(type(self).__name__, self.envs, goals=self.takes_goals)
        self.ended = np.zeros(config.num_envs, bool)
        self._returns = np.zeros(config.num_envs)  # of the running episodes
        self.observations, _ = self.envs.reset(seed=self.seed(ENVIRONMENTS))

    @property
    def num_actions(self) -> int:
        """A, of the environments."""
        return int(self.envs.single_action_space.n)

    @property
    def progress(self) -> float:
        """The share of the budget that was spent before this update."""
        return min(self.env_steps / self.config.env_steps, 1.0)

    def generator(self, stream: int) -> torch.Generator:
        """Random numbers for a purpose of this update."""
        return torch.Generator().manual_seed(self.seed(stream))

    def count(self, rewards: npt.NDArray[np.float64], ended: npt.NDArray[np.bool_]) -> list[float]:
        """Adds a step's rewards [B] to the running episodes; the returns of those that ended."""
        self._returns += rewards
        returns: list[float] = self._returns[ended].tolist()
        self._returns[ended] = 0.0
        return returns

    # --- What a run does --------------------------------------------------------------------

    def learn(self) -> Update:
        """Some steps of the environments, and some of the optimizer."""
        begin = time.perf_counter()
        collected = self.collect()
        middle = time.perf_counter()
        metrics = self.optimize(collected)
        seconds = {
            "env_seconds": collected.env_seconds,
            "rollout_seconds": middle - begin,
            "learn_seconds": time.perf_counter() - middle,
        }
        returns = collected.returns
        if returns:
            metrics |= {"episodes": len(returns), "episode_return": float(np.mean(returns))}
        return Update(collected.env_steps, metrics, seconds)

    def evaluate(self) -> float:
        """Mean return of fresh episodes with the preferred actions; costs no budget."""
        return float(self.play()[0].mean())

    @torch.no_grad()
    def play(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        """Returns of fresh episodes, and whether the environment called them a success."""
        envs = self._eval_envs
        observations, _ = envs.reset(seed=self.seed(EVALUATION))
        returns, successes = np.zeros(envs.num_envs), np.zeros(envs.num_envs, bool)
        running = np.ones(envs.num_envs, bool)
        while running.any():
            actions = self.prefer(as_inputs(observations)).numpy()
            observations, rewards, terminated, truncated, infos = envs.step(actions)
            returns += np.where(running, rewards, 0.0)
            successes |= running & infos.get("success", False)
            running &= ~(terminated | truncated)
        return returns, successes

    def state(self) -> dict[str, Any]:
        """The environments, and what an update takes over from the one before."""
        return {
            "envs": base64.b64encode(self.envs.snapshot().tobytes()).decode(),
            "ended": self.ended.tolist(),
            "returns": self._returns.tolist(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Puts the environments where they were."""
        self.envs.restore(Snapshot.frombytes(base64.b64decode(state["envs"])))
        self.observations = self.envs.observe()
        self.ended[:] = state["ended"]
        self._returns[:] = state["returns"]
