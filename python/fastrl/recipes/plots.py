"""Pictures of success and of returns against environment steps."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from fastrl.recipes.run_log import Record


def curve(records: Sequence[Record], key: str) -> tuple[list[int], list[float]]:
    """Environment steps and values of every record in a log that has the key."""
    having = [record for record in records if key in record]
    return [record["env_steps"] for record in having], [record[key] for record in having]


def steps_to(records: Sequence[Record], key: str, target: float) -> int | None:
    """Environment steps at the first evaluation that reached the target, None if none did."""
    for steps, value in zip(*curve(records, key), strict=True):
        if value >= target:
            return steps
    return None


def plot_success(runs: Mapping[str, Sequence[Record]], title: str, path: Path) -> None:
    """Writes a PNG with one curve per run; needs matplotlib but no display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for label, records in runs.items():
        axes.plot(*curve(records, "success"), label=label, marker=".", linewidth=1.5)
    axes.set_xlabel("environment steps (attempts and retries)")
    axes.set_ylabel("success without advice")
    axes.set_ylim(-0.02, 1.02)
    axes.set_title(title)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)


def plot_returns(panels: Mapping[str, Mapping[str, Sequence[Record]]], path: Path) -> None:
    """Writes a PNG with a panel for each environment and a curve of evaluations for each run."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1 + 5 * len(panels), 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (title, runs) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
        for label, records in runs.items():
            axes.plot(*curve(records, "eval_return"), label=label, marker=".", linewidth=1.5)
        axes.set_xlabel("environment steps")
        axes.set_ylabel("mean return, most likely actions")
        axes.set_title(title)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=120)
