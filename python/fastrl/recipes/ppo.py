"""PPO in one file: proximal policy optimization on native environments.

Rollouts step the engine straight into the rows of the batch, in its NEXT_STEP mode: the rows in
which an environment only resets are marked in `stepped`, `gae` passes over them and no minibatch
has them. Values and old log-probs are computed for a whole rollout at once. Losses are
`token_log_probs` and `policy_loss` with an action as a token, and a squared error for the values.

A checkpoint holds a snapshot of the environments, so that a run goes on in the middle of episodes.

Reference: Schulman et al., "Proximal policy optimization algorithms", 2017.
"""

import base64
import math
import time
from dataclasses import dataclass
from typing import Any, ClassVar

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

_WEIGHTS, _ENVIRONMENTS, _ACTIONS, _ORDER, _EVALUATION = range(5)


@dataclass(frozen=True, kw_only=True)
class PPOConfig(RunConfig):
    """A run of PPO on an environment with Discrete actions; `tuned` knows the best for some.

    Args:
        env: Id, of Discrete (learned from as one-hot rows) or one-dimensional Box observations.
            Action masks of infos are not used.
        env_steps: Budget; resets are no steps.
        eval_episodes: Episodes of an evaluation, with the most likely actions.
        target_return: Training also ends when an evaluation reaches this; None never does.
        num_envs: B, environments stepped together.
        num_steps: T, steps of a rollout, at least 2.
        epochs: Passes over a rollout.
        minibatches: Gradient steps in a pass, at most B T.
        learning_rate: Of Adam; it falls to 0 in a straight line over the budget.
        gamma: Discount.
        lambda_: Of `gae`.
        clip: Distance of the clips of the ratio from 1.
        value_coef: Weight of the values' squared error.
        entropy_coef: Weight of the entropy bonus.
        max_grad_norm: Longer gradients are cut to this length.
        reward_scale: What is learned from are rewards times this; what is logged is not scaled.
        width: Of the two hidden layers of the policy and of the values' network.
    """

    # What solves an environment on a laptop in seconds, where it is not the defaults.
    presets: ClassVar = {
        "CartPole-v1": {"num_envs": 64, "minibatches": 8},
        "Acrobot-v1": {"env_steps": 150_000, "num_steps": 128, "epochs": 4, "eval_every": 5},
        "Taxi-v3": {
            "env_steps": 1_500_000,
            "num_envs": 128,
            "num_steps": 128,
            "epochs": 4,
            "minibatches": 8,
            "learning_rate": 3e-3,
            "entropy_coef": 0.02,
        },
    }

    env_steps: int = 200_000
    eval_every: int = 10
    eval_episodes: int = 100
    target_return: float | None = None
    num_envs: int = 32
    num_steps: int = 64
    epochs: int = 8
    minibatches: int = 4
    learning_rate: float = 2e-3
    gamma: float = 0.99
    lambda_: float = 0.95
    clip: float = 0.2
    value_coef: float = 0.5
    entropy_coef: float = 0.0
    max_grad_norm: float = 0.5
    reward_scale: float = 0.1
    width: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        check = self._arguments
        for name in ("num_envs", "epochs", "minibatches", "width"):
            check.integer(name, getattr(self, name), low=1)
        check.integer("num_steps", self.num_steps, low=2)  # so that not all rows are resets
        size = self.num_envs * self.num_steps
        if self.minibatches > size:
            rule = f"be from 1 to num_envs * num_steps = {size}"
            raise check.error("minibatches", rule, self.minibatches)
        for name in ("learning_rate", "max_grad_norm", "reward_scale"):
            check.number(name, getattr(self, name), low=0, exclusive_low=True)
        for name in ("value_coef", "entropy_coef"):
            check.number(name, getattr(self, name), low=0)
        for name in ("gamma", "lambda_"):
            check.number(name, getattr(self, name), low=0, high=1)
        check.number("clip", self.clip, low=0, high=1, exclusive_low=True)
        if self.target_return is not None:
            check.number("target_return", self.target_return)

    @property
    def target(self) -> float | None:
        """The return that also ends training."""
        return self.target_return


def _network(
    observations: gymnasium.Space[Any], width: int, outputs: int, gain: float, source: Any
) -> nn.Sequential:
    """Two tanh layers and a linear one. A one-hot row through a linear layer is a row of it."""
    first: nn.Embedding | nn.Linear
    if isinstance(observations, gymnasium.spaces.Discrete):
        first = nn.Embedding(int(observations.n), width)
        nn.init.normal_(first.weight, generator=source)
    else:
        assert observations.shape is not None
        first = nn.Linear(observations.shape[0], width)
    network = nn.Sequential(
        first, nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, outputs)
    )
    layers = [layer for layer in network if isinstance(layer, nn.Linear)]
    for layer in layers:
        scale = gain if layer is layers[-1] else math.sqrt(2)
        nn.init.orthogonal_(layer.weight, scale, generator=source)
        nn.init.zeros_(layer.bias)
    return network


class ActorCritic(nn.Module):
    """The policy's logits and the values of observations."""

    def __init__(self, envs: Any, width: int, source: torch.Generator) -> None:
        super().__init__()
        space, actions = envs.single_observation_space, envs.single_action_space
        check = Arguments("PPO")
        flat = isinstance(space, gymnasium.spaces.Box) and len(space.shape) == 1
        if not (flat or isinstance(space, gymnasium.spaces.Discrete)):
            rule = "have Discrete or one-dimensional Box observations"
            raise check.error("env", rule, space)
        if not isinstance(actions, gymnasium.spaces.Discrete):
            raise check.error("env", "have Discrete actions", actions)
        self.actor = _network(space, width, int(actions.n), 0.01, source)
        self.critic = _network(space, width, 1, 1.0, source)

    def values(self, observations: Tensor) -> Tensor:
        """v(s) of every observation."""
        values: Tensor = self.critic(observations).squeeze(-1)
        return values


@dataclass
class Rollout:
    """T steps of B environments, time-major, in memory that the environments write into."""

    observations: Tensor  # [T + 1, B, ...]
    actions: Tensor  # [T, B]
    logits: Tensor  # [T, B, A]
    rewards: Tensor  # [T, B]
    terminated: Tensor  # [T, B]
    truncated: Tensor  # [T, B]
    stepped: Tensor  # [T + 1, B], false where the environment only reset

    @classmethod
    def empty(cls, envs: Any, num_steps: int) -> "Rollout":
        """Memory for rollouts of these environments; the first one starts with a step."""
        shape = num_steps, envs.num_envs
        space = envs.single_observation_space
        row = torch.from_numpy(np.empty(space.shape, space.dtype))
        return cls(
            observations=row.new_empty((num_steps + 1, envs.num_envs, *row.shape)),
            actions=torch.empty(shape, dtype=torch.int64),
            logits=torch.empty(*shape, int(envs.single_action_space.n)),
            rewards=torch.empty(shape, dtype=torch.float64),
            terminated=torch.empty(shape, dtype=torch.bool),
            truncated=torch.empty(shape, dtype=torch.bool),
            stepped=torch.ones(num_steps + 1, envs.num_envs, dtype=torch.bool),
        )


class PPO(Run[PPOConfig]):
    """A run of PPO; see `Run` for what all runs can do."""

    score_name = "eval_return"
    model: ActorCritic

    def build(self) -> None:
        """The environments, the two networks, and memory for a rollout."""
        config = self.config
        self.envs, self._eval_envs = (
            fastrl.make_vec(config.env, num_envs, **config.env_options)
            for num_envs in (config.num_envs, config.eval_episodes)
        )
        self.model = ActorCritic(self.envs, config.width, self._generator(_WEIGHTS))
        self.optimizer = torch.optim.Adam(
            self.model.parameters(), config.learning_rate, eps=1e-5, fused=True
        )
        self._spec = fastrl.PolicyLossSpec(
            clip_low=config.clip, clip_high=config.clip, entropy_coef=config.entropy_coef
        )
        self._rollout = Rollout.empty(self.envs, config.num_steps)
        self._returns = np.zeros(config.num_envs)  # of the running episodes
        first, _ = self.envs.reset(seed=self.seed(_ENVIRONMENTS))
        self._rollout.observations[-1] = torch.from_numpy(first)

    def learn(self) -> Update:
        """A rollout, and some passes over it."""
        begin = time.perf_counter()
        episodes, env_seconds = self._collect()
        collected = time.perf_counter()
        metrics = self._optimize()
        seconds = {
            "env_seconds": env_seconds,
            "rollout_seconds": collected - begin,
            "learn_seconds": time.perf_counter() - collected,
        }
        if episodes:
            metrics |= {"episodes": len(episodes), "episode_return": float(np.mean(episodes))}
        return Update(int(self._rollout.stepped[:-1].sum()), metrics, seconds)

    @torch.no_grad()
    def _collect(self) -> tuple[list[float], float]:
        """Fills the rollout; the returns of the episodes that ended, and the engine's seconds."""
        batch, env_seconds = self._rollout, 0.0
        batch.observations[0] = batch.observations[-1]
        batch.stepped[0] = batch.stepped[-1]
        # The largest of logits plus Gumbel noise is a sample of their softmax.
        source = self._generator(_ACTIONS)
        noise = torch.empty_like(batch.logits).exponential_(generator=source).log_().neg_()
        observations, actions, rewards, terminated, truncated = (
            tensor.numpy()
            for tensor in (
                batch.observations,
                batch.actions,
                batch.rewards,
                batch.terminated,
                batch.truncated,
            )
        )
        for t in range(self.config.num_steps):
            batch.logits[t] = self.model.actor(batch.observations[t])
            torch.argmax(batch.logits[t] + noise[t], -1, out=batch.actions[t])
            begin = time.perf_counter()
            self.envs.step_into(
                actions[t],
                observations=observations[t + 1],
                rewards=rewards[t],
                terminated=terminated[t],
                truncated=truncated[t],
            )
            env_seconds += time.perf_counter() - begin
        ended = batch.terminated | batch.truncated
        torch.logical_not(ended, out=batch.stepped[1:])
        episodes: list[float] = []
        for t, row in enumerate(ended.numpy()):
            self._returns += rewards[t]
            episodes += self._returns[row].tolist()
            self._returns[row] = 0.0
        return episodes, env_seconds

    def _optimize(self) -> Record:
        """Some passes over the rollout in minibatches; means of what was measured."""
        config, batch = self.config, self._rollout
        with torch.no_grad():
            values = self.model.values(batch.observations)  # [T + 1, B]
            stepped = batch.stepped[:-1]
            advantages = fastrl.gae(
                batch.rewards.float() * config.reward_scale,
                values[:-1],
                values[1:],
                batch.terminated,
                batch.truncated,
                gamma=config.gamma,
                lambda_=config.lambda_,
                stepped=stepped,
            )
            targets = (advantages + values[:-1])[stepped]  # [N] from here on
            advantages = advantages[stepped]
            advantages = (advantages - advantages.mean()) / (advantages.std(correction=0) + 1e-8)
            observations, actions = batch.observations[:-1][stepped], batch.actions[stepped]
            old_log_probs = fastrl.token_log_probs(batch.logits[stepped], actions).log_probs
        progress = min(self.env_steps / config.env_steps, 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate * (1.0 - progress)
        order = self._generator(_ORDER)
        measured: list[Tensor] = []
        for _ in range(config.epochs):
            shuffled = torch.randperm(len(actions), generator=order)
            for rows in shuffled.tensor_split(min(config.minibatches, len(actions))):
                stats = fastrl.token_log_probs(
                    self.model.actor(observations[rows]), actions[rows], entropy=True
                )
                assert stats.entropies is not None
                policy = fastrl.policy_loss(
                    stats.log_probs[None],  # one sequence [1, L] of actions
                    advantages[None, rows],
                    torch.ones(1, len(rows), dtype=torch.bool),
                    old_log_probs=old_log_probs[None, rows],
                    entropies=stats.entropies[None],
                    spec=self._spec,
                )
                error = (self.model.values(observations[rows]) - targets[rows]).square().mean()
                loss = policy.loss + 0.5 * config.value_coef * error
                self.optimizer.zero_grad(set_to_none=True)
                torch.autograd.backward(loss)
                nn.utils.clip_grad_norm_(self.model.parameters(), config.max_grad_norm)
                self.optimizer.step()
                metrics = policy.metrics
                measured.append(
                    torch.stack([
                        policy.loss.detach(), error.detach(), metrics["entropy"],
                        metrics["kl_to_old"],
                        metrics["clip_fraction_low"] + metrics["clip_fraction_high"],
                    ])
                )  # fmt: skip
        names = ("policy_loss", "value_loss", "entropy", "kl_to_old", "clip_fraction")
        return dict(zip(names, torch.stack(measured).mean(0).tolist(), strict=True))

    @torch.no_grad()
    def evaluate(self) -> float:
        """Mean return of fresh episodes with the most likely actions; costs no budget."""
        envs = self._eval_envs
        observations, _ = envs.reset(seed=self.seed(_EVALUATION))
        returns, running = np.zeros(envs.num_envs), np.ones(envs.num_envs, bool)
        while running.any():
            actions = self.model.actor(torch.from_numpy(observations)).argmax(-1)
            observations, rewards, terminated, truncated, _ = envs.step(actions.numpy())
            returns += np.where(running, rewards, 0.0)
            running &= ~(terminated | truncated)
        return float(returns.mean())

    def state(self) -> dict[str, Any]:
        """The environments, and what a rollout takes over from the one before."""
        return {
            "envs": base64.b64encode(self.envs.snapshot().tobytes()).decode(),
            "stepped": self._rollout.stepped[-1].tolist(),
            "returns": self._returns.tolist(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Puts environments and rollout where they were."""
        self.envs.restore(Snapshot.frombytes(base64.b64decode(state["envs"])))
        self._rollout.observations[-1] = torch.from_numpy(self.envs.observe())
        self._rollout.stepped[-1] = torch.tensor(state["stepped"])
        self._returns[:] = state["returns"]

    def seed(self, stream: int) -> int:
        """As of `Run`, but of 62 bits: a seed goes on giving the curve that it always gave."""
        return super().seed(stream) >> 1

    def _generator(self, stream: int) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed(stream))
