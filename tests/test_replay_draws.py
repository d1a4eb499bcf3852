"""Draws from the replay buffer: uniform or by priority, in every scheme."""

import numpy as np
import pytest
from fastrl.replay import Linear, Prioritized, RankPrioritized, ReplayBuffer, Uniform
from fresh_process import run_python
from numbered_rows import FIELDS, filled, rows
from tolerance import assert_close


@pytest.mark.parametrize(
    "scheme", ["independent", "stratified", "systematic", "without_replacement"]
)
def test_uniform_draws_are_uniform(scheme):
    buffer = filled(45, num_lanes=2, capacity=80, sampler=Uniform(scheme))
    handles = buffer.handles()
    draws, n = 400, 20
    counts = dict.fromkeys(handles.tolist(), 0)
    for _ in range(draws):
        batch = buffer.sample(n)
        if scheme == "without_replacement":
            assert len(set(batch.handles.tolist())) == n
        for handle in batch.handles.tolist():
            counts[handle] += 1
    expected = draws * n / len(handles)
    chi_square = sum((count - expected) ** 2 / expected for count in counts.values())
    # At most a p-value of 10⁻⁶; dependent draws vary less.
    degrees = len(handles) - 1
    assert chi_square < degrees + 4.8 * (2 * degrees) ** 0.5 + 15


@pytest.mark.parametrize("scheme", ["stratified", "systematic"])
def test_spread_draws_take_one_of_each_stratum(scheme):
    buffer = filled(60, capacity=61, sampler=Uniform(scheme))
    place = {handle: i for i, handle in enumerate(buffer.handles().tolist())}
    orders = set()
    for _ in range(50):
        places = np.array([place[handle] for handle in buffer.sample(10).handles.tolist()])
        # 59 transitions: stratum i is [5.9 i, 5.9 (i + 1)), which rounds down by less than 1.
        strata = np.sort(places)
        assert (strata >= np.floor(5.9 * np.arange(10))).all()
        assert (strata < 5.9 * np.arange(1, 11)).all()
        orders.add(tuple(np.argsort(places)))
    assert len(orders) > 40


@pytest.mark.parametrize("n", [10, 40, 59])
def test_without_replacement_takes_all_when_asked(n):
    buffer = filled(60, capacity=61, sampler=Uniform("without_replacement"))
    assert len(set(buffer.sample(n).handles.tolist())) == n
    with pytest.raises(
        ValueError, match="sample: `n` must be at most the 59 that can be drawn, got"
    ):
        buffer.sample(60)


def test_rare_drawable_rows_are_drawn_uniformly():
    buffer = filled(60, capacity=1024, num_lanes=16)
    keep = np.zeros(buffer.num_drawable, bool)
    keep[::100] = True
    kept = buffer.handles()[keep]
    assert buffer.evict(~keep) == (~keep).sum()
    assert buffer.num_drawable == len(kept)
    drawn = np.concatenate([buffer.sample(500).handles for _ in range(4)])
    values, counts = np.unique(drawn, return_counts=True)
    np.testing.assert_array_equal(values, np.sort(kept))
    assert counts.min() > 2000 / len(kept) - 6 * (2000 / len(kept)) ** 0.5


def test_priorities_come_late_early_and_never_to_newer_rows():
    buffer = ReplayBuffer(8, FIELDS, sampler=Prioritized(1.0))
    handles = np.concatenate([buffer.add(**rows(1, step)) for step in range(3)])
    # Row 2 has no successor yet: its priority waits.
    assert buffer.update_priorities(handles, np.array([1.0, 0.0, 3.0])) == 3
    buffer.add(**rows(1, 3), priorities=np.array([6.0]))
    buffer.add(**rows(1, 4))
    drawn = buffer.handles()
    assert_close(buffer.priorities(drawn), np.array([1.0, 0.0, 3.0, 6.0]), dtype="float32")
    batch = buffer.sample(1000)
    assert set(batch.actions.tolist()) == {0, 2, 3}
    assert_close(batch.probabilities, np.array([1, 0, 3, 6])[batch.actions] / 10, dtype="float32")
    for step in range(5, 12):
        buffer.add(**rows(1, step))
    assert buffer.update_priorities(handles, np.full(3, 9.0)) == 0
    assert buffer.refused_updates == 3
    assert (buffer.priorities(buffer.handles()) < 7).all()


def test_importance_weights_are_those_of_the_paper():
    buffer = filled(6, sampler=Prioritized(1.0, Linear(0.0, 1.0, 2), normalize=None))
    buffer.update_priorities(buffer.handles(), np.arange(1.0, 6.0))
    for exponent in (0.0, 0.5, 1.0, 1.0):
        batch = buffer.sample(32)
        assert_close(
            batch.importance_weights, (5 * batch.probabilities) ** -exponent, dtype="float32"
        )
    batch = buffer.sample(32, importance_exponent=0.25)
    assert_close(batch.importance_weights, (5 * batch.probabilities) ** -0.25, dtype="float32")


@pytest.mark.parametrize(
    "scheme", ["independent", "stratified", "systematic", "without_replacement"]
)
@pytest.mark.parametrize("kind", [Prioritized, RankPrioritized])
def test_prioritized_draws_have_the_stated_probabilities(kind, scheme):
    buffer = filled(21, sampler=kind(1.0, scheme=scheme))
    handles = buffer.handles()
    priorities = np.where(np.arange(20) % 4 == 3, 0, 2.0 ** -np.arange(20))
    buffer.update_priorities(handles, priorities)
    ranks = np.cumsum(priorities > 0)
    expected = priorities if kind is Prioritized else np.where(priorities > 0, 1 / ranks, 0)
    expected = expected / expected.sum()
    counts, draws = np.zeros(20), 2000
    estimate = np.zeros(20)
    for _ in range(draws):
        batch = buffer.sample(8)
        counts += np.bincount(batch.actions, minlength=20)
        np.add.at(estimate, batch.actions, 1 / (8 * batch.probabilities))
        if scheme != "without_replacement":
            np.testing.assert_allclose(batch.probabilities, expected[batch.actions], rtol=1e-3)
    assert (counts[expected == 0] == 0).all()
    if scheme != "without_replacement":
        deviation = np.sqrt(8 * draws * expected * (1 - expected)) + 1e-9
        assert (np.abs(counts - 8 * draws * expected) < 5 * deviation + 1).all()
    # Each item's estimate of 1 is unbiased; likely ones have small errors.
    likely = expected > 0.02
    np.testing.assert_allclose(estimate[likely] / draws, 1, atol=0.15)


def test_samplers_share_rows_and_nothing_else():
    samplers = {
        "td": Prioritized(1.0),
        "even": Uniform(),
        "age": Prioritized(1.0, new_priority=0.0),
    }
    buffer = filled(6, sampler=samplers)
    handles = buffer.handles()
    assert buffer.update_priorities(handles[2:3], np.array([5.0]), sampler="age") == 1
    assert set(buffer.sample(50, sampler="age").actions.tolist()) == {2}
    assert set(buffer.sample(200, sampler="even").actions.tolist()) == {0, 1, 2, 3, 4}
    assert set(buffer.sample(200).actions.tolist()) == {0, 1, 2, 3, 4}
    with pytest.raises(ValueError, match="update_priorities: `sampler` must be one that has prio"):
        buffer.update_priorities(handles, np.ones(5), sampler="even")


def test_the_same_seed_gives_the_same_batches():
    def draws(seed, sampler):
        buffer = filled(40, seed=seed, sampler=sampler)
        return np.concatenate([buffer.sample(8).handles for _ in range(4)]).tolist()

    for sampler in (Uniform(), Prioritized(), Uniform("stratified")):
        assert draws(3, sampler) == draws(3, sampler)
        assert draws(3, sampler) != draws(4, sampler)


def test_results_do_not_depend_on_threads_or_instruction_set():
    code = """
        import hashlib, numpy as np, fastrl
        from fastrl.replay import Prioritized
        fields = {"observations": ((40,), "float32"), "rewards": ((), "float32")}
        buffer = fastrl.ReplayBuffer(9000, fields, num_lanes=3, n_step=3, sampler=Prioritized())
        random = np.random.default_rng(0)
        for _ in range(10):
            ended = random.random((400, 3)) < 0.02
            observations = random.normal(size=(400, 3, 40)).astype("f4")
            handles = buffer.add(
                observations=observations, rewards=random.normal(size=(400, 3)),
                terminated=ended, truncated=ended & False, final_observations=observations,
            )
            buffer.update_priorities(handles[:, 0], random.random(400))
            batch = buffer.sample(4096)
            print(hashlib.sha256(b"".join(batch[name].tobytes() for name in batch)).hexdigest())
    """
    outputs = set()
    for environment in (
        {"FASTRL_NUM_THREADS": "1"},
        {"FASTRL_NUM_THREADS": "3"},
        {"FASTRL_INSTRUCTION_SET": "portable"},
    ):
        outputs.add(run_python(code, **environment))
    assert len(outputs) == 1
    assert len(outputs.pop().split()) == 10
