"""Calls of indices, levels, tasks and trajectories, each with arguments that are right."""

import numpy as np
from bad_input import method
from fastrl import replay
from fastrl.replay import TrajectoryBatch, TrajectoryStore

KEYS = np.array([0, 0, 1, 1])
STEPS = np.zeros((2, 4), np.float32)
FLAGS = np.zeros((2, 4), bool)
HANDLES64 = np.zeros(1, np.int64)


def a_batch(n=4):
    return TrajectoryBatch(
        {
            "token_ids": np.arange(2 * n, dtype=np.int32),
            "action_mask": np.ones(2 * n, bool),
            "log_probs": np.zeros(2 * n, np.float32),
            "cu_seqlens": np.arange(0, 2 * n + 1, 2, dtype=np.int32),
            "group_ids": np.repeat(np.arange(n // 2), 2),
            "rewards": np.arange(n, dtype=np.float32),
            "advantages": np.arange(n, dtype=np.float32),
            "successes": np.arange(n) % 2 == 0,
        }
    )


def trajectories():
    rows = dict(a_batch())
    return rows | {"policy_versions": 0, "keys": np.zeros((4, 2), np.float32)}


def a_store():
    store = TrajectoryStore(1 << 20, max_trajectories=64, columns={"keys": ((2,), "float32")})
    store.add(**trajectories())
    return store


def levels():
    made = replay.LevelSampler(10)
    made.add([1, 2, 3], [1.0, 2, 3])
    return made


def index():
    made = replay.PriorityIndex(10)
    made.set_priorities(np.arange(4), np.ones(4))
    return made


def functions():
    """Each function with arguments that are right."""
    return {
        "PriorityIndex": (
            replay.PriorityIndex,
            {
                "capacity": 9,
                "priority_exponent": 0.5,
                "kind": "rank",
                "keep_priorities": False,
                "seed": 0,
            },
        ),
        "set_priorities": (
            method(index, "set_priorities"),
            {"slots": [0, 1], "priorities": [1.0, 2.0]},
        ),
        "set_new": (method(index, "set_new"), {"slots": [0, 1], "priority": "max"}),
        "clear": (method(index, "clear"), {"slots": [0, 1]}),
        "draw": (method(index, "draw"), {"n": 2, "scheme": "stratified"}),
        "weights": (method(index, "weights"), {"slots": [0, 1]}),
        "importance_weights": (
            method(index, "importance_weights"),
            {"draw": index().draw(2), "importance_exponent": 0.5, "normalize": "batch"},
        ),
        "PriorityIndex.load_state_dict": (
            lambda **state: index().load_state_dict(state),
            index().state_dict(),
        ),
        "LevelSampler": (
            replay.LevelSampler,
            {
                "capacity": 9,
                "transform": "rank",
                "temperature": 0.1,
                "staleness_coef": 0.1,
                "replay_probability": 0.5,
                "replay_schedule": "fixed",
                "min_filled": 0.0,
                "new_levels": "listed",
                "step_size": 1.0,
                "eviction": "score",
                "offset": None,
                "epsilon": 0.1,
                "band": (0.1, 0.9),
                "seed": 0,
            },
        ),
        "LevelSampler.add": (method(levels, "add"), {"ids": [5, 6], "scores": None}),
        "LevelSampler.remove": (method(levels, "remove"), {"ids": [1]}),
        "LevelSampler.update": (method(levels, "update"), {"ids": [1, 2], "scores": [1.0, 2.0]}),
        "LevelSampler.mark_drawn": (method(levels, "mark_drawn"), {"ids": [1]}),
        "LevelSampler.sample": (
            method(levels, "sample"),
            {"n": 2, "scheme": "independent", "replay": None},
        ),
        "LevelSampler.load_state_dict": (
            lambda **state: levels().load_state_dict(state),
            levels().state_dict(),
        ),
        "TaskSampler": (
            replay.TaskSampler,
            {
                "classes": [0, 0, 1],
                "num_starts": [1, 2, 3],
                "lambda_": 5.0,
                "alpha": 1.0,
                "step_size": 0.5,
                "seed": 0,
            },
        ),
        "TaskSampler.sample": (
            method(lambda: replay.TaskSampler([0, 0, 1]), "sample"),
            {"n": 2, "scheme": "stratified"},
        ),
        "TaskSampler.update": (
            method(lambda: replay.TaskSampler([0, 0, 1]), "update"),
            {"tasks": [0, 1], "rewards": [1.0, 2.0], "starts": None},
        ),
        "TaskSampler.load_state_dict": (
            lambda **state: replay.TaskSampler([0, 1]).load_state_dict(state),
            replay.TaskSampler([0, 1]).state_dict(),
        ),
        "start_probabilities": (
            method(lambda: replay.TaskSampler([0, 0, 1]), "start_probabilities"),
            {"task": 0},
        ),
        "EpisodeScores": (replay.EpisodeScores, {"num_envs": 4}),
        "EpisodeScores.add": (
            method(lambda: replay.EpisodeScores(4), "add"),
            {
                "scores": STEPS,
                "level_ids": np.zeros((2, 4), np.int64),
                "terminated": FLAGS,
                "truncated": FLAGS,
                "stepped": None,
            },
        ),
        "level_weights": (
            replay.level_weights,
            {
                "scores": np.ones(3),
                "transform": "rank",
                "temperature": 1.0,
                "offset": 0.0,
                "epsilon": 0.1,
                "low": 0.1,
                "high": 0.9,
            },
        ),
        "mixed_weights": (
            replay.mixed_weights,
            {"scores": np.ones(3), "staleness": np.ones(3), "staleness_coef": 0.5},
        ),
        "task_weights": (
            replay.task_weights,
            {"rewards": np.ones(3), "classes": None, "lambda_": 5.0, "alpha": 1.0},
        ),
        "sequence_priorities": (
            replay.sequence_priorities,
            {"td_errors": np.ones((2, 4)), "mask": ~FLAGS, "eta": 0.9, "time_major": False},
        ),
        "TrajectoryStore": (
            TrajectoryStore,
            {
                "max_bytes": 1 << 20,
                "max_trajectories": 64,
                "log_probs": True,
                "token_columns": None,
                "columns": None,
                "weighted": False,
                "max_staleness": None,
                "ttl": None,
                "use_count_limit": None,
                "max_per_group": None,
                "evict": "oldest",
                "success_threshold": 1.0,
                "num_buckets": 17,
                "seed": 0,
            },
        ),
        "TrajectoryStore.add": (
            method(a_store, "add"),
            trajectories()
            | {
                "attention_mask": None,
                "lengths": None,
                "group_successes": None,
                "weights": None,
                "created": None,
            },
        ),
        "add_batch": (
            method(lambda: TrajectoryStore(1 << 20), "add_batch"),
            {"batch": a_batch(), "rows": None, "policy_versions": 0, "group_successes": None},
        ),
        "TrajectoryStore.update": (
            method(a_store, "update"),
            {
                "handles": HANDLES64,
                "rewards": None,
                "advantages": None,
                "successes": None,
                "weights": None,
                "keys": np.zeros((1, 2), np.float32),
            },
        ),
        "remove": (method(a_store, "remove"), {"handles": HANDLES64}),
        "contains": (method(a_store, "contains"), {"handles": HANDLES64}),
        "get": (
            method(a_store, "get"),
            {"handles": HANDLES64, "count_use": False, "layout": "packed", "output": "numpy"},
        ),
        "peek": (method(a_store, "peek"), {"handles": HANDLES64, "output": "numpy"}),
        "group_counts": (method(a_store, "group_counts"), {"group_ids": HANDLES64}),
        "advance": (method(a_store, "advance"), {"policy_version": 1, "clock": 9}),
        "restore": (method(a_store, "restore"), {"state": a_store().state()}),
        "TrajectoryStore.sample": (
            method(a_store, "sample"),
            {
                "n": 2,
                "order": "uniform",
                "replacement": False,
                "successes_only": False,
                "max_staleness": None,
                "token_budget": None,
                "count_use": True,
                "layout": "padded",
                "output": "numpy",
            },
        ),
        "sample_groups": (
            method(a_store, "sample_groups"),
            {
                "num_groups": 1,
                "group_ids": None,
                "group_size": None,
                "order": "newest",
                "bucket_weights": None,
                "max_staleness": None,
                "token_budget": None,
                "count_use": True,
                "layout": "packed",
                "output": "numpy",
            },
        ),
        "nearest": (
            method(a_store, "nearest"),
            {"queries": np.zeros((1, 2), np.float32), "k": 2, "column": "keys"},
        ),
        "TrajectoryStore.load": (TrajectoryStore.load, {"path": "nowhere", "extras": None}),
        "TrajectoryBatch": (TrajectoryBatch, {"arrays": dict(a_batch())}),
        "select": (method(a_batch, "select"), {"rows": np.array([0])}),
        "replace": (method(a_batch, "replace"), {"rows": np.arange(4), "others": a_batch()}),
        "concatenate": (TrajectoryBatch.concatenate, {"batches": [a_batch()]}),
        "SelfImitation": (
            replay.SelfImitation,
            {
                "store": a_store(),
                "batch_size": 4,
                "percentile": 50.0,
                "baseline_size": 9,
                "strict": False,
                "seed": 0,
            },
        ),
        "SelfImitation.add": (
            method(lambda: replay.SelfImitation(TrajectoryStore(1 << 20)), "add"),
            {"batch": a_batch(), "policy_versions": 0},
        ),
        "take": (method(lambda: replay.SelfImitation(a_store()), "take"), {"output": "numpy"}),
        "DifficultyReplay": (
            replay.DifficultyReplay,
            {
                "store": a_store(),
                "group_size": 2,
                "min_successes": 1,
                "max_successes": None,
                "weighting": "normal",
                "ratio": 0.5,
                "start_rate": 0.3,
            },
        ),
        "DifficultyReplay.add": (
            method(lambda: replay.DifficultyReplay(TrajectoryStore(1 << 20), group_size=2), "add"),
            {"batch": a_batch(), "policy_versions": 0},
        ),
        "DifficultyReplay.sample": (
            method(lambda: replay.DifficultyReplay(a_store(), group_size=2), "sample"),
            {"batch_size": 4, "metric": len, "output": "numpy"},
        ),
        "difficulty_weights": (
            replay.difficulty_weights,
            {"weighting": "linear", "group_size": 4, "num_buckets": 9},
        ),
        "GroupSubstitution": (
            replay.GroupSubstitution,
            {"store": a_store(), "capacity": 4, "seed": 0},
        ),
        "GroupSubstitution.update": (
            method(lambda: replay.GroupSubstitution(TrajectoryStore(1 << 20)), "update"),
            {"batch": a_batch(), "policy_versions": 0},
        ),
        "add_successes": (
            replay.add_successes,
            {
                "store": TrajectoryStore(1 << 20),
                "batch": a_batch(),
                "policy_versions": 0,
                "min_reward": 0.1,
            },
        ),
        "dead_groups": (
            replay.dead_groups,
            {
                "rewards": np.zeros(4, np.float32),
                "group_ids": KEYS,
                "max_std": 0.1,
                "max_mean": 0.1,
            },
        ),
        "inject_successes": (replay.inject_successes, {"store": a_store(), "batch": a_batch()}),
        "append_successes": (
            replay.append_successes,
            {"store": TrajectoryStore(1 << 20), "batch": a_batch(), "per_group": 2},
        ),
        "TopKRetriever": (replay.TopKRetriever, {"keys": np.zeros((3, 2), np.float32)}),
        "search": (
            method(lambda: replay.TopKRetriever(np.zeros((3, 2), np.float32)), "search"),
            {"queries": np.zeros((1, 2), np.float32), "k": 2},
        ),
        "warm_up": (replay.warm_up, {"step": 1, "steps": 2}),
    }
