"""fastrl.integrations.sb3 against Stable-Baselines3's own buffers, where that is installed."""

import pickle

import numpy as np
import pytest

pytest.importorskip("stable_baselines3")

import gymnasium
import torch
from fastrl.integrations import sb3
from fastrl.replay import Prioritized
from gymnasium import spaces
from sameness import assert_same
from stable_baselines3 import DQN, HerReplayBuffer
from stable_baselines3.common import buffers
from stable_baselines3.common.envs import BitFlippingEnv
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

pytestmark = pytest.mark.usefixtures("torch_on_one_thread")

BOX = spaces.Box(-9, 9, (3,), np.float32)
GOALS = spaces.Dict(dict.fromkeys(("observation", "achieved_goal", "desired_goal"), BOX))
DICT = spaces.Dict({"a": BOX, "b": spaces.Discrete(7), "c": spaces.Box(0, 255, (2, 2), np.uint8)})


class Worlds:
    """What a VecEnv and SB3 would pass to `add`, step by step."""

    def __init__(self, space, actions, n_envs, seed=0):
        self.space, self.actions, self.n_envs = space, actions, n_envs
        self.random = np.random.default_rng(seed)
        space.seed(seed)
        actions.seed(seed)
        self.obs = self.observe()

    def observe(self):
        each = [self.space.sample() for _ in range(self.n_envs)]
        if isinstance(self.space, spaces.Dict):
            return {key: np.stack([one[key] for one in each]) for key in self.space}
        return np.stack(each)

    def step(self, end=0.2):
        done = self.random.random(self.n_envs) < end
        infos = [{"TimeLimit.truncated": bool(self.random.random() < 0.5)} for _ in done]
        infos = [info if ended else {} for info, ended in zip(infos, done, strict=True)]
        successors, firsts = self.observe(), self.observe()
        given = (
            self.obs,
            successors,
            np.stack([self.actions.sample() for _ in range(self.n_envs)]),
            self.random.normal(size=self.n_envs),
            done,
            infos,
        )
        self.obs = _where(done, firsts, successors)
        return given

    def fill(self, steps, *made, **options):
        for _ in range(steps):
            given = self.step(**options)
            for one in made:
                one.add(*_copied(given))


def _where(mask, one, other):
    if isinstance(one, dict):
        return {key: _where(mask, one[key], other[key]) for key in one}
    return np.where(mask.reshape(-1, *[1] * (one.ndim - 1)), one, other)


def _copied(given):
    return tuple({k: v.copy() for k, v in x.items()} if isinstance(x, dict) else x for x in given)


def all_of(buffer):
    """All transitions, also the newest ones, by environment and age."""
    buffer._cut(buffer._open)
    return buffer._samples(buffer.buffer.gather(buffer.buffer.handles()), None)


def stored(buffer):
    """The same of SB3's own."""
    steps = (np.arange(buffer.size()) + (buffer.pos if buffer.full else 0)) % buffer.buffer_size

    def of(array):
        if isinstance(array, dict):
            return {key: of(one) for key, one in array.items()}
        array = array[steps].swapaxes(0, 1)
        return torch.tensor(array.reshape(-1, *array.shape[2:]))

    dones = (buffer.dones * (1 - buffer.timeouts))[..., None]
    return (
        of(buffer.observations),
        of(buffer.actions),
        of(buffer.next_observations),
        of(dones),
        of(buffer.rewards[..., None]),
    )


@pytest.mark.parametrize("timeouts", [True, False])
@pytest.mark.parametrize(
    ("space", "actions"),
    [
        (BOX, spaces.Discrete(4)),
        (spaces.Discrete(9), spaces.Box(-1, 1, (2,), np.float64)),
        (spaces.MultiDiscrete([3, 4]), spaces.MultiBinary(3)),
        (DICT, spaces.Discrete(3)),
    ],
)
@pytest.mark.parametrize("n_envs", [1, 3])
def test_the_same_transitions_are_stored_as_in_sb3(space, actions, n_envs, timeouts):
    name = "DictReplayBuffer" if isinstance(space, spaces.Dict) else "ReplayBuffer"
    options = {"device": "cpu", "n_envs": n_envs, "handle_timeout_termination": timeouts}
    ours = getattr(sb3, name)(200 * n_envs, space, actions, **options)
    theirs = getattr(buffers, name)(200 * n_envs, space, actions, **options)
    worlds = Worlds(space, actions, n_envs)
    worlds.fill(60, ours, theirs)
    assert (ours.size(), ours.pos, ours.full) == (theirs.size(), theirs.pos, theirs.full)
    # Environments that are reset without a done: the observation does not go on.
    worlds.obs = worlds.observe()
    worlds.fill(40, ours, theirs)
    drawn, other = ours.sample(16), theirs.sample(16)
    for value, expected in zip(drawn, other, strict=True):
        if isinstance(value, dict):
            assert {k: (v.shape, v.dtype) for k, v in value.items()} == {
                k: (v.shape, v.dtype) for k, v in expected.items()
            }
        elif expected is not None:
            assert (value.shape, value.dtype) == (expected.shape, expected.dtype)
    assert drawn.discounts is None
    for value, expected in zip(all_of(ours)[:5], stored(theirs), strict=True):
        assert_same(value, expected)
    assert ours.size() == theirs.size()


def test_n_steps_are_those_of_sb3():
    options = {"device": "cpu", "n_steps": 3, "gamma": 0.9}
    ours = sb3.ReplayBuffer(300, BOX, spaces.Discrete(2), **options)
    theirs = buffers.NStepReplayBuffer(300, BOX, spaces.Discrete(2), **options)
    Worlds(BOX, spaces.Discrete(2), 1).fill(120, ours, theirs)
    mine, expected = all_of(ours), theirs._get_samples(np.arange(120))
    for name in ("observations", "actions", "next_observations", "dones"):
        assert_same(getattr(mine, name), getattr(expected, name))
    torch.testing.assert_close(mine.rewards, expected.rewards)
    # After termination nothing is to be discounted.
    open_ended = expected.dones == 0
    torch.testing.assert_close(mine.discounts[open_ended], expected.discounts[open_ended])


def test_observations_with_nan_go_on():
    ours = sb3.ReplayBuffer(40, BOX, spaces.Discrete(2), "cpu", n_steps=3)
    no = np.zeros(1, bool)
    observations = np.full((1, *BOX.shape), np.nan, np.float32)
    for step in range(6):
        following = observations.copy()
        following[0, 0] = step
        ours.add(observations, following, no.astype(int), np.ones(1), no, [{}])
        observations = following
    assert ours.buffer.gather(ours.buffer.handles()).lengths.tolist() == [3, 3, 3, 2, 1]


def test_old_rows_go_and_size_says_so():
    ours = sb3.ReplayBuffer(40, BOX, spaces.Discrete(2), "cpu", n_envs=2)
    Worlds(BOX, spaces.Discrete(2), 2).fill(100, ours, end=0.0)
    assert ours.full
    assert ours.pos == 0
    assert ours.size() == 20
    assert len(ours.buffer) == 40
    ours.reset()
    assert (ours.size(), ours.pos, ours.full) == (0, 0, False)
    Worlds(BOX, spaces.Discrete(2), 2, seed=1).fill(1, ours)
    # The newest steps are drawn where there is nothing else.
    assert ours.sample(8).observations.shape == (8, 3)
    assert ours.size() == 1


def test_observations_and_rewards_are_normalized():
    ours = sb3.ReplayBuffer(99, BOX, spaces.Discrete(2), "cpu")
    theirs = buffers.ReplayBuffer(99, BOX, spaces.Discrete(2), "cpu")
    Worlds(BOX, spaces.Discrete(2), 1).fill(50, ours, theirs)

    env = VecNormalize(DummyVecEnv([lambda: gymnasium.make("Pendulum-v1")]))
    env.obs_rms.update(np.random.default_rng(0).normal(2, 3, (50, 3)))
    env.ret_rms.update(np.random.default_rng(0).normal(2, 3, 50))
    plain = all_of(ours)
    scaled = ours._samples(ours.buffer.gather(ours.buffer.handles()), env)
    expected = theirs._get_samples(np.arange(50), env)
    for value, other in zip(scaled[:5], expected[:5], strict=True):
        assert_same(value, other)
    assert not torch.equal(plain.rewards, scaled.rewards)


def test_priorities_are_of_the_last_batch():
    ours = sb3.ReplayBuffer(50, BOX, spaces.Discrete(2), "cpu", sampler=Prioritized(1.0))
    with pytest.raises(ValueError, match="`priorities` must be of a batch, got no batch yet"):
        ours.update_priorities(np.ones(3))
    Worlds(BOX, spaces.Discrete(2), 1).fill(30, ours)
    ours.sample(4)
    assert ours.update_priorities(torch.zeros(4)) == 4
    gone = set(ours.last_batch.handles.tolist())
    ours.sample(200)
    assert not gone & set(ours.last_batch.handles.tolist())
    assert ours.last_batch.importance_weights.shape == (200,)


def test_dqn_learns_with_it():
    model = DQN(
        "MlpPolicy",
        "CartPole-v1",
        replay_buffer_class=sb3.ReplayBuffer,
        replay_buffer_kwargs={"sampler": Prioritized(), "n_steps": 3, "gamma": 0.9},
        learning_starts=1,
        train_freq=8,
        batch_size=8,
        buffer_size=150,
        seed=0,
        device="cpu",
        policy_kwargs={"net_arch": [8]},
    )
    model.learn(200)
    assert model.replay_buffer.buffer.num_added == 200
    before = model.replay_buffer.buffer.num_sampled
    model.learn(100, reset_num_timesteps=False)
    assert model.replay_buffer.buffer.num_sampled > before > 0


@pytest.mark.parametrize("strategy", ["future", "final", "episode"])
def test_goals_are_those_of_the_episode(strategy):
    env = DummyVecEnv([lambda: BitFlippingEnv(n_bits=4, continuous=False)])

    class Distances(DummyVecEnv):
        def env_method(self, name, achieved, desired, infos, indices):
            assert name == "compute_reward"
            assert indices == [0]
            assert infos == [{}] * len(achieved)
            return [-np.abs(achieved - desired).sum(-1)]

    env.__class__ = Distances
    options = {"n_sampled_goal": 4, "goal_selection_strategy": strategy, "device": "cpu"}
    ours = sb3.HerReplayBuffer(600, GOALS, spaces.Discrete(2), env, **options)
    theirs = HerReplayBuffer(600, GOALS, spaces.Discrete(2), env, **options)
    assert isinstance(ours, HerReplayBuffer)
    worlds = Worlds(GOALS, spaces.Discrete(2), 1)
    worlds.fill(200, ours, theirs)
    ours.truncate_last_trajectory()
    with pytest.warns(UserWarning, match="will be truncated"):
        theirs.truncate_last_trajectory()
    assert ours.size() == theirs.size()
    goals = {}
    for one in (ours, theirs):
        pairs = goals[one] = {}
        for _ in range(30):
            batch = one.sample(256)
            achieved = batch.next_observations["achieved_goal"].numpy()
            desired = batch.observations["desired_goal"].numpy()
            changed = np.isclose(
                batch.rewards.numpy()[:, 0], -np.abs(achieved - desired).sum(-1), rtol=1e-5
            )
            after = batch.next_observations["desired_goal"].numpy()
            np.testing.assert_array_equal(desired[changed], after[changed])
            assert 0.65 < changed.mean() < 0.92  # 0.8
            for i in np.flatnonzero(changed):
                pairs.setdefault(achieved[i].tobytes(), set()).add(desired[i].tobytes())
    # Where many goals were drawn, they are the same ones.
    assert set(goals[ours]) == set(goals[theirs])
    for achieved, desired in goals[ours].items():
        if strategy == "final":
            assert desired == goals[theirs][achieved]
        assert desired & goals[theirs][achieved]


def test_dqn_with_goals_learns_with_it():
    env = BitFlippingEnv(n_bits=3, continuous=False, max_steps=3)
    model = DQN(
        "MultiInputPolicy",
        env,
        replay_buffer_class=sb3.HerReplayBuffer,
        replay_buffer_kwargs={"n_sampled_goal": 4, "seed": 1},
        learning_starts=1,
        train_freq=8,
        batch_size=8,
        buffer_size=200,
        seed=0,
        device="cpu",
        policy_kwargs={"net_arch": [8]},
    )
    model.learn(150)
    assert model.replay_buffer.buffer.num_added >= 150  # whole episodes of 3


@pytest.mark.parametrize("name", ["ReplayBuffer", "HerReplayBuffer"])
def test_saved_buffers_go_on(tmp_path, name):
    space = BOX if name == "ReplayBuffer" else GOALS

    class Distances:
        def env_method(self, name, achieved, desired, infos, indices):
            return [-np.abs(achieved - desired).sum(-1)]

    def make(**options):
        extra = {"env": Distances()} if name == "HerReplayBuffer" else {}
        return getattr(sb3, name)(
            120, space, spaces.Discrete(2), device="cpu", n_envs=2, **extra, **options
        )

    ours, again = make(seed=1), make(seed=1)
    worlds = Worlds(space, spaces.Discrete(2), 2)
    worlds.fill(80, ours)
    ours.save(tmp_path / "saved")
    again.load(tmp_path / "saved")
    assert (again.pos, again.full, again.size()) == (ours.pos, ours.full, ours.size())
    worlds.fill(10, ours, again)
    for value, expected in zip(again.sample(32)[:5], ours.sample(32)[:5], strict=True):
        assert_same(value, expected)
    for value, expected in zip(all_of(again)[:5], all_of(ours)[:5], strict=True):
        assert_same(value, expected)
    other = sb3.ReplayBuffer(120, spaces.Discrete(3), spaces.Discrete(2), "cpu", n_envs=2)
    with pytest.raises(ValueError, match="load: `path` must hold 2 environments' "):
        other.load(tmp_path / "saved")


def test_wrong_arguments():
    with pytest.raises(ValueError, match="`optimize_memory_usage` must be False: each observation"):
        sb3.ReplayBuffer(9, BOX, spaces.Discrete(2), optimize_memory_usage=True)
    with pytest.raises(ValueError, match="ReplayBuffer: `observation_space` must not be a Dict"):
        sb3.ReplayBuffer(9, GOALS, spaces.Discrete(2))
    with pytest.raises(ValueError, match="DictReplayBuffer: `observation_space` must be a Dict sp"):
        sb3.DictReplayBuffer(9, BOX, spaces.Discrete(2))
    with pytest.raises(
        ValueError, match="HerReplayBuffer: `copy_info_dict` must be False, got True"
    ):
        sb3.HerReplayBuffer(9, GOALS, spaces.Discrete(2), None, copy_info_dict=True)
    ours = sb3.ReplayBuffer(9, BOX, spaces.Discrete(2))
    with pytest.raises(ValueError, match="sample: the buffer is empty"):
        ours.sample(3)
    with pytest.raises(TypeError, match="ReplayBuffer: cannot be pickled; call its save"):
        pickle.dumps(ours)
    with pytest.raises(NotImplementedError, match="places do not name transitions: call `sample`"):
        ours._get_samples(np.arange(2))
    goals = sb3.HerReplayBuffer(60, GOALS, spaces.Discrete(2), None)
    Worlds(GOALS, spaces.Discrete(2), 1).fill(20, goals)
    with pytest.raises(RuntimeError, match="HerReplayBuffer: set_env must come before sample"):
        goals.sample(50)
