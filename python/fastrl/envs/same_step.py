"""What the "same_step" mode says of episodes that ended, beside what their successors say."""

from typing import Any

import numpy as np
import numpy.typing as npt

from fastrl.envs.outputs import Arrays, structured
from fastrl.envs.spaces import DISCRETE


def with_final(
    description: Any,
    final: Arrays,
    infos: dict[str, Any],
    stepped: npt.NDArray[np.bool_],
    ended: npt.NDArray[np.bool_],
) -> dict[str, Any]:
    """Moves what the ended episodes have to say to where Gymnasium wants it.

    Args:
        description: Of the environment.
        final: The arrays with "final_observations" and "final_infos".
        infos: Of the step; what only the ended episodes have said is taken out of them.
        stepped: Their mask; becomes False where an episode ended.
        ended: [B], where one did.
    """
    # Numbers are Python's here, as Gymnasium's environments return them.
    rows = [
        array[ended].tolist() if field.space == DISCRETE else array[ended]
        for field, array in zip(description.observations, final["final_observations"], strict=True)
    ]
    final_obs = np.full(ended.size, None, object)
    for k, i in enumerate(np.flatnonzero(ended)):
        final_obs[i] = structured(description, [array[k] for array in rows])
    final_info: dict[str, Any] = {}
    for field, array in zip(description.infos, final["final_infos"], strict=True):
        kept = np.zeros_like(array)
        kept[ended] = array[ended]
        final_info |= {field.name: kept, f"_{field.name}": ended.copy()}
    for name in ("action_valid", "success"):
        if name in infos:
            final_info |= {name: infos[name] & ended, f"_{name}": ended.copy()}
            infos[name] &= ~ended
    stepped &= ~ended
    return {
        "final_obs": final_obs,
        "_final_obs": ended.copy(),
        "final_info": final_info,
        "_final_info": ended.copy(),
        **infos,
    }
