"""What every benchmark shares: interleaved timing, the roofline, the gate, memory, the table.

Providers do the same work in turns, round by round, so that a busy moment of the machine hits all
of them. Times are medians with the 20th and 80th percentile; a speed-up is the median of the ratios
to the baseline within a round, with the same percentiles. A provider whose result is wrong is
printed as `wrong` and not timed.
"""

import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import fastrl
from fastrl import _core

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))


@dataclass
class Provider:
    """One way to do the work."""

    name: str
    run: Callable[[], object]
    prepare: Callable[[], object] = lambda: None  # before every run, not timed
    bytes_moved: int = 0  # the least that the work has to read and write
    check: Callable[[], float] | None = None  # raises AssertionError, or gives the largest error
    times: list[float] = field(default_factory=list)
    error: float | None = None
    wrong: str = ""

    def quantile(self, q: float) -> float:
        """A quantile of the times, in seconds."""
        return _quantile(self.times, q)


def _quantile(values: list[float], q: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(q * (len(ordered) - 1)))]


def _timed(run: Callable[[], object], device: str) -> float:
    if device == "cpu":
        begin = time.perf_counter()
        run()
        return time.perf_counter() - begin
    import torch

    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    run()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1e3


def measure(
    providers: list[Provider], *, device: str = "cpu", seconds: float = 20.0, warmup: float = 2.0
) -> None:
    """Fills in errors and times: the gate, a warm-up by time, then rounds in turns."""
    for provider in providers:
        try:
            provider.prepare()
            provider.error = provider.check() if provider.check else None
        except AssertionError as error:
            provider.wrong = str(error).splitlines()[0]
    sound = [provider for provider in providers if not provider.wrong]
    for limit, keep in ((warmup, False), (seconds, True)):
        stop = time.monotonic() + limit
        rounds = 0
        while time.monotonic() < stop or (keep and rounds < 5):
            # The order turns, so that nobody always runs after the same neighbor.
            for provider in sound[rounds % len(sound) :] + sound[: rounds % len(sound)]:
                provider.prepare()
                taken = _timed(provider.run, device)
                if keep:
                    provider.times.append(taken)
            rounds += 1


def speedup(provider: Provider, baseline: Provider) -> tuple[float, float, float]:
    """How many times faster than the baseline: median, 20th and 80th percentile of the rounds."""
    ratios = [b / t for b, t in zip(baseline.times, provider.times, strict=True)]
    return statistics.median(ratios), _quantile(ratios, 0.2), _quantile(ratios, 0.8)


def report(
    title: str,
    providers: list[Provider],
    *,
    baseline: str,
    copy: str | None = None,
    memory: dict[str, float] | None = None,
    device: str = "cpu",
    json_path: str | None = None,
) -> None:
    """Prints the table of one run, and appends it to a file of JSON lines."""
    by_name = {provider.name: provider for provider in providers}
    rows = []
    for provider in providers:
        row: dict[str, object] = {"title": title, "provider": provider.name}
        row["max_error"] = provider.error
        if memory and provider.name in memory:
            row["extra_memory"] = memory[provider.name]
        if provider.wrong:
            row["wrong"] = provider.wrong
        elif provider.times:
            row["median_ms"] = 1e3 * statistics.median(provider.times)
            row["p20_ms"], row["p80_ms"] = (1e3 * provider.quantile(q) for q in (0.2, 0.8))
            row["rounds"] = len(provider.times)
            row["speedup"] = speedup(provider, by_name[baseline])
            if provider.bytes_moved:
                row["gb_per_s"] = provider.bytes_moved / statistics.median(provider.times) / 1e9
        rows.append(row)
    if copy is not None:
        reference = next(row for row in rows if row["provider"] == copy)
        for row in rows:
            if "gb_per_s" in row:
                row["copy_share"] = row["gb_per_s"] / reference["gb_per_s"]
    _print_table(title, rows, baseline)
    if json_path:
        facts = machine(device)
        with Path(json_path).open("a") as file:
            for row in rows:
                file.write(json.dumps(facts | row) + "\n")


def _print_table(title: str, rows: list[dict[str, object]], baseline: str) -> None:
    head = ["provider", "median ms", "p20", "p80", f"× {baseline} (p20–p80)"]
    head += ["GB/s", "% copy", "extra memory", "max error"]

    def number(row: dict[str, object], key: str, form: str, scale: float = 1.0) -> str:
        value = row.get(key)
        return "–" if value is None else form.format(scale * value)

    lines = []
    for row in rows:
        if "wrong" in row:
            lines.append([row["provider"], "wrong", *[""] * 7])
            print(f"{row['provider']}: {row['wrong']}", file=sys.stderr)
            continue
        ratio = row.get("speedup")
        lines.append(
            [
                row["provider"],
                number(row, "median_ms", "{:.2f}"),
                number(row, "p20_ms", "{:.2f}"),
                number(row, "p80_ms", "{:.2f}"),
                "–" if ratio is None else "{:.2f} ({:.2f}–{:.2f})".format(*ratio),
                number(row, "gb_per_s", "{:.1f}"),
                number(row, "copy_share", "{:.0f} %", 100),
                number(row, "extra_memory", "{:.1f} %", 100),
                number(row, "max_error", "{:.1e}"),
            ]
        )
    widths = [max(len(line[i]) for line in [head, *lines]) for i in range(len(head))]
    print(f"\n{title}")
    for line in [head, *lines]:
        cells = [line[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        print("  ".join(cells).rstrip())


def machine(device: str) -> dict[str, object]:
    """The facts without which a number means nothing."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    versions = {}
    for package in ("fastrl", "numpy", "torch", "triton", "trl"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "commit": commit.stdout.strip(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": _device_name(device),
        "threads": fastrl.num_threads(),
        "instruction_set": _core.instruction_set(),
        "python": platform.python_version(),
        "versions": versions,
    }


def _device_name(device: str) -> str:
    if device != "cpu":
        import torch

        return torch.cuda.get_device_name()
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(models)} × {models[0]}" if models else platform.processor()


def peak_extra_bytes(run: Callable[[], object], device: str = "cpu") -> int:
    """Memory that a run needs on top of what is there before it. Call it in a fresh process."""
    if device != "cpu":
        import torch

        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        run()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from now
    before = _status("VmRSS")
    run()
    return max(0, _status("VmHWM") - before)


def _status(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return 1024 * int(line.split()[1])
    raise KeyError(key)


def in_fresh_process(*arguments: str) -> float:
    """The number that a fresh run of the calling benchmark prints last."""
    process = subprocess.run(
        [sys.executable, sys.argv[0], *arguments], capture_output=True, text=True, check=True
    )
    return float(process.stdout.splitlines()[-1])
