"""R³L and GRPO on native text environments: groups of attempts and retries, one step on each batch.

The losses are in objectives.py, the transformer in model.py.
"""

import time
from typing import Any

import torch

import fastrl
from fastrl.recipes.config import TrainConfig
from fastrl.recipes.model import Transformer
from fastrl.recipes.objectives import OBJECTIVES
from fastrl.recipes.run import Run, Update
from fastrl.rollout.reflect_then_retry import GroupRollout, ReflectThenRetry
from fastrl.rollout.reflectors import RuleReflector
from fastrl.rollout.torch_policy import TorchPolicy

_WEIGHTS, _LEVELS, _ROLLOUT, _EVALUATION = range(4)


class Trainer(Run[TrainConfig]):
    """A run of R³L or GRPO; see `Run` for what all runs can do."""

    score_name = "success"
    model: Transformer

    def build(self) -> None:
        """The environments, the transformer, and what lets it play and retry."""
        config = self.config
        attempts = config.group_size // 2 if config.retries else config.group_size
        envs = self._make_envs(config.num_groups * attempts, attempts)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed(_WEIGHTS))
            self.model = Transformer(config.model_config())
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.policy = TorchPolicy(self.model, allowed_tokens=envs.action_tokens.tolist())
        spec = config.rollout_spec()
        if config.retries:
            reflector = RuleReflector(suggest=config.suggest)
            self.rollout: GroupRollout = ReflectThenRetry(self.policy, envs, reflector, spec)
        else:
            self.rollout = GroupRollout(self.policy, envs, spec)
        self._evaluation = GroupRollout(self.policy, self._make_envs(config.eval_episodes, 1))

    def learn(self) -> Update:
        """One batch of attempts and retries, and one step of the optimizer on it."""
        config = self.config
        begin = time.perf_counter()
        batch, metrics = self.rollout.collect(self.seed(_ROLLOUT))
        collected = time.perf_counter()
        objective = OBJECTIVES[config.algorithm](self.policy, batch, config)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(objective.loss)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.max_grad_norm)
        self.optimizer.step()
        seconds = {
            "collect_seconds": collected - begin,
            "update_seconds": time.perf_counter() - collected,
        }
        env_steps = int(metrics.pop("env_steps"))
        learned = {"loss": objective.loss.item(), "grad_norm": norm.item()}
        return Update(env_steps, metrics | learned, seconds)

    def evaluate(self) -> float:
        """Share of successes in fresh attempts without advice; their steps are not counted."""
        attempts, _ = self._evaluation.collect(self.seed(_EVALUATION))
        return float(attempts.successes.mean())

    def _make_envs(self, num_envs: int, group_size: int) -> Any:
        """A run on a fixed number of levels draws its own from its seed."""
        options = dict(self.config.env_options)
        if options.get("num_levels") is not None:
            options.setdefault("level_seed", self.seed(_LEVELS))
        return fastrl.make_vec(
            self.config.env,
            num_envs,
            group_size=group_size,
            autoreset_mode="disabled",
            **options,
        )
