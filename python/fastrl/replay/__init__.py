"""Experience replay: what was lived through, kept and drawn from."""

from fastrl.replay.batch import Batch
from fastrl.replay.buffer import ReplayBuffer
from fastrl.replay.difficulty_replay import DifficultyReplay, difficulty_weights
from fastrl.replay.episode_scores import EpisodeScores, ScoredEpisodes
from fastrl.replay.episodes import Places
from fastrl.replay.fields import Field
from fastrl.replay.group_substitution import GroupSubstitution, Substitution
from fastrl.replay.high_value import BestEpisodes, HighValueIndex
from fastrl.replay.hindsight import HER
from fastrl.replay.level_weights import level_weights, mixed_weights, task_weights
from fastrl.replay.levels import LevelBatch, LevelSampler
from fastrl.replay.limiter import SamplesPerInsert
from fastrl.replay.minari import from_minari
from fastrl.replay.mixing import MixReplay
from fastrl.replay.prefetching import Prefetcher
from fastrl.replay.priority_index import Draw, PriorityIndex
from fastrl.replay.quotas import QuotaReplay
from fastrl.replay.relabelling import Chain, Counterfactuals, RewardModel
from fastrl.replay.retrieval import Retrieved, TopKRetriever
from fastrl.replay.samplers import Linear, Marked, Prioritized, RankPrioritized, Uniform
from fastrl.replay.saving import SaveReport, Stateful, load_states, save_states
from fastrl.replay.self_imitation import SelfImitation, warm_up
from fastrl.replay.sequences import SequenceBatch, sequence_priorities
from fastrl.replay.shared_buffers import SharedBuffer, remove_shared_buffer, shared_buffers
from fastrl.replay.success_replay import (
    DeadGroups,
    Injection,
    add_successes,
    append_successes,
    dead_groups,
    inject_successes,
)
from fastrl.replay.tasks import TaskSampler
from fastrl.replay.trajectories import TrajectoryStore
from fastrl.replay.trajectory_batch import TrajectoryBatch

__all__ = [
    "HER",
    "Batch",
    "BestEpisodes",
    "Chain",
    "Counterfactuals",
    "DeadGroups",
    "DifficultyReplay",
    "Draw",
    "EpisodeScores",
    "Field",
    "GroupSubstitution",
    "HighValueIndex",
    "Injection",
    "LevelBatch",
    "LevelSampler",
    "Linear",
    "Marked",
    "MixReplay",
    "Places",
    "Prefetcher",
    "Prioritized",
    "PriorityIndex",
    "QuotaReplay",
    "RankPrioritized",
    "ReplayBuffer",
    "Retrieved",
    "RewardModel",
    "SamplesPerInsert",
    "SaveReport",
    "ScoredEpisodes",
    "SelfImitation",
    "SequenceBatch",
    "SharedBuffer",
    "Stateful",
    "Substitution",
    "TaskSampler",
    "TopKRetriever",
    "TrajectoryBatch",
    "TrajectoryStore",
    "Uniform",
    "add_successes",
    "append_successes",
    "dead_groups",
    "difficulty_weights",
    "from_minari",
    "inject_successes",
    "level_weights",
    "load_states",
    "mixed_weights",
    "remove_shared_buffer",
    "save_states",
    "sequence_priorities",
    "shared_buffers",
    "task_weights",
    "warm_up",
]
