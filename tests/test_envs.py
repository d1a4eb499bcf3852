"""Dynamics, levels, solvers, texts: the native environments against plain Python."""

import inspect

import fastrl
import numpy as np
import pytest
from fastrl.envs import VOCABULARY, detokenize, tokenize
from fastrl.reference import envs as reference
from solver_walks import assert_solves_as_brute_force, follow_the_solver

ALL_IDS = ["CodeLock-v0", "FrozenLakeText-v0", "Sokoban-v0"]


def twins(env, seed, num_resets=0):
    """The reference's environments, in the states that `env` is in after its reset."""
    if env._name == "CodeLock-v0":
        length = len(env.render_text([0])[0])
        reward = "matches" if "matches" in repr(env) else "graded"
        for g in range(env.num_envs):
            stream = reference.level_stream(seed, g, num_resets)
            yield reference.CodeLock.drawn(stream, length, env.num_actions, reward)
    elif env._name == "FrozenLakeText-v0":
        rate = 1.0 / 3.0 if "slippery=True" in repr(env) else None
        ends = "corners" if "ends=corners" in repr(env) else "random"
        size = env.render_text([0])[0].index("\n")
        frozen = float(repr(env).partition("frozen_probability=")[2].partition(",")[0])
        for g in range(env.num_envs):
            stream = reference.level_stream(seed, g, num_resets)
            steps = reference.step_stream(seed, g)
            yield reference.FrozenLakeText.drawn(stream, size, frozen, ends, steps, rate)
    else:
        reward = "sparse" if "sparse" in repr(env) else "gym"
        for text in env.render_text():
            yield reference.Sokoban(text, reward)


@pytest.mark.parametrize("observation", ["grid", "compact"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("CodeLock-v0", {"length": 12, "num_choices": 3}),
        ("CodeLock-v0", {"length": 3, "num_choices": 2, "reward": "matches"}),
        ("FrozenLakeText-v0", {"size": 4}),
        ("FrozenLakeText-v0", {"size": 11, "slippery": True, "ends": "corners"}),
        ("Sokoban-v0", {"num_boxes": 1}),
        ("Sokoban-v0", {"size": 8, "num_boxes": 3, "reward": "sparse"}),
        ("Sokoban-v0", {"height": 6, "width": 12, "num_boxes": 2}),
        ("Sokoban-v0", {"height": 5, "width": 36, "num_boxes": 1}),
    ],
)
def test_steps_match_the_reference(name, options, observation):
    env = fastrl.make_vec(
        name,
        32,
        observation=observation,
        autoreset_mode="disabled",
        max_episode_steps=60,
        **options,
    )
    observations, _ = env.reset(seed=5)
    expected = list(twins(env, seed=5))
    assert env.render_text() == [twin.grid() for twin in expected]
    random = np.random.default_rng(0)
    active = np.ones(32, bool)
    while active.any():
        actions = random.integers(-1, env.num_actions, 32)
        # Half of the time towards the goal, so that episodes also succeed.
        _, best = env.solve(env.snapshot())
        actions = np.where((random.random(32) < 0.5) & (best >= 0), best, actions)
        observations, rewards, terminated, truncated, infos = env.step(actions, active)
        for i, twin in enumerate(expected):
            wanted = twin.step(actions[i]) if active[i] else (0.0, False, False)
            assert (rewards[i], terminated[i], infos["success"][i]) == wanted
            text = detokenize(observations[i])
            first = env.elapsed_steps[i] == 0
            assert text == (twin.grid() if observation == "grid" or first else twin.compact())
            assert len(tokenize(text)) == env.observation_lengths[i]
            assert infos["action_valid"][i] == (active[i] and actions[i] >= 0)
        active &= ~(terminated | truncated)
    assert env.render_text() == [twin.grid() for twin in expected]


@pytest.mark.parametrize(
    ("name", "options", "count"),
    [
        ("CodeLock-v0", {"length": 4, "num_choices": 3}, 8),
        ("FrozenLakeText-v0", {"size": 5}, 32),
        ("Sokoban-v0", {"size": 6, "num_boxes": 1}, 16),
        ("Sokoban-v0", {"size": 6, "num_boxes": 2}, 2),
    ],
)
def test_solver_agrees_with_brute_force_in_every_state_of_random_walks(name, options, count):
    env = fastrl.make_vec(name, count, autoreset_mode="disabled", **options)
    env.reset(seed=11)
    assert_solves_as_brute_force(env, list(twins(env, seed=11)), num_steps=6, seed=1)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("FrozenLakeText-v0", {"size": 8, "frozen_probability": 0.5}),
        ("Sokoban-v0", {"size": 6, "num_boxes": 1}),
        ("Sokoban-v0", {"size": 6, "num_boxes": 3}),
        ("FrozenLakeText-v0", {"size": 11, "frozen_probability": 0.05, "ends": "corners"}),
        ("Sokoban-v0", {"size": 8, "num_boxes": 2, "min_solution_length": 10}),
        ("Sokoban-v0", {"preset": "lamer"}),
    ],
)
def test_every_level_can_be_solved_by_following_the_solver(name, options):
    env = fastrl.make_vec(name, 500, autoreset_mode="disabled", max_episode_steps=1000, **options)
    env.reset(seed=list(range(500)))
    distances, _ = env.solve(env.snapshot())
    assert distances.min() >= options.get("min_solution_length", 1)
    if options.get("preset") == "lamer":
        assert distances.min() >= 3
        assert distances.max() <= 21
    follow_the_solver(env)


def test_large_sokoban_levels_are_solvable_or_unknown_but_never_unsolvable():
    env = fastrl.make_vec("Sokoban-v0", 8, size=12, num_boxes=4)
    env.reset(seed=0)
    distances, _ = env.solve(env.snapshot())
    assert (distances != -1).all()
    assert (distances > 0).any()


@pytest.mark.parametrize("ends", ["corners", "random"])
def test_lakes_with_hardly_any_ice_are_carved_as_in_the_reference(ends):
    env = fastrl.make_vec("FrozenLakeText-v0", 3, size=6, frozen_probability=0.05, ends=ends)
    env.reset(seed=3)
    assert env.render_text() == [twin.grid() for twin in twins(env, seed=3)]
    assert (env.solve(env.snapshot())[0] > 0).all()


@pytest.mark.parametrize(
    "options",
    [
        {"size": 10, "num_boxes": 3, "min_solution_length": 30},
        {"size": 13, "num_boxes": 4, "min_solution_length": 40},
    ],
)
def test_min_solution_length_holds_in_rooms_that_are_not_searched_completely(options):
    env = fastrl.make_vec("Sokoban-v0", 24, **options)
    env.reset(seed=0)
    distances, _ = env.solve(env.snapshot())
    assert (distances >= options["min_solution_length"]).all()


def test_solver_says_unknown_when_there_are_too_many_positions():
    env = fastrl.make_vec("Sokoban-v0", 2, size=13, num_boxes=9, min_solution_length=8)
    env.reset(seed=2)
    distances, actions = env.solve(env.snapshot())
    assert (distances == -2).any()
    assert (actions[distances == -2] == -1).all()


def test_solver_sees_a_box_in_a_corner():
    env = fastrl.make_vec("Sokoban-v0", 64, size=5, num_boxes=1, max_episode_steps=1000)
    env.reset(seed=0)
    seen = set()
    random = np.random.default_rng(0)
    for _ in range(20):
        env.step(random.integers(0, 4, 64))
        for text, distance in zip(env.render_text(), env.solve(env.snapshot())[0], strict=True):
            seen.add(distance)
            corner = any(text.split("\n")[r][c] == "X" for r in (1, 3) for c in (1, 3))
            assert not corner or distance == -1
    assert {-1, 0, 1} <= seen


def test_groups_share_levels_and_not_randomness():
    env = fastrl.make_vec("FrozenLakeText-v0", 12, group_size=4, slippery=True, size=8)
    for _ in range(3):
        env.reset(seed=1)
        for _ in range(3):
            texts = np.array(env.render_text()).reshape(3, 4)
            assert (texts == texts[:, :1]).all()
            assert len(set(texts[:, 0])) == 3
            env.reset()
    for _ in range(12):
        env.step(np.full(12, 2))
    assert len(set(env.render_text()[:4])) > 1


@pytest.mark.parametrize("name", ALL_IDS)
def test_fixed_levels_depend_on_the_level_seed_alone(name):
    def levels(seed, level_seed, num_levels=3):
        env = fastrl.make_vec(name, 64, num_levels=num_levels, level_seed=level_seed)
        env.reset(seed=seed)
        snapshot = env.snapshot()
        texts = env.render_text()
        return set(texts) if name != "CodeLock-v0" else set(env.state_hash()), len(snapshot)

    assert levels(0, 0) == levels(1, 0)
    assert len(levels(0, 0)[0]) == 3
    assert levels(0, 0) != levels(0, 1)
    # More than are kept: made anew at each reset, and the same.
    assert levels(0, 0, 5000) == levels(0, 0, 5000)


def test_seeds_in_a_list_do_not_depend_on_the_place():
    env = fastrl.make_vec("Sokoban-v0", 4)
    env.reset(seed=[7, 8, 7, 9])
    first = env.render_text()
    assert first[0] == first[2]
    env.reset(seed=[9, 7, 8, 8])
    second = env.render_text()
    assert [second[1], second[2], second[0]] == [first[0], first[1], first[3]]
    env.reset(seed=[None, 7, None, None])
    assert env.render_text()[1] == first[0]
    assert env.render_text()[0] != second[0]


@pytest.mark.parametrize("name", ALL_IDS)
def test_each_action_is_one_token_of_its_name(name):
    env = fastrl.make_vec(name, 1)
    assert [VOCABULARY[token] for token in env.action_tokens] == env.action_names
    rows = env.action_tokens[:, None]
    lengths = np.ones(env.num_actions, np.int32)
    assert env.parse_action_tokens(rows, lengths).tolist() == list(range(env.num_actions))
    assert env.parse_action_tokens(rows, 0 * lengths).tolist() == [-1] * env.num_actions
    garbage = np.array([[-5], [9999], [0]], np.int32)
    assert env.parse_action_tokens(garbage, np.ones(3, np.int32)).tolist() == [-1] * 3


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("Sokoban", {}, "`id` must be one of 'Acrobot-v1', .* got 'Sokoban'"),
        (
            "Sokoban-v0",
            {"boxes": 2},
            "`options` must be among those of Sokoban-v0 \\('height', .* got 'boxes'; "
            "did you mean 'num_boxes'?",
        ),
        (
            "CodeLock-v0",
            {"number_of_choices": 5},
            "`options` must be among those of CodeLock-v0 \\('length', .* got 'number_of_choices'; "
            "did you mean 'num_choices'?",
        ),
        ("CodeLock-v0", {"zzz": 1}, "`options` must be among those of CodeLock-v0 .* got 'zzz'$"),
        ("Sokoban-v0", {"size": 14}, "`size` must be an integer from 5 to 13, got 14"),
        ("Sokoban-v0", {"size": 6.5}, "`size` must be an integer from 5 to 13, got 6.5"),
        (
            "Sokoban-v0",
            {"height": 20, "width": 20},
            "`height` must leave at most 128 cells inside the walls, got 20 × 20",
        ),
        ("Sokoban-v0", {"size": 4}, "`size` must be an integer from 5 to 13, got 4"),
        ("Sokoban-v0", {"size": 5, "num_boxes": 9}, "`size` must leave room .* got 5 × 5"),
        ("Sokoban-v0", {"height": 4, "width": 4}, "`height` must leave room .* got 4 × 4"),
        ("Sokoban-v0", {"width": 3, "num_boxes": 2}, "`width` must leave room .* got 6 × 3"),
        ("Sokoban-v0", {"width": 36}, "`width` must leave at most 128 cells .* got 6 × 36"),
        ("Sokoban-v0", {"max_solution_length": 2, "min_solution_length": 3}, "at least `min_sol"),
        ("Sokoban-v0", {"reward": "dense"}, "`reward` must be one of 'gym', 'sparse', got 'dense'"),
        ("Sokoban-v0", {"observation": "rgb"}, "`observation` must be one of 'grid', 'compact'"),
        ("CodeLock-v0", {"length": 65}, "`length` must be an integer from 1 to 64, got 65"),
        ("CodeLock-v0", {"num_choices": 1}, "`num_choices` must be an integer from 2 to 10, got 1"),
        ("CodeLock-v0", {"preset": "ragen"}, "`preset` must be None for CodeLock-v0, got 'ragen'"),
        ("FrozenLakeText-v0", {"slippery": 1}, "`slippery` must be True or False, got 1"),
        (
            "FrozenLakeText-v0",
            {"success_rate": 1.5},
            r"`success_rate` must be a number in \[0, 1\]",
        ),
        ("FrozenLakeText-v0", {"success_rate": float("nan")}, "`success_rate` must be a number"),
        ("FrozenLakeText-v0", {"preset": "x"}, "`preset` must be one of 'ragen', got 'x'"),
        ("CodeLock-v0", {"group_size": 3}, "`group_size` must divide `num_envs` = 4"),
        ("CodeLock-v0", {"num_levels": 0}, "`num_levels` must be from 1 to 4294967295, got 0"),
        ("CodeLock-v0", {"level_seed": -1}, "`level_seed` must be from 0 to"),
        ("CodeLock-v0", {"autoreset_mode": "now"}, "`autoreset_mode` must be one of 'next_step'"),
        ("CodeLock-v0", {"max_episode_steps": 0}, "`max_episode_steps` must be from 1 to"),
        ("CodeLock-v0", {"invalid_penalty": -1}, "`invalid_penalty` must be finite and at least 0"),
        ("CodeLock-v0", {"num_threads": 0}, "`num_threads` must be from 1 to 1024, got 0"),
        (
            "CodeLock-v0",
            {"precision": "fast"},
            "`precision` must be 'exact' for CodeLock-v0, which",
        ),
        ("CodeLock-v0", {"precision": "f64"}, "`precision` must be one of 'exact', 'fast', got"),
        ("CodeLock-v0", {"history": -1}, "`history` must be from 0 to 2147483647, got -1"),
        ("CodeLock-v0", {"output": "jax"}, "`output` must be one of 'numpy', 'torch', got 'jax'"),
        ("CodeLock-v0", {"render_mode": "human"}, "`render_mode` must be one of 'ansi'"),
        ("CartPole-v1", {"render_mode": "ansi"}, "`render_mode` must be None for CartPole-v1, got"),
    ],
)
def test_make_vec_errors(name, options, message):
    with pytest.raises(ValueError, match=f"make_vec: .*{message}"):
        fastrl.make_vec(name, 4, **options)


def test_misspelled_arguments_are_told():
    for name in inspect.signature(fastrl.make_vec).parameters.keys() - {"id", "options"}:
        for wrong in (f"{name}_", name[1:]):
            with pytest.raises(ValueError, match=f"got '{wrong}'; did you mean '{name}'"):
                fastrl.make_vec("CodeLock-v0", **{wrong: 1})


def test_make_vec_type_errors():
    with pytest.raises(TypeError, match=r"make_vec: `id` must be a string, or .*, got 3"):
        fastrl.make_vec(3)
    with pytest.raises(
        TypeError, match="make_vec: `length` must be a bool, a number, a string, or"
    ):
        fastrl.make_vec("CodeLock-v0", 1, length={})
    for penalty in ("", False):
        with pytest.raises(TypeError, match="make_vec: `invalid_penalty` must be a number, got"):
            fastrl.make_vec("CodeLock-v0", 1, invalid_penalty=penalty)


def test_presets_fill_in_what_is_not_given():
    env = fastrl.make_vec("Sokoban-v0", 1, preset="lamer", num_boxes=1)
    assert env.max_episode_steps == 30
    assert "num_boxes=1, min_solution_length=3, max_solution_length=21" in repr(env)
    env.reset(seed=0)
    assert env.step([-1])[1].item() == pytest.approx(-0.2)
    env = fastrl.make_vec("FrozenLakeText-v0", 1, preset="ragen", max_episode_steps=5)
    assert env.max_episode_steps == 5
    assert "frozen_probability=0.9, slippery=True, success_rate=0.8" in repr(env)
