"""Pictures of success against environment steps."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from fastrl.recipes.run_log import Record


def success_curve(records: Sequence[Record]) -> tuple[list[int], list[float]]:
    """Environment steps and success of every evaluation in a log."""
    evaluations = [record for record in records if "success" in record]
    return [r["env_steps"] for r in evaluations], [r["success"] for r in evaluations]


def steps_to_success(records: Sequence[Record], target: float) -> int | None:
    """Environment steps at the first evaluation that reached the target, None if none did."""
    for steps, success in zip(*success_curve(records), strict=True):
        if success >= target:
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
        axes.plot(*success_curve(records), label=label, marker=".", linewidth=1.5)
    axes.set_xlabel("environment steps (attempts and retries)")
    axes.set_ylabel("success without advice")
    axes.set_ylim(-0.02, 1.02)
    axes.set_title(title)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)
