"""A run's folder: its config, its logs, its checkpoint, and the lock of whoever trains in it.

A replay buffer is too large to be in the checkpoint. It is saved before it, in turns into one of
two places of which the checkpoint names one, so a killed process leaves the pair that belongs
together.
"""

import fcntl
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, Protocol, Self, TypeVar

import torch

from fastrl._dispatch import argument_error
from fastrl.recipes.checkpoints import (
    checkpoint_error,
    load_checkpoint,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
    write_atomically,
)
from fastrl.recipes.config import RunConfig
from fastrl.recipes.run_log import Record, RunLog, read_log

CONFIG_FILE = "config.json"
LOG_FILE = "log.jsonl"
TIMINGS_FILE = "timings.jsonl"
CHECKPOINT_FILE = "checkpoint.safetensors"
LOCK_FILE = "lock"
REPLAYS = ("replay-0", "replay-1")


class Replay(Protocol):
    """What a checkpoint can have beside it: a `fastrl.ReplayBuffer`, or what saves like one."""

    def save(self, path: Path) -> object:
        """Writes all of it to a path, over what an earlier save may have left there."""

    @classmethod
    def load(cls, path: Path) -> Self:
        """What was saved there."""


ReplayT = TypeVar("ReplayT", bound=Replay)


class RunFolder:
    """Belongs to one trainer until `close`; holds a run of one config.

    Args:
        path: The folder; made if it is not there.
        config: Of the run; the folder's own must be equal.
        owner: The class that trains, for messages.
    """

    def __init__(self, path: Path, config: RunConfig, owner: str) -> None:
        self._path, self._config, self._owner = path, config, owner
        self._log: RunLog | None = None
        self._timings: RunLog | None = None
        self._replay: str | None = None  # where that of the checkpoint is
        self._lock = self._locked()
        try:
            config_file = path / CONFIG_FILE
            if config_file.exists():
                self._check_config(config_file, config_file.read_text(errors="replace"))
            write_atomically(config_file, config.to_json().encode())
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Leaves the folder to others."""
        self._lock.close()

    @property
    def closed(self) -> bool:
        """Whether the folder was left to others."""
        return self._lock.closed

    def restore(
        self, model: torch.nn.Module, optimizer: torch.optim.Optimizer, keys: Sequence[str] = ()
    ) -> dict[str, Any] | None:
        """Puts model and optimizer where the checkpoint was, and cuts the log back to there.

        Args:
            model: Of this run.
            optimizer: Of the Adam family, over the model's parameters.
            keys: What the run keeps in the state beside "update" and "env_steps".

        Returns:
            The state that `save` was given, None where no checkpoint was saved yet.
        """
        try:
            path, state, offset = self._path / CHECKPOINT_FILE, None, 0
            if path.exists():
                tensors, state = load_checkpoint(path)
                needed = {"config", "update", "env_steps", "log_offset", *keys}
                missing = needed - state.keys()
                if missing:
                    raise checkpoint_error(path, f"it has no {', '.join(sorted(missing))}")
                self._check_config(path, state["config"])
                _check_tensors(path, tensors, model, optimizer)
                prefix = "model."
                model.load_state_dict(
                    {
                        name.removeprefix(prefix): tensor
                        for name, tensor in tensors.items()
                        if name.startswith(prefix)
                    }
                )
                restore_optimizer(model, optimizer, tensors)
                offset = int(state["log_offset"])
            log_file = self._path / LOG_FILE
            self._log = RunLog(log_file, offset)
            kept = read_log(log_file)
            if state is not None and (not kept or kept[-1].get("update") != state["update"]):
                rule = f"hold a log up to update {state['update']}"
                raise argument_error(self._owner, "folder", rule, log_file)
            self._timings = RunLog(self._path / TIMINGS_FILE, None)
        except BaseException:
            self.close()
            raise
        return state

    def restore_replay(self, state: dict[str, Any], kind: type[ReplayT]) -> ReplayT:
        """The replay of the checkpoint whose state `restore` gave."""
        checkpoint = self._path / CHECKPOINT_FILE
        if state["replay"] not in REPLAYS:
            raise checkpoint_error(checkpoint, f"its replay is {state['replay']!r}")
        path = self._path / state["replay"]
        if not path.exists():
            raise checkpoint_error(checkpoint, f"{path.name} is not beside it")
        replay = kind.load(path)
        self._replay = path.name
        # What a killed process was writing to; the next save begins from nothing.
        for name in REPLAYS:
            if name != self._replay:
                _remove(self._path / name)
        return replay

    def write(self, record: Record, timings: Record) -> None:
        """Adds a line to each log; nothing to that of the timings if there are none."""
        assert self._log is not None
        assert self._timings is not None
        self._log.write(record)
        if timings:
            self._timings.write(timings)

    def save(
        self,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        state: dict[str, Any],
        replay: Replay | None = None,
    ) -> None:
        """Replaces the checkpoint, and with it what replay belongs to it."""
        assert self._log is not None
        tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
        tensors |= optimizer_tensors(model, optimizer)
        about = {"config": self._config.to_json(), "log_offset": self._log.offset}
        place = None
        if replay is not None:
            place = about["replay"] = REPLAYS[self._replay == REPLAYS[0]]
            replay.save(self._path / place)
        save_checkpoint(self._path / CHECKPOINT_FILE, tensors, about | state)
        self._replay = place

    def _locked(self) -> IO[bytes]:
        try:
            self._path.mkdir(parents=True, exist_ok=True)
            lock = (self._path / LOCK_FILE).open("ab")
        except OSError as error:
            raise argument_error(
                self._owner,
                "folder",
                "be a folder to write in",
                f"{self._path} ({error.strerror})",
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.close()
            raise argument_error(
                self._owner,
                "folder",
                "be no other trainer's",
                f"{self._path}, where one is at work",
            ) from error
        return lock

    def _check_config(self, path: Path, text: str) -> None:
        difference = self._config.difference(text)
        if difference is not None:
            raise argument_error(
                self._owner,
                "folder",
                "be empty or hold a run of the same config",
                f"{path} with {difference}",
            )


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _check_tensors(
    path: Path,
    tensors: dict[str, torch.Tensor],
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
) -> None:
    """Every weight of this model's shapes, the moments of those it trains, and nothing else."""
    expected = {f"model.{name}": list(t.shape) for name, t in model.state_dict().items()}
    trained = {id(weight) for group in optimizer.param_groups for weight in group["params"]}
    # Before its first step an optimizer has no moments.
    if any(name.startswith("optimizer.") for name in tensors):
        for name, parameter in model.named_parameters():
            if id(parameter) in trained:
                expected[f"optimizer.step.{name}"] = []
                for moment in ("exp_avg", "exp_avg_sq"):
                    expected[f"optimizer.{moment}.{name}"] = list(parameter.shape)
    for name in sorted(expected.keys() | tensors.keys()):
        shape = list(tensors[name].shape) if name in tensors else None
        if shape != expected.get(name):
            raise checkpoint_error(
                path, f"{name} has shape {shape}, this run's has {expected.get(name)}"
            )
