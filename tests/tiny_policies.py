"""Policies of random weights on a small lock."""

import fastrl
import numpy as np
import torch
from fastrl.recipes.model import Transformer, TransformerConfig
from fastrl.rollout import TorchPolicy

REPORT = {
    "trajectory_summary": "entered digits",
    "root_cause_analysis": "the second digit was wrong",
    "trajectory_outcome": "failure",
    "improvement_suggestion": "avoid 3",
    "retry_from_step": 1,
}


def make_model(seed=0):
    torch.manual_seed(seed)
    model = Transformer(TransformerConfig(width=16, num_layers=2, num_heads=2))
    model.head.weight.data.mul_(10)  # far from uniform, so that mistakes show
    return model


def code_lock(num_envs=8, group_size=4, **options):
    options = {"length": 5, "num_levels": 2, "level_seed": 3, **options}
    return fastrl.make_vec(
        "CodeLock-v0", num_envs, group_size=group_size, autoreset_mode="disabled", **options
    )


def make_policy(envs, **options):
    return TorchPolicy(make_model(), allowed_tokens=envs.action_tokens.tolist(), **options)


def full_log_probs(policy, tokens):
    """Of every token given those before it, from one pass without a cache."""
    tokens = torch.as_tensor(np.asarray(tokens)).long()[None]
    logits = policy.logits(policy.model(tokens))[0, :-1] / policy.temperature
    index = torch.searchsorted(policy.allowed_tokens, tokens[0, 1:])
    scores = logits.log_softmax(-1)
    found = scores.gather(1, index.clamp(max=scores.shape[1] - 1)[:, None])[:, 0]
    return np.concatenate(([0], found.detach().numpy()))
