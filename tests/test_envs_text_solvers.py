"""Solvers of the text games against brute force."""

import re

import fastrl
import numpy as np
import pytest
from fastrl.reference import countdown, tic_tac_toe
from solver_walks import assert_solves_as_brute_force, follow_the_solver
from text_twins import twin


def test_countdown_levels_are_solvable_exactly_where_brute_force_finds_a_way():
    for use_all in (True, False):
        env = fastrl.make_vec("Countdown-v0", 200, levels="any", num_numbers=3, use_all=use_all)
        env.reset(seed=0)
        distances, firsts = env.solve(env.snapshot())
        assert (firsts == -1).all()
        assert {1, -1} == set(distances)
        for text, distance in zip(env.render_text(), distances, strict=True):
            target, *numbers = map(int, re.findall(r"\d+", text))
            reachable = countdown.reachable(tuple(numbers), use_all)
            assert (target in reachable) == (distance == 1)


@pytest.mark.parametrize("num_numbers", [4, 5])
def test_countdown_solver_agrees_with_brute_force_on_more_numbers(num_numbers):
    options = {"levels": "any", "num_numbers": num_numbers, "max_number": 12, "max_target": 1000}
    env = fastrl.make_vec("Countdown-v0", 9 - num_numbers, **options)
    env.reset(seed=4)
    for text, distance in zip(env.render_text(), env.solve(env.snapshot())[0], strict=True):
        target, *numbers = map(int, re.findall(r"\d+", text))
        reachable = countdown.reachable(tuple(numbers), True)
        assert (target in reachable) == (distance == 1)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("Minesweeper-v0", {"height": 2, "width": 4, "num_mines": 2}),
        ("Minesweeper-v0", {"size": 3, "num_mines": 1, "opening": False}),
        ("Minesweeper-v0", {"height": 2, "width": 4, "num_mines": 2, "cascade": False}),
    ],
)
def test_minesweeper_solver_agrees_with_brute_force(name, options):
    env = fastrl.make_vec(name, 12, autoreset_mode="disabled", **options)
    env.reset(seed=2)
    games = [twin(name, options, 2, g) for g in range(12)]
    assert_solves_as_brute_force(env, games, num_steps=4, seed=0)


@pytest.mark.parametrize("opponent", ["random", "optimal"])
def test_tic_tac_toe_solver_agrees_with_brute_force(opponent):
    env = fastrl.make_vec(
        "TicTacToe-v0", 32, opponent=opponent, first="random", autoreset_mode="disabled"
    )
    env.reset(seed=1)
    games = [
        twin("TicTacToe-v0", {"opponent": opponent, "first": "random"}, 1, g) for g in range(32)
    ]
    random = np.random.default_rng(0)
    active = np.ones(32, bool)
    for _ in range(9):
        distances, firsts = env.solve(env.snapshot())
        for i in np.flatnonzero(active):
            assert (distances[i], firsts[i]) == tic_tac_toe.solve(
                games[i].board, opponent == "optimal"
            )
        actions = random.integers(0, 9, 32)
        for i in np.flatnonzero(active):
            games[i].step(actions[i])
        _, _, terminated, _, _ = env.step(actions, active)
        active &= ~terminated


def test_an_optimal_opponent_never_loses():
    env = fastrl.make_vec("TicTacToe-v0", 500, opponent="optimal", first="random")
    env.reset(seed=0)
    random = np.random.default_rng(0)
    for _ in range(30):
        _, rewards, _, _, infos = env.step(random.integers(0, 9, 500))
        assert not infos["success"].any()
        assert set(rewards) <= {0.0, 0.5}


def test_first_cell_is_safe_and_never_wins():
    env = fastrl.make_vec("Minesweeper-v0", 300, size=4, num_mines=1)
    env.reset(seed=0)
    for text in env.render_text():
        assert "*" not in text
        assert text.count("?") > 1
        assert text.count("?") < 16


@pytest.mark.parametrize("name", ["Wordle-v0", "FormFill-v0", "Minesweeper-v0"])
def test_following_the_solver_succeeds(name):
    env = fastrl.make_vec(name, 100, autoreset_mode="disabled", max_episode_steps=100)
    env.reset(seed=5)
    follow_the_solver(env)
