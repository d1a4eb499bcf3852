"""The training loop of both recipes: collect, update, evaluate, log, save.

Every random number of update u follows from (seed, u), so a run that was killed goes on from its
last checkpoint to the same bits as one that was not.
"""

import fcntl
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

import fastrl
from fastrl._dispatch import argument_error
from fastrl.recipes.checkpoints import (
    checkpoint_error,
    load_checkpoint,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
    write_atomically,
)
from fastrl.recipes.config import TrainConfig
from fastrl.recipes.model import Transformer
from fastrl.recipes.objectives import OBJECTIVES
from fastrl.recipes.run_log import Record, RunLog, read_log
from fastrl.rollout.reflect_then_retry import GroupRollout, ReflectThenRetry
from fastrl.rollout.reflectors import RuleReflector
from fastrl.rollout.torch_policy import TorchPolicy

CONFIG_FILE = "config.json"
LOG_FILE = "log.jsonl"
TIMINGS_FILE = "timings.jsonl"
CHECKPOINT_FILE = "checkpoint.safetensors"
LOCK_FILE = "lock"

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
        self.folder = folder
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
        self._log: RunLog | None = None
        self._timings: RunLog | None = None
        self._lock: IO[bytes] | None = None
        if folder is not None:
            try:
                self._open(folder)
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Leaves the folder to others; an unfinished run goes on with a new `Trainer`."""
        if self._lock is not None:
            self._lock.close()

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
        if self._lock is not None and self._lock.closed and not self.finished:
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
        if self.folder is None or self._log is None:
            return
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        state = {
            "config": self.config.to_json(),
            "update": self.update,
            "env_steps": self.env_steps,
            "success": self.success,
            "log_offset": self._log.offset,
        }
        tensors |= optimizer_tensors(self.model, self.optimizer)
        save_checkpoint(self.folder / CHECKPOINT_FILE, tensors, state)

    def _write(
        self, record: Record, timings: Record, on_update: Callable[[Record], None] | None
    ) -> None:
        self.records.append(record)
        if self._log is not None and self._timings is not None:
            self._log.write(record)
            if timings:
                self._timings.write(timings)
        if on_update is not None:
            on_update(record)

    def _open(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = (folder / LOCK_FILE).open("ab")
        except OSError as error:
            raise argument_error(
                "Trainer", "folder", "be a folder to write in", f"{folder} ({error.strerror})"
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise argument_error(
                "Trainer", "folder", "be no other trainer's", f"{folder}, where one is at work"
            ) from error
        config_file = folder / CONFIG_FILE
        if config_file.exists():
            self._check_config(config_file, config_file.read_text(errors="replace"))
        write_atomically(config_file, self.config.to_json().encode())
        offset = 0
        if (folder / CHECKPOINT_FILE).exists():
            offset = self._load(folder / CHECKPOINT_FILE)
        self._log = RunLog(folder / LOG_FILE, offset)
        kept = read_log(folder / LOG_FILE)
        if self.update and (not kept or kept[-1].get("update") != self.update):
            raise argument_error(
                "Trainer", "folder", f"hold a log up to update {self.update}", folder / LOG_FILE
            )
        self._timings = RunLog(folder / TIMINGS_FILE, None)

    def _check_config(self, path: Path, text: str) -> None:
        difference = self.config.difference(text)
        if difference is not None:
            raise argument_error(
                "Trainer",
                "folder",
                "be empty or hold a run of the same config",
                f"{path} with {difference}",
            )

    def _load(self, path: Path) -> int:
        tensors, state = load_checkpoint(path)
        missing = {"config", "update", "env_steps", "success", "log_offset"} - state.keys()
        if missing:
            raise checkpoint_error(path, f"it has no {', '.join(sorted(missing))}")
        self._check_config(path, state["config"])
        self._check_tensors(path, tensors)
        prefix = "model."
        self.model.load_state_dict(
            {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
        )
        restore_optimizer(self.model, self.optimizer, tensors)
        self.update, self.env_steps = state["update"], state["env_steps"]
        self.success = state["success"]
        return int(state["log_offset"])

    def _check_tensors(self, path: Path, tensors: dict[str, torch.Tensor]) -> None:
        """Every weight and its optimizer state, of this model's shapes, and nothing else."""
        expected = {f"model.{name}": list(t.shape) for name, t in self.model.state_dict().items()}
        for name, parameter in self.model.named_parameters():
            expected[f"optimizer.step.{name}"] = []
            for moment in ("exp_avg", "exp_avg_sq"):
                expected[f"optimizer.{moment}.{name}"] = list(parameter.shape)
        for name in sorted(expected.keys() | tensors.keys()):
            shape = list(tensors[name].shape) if name in tensors else None
            if shape != expected.get(name):
                raise checkpoint_error(
                    path, f"{name} has shape {shape}, this run's has {expected.get(name)}"
                )
