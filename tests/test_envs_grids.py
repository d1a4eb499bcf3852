"""Maze, DarkRoom and DarkKeyToDoor against plain Python."""

import fastrl
import numpy as np
import pytest
from fastrl.envs.maze import MazeLevels
from fastrl.reference import grids as reference
from fastrl.reference.envs import level_stream
from solver_walks import assert_solves_as_brute_force

MAZES = [
    {},
    {"actions": "turns"},
    {"actions": "turns", "observation": "full", "size": 6, "reward": "minigrid"},
    {"size": 32, "observation": "full", "num_walls": 300},
    {"height": 3, "width": 32, "view_size": 15, "random_num_walls": False},
    {"height": 1, "width": 2, "view_size": 3, "actions": "turns"},
    {"layout": "labyrinth", "actions": "turns", "view_size": 7},
    {"layout": "labyrinth", "size": 31, "reward": "minigrid", "reward_steps": 40},
    {"size": 5, "num_walls": 23, "random_num_walls": False},
    {"size": 7, "num_walls": 30, "solvable": False},
]


def maze_level(level, options):
    """The drawing of a level."""
    height = options.get("height", options.get("size", 13))
    width = options.get("width", options.get("size", 13))
    actions = options.get("actions", "moves")
    if options.get("layout") == "labyrinth":
        return reference.Maze.labyrinth(level, height, width, actions=actions)
    return reference.Maze.scattered(
        level,
        height,
        width,
        options.get("num_walls", height * width * 25 // 169),
        random_num_walls=options.get("random_num_walls", True),
        solvable=options.get("solvable", True),
        actions=actions,
    )


def maze_twin(text, options):
    """The reference's environment."""
    size = options.get("height", options.get("size", 13)) * options.get(
        "width", options.get("size", 13)
    )
    timed = options.get("reward") == "minigrid"
    return reference.Maze(
        text,
        actions=options.get("actions", "moves"),
        view_size=None if options.get("observation") == "full" else options.get("view_size", 5),
        reward_steps=options.get("reward_steps", max(250, size * 3 // 2)) if timed else None,
    )


def check_steps(env, twins, seed, observe, num_steps, help_probability):
    """Steps side by side, part of the time towards the goal; returns where that was reached."""
    observations, _ = env.reset(seed=seed)
    random = np.random.default_rng(seed)
    active = np.ones(env.num_envs, bool)
    reached = np.zeros(env.num_envs, bool)

    def check_observations():
        assert list(env.render()) == [twin.drawing() for twin in twins]
        bits = np.empty(env.num_envs, np.uint64)
        ids = np.arange(env.num_envs)
        env._native.labels(ids.ctypes.data, ids.size, bits.ctypes.data)
        for one, twin in zip(bits.tolist(), twins, strict=True):
            assert {name for i, name in enumerate(env.labels) if one >> i & 1} == twin.labels()
        for i, twin in enumerate(twins):
            observe(observations, i, twin)

    check_observations()
    for _ in range(num_steps):
        actions = random.integers(0, env.single_action_space.n, env.num_envs)
        _, best = env.solve(env.snapshot())
        helped = (random.random(env.num_envs) < help_probability) & (best >= 0)
        actions = np.where(helped, best, actions)
        observations, rewards, terminated, truncated, infos = env.step(actions, active)
        for i in np.flatnonzero(active):
            wanted = twins[i].step(actions[i])
            assert (rewards[i], terminated[i], infos["success"][i]) == wanted
            reached[i] |= wanted[2]
        check_observations()
        active &= ~(terminated | truncated)
        if not active.any():
            break
    return reached


@pytest.mark.parametrize("options", MAZES, ids=str)
def test_mazes_match_the_reference(options):
    env = fastrl.make_vec("Maze-v0", 6, autoreset_mode="disabled", render_mode="ansi", **options)
    twins = [maze_twin(maze_level(level_stream(2, i, 0), options), options) for i in range(6)]

    def observe(observations, i, twin):
        if options.get("actions") != "turns":
            np.testing.assert_array_equal(observations[i], twin.image())
            return
        np.testing.assert_array_equal(observations["image"][i], twin.image())
        assert observations["direction"][i] == twin.direction

    reached = check_steps(env, twins, 2, observe, num_steps=60, help_probability=0.8)
    assert reached.any()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("DarkRoom-v0", {}),
        ("DarkRoom-v0", {"reward": "sparse"}),
        ("DarkRoom-v0", {"terminate_at_goal": True}),
        ("DarkKeyToDoor-v0", {}),
    ],
)
@pytest.mark.parametrize("start", ["center", "corner", "random"])
@pytest.mark.parametrize("size", [2, 5, 9])
def test_dark_rooms_match_the_reference(name, options, start, size):
    env = fastrl.make_vec(
        name,
        8,
        size=size,
        start=start,
        autoreset_mode="disabled",
        render_mode="ansi",
        max_episode_steps=80,
        **options,
    )
    world = getattr(reference, name.removesuffix("-v0"))
    texts = [world.drawn(level_stream(6, i, 0), size, start) for i in range(8)]
    twins = [world(text, **options) for text in texts]

    def observe(observations, i, twin):
        np.testing.assert_array_equal(observations[i], twin.observation())

    assert check_steps(env, twins, 6, observe, num_steps=60, help_probability=0.5).any()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("Maze-v0", {"size": 7}),
        ("Maze-v0", {"size": 6, "actions": "turns"}),
        ("Maze-v0", {"size": 6, "num_walls": 20, "solvable": False, "actions": "turns"}),
        ("Maze-v0", {"size": 9, "layout": "labyrinth"}),
        ("DarkRoom-v0", {"size": 4, "start": "random"}),
        ("DarkKeyToDoor-v0", {"size": 4}),
    ],
)
def test_solver_agrees_with_brute_force(name, options):
    env = fastrl.make_vec(name, 12, autoreset_mode="disabled", render_mode="ansi", **options)
    env.reset(seed=11)
    world = getattr(reference, name.removesuffix("-v0"))
    own = {"actions": options["actions"]} if "actions" in options else {}
    states = [world(text, **own) for text in env.render()]
    assert_solves_as_brute_force(env, states, num_steps=8, seed=1)


def test_scattered_levels_have_the_walls_that_were_asked_for_and_a_way():
    env = fastrl.make_vec("Maze-v0", 500, num_walls=40, random_num_walls=False, render_mode="ansi")
    env.reset(seed=0)
    levels = MazeLevels.from_texts(env.render())
    assert (levels.walls.sum((1, 2)) == 40).all()
    assert (levels.distances() > 0).all()


def test_random_numbers_of_walls_are_spread_evenly():
    env = fastrl.make_vec("Maze-v0", 6600, num_walls=10, solvable=False, render_mode="ansi")
    env.reset(seed=0)
    walls = MazeLevels.from_texts(env.render()).walls
    counts = np.bincount(walls.sum((1, 2)), minlength=11)
    assert counts.shape == (11,)
    assert abs(counts - 600).max() < 5 * np.sqrt(600)


def test_labyrinths_have_exactly_one_way_between_any_two_cells():
    env = fastrl.make_vec("Maze-v0", 50, size=13, layout="labyrinth", render_mode="ansi")
    env.reset(seed=0)
    for walls in MazeLevels.from_texts(env.render()).walls:
        open_cells = ~walls
        ways = (open_cells[1:] & open_cells[:-1]).sum() + (
            open_cells[:, 1:] & open_cells[:, :-1]
        ).sum()
        assert ways == open_cells.sum() - 1  # a tree, as all cells are reached:
        row, column = np.argwhere(open_cells)[0]
        seen, stack = {(row, column)}, [(row, column)]
        while stack:
            r, c = stack.pop()
            for cell in ((r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)):
                inside = 0 <= cell[0] < 13 and 0 <= cell[1] < 13
                if inside and open_cells[cell] and cell not in seen:
                    seen.add(cell)
                    stack.append(cell)
        assert len(seen) == open_cells.sum()


def test_a_way_is_carved_where_walls_leave_none():
    env = fastrl.make_vec(
        "Maze-v0", 20, size=16, num_walls=254, random_num_walls=False, render_mode="ansi"
    )
    env.reset(seed=0)
    texts = list(env.render())
    levels = MazeLevels.from_texts(texts)
    assert (levels.distances() > 0).all()
    carved = np.flatnonzero(levels.walls.sum((1, 2)) < 254)
    assert carved.size
    stream = level_stream(0, int(carved[0]), 0)
    drawn = reference.Maze.scattered(stream, 16, 16, 254, random_num_walls=False)
    assert drawn == texts[carved[0]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 33}, "`size` must be an integer from 2 to 32, got 33"),
        ({"height": 1, "width": 1}, "`height` must leave room for agent and goal, got 1 × 1"),
        ({"size": 3, "num_walls": 8}, "`num_walls` must be an integer from 0 to 7, got 8"),
        ({"view_size": 4}, "`view_size` must be odd, got 4"),
        (
            {"size": 6, "layout": "labyrinth"},
            "`layout` must be 'scattered' unless height and width are odd, got "
            "'labyrinth' of 6 × 6",
        ),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(ValueError, match="make_vec: " + message):
        fastrl.make_vec("Maze-v0", 1, **options)
