"""Tic-tac-toe in plain Python; see `csrc/envs/text_games/tic_tac_toe.h` for the rules."""

from functools import cache
from typing import Self

from fastrl.reference.envs import Outcome, RandomStream

_LINES = [(0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8), (0, 4, 8), (2, 4, 6)]


def _winner(board: str) -> str:
    for a, b, c in _LINES:
        if board[a] != "." and board[a] == board[b] == board[c]:
            return board[a]
    return ""


def _put(board: str, cell: int, mark: str) -> str:
    return board[:cell] + mark + board[cell + 1 :]


def _free(board: str) -> list[int]:
    return [cell for cell in range(9) if board[cell] == "."]


@cache
def value(board: str, mark: str) -> int:
    """Under best play, with `mark` to move: 1 where X wins, 0 for a draw, -1 where O wins."""
    winner = _winner(board)
    if winner or not _free(board):
        return {"X": 1, "O": -1, "": 0}[winner]
    values = [value(_put(board, cell, mark), "O" if mark == "X" else "X") for cell in _free(board)]
    return max(values) if mark == "X" else min(values)


@cache
def solve(board: str, best_replies: bool) -> tuple[int, int]:
    """The fewest moves of X to a win that some replies allow, and the first; (-1, -1) without."""
    if _winner(board):
        return (0, -1) if _winner(board) == "X" else (-1, -1)
    found: list[tuple[int, int, int]] = []
    for cell in _free(board):
        after = _put(board, cell, "X")
        distances = [0] if _winner(after) else []
        for reply in [] if distances else _free(after):
            then = _put(after, reply, "O")
            if best_replies and value(then, "X") != value(after, "O"):
                continue
            distance = solve(then, best_replies)[0]
            distances += [distance] if distance >= 0 else []
        if distances:
            found.append((1 + min(distances), -value(after, "O"), cell))
    return (min(found)[0], min(found)[2]) if found else (-1, -1)


class TicTacToe:
    """X against an opponent that replies within the step."""

    def __init__(
        self,
        board: str,
        stream: RandomStream,
        optimal_probability: float,
        draw_reward: float,
        loss_reward: float,
        occupied: str,
    ) -> None:
        """`board` is written row after row, "." for a free cell."""
        self.board, self.stream, self.optimal = board, stream, optimal_probability
        self.draw_reward, self.loss_reward, self.occupied = draw_reward, loss_reward, occupied
        self.answer, self.forfeited = -1, False

    @classmethod
    def drawn(
        cls,
        level: RandomStream,
        stream: RandomStream,
        first: str,
        optimal_probability: float,
        draw_reward: float,
        loss_reward: float,
        occupied: str,
    ) -> Self:
        """An empty board, or one with an opening move from the level's stream."""
        game = cls("." * 9, level, optimal_probability, draw_reward, loss_reward, occupied)
        if first == "opponent" or (first == "random" and level.below(2) == 1):
            game._reply()
        game.stream = stream
        return game

    def _reply(self) -> None:
        p = self.optimal
        choices = _free(self.board)
        if p >= 1.0 or (p > 0.0 and self.stream.uniform() < p):
            best = value(self.board, "O")
            choices = [c for c in choices if value(_put(self.board, c, "O"), "X") == best]
        self.answer = choices[self.stream.below(len(choices))]
        self.board = _put(self.board, self.answer, "O")

    def succeeded(self) -> bool:
        """X has three in a row."""
        return _winner(self.board) == "X" and not self.forfeited

    def key(self) -> object:
        """The board."""
        return self.board

    def step(self, action: int) -> Outcome:
        """Marks a cell and lets the opponent reply."""
        self.answer = -1
        if action < 0:
            return 0.0, False, False
        if self.board[action] != ".":
            self.forfeited = self.occupied == "lose"
        else:
            self.board = _put(self.board, action, "X")
            if not _winner(self.board) and _free(self.board):
                self._reply()
        if self.forfeited or _winner(self.board) == "O":
            return self.loss_reward, True, False
        if self.succeeded():
            return 1.0, True, True
        full = not _free(self.board)
        return (self.draw_reward if full else 0.0), full, False

    def grid(self) -> str:
        """The board with the numbers of free cells."""
        marks = [str(i) if mark == "." else mark for i, mark in enumerate(self.board)]
        return "\n".join(" ".join(marks[r : r + 3]) for r in (0, 3, 6))

    def compact(self) -> str:
        """The opponent's cell."""
        return "-" if self.answer < 0 else str(self.answer)
