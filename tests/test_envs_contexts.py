"""Contexts: options and parameters that vary from episode to episode."""

import fastrl
import numpy as np
import pytest
from every_form import MODES
from random_play import play

LOCKS = {"reward": ["graded", "matches", "binary"]}


@pytest.mark.parametrize("mode", MODES)
def test_every_context_has_its_own_options(mode):
    options = {"length": 3, "num_choices": 2, "autoreset_mode": mode}
    env = fastrl.make_vec("CodeLock-v0", 7, contexts=LOCKS, **options)
    contexts = [env.reset(seed=4)[1]["context"].copy()]
    told = []
    for kind in LOCKS["reward"]:
        plain = fastrl.make_vec("CodeLock-v0", 7, reward=kind, **options)
        plain.reset(seed=4)
        told.append(play(plain, 40, 9))
    for t, said in enumerate(play(env, 40, 9)):
        for i in range(7):
            final = mode == "same_step" and said[2][i]
            context = (said[4]["final_info"] if final else said[4])["context"][i]
            assert said[1][i] == told[context][t][1][i]
            np.testing.assert_array_equal(said[0][i], told[context][t][0][i])
        contexts.append(said[4]["context"].copy())
    assert len(np.unique(contexts)) == 3


def test_round_robin_goes_through_all_contexts():
    env = fastrl.make_vec("CodeLock-v0", 4, length=1, contexts=LOCKS, autoreset_mode="same_step")
    drawn = [env.reset(seed=0)[1]["context"].copy()]
    drawn += [env.step(np.zeros(4, np.int64))[4]["context"].copy() for _ in range(3)]
    assert np.array(drawn).tolist() == [[(i + t) % 3 for i in range(4)] for t in range(4)]


@pytest.mark.parametrize(
    ("selector", "shares"), [("uniform", [1 / 3] * 3), ([1.0, 0.0, 3.0], [0.25, 0.0, 0.75])]
)
def test_contexts_are_drawn_as_told_and_shared_in_groups(selector, shares):
    options = {"group_size": 2, "contexts": LOCKS, "context_selector": selector}
    env, again = (fastrl.make_vec("CodeLock-v0", 6000, **options) for _ in range(2))
    drawn = env.reset(seed=3)[1]["context"]
    np.testing.assert_array_equal(drawn[::2], drawn[1::2])
    expected = np.array(shares) * 3000
    counts = np.bincount(drawn[::2], minlength=3)
    assert (np.abs(counts - expected) <= 4 * np.sqrt(expected)).all()
    np.testing.assert_array_equal(again.reset(seed=3)[1]["context"], drawn)


@pytest.mark.parametrize("precision", ["exact", "fast"])
def test_physical_parameters_vary_and_are_observed(precision):
    contexts = {"length": [0.25, 0.5, 1.0], "gravity": [9.8, 9.8, 3.7]}
    rest = {"precision": precision, "max_episode_steps": 40, "autoreset_mode": "same_step"}
    options = {"contexts": contexts, "context_selector": "uniform", "context_observed": True}
    env = fastrl.make_vec("CartPole-v1", 50, **options, **rest)
    assert env.single_observation_space.shape == (6,)
    observations, infos = env.reset(seed=0)
    values = np.array([contexts["gravity"], contexts["length"]], np.float32).T
    np.testing.assert_array_equal(observations[:, 4:], values[infos["context"]])
    assert len(np.unique(infos["context"])) == 3
    plain = [
        fastrl.make_vec("CartPole-v1", 50, length=length, gravity=gravity, **rest)
        for length, gravity in zip(*contexts.values(), strict=True)
    ]
    for one in plain:
        one.reset(seed=0)
    # Until the first end: from then on each has a random stream at a place of its own.
    alive = np.ones(50, bool)
    random = np.random.default_rng(0)
    for _ in range(30):
        chosen = infos["context"]
        action = random.integers(0, 2, 50)
        told = [one.step(action) for one in plain]
        said = env.step(action)
        alive &= ~(said[2] | said[3])
        for i in np.flatnonzero(alive):
            np.testing.assert_array_equal(said[0][i, :4], told[chosen[i]][0][i])
        infos = said[4]
        np.testing.assert_array_equal(said[0][:, 4:], values[infos["context"]])
    np.testing.assert_array_equal(env.observe(), said[0])
    assert not alive.all()


def test_observed_contexts_keep_their_number():
    contexts = {"length": [0.25, 0.5]}
    env = fastrl.make_vec("CartPole-v1", 4, contexts=contexts, context_observed=True)
    with pytest.raises(ValueError, match="set_contexts: `contexts` must have 1 options, which are"):
        env.set_contexts({"length": [0.5], "gravity": [9.8]})
    env.set_contexts({"gravity": [3.7]})
    assert (env.reset(seed=0)[0][:, 4] == np.float32(3.7)).all()


def test_a_reset_can_choose_contexts():
    env = fastrl.make_vec("CodeLock-v0", 4, contexts=LOCKS)
    assert env.reset(options={"context": 2})[1]["context"].tolist() == [2] * 4
    chosen = np.array([0, 1, 2, -1])
    assert env.reset(options={"context": chosen})[1]["context"][:3].tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="reset: `context` must be from -1 to 2, got 3"):
        env.reset(options={"context": 3})


def test_contexts_can_be_replaced():
    env = fastrl.make_vec("CodeLock-v0", 3, length=1, num_choices=2, contexts=LOCKS, history=2)
    env.reset(seed=1)
    old = env.snapshot()
    env.set_contexts({"reward": ["binary"]})
    with pytest.raises(RuntimeError, match="environment 0 needs a reset"):
        env.step(np.zeros(3, np.int64))
    with pytest.raises(ValueError, match="restore: `snapshot` must have the options"):
        env.restore(old)
    assert env.reset()[1]["context"].tolist() == [0, 0, 0]
    assert env.rewindable_steps.tolist() == [0, 0, 0]


def test_fixed_levels_belong_to_contexts():
    options = {"contexts": {"frozen_probability": [0.1, 1.0]}, "num_levels": 5}
    env = fastrl.make_vec("FrozenLakeText-v0", 8, size=8, **options)
    env.reset(seed=0, options={"context": np.arange(8) % 2})
    holes = [text.count("O") for text in env.render_text()]
    assert min(holes[::2]) > max(holes[1::2])
