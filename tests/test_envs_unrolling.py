"""Many steps in one call, and back again."""

import fastrl
import numpy as np
import pytest
from every_form import FORMS, MODES
from sameness import assert_same


def test_collect_and_unroll_equal_steps():
    env, twin = (fastrl.make_vec("CodeLock-v0", 6, length=4) for _ in range(2))
    start, _ = env.reset(seed=2)
    twin.reset(seed=2)

    def policy(observations):
        return observations[:, 0].astype(np.int64) % 4, {"seen": observations.copy()}

    rollout = env.collect(policy, 11)
    assert np.array_equal(rollout.observations[0], start)
    assert np.array_equal(rollout.extras["seen"], rollout.observations)
    for t in range(11):
        observations, rewards, terminated, truncated, infos = twin.step(rollout.actions[t])
        following = rollout.observations[t + 1] if t < 10 else rollout.next_observations
        assert np.array_equal(observations, following)
        assert np.array_equal(rewards, rollout.rewards[t])
        assert np.array_equal(terminated, rollout.terminated[t])
        assert np.array_equal(truncated, rollout.truncated[t])
        assert np.array_equal(infos["_success"], rollout.stepped[t])
    drawn = env.unroll(steps=13, seed=5)
    again = twin.unroll(drawn.actions)
    assert_same(vars(drawn), vars(again))
    assert set(np.unique(drawn.actions)) == {0, 1, 2, 3}
    assert np.array_equal(env.state_hash(), twin.state_hash())
    assert env.unroll(steps=0, seed=1).rewards.shape == (0, 6)
    with pytest.raises(ValueError, match="unroll: `steps` must be given exactly where actions are"):
        env.unroll()
    with pytest.raises(ValueError, match="unroll: `seed` must be given where actions are drawn"):
        env.unroll(steps=3)
    with pytest.raises(ValueError, match=r"unroll: `actions` must have shape \[T, B\] = \[2, 6\]"):
        env.unroll(np.zeros((2, 5), np.int64))
    with pytest.raises(ValueError, match="unroll: `actions` must be from -1 to 3, got 9 for env"):
        env.unroll(np.full((2, 6), 9))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("name", "precision"), FORMS)
def test_every_element_of_an_unrolling_is_written(name, precision, mode, dirty_memory):
    env = fastrl.make_vec(
        name, 70, precision=precision, autoreset_mode=mode, max_episode_steps=5, num_levels=8
    )
    env.reset(seed=0)
    env.action_space.seed(0)
    actions = np.stack([env.action_space.sample() for _ in range(12)])
    start, told = env.snapshot(), []
    for byte in (0x5A, 0xA5):
        env.restore(start)
        dirty_memory(byte)
        told.append(vars(env.unroll(actions)))
    assert_same(*told)
    assert told[0]["terminated"].any() or told[0]["truncated"].any()


def test_rewind_goes_back_across_resets():
    env = fastrl.make_vec("CodeLock-v0", 3, length=2, history=5)
    env.reset(seed=1)
    saved = [env.snapshot()]
    rng = np.random.default_rng(0)
    for _ in range(7):
        env.step(rng.integers(0, 4, 3))
        saved.append(env.snapshot())
    assert env.rewindable_steps.tolist() == [5, 5, 5]
    env.rewind(3, [0, 2])
    assert env.rewindable_steps.tolist() == [2, 5, 2]
    assert env.snapshot([0, 2]).tobytes() == saved[4][[0, 2]].tobytes()
    assert env.snapshot([1]).tobytes() == saved[7][[1]].tobytes()
    env.rewind(2, [0])
    assert env.snapshot([0]).tobytes() == saved[2][[0]].tobytes()
    with pytest.raises(ValueError, match=r"rewind: `steps` must be at most 2, .* of environment 2"):
        env.rewind(3, [1, 2])
    with pytest.raises(ValueError, match="rewind: `steps` must be from 0 to `history` = 5, got 6"):
        env.rewind(6)
    assert env.rewindable_steps.tolist() == [0, 5, 2]
    env.restore(saved[0])
    assert env.rewindable_steps.tolist() == [0, 0, 0]
