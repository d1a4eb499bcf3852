"""Grid worlds in plain Python: Maze, DarkRoom and DarkKeyToDoor, with their random numbers.

Every class is made from a drawing or `drawn` as a level, and has `step(action)` → (reward,
terminated, success), `observation()`, `drawing()`, `labels()` (the set of what is true), and
`succeeded()` and `key()` for `fastrl.reference.envs.solve`. Cells are (row, column).
"""

import numpy as np
import numpy.typing as npt

from fastrl.reference.envs import RandomStream, solve

Cell = tuple[int, int]
Outcome = tuple[float, bool, bool]
_MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1), (0, 0))  # Up, Down, Left, Right, stay
_FACING = ((0, 1), (1, 0), (0, -1), (-1, 0))  # right, down, left, up


class _Drawn:
    """What all of them draw."""

    def __init__(self, text: str) -> None:
        rows = text.strip("\n").split("\n")
        self.height, self.width = len(rows), len(rows[0])
        self.letters = {
            (r, c): letter for r, row in enumerate(rows) for c, letter in enumerate(row)
        }

    def cell_of(self, letters: str) -> Cell:
        (cell,) = (cell for cell, letter in self.letters.items() if letter in letters)
        return cell

    def inside(self, cell: Cell) -> bool:
        return 0 <= cell[0] < self.height and 0 <= cell[1] < self.width

    def text(self, letters: dict[Cell, str]) -> str:
        return "\n".join(
            "".join(letters.get((r, c), ".") for c in range(self.width)) for r in range(self.height)
        )


def _draw(height: int, width: int, letters: dict[int, str]) -> str:
    """A drawing out of cells numbered row by row."""
    text = "".join(letters.get(i, ".") for i in range(height * width))
    return "\n".join(text[r * width : (r + 1) * width] for r in range(height))


def _ahead(cell: Cell, move: Cell, steps: int = 1) -> Cell:
    return cell[0] + steps * move[0], cell[1] + steps * move[1]


class Maze(_Drawn):
    """Find the way to the goal."""

    def __init__(
        self,
        text: str,
        *,
        actions: str = "moves",
        view_size: int | None = 5,
        reward_steps: int | None = None,
    ) -> None:
        """`view_size` is None where the whole maze is seen, `reward_steps` for sparse rewards."""
        super().__init__(text)
        self.turns, self.view_size, self.reward_steps = actions == "turns", view_size, reward_steps
        self.walls = {cell for cell, letter in self.letters.items() if letter == "#"}
        self.goal = self.cell_of("G")
        self.agent = self.cell_of("A>v<^")
        letter = self.letters[self.agent]
        self.direction = ">v<^".index(letter) if self.turns and letter != "A" else 0
        self.steps = 0

    @staticmethod
    def scattered(
        level: RandomStream,
        height: int,
        width: int,
        num_walls: int,
        *,
        random_num_walls: bool = True,
        solvable: bool = True,
        actions: str = "moves",
    ) -> str:
        """Walls anywhere, drawn up to 100 times until there is a way; then one is carved."""
        size = height * width
        for _ in range(100):
            count = level.below(num_walls + 1) if random_num_walls else num_walls
            agent, goal = level.below(size), level.below(size - 1)
            goal += goal >= agent
            letters = {agent: "A", goal: "G"}
            while len(letters) < count + 2:
                letters.setdefault(level.below(size), "#")
            text = _draw(height, width, letters)
            if not solvable or solve(Maze(text), 4)[0] >= 0:
                break
        else:
            text = _carved(level, text, width, agent, goal)
        return _facing(level, text, actions)

    @staticmethod
    def labyrinth(level: RandomStream, height: int, width: int, *, actions: str = "moves") -> str:
        """A walk through the rooms that turns back where all rooms around were visited."""
        letters = dict.fromkeys(range(height * width), "#")
        rows, columns = (height + 1) // 2, (width + 1) // 2

        def cell(room: int) -> int:
            return 2 * (room // columns) * width + 2 * (room % columns)

        path = [level.below(rows * columns)]
        letters[cell(path[0])] = "."
        while path:
            row, column = divmod(path[-1], columns)
            around = [(row + r, column + c) for r, c in _MOVES[:4]]
            rooms = [r * columns + c for r, c in around if 0 <= r < rows and 0 <= c < columns]
            rooms = [room for room in rooms if letters[cell(room)] == "#"]
            if not rooms:
                path.pop()
                continue
            room = rooms[level.below(len(rooms))]
            letters[(cell(path[-1]) + cell(room)) // 2] = letters[cell(room)] = "."
            path.append(room)
        agent, goal = level.below(rows * columns), level.below(rows * columns - 1)
        goal += goal >= agent
        letters[cell(agent)], letters[cell(goal)] = "A", "G"
        return _facing(level, _draw(height, width, letters), actions)

    def step(self, action: int) -> Outcome:
        """Up, Down, Left, Right; with turns left, right, forward."""
        self.steps += 1
        if self.turns and action < 2:
            self.direction = (self.direction + (1 if action else -1)) % 4
            return 0.0, False, False
        ahead = _ahead(self.agent, _FACING[self.direction] if self.turns else _MOVES[action])
        if self.inside(ahead) and ahead not in self.walls:
            self.agent = ahead
        if not self.succeeded():
            return 0.0, False, False
        late = self.steps / self.reward_steps if self.reward_steps else 0.0
        return 1.0 - 0.9 * late, True, True

    def succeeded(self) -> bool:
        """At the goal."""
        return self.agent == self.goal

    def key(self) -> object:
        """What moves."""
        return self.agent, self.direction

    def labels(self) -> set[str]:
        """What is true."""
        return {"goal"} if self.succeeded() else set()

    def image(self) -> npt.NDArray[np.uint8]:
        """Planes of walls and goal; and of the agent, where the whole maze is seen."""
        if self.view_size is None:
            image = np.zeros((self.height, self.width, 3), np.uint8)
            for cell in self.walls:
                image[(*cell, 0)] = 1
            image[(*self.goal, 1)] = image[(*self.agent, 2)] = 1
            return image
        size, half = self.view_size, self.view_size // 2
        image = np.zeros((size, size, 2), np.uint8)
        front = _FACING[self.direction] if self.turns else _MOVES[0]
        right = (front[1], -front[0])
        depth = size - 1 if self.turns else half
        for i in range(size):
            for j in range(size):
                seen = _ahead(_ahead(self.agent, front, depth - i), right, j - half)
                image[i, j] = not self.inside(seen) or seen in self.walls, seen == self.goal
        return image

    def drawing(self) -> str:
        """The maze: # . G, the agent A or > v < ^, * at the goal."""
        letters = dict.fromkeys(self.walls, "#") | {self.goal: "G"}
        letters[self.agent] = ">v<^"[self.direction] if self.turns else "A"
        return self.text(letters | ({self.goal: "*"} if self.succeeded() else {}))


def _carved(level: RandomStream, text: str, width: int, agent: int, goal: int) -> str:
    """Opens one of the shortest ways that there would be without walls."""
    letters = list(text.replace("\n", ""))
    (row, column), end = divmod(agent, width), divmod(goal, width)
    while (row, column) != end:
        down, right = end[0] - row, end[1] - column
        if level.below(abs(down) + abs(right)) < abs(down):
            row += 1 if down > 0 else -1
        else:
            column += 1 if right > 0 else -1
        if letters[row * width + column] == "#":
            letters[row * width + column] = "."
    return _draw(len(letters) // width, width, dict(enumerate(letters)))


def _facing(level: RandomStream, text: str, actions: str) -> str:
    return text.replace("A", ">v<^"[level.below(4)]) if actions == "turns" else text


class DarkRoom(_Drawn):
    """Find the invisible goal."""

    def __init__(
        self, text: str, *, reward: str = "dense", terminate_at_goal: bool = False
    ) -> None:
        super().__init__(text)
        self.reward, self.terminate_at_goal = reward, terminate_at_goal
        self.agent, self.goal = self.cell_of("A"), self.cell_of("G")
        self.rewarded = False

    @staticmethod
    def drawn(level: RandomStream, size: int, start: str) -> str:
        """A level."""
        agent = _start(level, size, start)
        return _draw(size, size, {_other(level, size, {agent}): "G", agent: "A"})

    def step(self, action: int) -> Outcome:
        """Up, Down, Left, Right, stay."""
        ahead = _ahead(self.agent, _MOVES[action])
        if self.inside(ahead):
            self.agent = ahead
        success = self.succeeded()
        reward = float(success and not self.rewarded)
        self.rewarded = self.rewarded or (success and self.reward == "sparse")
        return reward, success and self.terminate_at_goal, success

    def succeeded(self) -> bool:
        """At the goal."""
        return self.agent == self.goal

    def key(self) -> object:
        """What moves."""
        return self.agent

    def labels(self) -> set[str]:
        """What is true."""
        return {"goal"} if self.succeeded() else set()

    def observation(self) -> list[int]:
        """Row and column."""
        return list(self.agent)

    def drawing(self) -> str:
        """The room, with what the agent does not see."""
        return self.text({self.goal: "G", self.agent: "*" if self.succeeded() else "A"})


class DarkKeyToDoor(_Drawn):
    """Find the invisible key, then the invisible door."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.agent, self.key_cell, self.door = map(self.cell_of, "AKD")
        self.has_key = False

    @staticmethod
    def drawn(level: RandomStream, size: int, start: str) -> str:
        """A level."""
        agent = _start(level, size, start)
        key = _other(level, size, {agent})
        return _draw(size, size, {agent: "A", key: "K", _other(level, size, {agent, key}): "D"})

    def step(self, action: int) -> Outcome:
        """Up, Down, Left, Right, stay."""
        ahead = _ahead(self.agent, _MOVES[action])
        if self.inside(ahead):
            self.agent = ahead
        if not self.has_key:
            self.has_key = self.agent == self.key_cell
            return float(self.has_key), False, False
        return float(self.succeeded()), self.succeeded(), self.succeeded()

    def succeeded(self) -> bool:
        """At the door, with the key."""
        return self.has_key and self.agent == self.door

    def key(self) -> object:
        """What moves."""
        return self.agent, self.has_key

    def labels(self) -> set[str]:
        """What is true."""
        true = {"key"} if self.has_key else set()
        return true | ({"door"} if self.agent == self.door else set())

    def observation(self) -> list[int]:
        """Row and column."""
        return list(self.agent)

    def drawing(self) -> str:
        """The room, with what the agent does not see."""
        letters = {self.door: "D"} | ({} if self.has_key else {self.key_cell: "K"})
        return self.text(letters | {self.agent: "*" if self.succeeded() else "A"})


def _start(level: RandomStream, size: int, start: str) -> int:
    fixed = {"corner": 0, "center": size // 2 * size + size // 2}
    return fixed[start] if start in fixed else level.below(size * size)


def _other(level: RandomStream, size: int, taken: set[int]) -> int:
    cell = level.below(size * size)
    return cell if cell not in taken else _other(level, size, taken)
