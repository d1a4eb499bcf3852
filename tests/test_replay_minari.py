"""Minari datasets as buffers: stand-ins of the same interface, and the package where it is."""

from types import SimpleNamespace

import numpy as np
import pytest
from fastrl.replay import Prioritized, ReplayBuffer, from_minari


def episode(number, count, *, end="terminated", dtype=np.float64):
    rows = np.arange(count + 1, dtype=np.float32) + 100 * number
    ended = np.arange(count) == count - 1
    pixels = (np.arange((count + 1) * 4).reshape(-1, 2, 2) + number).astype(np.uint8)
    return SimpleNamespace(
        id=number,
        observations={"a": np.stack([rows, -rows], -1), "b": (pixels, rows.astype(np.int64))},
        actions=np.arange(count) + 10 * number,
        rewards=(rows[:-1] / 2).astype(dtype),
        terminations=ended & (end == "terminated"),
        truncations=ended & (end == "truncated"),
        infos={"success": ended, "state": {"x": rows}},
    )


class Dataset:
    def __init__(self, *episodes):
        self.episodes = episodes
        self.total_episodes = len(episodes)
        self.total_steps = sum(len(one.rewards) for one in episodes)

    def iterate_episodes(self):
        return iter(self.episodes)


EPISODES = (episode(0, 5), episode(1, 1, end="truncated"), episode(2, 7, end="open"))


def test_episodes_keep_all_that_they_have():
    seen = []
    buffer = from_minari(
        Dataset(*EPISODES),
        infos=["success", "state/x"],
        sampler=Prioritized(),
        gamma=0.5,
        on_episode=lambda *counts: seen.append(counts),
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert buffer.capacity == len(buffer) == 13 + 3
    batch = buffer.gather(buffer.handles())
    assert len(batch) == 13
    at = 0
    for one in EPISODES:
        count = len(one.rewards)
        part = slice(at, at + count)
        at += count
        for field, first in (("observations", 0), ("next_observations", 1)):
            rows = slice(first, count + first)
            np.testing.assert_array_equal(batch[field]["a"][part], one.observations["a"][rows])
            for i in (0, 1):
                values = batch[field]["b"][str(i)][part]
                assert values.dtype == one.observations["b"][i].dtype
                np.testing.assert_array_equal(values, one.observations["b"][i][rows])
        np.testing.assert_array_equal(batch.actions[part], one.actions)
        np.testing.assert_array_equal(batch.rewards[part], one.rewards)
        np.testing.assert_array_equal(batch.terminated[part], one.terminations)
        ended = np.arange(count) == count - 1
        np.testing.assert_array_equal(batch.truncated[part], ended & ~one.terminations)
        np.testing.assert_array_equal(batch.discounts[part], 0.5 * ~one.terminations)
        np.testing.assert_array_equal(batch.success[part], one.infos["success"])
        np.testing.assert_array_equal(batch.state["x"][part], one.infos["state"]["x"][1:])
    assert batch.rewards.dtype == np.float64
    assert buffer.places(batch.handles).complete.all()


def test_smaller_and_larger_buffers():
    small = from_minari(Dataset(*EPISODES), capacity=9)
    assert set(small.gather(small.handles()).actions) == set(range(20, 27))
    large = from_minari(Dataset(episode(0, 1, dtype=np.int32)), capacity=50, n_step=3)
    assert large.capacity == 50
    assert large.sample(2).rewards.dtype == np.float32
    assert from_minari(Dataset(episode(0, 1)), n_step=9).capacity == 11
    assert from_minari(Dataset(episode(0, 0), episode(1, 2))).num_drawable == 2


def test_wrong_datasets():
    with pytest.raises(
        TypeError, match="from_minari: `dataset` must be a dataset, an id or a path"
    ):
        from_minari(3)
    with pytest.raises(ValueError, match="from_minari: `dataset` must have episodes, got none"):
        from_minari(Dataset())
    with pytest.raises(ValueError, match="`infos` must be a list of names, got 'success'"):
        from_minari(Dataset(*EPISODES), infos="success")
    with pytest.raises(
        ValueError, match=r"`infos` must be of the dataset, such as \['state', 'succ"
    ):
        from_minari(Dataset(*EPISODES), infos=["x"])
    with pytest.raises(
        ValueError, match=r"`infos` must be of the dataset, such as \['x'\], got 'sta"
    ):
        from_minari(Dataset(*EPISODES), infos=["state/y"])
    short = episode(0, 4)
    short.actions = short.actions[:3]
    with pytest.raises(ValueError, match="`actions` must have 4 entries for 4 steps, got 3 in epi"):
        from_minari(Dataset(short))
    long = episode(0, 4)
    long.infos["success"] = np.zeros(7)
    with pytest.raises(ValueError, match="`success` must have 4 or 5 entries for 4 steps, got 7"):
        from_minari(Dataset(long), infos=["success"])
    text = episode(0, 2)
    text.observations = ["one", "two", "three"]
    with pytest.raises(
        ValueError, match="`observations` must be an array of numbers, or dicts and"
    ):
        from_minari(Dataset(text))


@pytest.mark.filterwarnings("ignore::UserWarning")  # no environment goes with it
@pytest.mark.parametrize("data_format", ["hdf5", "arrow"])
def test_the_package_reads_the_same(tmp_path, monkeypatch, data_format):
    minari = pytest.importorskip("minari")
    pytest.importorskip({"hdf5": "h5py", "arrow": "pyarrow"}[data_format])
    spaces = pytest.importorskip("gymnasium.spaces")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    episodes = (episode(0, 5), episode(1, 1, end="truncated"), episode(2, 7, end="truncated"))
    number = spaces.Box(-1e4, 1e4, (), np.int64)
    observations = {
        "a": spaces.Box(-1e4, 1e4, (2,), np.float32),
        "b": spaces.Tuple((spaces.Box(0, 255, (2, 2), np.uint8), number)),
    }
    minari.create_dataset_from_buffers(
        "test/numbers-v0",
        [minari.data_collector.EpisodeBuffer(**_as_buffer(one)) for one in episodes],
        observation_space=spaces.Dict(observations),
        action_space=spaces.Discrete(100),
        data_format=data_format,
        author="a",
        author_email="a@example.org",
        code_permalink="none",
        algorithm_name="none",
        description="none",
        jpeg_encoding=False,
    )
    names = ["success", "state/x"]
    expected = from_minari(Dataset(*episodes), infos=names)
    for given in (
        "test/numbers-v0",
        tmp_path / "test" / "numbers-v0",
        minari.load_dataset("test/numbers-v0"),
    ):
        buffer = from_minari(given, infos=names)
        assert isinstance(buffer, ReplayBuffer)
        np.testing.assert_array_equal(buffer.handles(), expected.handles())
        one, other = (each.gather(each.handles()) for each in (buffer, expected))
        assert set(one.keys()) == set(other.keys())
        for name in ("actions", "rewards", "terminated", "truncated", "discounts"):
            np.testing.assert_array_equal(one[name], other[name], name)
        for name in ("observations", "next_observations"):
            np.testing.assert_array_equal(one[name]["a"], other[name]["a"])
            for i in "01":
                np.testing.assert_array_equal(one[name]["b"][i], other[name]["b"][i])
        # Arrow files have numbers of nested infos as arrays of one.
        np.testing.assert_array_equal(one.state["x"].reshape(-1), other.state["x"])
        np.testing.assert_array_equal(one.success, other.success)
    with pytest.raises(FileNotFoundError, match="test/other-v0 not found locally"):
        from_minari("test/other-v0")


def _as_buffer(one):
    """As the package records: lists of steps."""
    return {
        "observations": one.observations,
        "actions": list(one.actions),
        "rewards": list(one.rewards),
        "terminations": list(one.terminations),
        "truncations": list(one.truncations),
        "infos": {
            "success": [False, *one.infos["success"].tolist()],
            "state": {"x": one.infos["state"]["x"]},
        },
    }
