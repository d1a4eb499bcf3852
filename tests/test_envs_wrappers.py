"""What the engine wraps around environments: alone, together, and across time."""

import fastrl
import numpy as np
import pytest
from fastrl.envs import RewardMachine, Snapshot
from test_envs_snapshots import sealed

MODES = ["next_step", "same_step", "disabled"]


def play(env, steps, seed, ended=None):
    """What each of some random steps says; resets what has ended in "disabled" mode."""
    random = np.random.default_rng(seed)
    rests = env.metadata["autoreset_mode"].name == "DISABLED"
    ended = np.zeros(env.num_envs, bool) if ended is None else ended
    told = []
    for _ in range(steps):
        if rests and ended.any():
            env.reset(options={"reset_mask": ended})
        said = env.step(random.integers(0, env.single_action_space.n, env.num_envs))
        told.append(said)
        ended = said[2] | said[3]
    return told


def assert_same(one, two):
    """Equal observations, rewards, flags and infos."""
    for a, b in zip(one[:4], two[:4], strict=True):
        np.testing.assert_array_equal(a, b)
    assert one[4].keys() == two[4].keys()
    for key, value in one[4].items():
        for name in value if isinstance(value, dict) else [...]:
            np.testing.assert_array_equal(value[name], two[4][key][name])


# --- Action repeat ------------------------------------------------------------------------------


def test_repeated_actions_are_steps_whose_rewards_are_summed():
    env, plain = (
        fastrl.make_vec("CliffWalking-v1", 3, max_episode_steps=1000, action_repeat=n)
        for n in (3, 1)
    )
    env.reset(seed=1)
    plain.reset(seed=1)
    random = np.random.default_rng(0)
    for t in range(60):
        action = random.integers(0, 4, 3)
        observations, rewards, *_ = env.step(action)
        sums = np.zeros(3)
        for _ in range(3):
            told = plain.step(action)
            sums += told[1]
        np.testing.assert_array_equal(observations, told[0])
        np.testing.assert_array_equal(rewards, sums)
        assert env.elapsed_steps.tolist() == [t + 1] * 3


@pytest.mark.parametrize("mode", MODES)
def test_repeating_stops_at_the_end_of_an_episode(mode):
    env = fastrl.make_vec("CodeLock-v0", 2, length=5, action_repeat=3, autoreset_mode=mode)
    env.reset(seed=0)
    assert not env.step(np.zeros(2, np.int64))[2].any()
    assert env.step(np.zeros(2, np.int64))[2].all()
    assert env.elapsed_steps.tolist() == ([0, 0] if mode == "same_step" else [2, 2])


# --- Contexts -----------------------------------------------------------------------------------

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


# --- Levels -------------------------------------------------------------------------------------


def locks(num_envs, **options):
    return fastrl.make_vec("CodeLock-v0", num_envs, length=4, **options)


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


# --- Costs --------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_costs_are_counted_and_end_episodes_beyond_the_limit(mode):
    env = fastrl.make_vec(
        "CliffWalking-v1",
        4,
        costs={"cliff": 1.0, "goal": -0.25},
        cost_limit=2.5,
        max_episode_steps=50,
        autoreset_mode=mode,
    )
    env.reset(seed=0)
    sums, begins, cut = np.zeros(4), np.zeros(4, bool), 0
    for said in play(env, 400, 1):
        ended = said[2] | said[3]
        for i in range(4):
            if begins[i] and mode == "next_step":
                assert not said[4]["_cost"][i]
                continue
            infos = said[4]["final_info"] if mode == "same_step" and ended[i] else said[4]
            assert infos["cost"][i] == 1.0 * (said[1][i] == -100) - 0.25 * said[2][i]
            sums[i] += infos["cost"][i]
            assert infos["episode_cost"][i] == sums[i]
            assert said[3][i] >= (sums[i] > 2.5)
            cut += sums[i] > 2.5
        sums[ended] = 0
        begins = ended
    assert cut > 20


def test_malformed_actions_can_cost():
    env = locks(2, costs={"malformed": 0.5, "success": 2.0})
    env.reset(seed=0)
    assert env.step(np.array([-1, 0]))[4]["cost"].tolist() == [0.5, 0.0]


def test_every_repeated_step_costs():
    env = fastrl.make_vec("CliffWalking-v1", 1, costs={"cliff": 1.0}, action_repeat=3)
    env.reset(seed=0)
    assert env.step(np.array([1]))[4]["cost"].tolist() == [3.0]


# --- Retries ------------------------------------------------------------------------------------


@pytest.mark.parametrize("right_at", [0, 1, 2, 3, 4, None])
@pytest.mark.parametrize("repeats", [False, True])
def test_retry_rewards_are_exact(right_at, repeats):
    env = fastrl.make_vec("CodeLock-v0", 1, length=1, num_choices=8, retries={"max_attempts": 5})
    env.reset(seed=3)
    code = int(env.solve(env.snapshot())[1][0])
    wrong = [digit for digit in range(8) if digit != code]
    answers = [code if t == right_at else wrong[0 if repeats else t] for t in range(5)]
    for t, answer in enumerate(answers):
        # The same level each time.
        assert int(env.solve(env.snapshot())[1][0]) == code
        _, rewards, terminated, truncated, infos = env.step(np.array([answer]))
        last = t in (right_at, 4)
        assert infos["attempt"].tolist() == [t]
        assert infos["attempt_ended"].tolist() == [True]
        assert (terminated | truncated).tolist() == [last]
        gain = 0.5**t if t == right_at else 0.0
        penalty = 0.5 * (1.0 - len(set(answers[: t + 1])) / (t + 1))
        assert rewards.tolist() == [gain - penalty if last else 0.0]
        if last:
            break
    assert env.episode_returns.tolist() == rewards.tolist()


def test_answers_are_whole_sequences_of_actions():
    env = fastrl.make_vec("CodeLock-v0", 1, length=2, num_choices=4, retries={"max_attempts": 3})
    env.reset(seed=0)
    code = int(env.solve(env.snapshot())[1][0])
    a, b = (code + 1) % 4, (code + 2) % 4
    rewards = [env.step(np.array([digit]))[1][0] for digit in (a, b, b, a, a, b)]
    assert rewards == [0.0] * 5 + [-0.5 * (1.0 - 2 / 3)]


def test_retries_of_an_eight_armed_bandit():
    """Guesses without repetition succeed within 5 of 8 attempts in 0.625 of all episodes."""
    env = fastrl.make_vec(
        "CodeLock-v0", 4000, length=1, num_choices=8, retries={}, autoreset_mode="disabled"
    )
    env.reset(seed=1)
    active, solved = np.ones(4000, bool), np.zeros(4000, bool)
    for t in range(5):
        said = env.step(np.full(4000, t), active)
        solved |= said[4]["success"]
        active &= ~(said[2] | said[3])
    assert not active.any()
    assert abs(solved.mean() - 0.625) < 4 * np.sqrt(0.625 * 0.375 / 4000)
    np.testing.assert_array_equal(env.episode_returns > 0, solved)


# --- Trials -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("until_success", [False, True])
def test_trials_are_episodes_of_one_level(mode, until_success):
    trials = {"episodes": 3, "until_success": until_success}
    options = {"length": 2, "num_choices": 2, "autoreset_mode": mode, "trials": trials}
    env = fastrl.make_vec("CodeLock-v0", 5, **options)
    env.reset(seed=1)
    attempts, turns, code = np.zeros(5, int), np.zeros(5, int), np.zeros(5, int)
    ended = np.zeros(5, bool)
    successes = 0
    random = np.random.default_rng(0)
    for _ in range(150):
        if mode == "disabled" and ended.any():
            env.reset(options={"reset_mask": ended})
        resets = ended & (mode == "next_step")
        first = env.solve(env.snapshot())[1]
        begins = (attempts + turns == 0) & ~resets
        code[begins] = first[begins]
        np.testing.assert_array_equal(first[(turns == 0) & ~resets], code[(turns == 0) & ~resets])
        said = env.step(random.integers(0, 2, 5))
        ended = said[2] | said[3]
        for i in range(5):
            final = mode == "same_step" and ended[i]
            infos = said[4]["final_info"] if final else said[4]
            assert infos["attempt"][i] == attempts[i]
            if resets[i]:
                continue
            turns[i] = (turns[i] + 1) % 2
            assert infos["attempt_ended"][i] == (turns[i] == 0)
            last = turns[i] == 0 and (
                attempts[i] == 2 or bool(until_success and infos["success"][i])
            )
            assert ended[i] == last
            successes += infos["success"][i]
            if turns[i] == 0:
                attempts[i] = 0 if last else attempts[i] + 1
                assert env.elapsed_steps[i] == (2 if last and mode != "same_step" else 0)
    assert successes > 10


def test_segmented_returns_follow_from_the_infos():
    """LaMer's returns: 0.95 a step within an attempt, 0.6 across."""
    env = locks(1, trials={"episodes": 2}, reward="matches", num_choices=2)
    env.reset(seed=0)
    rewards, ends = [], []
    for _ in range(8):
        said = env.step(np.zeros(1, np.int64))
        rewards.append(said[1][0])
        ends.append(bool(said[4]["attempt_ended"][0]))
    assert ends == [False, False, False, True] * 2
    assert rewards[3] == rewards[7] > 0
    assert env.episode_returns[0] == 2 * rewards[3]
    total = 0.0
    for reward, ended in zip(reversed(rewards), reversed(ends), strict=True):
        total = reward + (0.6 if ended else 0.95) * total
    assert total == pytest.approx(0.95**3 * rewards[3] * (1 + 0.6 * 0.95**3))


def test_an_attempts_last_observation_is_kept_in_same_step_mode():
    options = {"is_slippery": False, "max_episode_steps": 2, "autoreset_mode": "same_step"}
    env = fastrl.make_vec("FrozenLake-v1", 1, trials={"episodes": 2}, **options)
    env.reset(seed=0)
    env.step(np.array([1]))
    said = env.step(np.array([1]))
    assert said[4]["attempt_ended"].all()
    assert said[0].tolist() == [0]
    assert env.final_observations.tolist() == [8]
    assert not said[3].any()
    assert env.elapsed_steps.tolist() == [0]


def test_a_cost_limit_ends_all_attempts():
    options = {"costs": {"cliff": 1.0}, "cost_limit": 2.0, "max_episode_steps": 2}
    env = fastrl.make_vec("CliffWalking-v1", 1, trials={"episodes": 10}, **options)
    env.reset(seed=0)
    flags = [bool(env.step(np.array([1]))[3][0]) for _ in range(3)]
    assert flags == [False, False, True]


# --- Together -----------------------------------------------------------------------------------


def everything(num_envs, mode="next_step", **options):
    machine = RewardMachine(
        3, [(0, "goal", 2, 1.0), (0, "hole", 1, 0.5, "t >= 2", "t")], terminal=[2], clocks=["t"]
    )
    env = fastrl.make_vec(
        "FrozenLake-v1",
        num_envs,
        autoreset_mode=mode,
        max_episode_steps=6,
        history=5,
        action_repeat=2,
        contexts={"is_slippery": [True, False]},
        context_selector="uniform",
        costs={"hole": 1.0},
        cost_limit=1.5,
        trials={"episodes": 3},
        reward_machine=machine,
        machine_reward="add",
        **options,
    )
    env.set_levels(env.levels(1, seed=0))
    return env


@pytest.mark.parametrize("mode", MODES)
def test_time_travel_takes_all_wrappers_along(mode):
    env = everything(40, mode)
    env.reset(seed=1)
    last = play(env, 7, 1)[-1]
    ended = last[2] | last[3]
    saved = env.snapshot()
    first = play(env, 12, 2, ended)
    for name in ("context", "attempt", "episode_cost", "machine_clocks"):
        assert len(np.unique([said[4][name] for said in first])) > 1
    end = env.snapshot().tobytes()
    env.restore(saved)
    for one, two in zip(first, play(env, 12, 2, ended), strict=True):
        assert_same(one, two)
    assert env.snapshot().tobytes() == end
    # In another batch, from bytes, in another order.
    other = everything(40, mode)
    other.reset(seed=5)
    order = np.random.default_rng(0).permutation(40)
    other.restore(Snapshot.frombytes(saved.tobytes()), ids=order)
    assert other.snapshot(order).tobytes() == saved.tobytes()
    env.restore(saved)
    if mode != "disabled":
        told = play(env, 3, 3)
        env.rewind(3)
        assert env.snapshot().tobytes() == saved.tobytes()
        for one, two in zip(told, play(env, 3, 3), strict=True):
            assert_same(one, two)
    env.branch([0], np.arange(40), rng="restore")
    states = env.snapshot()
    assert len({states[i].tobytes() for i in range(40)}) == 1


@pytest.mark.parametrize("mode", MODES)
def test_numbers_do_not_depend_on_threads(mode):
    ends = []
    for threads in (1, 3):
        env = everything(700, mode, num_threads=threads)
        env.reset(seed=1)
        play(env, 15, 1)
        ends.append(env.snapshot().tobytes())
    assert ends[0] == ends[1]


def test_all_ways_of_stepping_say_the_same():
    actions = np.random.default_rng(0).integers(0, 4, (20, 30))
    env, unrolled, sent, into = (everything(30) for _ in range(4))
    for one in (env, unrolled, sent, into):
        one.reset(seed=3)
    told = unrolled.unroll(actions)
    arrays = {
        "observations": np.zeros(30, np.int64),
        "rewards": np.zeros(30),
        "terminated": np.zeros(30, bool),
        "truncated": np.zeros(30, bool),
    }
    for t in range(20):
        said = env.step(actions[t])
        sent.send(actions[t])
        received = sent.recv()
        into.step_into(actions[t], **arrays)
        assert_same(said, received[1:])
        np.testing.assert_array_equal(told.observations[t], said[0])
        for key, array in arrays.items():
            np.testing.assert_array_equal(array, said[list(arrays).index(key)])
            np.testing.assert_array_equal(getattr(told, key)[t], array)
        for key in set(said[4]) - {"prob"}:  # whose dtype is Gymnasium's in `step` alone
            np.testing.assert_array_equal(told.infos[key][t], said[4][key])
            np.testing.assert_array_equal(into.step_infos[key], said[4][key])
    for one in (unrolled, sent, into):
        assert env.snapshot().tobytes() == one.snapshot().tobytes()


def test_forged_wrapper_bytes_are_refused_or_harmless():
    """Contexts, attempts, machine states and clocks are indexes: a wrong one must not be used."""
    env = everything(1)
    env.reset(seed=0)
    data = env.snapshot().tobytes()
    refused = 0
    for place in range(len(data) - env._native.slot_size, len(data)):
        for value in (0x7F, 0xFF):
            forged = data[:place] + bytes([value]) + data[place + 1 :]
            try:
                env.restore(Snapshot.frombytes(sealed(forged)))
                play(env, 8, 0)
            except ValueError as error:
                refused += "an impossible state at index 0" in str(error)
            except RuntimeError:  # the forged byte says that there was no reset
                pass
            env.reset()
    assert refused > 40


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"action_repeat": 0}, "`action_repeat` must be from 1"),
        ({"contexts": {}}, "`contexts` must name at least one option, got none"),
        ({"contexts": []}, "`contexts` must be a dict, got list"),
        ({"contexts": {1: [2]}}, "`contexts` must have strings as keys, got 1"),
        ({"contexts": {"length": 3}}, r"`contexts\['length'\]` must hold values \[C\], got int"),
        ({"contexts": {"length": []}}, "must hold at least one value, got none"),
        (
            {"contexts": {"length": [3, 4], "num_choices": [2]}},
            r"`contexts\['num_choices'\]` must have shape \[C\] = \[2\], got \[1\]",
        ),
        ({"contexts": {"lengths": [3]}}, "`lengths` must be an option of CodeLock-v0"),
        ({"contexts": {"length": [8, 99]}}, "`length` must be an integer from 1 to 64, got 99"),
        ({"contexts": {"num_choices": [2, 3]}}, "must leave observations, actions and infos"),
        ({"context_selector": "uniform"}, "`contexts` must be given to be selected"),
        ({"contexts": {"length": [8]}, "context_selector": "x"}, "`context_selector` must be one"),
        ({"contexts": {"length": [8]}, "context_selector": [1.0, 2.0]}, r"shape \[C\] = \[1\]"),
        ({"contexts": {"length": [8]}, "context_observed": True}, "`context_observed` must be Fal"),
        ({"costs": {}}, "`costs` must name at least one label, got none"),
        (
            {"costs": {"lava": 1.0}},
            "`costs` must name labels out of .*success, malformed, got lava",
        ),
        ({"costs": {"success": np.nan}}, r"`costs\['success'\]` must be finite, got nan"),
        ({"cost_limit": 1.0}, "`costs` must be given where `cost_limit` is, got None"),
        ({"retries": {"turns": 3}}, "`retries` must have no key but 'max_attempts', 'decay'"),
        ({"retries": {"max_attempts": 65}}, r"`retries\['max_attempts'\]` must be from 1 to 64"),
        ({"retries": {"decay": 2.0}}, r"`retries\['decay'\]` must be in \[0, 1\], got 2.0"),
        ({"retries": {"repeat_penalty": -1}}, r"`retries\['repeat_penalty'\]` must be finite and"),
        ({"retries": {}, "trials": {}}, "`trials` must be None where `retries` is given"),
        ({"trials": {"episodes": 0}}, r"`trials\['episodes'\]` must be from 1"),
        ({"trials": {"until_success": 1}}, r"`trials\['until_success'\]` must be True or False"),
    ],
)
def test_errors(options, message):
    with pytest.raises((ValueError, TypeError), match=f"make_vec: .*{message}"):
        fastrl.make_vec("CodeLock-v0", **options)


def test_attempts_that_end_with_success_need_it():
    for options in ({"retries": {}}, {"trials": {"until_success": True}}):
        with pytest.raises(ValueError, match="must be of an environment that reports success"):
            fastrl.make_vec("FrozenLake-v1", **options)
