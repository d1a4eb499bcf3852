"""Attempts: retries and trials of one level."""

import fastrl
import numpy as np
import pytest
from every_form import MODES
from random_play import locks

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
