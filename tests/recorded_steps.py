"""Every row that a run gives to its replay buffer, and the transitions that they make."""

from typing import NamedTuple

import numpy as np


class Transition(NamedTuple):
    observation: np.ndarray
    action: int
    reward: float
    discount: float
    next_observation: np.ndarray


class RecordedSteps:
    """Listens to `run.replay.add`, in NEXT_STEP mode."""

    def __init__(self, run):
        self._rows, self._places = [], {}
        self.lengths = []  # of the episodes that ended
        self._running = np.zeros(run.config.num_envs, int)
        self._resets = np.zeros(run.config.num_envs, bool)
        self.newest_are_steps = None  # [B], whether the newest rows are steps, not resets
        add = run.replay.add

        def record(**row):
            handles = add(**row)
            for lane, handle in enumerate(handles):
                self._places[int(handle)] = (len(self._rows), lane)
            self._rows.append({name: np.array(value) for name, value in row.items()})
            self.newest_are_steps = ~self._resets
            self._running += self.newest_are_steps
            self._resets = row["terminated"] | row["truncated"]
            self.lengths += self._running[self._resets].tolist()
            self._running[self._resets] = 0
            return handles

        run.replay.add = record

    def transition(self, handle, n_step, gamma):
        """Up to n rewards of an episode, up to the newest row that has a successor."""
        begin, lane = self._places[int(handle)]
        reward, discount, t = 0.0, 1.0, begin
        while True:
            row = self._rows[t]
            reward += discount * float(row["rewards"][lane])
            discount *= gamma
            t += 1
            if row["terminated"][lane]:
                discount = 0.0
            ended = row["terminated"][lane] or row["truncated"][lane]
            if ended or t - begin == n_step or t == len(self._rows) - 1:
                break
        first, last = self._rows[begin], self._rows[min(t, len(self._rows) - 1)]
        return Transition(
            first["observations"][lane],
            int(first["actions"][lane]),
            reward,
            discount,
            last["observations"][lane],
        )
