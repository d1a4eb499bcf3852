"""Minesweeper in plain Python; see `csrc/envs/text_games/minesweeper.h` for the rules."""

from typing import Self

from fastrl.reference.envs import Cell, Outcome, RandomStream

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


class Minesweeper:
    """Open every cell without a mine."""

    def __init__(
        self, height: int, width: int, mines: set[Cell], reward: str, cascade: bool
    ) -> None:
        self.height, self.width, self.mines = height, width, frozenset(mines)
        self.reward, self.cascade = reward, cascade
        self.open: frozenset[Cell] = frozenset()
        self.fresh: frozenset[Cell] = frozenset()

    @classmethod
    def drawn(
        cls,
        level: RandomStream,
        height: int,
        width: int,
        num_mines: int,
        reward: str,
        cascade: bool,
        opening: bool,
    ) -> Self:
        """A level: a first cell, then mines in the others by a partial shuffle."""
        while True:
            first = level.below(height * width)
            others = [cell for cell in range(height * width) if cell != first]
            for i in range(num_mines):
                j = i + level.below(len(others) - i)
                others[i], others[j] = others[j], others[i]
            mines = {divmod(cell, width) for cell in others[:num_mines]}
            game = cls(height, width, mines, reward, cascade)
            if opening:
                game._open(divmod(first, width))
            if not (opening and game.succeeded()):
                game.fresh = frozenset()
                return game

    def _around(self, cell: Cell) -> list[Cell]:
        return [
            (r, c)
            for r in range(max(cell[0] - 1, 0), min(cell[0] + 2, self.height))
            for c in range(max(cell[1] - 1, 0), min(cell[1] + 2, self.width))
            if (r, c) != cell
        ]

    def _count(self, cell: Cell) -> int:
        return len(self.mines.intersection(self._around(cell)))

    def _open(self, cell: Cell) -> None:
        fresh, pending = set(), [cell]
        while pending:
            cell = pending.pop()
            if cell in self.open or cell in fresh:
                continue
            fresh.add(cell)
            if self.cascade and cell not in self.mines and self._count(cell) == 0:
                pending += self._around(cell)
        self.fresh = frozenset(fresh)
        self.open = self.open | self.fresh

    def succeeded(self) -> bool:
        """Everything but the mines is open."""
        return len(self.open | self.mines) == self.height * self.width and not (
            self.open & self.mines
        )

    def key(self) -> object:
        """What is open."""
        return self.open

    def step(self, action: int) -> Outcome:
        """Opens the cell of that number."""
        cell = divmod(action, self.width)
        self.fresh = frozenset()
        if action < 0 or cell in self.open:
            if self.reward == "lamer":
                return -1.0, False, False
            return 0.0, action >= 0, False
        self._open(cell)
        if cell in self.mines:
            return (-0.1 if self.reward == "lamer" else 0.0), True, False
        won = self.succeeded()
        if self.reward == "jumanji":
            return float(len(self.fresh)), won, won
        return (10.0 if won else 2.0 if len(self.fresh) > 1 else 0.5), won, won

    def _content(self, cell: Cell) -> str:
        if cell not in self.open:
            return "?"
        return "*" if cell in self.mines else str(self._count(cell) or ".")

    def cells(self) -> str:
        """The board, a character a cell."""
        return "\n".join(
            "".join(self._content((r, c)) for c in range(self.width)) for r in range(self.height)
        )

    def grid(self) -> str:
        """The board with numbered rows."""
        rows = self.cells().split("\n")
        return "\n".join(f"Row {r}: {' '.join(row)}" for r, row in enumerate(rows, start=1))

    def compact(self) -> str:
        """Row, column and content of the cells that the last action opened."""
        return "".join(
            _DIGITS[r + 1] + _DIGITS[c + 1] + self._content((r, c)) for r, c in sorted(self.fresh)
        )
