"""What `fastrl envs` prints: the environments and their options."""

from rich.console import Console
from rich.table import Table

import fastrl
from fastrl._dispatch import argument_error
from fastrl.envs import VectorEnv, environment_ids
from fastrl.envs.presets import PRESETS


def environment_facts(env: VectorEnv) -> dict[str, str]:
    """What one environment is, by name."""
    extras = {
        "solve": env._native.can_solve,
        "labels": bool(env.labels),
        "pictures": "rgb_array" in env.metadata["render_modes"],
    }
    return {
        "observation": _short(str(env.single_observation_space)),
        "actions": _short(str(env.single_action_space)),
        "steps": str(env.max_episode_steps or "no limit"),
        "has": ", ".join(name for name, has in extras.items() if has),
        "options": env._native.options,
    }


def print_environments(chosen: list[str]) -> None:
    """A table of the chosen environments, or of all."""
    ids = environment_ids()
    for name in chosen:
        if name not in ids:
            raise argument_error("envs", "IDS", f"be among {', '.join(ids)}", repr(name))
    table = Table("id", "observation", "actions", "steps", "has", "options")
    for name in chosen or ids:
        facts = environment_facts(fastrl.make_vec(name))
        if name in PRESETS:
            facts["options"] += f"\npresets: {', '.join(PRESETS[name])}"
        table.add_row(name, *facts.values())
    Console().print(table)


def _short(space: str) -> str:
    """A space in a column's width."""
    if space.startswith("MultiDiscrete("):
        return f"{len(space.split())} tokens or numbers"
    return space
