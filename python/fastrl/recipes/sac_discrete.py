"""SAC for discrete actions in one file: a policy that is as random as its returns allow.

    v(s) = Σ_a π(a|s) (min(Q̄₁(s, a), Q̄₂(s, a)) − α log π(a|s)),    y = r + d v(s')

Two critics learn y, the policy minimizes E[Σ_a π(a|s) (α log π(a|s) − min(Q₁, Q₂)(s, a))], and the
temperature α moves until the policy's entropy is the target's. All three are expectations over all
actions, so nothing but acting is sampled. What acting, storing and drawing have in common with
other algorithms is in off_policy.py.

Reference: Christodoulou, "Soft actor-critic for discrete action settings", 2019.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fastrl.recipes.networks import as_inputs, gumbel_noise
from fastrl.recipes.off_policy import OffPolicyConfig, OffPolicyRun, follow, td_targets
from fastrl.replay import Batch


@dataclass(frozen=True, kw_only=True)
class SACDiscreteConfig(OffPolicyConfig):
    """A run of SAC for discrete actions; `tuned` knows the best for some environments.

    Args:
        target_entropy: What the policy's entropy is brought to, as a share of the largest, log A.
        temperature: α at the start.
        temperature_rate: Learning rate of log α.
    """

    presets: ClassVar = {"Acrobot-v1": {"env_steps": 40_000}}

    gradient_steps: int = 64
    n_step: int = 3
    tau: float = 0.02
    target_entropy: float = 0.4
    temperature: float = 0.1
    temperature_rate: float = 3e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        check = self._arguments
        check.number("target_entropy", self.target_entropy, low=0, high=1)
        check.number("temperature", self.temperature, low=0, exclusive_low=True)
        check.number("temperature_rate", self.temperature_rate, low=0)


class SoftActorCritic(nn.Module):
    """The policy's logits, two critics, their slower copies, and log α."""

    def __init__(self, networks: list[nn.Module], temperature: float) -> None:
        super().__init__()
        self.actor, *critics = networks
        self.critics, self.targets = nn.ModuleList(critics[:2]), nn.ModuleList(critics[2:])
        self.targets.load_state_dict(self.critics.state_dict())
        self.targets.requires_grad_(False)
        self.log_temperature = nn.Parameter(torch.tensor(math.log(temperature)))

    def soft_values(self, inputs: Tensor) -> Tensor:
        """v(s) by the target critics, [n]."""
        log_probs = self.actor(inputs).log_softmax(-1)
        first, second = (target(inputs) for target in self.targets)
        gains = torch.minimum(first, second) - self.log_temperature.exp() * log_probs
        values: Tensor = (log_probs.exp() * gains).sum(-1)
        return values


class SACDiscrete(OffPolicyRun[SACDiscreteConfig]):
    """A run of SAC for discrete actions; see `Run` for what all runs can do."""

    model: SoftActorCritic

    def build(self) -> None:
        """The environments, the buffer, and five networks."""
        super().build()
        config = self.config
        self.model = SoftActorCritic(self.networks(5), config.temperature)
        self._goal = config.target_entropy * math.log(self.num_actions)
        self._critics = list(self.model.critics.parameters())
        self._targets = list(self.model.targets.parameters())
        groups: list[dict[str, Any]] = [
            {"params": [*self.model.actor.parameters(), *self._critics]},
            {"params": [self.model.log_temperature], "lr": config.temperature_rate},
        ]
        self.optimizer = torch.optim.Adam(groups, config.learning_rate, fused=True)

    def behave(self, inputs: Tensor, source: torch.Generator) -> Tensor:
        """Actions drawn from the policy."""
        logits: Tensor = self.model.actor(inputs)
        return (logits + gumbel_noise(logits, source)).argmax(-1)

    def prefer(self, inputs: Tensor) -> Tensor:
        """The most likely action."""
        return self.model.actor(inputs).argmax(-1)  # type: ignore[no-any-return]

    def improve(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """A step of critics, policy and temperature together; each has weights of its own."""
        model, weights = self.model, batch.importance_weights
        with torch.no_grad():
            next_values = model.soft_values(as_inputs(batch.next_observations))
            targets = td_targets(batch.rewards, batch.discounts, next_values)
        observed = as_inputs(batch.observations)
        both = torch.stack([critic(observed) for critic in model.critics])  # [2, n, A]
        taken = batch.actions.expand(2, -1)[..., None]
        td_errors = targets - both.gather(-1, taken)[..., 0]  # [2, n]
        critic_loss = 0.5 * (weights * td_errors.square().sum(0)).mean()

        log_probs = model.actor(observed).log_softmax(-1)
        probs = log_probs.exp()
        temperature = model.log_temperature.exp()
        costs = temperature.detach() * log_probs - both.detach().amin(0)
        actor_loss = (probs * costs).sum(-1).mean()
        entropy = -(probs * log_probs).sum(-1).mean().detach()
        temperature_loss = model.log_temperature * (entropy - self._goal)

        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(critic_loss + actor_loss + temperature_loss)
        self.optimizer.step()
        follow(self._targets, self._critics, self.config.tau)
        metrics = {
            "critic_loss": critic_loss, "actor_loss": actor_loss, "entropy": entropy,
            "temperature": temperature, "value": next_values.mean(),
        }  # fmt: skip
        # The mean of the two errors' sizes says how much there is to learn from a transition.
        return td_errors.detach().abs().mean(0), {
            name: value.detach() for name, value in metrics.items()
        }
