"""Calls of buffers and of what draws from them, each with arguments that are right."""

import numpy as np
from bad_input import method
from fastrl import replay
from fastrl.integrations import cpprb
from fastrl.replay import (
    HER,
    Field,
    HighValueIndex,
    Marked,
    MixReplay,
    Prioritized,
    QuotaReplay,
    ReplayBuffer,
    SamplesPerInsert,
    Uniform,
)
from small_rows import FIELDS, made, rows

KEYS = np.array([0, 0, 1, 1])
# Of a buffer and of a mix.
DRAW = {
    "n": 2,
    "sampler": None,
    "importance_exponent": None,
    "relabel": None,
    "output": "numpy",
    "timeout": None,
}


def a_buffer(**options):
    samplers = {"default": Prioritized(), "even": Uniform(), "best": Marked()}
    return made(**{"sampler": samplers} | options)


def handles():
    return np.arange(2, dtype=np.uint64)


def a_mix():
    return MixReplay({"a": a_buffer(), "b": a_buffer()})


def a_quota():
    quota = QuotaReplay({0: 40, 1: 40}, FIELDS, num_lanes=4, sampler=Prioritized())
    for _ in range(4):
        quota.add(keys=np.array([0, 0, 1, 1]), **rows())
    return quota


def rival():
    made = cpprb.PrioritizedReplayBuffer(20, {"obs": {"shape": 2}, "rew": {}})
    made.add(obs=np.zeros((4, 2)), rew=np.zeros(4))
    return made


def her(**options):
    return HER(**{"compute_reward": len} | options)


def functions():
    """Each function with arguments that are right."""
    return {
        "ReplayBuffer": (
            ReplayBuffer,
            {
                "capacity": 80,
                "fields": FIELDS,
                "num_lanes": 4,
                "n_step": 1,
                "gamma": 0.9,
                "sampler": Prioritized(),
                "autoreset_mode": None,
                "storage": "memory",
                "limiter": None,
                "seed": 0,
            },
        ),
        "fields": (
            lambda **one: ReplayBuffer(80, {"observations": Field(**one)}),
            {"shape": (2,), "dtype": "f4", "stack": 1, "padding": "first"},
        ),
        "Uniform": (
            lambda **one: ReplayBuffer(80, FIELDS, sampler=Uniform(**one)),
            {"scheme": "systematic"},
        ),
        "Prioritized": (
            lambda **one: ReplayBuffer(80, FIELDS, sampler=Prioritized(**one)),
            {
                "priority_exponent": 0.5,
                "importance_exponent": 0.5,
                "scheme": "independent",
                "new_priority": "max",
                "normalize": "batch",
                "epsilon": 0.0,
            },
        ),
        "SamplesPerInsert": (
            lambda **one: ReplayBuffer(80, FIELDS, limiter=SamplesPerInsert(**one)),
            {"ratio": 2.0, "min_size": 1, "error_buffer": 1.0},
        ),
        "open": (ReplayBuffer.open, {"storage": "shared:nothing"}),
        "add": (
            method(a_buffer, "add"),
            rows()
            | {
                "final_observations": None,
                "discounts": None,
                "priorities": None,
                "lanes": None,
                "timeout": None,
            },
        ),
        "end_episode": (method(a_buffer, "end_episode"), {"lanes": 0, "final_observations": None}),
        "sample": (
            method(a_buffer, "sample"),
            DRAW,
        ),
        "sample_sequences": (
            method(a_buffer, "sample_sequences"),
            {
                "n": 2,
                "length": 2,
                "burn_in": 0,
                "bootstrap": 1,
                "boundary": "pad",
                "sampler": None,
                "importance_exponent": None,
                "time_major": False,
                "output": "numpy",
                "timeout": None,
            },
        ),
        "gather": (method(a_buffer, "gather"), {"handles": handles(), "output": "numpy"}),
        "gather_rows": (
            method(a_buffer, "gather_rows"),
            {"lanes": [0], "rows": [0], "names": None},
        ),
        "places": (method(a_buffer, "places"), {"handles": handles()}),
        "update_priorities": (
            method(a_buffer, "update_priorities"),
            {"handles": handles(), "priorities": [1.0, 2.0], "sampler": None},
        ),
        "priorities": (method(a_buffer, "priorities"), {"handles": handles(), "sampler": None}),
        "are_drawable": (method(a_buffer, "are_drawable"), {"handles": handles()}),
        "num_drawable_by": (method(a_buffer, "num_drawable_by"), {"sampler": None}),
        "evict": (method(a_buffer, "evict"), {"which": handles(), "names": None, "chunk": 4}),
        "evict by function": (
            method(a_buffer, "evict"),
            {"which": lambda seen: np.zeros(12, bool), "names": ["rewards"]},
        ),
        "evict's function": (
            lambda mask: a_buffer().evict(lambda seen: mask),
            {"mask": np.zeros(12, bool)},
        ),
        "save": (method(a_buffer, "save"), {"path": None, "extras": None}),
        "load": (ReplayBuffer.load, {"path": "nowhere", "storage": "memory", "extras": None}),
        "MixReplay": (
            MixReplay,
            {
                "sources": {"a": a_buffer()},
                "shares": None,
                "joint_exponent": None,
                "skip_empty": False,
                "samplers": None,
            },
        ),
        "MixReplay.sample": (
            method(a_mix, "sample"),
            DRAW,
        ),
        "MixReplay.update_priorities": (
            method(a_mix, "update_priorities"),
            {"handles": handles(), "priorities": [1.0, 2.0], "sources": [0, 1], "sampler": None},
        ),
        "MixReplay.carried": (
            lambda values: setattr(a_mix(), "carried", values),
            {"values": [0.5, -0.5]},
        ),
        "MixReplay.load_state_dict": (
            method(a_mix, "load_state_dict"),
            {"state": a_mix().state_dict()},
        ),
        "MixReplay.load_state_dict's": (
            lambda **state: a_mix().load_state_dict(state),
            {"carried": [0, 0], "present": [0, 1]},
        ),
        "MixReplay.save": (method(a_mix, "save"), {"path": None, "extras": None}),
        "MixReplay.load": (
            MixReplay.load,
            {"path": "nowhere", "storage": "memory", "extras": None},
        ),
        "QuotaReplay": (
            QuotaReplay,
            {
                "quotas": {1: 40},
                "fields": FIELDS,
                "shares": None,
                "joint_exponent": None,
                "storage": "memory",
                "seed": 0,
            },
        ),
        "QuotaReplay.of": (QuotaReplay.of, {"buffers": {1: a_buffer()}, "shares": None}),
        "QuotaReplay.add": (
            method(a_quota, "add"),
            rows()
            | {
                "keys": KEYS,
                "final_observations": None,
                "discounts": None,
                "priorities": None,
                "lanes": None,
            },
        ),
        "QuotaReplay.end_episode": (
            method(a_quota, "end_episode"),
            {"lanes": 0, "final_observations": np.zeros((1, 3))},
        ),
        "QuotaReplay.evict": (
            method(a_quota, "evict"),
            {"which": lambda seen: np.zeros(len(seen), bool), "names": None},
        ),
        "QuotaReplay.load_state_dict": (
            method(a_quota, "load_state_dict"),
            {"state": a_quota().state_dict()},
        ),
        "HighValueIndex": (
            HighValueIndex,
            {
                "buffer": a_buffer(),
                "sampler": "best",
                "top": 0.5,
                "at_least": None,
                "score": "rewards",
                "names": None,
            },
        ),
        "HighValueIndex.load_state_dict": (
            lambda **state: HighValueIndex(a_buffer(), "best", top=0.5).load_state_dict(state),
            HighValueIndex(a_buffer(), "best", top=0.5).state_dict(),
        ),
        "HER": (
            her,
            {
                "strategy": "future",
                "k": 4,
                "compute_reward": len,
                "compute_terminated": None,
                "info_fields": (),
                "seed": 0,
            },
        ),
        "Chain": (replay.Chain, {"relabels": [len]}),
        "RewardModel": (replay.RewardModel, {"rewards": len, "terminated": None}),
        "RewardModel's": (
            lambda rewards: a_buffer().sample(
                2, relabel=replay.RewardModel(lambda fields: rewards)
            ),
            {"rewards": np.zeros(2)},
        ),
        "Counterfactuals": (replay.Counterfactuals, {"counterfactuals": len}),
        "Counterfactuals'": (
            lambda fields, sources: a_buffer().sample(
                2, relabel=replay.Counterfactuals(lambda batch: (fields, sources))
            ),
            {"fields": {}, "sources": [0, 1]},
        ),
        "Prefetcher": (
            lambda **options: replay.Prefetcher(**options).close(),
            {"source": a_buffer(), "n": 2, "depth": 2},
        ),
        "from_minari": (
            lambda **options: replay.from_minari(**{"dataset": 3} | options),
            {"infos": ()},
        ),
        "remove_shared_buffer": (replay.remove_shared_buffer, {"storage": "shared:nothing"}),
        "save_states": (replay.save_states, {"path": "nowhere", "objects": {}}),
        "load_states": (replay.load_states, {"path": "nowhere", "objects": {}}),
        "cpprb.ReplayBuffer": (
            cpprb.ReplayBuffer,
            {
                "size": 10,
                "env_dict": {"obs": {}},
                "next_of": None,
                "stack_compress": None,
                "default_dtype": None,
                "Nstep": None,
                "seed": 0,
            },
        ),
        "cpprb.env_dict": (
            lambda **one: cpprb.ReplayBuffer(9, {"obs": one}),
            {"shape": 2, "dtype": "f4"},
        ),
        "cpprb.add": (
            method(rival, "add"),
            {"obs": np.zeros(2), "rew": np.zeros(1), "priorities": None},
        ),
        "cpprb.sample": (method(rival, "sample"), {"batch_size": 2, "beta": 0.4}),
        "cpprb.update_priorities": (
            method(rival, "update_priorities"),
            {"indexes": [0, 1], "priorities": [1.0, 2.0]},
        ),
    }
