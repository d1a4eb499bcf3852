"""Environments by name."""

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium

from fastrl import _core
from fastrl._dispatch import Arguments
from fastrl.envs.foreign import HasEnvironment, capsule_of
from fastrl.envs.goal_vector import GoalVectorEnv
from fastrl.envs.presets import PRESETS
from fastrl.envs.reward_machine import RewardMachine
from fastrl.envs.text_vector import TextVectorEnv
from fastrl.envs.vector import VectorEnv, render_modes
from fastrl.envs.wrappers import check_wrappers, plain_option

AUTORESET_MODES = {
    "next_step": gymnasium.vector.AutoresetMode.NEXT_STEP,
    "same_step": gymnasium.vector.AutoresetMode.SAME_STEP,
    "disabled": gymnasium.vector.AutoresetMode.DISABLED,
}


def environment_ids() -> list[str]:
    """The ids that `make_vec` knows."""
    ids: list[str] = _core.environment_ids()
    return ids


def make_vec(
    id: str | HasEnvironment,
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
    action_repeat: int = 1,
    contexts: Mapping[str, Sequence[Any]] | None = None,
    context_selector: str | Sequence[float] = "round_robin",
    context_observed: bool = False,
    costs: Mapping[str, float] | None = None,
    cost_limit: float | None = None,
    retries: Mapping[str, Any] | None = None,
    trials: Mapping[str, Any] | None = None,
    reward_machine: RewardMachine | None = None,
    machine_reward: str = "replace",
    machine_observed: bool = False,
    **options: Any,
) -> VectorEnv:
    """A batch of native environments behind Gymnasium's `VectorEnv`.

    ============= ==============================================================================
    exact         CartPole-v1, MountainCar-v0, MountainCarContinuous-v0, Pendulum-v1, Acrobot-v1
    Gymnasium     (these five also ``precision="fast"``), FrozenLake-v1, FrozenLake8x8-v1,
                  CliffWalking-v1, CliffWalkingSlippery-v1, Taxi-v3 and v4, Blackjack-v1; options
                  as Gymnasium's, and the physical constants
    goals         BitFlip-v0, PointReach-v0: dicts, and `GoalVectorEnv.compute_reward`
    grids         Maze-v0, DarkRoom-v0, DarkKeyToDoor-v0
    decisions     TSP-v0, Bandit-v0
    text          CodeLock-v0, Countdown-v0, FormFill-v0, FrozenLakeText-v0, Minesweeper-v0,
                  Sokoban-v0, TicTacToe-v0, Wordle-v0: `TextVectorEnv`
    ============= ==============================================================================

    ``fastrl envs`` prints each with its spaces and options; the rules are at the top of its header
    in csrc/envs. Text environments take ``observation="grid"|"compact"``: everything there is to
    see at each step, or everything at the start and then only what moves, for policies that read
    the whole history.

    The shortest solution of a Sokoban level has `min_solution_length` to `max_solution_length`
    actions. The minimum is approximate in rooms with so many positions that a search cannot rule
    out a shorter solution. Sizes go from 5 to 13; a room of `height` and `width` counts its outer
    walls and must be at least 3 × 5 or 4 × 5. FrozenLakeText draws up to 2000 maps until the goal
    can be reached, and carves a path into the last one if it cannot.

    Args:
        id: One of `environment_ids()`, with or without "fastrl/" in front; or an environment of
            your own: what `fastrl.envs.compile` and `load` return, or a module that has a capsule
            in ``__fastrl_environment__``.
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
            "verl_agent" (Sokoban), "ragen" (Countdown, FrozenLakeText), "lamer" (Minesweeper).
        render_mode: "ansi" lets `render()` return texts, "rgb_array" pictures of grid worlds.
        action_repeat: So many environment steps an action, whose rewards are summed, until the
            episode ends; the observation is the last one. Limits and `elapsed_steps` count actions.
        contexts: By option of the environment, its values [C] in each context, such as
            ``{"length": [0.5, 1.0]}``. Info "context" is the index.
        context_selector: Which context an episode gets: "round_robin", "uniform" or weights [C].
            Members of a group share it.
        context_observed: Whether the context's numbers, in order of their options' names, are
            appended to the observation, which must be one row of floating-point numbers.
        costs: Weights of `VectorEnv.step_labels`. Infos "cost" of the step and "episode_cost".
        cost_limit: Truncates the episode when its cost exceeds this.
        retries: ``{"max_attempts": 5, "decay": 0.5, "repeat_penalty": 0.5}``, each optional. An
            attempt that ends without success is followed by another at the same level, in the same
            episode. The only reward is that of the episode's last step: decay^t if attempt
            t = 0, 1, … succeeded, else 0, minus repeat_penalty · (1 - E / T), with E different
            sequences of actions in T attempts. What a policy is told between two attempts is the
            caller's to write, where info "attempt_ended" is True.
        trials: ``{"episodes": 3, "until_success": False}``. An episode consists of so many attempts
            at one level, with the environment's rewards. Infos "attempt" (of the step) and
            "attempt_ended", for returns with discounts within and across attempts. In both, the
            step that ends an attempt observes the beginning of the next, `elapsed_steps` and
            `max_episode_steps` count an attempt's steps, and in "same_step" mode
            `final_observations` has an attempt's last observation.
        reward_machine: Reads `VectorEnv.step_labels` after each environment step and gives the
            reward; its terminal states end the episode (or attempt). Infos "machine_state",
            "machine_clocks" if it has any, "discount" and, bit by bit, "labels" of the (last
            environment) step.
        machine_reward: "replace" the environment's reward or "add" to it.
        machine_observed: Whether the machine's state is appended to the observation, one-hot, in
            front of an observed context.
        **options: The environment's own; None is as if not given.

    All batches of a process share one pool of threads, see `fastrl.set_num_threads`, and numbers
    do not depend on its size.
    """
    arguments = Arguments("make_vec")
    source: Any
    if isinstance(id, str):
        source = name = id.removeprefix("fastrl/")
    else:
        source = capsule_of("make_vec", "id", id)
        name = _core.environment_id(source, "make_vec", "id")
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
        source,
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
        check_wrappers(
            arguments,
            action_repeat=action_repeat,
            contexts=contexts,
            context_selector=context_selector,
            context_observed=context_observed,
            costs=costs,
            cost_limit=cost_limit,
            retries=retries,
            trials=trials,
            reward_machine=reward_machine,
            machine_reward=machine_reward,
            machine_observed=machine_observed,
        ),
        _plain_options(arguments, options),
    )
    description = native.description
    if render_mode is not None:
        modes = render_modes(description)
        if not modes:
            raise arguments.error("render_mode", f"be None for {name}", repr(render_mode))
        arguments.choice("render_mode", render_mode, modes)
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


def _plain_options(arguments: Arguments, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that are given: None, as Gymnasium's documentation writes it, gives none."""
    if options.get("map_name", "") is None and options.get("desc") is None:
        # Gymnasium's FrozenLake would draw a map that no seed repeats.
        raise arguments.error("map_name", "be a name where `desc` is None", None)
    return {
        key: plain_option(arguments, key, value)
        for key, value in options.items()
        if value is not None
    }


def register_environments() -> None:
    """Lets Gymnasium's own `make` and `make_vec` find all of these under "fastrl/".

    Gymnasium looks for no plugins: this module must be imported, or named in front of the id.
    """
    for name in environment_ids():
        gymnasium.register(
            f"fastrl/{name}",
            entry_point="fastrl.envs.single:make_registered",
            vector_entry_point="fastrl.envs.registration:make_registered_vec",
            kwargs={"name": name},
        )


def make_registered_vec(name: str, **settings: Any) -> VectorEnv:
    """`make_vec` as Gymnasium calls it, whose own functions have an argument `id`."""
    return make_vec(name, **settings)
