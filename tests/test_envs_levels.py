"""Levels from outside: made, drawn, chosen, written by hand."""

import fastrl
import numpy as np
import pytest
from every_form import MODES
from random_play import locks, play


def codes(env):
    """The codes of locks at their beginning, found by the solver."""
    saved = env.snapshot()
    out = []
    for t in range(4):
        out.append(env.solve(env.snapshot())[1])
        if t < 3:
            env.step(out[-1])
    env.restore(saved)
    return np.stack(out, 1)


def test_levels_are_functions_of_the_seed_and_begin_episodes():
    env = locks(2)
    env.reset(seed=0)
    before = env.snapshot().tobytes()
    levels = env.levels(5, seed=3)
    assert env.snapshot().tobytes() == before
    assert len(levels) == 5
    assert levels.tobytes() == locks(9).levels(5, seed=3).tobytes()
    assert levels.tobytes() != env.levels(5, seed=4).tobytes()
    np.testing.assert_array_equal(env.solve(levels)[0], [4] * 5)
    env.restore(levels[[1, 3]])
    assert env.elapsed_steps.tolist() == [0, 0]
    env.step(np.zeros(2, np.int64))


@pytest.mark.parametrize("mode", MODES)
def test_resets_draw_the_levels_that_were_set(mode):
    env = locks(6, group_size=2, autoreset_mode=mode)
    env.reset(seed=1)
    levels = env.levels(4, seed=9)
    store = locks(4)
    store.reset(seed=0)
    store.restore(levels)
    known = codes(store)
    env.set_levels(levels)
    infos = env.reset(seed=2)[1]
    np.testing.assert_array_equal(codes(env), known[infos["level"]])
    seen = set()
    for said in play(env, 60, 0):
        indices = said[4]["level"][said[4]["_level"]]
        np.testing.assert_array_equal(indices[::2], indices[1::2])
        seen |= set(indices.tolist())
    assert seen == {0, 1, 2, 3}


def test_levels_are_drawn_by_weight():
    env = locks(4000)
    env.set_levels(env.levels(3, seed=0), weights=[1.0, 0.0, 3.0])
    counts = np.bincount(env.reset(seed=0)[1]["level"], minlength=3)
    assert counts[1] == 0
    assert abs(counts[0] - 1000) < 4 * np.sqrt(750)
    env.set_levels(env.levels(3, seed=0), weights=np.array([0.0, 5.0, 0.0]))
    assert (env.reset()[1]["level"] == 1).all()
    env.set_levels(None)
    assert (env.reset()[1]["level"] == -1).all()


def test_a_reset_can_choose_levels():
    env = locks(4, group_size=2)
    levels = env.levels(3, seed=5)
    env.set_levels(levels)
    infos = env.reset(options={"level": np.array([2, 0, -1, 1])})[1]
    assert infos["level"][[0, 1, 3]].tolist() == [2, 0, 1]
    own = env.solve(env.snapshot())[1]
    np.testing.assert_array_equal(own, env.solve(levels)[1][infos["level"]])
    assert env.reset(options={"level": 1})[1]["level"].tolist() == [1] * 4
    for level, message in [
        (3, "`level` must be from -1 to 2, got 3"),
        ([0, 1], r"`level` must be an integer or have shape \[B\] = \[4\], got \[2\]"),
        (0.5, "`level` must hold integers, got float64"),
    ]:
        with pytest.raises((ValueError, TypeError), match=f"reset: {message}"):
            env.reset(options={"level": level})
    with pytest.raises(ValueError, match='options` must have no key but "reset_mask", got'):
        locks(4).reset(options={"level": 0})


def test_a_reset_can_choose_among_fixed_levels():
    env = locks(6, num_levels=3)
    env.reset(options={"level": np.arange(6) % 3})
    first = env.solve(env.snapshot())[1]
    env.reset(options={"level": np.arange(6) % 3})
    np.testing.assert_array_equal(env.solve(env.snapshot())[1], first)
    np.testing.assert_array_equal(first[:3], first[3:])


def test_states_from_the_middle_of_an_episode_are_levels():
    env = locks(3)
    env.reset(seed=0)
    env.step(env.solve(env.snapshot())[1])
    env.set_levels(env.snapshot())
    env.reset()
    assert env.solve(env.snapshot())[0].tolist() == [3, 3, 3]
    assert env.elapsed_steps.tolist() == [0, 0, 0]


def test_levels_can_be_written_by_hand():
    env = locks(3)
    texts = ["0123", "3210"]
    env.set_levels(texts)
    assert len(env.parse_levels(texts)) == 2
    infos = env.reset(seed=0, options={"level": np.array([1, 0, 1])})[1]
    assert infos["level"].tolist() == [1, 0, 1]
    assert codes(env).tolist() == [[3, 2, 1, 0], [0, 1, 2, 3], [3, 2, 1, 0]]


def test_levels_of_heavy_environments_are_shared_by_groups():
    env = fastrl.make_vec("Sokoban-v0", 6, group_size=3)
    env.set_levels(env.levels(2, seed=0))
    levels = env.reset(seed=0)[1]["level"]
    hashes = env.state_hash()
    for group in (slice(0, 3), slice(3, 6)):
        assert len(set(hashes[group])) == len(set(levels[group])) == 1
    env.reset(options={"level": np.arange(6) % 2})
    hashes = env.state_hash()
    assert len(set(hashes[::2])) == len(set(hashes[1::2])) == 1
    assert hashes[0] != hashes[1]


def test_running_episodes_keep_their_level_and_send_knows_the_info():
    env = locks(3)
    env.reset(seed=0)
    env.send(np.zeros(3, np.int64))
    env.recv()
    env.set_levels(env.levels(2, seed=0))
    env.send(np.zeros(3, np.int64))
    assert env.recv().infos["level"].tolist() == [-1] * 3
    env.step(np.zeros(3, np.int64))
    assert env.step(np.zeros(3, np.int64))[2].all()
    assert (env.step(np.zeros(3, np.int64))[4]["level"] >= 0).all()


def test_level_errors():
    env = locks(2)
    env.reset(seed=0)
    levels = env.levels(2, seed=0)
    taxi = fastrl.make_vec("Taxi-v3")
    for call, message in [
        (lambda: env.set_levels(3), "`levels` must be a Snapshot, got int"),
        (lambda: env.set_levels(levels[:0]), "`levels` must hold at least one level, got none"),
        (lambda: env.set_levels(levels, [1.0]), r"`weights` must have shape \[L\] = \[2\]"),
        (lambda: env.set_levels(levels, [1.0, -1.0]), "`weights` must be finite and at least 0"),
        (lambda: env.set_levels(levels, [0.0, 0.0]), "`weights` must have a positive and finite"),
        (lambda: env.set_levels(levels, ["a", "b"]), "`weights` must hold numbers"),
        (lambda: env.set_levels(None, [1.0]), "`weights` must be None without `levels`"),
        (lambda: env.set_levels(locks(1, num_choices=5).levels(1, seed=0)), "must have the opt"),
        (lambda: env.set_levels(["123"]), r"`texts\[0\]` must be a level of CodeLock-v0: .* got 3"),
        (lambda: taxi.set_levels(["a"]), "`texts` must be empty: Taxi-v3 reads none, got 1"),
        (lambda: env.levels(-1, seed=0), "`n` must be from 0"),
        (lambda: env.levels(1, seed=-1), "`seed` must be from 0"),
        (lambda: env.parse_levels("a"), "`texts` must be a list, got str"),
        (lambda: env.parse_levels([1]), r"`texts\[0\]` must be a string, got int"),
        (lambda: env.set_contexts({"length": [3]}), "`contexts` must be given to make_vec first"),
    ]:
        with pytest.raises((ValueError, TypeError), match=message):
            call()
    for _ in range(4):
        env.step(np.zeros(2, np.int64))
    with pytest.raises(ValueError, match="`levels` must be running states, got another at index 0"):
        env.set_levels(env.snapshot())
