"""Curricula in closed loops: what the samplers are for."""

import fastrl
import numpy as np
from fastrl.envs.maze import MazeLevels
from fastrl.replay import EpisodeScores, LevelSampler, TaskSampler
from fastrl.replay.level_scores import group_return_variance, minimax_regret, paired_regret


def test_hard_levels_are_replayed_three_times_as_often():
    # Algorithmic regret, given by the caller: a fifth of the levels is hard.
    regret = np.where(np.arange(40) % 5 == 0, 0.8, 0.1)
    for options in ({"transform": "softmax", "temperature": 0.2}, {"transform": "rank"}):
        sampler = LevelSampler(40, **options)
        sampler.add(range(40), regret)
        ids = np.concatenate([sampler.sample(8).ids for _ in range(500)])
        assert (ids % 5 == 0).mean() >= 3 * 0.2


def test_the_hardest_of_five_corridors_is_practiced_most_and_rewards_equalize():
    # Practice moves a task's mean reward towards 1, the slower the longer its corridor is.
    def rewards_after(alpha):
        speed, skill = 0.02 / np.arange(1, 6), np.zeros(5)
        sampler = TaskSampler([0] * 5, alpha=alpha, seed=0)
        share = np.zeros(5)
        for _ in range(60):
            tasks, _ = sampler.sample(16)
            counts = np.bincount(tasks, minlength=5)
            skill = 1.0 - (1.0 - skill) * np.exp(-speed * counts)
            sampler.update(tasks, skill[tasks])
            share += counts
        return skill, share / share.sum()

    even, _ = rewards_after(0.0)
    skill, share = rewards_after(1.0)
    assert share.argmax() == 4
    assert share[4] > 1.3 * 0.2
    assert np.ptp(skill) < 0.55 * np.ptp(even)


def test_levels_scores_and_weights_compose_with_a_maze():
    near, far = "A.G\n...\n...", "A..\n...\n..G"
    closed = "A#G\n###\n..."
    levels = MazeLevels.from_texts([near, far, closed] * 2)
    env = fastrl.make_vec("Maze-v0", 32, height=3, width=3, actions="moves", max_episode_steps=12)
    sampler = LevelSampler(
        6, transform="proportional", temperature=1.0, staleness_coef=0.0, replay_probability=1.0
    )
    sampler.add(range(6))
    env.set_levels(levels.texts())
    rng = np.random.default_rng(0)
    episodes = EpisodeScores(32)
    for _ in range(12):
        batch = sampler.sample(32)
        _, infos = env.reset(seed=int(rng.integers(1000)), options={"level": batch.ids})
        np.testing.assert_array_equal(infos["level"], batch.ids)
        ids, rewards, ends = [], [], []
        done = np.zeros(32, bool)
        for _ in range(12):
            _, reward, terminated, truncated, _ = env.step(rng.integers(0, 4, 32))
            ids.append(np.where(done, -1, batch.ids))
            rewards.append(np.where(done, 0.0, reward > 0))
            ends.append((terminated | truncated) & ~done)
            done |= terminated | truncated
        played = episodes.add(
            np.array(rewards), np.array(ids), np.array(ends), np.zeros((12, 32), bool)
        )
        solved = (played.maxima > 0).astype(float)
        for level in np.unique(played.ids):
            rate = solved[played.ids == level].mean()
            sampler.update([level], [rate * (1.0 - rate)])
        episodes.flush()
    weights = sampler.replay_weights()
    assert weights[[2, 5]].sum() == 0.0  # nothing can be learned where nothing can be reached
    env.set_levels(levels[sampler.ids].texts(), sampler.probabilities())
    _, infos = env.reset(seed=1)
    assert not np.isin(infos["level"], [2, 5]).any()


def teacher_mass(kind, seed):
    """What a bandit teacher ends up with on the 4 unsolvable of 12 levels."""
    rng = np.random.default_rng(seed)
    solvable = np.arange(12) < 8
    preferences, skill, baseline = np.zeros(12), np.zeros(12), 0.0
    for _ in range(1500):
        policy = np.exp(preferences - preferences.max())
        policy /= policy.sum()
        level = rng.choice(12, p=policy)
        antagonist = (rng.random((1, 4)) < 0.9 * solvable[level]).astype(np.float64)
        protagonist = (rng.random((1, 4)) < skill[level]).astype(np.float64)
        if kind == "paired":
            reward = paired_regret(antagonist, protagonist)[0]
        else:
            reward = minimax_regret(protagonist)[0]
        if solvable[level]:
            skill[level] += 0.01 * (0.9 - skill[level])
        preferences += 0.1 * (reward - baseline) * ((np.arange(12) == level) - policy)
        baseline += 0.05 * (reward - baseline)
    return (policy / policy.sum())[~solvable].sum()


def test_a_paired_teacher_leaves_what_cannot_be_solved():
    assert max(teacher_mass("paired", seed) for seed in range(4)) <= 0.10
    assert min(teacher_mass("minimax", seed) for seed in range(4)) >= 0.6


def updates_until_solved(depth, seed, **options):
    """GRPO on single starts of a lock of `depth` digits, 4 each, until all of it opens."""
    rng = np.random.default_rng(seed)
    logits = np.zeros((depth, 4))
    sampler = LevelSampler(depth, seed=seed, **options)
    sampler.add(range(depth))
    for update in range(1, 2000):
        policy = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        if policy[:, 0].prod() >= 0.8:
            return update - 1
        starts = sampler.sample(4).ids
        numbers = rng.random((4, 8, depth, 1))
        digits = np.minimum((numbers > policy.cumsum(1)).sum(-1), 3)  # [task, attempt, depth]
        played = np.arange(depth) >= starts[:, None, None]
        right = np.cumprod(~played | (digits == 0), axis=-1, dtype=bool)
        reached = played & np.concatenate([np.ones((4, 8, 1), bool), right[..., :-1]], -1)
        returns = right[..., -1].astype(np.float64)
        advantages = returns - returns.mean(1, keepdims=True)
        advantages /= returns.std(1, keepdims=True) + 1e-6
        chosen = digits[..., None] == np.arange(4)
        pulls = (advantages[..., None] * reached)[..., None] * (chosen - policy)
        logits += pulls.mean((0, 1))
        sampler.update(starts, group_return_variance(returns))
    return 2000


def test_starts_of_large_return_variance_open_a_lock_sooner():
    even = {"transform": "constant", "staleness_coef": 0.0}
    uniform = [updates_until_solved(10, seed, **even) for seed in range(5)]
    learned = [updates_until_solved(10, seed, transform="proportional") for seed in range(5)]
    assert sum(learned) <= 0.75 * sum(uniform)
