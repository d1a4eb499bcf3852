"""The batch: Gymnasium's semantics, masks, errors, threads."""

import hashlib
import subprocess
import sys
import threading

import fastrl
import gymnasium
import numpy as np
import pytest
from fastrl.envs import tokenize
from fastrl.reference import envs as reference
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import NormalizeReward, RecordEpisodeStatistics
from hypothesis import given, settings
from hypothesis import strategies as st

MODES = ["next_step", "same_step", "disabled"]
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
        "import gymnasium\n"
        "for _ in range(2):\n"
        "    env = gymnasium.make_vec('fastrl.envs:fastrl/CodeLock-v0', num_envs=3)\n"
        "print(type(env).__module__, env.num_envs)"
    )
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert result.stdout == "fastrl.envs.text_vector 3\n", result.stderr


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


def test_returned_arrays_are_not_written_again():
    env = fastrl.make_vec("Sokoban-v0", 8)
    observations, _ = env.reset(seed=0)
    kept = [(observations[1:3], observations[1:3].copy())]
    lengths = env.observation_lengths
    before = lengths.copy()
    for t in range(20):
        observations, rewards, terminated, _, infos = env.step(np.full(8, t % 4))
        held = (observations.T, rewards[::2], terminated, infos["_success"])
        kept += [(array, array.copy()) for array in held]
    for array, copied in kept:
        np.testing.assert_array_equal(array, copied)
    np.testing.assert_array_equal(lengths, before)


def test_a_step_reuses_arrays_that_nobody_holds():
    env = fastrl.make_vec("Sokoban-v0", 8)
    env.reset(seed=0)
    addresses = {env.step(np.zeros(8, int))[0].ctypes.data for _ in range(50)}
    assert len(addresses) <= 4


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


def rollout_digest(num_envs, threads, with_snapshots):
    fastrl.set_num_threads(threads)
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


def test_numbers_do_not_depend_on_threads_or_snapshots():
    threads = fastrl.num_threads()
    try:
        digests = {rollout_digest(300, n, snap) for n in (1, 2, 3, 8) for snap in (False, True)}
    finally:
        fastrl.set_num_threads(threads)
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


def test_a_second_thread_is_refused_and_harms_nothing():
    env = fastrl.make_vec("Sokoban-v0", 4096, num_boxes=1, max_episode_steps=1)
    env.reset(seed=0)
    errors = []

    def run():
        for _ in range(8):
            try:
                env.step(np.zeros(4096, int))
            except RuntimeError as error:
                errors.append(str(error))

    workers = [threading.Thread(target=run) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert set(errors) <= {"step: another thread is using this environment"}
    assert errors
    steps = 24 - len(errors)
    again = fastrl.make_vec("Sokoban-v0", 4096, num_boxes=1, max_episode_steps=1)
    again.reset(seed=0)
    for _ in range(steps):
        again.step(np.zeros(4096, int))
    assert again.snapshot().tobytes() == env.snapshot().tobytes()


def test_step_errors_leave_the_batch_as_it_was():
    env = fastrl.make_vec("CodeLock-v0", 4, autoreset_mode="disabled", length=2)
    with pytest.raises(RuntimeError, match="step: environment 0 has never been reset; call reset"):
        env.step(np.zeros(4, int))
    with pytest.raises(RuntimeError, match="observe: environment 0 has never been reset"):
        env.observe()
    with pytest.raises(RuntimeError, match="render_text: environment 0 has never been reset"):
        env.render_text()
    env.reset(seed=0, options={"reset_mask": np.array([True, True, True, False])})
    with pytest.raises(RuntimeError, match="step: environment 3 has never been reset"):
        env.step(np.zeros(4, int))
    env.reset(seed=0)
    before = env.snapshot().tobytes()
    for actions, kind, message in [
        (np.zeros(3, int), ValueError, r"`actions` must have shape \[B\] = \[4\], got \[3\]"),
        (
            np.zeros((4, 1), int),
            ValueError,
            r"`actions` must have shape \[B\] = \[4\], got \[4, 1\]",
        ),
        (np.zeros(4), TypeError, "`actions` must hold integers, got float64"),
        (np.array([np.nan] * 4), TypeError, "`actions` must hold integers, got float64"),
        (np.zeros(4, bool), TypeError, "`actions` must hold integers, got bool"),
        (["Up"] * 4, TypeError, "`actions` must hold integers"),
        ([0, 0, 4, 0], ValueError, "`actions` must be from -1 to 3, got 4 for environment 2"),
        (
            np.array([0, 2**64 - 1, 0, 0], np.uint64),
            ValueError,
            f"`actions` must be from -1 to 3, got {2**64 - 1} for environment 1",
        ),
        ([0, 0, 0, -2], ValueError, "`actions` must be from -1 to 3, got -2 for environment 3"),
    ]:
        with pytest.raises(kind, match=f"step: {message}"):
            env.step(actions)
    with pytest.raises(TypeError, match="step: `active` must be a NumPy array of bool, got int64"):
        env.step(np.zeros(4, int), np.ones(4, int))
    with pytest.raises(
        ValueError, match=r"step: `active` must have shape \[B\] = \[4\], got \[5\]"
    ):
        env.step(np.zeros(4, int), np.ones(5, bool))
    assert env.snapshot().tobytes() == before
    for _ in range(2):
        env.step(np.zeros(4, int))
    with pytest.raises(
        RuntimeError, match="step: the episode of environment 0 has ended; reset it"
    ):
        env.step(np.zeros(4, int))


def test_reset_errors():
    env = fastrl.make_vec("CodeLock-v0", 2)
    for kind, message, arguments in [
        (ValueError, "`seed` must be from 0 to", {"seed": -1}),
        (ValueError, "`seed` must be from 0 to", {"seed": [1, 2**64]}),
        (ValueError, "`seed` must hold B = 2 seeds, got 3", {"seed": [1, 2, 3]}),
        (TypeError, "`seed` must be an integer", {"seed": [1, 2.0]}),
        (TypeError, "`seed` must be an integer", {"seed": 1.5}),
        (TypeError, "`seed` must be an integer", {"seed": "12"}),
        (TypeError, "`seed` must be an integer", {"seed": True}),
        (ValueError, '`options` must have no key but "reset_mask"', {"options": {"mask": 1}}),
        (TypeError, "`reset_mask` must be a NumPy array", {"options": {"reset_mask": [True] * 2}}),
        (ValueError, "`reset_mask` must have shape", {"options": {"reset_mask": np.ones(3, bool)}}),
        (ValueError, "must select at least one", {"options": {"reset_mask": np.zeros(2, bool)}}),
    ]:
        with pytest.raises(kind, match=f"reset: .*{message}"):
            env.reset(**arguments)


def test_without_gymnasium_the_error_says_what_to_install():
    code = "import sys; sys.modules['gymnasium'] = None; import fastrl; fastrl.make_vec"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert "ImportError: fastrl.envs needs Gymnasium; pip install 'fastrl[envs]'" in result.stderr


def test_parse_errors():
    env = fastrl.make_vec("CodeLock-v0", 2)
    tokens, lengths = np.zeros((2, 3), np.int32), np.array([1, 4], np.int32)
    with pytest.raises(ValueError, match="parse_action_tokens: `lengths` must be from 0 to L = 3"):
        env.parse_action_tokens(tokens, lengths)
    with pytest.raises(TypeError, match="parse_action_tokens: `tokens` must have dtype int32"):
        env.parse_action_tokens(tokens.astype(int), lengths)
    with pytest.raises(ValueError, match="parse_action_tokens: `lengths` must have shape"):
        env.parse_action_tokens(tokens, lengths[:1])
    with pytest.raises(TypeError, match="parse_actions: `texts` must be a sequence of strings"):
        env.parse_actions("Up")
    with pytest.raises(TypeError, match="parse_actions: `texts` must be a sequence of strings"):
        env.parse_actions([b"Up"])
    for texts in (None, 5, b"", iter(["1"]), {"1"}, np.array("1"), np.array([["1"]])):
        with pytest.raises(TypeError, match="parse_actions: `texts` must be a sequence of strings"):
            env.parse_actions(texts)
    assert env.parse_actions(np.array(["1", "x"]))[0].tolist() == [1, -1]
    assert env.parse_actions([])[0].size == 0


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


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_any_sequence_of_calls_keeps_the_batch_consistent(data):
    name = data.draw(st.sampled_from(["CodeLock-v0", "Sokoban-v0", "FrozenLakeText-v0"]))
    mode = data.draw(st.sampled_from(MODES))
    observation = data.draw(st.sampled_from(["grid", "compact"]))
    env = fastrl.make_vec(
        name, 5, autoreset_mode=mode, observation=observation, max_episode_steps=6, num_levels=4
    )
    env.reset(seed=data.draw(st.integers(0, 2**64 - 1)))
    saved = env.snapshot()
    ids = st.lists(st.integers(0, 4), min_size=1, max_size=5, unique=True)
    for _ in range(data.draw(st.integers(1, 15))):
        call = data.draw(st.sampled_from(["step", "step", "save", "restore", "branch", "reset"]))
        rng = data.draw(st.sampled_from(["restore", "keep", "fork"]))
        if call == "step":
            actions = data.draw(
                st.lists(st.integers(-1, env.num_actions - 1), min_size=5, max_size=5)
            )
            active = np.array(data.draw(st.lists(st.booleans(), min_size=5, max_size=5)))
            try:
                observations, *_ = env.step(actions, active)
                assert env.observation_space.contains(observations)
            except RuntimeError as error:
                assert mode == "disabled"
                assert "has ended" in str(error)  # noqa: PT017
        elif call == "save":
            saved = env.snapshot()
        elif call == "restore":
            chosen = data.draw(ids)
            env.restore(saved[chosen], chosen[::-1], rng=rng)
        elif call == "branch":
            env.branch(data.draw(st.integers(0, 4)), data.draw(ids), rng=rng)
        else:
            mask = np.zeros(5, bool)
            mask[data.draw(ids)] = True
            env.reset(options={"reset_mask": mask})
        assert (env.elapsed_steps <= 6).all()
        distances, actions = env.solve(env.snapshot())
        assert ((distances > 0) == (actions >= 0)).all()
        assert all(env.render_text())


def nested_equal(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(nested_equal(a[key], b[key]) for key in a)
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(map(nested_equal, a, b))
    if a is None or b is None:
        return a is b
    a, b = np.asarray(a), np.asarray(b)
    if a.dtype == object:
        return a.shape == b.shape and all(map(nested_equal, a.tolist(), b.tolist()))
    return a.dtype == b.dtype and np.array_equal(a, b)


@pytest.mark.parametrize("mode", ["next_step", "same_step"])
def test_received_results_are_those_of_a_step(mode):
    settings = {"length": 3, "autoreset_mode": mode}
    stepped = fastrl.make_vec("CodeLock-v0", 5, **settings)
    sent = fastrl.make_vec("CodeLock-v0", 5, **settings)
    stepped.reset(seed=4)
    sent.reset(seed=4)
    rng = np.random.default_rng(0)
    ended = 0
    for _ in range(9):
        actions = rng.integers(-1, 4, 5)
        expected = stepped.step(actions)
        ended += int(expected[2].sum())
        sent.send(actions)
        received = sent.recv()
        assert received.ids.tolist() == [0, 1, 2, 3, 4]
        assert nested_equal(expected, tuple(received[1:]))
    assert ended > 0
    # In parts, from the middle of the ring of results.
    for _ in range(9):
        actions = rng.integers(0, 4, 5)
        expected = stepped.step(actions)
        sent.send(actions[3:], [3, 4])
        sent.send(actions[:3], [0, 1, 2])
        parts = [sent.recv(4), sent.recv(1)]
        assert [*parts[0].ids, *parts[1].ids] == [3, 4, 0, 1, 2]
        for part in parts:
            assert nested_equal(expected[0][part.ids], part.observations)
            assert nested_equal(expected[1][part.ids], part.rewards)
            for name in ("final_obs", "success", "_success"):
                if name in part.infos:
                    assert nested_equal(expected[4][name][part.ids], part.infos[name])


def test_asynchronous_errors():
    env = fastrl.make_vec("CodeLock-v0", 4, autoreset_mode="disabled", length=1)
    with pytest.raises(RuntimeError, match="recv: nothing is under way; call send first"):
        env.recv(1)
    with pytest.raises(RuntimeError, match="send: environment 0 has never been reset"):
        env.send([0] * 4)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"send: `actions` must have shape \[B\] = \[2\], got \[4"):
        env.send([0] * 4, [0, 1])
    with pytest.raises(ValueError, match="send: `actions` must be from -1 to 3, got 4 for env"):
        env.send([0, 4], [0, 1])
    with pytest.raises(ValueError, match="send: `ids` must name each environment once, got 1 twi"):
        env.send([0, 0], [1, 1])
    env.send([0, 1], [0, 1])
    with pytest.raises(ValueError, match="send: `ids` must name environments whose result has"):
        env.send([0], [1])
    with pytest.raises(RuntimeError, match="step: 2 results of send are outstanding"):
        env.step([0] * 4)
    with pytest.raises(ValueError, match="recv: `batch_size` must be at most 2, the actions under"):
        env.recv(3)
    with pytest.raises(ValueError, match="recv: `batch_size` must be from 1 to 4, got 0"):
        env.recv(0)
    assert env.recv().ids.tolist() == [0, 1]
    with pytest.raises(RuntimeError, match="send: the episode of environment 0 has ended"):
        env.send([0], [0])
    with pytest.raises(RuntimeError, match="recv: nothing is under way; call send first"):
        env.recv()
    env.close()
    env.close()


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
    assert nested_equal(vars(drawn), vars(again))
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


def test_tensors_share_the_memory_of_the_arrays():
    torch = pytest.importorskip("torch")
    env = fastrl.make_vec("CodeLock-v0", 3, output="torch")
    twin = fastrl.make_vec("CodeLock-v0", 3)
    observations, _ = env.reset(seed=0)
    assert isinstance(observations, torch.Tensor)
    twin.reset(seed=0)
    held = []
    for _ in range(9):
        actions = torch.tensor([0, 1, 2])
        result, expected = env.step(actions), twin.step(actions)
        held.append((result[0], result[0].clone(), result[1][1:], result[1][1:].clone()))
        for tensor, array in zip(result[:4], expected[:4], strict=True):
            assert isinstance(tensor, torch.Tensor)
            assert np.array_equal(tensor.numpy(), array)
        del result
    # What somebody holds, if only a view, is never written again.
    for kept, copy, view, view_copy in held:
        assert torch.equal(kept, copy)
        assert torch.equal(view, view_copy)


def test_step_into_writes_the_arrays_of_the_caller():
    torch = pytest.importorskip("torch")
    env, twin = (fastrl.make_vec("CodeLock-v0", 3, length=2) for _ in range(2))
    env.reset(seed=0)
    twin.reset(seed=0)
    with pytest.raises(RuntimeError, match="step_infos: there was no step_into yet"):
        _ = env.step_infos
    observations = np.zeros((6, 3, env.max_observation_tokens), np.int32)
    rewards = torch.zeros(6, 3, dtype=torch.float64)
    flags = np.zeros((2, 6, 3), np.bool_)
    arrays = {"observations": observations[0], "rewards": rewards[0]}
    arrays |= {"terminated": flags[0, 0], "truncated": flags[1, 0]}
    for t in range(6):
        arrays = {"observations": observations[t], "rewards": rewards[t]}
        arrays |= {"terminated": flags[0, t], "truncated": flags[1, t]}
        env.step_into([0, 1, 2], **arrays)
        expected = twin.step([0, 1, 2])
        for name, array in zip(arrays, expected, strict=False):
            assert np.array_equal(np.asarray(arrays[name]), array)
        assert nested_equal(env.step_infos, expected[4])
    for name, wrong, error, message in [
        ("rewards", np.zeros(3, np.float32), TypeError, "`rewards` must have dtype float64, got"),
        ("rewards", np.zeros(4), ValueError, r"`rewards` must have shape \[3\], got \[4\]"),
        ("truncated", [0, 0, 0], TypeError, "`truncated` must be a NumPy array or a tensor, got"),
        ("terminated", np.zeros(6, bool)[::2], ValueError, "`terminated` must be contiguous"),
        ("observations", flags[0, 0], TypeError, "`observations` must have dtype int32, got bool"),
    ]:
        before = env.snapshot().tobytes()
        with pytest.raises(error, match=f"step_into: {message}"):
            env.step_into([0, 1, 2], **(arrays | {name: wrong}))
        assert env.snapshot().tobytes() == before
