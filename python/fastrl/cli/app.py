"""The commands: train, demo, play, envs, info."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Reinforcement learning on trajectories, natively.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@contextmanager
def _errors_on_one_line() -> Iterator[None]:
    """What the user can mend ends the command with a line; training itself stays outside."""
    try:
        yield
    except (TypeError, ValueError, OSError) as error:
        typer.echo(" ".join(f"fastrl: error: {error}".split()), err=True)
        raise typer.Exit(2) from error


@app.command()
def train(
    algorithm: Annotated[str, typer.Argument(help="r3l, grpo, ppo, dqn, sac or her")],
    env: Annotated[
        str | None,
        typer.Option(help="id of an environment [one that suits the algorithm]"),
    ] = None,
    seed: Annotated[int, typer.Option(help="of everything random")] = 0,
    levels: Annotated[
        int | None,
        typer.Option(
            help="train on so many fixed levels; 0 draws a new one every time [1, without texts 0]"
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            help="budget of environment steps [100000, without texts as the environment needs]"
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="the run's folder; a run in it goes on")] = Path("runs"),
    learning_rate: Annotated[
        float | None,
        typer.Option(help="of Adam [0.001, without texts as the environment needs]"),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            help="key=value, of the environment (for r3l and grpo observation=compact if not "
            "given) or of the run"
        ),
    ] = None,
) -> None:
    """Train an algorithm; a killed run goes on where its last checkpoint was."""
    from fastrl._dispatch import Arguments
    from fastrl.cli.recipes import RECIPES, read_config
    from fastrl.cli.runs import open_runs, run_training

    flags = {"env": env, "seed": seed, "env_steps": steps, "learning_rate": learning_rate}
    with _errors_on_one_line():
        recipe = RECIPES[Arguments("train").choice("algorithm", algorithm, list(RECIPES))]
        given = {name: value for name, value in flags.items() if value is not None}
        config = read_config(recipe, given, levels, option or [])
        folders, picture = {recipe.label: out}, out / recipe.picture
        runs = open_runs(recipe.run, {recipe.label: config}, folders, picture)
    run_training(runs, folders, picture, f"{recipe.label}, {config.env}, seed {seed}")


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="where the runs and the picture go")] = Path("demo"),
    seed: Annotated[int, typer.Option(help="of everything random")] = 0,
) -> None:
    """Train GRPO and R³L on one environment, and compare them."""
    from fastrl.cli.runs import open_runs, run_training
    from fastrl.recipes.demo import DEMO_TITLE, demo_configs
    from fastrl.recipes.train import Trainer

    with _errors_on_one_line():
        configs = demo_configs(seed)
        folders = {label: out / config.algorithm for label, config in configs.items()}
        picture = out / "success.png"
        runs = open_runs(Trainer, configs, folders, picture)
    run_training(runs, folders, picture, f"{DEMO_TITLE}, seed {seed}")


@app.command()
def play(
    env: Annotated[str, typer.Argument(help="id, or a C++ header or shared library of your own")],
    seed: Annotated[int | None, typer.Option(help="of the levels and all that is random")] = None,
    option: Annotated[
        list[str] | None, typer.Option(help="key=value, of the environment or of make_vec")
    ] = None,
) -> None:
    """Play an environment in the terminal; u takes a step back.

    Keys choose actions where these are few, words and numbers elsewhere. Without a terminal each
    line of the input is one action, or u, r (reset) and q (quit).
    """
    from fastrl.cli.options import read_option
    from fastrl.cli.play import play_game

    with _errors_on_one_line():
        play_game(env, seed, dict(read_option("play", text) for text in option or []))


@app.command()
def envs(
    ids: Annotated[list[str] | None, typer.Argument(help="which; all if none is named")] = None,
) -> None:
    """List the environments with their spaces and the defaults of their options."""
    from fastrl.cli.library import print_environments

    with _errors_on_one_line():
        print_environments(ids or [])


@app.command()
def info() -> None:
    """Print what this build has and what it runs on."""
    from fastrl.cli.build_info import print_info

    with _errors_on_one_line():
        print_info()
