"""The checks of what `make_vec` wraps around an environment."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastrl._dispatch import Arguments
from fastrl.envs.reward_machine import RewardMachine

_SELECTORS = ("round_robin", "uniform")
_WEIGHTED = len(_SELECTORS)
_MAX_RETRIES = 64  # csrc/envs/attempts.h


def check_wrappers(
    arguments: Arguments,
    *,
    action_repeat: int,
    contexts: Mapping[str, Sequence[Any]] | None,
    context_selector: str | Sequence[float],
    context_observed: bool,
    costs: Mapping[str, float] | None,
    cost_limit: float | None,
    retries: Mapping[str, Any] | None,
    trials: Mapping[str, Any] | None,
    reward_machine: object,
    machine_reward: str,
    machine_observed: bool,
) -> dict[str, Any]:
    """What the native side reads; see `make_vec` for the arguments."""
    made: dict[str, Any] = {
        "action_repeat": arguments.integer("action_repeat", action_repeat, low=1, high=2**31 - 1)
    }
    observed = arguments.flag("context_observed", context_observed)
    if contexts is not None:
        made["contexts"] = check_contexts(arguments, contexts, context_selector, observed)
    elif observed or context_selector != "round_robin":
        raise arguments.error("contexts", "be given to be selected or observed", None)
    if costs is not None:
        made["costs"] = _costs(arguments, costs, cost_limit)
    elif cost_limit is not None:
        raise arguments.error("costs", "be given where `cost_limit` is", None)
    if retries is not None and trials is not None:
        raise arguments.error("trials", "be None where `retries` is given", trials)
    if retries is not None:
        made["attempts"] = _retries(arguments, retries)
    if trials is not None:
        made["attempts"] = _trials(arguments, trials)
    adds = arguments.choice("machine_reward", machine_reward, ("replace", "add")) == "add"
    shown = arguments.flag("machine_observed", machine_observed)
    if reward_machine is not None:
        if not isinstance(reward_machine, RewardMachine):
            kind = type(reward_machine).__name__
            raise arguments.error("reward_machine", "be a RewardMachine", kind, kind=TypeError)
        made["machine"] = {"machine": reward_machine._native, "adds": adds, "observed": shown}
    elif adds or shown:
        raise arguments.error("reward_machine", "be given to add a reward or to be observed", None)
    return made


def check_contexts(
    arguments: Arguments,
    contexts: Mapping[str, Sequence[Any]],
    selector: str | Sequence[float],
    observed: bool,
) -> dict[str, Any]:
    """A table of contexts as the native side reads it: one dict of options each."""
    _check_mapping(arguments, "contexts", contexts)
    if not contexts:
        raise arguments.error("contexts", "name at least one option", "none")
    columns: dict[str, list[Any]] = {}
    for name, values in contexts.items():
        if isinstance(values, str) or not isinstance(values, Sequence | np.ndarray):
            kind = type(values).__name__
            raise arguments.error(f"contexts[{name!r}]", "hold values [C]", kind, kind=TypeError)
        columns[name] = [plain_option(arguments, name, value) for value in values]
    first, count = next((name, len(values)) for name, values in columns.items())
    if count == 0:
        raise arguments.error(f"contexts[{first!r}]", "hold at least one value", "none")
    for name, values in columns.items():
        if len(values) != count:
            raise arguments.error(
                f"contexts[{name!r}]", f"have shape [C] = [{count}]", [len(values)]
            )
    weights: list[float] = []
    if isinstance(selector, str):
        drawn_by = _SELECTORS.index(arguments.choice("context_selector", selector, _SELECTORS))
    else:
        drawn_by = _WEIGHTED
        weights = check_weights(arguments, "context_selector", selector, "C", count)
    return {
        "contexts": [{name: values[c] for name, values in columns.items()} for c in range(count)],
        "selector": drawn_by,
        "weights": weights,
        "observed": observed,
    }


def check_weights(
    arguments: Arguments, name: str, weights: Any, letter: str, count: int
) -> list[float]:
    """Weights to draw by: finite, not negative, one of them positive."""
    given = np.asarray(weights)
    if given.dtype.kind not in "fiu":
        raise arguments.error(name, "hold numbers", given.dtype, kind=TypeError)
    if given.shape != (count,):
        raise arguments.error(name, f"have shape [{letter}] = [{count}]", list(given.shape))
    numbers = given.astype(np.float64)
    wrong = ~((numbers >= 0) & (numbers <= np.finfo(np.float64).max))
    if wrong.any():
        raise arguments.error(name, "be finite and at least 0", numbers[wrong][0])
    with np.errstate(over="ignore"):
        total = numbers.sum()
    if not 0 < total < np.inf:
        raise arguments.error(name, "have a positive and finite sum", total)
    listed: list[float] = numbers.tolist()
    return listed


def plain_option(arguments: Arguments, name: str, value: object) -> bool | int | float | str:
    """An option as the Python scalar that the native side reads.

    That is a text for lists and tuples of lines, as of a map, or of numbers.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, list | tuple) and all(isinstance(line, str) for line in value):
        return "\n".join(value)
    if isinstance(value, list | tuple):
        return ", ".join(repr(arguments.number(name, number)) for number in value)
    if not isinstance(value, bool | int | float | str):
        raise arguments.error(
            name,
            "be a bool, a number, a string, or a list of numbers or strings",
            type(value).__name__,
            kind=TypeError,
        )
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise arguments.error(name, "fit into 64 bits", value)
    return value


def _costs(arguments: Arguments, costs: Mapping[str, float], limit: float | None) -> dict[str, Any]:
    _check_mapping(arguments, "costs", costs)
    if not costs:
        raise arguments.error("costs", "name at least one label", "none")
    weights = {name: arguments.number(f"costs[{name!r}]", weight) for name, weight in costs.items()}
    most = np.inf if limit is None else arguments.number("cost_limit", limit)
    return {"weights": weights, "limit": float(most)}


def _retries(arguments: Arguments, given: Mapping[str, Any]) -> dict[str, Any]:
    options = _options(
        arguments, "retries", given, {"max_attempts": 5, "decay": 0.5, "repeat_penalty": 0.5}
    )
    return {
        "max_attempts": arguments.integer(
            "retries['max_attempts']", options["max_attempts"], low=1, high=_MAX_RETRIES
        ),
        "until_success": True,
        "retries": True,
        "decay": arguments.number("retries['decay']", options["decay"], low=0.0, high=1.0),
        "repeat_penalty": arguments.number(
            "retries['repeat_penalty']", options["repeat_penalty"], low=0.0
        ),
    }


def _trials(arguments: Arguments, given: Mapping[str, Any]) -> dict[str, Any]:
    options = _options(arguments, "trials", given, {"episodes": 3, "until_success": False})
    return {
        "max_attempts": arguments.integer(
            "trials['episodes']", options["episodes"], low=1, high=2**31 - 1
        ),
        "until_success": arguments.flag("trials['until_success']", options["until_success"]),
        "retries": False,
        "decay": 1.0,
        "repeat_penalty": 0.0,
    }


def _options(
    arguments: Arguments, name: str, given: Mapping[str, Any], defaults: dict[str, Any]
) -> dict[str, Any]:
    _check_mapping(arguments, name, given)
    unknown = sorted(set(given) - set(defaults))
    if unknown:
        raise arguments.error(name, "have no key but " + ", ".join(map(repr, defaults)), unknown)
    return defaults | dict(given)


def _check_mapping(arguments: Arguments, name: str, value: object) -> None:
    if not isinstance(value, Mapping):
        raise arguments.error(name, "be a dict", type(value).__name__, kind=TypeError)
    for key in value:
        if not isinstance(key, str):
            raise arguments.error(name, "have strings as keys", repr(key), kind=TypeError)
