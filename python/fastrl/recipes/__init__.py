"""Training runs from start to end: R³L and GRPO on texts, PPO, DQN and SAC on the others."""

from fastrl.recipes.config import TrainConfig
from fastrl.recipes.dqn import DQN, DQNConfig
from fastrl.recipes.model import Transformer, TransformerConfig
from fastrl.recipes.ppo import PPO, PPOConfig
from fastrl.recipes.sac_discrete import SACDiscrete, SACDiscreteConfig
from fastrl.recipes.train import Trainer

__all__ = [
    "DQN",
    "PPO",
    "DQNConfig",
    "PPOConfig",
    "SACDiscrete",
    "SACDiscreteConfig",
    "TrainConfig",
    "Trainer",
    "Transformer",
    "TransformerConfig",
]
