"""What a buffer is: its checked options, and the same as JSON for those that are saved."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, NamedTuple

from fastrl import _core
from fastrl._dispatch import Arguments
from fastrl.replay import samplers as sampling
from fastrl.replay.arguments import check_autoreset_mode, put
from fastrl.replay.fields import Field, Leaf, check_fields, rows_needed
from fastrl.replay.limiter import SamplesPerInsert, check_limiter, limiter_of
from fastrl.replay.samplers import Linear, Marked, Prioritized, RankPrioritized, Sampler, Uniform
from fastrl.replay.saving import understood_layout

_MAX_ROWS = 2**32 - 1
_SAMPLERS = {kind.__name__: kind for kind in (Uniform, Prioritized, RankPrioritized, Marked)}


class BufferLayout(NamedTuple):
    """A buffer's options as the native side takes them, its fields and its samplers."""

    options: dict[str, Any]
    leaves: list[Leaf]
    samplers: dict[str, Sampler]

    def to_json(self, extras: Mapping[str, Any]) -> str:
        """For `from_json`, along with the states of other objects."""
        options = self.options
        limiter = limiter_of(options["limiter"])
        return json.dumps(
            {
                "version": _core.replay_buffer_version,
                "capacity": options["num_lanes"] * options["rows_per_lane"],
                "fields": [
                    {
                        "path": leaf.path,
                        "shape": leaf.shape,
                        "dtype": leaf.dtype.str,
                        "stack": leaf.stack,
                        "padding": leaf.padding,
                    }
                    for leaf in self.leaves
                ],
                "num_lanes": options["num_lanes"],
                "n_step": options["n_step"],
                "gamma": options["gamma"],
                "samplers": [
                    {"name": name, "kind": type(one).__name__, **asdict(one)}
                    for name, one in self.samplers.items()
                ],
                "autoreset_mode": "next_step" if options["next_step_autoreset"] else None,
                "seed": options["seed"],
                "limiter": limiter and asdict(limiter),
                "extras": extras,
            }
        )


def check_layout(
    arguments: Arguments,
    capacity: Any,
    fields: Any,
    num_lanes: Any,
    n_step: Any,
    gamma: Any,
    sampler: Any,
    autoreset_mode: Any,
    seed: Any,
    limiter: Any,
) -> BufferLayout:
    """The arguments of `ReplayBuffer`, checked."""
    capacity = arguments.integer("capacity", capacity, low=1, high=_MAX_ROWS)
    leaves = check_fields(arguments, fields)
    num_lanes = arguments.integer("num_lanes", num_lanes, low=1)
    n_step = arguments.integer("n_step", n_step, low=1)
    rows_per_lane = capacity // num_lanes
    needed = rows_needed(arguments, leaves, n_step)
    if rows_per_lane < needed:
        raise arguments.error(
            "capacity",
            f"leave each of {num_lanes} lanes {needed} rows, for the stack and n_step",
            f"{capacity}, which are {rows_per_lane}",
        )
    mode = check_autoreset_mode(arguments, autoreset_mode)
    named = sampling.check_samplers(arguments, sampler)
    options = {
        "num_lanes": num_lanes,
        "rows_per_lane": rows_per_lane,
        "n_step": n_step,
        "gamma": arguments.number("gamma", gamma, low=0, high=1),
        "next_step_autoreset": mode == "next_step",
        "seed": arguments.integer("seed", seed, low=0, high=2**64 - 1),
        "fields": [leaf.native() for leaf in leaves],
        "samplers": [sampling.native(arguments, name, one) for name, one in named.items()],
        "limiter": check_limiter(arguments, limiter),
    }
    return BufferLayout(options, leaves, named)


def from_json(arguments: Arguments, path: str, text: str) -> tuple[BufferLayout, dict[str, Any]]:
    """The layout of a saved buffer, checked as any other, and the states of other objects."""
    with understood_layout(arguments, path):
        saved = json.loads(text)
        version = saved["version"]
        if version != _core.replay_buffer_version:
            rule = f"hold a ReplayBuffer of version {_core.replay_buffer_version}"
            raise arguments.error("path", rule, f"one of version {version} in {path!r}")
        return _from_json(arguments, saved), saved["extras"]


def _from_json(arguments: Arguments, saved: dict[str, Any]) -> BufferLayout:
    fields: dict[str, Any] = {}
    for field in saved["fields"]:
        path_of = field.pop("path")
        put(fields, path_of, Field(**field))
    samplers = {one.pop("name"): _sampler(one) for one in saved["samplers"]}
    return check_layout(
        arguments,
        saved["capacity"],
        fields,
        saved["num_lanes"],
        saved["n_step"],
        saved["gamma"],
        samplers,
        saved["autoreset_mode"],
        saved["seed"],
        saved["limiter"] and SamplesPerInsert(**saved["limiter"]),
    )


def _sampler(saved: dict[str, Any]) -> Sampler:
    kind = _SAMPLERS[saved.pop("kind")]
    lines = {name: Linear(**one) for name, one in saved.items() if isinstance(one, dict)}
    return kind(**saved | lines)
