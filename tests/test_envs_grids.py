"""Maze, DarkRoom and DarkKeyToDoor against plain Python; mazes as arrays."""

import copy

import fastrl
import numpy as np
import pytest
from fastrl.envs.maze import MazeEditor, MazeLevels
from fastrl.reference import grids as reference
from fastrl.reference.envs import level_stream, solve

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
    random = np.random.default_rng(1)
    active = np.ones(12, bool)
    num_actions = env.single_action_space.n
    for _ in range(8):
        distances, firsts = env.solve(env.snapshot())
        for i in np.flatnonzero(active):
            distance, best = solve(states[i], num_actions)
            assert distances[i] == distance
            assert firsts[i] in (best or [-1])
        actions = random.integers(0, num_actions, 12)
        for i in np.flatnonzero(active):
            states[i] = copy.copy(states[i])
            states[i].step(actions[i])
        _, _, terminated, _, _ = env.step(actions, active)
        active &= ~terminated


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


def random_levels(num, height=5, width=6, density=0.3, seed=0):
    random = np.random.default_rng(seed)
    walls = random.random((num, height * width)) < density
    ends = np.array([random.choice(height * width, 2, replace=False) for _ in range(num)])
    walls[np.arange(num)[:, None], ends] = False
    directions = random.integers(-1, 4, num)
    return MazeLevels(walls.reshape(num, height, width), ends[:, 0], ends[:, 1], directions)


def test_levels_survive_as_texts_and_measure_as_the_reference_does():
    levels = random_levels(40)
    texts = levels.texts()
    again = MazeLevels.from_texts(texts)
    for name in ("walls", "agents", "goals", "directions"):
        np.testing.assert_array_equal(getattr(again, name), getattr(levels, name))
    wanted = [solve(reference.Maze(text), 4)[0] for text in texts]
    np.testing.assert_array_equal(levels.distances(), wanted)
    assert -1 in wanted
    assert levels[[3, 1]].texts() == [texts[3], texts[1]]
    assert MazeLevels.concatenate([levels[:2], levels[5:6]]).texts() == [*texts[:2], texts[5]]
    assert len(levels[:0]) == 0
    assert levels[:0].texts() == []


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("Maze-v0", "A.\n..", r"have 1 goal \(G\), got 0"),
        ("Maze-v0", "AG\n.?", r"be drawn with the characters #\.GA>v<\^, got '\?' in row 1"),
        ("DarkRoom-v0", "AG", "have 2 rows, got 1"),
        ("DarkKeyToDoor-v0", "AK\n..", r"have 1 door \(D\), got 0"),
    ],
)
def test_drawn_levels_are_checked(name, text, message):
    env = fastrl.make_vec(name, 1, size=2)
    with pytest.raises(ValueError, match="must " + message):
        env.set_levels([text])


def test_levels_reach_the_engine_as_they_are():
    levels = random_levels(16)
    env = fastrl.make_vec("Maze-v0", 64, height=5, width=6, actions="turns", render_mode="ansi")
    env.set_levels(levels.texts())
    _, infos = env.reset(seed=0)
    texts = [text.replace("A", ">") for text in levels.texts()]
    assert list(env.render()) == [texts[i] for i in infos["level"]]
    assert len(set(env.render())) > 8
    distances, _ = env.solve(env.snapshot())
    # A turn costs an action, too; where there is no way, there is none.
    np.testing.assert_array_equal(distances < 0, levels.distances()[infos["level"]] < 0)


def test_an_adversary_s_levels_can_be_played():
    editor = MazeEditor(4, height=3, width=3, num_walls=3)
    random = np.random.default_rng(0)
    while not editor.finished:
        editor.step(random.integers(0, editor.num_actions, 4))
    env = fastrl.make_vec("Maze-v0", 32, size=3, render_mode="ansi")
    env.set_levels(editor.levels.texts())
    env.reset(seed=0)
    assert set(env.render()) <= set(editor.levels.texts())


def test_mutations_flip_as_many_cells_as_they_say():
    levels = random_levels(200, density=0.4)
    generator = np.random.default_rng(0)
    np.testing.assert_array_equal(levels.mutated(generator, num_edits=0).walls, levels.walls)
    once = levels.mutated(generator, num_edits=1)
    changed = (once.walls != levels.walls).sum((1, 2))
    assert changed.max() == 1
    assert changed.mean() > 0.8  # all but those at agent and goal
    moved = levels.mutated(generator, num_edits=1, goal_probability=1.0)
    np.testing.assert_array_equal(moved.walls, levels.walls)
    assert 0.3 < (moved.goals != levels.goals).mean() < 0.9
    twenty = levels.mutated(np.random.default_rng(1), goal_probability=0.1)  # checked as made
    again = levels.mutated(np.random.default_rng(1), goal_probability=0.1)
    np.testing.assert_array_equal(twenty.walls, again.walls)
    assert (levels.walls == random_levels(200, density=0.4).walls).all()


def test_editor_builds_what_the_adversary_says():
    editor = MazeEditor(2, height=2, width=3, num_walls=2)
    assert not editor.reset().any()
    editor.step(np.array([0, 5]))  # goals
    np.testing.assert_array_equal(editor.action_mask()[0], [0, 1, 1, 1, 1, 1])
    editor.step(np.array([1, 5]))  # agents; the second one goes on to cell 0
    editor.step(np.array([4, 4]))
    with pytest.raises(RuntimeError, match="levels: 1 steps are still to come"):
        _ = editor.levels
    observation = editor.step(np.array([1, 4]))  # no wall on the agent, none on a wall
    assert editor.finished
    assert editor.levels.texts() == ["GA.\n.#.", "A..\n.#G"]
    np.testing.assert_array_equal(observation[1, :, :, 0], [[0, 0, 0], [0, 1, 0]])
    np.testing.assert_array_equal(observation[1, :, :, 1], [[0, 0, 0], [0, 0, 1]])
    np.testing.assert_array_equal(observation[1, :, :, 2], [[1, 0, 0], [0, 0, 0]])
    with pytest.raises(RuntimeError, match="all steps were made; call reset"):
        editor.step(np.array([1, 4]))


def test_editor_can_place_the_ends_last():
    editor = MazeEditor(1, height=2, width=2, num_walls=2, walls_first=True)
    for cell in (0, 3, 3, 3):
        editor.step(np.array([cell]))
    assert editor.levels.texts() == ["A.\n.G"]


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: MazeEditor(0), "MazeEditor: `num_levels` must be at least 1, got 0"),
        (lambda: MazeEditor(1, height=33), "MazeEditor: `height` must be from 1 to 32, got 33"),
        (
            lambda: MazeEditor(1, height=1, width=1),
            "MazeEditor: `height` must leave room for agent and goal, got 1 × 1",
        ),
        (
            lambda: MazeEditor(1).step(np.array([169])),
            "MazeEditor.step: `actions` must be from 0 to 168, got 169",
        ),
        (
            lambda: MazeEditor(1).step(np.array([1, 2])),
            r"MazeEditor.step: `actions` must have shape \[1\], got \[2\]",
        ),
        (
            lambda: MazeLevels.from_texts([]),
            r"from_cells: `cells` must hold at least one cell, got \[0, 0, 0\]",
        ),
        (
            lambda: MazeLevels.from_texts(["A.\n.."]),
            "from_cells: `cells` must draw one goal a level, got 0 in level 0",
        ),
        (
            lambda: MazeLevels.from_texts(["AG", "AA"]),
            "from_cells: `cells` must draw one agent a level, got 2 in level 1",
        ),
        (
            lambda: MazeLevels.from_texts(["AX"]),
            "from_cells: `cells` must hold # . G A > v < \\^, got 'X'",
        ),
        (
            lambda: MazeLevels.concatenate([random_levels(1), random_levels(1, height=4)]),
            "concatenate: `parts` must hold levels of one size, got",
        ),
        (
            lambda: random_levels(2).mutated(np.random.default_rng(0), num_edits=-1),
            "mutated: `num_edits` must be at least 0, got -1",
        ),
        (
            lambda: MazeLevels(*(np.zeros((1, 2, 2), bool), *[np.zeros(1, np.int64)] * 3)),
            "MazeLevels: `goals` must differ from `agents`, got one cell in level 0",
        ),
        (
            lambda: MazeLevels(np.ones((1, 2, 2), bool), *np.arange(3)[:, None]),
            "MazeLevels: `agents` must lie on no wall, got one in level 0",
        ),
        (
            lambda: MazeLevels(np.zeros((1, 2, 2), bool), *np.arange(3, 6)[:, None]),
            "MazeLevels: `goals` must be from 0 to 3, got 4",
        ),
    ],
)
def test_mazes_as_arrays_are_checked(act, message):
    with pytest.raises(ValueError, match=message):
        act()


def test_editor_takes_integers_only():
    with pytest.raises(TypeError, match="`actions` must be a NumPy array of integers, got list"):
        MazeEditor(1).step([1])
