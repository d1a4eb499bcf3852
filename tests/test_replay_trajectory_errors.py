"""The store of trajectories: bad calls are refused and change nothing."""

import fastrl
import numpy as np
import pytest
from token_batches import simple_batch, small_store

ADD_ERRORS = {
    "rewards_shape": (
        {"rewards": np.zeros(5, np.float32)},
        r"add: `rewards` must have shape \[B\] = \[4\], got \[5\]",
    ),
    "rewards_dtype": ({"rewards": np.zeros(4)}, "add: `rewards` must have dtype float32"),
    "rewards_nan": (
        {"rewards": np.array([0, 0, np.nan, 0], np.float32)},
        "add: `rewards` must be finite, got nan for trajectory 2",
    ),
    "advantages_inf": (
        {"advantages": np.full(4, np.inf, np.float32)},
        "add: `advantages` must be finite, got inf for trajectory 0",
    ),
    "mask": (
        {"action_mask": np.zeros(19, bool)},
        r"add: `action_mask` must have shape \[N\] = \[20\], got \[19\]",
    ),
    "log_probs": ({"log_probs": None}, "add: `log_probs` must be given, as the store keeps it"),
    "ends": (
        {"cu_seqlens": np.array([0, 5, 5, 15, 20], np.int32)},
        "add: `cu_seqlens` must rise from 0 to the 20 tokens, at least 1 a trajectory",
    ),
    "end": (
        {"cu_seqlens": np.array([0, 5, 10, 15, 21], np.int32)},
        "add: `cu_seqlens` must rise from 0 to the 20 tokens",
    ),
    "two_layouts": (
        {"lengths": np.ones(4, np.int64)},
        "add: `cu_seqlens` must be given, or `attention_mask`, or `lengths`, got 2 of them",
    ),
    "ids": (
        {"token_ids": np.full(20, 2**31)},
        "add: `token_ids` must be in the range of int32, got 2147483648",
    ),
    "version": (
        {"policy_versions": -1},
        "add: `policy_version` must be at least 0, got -1",
    ),
    "created": (
        {"created": np.array([5, 4, 6, 7])},
        "add: `created` must never run backward, from 5 on, got 4 for trajectory 1",
    ),
    "created_too_late": (
        {"created": 2**63 - 1},
        "add: `created` must be at most 4611686018427387904, got 9223372036854775807",
    ),
    "group_successes": (
        {"group_successes": np.array([0, -1, 0, 0])},
        "add: `group_successes` must be at least 0, got -1",
    ),
    "column": (
        {"entropies": np.zeros(4, np.float32)},
        r"add: `entropies` must be one of the store's columns \(log_probs\)",
    ),
}


@pytest.mark.parametrize("case", ADD_ERRORS)
def test_add_refuses_bad_input_and_changes_nothing(case):
    change, message = ADD_ERRORS[case]
    store = small_store()
    store.add(**simple_batch())
    before = store.state()
    with pytest.raises((ValueError, TypeError), match=message):
        store.add(**(simple_batch() | change))
    after = store.state()
    assert all((before[name] == after[name]).all() for name in before)


def test_add_refuses_what_cannot_fit():
    store = fastrl.TrajectoryStore(60_000, max_trajectories=3)
    message = "add: `token_ids` must hold at most max_trajectories = 3 trajectories, got 4"
    with pytest.raises(ValueError, match=message):
        store.add(**simple_batch())
    with pytest.raises(ValueError, match="add: `token_ids` must fit into the store's"):
        store.add(**simple_batch(1, length=50_000))


def test_sampling_an_empty_store_or_too_many_is_an_error():
    store = small_store()
    with pytest.raises(ValueError, match="sample: `n` must have trajectories that can be drawn"):
        store.sample(1)
    with pytest.raises(ValueError, match="sample_groups: `num_groups` must have groups"):
        store.sample_groups(1)
    store.add(**simple_batch(version=1))
    message = "sample: `n` must be at most the 4 trajectories that can be drawn, got 5"
    with pytest.raises(ValueError, match=message):
        store.sample(5)
    with pytest.raises(ValueError, match="at most the 4 groups that can be drawn, got 5"):
        store.sample_groups(5)
    store.advance(3)
    with pytest.raises(ValueError, match="must have trajectories that can be drawn, got none"):
        store.sample(1, max_staleness=1)
    with pytest.raises(ValueError, match="sample: `token_budget` must be enough"):
        store.sample(token_budget=2)
    assert store.counters["sampled"] == 0


def test_other_bad_arguments_are_errors():
    store = small_store()
    handles = store.add(**simple_batch())
    for call, message in (
        (lambda: store.sample(0), "sample: `n` must be at least 1|from 1"),
        (lambda: store.sample(order="best"), "sample: `order` must be one of 'uniform', 'newest'"),
        (lambda: store.sample(replacement=True), "sample: `replacement` must be False unless"),
        (lambda: store.sample(2, layout="x"), "sample: `layout` must be one of"),
        (lambda: store.sample(2, output="x"), "sample: `output` must be one of"),
        (lambda: store.sample_groups(), "sample_groups: `num_groups` must be given, or"),
        (
            lambda: store.sample_groups(1, bucket_weights=[1.0]),
            r"`bucket_weights` must have shape \[num_buckets\] = \[17\], got \[1\]",
        ),
        (
            lambda: store.sample_groups(1, bucket_weights=[0.0] * 17),
            "`bucket_weights` must be finite, at least 0 and not all 0",
        ),
        (
            lambda: store.sample_groups(group_ids=handles, bucket_weights=[1.0] * 17),
            "`bucket_weights` must be None where `group_ids` are given",
        ),
        (lambda: store.advance(clock=1), "advance: `clock` must be at least 4, got 1"),
        (lambda: store.advance(clock=2**63 - 1), "advance: `clock` must be from -"),
        (
            lambda: store.update(handles, rewards=np.full(4, np.nan, np.float32)),
            "update: `rewards` must be finite",
        ),
        (
            lambda: store.restore(small_store(num_buckets=9).state()),
            "restore: `state` must be of a store of the same sizes and columns",
        ),
        (lambda: fastrl.TrajectoryStore(5_000), "TrajectoryStore: `max_bytes` must be at least"),
        (
            lambda: small_store(columns={"rewards": "float32"}),
            "`columns` must have names that are free and identifiers, got 'rewards'",
        ),
        (
            lambda: small_store(columns={"x": "complex64"}),
            r"`columns\['x'\]` must have a dtype out of bool",
        ),
        (
            lambda: small_store(columns={"x": "int8"}, token_columns={"x": "int8"}),
            "`columns` must have other names than `token_columns`, got 'x'",
        ),
        (lambda: small_store(ttl=-1), "TrajectoryStore: `ttl` must be"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    assert store.counters["sampled"] == 0


def test_a_batch_says_what_it_has():
    store = small_store()
    store.add(**simple_batch())
    batch = store.sample(2)
    with pytest.raises(AttributeError, match="this batch has no 'observations', only"):
        batch.observations  # noqa: B018
    assert "rewards [2]" in repr(batch)
