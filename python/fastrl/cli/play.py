"""Playing an environment in the terminal."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import gymnasium
import numpy as np
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.text import Text

from fastrl._dispatch import Arguments
from fastrl.envs import Environment, compile, load
from fastrl.envs.snapshot import Snapshot
from fastrl.envs.text_vector import TextVectorEnv

# What the documentation calls the actions of environments without texts.
_ACTION_NAMES: Final[dict[str, tuple[str, ...]]] = {
    "Acrobot-v1": ("minus", "none", "plus"),
    "Blackjack-v1": ("stick", "hit"),
    "CartPole-v1": ("left", "right"),
    "CliffWalking-v1": ("up", "right", "down", "left"),
    "CliffWalkingSlippery-v1": ("up", "right", "down", "left"),
    "DarkKeyToDoor-v0": ("up", "down", "left", "right", "stay"),
    "DarkRoom-v0": ("up", "down", "left", "right", "stay"),
    "FrozenLake-v1": ("left", "down", "right", "up"),
    "FrozenLake8x8-v1": ("left", "down", "right", "up"),
    "Maze-v0": ("up", "down", "left", "right"),
    "MountainCar-v0": ("left", "none", "right"),
    "Taxi-v3": ("down", "up", "right", "left", "pickup", "dropoff"),
    "Taxi-v4": ("down", "up", "right", "left", "pickup", "dropoff"),
}
# Of environments whose options decide what an action is.
_OTHER_ACTION_NAMES: Final[dict[str, tuple[str, ...]]] = {"Maze-v0": ("left", "right", "forward")}
_ARROWS: Final = {b"\x1b[A": "up", b"\x1b[B": "down", b"\x1b[C": "right", b"\x1b[D": "left"}
_COMMANDS: Final = "u undo, r reset, q quit"


class Game:
    """One environment, what has happened in its episode, and the way back.

    Attributes:
        message: What there is to say about the last command.
    """

    def __init__(self, env: Environment, name: str, seed: int | None) -> None:
        self.env = env
        self.message = ""
        self._words = _action_words(env, name)
        self._past: list[tuple[Snapshot, int, float, bool]] = []
        self._begin(seed)

    @property
    def has_keys(self) -> bool:
        """Whether every action has a digit."""
        space = self.env.action_space
        return isinstance(space, gymnasium.spaces.Discrete) and space.n <= 10

    def obey(self, command: str) -> bool:
        """Does what a line or a key says; False to stop."""
        word = command.strip()
        self.message = ""
        if word == "q":
            return False
        if word == "u":
            self._undo()
        elif word == "r":
            self._begin(None)
        elif word and self._over:
            self.message = f"The episode is over: {_COMMANDS}."
        elif word:
            try:
                action = self._action(word)
            except ValueError as error:
                self.message = str(error)
            else:
                self._step(action)
        return True

    def board(self) -> str:
        """All there is to see."""
        batch = self.env.batch
        if isinstance(batch, TextVectorEnv):
            return str(batch.render_text()[0])
        if self.env.render_mode is not None:
            return str(self.env.render())
        return str(self.env.observe())

    def state(self) -> str:
        """Steps and return, on one line."""
        return f"step {self._steps}, return {self._return:g}"

    def help(self) -> str:
        """What can be typed."""
        if self._words:
            named = [f"{i} {word}" for i, word in enumerate(self._words) if word != str(i)]
            return f"{', '.join(named or self._words)}; {_COMMANDS}"
        if isinstance(self.env.batch, TextVectorEnv):
            return f"an action in words; {_COMMANDS}"
        return f"an action of {self.env.action_space}; {_COMMANDS}"

    def _begin(self, seed: int | None) -> None:
        self.env.reset(seed=seed)
        self._past.clear()
        self._steps, self._return, self._over = 0, 0.0, False

    def _undo(self) -> None:
        if not self._past:
            self.message = "This is where the episode began."
            return
        snapshot, self._steps, self._return, self._over = self._past.pop()
        self.env.restore(snapshot)
        self.message = "Took a step back."

    def _step(self, action: Any) -> None:
        now = (self.env.snapshot(), self._steps, self._return, self._over)
        _, reward, terminated, truncated, info = self.env.step(action)
        self._past.append(now)
        self._steps += 1
        self._return += reward
        self._over = terminated or truncated
        said = [f"reward {reward:g}"]
        if info.get("action_valid") is False:
            said.append("no action")
        if self._over:
            said.append("the end" if terminated else "out of time")
            said.extend(["success"] if info.get("success") else [])
        self.message = ", ".join(said)

    def _action(self, word: str) -> Any:
        space = self.env.action_space
        if word.lower() in self._words:
            return self._words.index(word.lower())
        if isinstance(self.env.batch, TextVectorEnv) and not _is_digits_of(space, word):
            rows, valid = self.env.batch.parse_actions([word])
            if not valid[0]:
                raise ValueError(f"{word!r} names no action: {self.help()}")
            return rows[0]
        try:
            numbers = [float(part) for part in word.replace(",", " ").split()]
            action = np.array(numbers).reshape(space.shape or ())
        except ValueError:
            raise ValueError(f"{word!r} names no action: {self.help()}") from None
        kind: Any = space.dtype
        cast = action.astype(kind)
        if not np.issubdtype(kind, np.floating) and (cast != action).any():
            raise ValueError(f"{word!r} is no whole number: {self.help()}")
        if not space.contains(np.int64(cast) if space.shape == () else cast):
            raise ValueError(f"{word!r} is out of range: {self.help()}")
        return cast


def play_game(
    source: str, seed: int | None = None, options: Mapping[str, Any] | None = None
) -> None:
    """Plays until q or the end of the input.

    Args:
        source: An id, a C++ file to compile, or a shared library.
        seed: Of the first reset.
        options: Of `make_vec`.
    """
    if seed is not None:
        Arguments("play").integer("--seed", seed, low=0, high=2**64 - 1)
    game = Game(*_make(source, dict(options or {})), seed)
    console = Console()
    if not (sys.stdin.isatty() and console.is_terminal):
        _play_lines(game, console)
    elif game.has_keys:
        _play_keys(game, console)
    else:
        _play_lines(game, console, prompt="> ")


def _make(source: str, options: dict[str, Any]) -> tuple[Environment, str]:
    suffix = Path(source).suffix
    if suffix in (".hpp", ".h", ".hh", ".cpp", ".cc"):
        environment: Any = compile(source)
    elif suffix in (".so", ".dylib"):
        environment = load(source)
    else:
        environment = source.removeprefix("fastrl/")
    plain = Environment(environment, **options)
    if "ansi" in plain.metadata["render_modes"]:
        plain = Environment(environment, render_mode="ansi", **options)
    return plain, source.removeprefix("fastrl/")


def _action_words(env: Environment, name: str) -> tuple[str, ...]:
    if isinstance(env.batch, TextVectorEnv):
        return tuple(word.lower() for word in env.batch.action_names)
    space = env.action_space
    for names in (_ACTION_NAMES.get(name, ()), _OTHER_ACTION_NAMES.get(name, ())):
        if isinstance(space, gymnasium.spaces.Discrete) and len(names) == space.n:
            return names
    return ()


def _is_digits_of(space: Any, word: str) -> bool:
    """Whether a word is the number of an action, and no action's own name."""
    return isinstance(space, gymnasium.spaces.Discrete) and word.isdecimal()


# --- Screens ----------------------------------------------------------------------------------


def _play_lines(game: Game, console: Console, prompt: str = "") -> None:
    """Shows the board after each line of the input."""
    console.print(Text(game.help()))
    console.print(Text(game.board()))
    while True:
        try:
            line = console.input(prompt)
        except EOFError:
            return
        if not game.obey(line):
            return
        console.print(Text(game.board()))
        console.print(Text(": ".join(filter(None, [game.state(), game.message]))))


def _play_keys(game: Game, console: Console) -> None:
    """One live picture, and a key for each action."""
    with _keys() as keys, Live(console=console, auto_refresh=False, screen=True) as live:
        live.update(_picture(game), refresh=True)
        for key in keys:
            if not game.obey(key):
                return
            live.update(_picture(game), refresh=True)


def _picture(game: Game) -> RenderableType:
    return Group(
        Panel(Text(game.board()), title=str(game.env.batch), title_align="left", expand=False),
        Text(game.state()),
        Text(game.message, style="bold"),
        Text(game.help(), style="dim"),
    )


@contextmanager
def _keys() -> Iterator[Iterator[str]]:
    """Keys as they are pressed, arrows by their names; the terminal is as before afterwards."""
    import termios
    import tty

    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)

    def pressed() -> Iterator[str]:
        while key := os.read(terminal, 16):
            yield _ARROWS.get(key, key.decode(errors="ignore"))

    tty.setcbreak(terminal)
    try:
        yield pressed()
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
