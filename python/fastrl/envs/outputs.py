"""The arrays that a step writes, and when they may be written again."""

from sys import getrefcount
from typing import Any

import numpy as np
import numpy.typing as npt

from fastrl import _core
from fastrl._dispatch import address


class Outputs:
    """One set of arrays that a step writes; used again once nobody else holds any of them."""

    __slots__ = ("arrays", "buffers")

    def __init__(
        self,
        num_envs: int,
        width: int,
        actions: npt.NDArray[np.int64],
        active: npt.NDArray[np.bool_],
        final_observations: npt.NDArray[np.int32] | None,
    ) -> None:
        # Each owns its memory: a view that a caller makes then counts as a reference to it.
        self.arrays: tuple[Any, ...] = (
            np.zeros((num_envs, width), np.int32),
            np.zeros(num_envs, np.int32),
            np.zeros(num_envs, np.float64),
            *(np.zeros(num_envs, np.bool_) for _ in range(5)),
        )
        self.buffers = _core.bind_step_buffers(
            num_envs,
            address(actions),
            address(active),
            address(final_observations),
            *(address(array) for array in self.arrays),
        )

    def is_free(self) -> bool:
        """Whether nobody but this object holds any of the arrays."""
        # At every step, and a plain loop costs 0.3 µs where all(…) costs 0.5.
        for array in self.arrays:  # noqa: SIM110
            # The tuple, the loop variable and getrefcount's own argument.
            if getrefcount(array) > 3:
                return False
        return True
