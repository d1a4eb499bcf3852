"""The losses of GRPO and R³L over a batch of trajectories."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

import fastrl
from fastrl._dispatch import argument_error
from fastrl.recipes.config import TrainConfig
from fastrl.rollout.torch_policy import TorchPolicy
from fastrl.rollout.trajectories import Role, Trajectories


class Objective(NamedTuple):
    """What an update minimizes."""

    loss: torch.Tensor
    advantages: torch.Tensor
    """[B] of the reinforced trajectories."""


def action_log_probs(policy: TorchPolicy, batch: Trajectories, mask: torch.Tensor) -> torch.Tensor:
    """[B, L] log-probs of the tokens under the current weights, 0 where `mask` is false.

    Only positions under the mask reach the head, and only its rows of allowed tokens are used.
    """
    tokens = torch.from_numpy(batch.tokens).long()
    hidden = policy.model(tokens)
    row, column = mask.nonzero(as_tuple=True)
    logits = policy.logits(hidden[row, column - 1])  # [N, number of allowed tokens]
    chosen = tokens[row, column]
    if not torch.isin(chosen, policy.allowed_tokens).all():
        raise argument_error(
            "action_log_probs", "batch", "hold actions of tokens that `policy` may say", "others"
        )
    index = torch.searchsorted(policy.allowed_tokens, chosen)
    stats = fastrl.token_log_probs(logits, index, temperature=policy.temperature)
    return torch.zeros(mask.shape).index_put((row, column), stats.log_probs)


def grpo_objective(policy: TorchPolicy, batch: Trajectories, config: TrainConfig) -> Objective:
    """Group-normalized advantages and the clipped ratio to the sampler (Shao et al., 2024)."""
    mask = torch.from_numpy(batch.action_mask)
    advantages = fastrl.group_advantages(
        torch.from_numpy(batch.rewards), torch.from_numpy(batch.group_ids), scale="group"
    )
    log_probs = action_log_probs(policy, batch, mask)
    result = fastrl.policy_loss(
        log_probs,
        advantages,
        mask,
        old_log_probs=torch.from_numpy(batch.log_probs),
        spec="grpo",
    )
    return Objective(result.loss, advantages)


def r3l_objective(policy: TorchPolicy, batch: Trajectories, config: TrainConfig) -> Objective:
    """Amplified advantages behind the pivot, plus the likelihood of what was verified.

    Guided retries and reflections are learned with advantage 1 in a term of their own.

    Bases and retries of a level are one group. There is no importance ratio: a retry was sampled
    with the advice in sight and is trained on without it.
    """
    mask = torch.from_numpy(batch.action_mask)
    if config.mask_prefix:
        mask = fastrl.pivot_mask(
            mask, torch.from_numpy(batch.turn_starts), torch.from_numpy(batch.pivot_turns)
        )
    taught = np.isin(batch.roles, (Role.GUIDED, Role.REFLECTION))
    reinforced = torch.from_numpy(np.flatnonzero(~taught))
    rewards = torch.from_numpy(batch.rewards)[reinforced]
    advantages = fastrl.group_advantages(
        rewards, torch.from_numpy(batch.group_ids)[reinforced], scale="none"
    )
    if config.amplification > 1:
        advantages = fastrl.positive_amplification(advantages, rewards, alpha=config.amplification)
    log_probs = action_log_probs(policy, batch, mask)
    loss = fastrl.policy_loss(log_probs[reinforced], advantages, mask[reinforced], spec="r3l").loss
    if taught.any() and config.sft_coef:
        verified = torch.from_numpy(np.flatnonzero(taught))
        likelihood = fastrl.policy_loss(
            log_probs[verified], torch.ones(len(verified)), mask[verified], spec="r3l"
        ).loss
        loss = loss + config.sft_coef * likelihood
    return Objective(loss, advantages)


OBJECTIVES: dict[str, Callable[[TorchPolicy, Trajectories, TrainConfig], Objective]] = {
    "grpo": grpo_objective,
    "r3l": r3l_objective,
}
