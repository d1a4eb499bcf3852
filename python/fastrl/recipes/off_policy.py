"""What DQN and SAC share: they act for a while, then learn from a replay buffer for a while.

Rows go to the buffer as the engine gives them, in its NEXT_STEP mode: the row in which an
environment only resets has the last observation of the episode before it, which the buffer wants.
Checkpoints hold a snapshot of the environments and the buffer, with its random state and
priorities, so that a run goes on in the middle of episodes.
"""

import base64
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import gymnasium
import numpy as np
import torch
from torch import Tensor, nn

import fastrl
from fastrl._dispatch import Arguments
from fastrl.envs.snapshot import Snapshot
from fastrl.recipes.config import RunConfig
from fastrl.recipes.run import Run, Update
from fastrl.recipes.run_log import Record
from fastrl.replay import Batch, Prioritized, ReplayBuffer, Uniform

_WEIGHTS, _ENVIRONMENTS, _ACTIONS, _REPLAY, _EVALUATION = range(5)
# What a policy sees of a goal environment.
_SEEN = ("observation", "desired_goal")


@dataclass(frozen=True, kw_only=True)
class OffPolicyConfig(RunConfig):
    """What runs with a replay buffer have, on environments with Discrete actions.

    Args:
        env: Id, of Discrete or one-dimensional Box observations, or a goal environment.
        env_steps: Budget; resets are no steps.
        eval_episodes: Episodes of an evaluation, with the actions that the policy prefers.
        target_return: Training also ends when an evaluation reaches this; None never does.
        num_envs: B, environments stepped together.
        num_steps: Steps of each environment in an update, before its gradient steps.
        gradient_steps: Of the optimizer in an update.
        batch_size: Transitions in each of them.
        capacity: Rows of the buffer, an episode's last observation being one, too.
        learning_starts: Environment steps before the first gradient step.
        learning_rate: Of Adam.
        gamma: Discount.
        n_step: Rewards that a transition sums before it bootstraps.
        tau: How far the target networks move towards the others in each gradient step.
        priority_exponent: 0 draws uniformly, else as of `fastrl.replay.Prioritized`, with the TD
            errors as priorities.
        priority_epsilon: Added to TD errors, so that every transition can be drawn again.
        importance_exponent: At the start; it goes to 1 in a straight line over the budget.
        reward_scale: What is learned from are rewards times this; what is logged is not scaled.
        width: Of the two hidden layers of each network.
    """

    env_steps: int = 50_000
    eval_every: int = 10
    eval_episodes: int = 100
    checkpoint_every: int = 50
    target_return: float | None = None
    num_envs: int = 8
    num_steps: int = 32
    gradient_steps: int = 128
    batch_size: int = 64
    capacity: int = 100_000
    learning_starts: int = 1_000
    learning_rate: float = 1e-3
    gamma: float = 0.99
    n_step: int = 1
    tau: float = 0.01
    priority_exponent: float = 0.0
    priority_epsilon: float = 1e-2
    importance_exponent: float = 0.4
    reward_scale: float = 1.0
    width: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        check = self._arguments
        for name in (
            "num_envs",
            "num_steps",
            "gradient_steps",
            "batch_size",
            "capacity",
            "n_step",
            "width",
        ):
            check.integer(name, getattr(self, name), low=1)
        check.integer("learning_starts", self.learning_starts, low=0)
        for name in ("learning_rate", "reward_scale", "priority_epsilon"):
            check.number(name, getattr(self, name), low=0, exclusive_low=True)
        check.number("gamma", self.gamma, low=0, high=1)
        check.number("tau", self.tau, low=0, high=1, exclusive_low=True)
        check.number("priority_exponent", self.priority_exponent, low=0)
        check.number("importance_exponent", self.importance_exponent, low=0, high=1)
        if self.target_return is not None:
            check.number("target_return", self.target_return)

    @property
    def target(self) -> float | None:
        """The return that also ends training."""
        return self.target_return


ConfigT = TypeVar("ConfigT", bound=OffPolicyConfig)


class OffPolicyRun(Run[ConfigT]):
    """Acts, stores, draws and learns; see `Run` for what all runs can do."""

    score_name = "eval_return"
    replay: ReplayBuffer
    relabel: Any = None
    """What `ReplayBuffer.sample` rewrites batches with."""

    # --- What an algorithm says -------------------------------------------------------------

    @abstractmethod
    def behave(self, inputs: Tensor, source: torch.Generator) -> Tensor:
        """Actions to learn from, [B] int64."""

    @abstractmethod
    def prefer(self, inputs: Tensor) -> Tensor:
        """The actions that seem best, [B] int64."""

    @abstractmethod
    def improve(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """A gradient step; the TD errors before it, [n], and measurements for the log."""

    # --- What it gets -----------------------------------------------------------------------

    def build(self) -> None:
        """The environments and an empty buffer; an algorithm adds model and optimizer."""
        config = self.config
        self.envs, self._eval_envs = (
            fastrl.make_vec(config.env, num_envs, **config.env_options)
            for num_envs in (config.num_envs, config.eval_episodes)
        )
        check_spaces(type(self).__name__, self.envs)
        space = self.envs.single_observation_space
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
        self._returns = np.zeros(config.num_envs)  # of the running episodes
        self._ended = np.zeros(config.num_envs, bool)  # where the next step only resets
        self._observations, _ = self.envs.reset(seed=self.seed(_ENVIRONMENTS))

    @property
    def progress(self) -> float:
        """The share of the budget that is spent."""
        return min(self.env_steps / self.config.env_steps, 1.0)

    def network(self, outputs: int, source: torch.Generator) -> nn.Sequential:
        """A network from `inputs` of these environments to so many numbers."""
        return _network(self.envs.single_observation_space, self.config.width, outputs, source)

    def generator(self, stream: int = _WEIGHTS) -> torch.Generator:
        """Random numbers for a purpose of this update."""
        return torch.Generator().manual_seed(self.seed(stream))

    # --- What a run does --------------------------------------------------------------------

    def learn(self) -> Update:
        """Some steps of the environments, and some of the optimizer."""
        begin = time.perf_counter()
        env_steps, episodes, env_seconds = self._collect()
        collected = time.perf_counter()
        metrics: Record = {}
        if self.env_steps + env_steps >= self.config.learning_starts and self.replay.num_drawable:
            metrics = self._improve()
        if episodes:
            metrics |= {"episodes": len(episodes), "episode_return": float(np.mean(episodes))}
        seconds = {
            "env_seconds": env_seconds,
            "rollout_seconds": collected - begin,
            "learn_seconds": time.perf_counter() - collected,
        }
        return Update(env_steps, metrics, seconds)

    @torch.no_grad()
    def _collect(self) -> tuple[int, list[float], float]:
        """Steps, the returns of the episodes that ended, and the engine's seconds."""
        config, source = self.config, self.generator(_ACTIONS)
        env_steps, episodes, env_seconds = 0, list[float](), 0.0
        for _ in range(config.num_steps):
            actions = self.behave(as_inputs(self._observations), source).numpy()
            begin = time.perf_counter()
            observations, rewards, terminated, truncated, _ = self.envs.step(actions)
            env_seconds += time.perf_counter() - begin
            self.replay.add(
                observations=self._observations,
                actions=actions,
                rewards=np.float32(config.reward_scale) * rewards.astype(np.float32),
                terminated=terminated,
                truncated=truncated,
            )
            env_steps += config.num_envs - int(self._ended.sum())
            self._observations, self._ended = observations, terminated | truncated
            self._returns += rewards
            episodes += self._returns[self._ended].tolist()
            self._returns[self._ended] = 0.0
        return env_steps, episodes, env_seconds

    def _improve(self) -> Record:
        """The update's gradient steps; means of what was measured."""
        config, measured = self.config, list[Tensor]()
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

    def evaluate(self) -> float:
        """Mean return of fresh episodes with the preferred actions; costs no budget."""
        return float(self.play()[0].mean())

    @torch.no_grad()
    def play(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Returns of fresh episodes, and whether the environment called them a success."""
        envs = self._eval_envs
        observations, _ = envs.reset(seed=self.seed(_EVALUATION))
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
            "ended": self._ended.tolist(),
            "returns": self._returns.tolist(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Puts the environments where they were."""
        self.envs.restore(Snapshot.frombytes(base64.b64decode(state["envs"])))
        self._observations = self.envs.observe()
        self._ended[:] = state["ended"]
        self._returns[:] = state["returns"]


def as_inputs(observations: Any) -> Tensor:
    """What networks see: of a goal environment, the observation and the goal side by side."""
    if isinstance(observations, Mapping):
        return torch.cat([torch.as_tensor(observations[name]) for name in _SEEN], -1).float()
    return torch.as_tensor(observations)


def check_spaces(function: str, envs: Any) -> None:
    """An error unless networks can be made for these environments."""
    check, space = Arguments(function), envs.single_observation_space
    if isinstance(space, gymnasium.spaces.Dict) and set(_SEEN) <= space.keys():
        known = all(len(space[name].shape or ()) == 1 for name in _SEEN)
    else:
        flat = isinstance(space, gymnasium.spaces.Box) and len(space.shape) == 1
        known = flat or isinstance(space, gymnasium.spaces.Discrete)
    if not known:
        rule = "have Discrete, one-dimensional Box or goal observations"
        raise check.error("env", rule, space)
    if not isinstance(envs.single_action_space, gymnasium.spaces.Discrete):
        raise check.error("env", "have Discrete actions", envs.single_action_space)


def _network(space: Any, width: int, outputs: int, source: torch.Generator) -> nn.Sequential:
    """Two hidden layers. A one-hot row through a linear layer is a row of it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**62, (), generator=source)))
        first: nn.Embedding | nn.Linear
        if isinstance(space, gymnasium.spaces.Discrete):
            first = nn.Embedding(int(space.n), width)
        else:
            seen = [space[name] for name in _SEEN] if isinstance(space, Mapping) else [space]
            first = nn.Linear(sum(part.shape[0] for part in seen), width)
        return nn.Sequential(
            first, nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, outputs)
        )


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
