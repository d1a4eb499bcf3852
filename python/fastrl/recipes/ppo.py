"""PPO in one file: proximal policy optimization on native environments.

Rollouts step the engine straight into the rows of the batch: those in which an environment only
resets are marked in `stepped`, `gae` passes over them and no minibatch has them. Values and old
log-probs are computed for a whole rollout at once. Losses are `token_log_probs` and `policy_loss`
with an action as a token, and a squared error for the values.

What acting has in common with other algorithms is in control.py.

Reference: Schulman et al., "Proximal policy optimization algorithms", 2017.
"""

import math
import time
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

import fastrl
from fastrl.recipes.control import ACTIONS, WEIGHTS, Collected, ControlConfig, ControlRun
from fastrl.recipes.networks import gumbel_noise, two_layers
from fastrl.recipes.run_log import Record

_ORDER = 3  # a stream of random numbers beside those of all control


@dataclass(frozen=True, kw_only=True)
class PPOConfig(ControlConfig):
    """A run of PPO; see `ControlConfig` for what else there is. `tuned` knows the best for some.

    Args:
        num_steps: T, steps of a rollout, at least 2.
        epochs: Passes over a rollout.
        minibatches: Gradient steps in a pass, at most B T.
        learning_rate: Of Adam; it falls to 0 in a straight line over the budget.
        lambda_: Of `gae`.
        clip: Distance of the clips of the ratio from 1.
        value_coef: Weight of the values' squared error.
        entropy_coef: Weight of the entropy bonus.
        max_grad_norm: Longer gradients are cut to this length.
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
    num_envs: int = 32
    num_steps: int = 64
    epochs: int = 8
    minibatches: int = 4
    learning_rate: float = 2e-3
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
        for name in ("epochs", "minibatches"):
            check.integer(name, getattr(self, name), low=1)
        check.integer("num_steps", self.num_steps, low=2)  # so that not all rows are resets
        size = self.num_envs * self.num_steps
        if self.minibatches > size:
            rule = f"be from 1 to num_envs * num_steps = {size}"
            raise check.error("minibatches", rule, self.minibatches)
        check.number("max_grad_norm", self.max_grad_norm, low=0, exclusive_low=True)
        for name in ("value_coef", "entropy_coef"):
            check.number(name, getattr(self, name), low=0)
        check.number("lambda_", self.lambda_, low=0, high=1)
        check.number("clip", self.clip, low=0, high=1, exclusive_low=True)


def _orthogonal(network: nn.Sequential, gain: float, source: torch.Generator) -> nn.Sequential:
    """Starts a network with orthogonal weights, those of its last layer of this size."""
    for layer in network:
        if isinstance(layer, nn.Embedding):
            nn.init.normal_(layer.weight, generator=source)
        elif isinstance(layer, nn.Linear):
            scale = gain if layer is network[-1] else math.sqrt(2)
            nn.init.orthogonal_(layer.weight, scale, generator=source)
            nn.init.zeros_(layer.bias)
    return network


class ActorCritic(nn.Module):
    """The policy's logits and the values of observations."""

    def __init__(self, envs: Any, width: int, source: torch.Generator) -> None:
        super().__init__()
        space, num_actions = envs.single_observation_space, int(envs.single_action_space.n)
        self.actor = _orthogonal(two_layers(space, width, num_actions, nn.Tanh), 0.01, source)
        self.critic = _orthogonal(two_layers(space, width, 1, nn.Tanh), 1.0, source)

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


class PPO(ControlRun[PPOConfig]):
    """A run of PPO; see `Run` for what all runs can do."""

    model: ActorCritic

    def build(self) -> None:
        """The environments, the two networks, and memory for a rollout."""
        super().build()
        config = self.config
        self.model = ActorCritic(self.envs, config.width, self.generator(WEIGHTS))
        self.optimizer = torch.optim.Adam(
            self.model.parameters(), config.learning_rate, eps=1e-5, fused=True
        )
        self._spec = fastrl.PolicyLossSpec(
            clip_low=config.clip, clip_high=config.clip, entropy_coef=config.entropy_coef
        )
        self._rollout = Rollout.empty(self.envs, config.num_steps)

    def prefer(self, inputs: Tensor) -> Tensor:
        """The most likely action."""
        return self.model.actor(inputs).argmax(-1)  # type: ignore[no-any-return]

    @torch.no_grad()
    def collect(self) -> Collected:
        """Fills the rollout."""
        batch, env_seconds = self._rollout, 0.0
        batch.observations[0] = torch.from_numpy(self.observations)
        batch.stepped[0] = torch.from_numpy(~self.ended)
        noise = gumbel_noise(batch.logits, self.generator(ACTIONS))
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
        ended = terminated | truncated
        np.logical_not(ended, out=batch.stepped[1:].numpy())
        self.observations, self.ended = observations[-1], ended[-1]
        returns = [each for step in zip(rewards, ended, strict=True) for each in self.count(*step)]
        return Collected(int(batch.stepped[:-1].sum()), returns, env_seconds)

    def optimize(self, collected: Collected) -> Record:
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
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate * (1.0 - self.progress)
        order = self.generator(_ORDER)
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

    def seed(self, stream: int) -> int:
        """As of `Run`, but of 62 bits: a seed goes on giving the curve that it always gave."""
        return super().seed(stream) >> 1
