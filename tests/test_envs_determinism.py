"""One digest of a rollout, however it is computed: by threads, cuts, waiting, detours."""

import hashlib

import fastrl
import gymnasium
import numpy as np
import pytest
from every_form import FORMS
from fastrl.envs import TextVectorEnv

STEPS = 12
SHORT = 5  # steps of an episode: every environment is reset more than once
MODES = ("next_step", "same_step")


def batch_size(name, precision):
    """More than two chunks of work, so that threads have something to share."""
    if precision == "fast":
        return 2100
    return 150 if isinstance(fastrl.make_vec(name), TextVectorEnv) else 600


def make(name, precision, num_envs, mode="next_step", **options):
    # Levels are kept, which makes a reset cheap; contents do not depend on how they are found.
    return fastrl.make_vec(
        name,
        num_envs,
        precision=precision,
        autoreset_mode=mode,
        max_episode_steps=SHORT,
        num_levels=8,
        **options,
    )


def series(env, steps=STEPS):
    env.action_space.seed(1)
    return np.stack([env.action_space.sample() for _ in range(steps)])


def flat(observation):
    if isinstance(observation, dict):
        return [observation[key] for key in sorted(observation)]
    return list(observation) if isinstance(observation, tuple) else [observation]


def rows_of(step):
    """The arrays of a step that its digest is of."""
    observations, rewards, terminated, truncated = step[:4]
    return [array.copy() for array in (*flat(observations), rewards, terminated, truncated)]


def digest(rows):
    """SHA-256 of [T] lists of arrays [B, …], and of how they end."""
    found = hashlib.sha256()
    for arrays in rows:
        for array in arrays:
            found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def stepped(env, actions, detour=lambda env, t: None):
    env.reset(seed=list(range(env.num_envs)))
    rows = []
    for t, action in enumerate(actions):
        detour(env, t)
        rows.append(rows_of(env.step(action)))
    return rows


def with_snapshots(env, t):
    """Goes astray and comes back."""
    saved = env.snapshot()
    wrong = np.zeros(env.action_space.shape, env.action_space.dtype)
    if t % 3 == 0:
        env.step(wrong)
        env.branch(0, np.arange(1, env.num_envs))
        env.step(wrong)
        env.restore(saved)
    elif t % 3 == 1:
        env.step(wrong)
        env.step(wrong)
        env.rewind(2)
    else:
        env.observe()
        env.state_hash()
        env.restore(type(saved).frombytes(saved.tobytes()))


def sent(env, actions, cut):
    """Sent in `cut` pieces, received in others."""
    env.reset(seed=list(range(env.num_envs)))
    pieces = np.array_split(np.arange(env.num_envs), cut)
    rows = []
    for action in actions:
        for piece in pieces:
            env.send(action[piece], piece)
        received = []
        left = env.num_envs
        while left:
            n = min(left, env.num_envs // 3 + 1)
            ids, *step = env.recv(n)
            assert ids.tolist() == list(range(env.num_envs - left, env.num_envs - left + n))
            received.append(rows_of(step))
            left -= n
        rows.append([np.concatenate(parts) for parts in zip(*received, strict=True)])
    return rows


def split(name, precision, mode, actions, parts):
    """Several batches, each with the seeds of its environments."""
    traces = []
    for ids in np.array_split(np.arange(actions.shape[1]), parts):
        env = make(name, precision, ids.size, mode)
        env.reset(seed=ids.tolist())
        traces.append([rows_of(env.step(action[ids])) for action in actions])
    return [
        [np.concatenate(arrays) for arrays in zip(*step, strict=True)]
        for step in zip(*traces, strict=True)
    ]


def into(env, actions):
    env.reset(seed=list(range(env.num_envs)))
    space = env.observation_space

    def empty(one):
        return np.empty(one.shape, one.dtype)

    if isinstance(space, gymnasium.spaces.Dict):
        observations = {key: empty(one) for key, one in space.items()}
    elif isinstance(space, gymnasium.spaces.Tuple):
        observations = tuple(map(empty, space))
    else:
        observations = empty(space)
    rewards = np.empty(env.num_envs)
    flags = np.empty((2, env.num_envs), np.bool_)
    rows = []
    for action in actions:
        env.step_into(
            action,
            observations=observations,
            rewards=rewards,
            terminated=flags[0],
            truncated=flags[1],
        )
        rows.append(rows_of((observations, rewards, *flags)))
    return rows


def unrolled(env, actions):
    env.reset(seed=list(range(env.num_envs)))
    got = env.unroll(actions)
    arrays = [*flat(got.observations), got.rewards, got.terminated, got.truncated]
    return [[array[t] for array in arrays] for t in range(len(actions))]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("name", "precision"), FORMS)
def test_a_rollout_has_one_digest(name, precision, mode, set_threads):
    n = batch_size(name, precision)
    plain = make(name, precision, n, mode)
    actions = series(plain)
    set_threads(1)
    rows = stepped(plain, actions)
    assert sum(int(arrays[-1].sum() + arrays[-2].sum()) for arrays in rows) > n  # episodes end
    want = digest(rows)
    end = plain.snapshot().tobytes()
    found = {}
    for count in (2, 3, 8):
        set_threads(count)
        env = make(name, precision, n, mode)
        found[f"{count} threads"] = digest(stepped(env, actions))
        assert env.snapshot().tobytes() == end
    set_threads(2)
    found["at most one thread"] = digest(
        stepped(make(name, precision, n, mode, num_threads=1), actions)
    )
    found["detours"] = digest(
        stepped(make(name, precision, n, mode, history=4), actions, with_snapshots)
    )
    for cut in (1, 7):
        found[f"sent in {cut}"] = digest(sent(make(name, precision, n, mode), actions, cut))
    for parts in (3, 40):
        found[f"{parts} batches"] = digest(split(name, precision, mode, actions, parts))
    found["step_into"] = digest(into(make(name, precision, n, mode), actions))
    found["unroll"] = digest(unrolled(make(name, precision, n, mode), actions))
    assert {way for way, value in found.items() if value != want} == set()


def test_drawn_actions_do_not_depend_on_threads(set_threads):
    seen = set()
    for count in (1, 3):
        set_threads(count)
        env = make("CartPole-v1", "fast", 2100)
        env.reset(seed=0)
        got = env.unroll(steps=50, seed=3)
        seen.add(digest([[got.actions, got.observations, got.rewards, got.terminated]]))
    assert len(seen) == 1
