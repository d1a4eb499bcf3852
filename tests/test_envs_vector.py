"""The batch: Gymnasium's semantics, seeds, masks, threads."""

import hashlib

import fastrl
import gymnasium
import numpy as np
import pytest
from every_form import MODES
from fastrl.envs import tokenize
from fastrl.reference import envs as reference
from fresh_process import finished_python, run_python
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import NormalizeReward, RecordEpisodeStatistics

LAKE = {"size": 4, "slippery": True, "max_episode_steps": 7}
SEED = 17


class ReferenceLake(gymnasium.Env):
    """The reference's FrozenLakeText with Gymnasium's interface and our step limit."""

    def __init__(self, index, space, limit):
        self.index, self.limit, self.num_resets = index, limit, 0
        self.observation_space, self.action_space = space, gymnasium.spaces.Discrete(4)
        self.steps = reference.step_stream(SEED, index)

    def observation(self):
        row = np.zeros(self.observation_space.shape, np.int32)
        tokens = tokenize(self.lake.grid())
        row[: len(tokens)] = tokens
        return row

    def reset(self, *, seed=None, options=None):
        level = reference.level_stream(SEED, self.index, self.num_resets)
        self.lake = reference.FrozenLakeText.drawn(level, 4, 0.8, "random", self.steps, 1.0 / 3.0)
        self.num_resets += 1
        self.elapsed = 0
        return self.observation(), {}

    def step(self, action):
        reward, terminated, success = self.lake.step(action)
        self.elapsed += 1
        infos = {"action_valid": bool(action >= 0), "success": success}
        return self.observation(), reward, terminated, self.elapsed >= self.limit, infos


def lakes(mode, num_envs=6):
    env = fastrl.make_vec("FrozenLakeText-v0", num_envs, autoreset_mode=mode, **LAKE)
    oracle = SyncVectorEnv(
        [
            lambda i=i: ReferenceLake(i, env.single_observation_space, env.max_episode_steps)
            for i in range(num_envs)
        ],
        autoreset_mode=AutoresetMode[mode.upper()],
    )
    return env, oracle


def without_empty(infos):
    """Our info keys are always there; Gymnasium's only if some environment has something to say."""
    keys = {key for key in infos if f"_{key}" in infos and infos[f"_{key}"].any()}
    return {key: infos[key] for key in infos if key in keys or key.removeprefix("_") in keys}


@pytest.mark.parametrize("mode", MODES)
def test_all_autoreset_modes_are_those_of_gymnasium(mode):
    env, oracle = lakes(mode)
    mine, theirs = env.reset(seed=SEED)[0], oracle.reset(seed=SEED)[0]
    np.testing.assert_array_equal(mine, theirs)
    random = np.random.default_rng(0)
    ended = np.zeros(6, bool)
    both = 0
    for _ in range(400):
        if mode == "disabled" and ended.any():
            options = {"reset_mask": ended}
            mine, infos = env.reset(options=options)
            assert options == {"reset_mask": ended}
            theirs, their_infos = oracle.reset(options={"reset_mask": ended})
            assert data_equivalence(mine, theirs)
            assert infos == their_infos == {}
        elif random.random() < 0.02:
            mask = random.random(6) < 0.5
            mask[2] = True
            assert data_equivalence(
                env.reset(options={"reset_mask": mask})[0],
                oracle.reset(options={"reset_mask": mask})[0],
            )
        actions = random.integers(0, 4, 6)
        *mine, infos = env.step(actions)
        *theirs, their_infos = oracle.step(actions)
        assert data_equivalence(tuple(mine), tuple(theirs))
        their_infos = dict(their_infos)
        infos = without_empty(infos)
        assert infos.keys() == their_infos.keys()
        for key in infos:
            if key == "final_obs":
                for one, other in zip(infos[key], their_infos[key], strict=True):
                    assert (one is None) == (other is None)
                    assert one is None or data_equivalence(one, other)
            else:
                assert data_equivalence(infos[key], their_infos[key]), key
        ended = mine[2] | mine[3]
        both += int((mine[2] & mine[3]).sum())
    assert both > 0  # an episode can end and run out of time in the same step


@pytest.mark.parametrize("mode", ["next_step", "same_step"])
def test_gymnasium_wrappers_see_what_they_see_around_gymnasiums_own(mode):
    wrapped = [NormalizeReward(RecordEpisodeStatistics(env)) for env in lakes(mode)]
    for env in wrapped:
        env.reset(seed=SEED)
    random = np.random.default_rng(0)
    for _ in range(100):
        actions = random.integers(0, 4, 6)
        (_, rewards, *_, infos), (_, their_rewards, *_, their_infos) = (
            env.step(actions) for env in wrapped
        )
        np.testing.assert_array_equal(rewards, their_rewards)
        assert ("episode" in infos) == ("episode" in their_infos)
        if "episode" in infos:
            for key in ("r", "l"):
                np.testing.assert_array_equal(infos["episode"][key], their_infos["episode"][key])


def test_gymnasium_makes_them_by_name():
    env = gymnasium.make_vec(
        "fastrl/CodeLock-v0", num_envs=3, length=4, autoreset_mode="same_step", max_episode_steps=2
    )
    assert isinstance(env, fastrl.envs.VectorEnv)
    assert env.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert env.max_episode_steps == 2
    observations, _ = env.reset(seed=1)
    assert env.observation_space.contains(observations)
    assert env.action_space.shape == (3,)
    env.close()
    env.close()


def test_gymnasium_imports_the_module_that_an_id_names():
    code = (
        "import warnings; warnings.simplefilter('error'); import gymnasium\n"
        "for _ in range(2):\n"
        "    env = gymnasium.make_vec('fastrl.envs:fastrl/CodeLock-v0', num_envs=3)\n"
        "print(type(env).__module__, env.num_envs)"
    )
    assert run_python(code) == "fastrl.envs.text_vector 3\n"


@pytest.mark.parametrize("observation", ["grid", "compact"])
@pytest.mark.parametrize("name", ["CodeLock-v0", "FrozenLakeText-v0", "Sokoban-v0"])
def test_observations_are_in_their_space(name, observation):
    env = fastrl.make_vec(name, 16, observation=observation)
    env.reset(seed=0)
    env.action_space.seed(0)
    for _ in range(30):
        observations, rewards, *_ = env.step(env.action_space.sample())
        assert env.observation_space.contains(observations)
        assert observations.dtype == np.int32
        assert rewards.dtype == np.float64
        length = (observations != 0).sum(1)
        np.testing.assert_array_equal(length, env.observation_lengths)


def test_inactive_environments_are_untouched():
    env = fastrl.make_vec("Sokoban-v0", 6, max_episode_steps=3)
    first, _ = env.reset(seed=2)
    active = np.array([True, False] * 3)
    state = env.snapshot([1, 3, 5]).tobytes()
    for _ in range(4):
        # What is not read may be anything.
        actions = np.where(active, np.uint64(1), np.uint64(2**64 - 1))
        observations, rewards, _, truncated, infos = env.step(actions, active)
        np.testing.assert_array_equal(observations[1::2], first[1::2])
        assert not rewards[1::2].any()
        assert not truncated[1::2].any()
        assert not infos["_action_valid"][1::2].any()
    assert env.snapshot([1, 3, 5]).tobytes() == state
    assert env.elapsed_steps.tolist() == [0] * 6


def test_malformed_actions_cost_the_turn_and_the_penalty():
    env = fastrl.make_vec("Sokoban-v0", 2, max_episode_steps=3, invalid_penalty=0.5)
    env.reset(seed=0)
    before = env.render_text()
    hashes = env.state_hash()
    _, rewards, _, _, infos = env.step([-1, -1])
    assert rewards.tolist() == [-0.6, -0.6]
    assert infos["action_valid"].tolist() == [False, False]
    assert env.render_text() == before
    np.testing.assert_array_equal(env.state_hash(), hashes)
    assert env.elapsed_steps.tolist() == [1, 1]
    env.step([-1, -1])
    assert env.step([-1, -1])[3].all()
    env = fastrl.make_vec("CodeLock-v0", 1, length=2)
    env.reset(seed=0)
    env.step([-1])
    _, _, terminated, _, infos = env.step([0])
    assert terminated[0]
    assert not infos["success"][0]


def rollout_digest(num_envs, with_snapshots):
    digest = hashlib.sha256()
    random = np.random.default_rng(3)
    for name, options in [
        ("Sokoban-v0", {"num_boxes": 2, "max_episode_steps": 15}),
        ("FrozenLakeText-v0", {"slippery": True, "group_size": 5}),
    ]:
        env = fastrl.make_vec(name, num_envs, autoreset_mode="same_step", **options)
        digest.update(env.reset(seed=4)[0])
        for t in range(40):
            if with_snapshots and t % 7 == 3:
                snapshot = env.snapshot()
                env.step(np.zeros(num_envs, int))
                env.restore(snapshot)
            for array in env.step(random.integers(-1, 4, num_envs))[:4]:
                digest.update(array.tobytes())
        digest.update(env.snapshot().tobytes())
        digest.update(env.state_hash().tobytes())
        for array in env.solve(env.snapshot()):
            digest.update(array.tobytes())
    return digest.hexdigest()


def test_numbers_do_not_depend_on_threads_or_snapshots(set_threads):
    digests = set()
    for n in (1, 2, 3, 8):
        set_threads(n)
        digests |= {rollout_digest(300, with_snapshots) for with_snapshots in (False, True)}
    assert len(digests) == 1


def test_numbers_do_not_depend_on_the_batch_split():
    seeds = list(range(90))
    actions = np.random.default_rng(0).integers(0, 4, (30, 90))

    def play(parts):
        rows = []
        for part in np.array_split(np.arange(90), parts):
            env = fastrl.make_vec("FrozenLakeText-v0", len(part), **LAKE)
            trace = [env.reset(seed=[seeds[i] for i in part])[0]]
            trace += [env.step(actions[t, part])[0] for t in range(30)]
            rows.append(np.stack(trace))
        return np.concatenate(rows, 1)

    np.testing.assert_array_equal(play(1), play(7))
    np.testing.assert_array_equal(play(1), play(90))


def test_without_gymnasium_the_error_says_what_to_install():
    code = "import sys; sys.modules['gymnasium'] = None; import fastrl; fastrl.make_vec"
    said = finished_python(code).stderr
    assert "ImportError: fastrl.envs needs Gymnasium; pip install 'fastrl[envs]'" in said


def test_render_is_ansi_or_nothing():
    env = fastrl.make_vec("CodeLock-v0", 2, length=3, render_mode="ansi")
    env.reset()
    assert env.render() == ("___", "___")
    assert fastrl.make_vec("CodeLock-v0", 2).render() is None


def test_unseeded_batches_differ_and_reset_without_a_seed_goes_on():
    env, other = (fastrl.make_vec("FrozenLakeText-v0", 32, size=8) for _ in range(2))
    env.reset()
    other.reset()
    assert env.render_text() != other.render_text()
    for batch in (env, other):
        batch.reset(seed=1)
        batch.reset()
    assert env.render_text() == other.render_text()
    assert env.np_random_seed == 1
