"""Retrieval against brute force."""

import fastrl
import numpy as np
import pytest
from fastrl import replay
from fastrl.reference import retrieval as reference
from fresh_process import run_python
from tolerance import assert_close


@pytest.mark.parametrize(
    ("num_queries", "num_keys", "dim", "k"),
    [
        (1, 1, 1, 1),
        (3, 31, 7, 5),
        (2, 33, 8, 33),
        (5, 9001, 17, 20),
        (1, 5, 64, 9),
        (4, 4096, 3, 1),
    ],
)
def test_retrieval_equals_brute_force(num_queries, num_keys, dim, k):
    rng = np.random.default_rng(num_keys)
    queries = rng.standard_normal((num_queries, dim)).astype(np.float32)
    keys = rng.standard_normal((num_keys, dim)).astype(np.float32)
    found = replay.TopKRetriever(keys).search(queries, k)
    rows, scores = reference.top_k(queries, keys, k)
    np.testing.assert_array_equal(found.rows, rows)
    assert_close(found.scores, scores)


def test_equal_scores_come_in_the_order_of_their_rows():
    keys = np.tile(np.array([[1], [2], [0]], np.float32), (3000, 1))
    found = replay.TopKRetriever(keys).search(np.ones((1, 1), np.float32), 4000)
    twos, ones = np.arange(1, 9000, 3), np.arange(0, 9000, 3)
    np.testing.assert_array_equal(found.rows[0], np.concatenate((twos, ones))[:4000])


def test_no_keys_and_no_queries():
    none = replay.TopKRetriever(np.zeros((0, 4), np.float32))
    assert none.search(np.ones((2, 4), np.float32), 3).rows.tolist() == [[-1] * 3] * 2
    some = replay.TopKRetriever(np.ones((5, 4), np.float32))
    assert some.search(np.ones((0, 4), np.float32), 3).rows.shape == (0, 3)


_BITS = """
import numpy as np
from fastrl import replay, set_num_threads
set_num_threads({threads})
rng = np.random.default_rng(0)
queries, keys = (rng.standard_normal((n, 37)).astype(np.float32) for n in (4, 10_000))
found = replay.TopKRetriever(keys).search(queries, 50)
print(found.rows.tobytes().hex(), found.scores.tobytes().hex())
"""


def test_no_bit_depends_on_the_instruction_set_or_the_threads():
    outputs = set()
    for name, threads in (("portable", 1), ("x86-64-v3", 2), ("", 3)):
        environment = {"FASTRL_INSTRUCTION_SET": name} if name else {}
        outputs.add(run_python(_BITS.format(threads=threads), **environment))
    assert len(outputs) == 1


def test_store_finds_the_trajectories_that_are_there():
    rng = np.random.default_rng(1)
    store = fastrl.TrajectoryStore(
        2 << 20, max_trajectories=100, columns={"keys": ((6,), "float32"), "other": "int8"}
    )
    keys = rng.standard_normal((160, 6)).astype(np.float32)
    handles = np.concatenate(
        [
            store.add(
                np.zeros(2 * 80, np.int32),
                action_mask=np.ones(160, bool),
                log_probs=np.zeros(160, np.float32),
                cu_seqlens=np.arange(0, 161, 2, dtype=np.int32),
                group_ids=np.arange(80),
                rewards=np.zeros(80, np.float32),
                policy_versions=version,
                keys=keys[80 * version : 80 * version + 80],
                other=np.zeros(80, np.int8),
            )
            for version in (0, 1)
        ]
    )
    store.remove(handles[100::7])
    there = store.contains(handles)
    queries = rng.standard_normal((3, 6)).astype(np.float32)
    found, scores = store.nearest(queries, 95, column="keys")
    rows, expected = reference.top_k(queries, keys[there], 95)
    live = np.append(handles[there], -1)
    np.testing.assert_array_equal(found, live[rows])
    assert_close(scores, expected)
    with pytest.raises(ValueError, match="nearest: `column` must be one of 'keys', got 'other'"):
        store.nearest(queries, 1, column="other")


def test_bad_vectors_are_errors():
    keys = np.ones((5, 4), np.float32)
    with pytest.raises(ValueError, match="TopKRetriever: `keys` must be finite"):
        replay.TopKRetriever(np.full((2, 2), np.nan, np.float32))
    with pytest.raises(TypeError, match="TopKRetriever: `keys` must have dtype float32"):
        replay.TopKRetriever(np.ones((2, 2)))
    retriever = replay.TopKRetriever(keys)
    with pytest.raises(
        ValueError, match=r"search: `queries` must have shape \[Q, 4\], got \[2, 3\]"
    ):
        retriever.search(np.ones((2, 3), np.float32), 1)
    with pytest.raises(ValueError, match="search: `k` must be from 1 to"):
        retriever.search(keys, 0)


def test_torch_queries_give_torch_results():
    torch = pytest.importorskip("torch")
    found = replay.TopKRetriever(torch.eye(3)).search(torch.eye(3)[1:2], 1)
    assert found.rows.tolist() == [[1]]
    assert isinstance(found.scores, torch.Tensor)
