"""Environments by name."""

from typing import Any

import gymnasium
import numpy as np

from fastrl import _core
from fastrl._dispatch import Arguments
from fastrl.envs.goal_vector import GoalVectorEnv
from fastrl.envs.text_vector import TextVectorEnv
from fastrl.envs.vector import VectorEnv, render_modes
from fastrl.envs.vocabulary import check_string

AUTORESET_MODES = {
    "next_step": gymnasium.vector.AutoresetMode.NEXT_STEP,
    "same_step": gymnasium.vector.AutoresetMode.SAME_STEP,
    "disabled": gymnasium.vector.AutoresetMode.DISABLED,
}

# The settings in which other trainers run these environments.
PRESETS: dict[str, dict[str, dict[str, Any]]] = {
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
}


def environment_ids() -> list[str]:
    """The ids that `make_vec` knows."""
    ids: list[str] = _core.environment_ids()
    return ids


def make_vec(
    id: str,
    num_envs: int = 1,
    *,
    precision: str = "exact",
    group_size: int = 1,
    num_levels: int | None = None,
    level_seed: int = 0,
    autoreset_mode: str | gymnasium.vector.AutoresetMode = "next_step",
    max_episode_steps: int | None = None,
    invalid_penalty: float | None = None,
    num_threads: int | None = None,
    history: int = 0,
    output: str = "numpy",
    preset: str | None = None,
    render_mode: str | None = None,
    **options: Any,
) -> VectorEnv:
    """A batch of native environments behind Gymnasium's `VectorEnv`.

    ================== =========================================================================
    CodeLock-v0        ``length=8, num_choices=4, reward="graded"|"matches"|"binary"``
    FrozenLakeText-v0  ``size=4, frozen_probability=0.8, slippery=False, success_rate=1/3,
                       ends="random"|"corners"``
    Sokoban-v0         ``size=6`` or ``height, width``, ``num_boxes=1, reward="gym"|"sparse",
                       min_solution_length=1, max_solution_length=1000``
    ================== =========================================================================

    The shortest solution of a Sokoban level has `min_solution_length` to `max_solution_length`
    actions. The minimum is approximate in rooms with so many positions that a search cannot rule
    out a shorter solution. Sizes go from 5 to 13; a room of `height` and `width` counts its outer
    walls and must be at least 3 × 5 or 4 × 5. FrozenLakeText draws up to 2000 maps until the goal
    can be reached, and carves a path into the last one if it cannot.

    All take ``observation="grid"|"compact"``: everything there is to see at each step, or
    everything at the start and then only what moves, for policies that read the whole history.

    Args:
        id: One of `environment_ids()`, with or without "fastrl/" in front.
        num_envs: B.
        precision: "exact", where Gymnasium's environments equal Gymnasium bit for bit, or "fast":
            float32 in SIMD, with random streams of its own, where an environment has that form.
        group_size: So many neighbors share the level of each of their episodes, but not their
            randomness. Divides `num_envs`.
        num_levels: None makes a new level at every reset. M draws each from M fixed ones that
            depend on `level_seed` and the options alone.
        level_seed: Names the fixed levels; not used without `num_levels`.
        autoreset_mode: "next_step", "same_step" or "disabled", as Gymnasium defines them.
        num_threads: At most so many work on this batch; None is all of the process's pool. Numbers
            do not depend on it.
        history: So many steps can be rewound; each costs one state's bytes an environment.
        output: "numpy", or "torch" for tensors of the same memory; infos stay NumPy.
        max_episode_steps: Where episodes are truncated; None is the environment's own limit.
        invalid_penalty: At least 0 (the default); taken from the reward of a malformed action (-1).
        preset: The settings of another trainer, for whatever is not given here: "ragen", "lamer" or
            "verl_agent" (Sokoban), "ragen" (FrozenLakeText).
        render_mode: "ansi" lets `render()` return texts.
        **options: The environment's own.

    All batches of a process share one pool of threads, see `fastrl.set_num_threads`, and numbers
    do not depend on its size.
    """
    arguments = Arguments("make_vec")
    check_string("make_vec", "id", id)
    name = id.removeprefix("fastrl/")
    if preset is not None:
        if name not in PRESETS:
            raise arguments.error("preset", f"be None for {name}", repr(preset))
        arguments.choice("preset", preset, list(PRESETS[name]))
        settings = dict(PRESETS[name][preset])
        limit, charge = settings.pop("max_episode_steps"), settings.pop("invalid_penalty")
        max_episode_steps = limit if max_episode_steps is None else max_episode_steps
        invalid_penalty = charge if invalid_penalty is None else invalid_penalty
        options = settings | options
    arguments.integer("num_envs", num_envs, low=1)
    arguments.integer("group_size", group_size, low=1)
    if num_envs % group_size:
        raise arguments.error(
            "group_size", f"divide `num_envs` = {num_envs} without a rest", group_size
        )
    if num_levels is not None:
        arguments.integer("num_levels", num_levels, low=1, high=2**32 - 1)
    arguments.integer("level_seed", level_seed, low=0, high=2**64 - 1)
    if isinstance(autoreset_mode, gymnasium.vector.AutoresetMode):
        mode = autoreset_mode
    else:
        arguments.choice("autoreset_mode", autoreset_mode, list(AUTORESET_MODES))
        mode = AUTORESET_MODES[autoreset_mode]
    if max_episode_steps is not None:
        arguments.integer("max_episode_steps", max_episode_steps, low=1, high=2**31 - 1)
    if invalid_penalty is None:
        invalid_penalty = 0.0
    penalty = arguments.number("invalid_penalty", invalid_penalty, low=0.0)
    if num_threads is not None:
        arguments.integer("num_threads", num_threads, low=1, high=1024)
    arguments.integer("history", history, low=0, high=2**31 - 1)
    arguments.choice("precision", precision, ["exact", "fast"])
    arguments.choice("output", output, ["numpy", "torch"])
    native = _core.make_vector_env(
        name,
        precision == "fast",
        {
            "num_envs": int(num_envs),
            "group_size": int(group_size),
            "num_levels": int(num_levels or 0),
            "level_seed": int(level_seed),
            "max_episode_steps": int(max_episode_steps or 0),
            "autoreset_mode": list(AUTORESET_MODES.values()).index(mode),
            "invalid_penalty": penalty,
            "num_threads": int(num_threads or 0),
            "history": int(history),
        },
        {key: _plain(arguments, key, value) for key, value in options.items()},
    )
    description = native.description
    if render_mode is not None:
        arguments.choice("render_mode", render_mode, render_modes(description))
    kind = VectorEnv
    if description.is_text:
        kind = TextVectorEnv
    elif description.goal_size:
        kind = GoalVectorEnv
    return kind(
        native,
        name,
        num_envs=int(num_envs),
        group_size=int(group_size),
        autoreset_mode=mode,
        render_mode=render_mode,
        output=output,
    )


def _plain(arguments: Arguments, name: str, value: object) -> bool | int | float | str:
    """An option as the Python scalar that the native side reads.

    That is a text for a list of lines, as of a map, and for a tuple of numbers.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, list | tuple) and all(isinstance(line, str) for line in value):
        return "\n".join(value)
    if isinstance(value, tuple):
        return ", ".join(repr(arguments.number(name, number)) for number in value)
    if not isinstance(value, bool | int | float | str):
        raise arguments.error(
            name, "be a bool, a number or a string", type(value).__name__, kind=TypeError
        )
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise arguments.error(name, "fit into 64 bits", value)
    return value


def register_environments() -> None:
    """Lets Gymnasium's own `make_vec` find all of these under "fastrl/".

    Gymnasium looks for no plugins: this module must be imported, or named in front of the id.
    """
    for name in environment_ids():
        gymnasium.register(
            f"fastrl/{name}",
            vector_entry_point="fastrl.envs.registration:make_vec",
            kwargs={"id": name},
        )
