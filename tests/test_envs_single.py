"""One native environment behind Gymnasium's `Env`."""

import gymnasium
import numpy as np
import pytest
from fastrl.envs import Environment, environment_ids, make_vec
from gymnasium.utils.env_checker import check_env


# Gymnasium compares versions below "fastrl/", too, where an older one is no worse.
@pytest.mark.filterwarnings("ignore:.*is out of date:DeprecationWarning")
# It also warns of the spaces of its own CartPole and Pendulum, which are these.
@pytest.mark.filterwarnings("ignore:.*Box (action|observation) space:UserWarning")
@pytest.mark.parametrize("id", environment_ids())
def test_gymnasium_makes_and_checks_every_environment(id):
    env = gymnasium.make(f"fastrl/{id}")
    assert isinstance(env.unwrapped, Environment)
    assert env.spec.id == f"fastrl/{id}"
    # Limits count inside, so that both flags can be set and snapshots hold the steps.
    assert not isinstance(env, gymnasium.wrappers.TimeLimit)
    assert repr(env.unwrapped).startswith(f"Environment({id}(num_envs=1")
    # The check calls it wrong that a limit of one step, as Countdown has, truncates the first.
    several = Environment(id, max_episode_steps=5)
    several.spec = env.spec
    check_env(several, skip_render_check=True)


@pytest.mark.parametrize("mode", ["sync", "async", "vector_entry_point"])
def test_gymnasium_makes_batches_in_each_of_its_ways(mode):
    env = gymnasium.make_vec("fastrl/CartPole-v1", 2, vectorization_mode=mode, length=1.0)
    observations, _ = env.reset(seed=3)
    expected, _ = make_vec("CartPole-v1", 2, length=1.0).reset(seed=[3, 4])
    np.testing.assert_array_equal(observations, expected)
    env.close()


def test_it_walks_as_a_batch_of_one_does():
    one = gymnasium.make("fastrl/Sokoban-v0", size=7, max_episode_steps=None).unwrapped
    batch = make_vec("Sokoban-v0", 1, autoreset_mode="disabled", size=7)
    observation, info = one.reset(seed=3)
    observations, _ = batch.reset(seed=3)
    assert info == {}
    actions = np.random.default_rng(0).integers(-1, 4, 200)
    for action in actions:
        assert np.array_equal(observation, observations[0])
        observation, reward, terminated, truncated, info = one.step(action)
        observations, rewards, ends, cuts, infos = batch.step(np.array([action]))
        assert (reward, terminated, truncated) == (rewards[0], ends[0], cuts[0])
        assert type(reward) is float
        assert type(terminated) is type(truncated) is bool
        assert info == {key: infos[key][0] for key in ("action_valid", "success")}
        assert type(info["success"]) is bool
        if terminated or truncated:
            observation, _ = one.reset()
            observations, _ = batch.reset()


def test_snapshots_put_the_episode_back():
    env = Environment("Sokoban-v0", render_mode="ansi")
    env.reset(seed=1)
    env.step(2)
    saved, before, text, hashed = env.snapshot(), env.observe(), env.render(), env.state_hash()
    first = [env.step(action) for action in (0, 1, 2, 3, 3)]
    env.restore(saved)
    assert np.array_equal(env.observe(), before)
    assert env.render() == text
    assert "#" in text
    assert env.state_hash() == hashed
    second = [env.step(action) for action in (0, 1, 2, 3, 3)]
    for a, b in zip(first, second, strict=True):
        assert np.array_equal(a[0], b[0])
        assert a[1:] == b[1:]


def test_a_limit_of_its_own_and_a_step_too_many():
    env = gymnasium.make("fastrl/CodeLock-v0", disable_env_checker=True, length=3)
    env.reset(seed=0)
    assert not any(env.step(0)[2] for _ in range(2))
    assert env.step(0)[2]
    with pytest.raises(RuntimeError, match="step"):
        env.step(0)
    limited = Environment("CodeLock-v0", max_episode_steps=2)
    limited.reset(seed=0)
    assert [limited.step(0)[3] for _ in range(2)] == [False, True]
    limited.close()


def test_render_modes_are_those_of_the_environment():
    assert Environment("Sokoban-v0").render() is None
    assert "ansi" in Environment("Sokoban-v0").metadata["render_modes"]
    with pytest.raises(ValueError, match=r"make_vec: `render_mode` must be .*got 'human'"):
        Environment("Sokoban-v0", render_mode="human")
