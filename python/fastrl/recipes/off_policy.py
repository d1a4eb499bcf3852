"""What DQN and SAC share: they act for a while, then learn from a replay buffer for a while.

Rows go to the buffer as the engine gives them: the row in which an environment only resets has the
last observation of the episode before it, which the buffer wants. Checkpoints hold the buffer, too,
with its random state and priorities.
"""

import time
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import gymnasium
import numpy as np
import torch
from torch import Tensor, nn

from fastrl.recipes.control import (
    ACTIONS,
    WEIGHTS,
    Collected,
    ControlConfig,
    ControlRun,
)
from fastrl.recipes.networks import as_inputs, two_layers
from fastrl.recipes.run_log import Record
from fastrl.replay import Batch, Prioritized, ReplayBuffer, Uniform

_REPLAY = 3  # a stream of random numbers beside those of all control


@dataclass(frozen=True, kw_only=True)
class OffPolicyConfig(ControlConfig):
    """What runs with a replay buffer have; see `ControlConfig` for what else.

    Args:
        env: As of `ControlConfig`, or a goal environment.
        gradient_steps: Of the optimizer in an update.
        batch_size: Transitions in each of them.
        capacity: Rows of the buffer, an episode's last observation being one, too.
        learning_starts: Environment steps before the first gradient step.
        n_step: Rewards that a transition sums before it bootstraps.
        tau: How far the target networks move towards the others in each gradient step.
        priority_exponent: 0 draws uniformly, else as of `fastrl.replay.Prioritized`, with the TD
            errors as priorities.
        priority_epsilon: Added to TD errors, so that every transition can be drawn again.
        importance_exponent: At the start; it goes to 1 in a straight line over the budget.
    """

    env_steps: int = 50_000
    checkpoint_every: int = 50
    num_envs: int = 8
    num_steps: int = 32
    gradient_steps: int = 128
    batch_size: int = 64
    capacity: int = 100_000
    learning_starts: int = 1_000
    learning_rate: float = 1e-3
    n_step: int = 1
    tau: float = 0.01
    priority_exponent: float = 0.0
    priority_epsilon: float = 1e-2
    importance_exponent: float = 0.4
    width: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        check = self._arguments
        for name in ("gradient_steps", "batch_size", "capacity", "n_step"):
            check.integer(name, getattr(self, name), low=1)
        check.integer("learning_starts", self.learning_starts, low=0)
        check.number("priority_epsilon", self.priority_epsilon, low=0, exclusive_low=True)
        check.number("tau", self.tau, low=0, high=1, exclusive_low=True)
        check.number("priority_exponent", self.priority_exponent, low=0)
        check.number("importance_exponent", self.importance_exponent, low=0, high=1)


ConfigT = TypeVar("ConfigT", bound=OffPolicyConfig)


class OffPolicyRun(ControlRun[ConfigT]):
    """Acts, stores, draws and learns; see `Run` for what all runs can do."""

    takes_goals = True
    replay: ReplayBuffer
    relabel: Any = None
    """What `ReplayBuffer.sample` rewrites batches with."""

    # --- What an algorithm says -------------------------------------------------------------

    @abstractmethod
    def behave(self, inputs: Tensor, source: torch.Generator) -> Tensor:
        """Actions to learn from, [B] int64."""

    @abstractmethod
    def improve(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """A gradient step; the TD errors before it, [n], and measurements for the log."""

    # --- What it gets -----------------------------------------------------------------------

    def build(self) -> None:
        """The environments and an empty buffer; an algorithm adds model and optimizer."""
        super().build()
        config, space = self.config, self.envs.single_observation_space
        observed: Any = (
            {name: (part.shape, part.dtype) for name, part in space.items()}
            if isinstance(space, gymnasium.spaces.Dict)
            else (space.shape, space.dtype)
        )
        sampler: Uniform | Prioritized = Uniform()
        if config.priority_exponent:
            sampler = Prioritized(config.priority_exponent, epsilon=config.priority_epsilon)
        self.replay = ReplayBuffer(
            config.capacity,
            {"observations": observed, "actions": ((), "int64"), "rewards": ((), "float32")},
            num_lanes=config.num_envs,
            n_step=config.n_step,
            gamma=config.gamma,
            sampler=sampler,
            autoreset_mode="next_step",
            seed=self.seed(_REPLAY),
        )

    def networks(self, count: int) -> list[nn.Module]:
        """So many networks from inputs to a number for each action, each with its own weights."""
        source, space = self.generator(WEIGHTS), self.envs.single_observation_space
        with torch.random.fork_rng(devices=[]):
            made = list[nn.Module]()
            for _ in range(count):
                torch.manual_seed(int(torch.randint(2**62, (), generator=source)))
                made.append(two_layers(space, self.config.width, self.num_actions, nn.ReLU))
        return made

    # --- What a run does --------------------------------------------------------------------

    @torch.no_grad()
    def collect(self) -> Collected:
        """Steps of `behave`, every row of them stored."""
        config, source = self.config, self.generator(ACTIONS)
        env_steps, returns, env_seconds = 0, list[float](), 0.0
        for _ in range(config.num_steps):
            actions = self.behave(as_inputs(self.observations), source).numpy()
            begin = time.perf_counter()
            observations, rewards, terminated, truncated, _ = self.envs.step(actions)
            env_seconds += time.perf_counter() - begin
            self.replay.add(
                observations=self.observations,
                actions=actions,
                rewards=np.float32(config.reward_scale) * rewards.astype(np.float32),
                terminated=terminated,
                truncated=truncated,
            )
            env_steps += config.num_envs - int(self.ended.sum())
            self.observations, self.ended = observations, terminated | truncated
            returns += self.count(rewards, self.ended)
        return Collected(env_steps, returns, env_seconds)

    def optimize(self, collected: Collected) -> Record:
        """The update's gradient steps once there is enough; means of what was measured."""
        config, measured = self.config, list[Tensor]()
        lived = self.env_steps + collected.env_steps
        if lived < config.learning_starts or not self.replay.num_drawable:
            return {}
        options: dict[str, Any] = {"output": "torch", "relabel": self.relabel}
        if config.priority_exponent:
            first = config.importance_exponent
            options["importance_exponent"] = first + (1.0 - first) * self.progress
        for _ in range(config.gradient_steps):
            batch = self.replay.sample(config.batch_size, **options)
            td_errors, metrics = self.improve(batch)
            if config.priority_exponent:
                self.replay.update_priorities(batch.handles, td_errors.abs().numpy())
            measured.append(torch.stack([td_errors.abs().mean(), *metrics.values()]))
        names = ["td_error", *metrics]
        return dict(zip(names, torch.stack(measured).mean(0).tolist(), strict=True))


@torch.no_grad()
def follow(targets: Sequence[Tensor], weights: Sequence[Tensor], tau: float) -> None:
    """Moves target networks' weights a little towards the others."""
    torch._foreach_lerp_(list(targets), list(weights), tau)


def td_targets(rewards: Tensor, discounts: Tensor, next_values: Tensor) -> Tensor:
    """The rewards up to the bootstrap observation and what is expected from there on, [n].

        y = r + d v(s'),    d = γ^m, 0 after termination

    `next_values` is not read where the discount is 0, so it may hold anything there, even NaN.
    """
    return rewards + torch.where(discounts == 0, 0.0, discounts * next_values)
