"""The training loop of both recipes: collect, update, evaluate, log, save.

Every random number of update u follows from (seed, u), so a run that was killed goes on from its
last checkpoint to the same bits as one that was not.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import fastrl
from fastrl.recipes.config import TrainConfig
from fastrl.recipes.model import Transformer
from fastrl.recipes.objectives import OBJECTIVES
from fastrl.recipes.run_folder import RunFolder
from fastrl.recipes.run_log import Record
from fastrl.rollout.reflect_then_retry import GroupRollout, ReflectThenRetry
from fastrl.rollout.reflectors import RuleReflector
from fastrl.rollout.torch_policy import TorchPolicy

_WEIGHTS, _LEVELS, _ROLLOUT, _EVALUATION = range(4)


def stream_seed(seed: int, stream: int, update: int) -> int:
    """An independent seed for each purpose and update."""
    return int(np.random.SeedSequence([seed, stream, update]).generate_state(1, np.uint64)[0] >> 1)


def make_envs(config: TrainConfig, num_envs: int, group_size: int) -> Any:
    """The run's environments. A run on a fixed number of levels draws its own from its seed."""
    options = dict(config.env_options)
    if options.get("num_levels") is not None:
        options.setdefault("level_seed", stream_seed(config.seed, _LEVELS, 0))
    return fastrl.make_vec(
        config.env,
        num_envs,
        group_size=group_size,
        autoreset_mode="disabled",
        **options,
    )


class Trainer:
    """A run and its folder. Made in a folder that holds a checkpoint, it goes on from there.

    Args:
        config: Of the run; the folder's own config must be equal.
        folder: Holds config.json, log.jsonl (results, the same for the same config), timings.jsonl
            and checkpoint.safetensors. It belongs to this trainer until `run` ends, or `close`.
            None keeps nothing.
    """

    def __init__(self, config: TrainConfig, folder: Path | None = None) -> None:
        self.config = config
        torch.set_num_threads(config.torch_threads)
        self.update = 0
        self.env_steps = 0
        self.success = 0.0
        self.records: list[Record] = []

        attempts = config.group_size // 2 if config.retries else config.group_size
        envs = make_envs(config, config.num_groups * attempts, attempts)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed(config.seed, _WEIGHTS, 0))
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
        self._evaluation = GroupRollout(self.policy, make_envs(config, config.eval_episodes, 1))
        self._folder = None if folder is None else RunFolder(folder, config, "Trainer")
        if self._folder is not None:
            state = self._folder.restore(self.model, self.optimizer, ["success"])
            if state is not None:
                self.update, self.env_steps = state["update"], state["env_steps"]
                self.success = state["success"]

    def close(self) -> None:
        """Leaves the folder to others; an unfinished run goes on with a new `Trainer`."""
        if self._folder is not None:
            self._folder.close()

    @property
    def finished(self) -> bool:
        """Whether the budget is spent or the target reached."""
        target = self.config.target_success
        reached = target is not None and self.success >= target
        return reached or self.env_steps >= self.config.env_steps

    def run(self, on_update: Callable[[Record], None] | None = None) -> list[Record]:
        """Trains until finished; returns the records of the whole run that this process made.

        Args:
            on_update: Called with each record, for a progress display.
        """
        if self._folder is not None and self._folder.closed and not self.finished:
            raise RuntimeError("Trainer.run: the folder is closed; make a new Trainer to go on")
        try:
            if self.update == 0 and not self.records:
                first = {"update": 0, "env_steps": 0, "success": self.evaluate()}
                self._write(first, {}, on_update)
            while not self.finished:
                self._write(*self.step(), on_update)
                if self.update % self.config.checkpoint_every == 0 or self.finished:
                    self.save()
        finally:
            self.close()
        return self.records

    def step(self) -> tuple[Record, Record]:
        """One update: its results, and how long they took."""
        config = self.config
        begin = time.perf_counter()
        batch, metrics = self.rollout.collect(stream_seed(config.seed, _ROLLOUT, self.update))
        collected = time.perf_counter()
        objective = OBJECTIVES[config.algorithm](self.policy, batch, config)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(objective.loss)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.max_grad_norm)
        self.optimizer.step()
        updated = time.perf_counter()

        self.update += 1
        self.env_steps += int(metrics.pop("env_steps"))
        record = {"update": self.update, "env_steps": self.env_steps, **metrics}
        record |= {"loss": objective.loss.item(), "grad_norm": norm.item()}
        # The last update is always evaluated: a run's end is what it is judged by.
        if self.update % config.eval_every == 0 or self.env_steps >= config.env_steps:
            record["success"] = self.evaluate()
        timings = {
            "update": self.update,
            "collect_seconds": collected - begin,
            "update_seconds": updated - collected,
            "evaluate_seconds": time.perf_counter() - updated,
        }
        return record, timings

    def evaluate(self) -> float:
        """Share of successes in fresh attempts without advice; their steps are not counted."""
        seed = stream_seed(self.config.seed, _EVALUATION, self.update)
        attempts, _ = self._evaluation.collect(seed)
        self.success = float(attempts.successes.mean())
        return self.success

    def save(self) -> None:
        """Replaces the checkpoint."""
        if self._folder is not None:
            state = {"update": self.update, "env_steps": self.env_steps, "success": self.success}
            self._folder.save(self.model, self.optimizer, state)

    def _write(
        self, record: Record, timings: Record, on_update: Callable[[Record], None] | None
    ) -> None:
        self.records.append(record)
        if self._folder is not None:
            self._folder.write(record, timings)
        if on_update is not None:
            on_update(record)
