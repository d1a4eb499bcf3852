"""Pictures of grid worlds: characters in, pixels out.

A theme says what a character stands for; what it leaves out is drawn as a letter. Tiles are drawn
once for each theme and size, four times as large, and then made smaller, which smooths edges.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from fastrl._dispatch import Arguments

Cells = npt.NDArray[np.uint8]
"""[N, H, W], one ASCII character a cell."""
Pixels = npt.NDArray[np.uint8]
_Color = tuple[int, int, int]
_Point = tuple[float, float]
_SMOOTHING = 4
_MAX_TILE = 256


class _Tile:
    """One tile in the making; coordinates run from 0 to 1, right and down."""

    def __init__(self, size: int) -> None:
        places = (np.arange(size) + 0.5) / size
        self.x, self.y = np.meshgrid(places, places)
        self.pixels = np.zeros((size, size, 3))

    def paint(self, where: npt.NDArray[np.bool_], color: _Color) -> None:
        self.pixels[where] = color

    def box(self, left: float, top: float, right: float, bottom: float, color: _Color) -> None:
        inside_x = (self.x >= left) & (self.x < right)
        self.paint(inside_x & (self.y >= top) & (self.y < bottom), color)

    def disc(self, x: float, y: float, radius: float, color: _Color, hole: float = 0.0) -> None:
        distance = np.hypot(self.x - x, self.y - y)
        self.paint((distance < radius) & (distance >= hole), color)

    def line(self, start: _Point, end: _Point, width: float, color: _Color) -> None:
        along = np.subtract(end, start)
        to_x, to_y = self.x - start[0], self.y - start[1]
        t = np.clip((to_x * along[0] + to_y * along[1]) / (along @ along), 0.0, 1.0)
        distance = np.hypot(to_x - t * along[0], to_y - t * along[1])
        self.paint(distance < width / 2, color)

    def polygon(self, corners: Sequence[_Point], color: _Color) -> None:
        """A convex one, its corners clockwise."""
        inside = np.ones(self.x.shape, bool)
        for (x0, y0), (x1, y1) in zip(corners, [*corners[1:], corners[0]], strict=True):
            inside &= (x1 - x0) * (self.y - y0) >= (y1 - y0) * (self.x - x0)
        self.paint(inside, color)

    def letter(self, letter: str, color: _Color) -> None:
        """Three by five blocks."""
        bits = _LETTERS.get(letter.upper(), _LETTERS[" "])
        for i in range(15):
            if bits >> (14 - i) & 1:
                left, top = 0.26 + 0.16 * (i % 3), 0.1 + 0.16 * (i // 3)
                self.box(left, top, left + 0.16, top + 0.16, color)


_Painter = Callable[[_Tile], None]

# Three blocks a row, from the top; the highest bit is the upper left one.
_LETTERS = dict(
    zip(
        " 0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        (
            0b000_000_010_000_000, 0b111_101_101_101_111, 0b010_110_010_010_111,
            0b111_001_111_100_111, 0b111_001_011_001_111, 0b101_101_111_001_001,
            0b111_100_111_001_111, 0b111_100_111_101_111, 0b111_001_010_010_010,
            0b111_101_111_101_111, 0b111_101_111_001_111, 0b010_101_111_101_101,
            0b110_101_110_101_110, 0b011_100_100_100_011, 0b110_101_101_101_110,
            0b111_100_110_100_111, 0b111_100_110_100_100, 0b011_100_101_101_011,
            0b101_101_111_101_101, 0b111_010_010_010_111, 0b001_001_001_101_010,
            0b101_101_110_101_101, 0b100_100_100_100_111, 0b101_111_111_101_101,
            0b110_101_101_101_101, 0b010_101_101_101_010, 0b110_101_110_100_100,
            0b010_101_101_111_011, 0b110_101_110_101_101, 0b011_100_010_001_110,
            0b111_010_010_010_010, 0b101_101_101_101_111, 0b101_101_101_101_010,
            0b101_101_111_111_101, 0b101_101_010_101_101, 0b101_101_010_010_010,
            0b111_001_010_100_111,
        ),
        strict=True,
    )
)  # fmt: skip

_INK = (38, 42, 51)
_BLUE, _DARK_BLUE, _WHITE = (52, 109, 219), (33, 72, 158), (255, 255, 255)
_GOLD, _DARK_GOLD = (238, 182, 40), (176, 124, 18)
_WOOD, _DARK_WOOD = (196, 140, 82), (126, 82, 42)
_GREEN, _DARK_GREEN, _RED = (64, 176, 96), (32, 112, 58), (214, 66, 62)
_FLOOR, _EDGE = (236, 238, 241), (214, 217, 222)
_SIDES = 0.03  # the line around a cell of the floor


def _floor(tile: _Tile) -> None:
    tile.box(0, 0, 1, 1, _EDGE)
    tile.box(0, 0, 1 - _SIDES, 1 - _SIDES, _FLOOR)


def _wall(tile: _Tile) -> None:
    tile.box(0, 0, 1, 1, (58, 63, 75))
    for row in range(4):
        shift = 0.0 if row % 2 == 0 else -0.25
        for left in (shift, shift + 0.5, shift + 1.0):
            tile.box(left + 0.02, row / 4 + 0.02, left + 0.48, row / 4 + 0.23, (92, 99, 115))


def _ice(tile: _Tile) -> None:
    tile.box(0, 0, 1, 1, (190, 219, 238))
    tile.box(0, 0, 1 - _SIDES, 1 - _SIDES, (217, 237, 249))
    tile.line((0.12, 0.4), (0.4, 0.12), 0.05, _WHITE)
    tile.line((0.6, 0.88), (0.88, 0.6), 0.05, _WHITE)


def _hole(tile: _Tile) -> None:
    tile.disc(0.5, 0.5, 0.4, (108, 160, 196))
    tile.disc(0.5, 0.53, 0.36, (24, 52, 84))


def _goal(tile: _Tile) -> None:
    tile.box(0, 0, 1 - _SIDES, 1 - _SIDES, (196, 234, 205))
    tile.line((0.34, 0.16), (0.34, 0.86), 0.08, _INK)
    tile.polygon([(0.38, 0.16), (0.82, 0.34), (0.38, 0.52)], _GREEN)


def _target(tile: _Tile) -> None:
    tile.disc(0.5, 0.5, 0.26, _RED, hole=0.15)
    tile.disc(0.5, 0.5, 0.07, _RED)


def _around(tile: _Tile) -> None:
    tile.disc(0.5, 0.5, 0.46, _RED, hole=0.4)


def _agent(tile: _Tile) -> None:
    tile.disc(0.5, 0.5, 0.36, _DARK_BLUE)
    tile.disc(0.5, 0.5, 0.31, _BLUE)
    for x in (0.39, 0.61):
        tile.disc(x, 0.42, 0.09, _WHITE)
        tile.disc(x, 0.43, 0.045, _INK)


def _arrow(quarter_turns: int) -> _Painter:
    """The agent looking right, turned clockwise."""

    def paint(tile: _Tile) -> None:
        for size, color in ((1.0, _DARK_BLUE), (0.76, _BLUE)):
            corners = [(-0.3 * size, -0.34 * size), (0.4 * size, 0.0), (-0.3 * size, 0.34 * size)]
            for _ in range(quarter_turns):
                corners = [(-y, x) for x, y in corners]
            tile.polygon([(0.5 + x, 0.5 + y) for x, y in corners], color)

    return paint


def _box(wood: _Color, dark: _Color) -> _Painter:
    def paint(tile: _Tile) -> None:
        tile.box(0.1, 0.1, 0.9, 0.9, dark)
        tile.box(0.16, 0.16, 0.84, 0.84, wood)
        for start, end in (((0.2, 0.2), (0.8, 0.8)), ((0.2, 0.8), (0.8, 0.2))):
            tile.line(start, end, 0.09, dark)

    return paint


def _key(tile: _Tile) -> None:
    tile.disc(0.3, 0.5, 0.19, _DARK_GOLD, hole=0.06)
    tile.disc(0.3, 0.5, 0.16, _GOLD, hole=0.08)
    tile.line((0.48, 0.5), (0.86, 0.5), 0.1, _GOLD)
    for x in (0.68, 0.82):
        tile.line((x, 0.5), (x, 0.66), 0.09, _GOLD)


def _door(tile: _Tile) -> None:
    tile.box(0.18, 0.06, 0.82, 0.96, _DARK_WOOD)
    for top in (0.14, 0.55):
        tile.box(0.27, top, 0.73, top + 0.33, _WOOD)
    tile.disc(0.68, 0.52, 0.05, _GOLD)


def _cliff(tile: _Tile) -> None:
    tile.box(0, 0, 1, 1, (74, 54, 46))
    for x in (0.1, 0.4, 0.7):
        tile.polygon([(x, 0.9), (x + 0.12, 0.3), (x + 0.24, 0.9)], (112, 84, 70))


def _covered(tile: _Tile) -> None:
    tile.box(0, 0, 1, 1, (128, 136, 150))
    tile.polygon([(0, 0), (1, 0), (0, 1)], (222, 226, 232))
    tile.box(0.1, 0.1, 0.9, 0.9, (176, 183, 194))


def _mine(tile: _Tile) -> None:
    for start, end in (((0.5, 0.1), (0.5, 0.9)), ((0.1, 0.5), (0.9, 0.5)),
                       ((0.22, 0.22), (0.78, 0.78)), ((0.22, 0.78), (0.78, 0.22))):  # fmt: skip
        tile.line(start, end, 0.07, _INK)
    tile.disc(0.5, 0.5, 0.26, _INK)
    tile.disc(0.42, 0.42, 0.06, _WHITE)


def _flag(tile: _Tile) -> None:
    tile.line((0.4, 0.16), (0.4, 0.84), 0.07, _INK)
    tile.polygon([(0.43, 0.16), (0.8, 0.32), (0.43, 0.48)], _RED)


def _taxi(body: _Color) -> _Painter:
    def paint(tile: _Tile) -> None:
        tile.box(0.28, 0.24, 0.72, 0.5, _INK)
        tile.box(0.34, 0.3, 0.66, 0.46, (196, 222, 240))
        tile.box(0.08, 0.44, 0.92, 0.7, body)
        for x in (0.28, 0.72):
            tile.disc(x, 0.72, 0.13, _INK)
            tile.disc(x, 0.72, 0.05, _WHITE)

    return paint


def _passenger(tile: _Tile) -> None:
    tile.disc(0.5, 0.3, 0.16, (226, 178, 140))
    tile.disc(0.5, 0.76, 0.26, _BLUE)
    tile.box(0.2, 0.84, 0.8, 1 - _SIDES, _FLOOR)
    tile.box(0.2, 1 - _SIDES, 0.8, 1, _EDGE)


def _plate(color: _Color, letter: str) -> _Painter:
    def paint(tile: _Tile) -> None:
        tile.box(0.06, 0.06, 0.94, 0.94, color)
        tile.letter(letter, _WHITE)

    return paint


def _cross(tile: _Tile) -> None:
    for start, end in (((0.22, 0.22), (0.78, 0.78)), ((0.22, 0.78), (0.78, 0.22))):
        tile.line(start, end, 0.16, _BLUE)


def _nought(tile: _Tile) -> None:
    tile.disc(0.5, 0.5, 0.37, _RED, hole=0.22)


def _letter(letter: str, color: _Color = _INK) -> _Painter:
    return lambda tile: tile.letter(letter, color)


_NUMBER_COLORS = (
    (30, 80, 200), (28, 128, 60), (200, 50, 46), (40, 36, 130),
    (130, 36, 40), (24, 128, 132), (30, 30, 34), (110, 116, 126),
)  # fmt: skip

_CRATE, _CRATE_HOME = _box(_WOOD, _DARK_WOOD), _box(_GREEN, _DARK_GREEN)
_THEMES: dict[str, dict[str, tuple[_Painter, ...]]] = {
    "grid": {
        ".": (_floor,),
        " ": (_floor,),
        "#": (_wall,),
        "G": (_floor, _goal),
        "A": (_floor, _agent),
        "*": (_floor, _goal, _agent),
        ">": (_floor, _arrow(0)),
        "v": (_floor, _arrow(1)),
        "<": (_floor, _arrow(2)),
        "^": (_floor, _arrow(3)),
        "K": (_floor, _key),
        "D": (_floor, _door),
        "C": (_cliff,),
    },
    "lake": {
        "_": (_ice,),
        "F": (_ice,),
        "S": (_ice, _letter("S", (108, 160, 196))),
        "O": (_ice, _hole),
        "H": (_ice, _hole),
        "G": (_ice, _goal),
        "P": (_ice, _agent),
        "X": (_ice, _hole, _agent),
        "*": (_ice, _goal, _agent),
    },
    "sokoban": {
        "_": (_floor,),
        "#": (_wall,),
        "O": (_floor, _target),
        "X": (_floor, _CRATE),
        "*": (_floor, _CRATE_HOME),
        "P": (_floor, _agent),
        "S": (_floor, _around, _agent),
    },
    "taxi": {
        "#": (_wall,),
        " ": (_floor,),
        "R": (_floor, _plate(_RED, "R")),
        "G": (_floor, _plate(_GREEN, "G")),
        "Y": (_floor, _plate(_GOLD, "Y")),
        "B": (_floor, _plate(_BLUE, "B")),
        "A": (_floor, _taxi(_GOLD)),
        "F": (_floor, _taxi(_GREEN)),
        "p": (_floor, _passenger),
        "d": (_floor, _goal),
    },
    "tic_tac_toe": {".": (_floor,), "X": (_floor, _cross), "O": (_floor, _nought)},
    "minesweeper": {
        "?": (_covered,),
        ".": (_floor,),
        "0": (_floor,),
        "F": (_covered, _flag),
        "*": (_floor, _mine),
        **{str(n + 1): (_floor, _letter(str(n + 1), c)) for n, c in enumerate(_NUMBER_COLORS)},
    },
}
_THEME_OF_ID = {
    "FrozenLake-v1": "lake",
    "FrozenLake8x8-v1": "lake",
    "FrozenLakeText-v0": "lake",
    "Minesweeper-v0": "minesweeper",
    "Sokoban-v0": "sokoban",
    "Taxi-v3": "taxi",
    "Taxi-v4": "taxi",
    "TicTacToe-v0": "tic_tac_toe",
}
THEMES = tuple(_THEMES)
"""The themes by name."""


def theme_of(environment_id: str) -> str:
    """The theme of an environment: its own, or "grid"."""
    return _THEME_OF_ID.get(environment_id, "grid")


@lru_cache(maxsize=1024)
def _tile(theme: str, size: int, character: str) -> Pixels:
    canvas = _Tile(size * _SMOOTHING)
    for paint in _THEMES[theme].get(character, (_floor, _letter(character))):
        paint(canvas)
    parts = canvas.pixels.reshape(size, _SMOOTHING, size, _SMOOTHING, 3)
    pixels: Pixels = np.rint(parts.mean((1, 3))).astype(np.uint8)
    return pixels


def draw(cells: Cells, *, tile: int = 16, theme: str = "grid") -> Pixels:
    """RGB pictures of grid worlds.

    Args:
        cells: [N, H, W] uint8, one ASCII character a cell.
        tile: The side of a cell in pixels.
        theme: What characters stand for, one of `THEMES`; see `theme_of`.

    Returns:
        [N, H · tile, W · tile, 3] uint8.
    """
    arguments = Arguments("draw")
    arguments.array("cells", cells, ["N", "H", "W"], ["uint8"])
    tile = arguments.integer("tile", tile, low=4, high=_MAX_TILE)
    arguments.choice("theme", theme, THEMES)
    used = np.flatnonzero(np.bincount(cells.ravel(), minlength=256))
    atlas = np.empty((256, tile, tile, 3), np.uint8)
    for code in used:
        atlas[code] = _tile(theme, tile, chr(code))
    tiles = atlas[cells]  # [N, H, W, tile, tile, 3]
    num, height, width = cells.shape
    return np.ascontiguousarray(
        tiles.transpose(0, 1, 3, 2, 4, 5).reshape(num, height * tile, width * tile, 3)
    )


def text_of(cells: Cells) -> list[str]:
    """The characters as text, a line a row: what render_mode "ansi" shows."""
    Arguments("text_of").array("cells", cells, ["N", "H", "W"], ["uint8"])
    return ["\n".join(bytes(row).decode("latin-1") for row in rows) for rows in cells]


def cells_of(texts: Sequence[str]) -> Cells:
    """The cells of drawings: the way back from `text_of`.

    Drawings of one size make [N, H, W]; lines that are shorter than others end in spaces.
    """
    if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
        raise Arguments("cells_of").error(
            "texts", "be a sequence of strings", type(texts).__name__, kind=TypeError
        )
    drawings = [text.strip("\n").split("\n") for text in texts]
    height = max((len(rows) for rows in drawings), default=0)
    width = max((len(row) for rows in drawings for row in rows), default=0)
    cells = np.full((len(drawings), height, width), ord(" "), np.uint8)
    for i, rows in enumerate(drawings):
        for r, row in enumerate(rows):
            try:
                cells[i, r, : len(row)] = list(row.encode("ascii"))
            except UnicodeEncodeError:
                raise Arguments("cells_of").error(
                    "texts", "hold ASCII characters only", repr(row)
                ) from None
    return cells
