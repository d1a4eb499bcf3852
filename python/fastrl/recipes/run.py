"""What all recipes share: updates until the budget is spent, evaluations, logs and checkpoints.

A recipe is a subclass of `Run` that has its model in `build` and its algorithm in `learn`. A run
that was killed goes on from its last checkpoint to the same bits as one that was not, given that
every random number of update u comes from `seed`, which follows from (seed of the run, u), and
that whatever else lasts from one update to the next is in `state`.
"""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import numpy as np
import torch

from fastrl.recipes.config import RunConfig
from fastrl.recipes.run_folder import RunFolder
from fastrl.recipes.run_log import Record

ConfigT = TypeVar("ConfigT", bound=RunConfig)


def stream_seed(seed: int, stream: int, update: int) -> int:
    """An independent seed of 63 bits for each purpose and update."""
    return int(np.random.SeedSequence([seed, stream, update]).generate_state(1, np.uint64)[0] >> 1)


class Update(NamedTuple):
    """What one update did."""

    env_steps: int
    metrics: Record
    """For the log, so the same for the same config."""
    seconds: Record
    """What its parts took, by names that end in _seconds."""


class Run(ABC, Generic[ConfigT]):
    """A run and its folder. Made in a folder that holds a checkpoint, it goes on from there.

    Args:
        config: Of the run; the folder's own config must be equal.
        folder: Holds config.json, log.jsonl (results, the same for the same config), timings.jsonl,
            checkpoint.safetensors and the replay that belongs to it. It is this run's until `run`
            ends, or `close`. None keeps nothing.

    Attributes:
        score_name: What `evaluate` measures, in logs and checkpoints.
        model: What is trained; frozen parts, such as target networks, may be in it.
        optimizer: Of the Adam family, over parameters of the model.
        replay: What was lived through, if `build` makes a buffer of it; checkpoints keep it, too.
        update: Updates so far, as `env_steps`.
        score: Of the last evaluation, -inf before the first.
        records: What `run` has logged in this process; `timings` is how long it took.
    """

    score_name: ClassVar[str]
    model: torch.nn.Module
    optimizer: torch.optim.Optimizer
    replay: Any = None  # a Replay, of a type that the recipe knows

    def __init__(self, config: ConfigT, folder: Path | None = None) -> None:
        self.config = config
        torch.set_num_threads(config.torch_threads)
        self.update = 0
        self.env_steps = 0
        self.score = -math.inf
        self.records: list[Record] = []
        self.timings: list[Record] = []
        self.build()
        self._folder: RunFolder | None = None
        if folder is not None:
            self._folder = RunFolder(folder, config, type(self).__name__)
            try:
                self._go_on(self._folder)
            except BaseException:
                self.close()
                raise

    # --- What a recipe says -----------------------------------------------------------------

    @abstractmethod
    def build(self) -> None:
        """Makes `model`, `optimizer`, the environments and all else, as before the first update."""

    @abstractmethod
    def learn(self) -> Update:
        """Collects and learns; `update` and `env_steps` are counted afterwards."""

    @abstractmethod
    def evaluate(self) -> float:
        """The score of the policy as it is; costs no budget and changes nothing."""

    def state(self) -> dict[str, Any]:
        """JSON values that a checkpoint keeps beside model, optimizer, counters and score."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Takes back what `state` gave."""

    # --- What a recipe gets -----------------------------------------------------------------

    def seed(self, stream: int) -> int:
        """An independent seed for each purpose of this update."""
        return stream_seed(self.config.seed, stream, self.update)

    def close(self) -> None:
        """Leaves the folder to others; an unfinished run goes on in a new object."""
        if self._folder is not None:
            self._folder.close()

    @property
    def finished(self) -> bool:
        """Whether the budget is spent or the target reached."""
        target = self.config.target
        return self._spent or (target is not None and self.score >= target)

    def run(self, on_update: Callable[[Record], None] | None = None) -> list[Record]:
        """Trains until finished; returns the records of the whole run that this process made.

        Args:
            on_update: Called with each record, for a progress display.
        """
        if self._folder is not None and self._folder.closed and not self.finished:
            name = type(self).__name__
            raise RuntimeError(f"{name}.run: the folder is closed; make a new {name} to go on")
        try:
            if self.update == 0 and not self.records:
                self._write({"update": 0, "env_steps": 0} | self._evaluated(), {}, on_update)
            while not self.finished:
                self._write(*self.step(), on_update)
                if self.update % self.config.checkpoint_every == 0 or self.finished:
                    self.save()
        finally:
            self.close()
        return self.records

    def step(self) -> tuple[Record, Record]:
        """One update, evaluated where it is due: its results, and how long its parts took."""
        update = self.learn()
        learned = time.perf_counter()
        self.update += 1
        self.env_steps += update.env_steps
        record = {"update": self.update, "env_steps": self.env_steps, **update.metrics}
        # The last update is always evaluated: a run's end is what it is judged by.
        if self.update % self.config.eval_every == 0 or self._spent:
            record |= self._evaluated()
        evaluated = {"evaluate_seconds": time.perf_counter() - learned}
        return record, {"update": self.update, **update.seconds, **evaluated}

    def save(self) -> None:
        """Replaces the checkpoint; nothing without a folder."""
        if self._folder is not None:
            counters = {"update": self.update, "env_steps": self.env_steps}
            state = counters | {self.score_name: self.score} | self.state()
            self._folder.save(self.model, self.optimizer, state, self.replay)

    @property
    def env_share(self) -> float:
        """The share of training's time that the environments took, where "env_seconds" say it.

        These are a part of the other seconds; evaluations are left out.
        """
        rest = ("update", "env_seconds", "evaluate_seconds")
        training = sum(row[name] for row in self.timings for name in row if name not in rest)
        engine = sum(row.get("env_seconds", 0.0) for row in self.timings)
        return float(engine / training) if training else 0.0

    @property
    def _spent(self) -> bool:
        return self.env_steps >= self.config.env_steps

    def _evaluated(self) -> Record:
        self.score = self.evaluate()
        return {self.score_name: self.score}

    def _go_on(self, folder: RunFolder) -> None:
        keys = [self.score_name, *self.state()]
        if self.replay is not None:
            keys.append("replay")
        state = folder.restore(self.model, self.optimizer, keys)
        if state is not None:
            if self.replay is not None:
                self.replay = folder.restore_replay(state, type(self.replay))
            self.update, self.env_steps = state["update"], state["env_steps"]
            self.score = state[self.score_name]
            self.restore(state)

    def _write(
        self, record: Record, timings: Record, on_update: Callable[[Record], None] | None
    ) -> None:
        self.records.append(record)
        if timings:
            self.timings.append(timings)
        if self._folder is not None:
            self._folder.write(record, timings)
        if on_update is not None:
            on_update(record)
