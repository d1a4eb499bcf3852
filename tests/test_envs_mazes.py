"""Mazes as arrays: made, measured, changed, drawn, and built by an adversary."""

import fastrl
import numpy as np
import pytest
from fastrl.envs.maze import MazeEditor, MazeLevels
from fastrl.reference import grids as reference
from fastrl.reference.envs import solve


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
