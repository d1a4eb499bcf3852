"""Pictures of what evaluations said against environment steps."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from fastrl.recipes.run_log import Record

# By the name of the score: what the axes say.
_AXES = {
    "success": ("environment steps (attempts and retries)", "success without advice"),
    "eval_return": ("environment steps", "mean return, preferred actions"),
    "eval_success": ("environment steps", "success, preferred actions"),
}


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


def plot_scores(
    panels: Mapping[str, Mapping[str, Sequence[Record]]], score_name: str, path: Path
) -> None:
    """Writes a PNG with a panel for each title and a curve of scores for each run in it.

    Needs matplotlib but no display.

    Args:
        panels: Logs of runs by label, by title.
        score_name: As of the runs, "success", "eval_return" or "eval_success".
        path: The file.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, MaxNLocator

    figure = Figure(figsize=(1 + 5 * len(panels), 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (title, runs) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
        for label, records in runs.items():
            axes.plot(*curve(records, score_name), label=label, marker=".", linewidth=1.5)
        x_label, y_label = _AXES[score_name]
        axes.set_xlabel(x_label)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.set_ylabel(y_label)
        if "success" in score_name:
            axes.set_ylim(-0.02, 1.02)
        axes.set_title(title)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=120)
