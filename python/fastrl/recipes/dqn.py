"""DQN in one file: double Q-learning from prioritized n-step replay.

    y = r + d Q̄(s', argmax_a Q(s', a))

with the reward r and the discount d of the buffer's n-step transitions and a target network Q̄
that follows Q slowly. What acting, storing and drawing have in common with other algorithms is in
off_policy.py.

References: Mnih et al., "Human-level control through deep reinforcement learning", 2015;
van Hasselt et al., "Deep reinforcement learning with double Q-learning", 2016; Schaul et al.,
"Prioritized experience replay", 2016.
"""

from dataclasses import dataclass
from typing import ClassVar, TypeVar

import torch
from torch import Tensor, nn

from fastrl.recipes.networks import as_inputs
from fastrl.recipes.off_policy import OffPolicyConfig, OffPolicyRun, follow, td_targets
from fastrl.replay import Batch


@dataclass(frozen=True, kw_only=True)
class DQNConfig(OffPolicyConfig):
    """A run of DQN; `tuned` knows the best for some environments.

    Args:
        n_step: Rewards that a transition sums before it bootstraps.
        priority_exponent: 0 draws uniformly.
        epsilon: Share of random actions once exploration is over.
        exploration: Share of the budget over which random actions get rarer, from all to epsilon.
        max_grad_norm: Longer gradients are cut to this length.
    """

    # CartPole-v1 is what the defaults are for.
    presets: ClassVar = {"Acrobot-v1": {"env_steps": 40_000, "gradient_steps": 64}}

    n_step: int = 3
    priority_exponent: float = 0.6
    epsilon: float = 0.05
    exploration: float = 0.2
    max_grad_norm: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check = self._arguments
        for name in ("epsilon", "exploration"):
            check.number(name, getattr(self, name), low=0, high=1)
        check.number("max_grad_norm", self.max_grad_norm, low=0, exclusive_low=True)


class QNetworks(nn.Module):
    """The action values that are learned, and the slower ones that they are learned from."""

    def __init__(self, online: nn.Module, target: nn.Module) -> None:
        super().__init__()
        self.online, self.target = online, target
        target.load_state_dict(online.state_dict())
        target.requires_grad_(False)


ConfigT = TypeVar("ConfigT", bound=DQNConfig)


class DeepQ(OffPolicyRun[ConfigT]):
    """DQN with any config that is at least a `DQNConfig`."""

    model: QNetworks

    def build(self) -> None:
        """The environments, the buffer and two networks."""
        super().build()
        self.model = QNetworks(*self.networks(2))
        self._weights = list(self.model.online.parameters())
        self._targets = list(self.model.target.parameters())
        self.optimizer = torch.optim.Adam(self._weights, self.config.learning_rate, fused=True)

    @property
    def epsilon(self) -> float:
        """The share of random actions now."""
        last, share = self.config.epsilon, self.config.exploration
        return last if self.progress >= share else 1.0 - (1.0 - last) * self.progress / share

    def behave(self, inputs: Tensor, source: torch.Generator) -> Tensor:
        """The best action, or a random one with probability epsilon."""
        n = len(inputs)
        explores = torch.rand(n, generator=source) < self.epsilon
        random = torch.randint(self.num_actions, (n,), generator=source)
        return torch.where(explores, random, self.prefer(inputs))

    def prefer(self, inputs: Tensor) -> Tensor:
        """The action of the largest value."""
        return self.model.online(inputs).argmax(-1)  # type: ignore[no-any-return]

    def improve(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """A step on the Huber loss of the TD errors, weighted against the priorities."""
        with torch.no_grad():
            next_inputs = as_inputs(batch.next_observations)
            best = self.prefer(next_inputs)[:, None]
            next_values = self.model.target(next_inputs).gather(-1, best)[:, 0]
            targets = td_targets(batch.rewards, batch.discounts, next_values)
        values = self.model.online(as_inputs(batch.observations))
        values = values.gather(-1, batch.actions[:, None])[:, 0]
        losses = nn.functional.smooth_l1_loss(values, targets, reduction="none")
        loss = (batch.importance_weights * losses).mean()
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self._weights, self.config.max_grad_norm)
        self.optimizer.step()
        follow(self._targets, self._weights, self.config.tau)
        return (targets - values).detach(), {"loss": loss.detach(), "value": values.detach().mean()}


class DQN(DeepQ[DQNConfig]):
    """A run of DQN; see `Run` for what all runs can do."""
