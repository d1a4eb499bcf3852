"""A buffer with goals beside its specification."""

import numpy as np
from fastrl.reference import replay as replay_spec
from fastrl.replay import ReplayBuffer

GOAL = ((2,), "float32")
FIELDS = {
    "observations": {"observation": GOAL, "achieved_goal": GOAL, "desired_goal": GOAL},
    "actions": ((), "int64"),
    "rewards": ((), "float32"),
}
NO_GOAL = -1.0


def distance(achieved, desired, info=None):
    return -np.abs(achieved - desired).sum(-1)


def reached(achieved, desired, info=None):
    return (achieved == desired).all(-1)


def goals_of(lane, step):
    """What is achieved there: no two rows have the same."""
    return np.stack([np.broadcast_to(lane, np.shape(step)), step], -1).astype(np.float32)


class Twins:
    """A buffer whose achieved goals are (lane, row), and its specification."""

    def __init__(self, steps, *, num_lanes=3, capacity=90, seed=0, ending=0.1, **options):
        self.fields = dict(FIELDS)
        if options.pop("discounts", False):
            self.fields["discounts"] = ((), "float64")
        self.buffer = ReplayBuffer(capacity, self.fields, num_lanes=num_lanes, seed=seed, **options)
        n_step = self.buffer.n_step
        self.twin = replay_spec.ReplayBuffer(
            capacity // num_lanes, num_lanes, n_step, self.buffer.gamma
        )
        random = np.random.default_rng(seed)
        for _ in range(steps):
            self.add(random.random((2, num_lanes)) < ending / 2, random)

    def observation(self, achieved):
        return {
            "observation": achieved,
            "achieved_goal": achieved,
            "desired_goal": np.full_like(achieved, NO_GOAL),
        }

    def add(self, ends, random):
        lanes = np.arange(self.twin.num_lanes)
        row = np.array([len(steps) for steps in self.twin.lanes])
        now, final = goals_of(lanes, row), goals_of(lanes, row + 1)
        discounts = random.random(len(lanes))
        values = {
            "observations": self.observation(now),
            "actions": row,
            "rewards": np.full(len(lanes), 7, np.float32),
            "terminated": ends[0],
            "truncated": ends[1],
        }
        if "discounts" in self.fields:
            values["discounts"] = discounts
        self.buffer.add(**values, final_observations=self.observation(final))
        for lane in lanes:
            self.twin.add(
                lane,
                {"observations": (now[lane], None), "rewards": 7.0},
                ends[0, lane],
                ends[1, lane],
                (final[lane], None),
                discounts[lane] if "discounts" in self.fields else None,
            )
