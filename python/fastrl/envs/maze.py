"""Levels of Maze-v0 as arrays: drawn by an adversary cell by cell, mutated, set in the engine.

What unsupervised environment design needs beside the environment itself::

    editor = MazeEditor(64, num_walls=25)
    observation = editor.reset()
    while not editor.finished:
        observation = editor.step(adversary(observation))
    env.set_levels(editor.levels.texts())

References: Dennis et al., "Emergent Complexity and Zero-shot Transfer via Unsupervised Environment
Design" (PAIRED), 2020; Parker-Holder et al., "Evolving Curricula with Regret-Based Environment
Design" (ACCEL), 2022.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from fastrl._dispatch import Arguments
from fastrl.envs.pictures import Cells, cells_of, text_of

_MAX_SIZE = 32
_FACING = ">v<^"


@dataclass(frozen=True)
class MazeLevels:
    """N levels of H × W cells; cells are numbered row by row.

    Attributes:
        walls: [N, H, W] bool; the wall around the maze is implied.
        agents: [N] int64, the cell that the agent starts from.
        goals: [N] int64, the goal's cell.
        directions: [N] int64, where the agent looks: 0 right, 1 down, 2 left, 3 up, or -1 where
            that is nowhere, as with `actions="moves"`.
    """

    walls: npt.NDArray[np.bool_]
    agents: npt.NDArray[np.int64]
    goals: npt.NDArray[np.int64]
    directions: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        arguments = Arguments("MazeLevels")
        arguments.array("walls", self.walls, ["N", "H", "W"], ["bool"])
        size = arguments.size("H") * arguments.size("W")
        for name, low, high in (
            ("agents", 0, size - 1),
            ("goals", 0, size - 1),
            ("directions", -1, 3),
        ):
            values = getattr(self, name)
            arguments.array(name, values, ["N"], ["int64"])
            if ((values < low) | (values > high)).any():
                wrong = values[(values < low) | (values > high)][0]
                raise arguments.error(name, f"be from {low} to {high}", wrong)
        if (self.agents == self.goals).any():
            level = int(np.flatnonzero(self.agents == self.goals)[0])
            raise arguments.error("goals", "differ from `agents`", f"one cell in level {level}")
        for name in ("agents", "goals"):
            inside = np.flatnonzero(self._flat_walls[np.arange(len(self)), getattr(self, name)])
            if inside.size:
                raise arguments.error(name, "lie on no wall", f"one in level {inside[0]}")

    def __len__(self) -> int:
        return len(self.walls)

    def __getitem__(self, chosen: slice | npt.NDArray[np.generic] | list[int]) -> "MazeLevels":
        """Some of the levels, by a slice, a mask or their numbers."""
        return MazeLevels(
            self.walls[chosen], self.agents[chosen], self.goals[chosen], self.directions[chosen]
        )

    @property
    def _flat_walls(self) -> npt.NDArray[np.bool_]:
        num, height, width = self.walls.shape
        return self.walls.reshape(num, height * width)

    @classmethod
    def from_cells(cls, cells: Cells) -> "MazeLevels":
        """Levels out of characters, [N, H, W] uint8: # . G and A or one of > v < ^."""
        arguments = Arguments("MazeLevels.from_cells")
        arguments.array("cells", cells, ["N", "H", "W"], ["uint8"])
        if cells.size == 0:
            raise arguments.error("cells", "hold at least one cell", list(cells.shape))
        known = np.isin(cells, list(f"#.GA{_FACING}".encode()))
        if not known.all():
            raise arguments.error(
                "cells", f"hold # . G A {' '.join(_FACING)}", repr(chr(cells[~known][0]))
            )
        num, height, width = cells.shape
        flat = cells.reshape(num, height * width)
        agent = np.isin(flat, list(f"A{_FACING}".encode()))
        goal = flat == ord("G")
        for name, found in (("agent", agent), ("goal", goal)):
            counts = found.sum(1)
            if (counts != 1).any():
                level = int(np.flatnonzero(counts != 1)[0])
                raise arguments.error(
                    "cells", f"draw one {name} a level", f"{counts[level]} in level {level}"
                )
        agents, goals = (found.argmax(1).astype(np.int64) for found in (agent, goal))
        letters = flat[np.arange(num), agents]
        directions = np.full(num, -1, np.int64)
        for direction, letter in enumerate(_FACING):
            directions[letters == ord(letter)] = direction
        return cls(cells == ord("#"), agents, goals, directions)

    @classmethod
    def from_texts(cls, texts: Sequence[str]) -> "MazeLevels":
        """Levels of one size out of drawings, a line a row."""
        return cls.from_cells(cells_of(texts))

    @classmethod
    def concatenate(cls, parts: Sequence["MazeLevels"]) -> "MazeLevels":
        """All levels of the parts, which are of one size."""
        if len({part.walls.shape[1:] for part in parts}) != 1:
            raise Arguments("MazeLevels.concatenate").error(
                "parts",
                "hold levels of one size",
                [f"{p.walls.shape[1]} × {p.walls.shape[2]}" for p in parts],
            )
        names = ("walls", "agents", "goals", "directions")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def cells(self) -> Cells:
        """The characters, [N, H, W]: what `from_cells` reads and `pictures.draw` draws."""
        cells = np.where(self.walls, ord("#"), ord(".")).astype(np.uint8)
        each = np.arange(len(self))
        flat = cells.reshape(self._flat_walls.shape)
        flat[each, self.goals] = ord("G")
        flat[each, self.agents] = np.frombuffer(f"{_FACING}A".encode(), np.uint8)[self.directions]
        return cells

    def texts(self) -> list[str]:
        """The drawings that `VectorEnv.set_levels` takes."""
        return text_of(self.cells())

    def distances(self) -> npt.NDArray[np.int64]:
        """[N], the length of the shortest way to the goal in cells; -1 where there is none."""
        num, height, width = self.walls.shape
        each = np.arange(num)
        reached = np.zeros((num, height + 2, width + 2), np.bool_)
        inside = reached[:, 1:-1, 1:-1]
        inside[each, self.agents // width, self.agents % width] = True
        distances = np.full(num, -1, np.int64)
        for distance in range(1, height * width):
            grown = inside | reached[:, :-2, 1:-1] | reached[:, 2:, 1:-1]
            grown |= reached[:, 1:-1, :-2] | reached[:, 1:-1, 2:]
            grown &= ~self.walls
            if (grown == inside).all():
                break
            inside[:] = grown
            arrived = grown[each, self.goals // width, self.goals % width]
            distances[arrived & (distances < 0)] = distance
            inside[arrived] = False  # done
        return distances

    def mutated(
        self, generator: np.random.Generator, *, num_edits: int = 20, goal_probability: float = 0.0
    ) -> "MazeLevels":
        """The levels after some random edits each, as ACCEL makes them.

        An edit turns a wall into floor or the other way, or with `goal_probability` moves the goal
        to a cell of the floor. A wall that would bury agent or goal is not built. Solvability is
        not kept; see `distances`.
        """
        arguments = Arguments("MazeLevels.mutated")
        num_edits = arguments.integer("num_edits", num_edits, low=0)
        goal_probability = arguments.number("goal_probability", goal_probability, low=0.0, high=1.0)
        num, height, width = self.walls.shape
        each, size = np.arange(num), height * width
        walls, goals = self.walls.copy(), self.goals.copy()
        flat = walls.reshape(num, size)
        for _ in range(num_edits):
            chosen = generator.integers(0, size, num)
            moves_goal = generator.random(num) < goal_probability
            free = (chosen != self.agents) & (chosen != goals)
            flips = free & ~moves_goal
            moves = free & moves_goal & ~flat[each, chosen]
            flat[each[flips], chosen[flips]] ^= True
            goals[moves] = chosen[moves]
        return replace(self, walls=walls, goals=goals)


class MazeEditor:
    """An adversary's environment: N mazes in the making, one cell each a step.

    The first action places the goal, the second the agent, the others walls; with `walls_first` the
    goal and the agent come last. An action is a cell, 0, …, H·W - 1. Goal and agent clear the wall
    from their cell; an agent on the goal goes to the next free cell; a wall on goal, agent or wall
    changes nothing.
    """

    def __init__(
        self,
        num_levels: int,
        *,
        height: int = 13,
        width: int = 13,
        num_walls: int = 25,
        walls_first: bool = False,
    ) -> None:
        arguments = Arguments("MazeEditor")
        self.num_levels = arguments.integer("num_levels", num_levels, low=1)
        self.height = arguments.integer("height", height, low=1, high=_MAX_SIZE)
        self.width = arguments.integer("width", width, low=1, high=_MAX_SIZE)
        self.num_actions = self.height * self.width
        if self.num_actions < 2:
            raise arguments.error("height", "leave room for agent and goal", "1 × 1")
        self.num_steps = 2 + arguments.integer("num_walls", num_walls, low=0)
        self._goal_step = self.num_steps - 2 if arguments.flag("walls_first", walls_first) else 0
        self.reset()

    def reset(self) -> npt.NDArray[np.uint8]:
        """Empty mazes; returns the observation."""
        self._walls = np.zeros((self.num_levels, self.num_actions), np.bool_)
        self._goals = np.full(self.num_levels, -1, np.int64)
        self._agents = np.full(self.num_levels, -1, np.int64)
        self.elapsed_steps = 0
        return self.observation()

    @property
    def finished(self) -> bool:
        """Whether all steps were made."""
        return self.elapsed_steps == self.num_steps

    def observation(self) -> npt.NDArray[np.uint8]:
        """Planes of walls, goal and agent, [N, H, W, 3] of 0 and 1, as Maze-v0 shows them."""
        planes = np.zeros((self.num_levels, self.num_actions, 3), np.uint8)
        planes[:, :, 0] = self._walls
        for plane, cells in ((1, self._goals), (2, self._agents)):
            placed = np.flatnonzero(cells >= 0)
            planes[placed, cells[placed], plane] = 1
        return planes.reshape(self.num_levels, self.height, self.width, 3)

    def action_mask(self) -> npt.NDArray[np.bool_]:
        """[N, H·W], the actions that do just what they say."""
        each = np.arange(self.num_actions)
        taken = (each == self._goals[:, None]) | (each == self._agents[:, None])
        if self.elapsed_steps - self._goal_step not in (0, 1):
            taken |= self._walls
        free: npt.NDArray[np.bool_] = ~taken
        return free

    def step(self, actions: npt.NDArray[np.integer]) -> npt.NDArray[np.uint8]:
        """Places one thing in each maze, [N] cells; returns the observation."""
        arguments = Arguments("MazeEditor.step")
        if self.finished:
            raise RuntimeError("MazeEditor.step: all steps were made; call reset")
        if not isinstance(actions, np.ndarray) or actions.dtype.kind not in "iu":
            raise arguments.error(
                "actions", "be a NumPy array of integers", type(actions).__name__, kind=TypeError
            )
        arguments.array("actions", actions, [self.num_levels], [str(actions.dtype)])
        if ((actions < 0) | (actions >= self.num_actions)).any():
            wrong = actions[(actions < 0) | (actions >= self.num_actions)][0]
            raise arguments.error("actions", f"be from 0 to {self.num_actions - 1}", wrong)
        cells, each = actions.astype(np.int64), np.arange(self.num_levels)
        if self.elapsed_steps == self._goal_step:
            self._goals = cells
            self._walls[each, cells] = False
        elif self.elapsed_steps == self._goal_step + 1:
            self._agents = np.where(cells == self._goals, (cells + 1) % self.num_actions, cells)
            self._walls[each, self._agents] = False
        else:
            free = (cells != self._goals) & (cells != self._agents)
            self._walls[each[free], cells[free]] = True
        self.elapsed_steps += 1
        return self.observation()

    @property
    def levels(self) -> MazeLevels:
        """The mazes, once all steps were made."""
        if not self.finished:
            raise RuntimeError(
                f"MazeEditor.levels: {self.num_steps - self.elapsed_steps} steps are still to come"
            )
        shape = (self.num_levels, self.height, self.width)
        nowhere = np.full(self.num_levels, -1, np.int64)
        return MazeLevels(
            self._walls.reshape(shape).copy(), self._agents.copy(), self._goals.copy(), nowhere
        )
