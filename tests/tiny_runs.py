"""Runs of every recipe that end within a second, and the smallest recipe that can be."""

import dataclasses
import json
from dataclasses import dataclass

import torch
from fastrl.recipes import (
    DQN,
    PPO,
    DQNConfig,
    HindsightDQN,
    HindsightDQNConfig,
    PPOConfig,
    SACDiscrete,
    SACDiscreteConfig,
    TrainConfig,
    Trainer,
)
from fastrl.recipes.checkpoints import write_atomically
from fastrl.recipes.config import RunConfig
from fastrl.recipes.run import Run, Update
from torch import nn

R3L = TrainConfig(
    algorithm="r3l",
    env="CodeLock-v0",
    env_options={"length": 3, "num_choices": 3, "num_levels": 1},
    env_steps=700,
    num_groups=2,
    width=16,
    num_layers=1,
    num_heads=2,
    eval_every=4,
    eval_episodes=16,
    checkpoint_every=3,
)

TAXI = PPOConfig(
    env="Taxi-v3",
    env_steps=2_500,
    num_envs=8,
    num_steps=32,
    epochs=2,
    minibatches=3,
    width=8,
    eval_every=4,
    eval_episodes=2,
    checkpoint_every=3,
)

OFF_POLICY = {
    "env": "CartPole-v1",
    "env_steps": 800,
    "num_envs": 4,
    "num_steps": 16,
    "gradient_steps": 3,
    "batch_size": 8,
    "capacity": 400,
    "learning_starts": 100,
    "n_step": 3,
    "width": 8,
    "priority_exponent": 0.6,
    "eval_every": 4,
    "eval_episodes": 2,
    "checkpoint_every": 3,
}
CART_POLE_DQN = DQNConfig(**OFF_POLICY)
CART_POLE_SAC = SACDiscreteConfig(**OFF_POLICY)
BIT_FLIP_HER = HindsightDQNConfig(
    **OFF_POLICY | {"env": "BitFlip-v0", "n_step": 1, "priority_exponent": 0.0},
    env_options={"num_bits": 6},
)


@dataclass(frozen=True, kw_only=True)
class LineConfig(RunConfig):
    env: str = "a line"
    env_steps: int = 100
    eval_every: int = 4
    eval_episodes: int = 1
    checkpoint_every: int = 3
    warm_up: int = 0
    least_score: float | None = None

    @property
    def target(self):
        return self.least_score


class Line(Run[LineConfig]):
    """Fits y = 2 x by 10 points an update; a frozen copy lags behind, as target networks do."""

    score_name = "score"

    def build(self):
        self.model = nn.ModuleDict({"line": nn.Linear(1, 1), "target": nn.Linear(1, 1)})
        self.model.requires_grad_(False)
        for parameter in self.model.parameters():
            parameter.zero_()
        self.model["line"].requires_grad_(True)
        self.optimizer = torch.optim.Adam(self.model["line"].parameters(), 0.1)
        self.lag = 0

    def learn(self):
        x = torch.rand(10, 1, generator=torch.Generator().manual_seed(self.seed(0)))
        error = (self.model["line"](x) - 2 * x).square().mean()
        if self.update >= self.config.warm_up:
            self.optimizer.zero_grad()
            error.backward()
            self.optimizer.step()
        self.lag = (self.lag + 1) % 5
        if self.lag == 0:
            self.model["target"].load_state_dict(self.model["line"].state_dict())
        return Update(len(x), {"error": error.item()}, {"learn_seconds": 0.5})

    def evaluate(self):
        return -(self.model["target"](torch.ones(1)) - 2).abs().item()

    def state(self):
        return {"lag": self.lag}

    def restore(self, state):
        self.lag = state["lag"]


class Errors:
    """All errors that there were, kept beside checkpoints as a replay buffer is."""

    def __init__(self, values=()):
        self.values = list(values)

    def save(self, path):
        path.mkdir(exist_ok=True)
        write_atomically(path / "errors.json", json.dumps(self.values).encode())

    @classmethod
    def load(cls, path):
        return cls(json.loads((path / "errors.json").read_text()))


class RememberingLine(Line):
    """Logs the largest error that it remembers."""

    def build(self):
        super().build()
        self.replay = Errors()

    def learn(self):
        update = super().learn()
        self.replay.values.append(update.metrics["error"])
        return update._replace(metrics=update.metrics | {"largest": max(self.replay.values)})


# The first checkpoint is from before the first step of the optimizer.
LINE = LineConfig(warm_up=4)

RUNS = {
    "line": (Line, LINE),
    "line-with-replay": (RememberingLine, LINE),
    "r3l": (Trainer, R3L),
    "ppo-taxi": (PPO, TAXI),
    "ppo-cart-pole": (PPO, dataclasses.replace(TAXI, env="CartPole-v1")),
    "dqn": (DQN, CART_POLE_DQN),
    "sac": (SACDiscrete, CART_POLE_SAC),
    "her": (HindsightDQN, BIT_FLIP_HER),
}
