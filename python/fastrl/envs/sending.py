"""Steps in the background: sent now, received later."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastrl import _core
from fastrl._dispatch import Arguments, address
from fastrl.envs.arguments import Ids, check_actions
from fastrl.envs.outputs import Arrays, Step, allocate, make_output_set, step_of


class Received(NamedTuple):
    """Results of `send`: rows of the environments `ids`, in the order in which they were sent."""

    ids: npt.NDArray[np.int64]
    observations: Any
    rewards: Any
    terminated: Any
    truncated: Any
    infos: dict[str, Any]


class Sending:
    """The part of `VectorEnv` that steps environments while the caller does something else."""

    _native: Any
    _description: Any
    _rings: dict[int, Any]
    _make_outputs: Callable[[int], Callable[[], Any]]
    _finished: Callable[[Any, Step], Step]
    _chosen: Callable[[str, str, Ids], npt.NDArray[np.int64]]
    _same_step: bool
    _waiting_final: Arrays | None
    num_envs: int
    closed: bool

    def send(self, actions: Any, ids: Ids = None) -> None:
        """Steps environments in the background.

        Args:
            actions: One for each of `ids`.
            ids: [n], each without a result that has not been received; all if None.
        """
        chosen = self._chosen("send", "ids", ids)
        converted = check_actions(Arguments("send"), actions, self._description, (chosen.size,))
        self._native.send(address(chosen), chosen.size, address(converted), self._make_waiting_rows)

    def recv(self, batch_size: int | None = None, timeout: float | None = None) -> Received:
        """Waits for the results of `send`, in the order of the actions.

        Args:
            batch_size: How many; all that are under way if None.
            timeout: Seconds; TimeoutError after that, with nothing lost. None waits.
        """
        arguments = Arguments("recv")
        outstanding = self._native.num_outstanding
        if outstanding == 0 and not self.closed:
            raise RuntimeError("recv: nothing is under way; call send first")
        if batch_size is None:
            batch_size = max(outstanding, 1)
        n = arguments.integer("batch_size", batch_size, low=1, high=self.num_envs)
        seconds = -1.0 if timeout is None else arguments.number("timeout", timeout, low=0.0)
        if n not in self._rings:
            self._rings[n] = _core.OutputRing(self._make_outputs(n))
        outputs = self._rings[n].acquire()
        ids = np.empty(n, np.int64)
        if not self._native.receive(n, seconds, outputs, address(ids)):
            raise TimeoutError(f"recv: {n} results took longer than {timeout} s")
        return Received(ids, *self._finished(outputs, step_of(outputs)))

    def _make_waiting_rows(self) -> Any:
        """Where results of `send` wait, apart from all that is returned."""
        if self._same_step:
            self._waiting_final = allocate(self._description, (self.num_envs,), final=True)
        return make_output_set(self._native, self.num_envs, self._waiting_final)
