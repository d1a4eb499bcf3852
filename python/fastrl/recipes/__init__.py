"""Training runs from start to end: R³L and GRPO on texts, PPO, DQN, SAC and HER on the others."""

from fastrl.recipes.config import TrainConfig
from fastrl.recipes.dqn import DQN, DQNConfig
from fastrl.recipes.her import HindsightDQN, HindsightDQNConfig
from fastrl.recipes.model import Transformer, TransformerConfig
from fastrl.recipes.ppo import PPO, PPOConfig
from fastrl.recipes.sac_discrete import SACDiscrete, SACDiscreteConfig
from fastrl.recipes.train import Trainer

__all__ = [
    "DQN",
    "PPO",
    "DQNConfig",
    "HindsightDQN",
    "HindsightDQNConfig",
    "PPOConfig",
    "SACDiscrete",
    "SACDiscreteConfig",
    "TrainConfig",
    "Trainer",
    "Transformer",
    "TransformerConfig",
]
