"""The environments in plain Python: their dynamics, observations and random numbers.

Every class has `step(action)` → (reward, terminated, success), `grid()` and `compact()` (texts of
the two observation forms after the first step) and `succeeded()`. -1 is the malformed action.
"""

import copy
from collections import deque
from typing import Protocol, Self

_MASK = 2**64 - 1
_DIRECTIONS = {"Up": (-1, 0), "Down": (1, 0), "Left": (0, -1), "Right": (0, 1)}
Cell = tuple[int, int]
Outcome = tuple[float, bool, bool]


class Environment(Protocol):
    """What `solve` needs."""

    def step(self, action: int) -> Outcome:
        """Plays one action."""

    def succeeded(self) -> bool:
        """Whether the goal is reached."""

    def key(self) -> object:
        """Equal for equal states."""


def solve(environment: Environment, num_actions: int) -> tuple[int, list[int]]:
    """The fewest actions to success and all first actions of such a path; (-1, []) without one.

    Breadth first on shallow copies: `step` replaces what it changes. Steps must be deterministic.
    """
    if environment.succeeded():
        return 0, []
    distances = {environment.key(): 0}
    best = -1
    firsts: dict[object, set[int]] = {environment.key(): set()}
    found: set[int] = set()
    queue = deque([environment])
    while queue:
        state = queue.popleft()
        depth = distances[state.key()]
        if depth == best:
            break
        for action in range(num_actions):
            child = copy.copy(state)
            _, terminated, success = child.step(action)
            paths = firsts[state.key()] or {action}
            if success:
                best = depth + 1
                found |= paths
                continue
            if terminated:
                continue
            if child.key() not in distances:
                distances[child.key()] = depth + 1
                firsts[child.key()] = set()
                queue.append(child)
            if distances[child.key()] == depth + 1:
                firsts[child.key()] |= paths
    return best, sorted(found)


def mix64(x: int) -> int:
    """SplitMix64's finalizer."""
    x = (x + 0x9E3779B97F4A7C15) & _MASK
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & _MASK
    return x ^ (x >> 31)


def philox4x32(key: int, counter: int, stream: int) -> list[int]:
    """Philox4x32-10: four numbers of 32 bits.

    Reference: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011.
    """
    word = 2**32 - 1
    x = [counter & word, counter >> 32, stream & word, stream >> 32]
    k0, k1 = key & word, key >> 32
    for _ in range(10):
        a, b = 0xD2511F53 * x[0], 0xCD9E8D57 * x[2]
        x = [(b >> 32) ^ x[1] ^ k0, b & word, (a >> 32) ^ x[3] ^ k1, a & word]
        k0, k1 = (k0 + 0x9E3779B9) & word, (k1 + 0xBB67AE85) & word
    return x


class RandomStream:
    """One stream of random numbers: the n-th is a function of key, stream and n."""

    def __init__(self, key: int, stream: int) -> None:
        self.key, self.stream, self.position = key, stream, 0

    def forked(self, salt: int) -> "RandomStream":
        """Another stream, determined by this one's state and `salt`."""
        return RandomStream(
            mix64(self.key ^ mix64(salt)),
            mix64((self.stream + mix64(self.position ^ mix64((salt + 1) & _MASK))) & _MASK),
        )

    def next_u32(self) -> int:
        """Uniform over 32 bits."""
        number = philox4x32(self.key, self.position >> 2, self.stream)[self.position & 3]
        self.position += 1
        return number

    def uniform(self) -> float:
        """Uniform in [0, 1), 24 bits."""
        return (self.next_u32() >> 8) * 2.0**-24

    def below(self, n: int) -> int:
        """Uniform over 0, …, n − 1, without bias."""
        while True:
            product = self.next_u32() * n
            if product % 2**32 >= 2**32 % n:
                return product >> 32


def step_stream(seed: int, environment: int) -> RandomStream:
    """What the steps of environment i draw from, after ``reset(seed=seed)``."""
    return RandomStream(seed, environment).forked(0)


def level_stream(seed: int, group: int, num_resets: int) -> RandomStream:
    """What the level of a group draws from; `num_resets` counts from 0."""
    return RandomStream(seed, group).forked(num_resets + 1)


class CodeLock:
    """Enter T digits; the reward comes with the last one."""

    def __init__(self, code: list[int], reward: str) -> None:
        self.code, self.reward = code, reward
        self.digits: list[int] = []

    @classmethod
    def drawn(cls, stream: RandomStream, length: int, num_choices: int, reward: str) -> Self:
        """A level: T independent digits."""
        return cls([stream.below(num_choices) for _ in range(length)], reward)

    def succeeded(self) -> bool:
        """All digits are right."""
        return self.digits == self.code

    def key(self) -> object:
        """The digits so far."""
        return tuple(self.digits)

    def step(self, action: int) -> Outcome:
        """Enters one digit."""
        self.digits = [*self.digits, action]
        if len(self.digits) < len(self.code):
            return 0.0, False, False
        right = [digit == wanted for digit, wanted in zip(self.digits, self.code, strict=True)]
        prefix = right.index(False) if False in right else len(right)
        count = {"graded": prefix, "matches": sum(right), "binary": self.succeeded() * len(right)}
        return count[self.reward] / len(right), True, self.succeeded()

    def grid(self) -> str:
        """The digits entered, then "_"."""
        entered = "".join("?" if digit < 0 else str(digit) for digit in self.digits)
        return entered.ljust(len(self.code), "_")

    def compact(self) -> str:
        """How many digits were entered."""
        return str(len(self.digits))


class Sokoban:
    """Push every box onto a target."""

    def __init__(self, text: str, reward: str) -> None:
        self.rows, self.reward = text.split("\n"), reward
        self.walls = self._cells("#")
        self.targets = self._cells("O*S")
        self.boxes = self._cells("X*")
        (self.player,) = self._cells("PS")

    def _cells(self, letters: str) -> set[Cell]:
        return {
            (r, c)
            for r, row in enumerate(self.rows)
            for c, letter in enumerate(row)
            if letter in letters
        }

    def succeeded(self) -> bool:
        """Every box is on a target."""
        return self.boxes == self.targets

    def key(self) -> object:
        """What moves."""
        return self.player, frozenset(self.boxes)

    def step(self, action: int) -> Outcome:
        """Up, Down, Left, Right."""
        before = len(self.boxes & self.targets)
        if action >= 0:
            self._move(list(_DIRECTIONS.values())[action])
        solved = self.succeeded()
        if self.reward == "sparse":
            return float(solved), solved, solved
        gained = len(self.boxes & self.targets) - before
        return -0.1 + gained + (10.0 if solved else 0.0), solved, solved

    def _move(self, direction: Cell) -> None:
        ahead = (self.player[0] + direction[0], self.player[1] + direction[1])
        beyond = (ahead[0] + direction[0], ahead[1] + direction[1])
        if ahead in self.walls:
            return
        if ahead in self.boxes:
            if beyond in self.walls or beyond in self.boxes:
                return
            self.boxes = (self.boxes - {ahead}) | {beyond}
        self.player = ahead

    def grid(self) -> str:
        """The room."""
        letters = {
            (r, c): "#" if (r, c) in self.walls else "_"
            for r, row in enumerate(self.rows)
            for c in range(len(row))
        }
        letters |= dict.fromkeys(self.targets, "O")
        letters |= {box: "*" if box in self.targets else "X" for box in self.boxes}
        letters[self.player] = "S" if self.player in self.targets else "P"
        return "\n".join(
            "".join(letters[r, c] for c in range(len(row))) for r, row in enumerate(self.rows)
        )

    def compact(self) -> str:
        """Row and column of the player, then of each box in reading order."""
        return "".join(_digit(r) + _digit(c) for r, c in [self.player, *sorted(self.boxes)])


class FrozenLakeText:
    """Walk to the goal and into no hole."""

    actions = ("Left", "Down", "Right", "Up")

    def __init__(self, text: str, stream: RandomStream, success_rate: float | None) -> None:
        """`success_rate` is None on ice that holds."""
        self.stream, self.success_rate = stream, success_rate
        self.size = text.index("\n")
        cells = {
            (r, c): letter for r, row in enumerate(text.split("\n")) for c, letter in enumerate(row)
        }
        self.holes = {cell for cell, letter in cells.items() if letter in "OX"}
        (self.goal,) = (cell for cell, letter in cells.items() if letter in "G*")
        (self.player,) = (cell for cell, letter in cells.items() if letter in "PX*")

    @classmethod
    def drawn(
        cls,
        level: RandomStream,
        size: int,
        frozen_probability: float,
        ends: str,
        stream: RandomStream,
        success_rate: float | None,
    ) -> Self:
        """A level: up to 2000 maps are drawn until the goal can be reached, then it is carved."""
        for _ in range(2000):
            player, goal = 0, size * size - 1
            if ends == "random":
                player, goal = level.below(size * size), level.below(size * size - 1)
                goal += goal >= player
            letters = ["P" if i == player else "G" if i == goal else "" for i in range(size * size)]
            letters = [
                letter or ("O" if level.uniform() >= frozen_probability else "_")
                for letter in letters
            ]
            text = "\n".join("".join(letters[r * size : (r + 1) * size]) for r in range(size))
            lake = cls(text, stream, None)
            if solve(lake, 4)[0] >= 0:
                break
        else:
            lake._carve(level)
        lake.success_rate = success_rate
        return lake

    def _carve(self, level: RandomStream) -> None:
        """Freezes one of the shortest ways to the goal."""
        row, column = self.player
        while (row, column) != self.goal:
            down, right = self.goal[0] - row, self.goal[1] - column
            if level.below(abs(down) + abs(right)) < abs(down):
                row += 1 if down > 0 else -1
            else:
                column += 1 if right > 0 else -1
            self.holes = self.holes - {(row, column)}

    def succeeded(self) -> bool:
        """On the goal."""
        return self.player == self.goal

    def key(self) -> object:
        """What moves."""
        return self.player

    def step(self, action: int) -> Outcome:
        """Left, Down, Right, Up; on slippery ice perhaps to a side."""
        if action >= 0:
            if self.success_rate is not None:
                u, aside = self.stream.uniform(), (1.0 - self.success_rate) / 2.0
                action += -1 if u < aside else 0 if u < aside + self.success_rate else 1
            down, right = _DIRECTIONS[self.actions[action % 4]]
            row, column = self.player[0] + down, self.player[1] + right
            if 0 <= row < self.size and 0 <= column < self.size:
                self.player = (row, column)
        success = self.succeeded()
        return float(success), success or self.player in self.holes, success

    def grid(self) -> str:
        """The lake."""
        letters = {(r, c): "_" for r in range(self.size) for c in range(self.size)}
        letters |= dict.fromkeys(self.holes, "O")
        letters[self.goal] = "G"
        fell = self.player in self.holes
        letters[self.player] = "X" if fell else "*" if self.succeeded() else "P"
        rows = range(self.size)
        return "\n".join("".join(letters[r, c] for c in rows) for r in rows)

    def compact(self) -> str:
        """Row and column of the player."""
        return _digit(self.player[0]) + _digit(self.player[1])


def _digit(x: int) -> str:
    return "0123456789abcdefghijklmnopqrstuvwxyz"[x]
