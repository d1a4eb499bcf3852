"""Pictures and texts of grid worlds."""

import fastrl
import numpy as np
import pytest
from fastrl.envs import pictures
from fastrl.envs.pictures import cells_of, draw, text_of, theme_of


def test_texts_and_cells_are_each_other_s_way_back():
    texts = ["#.G\nA..", "...\n.*."]
    cells = cells_of(texts)
    assert cells.shape == (2, 2, 3)
    assert cells.dtype == np.uint8
    assert text_of(cells) == texts
    assert text_of(cells_of(["ab\nc"])) == ["ab\nc "]
    assert cells_of([]).shape == (0, 0, 0)


@pytest.mark.parametrize("tile", [4, 7, 16, 32])
def test_each_cell_gets_its_own_tile_in_place(tile):
    cells = cells_of(["#.\nGA", "A#\n.."])
    pixels = draw(cells, tile=tile)
    assert pixels.shape == (2, 2 * tile, 2 * tile, 3)
    assert pixels.dtype == np.uint8
    for n in range(2):
        for r in range(2):
            for c in range(2):
                alone = draw(cells[n : n + 1, r : r + 1, c : c + 1], tile=tile)[0]
                part = pixels[n, r * tile : (r + 1) * tile, c * tile : (c + 1) * tile]
                np.testing.assert_array_equal(part, alone)


@pytest.mark.parametrize(
    ("theme", "characters"),
    [
        ("grid", ".#GA*>v<^KDC"),
        ("lake", "_OGPX*S"),
        ("sokoban", "_#OX*PS"),
        ("taxi", " #RGYBAFpd"),
        ("tic_tac_toe", ".XO"),
        ("minesweeper", "?.F*12345678"),
        ("grid", "0123456789BEFHIJLMNPQRSTUVWYZ"),  # letters, where the theme knows nothing else
    ],
)
@pytest.mark.parametrize("tile", [8, 16])
def test_characters_look_different(theme, characters, tile):
    tiles = draw(cells_of([characters]), tile=tile, theme=theme)[0]
    tiles = tiles.reshape(tile, len(characters), tile, 3).transpose(1, 0, 2, 3).astype(int)
    for i in range(len(characters)):
        for j in range(i):
            # At least one pixel differs plainly.
            assert abs(tiles[i] - tiles[j]).max() > 40, characters[i] + characters[j]


def test_arrows_are_quarter_turns_of_one_another():
    right, down, left, up = (draw(cells_of([c]), tile=20)[0] for c in ">v<^")
    inner = slice(2, 18)
    for turned, wanted in ((right, down), (down, left), (left, up)):
        square = np.rot90(turned, -1).astype(int)  # but for the lines around cells
        assert abs(square - wanted)[inner, inner].mean() < 1


def test_unknown_characters_and_empty_batches_are_drawn():
    assert draw(np.arange(256, dtype=np.uint8).reshape(1, 16, 16), tile=4).shape == (1, 64, 64, 3)
    assert draw(np.empty((0, 3, 4), np.uint8), tile=8).shape == (0, 24, 32, 3)


GRID_WORLDS = [
    name
    for name in fastrl.envs.environment_ids()
    if "rgb_array" in fastrl.make_vec(name, 1).metadata["render_modes"]
]


@pytest.mark.parametrize("name", GRID_WORLDS)
def test_environments_are_drawn_in_their_themes(name):
    env = fastrl.make_vec(name, 16, render_mode="rgb_array", max_episode_steps=40)
    env.reset(seed=0)
    env.action_space.seed(0)
    for _ in range(60):
        cells = env._cells(None)
        # Nothing is drawn as a letter for want of a tile.
        assert set(np.unique(cells)) <= {ord(c) for c in pictures._THEMES[theme_of(name)]}
        env.step(env.action_space.sample())
    rendered = env.render()
    assert len(rendered) == 16
    np.testing.assert_array_equal(rendered, draw(env._cells(None), theme=theme_of(name)))


@pytest.mark.parametrize("name", ["Maze-v0", "DarkRoom-v0", "FrozenLake-v1", "Taxi-v3"])
def test_texts_and_pictures_show_the_same_cells(name):
    env = fastrl.make_vec(name, 3, render_mode="ansi")
    env.reset(seed=0)
    texts = env.render()
    np.testing.assert_array_equal(cells_of(texts), env._cells(None))
    assert text_of(cells_of(texts)) == list(texts)


@pytest.mark.parametrize(
    ("act", "kind", "message"),
    [
        (
            lambda: draw(np.zeros((2, 2), np.uint8)),
            ValueError,
            r"draw: `cells` must have shape \[N, H, W\], got \[2, 2\]",
        ),
        (
            lambda: draw(np.zeros((1, 2, 2), np.int64)),
            TypeError,
            "draw: `cells` must have dtype uint8, got int64",
        ),
        (
            lambda: draw(np.zeros((1, 2, 2), np.uint8), tile=3),
            ValueError,
            "draw: `tile` must be from 4 to 256, got 3",
        ),
        (
            lambda: draw(np.zeros((1, 2, 2), np.uint8), theme="sea"),
            ValueError,
            "draw: `theme` must be one of 'grid', 'lake', 'sokoban', .*, got 'sea'",
        ),
        (
            lambda: cells_of("AG"),
            TypeError,
            "cells_of: `texts` must be a sequence of strings, got str",
        ),
        (
            lambda: cells_of(["√"]),
            ValueError,
            "cells_of: `texts` must hold ASCII characters only, got '√'",
        ),
        (
            lambda: text_of(np.zeros((2, 2), np.uint8)),
            ValueError,
            r"text_of: `cells` must have shape \[N, H, W\]",
        ),
    ],
)
def test_arguments_are_checked(act, kind, message):
    with pytest.raises(kind, match=message):
        act()
