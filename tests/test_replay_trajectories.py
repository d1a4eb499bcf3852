"""The store of token trajectories against its specification, step by step, and its promises."""

import threading

import fastrl
import numpy as np
import pytest
from fastrl.reference import trajectories as reference
from token_batches import (
    NUM_BUCKETS,
    as_reference,
    assert_same_batch,
    assert_same_store,
    make_batch,
    simple_batch,
    small_store,
)


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


def test_results_do_not_depend_on_the_number_of_threads(set_threads):
    batches = []
    for threads in (1, 3):
        set_threads(threads)
        rng = np.random.default_rng(0)
        store = fastrl.TrajectoryStore(32 << 20, max_trajectories=500)
        store.add(**make_batch(rng, rng.integers(1, 4000, 400), np.arange(400), [0] * 400))
        batches.append(store.sample(300))
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
