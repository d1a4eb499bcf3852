"""Rewinds of parts of a batch: a rewind is a restore of what was recorded."""

import fastrl
import numpy as np
import pytest
from every_form import MODES
from fastrl.envs import RewardMachine, Snapshot

HISTORY = 4
RNG_MODES = ("restore", "keep", "fork")


def wrapped(num_envs, **options):
    machine = RewardMachine(2, [(0, "goal", 1, 1.0, "t >= 2", "t")], clocks=["t"])
    return fastrl.make_vec(
        "FrozenLake-v1",
        num_envs,
        contexts={"is_slippery": [True, False]},
        context_selector="uniform",
        costs={"hole": 1.0},
        trials={"episodes": 2},
        reward_machine=machine,
        machine_reward="add",
        **options,
    )


# Batches that blocks of 16 do not divide, one of more than a chunk of work.
MAKERS = {
    "CartPole in SIMD": lambda **options: fastrl.make_vec(
        "CartPole-v1", 37, precision="fast", **options
    ),
    "Pendulum in SIMD": lambda **options: fastrl.make_vec(
        "Pendulum-v1", 1100, precision="fast", **options
    ),
    "CartPole": lambda **options: fastrl.make_vec("CartPole-v1", 24, **options),
    "Sokoban in groups": lambda **options: fastrl.make_vec(
        "Sokoban-v0", 150, group_size=3, num_levels=7, **options
    ),
    "slippery lake": lambda **options: fastrl.make_vec("FrozenLakeText-v0", 9, size=4, **options),
    "wrapped lake": lambda **options: wrapped(70, **options),
}


class Past:
    """What `history` promises, from snapshots of all that was."""

    def __init__(self, env):
        self.env = env
        self.ended = np.zeros(env.num_envs, np.bool_)
        self.stacks = [[] for _ in range(env.num_envs)]

    def step(self, actions, active):
        if self.env.metadata["autoreset_mode"].value == "Disabled":
            active = active & ~self.ended
        before = self.env.snapshot()
        _, _, terminated, truncated, _ = self.env.step(actions, active)
        for i in np.flatnonzero(active):
            self.stacks[i] = [*self.stacks[i], before[i]][-HISTORY:]
        self.ended = np.where(active, terminated | truncated, self.ended)

    def check_rewind(self, twin, ids, steps, rng):
        """`twin` is restored to where `env` should come by itself."""
        env = self.env
        chosen = range(env.num_envs) if ids is None else np.atleast_1d(ids).tolist()
        short = [i for i in chosen if len(self.stacks[i]) < steps]
        present = env.snapshot()
        if short:
            pattern = f"at most {len(self.stacks[short[0]])}, the recorded .* {short[0]}, got"
            with pytest.raises(ValueError, match=pattern):
                env.rewind(steps, ids, rng=rng)
            assert env.snapshot().tobytes() == present.tobytes()
        else:
            twin.restore(present)
            if steps and chosen:
                recorded = Snapshot.concatenate([self.stacks[i][-steps] for i in chosen])
                twin.restore(recorded, chosen, rng=rng)
            env.rewind(steps, ids, rng=rng)
            assert env.snapshot().tobytes() == twin.snapshot().tobytes()
            for i in chosen if steps else ():
                del self.stacks[i][-steps:]
                self.ended[i] = False  # only who was running takes a step in "disabled" mode
        assert env.rewindable_steps.tolist() == [len(stack) for stack in self.stacks]


def some_ids(random, num_envs):
    """All, one, neighbors, or any in any order."""
    first, last = sorted(random.integers(0, num_envs + 1, 2))
    some = random.permutation(num_envs)[: random.integers(0, num_envs + 1)]
    kinds = [
        None,
        None,
        int(random.integers(num_envs)),
        np.arange(first, last),
        some,
        np.sort(some),
    ]
    return kinds[random.integers(len(kinds))]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", MAKERS)
def test_a_rewind_is_a_restore_of_what_was_recorded(name, mode):
    options = {"autoreset_mode": mode, "max_episode_steps": 3}
    env, twin = MAKERS[name](history=HISTORY, **options), MAKERS[name](**options)
    past = Past(env)
    random = np.random.default_rng(0)
    env.reset(seed=0)
    env.action_space.seed(0)
    everybody = np.ones(env.num_envs, np.bool_)
    turns = 20 if env.num_envs > 1000 else 60
    for turn in range(turns):
        if mode == "disabled" and past.ended.mean() > 0.5:
            env.reset(options={"reset_mask": past.ended.copy()})
            past.ended[:] = False
        active = everybody if turn % 4 else random.random(env.num_envs) < 0.7
        past.step(env.action_space.sample(), active)
        if turn % 3 == 2:
            ids, steps = some_ids(random, env.num_envs), int(random.integers(0, HISTORY + 1))
            past.check_rewind(twin, ids, steps, RNG_MODES[random.integers(3)])
        if turn % 15 == 14:
            # Whoever is restored or branched to has nothing behind it.
            place = int(random.integers(env.num_envs))
            env.branch(place, place) if turn % 2 else env.restore(env.snapshot([place]), place)
            past.stacks[place].clear()
    least = min(len(stack) for stack in past.stacks)
    past.check_rewind(twin, None, least, "restore")


@pytest.mark.parametrize("name", ["CartPole", "CartPole in SIMD", "Sokoban in groups"])
def test_a_stream_that_was_forked_is_brought_back(name):
    """Where steps draw nothing and no episode begins, too."""
    env = MAKERS[name](history=HISTORY)
    env.reset(seed=0)
    saved = env.snapshot()
    for _ in range(2):
        env.step(np.zeros(env.num_envs, np.int64))
    env.rewind(1, rng="fork")
    env.rewind(1)
    assert env.snapshot().tobytes() == saved.tobytes()


def test_asynchronous_steps_are_recorded():
    env = MAKERS["CartPole in SIMD"](history=HISTORY)
    env.reset(seed=0)
    saved = env.snapshot()
    for ids in (np.arange(5, 20), np.array([36, 3, 4, 30])):
        env.send(np.zeros(len(ids), np.int64), ids)
        env.recv()
    assert env.rewindable_steps.sum() == 19
    env.rewind(1, [3, 4, *range(5, 20), 30, 36])
    assert env.snapshot().tobytes() == saved.tobytes()


def test_results_do_not_depend_on_threads(set_threads):
    seen = set()
    for count in (1, 2, 5):
        set_threads(count)
        env = MAKERS["Pendulum in SIMD"](history=HISTORY)
        env.reset(seed=0)
        for turn in range(6):
            env.step(np.full((1100, 1), 0.1, np.float32), np.arange(1100) % 7 != turn)
        env.rewind(2, range(5, 900), rng="fork")
        env.rewind(1, rng="keep")
        seen.add(env.snapshot().tobytes())
    assert len(seen) == 1


def test_ids_are_read_however_they_come():
    env = fastrl.make_vec("CodeLock-v0", 6, history=2)
    env.reset(seed=0)
    whole = env.snapshot()
    for ids in (
        3,
        np.int64(3),
        [3],
        range(3, 4),
        np.array(3),
        np.array([3], np.int32),
        np.array([3], np.uint64),
        np.arange(6)[3:4],
        np.array([3], ">i8"),
        np.array([3], np.longlong),
        np.frombuffer(b"\0" + np.int64(3).tobytes(), np.uint8)[1:].view(np.int64),
    ):
        assert env.snapshot(ids).tobytes() == whole[3].tobytes()
    assert env.snapshot(np.arange(6)[::2]).tobytes() == whole[::2].tobytes()
    assert len(env.snapshot([])) == len(env.snapshot(np.empty(0, np.int64))) == 0
    env.step(np.zeros(6, np.int64))
    env.rewind(np.int32(1), np.empty(0, np.int64))
    env.rewind(np.int32(1), np.arange(6)[::5])
    assert env.rewindable_steps.tolist() == [0, 1, 1, 1, 1, 0]
    for call, kind, message in [
        (lambda: env.snapshot(6), IndexError, "snapshot: `ids` must be from 0 to 5, got 6"),
        (lambda: env.snapshot(-1), IndexError, "snapshot: `ids` must be from 0 to 5, got -1"),
        (lambda: env.snapshot(True), TypeError, "snapshot: `ids` must hold integers, got bool"),
        (lambda: env.snapshot(2**63), IndexError, "must fit into 64 bits with a sign"),
        (lambda: env.snapshot(2**64), TypeError, "snapshot: `ids` must hold integers, got object"),
        (lambda: env.rewind(True), TypeError, "rewind: `steps` must be an integer, got bool"),
        (lambda: env.rewind(-1), ValueError, "rewind: `steps` must be at least 0, got -1"),
        (lambda: env.rewind(3), ValueError, "`steps` must be from 0 to `history` = 2, got 3"),
        (
            lambda: env.rewind(2**70),
            ValueError,
            "rewind: `steps` must be at most `history`, got 118",
        ),
        (lambda: env.rewind(1, rng=0), ValueError, "rewind: `rng` must be one of 'restore'"),
        (
            lambda: env.rewind(1, [1, 1]),
            ValueError,
            "rewind: `ids` must name each environment once",
        ),
        (lambda: env._native.snapshot([3]), TypeError, "ids must be None, an integer or an array"),
        (lambda: env._native.snapshot(np.zeros(1, np.int32)), TypeError, "ids must be None"),
        (lambda: env._native.snapshot(np.arange(6)[::2]), TypeError, "ids must be None"),
    ]:
        with pytest.raises(kind, match=message):
            call()
