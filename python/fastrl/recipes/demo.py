"""The demonstration: R³L beside GRPO on a lock whose code must be found digit by digit."""

from typing import Any

from fastrl.recipes.config import TrainConfig

DEMO_TITLE = "CodeLock, 6 digits of 4 choices"


def demo_configs(seed: int) -> dict[str, TrainConfig]:
    """Equal budgets of environment steps, each algorithm with the learning rate that suits it."""
    shared: dict[str, Any] = {
        "env": "CodeLock-v0",
        "env_options": {"length": 6, "num_choices": 4, "num_levels": 1},
        "seed": seed,
        "env_steps": 80_000,
    }
    return {
        "GRPO": TrainConfig(algorithm="grpo", learning_rate=3e-4, **shared),
        "R³L": TrainConfig(algorithm="r3l", learning_rate=3e-3, **shared),
    }
