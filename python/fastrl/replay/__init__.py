"""Experience replay: what was lived through, kept and drawn from."""

from fastrl.replay.batch import Batch
from fastrl.replay.buffer import Places, ReplayBuffer
from fastrl.replay.fields import Field
from fastrl.replay.priority_index import Draw, PriorityIndex
from fastrl.replay.samplers import Linear, Prioritized, Uniform
from fastrl.replay.trajectories import TrajectoryStore
from fastrl.replay.trajectory_batch import TrajectoryBatch

__all__ = [
    "Batch",
    "Draw",
    "Field",
    "Linear",
    "Places",
    "Prioritized",
    "PriorityIndex",
    "ReplayBuffer",
    "TrajectoryBatch",
    "TrajectoryStore",
    "Uniform",
]
