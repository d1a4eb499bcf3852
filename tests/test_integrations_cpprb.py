"""fastrl.integrations.cpprb, against cpprb itself where it is installed."""

import numpy as np
import pytest
from fastrl.integrations.cpprb import PrioritizedReplayBuffer, ReplayBuffer
from sameness import assert_same

ENV = {
    "obs": {"shape": 3},
    "act": {"dtype": np.int32},
    "rew": {},
    "next_obs": {"shape": 3},
    "done": {},
}


def transitions(first, count):
    numbers = np.arange(first, first + count, dtype=np.float64)
    obs = np.repeat(numbers[:, None], 3, 1)
    return {
        "obs": obs,
        "act": numbers.astype(int),
        "rew": numbers / 2,
        "next_obs": obs + 0.5,
        "done": numbers % 5 == 0,
    }


@pytest.fixture
def cpprb():
    return pytest.importorskip("cpprb")


@pytest.mark.parametrize("kind", ["ReplayBuffer", "PrioritizedReplayBuffer"])
def test_the_same_transitions_are_stored_as_in_cpprb(cpprb, kind):
    ours, theirs = globals()[kind](11, ENV), getattr(cpprb, kind)(11, ENV)
    random = np.random.default_rng(0)
    first = 0
    for _ in range(30):
        count = int(random.choice([1, 1, 1, 3, 5]))
        given = transitions(first, count)
        if count == 1:
            given = {name: value[0] for name, value in given.items()}
        place = theirs.add(**given)
        assert ours.add(**given) & 0xFFFFFFFF == place
        first += count
        if random.random() < 0.2:
            ours.on_episode_end()
            theirs.on_episode_end()
        assert_same(ours.get_all_transitions(), theirs.get_all_transitions())
        for name in ("stored_size", "buffer_size", "next_index", "current_episode_len"):
            assert getattr(ours, f"get_{name}")() == getattr(theirs, f"get_{name}")(), name
        drawn, other = ours.sample(7), theirs.sample(7)
        assert {name: (v.shape, v.dtype) for name, v in drawn.items()} == {
            name: (v.shape, v.dtype) for name, v in other.items()
        }
        assert set(drawn["act"].ravel()) <= set(ours.get_all_transitions()["act"].ravel())
        np.testing.assert_array_equal(drawn["obs"][:, :1], drawn["act"])
    assert ours.is_Nstep() is theirs.is_Nstep() is False


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
def test_weights_are_those_of_cpprb(cpprb, alpha):
    ours = PrioritizedReplayBuffer(42, ENV, alpha=alpha, eps=0.01)
    theirs = cpprb.PrioritizedReplayBuffer(42, ENV, alpha=alpha, eps=0.01)
    random = np.random.default_rng(1)
    # 42 is a multiple of 6: where a chunk goes around the end of the ring, cpprb gives what comes
    # after it the chunk's first priorities once more.
    for first in range(0, 60, 6):
        # Some come with priorities, others get the largest.
        priorities = random.exponential(size=6) if first % 12 else None
        for one in (ours, theirs):
            one.add(**transitions(first, 6), priorities=priorities)
        places = random.integers(0, ours.get_stored_size(), 5)
        values = random.exponential(size=5) * 10
        live = ours.buffer.handles()
        by_place = {int(handle) & 0xFFFFFFFF: handle for handle in live}
        ours.update_priorities([by_place[place] for place in places], values)
        theirs.update_priorities(places, values)
        assert ours.get_max_priority() == pytest.approx(theirs.get_max_priority(), rel=1e-6)
    for beta in (0.0, 0.4, 1.0):
        weights = {}
        for one in (ours, theirs):
            weights[one] = {}
            for _ in range(20):  # cpprb writes to the same weights with each draw
                batch = one.sample(64, beta)
                acts = batch["act"].ravel().tolist()
                weights[one].update(zip(acts, batch["weights"].tolist(), strict=True))
        shared = set(weights[ours]) & set(weights[theirs])
        assert len(shared) > 10
        for act in shared:
            assert weights[ours][act] == pytest.approx(weights[theirs][act], rel=1e-4)


def test_stale_indexes_are_refused():
    buffer = PrioritizedReplayBuffer(4, ENV, alpha=1.0, eps=0.0)
    buffer.add(**transitions(0, 4))
    batch = buffer.sample(8)
    assert batch["indexes"].dtype == np.uint64
    assert (batch["indexes"] == batch["act"].ravel()).all()
    index = buffer.add(**transitions(4, 1), priorities=2)
    assert index == 1 << 32
    buffer.update_priorities(np.array([0, 1]), np.array([50.0, 3.0]))
    assert buffer.refused_updates == 1
    assert buffer.get_max_priority() == 50
    handles = np.array([index, 1], np.uint64)
    np.testing.assert_allclose(buffer.buffer.priorities(handles), [2, 3], rtol=1e-6)
    buffer.update_priorities([index], [7.0])
    buffer.clear()
    assert buffer.get_stored_size() == buffer.get_current_episode_len() == 0
    assert buffer.get_max_priority() == 1
    buffer.update_priorities([index, 1], [9.0, 9.0])
    assert buffer.refused_updates == 3
    buffer.add(**transitions(5, 1))
    assert buffer.sample(2)["act"].ravel().tolist() == [5, 5]


def test_what_next_of_adds():
    buffer = ReplayBuffer(1e1, {"obs": {"shape": (2, 2)}, "done": {}}, next_of="obs", seed=3)
    obs = np.arange(8.0).reshape(2, 2, 2)
    buffer.add(obs=obs, next_obs=-obs, done=[0, 1])
    stored = buffer.get_all_transitions(shuffle=True)
    np.testing.assert_array_equal(stored["next_obs"], -stored["obs"])
    assert sorted(stored["done"].ravel()) == [0, 1]


def test_transitions_are_saved_and_loaded(tmp_path):
    buffer = PrioritizedReplayBuffer(5, ENV)
    buffer.add(**transitions(0, 7))
    buffer.save_transitions(tmp_path / "some.npz")
    other = ReplayBuffer(9, ENV, mmap_prefix=str(tmp_path / "rows"))
    other.load_transitions(tmp_path / "some.npz")
    assert other.get_all_transitions()["act"].ravel().tolist() == [2, 3, 4, 5, 6]
    assert (tmp_path / "rows.fastrl").exists()
    np.savez(tmp_path / "bad.npz", **{name: np.array([{}]) for name in ENV})
    with pytest.raises(ValueError, match="allow_pickle=False"):
        other.load_transitions(tmp_path / "bad.npz")


def test_wrong_arguments():
    wrong = [
        ({"size": 2.5}, ValueError, "`size` must be a whole number, got 2.5"),
        ({"env_dict": {}}, ValueError, "`env_dict` must be a dict of dicts, at least one, got {}"),
        ({"env_dict": {"a": 3}}, TypeError, r"`env_dict\['a'\]` must be a dict, got int"),
        ({"next_of": "x"}, ValueError, "`next_of` must be one of 'obs', "),
        ({"stack_compress": "obs"}, ValueError, "`stack_compress` must be None, got 'obs'; fastrl"),
        ({"Nstep": {"size": 3}}, ValueError, "`Nstep` must be None, got"),
    ]
    for options, error, message in wrong:
        with pytest.raises(error, match=f"ReplayBuffer: {message}"):
            ReplayBuffer(**{"size": 9, "env_dict": ENV} | options)
    buffer = PrioritizedReplayBuffer(9, ENV)
    with pytest.raises(ValueError, match="sample: the buffer is empty"):
        buffer.sample(3)
    good = transitions(0, 2)
    with pytest.raises(KeyError, match="done"):
        buffer.add(obs=0, act=0, rew=0, next_obs=0)
    with pytest.raises(
        ValueError, match=r"add: `obs` must hold transitions of shape \[3\] of float"
    ):
        buffer.add(**good | {"obs": np.zeros(4)})
    with pytest.raises(TypeError, match="add: `act` must be an array of numbers, got NoneType"):
        ReplayBuffer(9, {"act": {"dtype": np.uint8}}).add(act=None)
    for value in (300, -1, 1.5, np.nan, 1j, "1"):
        with pytest.raises(ValueError, match="add: `act` must hold what uint8 can hold, got "):
            ReplayBuffer(9, {"act": {"dtype": np.uint8}}).add(act=value)
    with pytest.raises(TypeError, match="add: `rew` must be an array of numbers, got"):
        buffer.add(**good | {"rew": [None, 1]})
    with pytest.raises(ValueError, match="add: `kwargs` must hold as many transitions each, at l"):
        buffer.add(**good | {"rew": np.zeros(3)})
    with pytest.raises(
        ValueError, match=r"add: `priorities` must have shape \[T\] = \[2\], got \[3"
    ):
        buffer.add(**good, priorities=np.ones(3))
    with pytest.raises(ValueError, match="add: `priorities` must be finite and at least 0, got -1"):
        buffer.add(**good, priorities=[-1, 0])
    assert buffer.get_stored_size() == 0
    buffer.add(**good)
    with pytest.raises(ValueError, match="update_priorities: `indexes` must hold indexes, which"):
        buffer.update_priorities([-1], [1.0])
    with pytest.raises(ValueError, match="update_priorities: `handles` must be handles of this"):
        buffer.update_priorities([99], [1.0])
    with pytest.raises(
        ValueError, match="update_priorities: `priorities` must be finite and at le"
    ):
        buffer.update_priorities([0], [np.nan])
    assert buffer.get_max_priority() == 1
