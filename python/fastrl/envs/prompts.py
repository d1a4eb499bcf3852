"""Prompts for language models that play the text environments."""

from typing import Final

from fastrl._dispatch import Arguments
from fastrl.envs.vector import VectorEnv
from fastrl.envs.vocabulary import check_string

STYLES: Final = ("ragen", "lamer", "verl_agent")

# Per environment: the rules, what the characters of an observation mean, and one action.
_GAMES: Final[dict[str, tuple[str, str, str]]] = {
    "CodeLock-v0": (
        "A lock opens with a secret code. You enter one digit each turn and are not told whether "
        "it was right; what counts is the whole code.",
        "The digits entered so far are shown, _ marks a digit that is still to come.",
        "3",
    ),
    "Countdown-v0": (
        "Build an arithmetic expression with the target as its value. Use +, -, *, / and brackets, "
        "and each of the given numbers exactly once.",
        "The target and the numbers are shown, then the value of your last expression if there "
        "was one.",
        "(8 - 2) * 4",
    ),
    "FormFill-v0": (
        "Fill in a form as the instruction says; some values have to be worked out. Enter one "
        "field each turn. A field may be entered again to correct it. Finish with submit.",
        "The instruction is shown, then the form; ? marks an empty field.",
        "arrival = 3 May",
    ),
    "FrozenLakeText-v0": (
        "You cross a frozen lake to reach the goal. Stepping into a hole ends the game, and on "
        "slippery ice you may slide sideways. The actions are Left, Down, Right and Up.",
        "P is you, _ ice, O a hole, G the goal.",
        "Right",
    ),
    "Minesweeper-v0": (
        "Open all cells that hide no mine; opening a mine ends the game. An action names the row "
        "and the column of a closed cell, both counted from 1.",
        "? is a closed cell, a digit counts the mines in the eight cells around, and . stands for "
        "none.",
        "(2, 5)",
    ),
    "Sokoban-v0": (
        "Push every box onto a target. You push a box by walking against it when the cell behind "
        "it is free; boxes cannot be pulled. The actions are Up, Down, Left and Right.",
        "# is a wall, _ floor, O a target, X a box, * a box on a target, P you, S you on a target.",
        "Up",
    ),
    "TicTacToe-v0": (
        "You play tic-tac-toe as X against O; three marks in a row win. An action names the free "
        "cell that you take.",
        "X and O are the marks, a number stands for the free cell of that name.",
        "[4]",
    ),
    "Wordle-v0": (
        "Find the secret word. Every guess must be an English word of the right length.",
        "Each guess is shown with a mark for each letter: G right here, Y elsewhere in the word, X "
        "nowhere else in it.",
        "[crane]",
    ),
}

_FORMATS: Final = {
    "ragen": "Reason inside <think> </think>, then answer with one action: "
    "<think>why</think><answer>{action}</answer>",
    "lamer": "Answer with one action inside of tags: <action>{action}</action>",
    "verl_agent": "Reason inside <think> </think>, then act with one action: "
    "<think>why</think><action>{action}</action>",
}


def prompt(env_or_id: VectorEnv | str, style: str, observation: str) -> str:
    """The text that asks a language model for the next action.

    The rules, the signs of the observation, the observation, and how to answer. The tags are those
    of the trainer; `parse_actions` reads them all.

    Args:
        env_or_id: A text environment of `make_vec`, or its id with or without "fastrl/" in front.
        style: "ragen" asks for ``<think>…</think><answer>…</answer>``, "lamer" for
            ``<action>…</action>``, "verl_agent" for ``<think>…</think><action>…</action>``.
        observation: What is to be seen, as from `render_text`.

    Raises:
        ValueError: There is no such style, or no prompt for this environment.
    """
    arguments = Arguments("prompt")
    if isinstance(env_or_id, VectorEnv):
        name = env_or_id._name
    else:
        check_string("prompt", "env_or_id", env_or_id)
        name = env_or_id.removeprefix("fastrl/")
    arguments.choice("env_or_id", name, list(_GAMES))
    arguments.choice("style", style, STYLES)
    check_string("prompt", "observation", observation)
    rules, signs, action = _GAMES[name]
    answer = _FORMATS[style].format(action=action)
    return f"{rules}\n{signs}\n\n{observation}\n\n{answer}"
