"""The settings in which other trainers run the text environments."""

from typing import Any, Final

PRESETS: Final[dict[str, dict[str, dict[str, Any]]]] = {
    "Countdown-v0": {
        "ragen": {
            "num_numbers": 4,
            "min_numbers": 3,
            "max_number": 99,
            "min_target": 10,
            "max_target": 99,
            "levels": "sums",
            "attempts": 1,
            "max_episode_steps": 1,
            "invalid_penalty": 0.0,
        },
    },
    "FrozenLakeText-v0": {
        "ragen": {
            "size": 4,
            "frozen_probability": 0.9,
            "slippery": True,
            "success_rate": 0.8,
            "max_episode_steps": 10,
            "invalid_penalty": 0.1,
        },
    },
    "Minesweeper-v0": {
        # A malformed action is one without effect, for which the rewards charge 1 already.
        "lamer": {
            "size": 6,
            "num_mines": 3,
            "reward": "lamer",
            "max_episode_steps": 7,
            "invalid_penalty": 0.0,
        },
    },
    "Sokoban-v0": {
        "ragen": {"size": 6, "num_boxes": 1, "max_episode_steps": 100, "invalid_penalty": 0.1},
        "lamer": {
            "size": 6,
            "num_boxes": 2,
            "min_solution_length": 3,
            "max_solution_length": 21,
            "max_episode_steps": 30,
            "invalid_penalty": 0.1,
        },
        "verl_agent": {"size": 6, "num_boxes": 1, "max_episode_steps": 15, "invalid_penalty": 0.1},
    },
}
"""By environment and trainer. "max_episode_steps" and "invalid_penalty" are always there, the rest
are options of the environment."""
