"""Calls of `step_into`, most of which the native side answers alone, are calls of a method."""

import copy
import ctypes
import gc
import inspect
import itertools
import pickle
import re
import sys
import weakref
from types import SimpleNamespace
from typing import get_type_hints

import fastrl
import numpy as np
import pytest
from fastrl.envs import VectorEnv
from numpy.testing import assert_array_equal

B = 5
ARRAYS = ("observations", "rewards", "terminated", "truncated")


def begun(kind=None, name="CartPole-v1"):
    env = fastrl.make_vec(name, B)
    if kind is not None:
        env.__class__ = kind
    env.reset(seed=0)
    return env


def rows_of(env):
    space = env.single_observation_space
    return {
        "observations": np.zeros((B, *space.shape), space.dtype),
        "rewards": np.zeros(B),
        "terminated": np.zeros(B, np.bool_),
        "truncated": np.zeros(B, np.bool_),
    }


@pytest.fixture
def stepped():
    """An environment whose further steps are the native side's."""
    env = begun()
    rows = rows_of(env)
    env.step_into(np.zeros(B, int), **rows)
    return env, rows


def python_calls(call):
    seen = []

    def watch(frame, event, _):
        if event == "call":
            seen.append(frame.f_code.co_name)

    sys.setprofile(watch)
    try:
        call()
    finally:
        sys.setprofile(None)
    return seen


def test_a_usual_call_runs_no_python(stepped):
    env, rows = stepped
    actions = np.ones(B, int)
    o, r, e, t = rows.values()

    def usual():
        env.step_into(actions, observations=o, rewards=r, terminated=e, truncated=t)

    assert python_calls(usual) == ["usual"]
    assert "step_into" in python_calls(lambda: env.step_into(actions.tolist(), **rows))


def test_any_order_of_the_arrays_and_any_way_to_say_the_actions():
    twin = begun()
    actions = np.random.default_rng(0).integers(0, 2, (24, B))
    env = begun()
    rows = rows_of(env)
    for t, order in enumerate(itertools.permutations(ARRAYS)):
        given = [actions[t], actions[t].tolist(), actions[t].astype(np.int32)][t % 3]
        env.step_into(given, **{name: rows[name] for name in order})
        for mine, other in zip(rows.values(), twin.step(actions[t]), strict=False):
            assert_array_equal(mine, other)
    again = begun()
    again.step_into(actions=actions[0], **rows)
    VectorEnv.step_into(again, actions[1], **rows)
    names = {"".join(list(name)): array for name, array in rows.items()}  # not interned
    again.step_into(actions[2], **names)
    twin = begun()
    for row in actions[:3]:
        expected = twin.step(row)
    assert_array_equal(rows["observations"], expected[0])


def test_buffers_of_others():
    env, twin = begun(), begun()
    rows = rows_of(env)
    buffers = {name: memoryview(array) for name, array in rows.items()}
    for t in range(6):
        actions = np.full(B, t % 2, [np.int64, np.int32][t // 3])
        env.step_into(actions, **buffers)
        for mine, other in zip(rows.values(), twin.step(actions), strict=False):
            assert_array_equal(mine, other)


def test_buffers_whose_format_names_the_byte_order():
    env = begun()
    rows = rows_of(env)
    for _ in range(2):
        env.step_into(np.zeros(B, int), **(rows | {"rewards": (ctypes.c_double * B)()}))
        env.step_into(
            np.zeros(B, int),
            **(rows | {"observations": np.ctypeslib.as_array(((ctypes.c_float * 4) * B)())}),
        )
    assert len(env.snapshot(np.arange(2, dtype=np.dtype("i8").newbyteorder("<")))) == 2


def test_a_tuple_is_no_dict():
    env = begun(name="BitFlip-v0")
    names = list(env.single_observation_space)
    rows = {
        "observations": {name: np.zeros((B, 8), np.int8) for name in names},
        "rewards": np.zeros(B),
        "terminated": np.zeros(B, np.bool_),
        "truncated": np.zeros(B, np.bool_),
    }
    for name, space in env.single_observation_space.items():
        rows["observations"][name] = np.zeros((B, *space.shape), space.dtype)
    for _ in range(3):
        env.step_into(np.zeros(B, int), **rows)
        wrong = tuple(rows["observations"].values())[::-1]
        with pytest.raises(TypeError, match=r"^step_into: `observations` must be a dict of \["):
            env.step_into(np.zeros(B, int), **(rows | {"observations": wrong}))


def test_levels_that_change_during_a_call():
    options = {"autoreset_mode": "same_step", "max_episode_steps": 1}
    env = fastrl.make_vec("CartPole-v1", B, **options)
    env.reset(seed=0)
    levels = env.levels(3, seed=1)
    rows = rows_of(env)

    class Actions:
        def __array__(self, dtype=None, copy=None):
            env.set_levels(levels)
            env.reset()
            return np.zeros(B, int)

    env.step_into(np.zeros(B, int), **rows)
    for _ in range(2):
        env.step_into(Actions(), **rows)
        assert "level" in env.step_infos
        env.step_into(np.ones(B, int), **rows)
        assert (env.final_observations != 0).any(1).all()


def test_arguments_are_those_of_the_method(stepped):
    env, rows = stepped
    actions = np.zeros(B, int)
    without = {name: rows[name] for name in ARRAYS[:3]}
    for arguments, named, message in [
        ((actions,), without, "missing 1 required keyword-only argument: 'truncated'"),
        ((), rows, "missing 1 required positional argument: 'actions'"),
        ((actions,), rows | {"infos": 1}, "got an unexpected keyword argument 'infos'"),
        ((actions,), without | {"ends": 1}, "got an unexpected keyword argument 'ends'"),
        ((actions, rows["rewards"]), rows, "takes 2 positional arguments but 3"),
    ]:
        with pytest.raises(TypeError, match=rf"step_into\(\) {re.escape(message)}"):
            env.step_into(*arguments, **named)
    for stranger in (None, object(), SimpleNamespace(_native=env)):
        with pytest.raises(AttributeError):
            VectorEnv.step_into(stranger, actions, **rows)


def test_errors_come_before_the_first_write(stepped):
    env, rows = stepped
    before = env.snapshot().tobytes(), {name: array.copy() for name, array in rows.items()}
    for actions, given, message in [
        (np.full(B, 2), rows, "`actions` must be from 0 to 1, got 2 for environment 0"),
        (np.zeros(B - 1, int), rows, "`actions` must have shape [B] = [5], got [4]"),
        (np.zeros(B), rows, "`actions` must hold integers, got float64"),
        (
            np.zeros(B, int),
            rows | {"truncated": rows["terminated"]},
            "`truncated` must not share memory with `terminated`",
        ),
    ]:
        with pytest.raises((ValueError, TypeError), match=rf"^step_into: {re.escape(message)}"):
            env.step_into(actions, **given)
    assert env.snapshot().tobytes() == before[0]
    for name, array in rows.items():
        assert_array_equal(array, before[1][name])
    env.close()
    with pytest.raises(RuntimeError, match=r"^step_into: this environment is closed$"):
        env.step_into(np.zeros(B, int), **rows)


def test_it_is_described_and_overridden_as_a_method():
    method = VectorEnv.step_into
    assert list(inspect.signature(method).parameters) == ["self", "actions", *ARRAYS]
    assert method.__name__ == "step_into"
    assert method.__qualname__ == "VectorEnv.step_into"
    assert method.__module__ == "fastrl.envs.vector"
    assert method.__doc__.startswith("As `step`, into the caller's arrays")
    assert inspect.ismethoddescriptor(method)
    assert pickle.loads(pickle.dumps(method)) is method
    assert copy.deepcopy(method) is method
    assert get_type_hints(method)["return"] is type(None)
    assert inspect.ismethod(begun().step_into)
    assert list(inspect.signature(begun().step_into).parameters) == ["actions", *ARRAYS]

    class Counting(VectorEnv):
        count = 0

        def step_into(self, actions, **arrays):
            self.count += 1
            super().step_into(actions, **arrays)

    env, twin = begun(Counting), begun()
    rows = rows_of(env)
    for t in range(3):
        env.step_into(np.full(B, t % 2), **rows)
        expected = twin.step(np.full(B, t % 2))
    assert env.count == 3
    assert_array_equal(rows["observations"], expected[0])


def test_nothing_is_kept():
    env = begun()
    rows = rows_of(env)
    actions = np.zeros(B, int)
    env.step_into(actions, **rows)
    things = [env, actions, *rows.values(), None]
    before = [sys.getrefcount(thing) for thing in things]
    for _ in range(1000):
        env.step_into(actions, **rows)
        with pytest.raises(TypeError):
            env.step_into(actions)
    after = [sys.getrefcount(thing) for thing in things]
    assert after[:-1] == before[:-1]
    assert abs(after[-1] - before[-1]) < 500
    gone = weakref.ref(env)
    del env, things
    gc.collect()
    assert gone() is None


def test_infos_are_those_of_the_last_call():
    env, twin = begun(name="CodeLock-v0"), begun(name="CodeLock-v0")
    rows = rows_of(env)
    for t in range(40):
        env.step_into(np.full(B, t % 4), **rows)
        expected = twin.step(np.full(B, t % 4))[4]
        assert env.step_infos.keys() == expected.keys()
        for name, info in env.step_infos.items():
            assert_array_equal(info, expected[name])
