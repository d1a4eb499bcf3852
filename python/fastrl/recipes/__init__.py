"""Training runs from start to end: R³L and GRPO on native text environments, PPO on the others."""

from fastrl.recipes.config import TrainConfig
from fastrl.recipes.model import Transformer, TransformerConfig
from fastrl.recipes.ppo import PPO, PPOConfig
from fastrl.recipes.train import Trainer

__all__ = ["PPO", "PPOConfig", "TrainConfig", "Trainer", "Transformer", "TransformerConfig"]
