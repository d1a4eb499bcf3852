"""Text games beside their reference."""

from fastrl.reference import countdown, form_fill, minesweeper, tic_tac_toe, wordle
from fastrl.reference.envs import level_stream, step_stream

NUM_ENVS = 24
LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORDS = "geese eerie erase sense level eagle first wrong stuck digit after shall small llama"


def twin(name, options, seed, g):
    """The reference's game, as environment g begins after ``reset(seed=seed)``."""
    level = level_stream(seed, g, 0)
    if name == "Minesweeper-v0":
        size = options.get("size", 6)
        return minesweeper.Minesweeper.drawn(
            level,
            options.get("height", size),
            options.get("width", size),
            options.get("num_mines", 3),
            options.get("reward", "lamer"),
            options.get("cascade", True),
            options.get("opening", True),
        )
    if name == "TicTacToe-v0":
        opponent = options.get("opponent", "random")
        mixed = options.get("optimal_probability", 0.5)
        return tic_tac_toe.TicTacToe.drawn(
            level,
            step_stream(seed, g),
            options.get("first", "agent"),
            {"random": 0.0, "optimal": 1.0, "mixed": mixed}[opponent],
            options.get("draw_reward", 0.5),
            options.get("loss_reward", 0.0),
            options.get("occupied", "stay"),
        )
    if name == "Wordle-v0":
        return wordle.Wordle.drawn(
            level,
            options["words"].split(),
            options.get("max_guesses", 6),
            options.get("reward", "binary"),
        )
    if name == "FormFill-v0":
        return form_fill.FormFill.drawn(
            level,
            options.get("num_fields", 4),
            options.get("inference_probability", 0.5),
            options.get("reward", "graded"),
        )
    num_numbers = options.get("num_numbers", 4)
    return countdown.Countdown.drawn(
        level,
        min_numbers=options.get("min_numbers", num_numbers),
        num_numbers=num_numbers,
        max_number=options.get("max_number", 99),
        min_target=options.get("min_target", 10),
        max_target=options.get("max_target", 99),
        attempts=options.get("attempts", 1),
        levels=options.get("levels", "solvable"),
        use_all=options.get("use_all", True),
    )
