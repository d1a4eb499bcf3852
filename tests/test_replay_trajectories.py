"""The store of token trajectories against its specification, step by step, and its promises."""

import threading

import fastrl
import numpy as np
import pytest
from fastrl.reference import trajectories as reference
from tolerance import assert_close

NUM_BUCKETS = 5


def make_batch(rng, lengths, group_ids, versions, **more):
    """Arguments of `add` for trajectories of these lengths."""
    lengths = np.asarray(lengths)
    tokens = int(lengths.sum())
    batch = {
        "token_ids": rng.integers(0, 50_000, tokens).astype(np.int32),
        "action_mask": rng.random(tokens) < 0.5,
        "log_probs": rng.standard_normal(tokens).astype(np.float32),
        "cu_seqlens": np.concatenate(([0], np.cumsum(lengths))).astype(np.int32),
        "group_ids": np.asarray(group_ids, np.int64),
        "rewards": rng.random(len(lengths)).astype(np.float32),
        "policy_versions": np.asarray(versions, np.int64),
        "advantages": rng.standard_normal(len(lengths)).astype(np.float32),
        "successes": rng.random(len(lengths)) < 0.5,
    }
    return batch | more


def as_reference(batch):
    ends = batch["cu_seqlens"]
    return [
        reference.Trajectory(
            tokens=batch["token_ids"][ends[i] : ends[i + 1]].tolist(),
            action_mask=batch["action_mask"][ends[i] : ends[i + 1]].tolist(),
            log_probs=batch["log_probs"][ends[i] : ends[i + 1]].tolist(),
            group_id=int(batch["group_ids"][i]),
            reward=float(batch["rewards"][i]),
            advantage=float(batch["advantages"][i]),
            success=bool(batch["successes"][i]),
            policy_version=int(batch["policy_versions"][i]),
        )
        for i in range(len(ends) - 1)
    ]


def simple_batch(n=4, length=5, version=0, **more):
    rng = np.random.default_rng(0)
    return make_batch(rng, [length] * n, np.arange(n), [version] * n) | more


def small_store(**options):
    options = {"max_trajectories": 64} | options
    return fastrl.TrajectoryStore(1 << 20, **options)


def assert_same_batch(batch, expected):
    """The batch holds exactly these trajectories of the specification, in this order."""
    assert batch.handles.tolist() == [kept.handle for kept in expected]
    ends = batch.cu_seqlens
    for i, kept in enumerate(expected):
        own = slice(ends[i], ends[i + 1])
        assert batch.token_ids[own].tolist() == kept.tokens
        assert batch.action_mask[own].tolist() == kept.action_mask
        assert batch.log_probs[own].tolist() == kept.log_probs
    for name in ("group_id", "reward", "advantage", "success", "policy_version", "created"):
        column = {"success": "successes", "created": "created"}.get(name, name + "s")
        assert batch[column].tolist() == [getattr(kept, name) for kept in expected], name


def assert_same_store(store, twin):
    assert store.handles().tolist() == [kept.handle for kept in twin.order.not_older(-1)]
    assert store.num_tokens == sum(len(kept.tokens) for kept in twin.arrivals)
    assert store.num_groups == len(twin.groups)
    assert (store.policy_version, store.clock) == (twin.policy_version, twin.clock)
    assert store.counters == {
        "added": twin.added,
        "sampled": twin.sampled,
        "refused_stale": twin.refused_stale,
        "refused_updates": twin.refused_updates,
        "evicted": twin.evicted,
    }
    counts = [0] * NUM_BUCKETS
    for group in twin.groups.values():
        counts[min(group.successes(), NUM_BUCKETS - 1)] += 1
    assert store.bucket_counts().tolist() == counts


def draw_arguments(rng, available, what):
    arguments = {"count_use": bool(rng.random() < 0.7)}
    if rng.random() < 0.7:
        arguments[what] = int(rng.integers(1, available + 1))
    else:
        arguments["token_budget"] = int(rng.integers(40, 400))
    arguments["order"] = str(rng.choice(["uniform", "uniform", "newest", "oldest"]))
    return arguments


@pytest.mark.parametrize("seed", range(12))
def test_store_matches_reference_step_by_step(seed):
    rng = np.random.default_rng(seed)
    limits = {
        "max_staleness": [None, 3, 6][seed % 3],
        "ttl": [None, 60][seed % 2],
        "use_count_limit": [None, 2, None, 3][seed % 4],
        "max_per_group": [None, None, 4][seed % 3],
        "evict": ["oldest", "stalest"][seed // 2 % 2],
        "num_buckets": NUM_BUCKETS,
        "seed": seed,
    }
    store = fastrl.TrajectoryStore(40_000, max_trajectories=40, **limits)
    twin = reference.TrajectoryStore(40, store.max_tokens // 32, **limits)
    gone = []
    for step in range(120):
        action = rng.random()
        if action < 0.45 or len(store) == 0:
            n = int(rng.integers(1, 7))
            versions = np.maximum(0, step // 8 - rng.integers(0, 4, n))
            # Now and then a newer policy, and always some that come late.
            batch = make_batch(
                rng, rng.integers(1, 100, n), rng.integers(0, 9, n) * 10**15 - 7, versions
            )
            more = {}
            if rng.random() < 0.3:
                more["group_successes"] = rng.integers(0, 7, n)
            if rng.random() < 0.2:
                more["created"] = store.clock + np.sort(rng.integers(0, 9, n))
            handles = store.add(**batch, **more)
            expected = twin.add(
                as_reference(batch), **{key: value.tolist() for key, value in more.items()}
            )
            assert handles.tolist() == expected
            gone += handles.tolist()
        elif action < 0.6:
            arguments = draw_arguments(rng, len(store), "n")
            if "n" in arguments and arguments["order"] == "uniform" and rng.random() < 0.3:
                arguments["replacement"] = True
            expected = twin.sample(**arguments)
            if expected:
                assert_same_batch(store.sample(**arguments), expected)
            else:
                with pytest.raises(ValueError, match="sample: `token_budget` must be enough"):
                    store.sample(**arguments)
        elif action < 0.8:
            arguments = draw_arguments(rng, store.num_groups, "num_groups")
            if rng.random() < 0.5:
                arguments["group_size"] = int(rng.integers(1, 4))
            if rng.random() < 0.4:
                arguments["bucket_weights"] = [0.5, 1.0, 0.25, 2.0, 0.125]
            expected = twin.sample_groups(**arguments)
            if not expected:
                with pytest.raises(ValueError, match="sample_groups: `token_budget`"):
                    store.sample_groups(**arguments)
            else:
                batch = store.sample_groups(**arguments)
                assert_same_batch(batch, [kept for group in expected for kept in group])
                sizes = np.diff(batch.cu_groups).tolist()
                assert sizes == [len(group) for group in expected]
        elif action < 0.9:
            asked = rng.permutation(gone)[:5].astype(np.int64)
            changes = rng.random(len(asked)) < 0.5
            there = [twin.get(handle) is not None for handle in asked.tolist()]
            assert store.contains(asked).tolist() == there
            assert store.update(asked, successes=changes) == sum(there)
            twin.refused_updates += len(asked) - sum(there)
            for handle, success in zip(asked.tolist(), changes.tolist(), strict=True):
                if twin.get(handle):
                    twin.get(handle).success = success
        elif action < 0.95:
            asked = rng.permutation(gone)[:3].astype(np.int64)
            assert store.remove(asked) == twin.remove(asked.tolist())
        else:
            version, clock = store.policy_version + int(rng.integers(0, 3)), store.clock + 5
            store.advance(version, clock=clock)
            twin.advance(version, clock)
        assert_same_store(store, twin)


def test_filter_by_staleness_draws_among_the_fresh_alike():
    store, twin = small_store(seed=5), reference.TrajectoryStore(64, 10_000, seed=5)
    rng = np.random.default_rng(0)
    for version in (0, 1, 2, 4, 3, 4):  # 3 comes late
        batch = make_batch(rng, [3] * 6, [version, version, 7, 8, 9, 9], [version] * 6)
        store.add(**batch)
        twin.add(as_reference(batch))
    for staleness in (0, 1, 2, None):
        arguments = {"max_staleness": staleness, "successes_only": staleness == 1}
        expected = twin.sample(4, **arguments)
        assert_same_batch(store.sample(4, **arguments), expected)
        groups = twin.sample_groups(3, max_staleness=staleness)
        batch = store.sample_groups(3, max_staleness=staleness)
        assert_same_batch(batch, [kept for group in groups for kept in group])
        assert staleness is None or (batch.policy_versions >= 4 - staleness).all()


def test_every_trajectory_and_group_is_drawn_equally_often():
    store = small_store(seed=3)
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(16), [1, 2, 3, 4] * 4)
    store.add(**make_batch(rng, [2] * 40, groups, np.arange(40) // 10))
    by_handle = dict.fromkeys(store.handles().tolist(), 0)
    by_group = dict.fromkeys(range(16), 0)
    for _ in range(4_000):
        for handle in store.sample(5, count_use=False).handles.tolist():
            by_handle[handle] += 1
        for group in store.sample_groups(4, group_size=1).group_ids.tolist():
            by_group[group] += 1
    # Less spread than with replacement: the bounds are those of independent draws, p < 1e-6.
    for counts, expected, bound in ((by_handle, 500, 99.0), (by_group, 1000, 58.0)):
        chi_squared = sum((n - expected) ** 2 / expected for n in counts.values())
        assert chi_squared < bound


def test_weighted_draws_have_the_probabilities_of_their_weights():
    store = small_store(weighted=True, max_trajectories=32, seed=2)
    rng = np.random.default_rng(6)
    weights = {}
    for step in range(60):  # with late versions, holes and sweeps of the order
        versions = np.maximum(0, step - rng.integers(0, 4, 3))
        given = rng.integers(0, 5, 3).astype(np.float32)
        handles = store.add(**make_batch(rng, [4] * 3, [0, 1, 2], versions), weights=given)
        weights |= dict(zip(handles.tolist(), given.tolist(), strict=True))
        if step % 3 == 0:
            store.update(handles[:1], weights=np.array([7], np.float32), successes=np.ones(1, bool))
            weights[int(handles[0])] = 7.0
            store.remove(store.sample(1).handles)
        if step < 4:
            continue
        fresh = store.peek(store.handles())
        for staleness in (None, 2):
            oldest = -1 if staleness is None else store.policy_version - staleness
            drawable = fresh.handles[fresh.policy_versions >= oldest].tolist()
            total = sum(weights[handle] for handle in drawable)
            draw = {"order": "weighted", "max_staleness": staleness, "count_use": False}
            if total == 0:
                with pytest.raises(ValueError, match="with a weight above 0, got none"):
                    store.sample(5, replacement=True, **draw)
                continue
            batch = store.sample(5, replacement=True, **draw)
            expected = np.array([weights[handle] for handle in batch.handles.tolist()]) / total
            assert set(batch.handles.tolist()) <= set(drawable)
            assert_close(batch.probabilities, expected)
    some = store.sample(3, order="weighted", token_budget=9)
    assert len(set(some.handles.tolist())) == 2
    assert (some.probabilities > 0).all()


def test_weighted_draws_are_as_frequent_as_their_weights():
    store = small_store(weighted=True, seed=8)
    weights = np.array([0, 1, 2, 3, 10], np.float32)
    handles = store.add(**simple_batch(5), weights=weights).tolist()
    drawn = [
        handle
        for _ in range(200)
        for handle in store.sample(50, order="weighted", replacement=True).handles.tolist()
    ]
    counts = np.array([drawn.count(handle) for handle in handles])
    expected = 10_000 * weights[1:] / 16
    assert counts[0] == 0
    assert ((counts[1:] - expected) ** 2 / expected).sum() < 30.7  # p < 1e-6
    firsts = [int(store.sample(1, order="weighted").handles[0]) for _ in range(2_000)]
    assert abs(firsts.count(handles[4]) - 1250) < 106  # 4.9 standard deviations


def test_bad_weights_and_weighted_draws_are_errors():
    store = small_store(weighted=True)
    with pytest.raises(ValueError, match="add: `weights` must be finite and at least 0, got -1"):
        store.add(**simple_batch(), weights=np.array([1, 1, -1, 1], np.float32))
    handles = store.add(**simple_batch(), weights=np.array([0, 0, 0, 2], np.float32))
    with pytest.raises(
        ValueError, match="update: `weights` must be finite and at least 0, got nan"
    ):
        store.update(handles, weights=np.full(4, np.nan, np.float32))
    with pytest.raises(ValueError, match="`n` must be at most the 1 trajectories with a weight"):
        store.sample(2, order="weighted")
    with pytest.raises(ValueError, match="sample: `n` must be given, without `successes_only`"):
        store.sample(order="weighted", token_budget=9)
    plain = small_store()
    with pytest.raises(ValueError, match="`weights` must be None, as the store is not weighted"):
        plain.add(**simple_batch(), weights=np.ones(4, np.float32))
    with pytest.raises(ValueError, match="`order` must not be 'weighted' for a store without"):
        plain.sample(2, order="weighted")


def test_log_probs_come_back_bit_for_bit():
    bits = np.array([0x7FC00001, 0xFF800000, 0x80000000, 0x00000001, 0x7F7FFFFF], np.uint32)
    store = small_store()
    handles = store.add(**simple_batch(1, log_probs=bits.view(np.float32)))
    assert store.get(handles).log_probs.view(np.uint32).tolist() == bits.tolist()


@pytest.mark.parametrize("length", [1, 7, 31, 32, 33, 64, 100, 1_000])
def test_tokens_of_any_length_come_back(length):
    rng = np.random.default_rng(length)
    store = small_store(token_columns={"turns": "int16", "spans": ((3,), "float64")})
    lengths = [length, 1, length, 40]
    tokens = sum(lengths)
    more = {
        "turns": rng.integers(0, 99, tokens).astype(np.int16),
        "spans": rng.random((tokens, 3)),
    }
    batch = make_batch(rng, lengths, [0, 1, 2, 3], [0] * 4, **more)
    handles = store.add(**batch)
    # Holes of every size in between.
    store.remove(handles[[1, 3]])
    again = make_batch(rng, [90, 2 * length], [4, 5], [0, 0], turns=np.zeros(90 + 2 * length, "i2"))
    store.add(**again, spans=np.zeros((90 + 2 * length, 3)))
    for i in (0, 2):
        own = slice(batch["cu_seqlens"][i], batch["cu_seqlens"][i + 1])
        got = store.get(handles[i : i + 1])
        for name in ("token_ids", "action_mask", "log_probs", "turns", "spans"):
            np.testing.assert_array_equal(got[name], batch[name][own])


def test_padded_input_and_output_hold_the_same_tokens():
    rng = np.random.default_rng(2)
    lengths = np.array([3, 70, 1, 32])
    batch = make_batch(rng, lengths, [0, 0, 1, 1], [0] * 4)
    packed = small_store()
    packed.add(**batch)
    rows = packed.get(packed.handles(), layout="padded")
    used = np.arange(70) < lengths[:, None]
    for name in ("token_ids", "action_mask", "log_probs"):
        np.testing.assert_array_equal(rows[name][used], batch[name])
        assert not rows[name][~used].any()
    del batch["cu_seqlens"]
    padded = {name: rows[name] for name in ("token_ids", "action_mask", "log_probs")}
    for layout in ({"lengths": lengths}, {"attention_mask": used}):
        store = small_store()
        store.add(**(batch | padded | layout))
        for name in ("token_ids", "action_mask", "log_probs", "cu_seqlens"):
            got, expected = (each.get(each.handles())[name] for each in (store, packed))
            np.testing.assert_array_equal(got, expected)
    # Left padding is padding, too.
    flipped = {name: array[:, ::-1].copy() for name, array in padded.items()}
    store = small_store()
    store.add(**(batch | flipped | {"attention_mask": used[:, ::-1].copy()}))
    first = store.get(store.handles()[:1])
    np.testing.assert_array_equal(first.token_ids, rows["token_ids"][0, 2::-1])


def test_torch_in_torch_out():
    torch = pytest.importorskip("torch")
    batch = simple_batch()
    tensors = {name: torch.from_numpy(array) for name, array in batch.items()}
    tensors["token_ids"] = tensors["token_ids"].long()
    store = small_store()
    handles = store.add(**tensors)
    assert isinstance(handles, torch.Tensor)
    got = store.get(handles, output="torch")
    assert got.token_ids.dtype == torch.int32
    assert got.token_ids.tolist() == batch["token_ids"].tolist()
    loss = fastrl.policy_loss(
        got.log_probs.requires_grad_(),
        got.advantages,
        got.action_mask,
        behavior_log_probs=got.log_probs.detach(),
        cu_seqlens=got.cu_seqlens,
    )
    loss.loss.backward()


def test_columns_are_kept_and_updated():
    store = small_store(columns={"entropies": "float32", "levels": ((2,), "int64")})
    levels = np.arange(8).reshape(4, 2)
    handles = store.add(**simple_batch(entropies=np.ones(4, np.float32), levels=levels))
    assert store.update(handles[1:3], entropies=np.array([5, 6], np.float32)) == 2
    got = store.get(handles)
    assert got.entropies.tolist() == [1, 5, 6, 1]
    assert got.levels.tolist() == levels.tolist()


def test_last_of_several_changes_stays():
    store = small_store()
    handles = store.add(**simple_batch())
    twice = np.array([handles[0], handles[0]])
    store.update(
        twice, rewards=np.array([3, 4], np.float32), advantages=np.array([1, 2], np.float32)
    )
    got = store.get(handles[:1])
    assert (got.rewards[0], got.advantages[0]) == (4, 2)


def test_unknown_advantages_are_nan_and_successes_follow_the_rewards():
    store = small_store(success_threshold=0.7)
    batch = simple_batch(rewards=np.array([0.7, 0.69, -1, 2], np.float32))
    del batch["advantages"], batch["successes"]
    got = store.get(store.add(**batch))
    assert np.isnan(got.advantages).all()
    assert got.successes.tolist() == [True, False, False, True]


def test_a_handle_never_names_another_trajectory():
    store = small_store(max_trajectories=2)
    old = store.add(**simple_batch(2))
    new = store.add(**simple_batch(2))
    assert sorted(old & 1) == sorted(new & 1)  # the same places
    assert not store.contains(old).any()
    assert store.update(old, rewards=np.zeros(2, np.float32)) == 0
    assert store.counters["refused_updates"] == 2
    with pytest.raises(IndexError, match="get: `handles` must be of trajectories that are in"):
        store.get(old)


def test_reported_successes_decide_the_bucket_of_a_group():
    store = small_store()
    store.add(**simple_batch(group_ids=np.array([5, 5, 6, 7]), successes=np.ones(4, bool)))
    assert store.bucket_counts()[:4].tolist() == [0, 2, 1, 0]
    more = simple_batch(1, group_ids=np.array([6]), group_successes=np.array([3]))
    store.add(**more)
    assert store.bucket_counts()[:4].tolist() == [0, 1, 1, 1]
    members, successes = store.group_counts(np.array([5, 6, 99]))
    assert members.tolist() == [2, 2, 0]
    assert successes.tolist() == [2, 3, 0]


def test_named_groups_come_in_order_and_unknown_ones_are_empty():
    store = small_store()
    store.add(**simple_batch(group_ids=np.array([5, 6, 5, 7])))
    batch = store.sample_groups(group_ids=np.array([7, 99, 5]))
    assert batch.cu_groups.tolist() == [0, 1, 1, 3]
    assert batch.group_ids.tolist() == [7, 5, 5]


def test_batches_keep_their_arrays_until_they_are_gone():
    store = small_store()
    store.add(**simple_batch())
    first = store.sample(4)
    kept, tokens = first.token_ids, first.token_ids.copy()
    order = first.handles.tolist()
    address = kept.ctypes.data
    del first
    for _ in range(8):
        other = store.sample(4)
        assert other.token_ids.ctypes.data != address
    np.testing.assert_array_equal(kept, tokens)
    assert sorted(order) == sorted(store.handles().tolist())
    del kept, other
    addresses = {store.sample(4).token_ids.ctypes.data for _ in range(8)}
    assert len(addresses) == 1


def test_state_goes_on_in_another_store():
    rng = np.random.default_rng(4)
    stores = [small_store(seed=seed, columns={"x": "int32"}) for seed in (1, 2)]
    for version in range(6):
        n = 20
        more = {"x": rng.integers(0, 9, n).astype(np.int32)}
        groups = rng.integers(0, 6, n)
        stores[0].add(**make_batch(rng, rng.integers(1, 80, n), groups, [version] * n, **more))
        stores[0].sample(3)
    stores[1].restore(stores[0].state())
    batch = make_batch(rng, [9] * 5, [1] * 5, [7] * 5, x=np.zeros(5, np.int32))
    handles = [store.add(**batch) for store in stores]
    np.testing.assert_array_equal(*handles)
    for _ in range(5):
        draws = [store.sample(7) for store in stores]
        groups = [store.sample_groups(2, group_size=2) for store in stores]
        for one, other in (draws, groups):
            assert list(one) == list(other)
            for name in one:
                np.testing.assert_array_equal(one[name], other[name])
    assert stores[0].counters == stores[1].counters


def test_results_do_not_depend_on_the_number_of_threads():
    before = fastrl.num_threads()
    batches = []
    try:
        for threads in (1, 3):
            fastrl.set_num_threads(threads)
            rng = np.random.default_rng(0)
            store = fastrl.TrajectoryStore(32 << 20, max_trajectories=500)
            store.add(**make_batch(rng, rng.integers(1, 4000, 400), np.arange(400), [0] * 400))
            batches.append(store.sample(300))
    finally:
        fastrl.set_num_threads(before)
    for name in batches[0]:
        np.testing.assert_array_equal(batches[0][name], batches[1][name])


def test_many_threads_lose_nothing():
    store = fastrl.TrajectoryStore(4 << 20, max_trajectories=300, use_count_limit=3)
    failures = []

    def write(seed):
        rng = np.random.default_rng(seed)
        for version in range(60):
            lengths = rng.integers(1, 200, 8)
            # Each token says whose it is.
            marks = np.repeat(rng.integers(0, 2**30, 8), lengths).astype(np.int32)
            batch = make_batch(rng, lengths, rng.integers(0, 30, 8), [version] * 8)
            store.add(**(batch | {"token_ids": marks}))

    def read():
        for _ in range(120):
            try:
                batch = store.sample(5)
            except ValueError:  # still empty
                continue
            for start, end in zip(batch.cu_seqlens[:-1], batch.cu_seqlens[1:], strict=True):
                if len(set(batch.token_ids[start:end].tolist())) != 1:
                    failures.append(batch)

    threads = [threading.Thread(target=write, args=(i,)) for i in range(4)]
    threads += [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    counters = store.counters
    assert counters["added"] == 4 * 60 * 8
    assert counters["added"] - sum(counters["evicted"].values()) == len(store)


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
