"""Training runs from start to end: R³L and GRPO on native text environments."""

from fastrl.recipes.config import TrainConfig
from fastrl.recipes.model import Transformer, TransformerConfig
from fastrl.recipes.train import Trainer

__all__ = ["TrainConfig", "Trainer", "Transformer", "TransformerConfig"]
