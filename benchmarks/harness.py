"""What every benchmark shares: options, interleaved timing, the gate, bars, memory, the table.

Providers do the same work in turns, round by round, so that a busy moment of the machine hits all
of them. Times are medians with the 20th and 80th percentile; a speed-up is the median of the ratios
to the baseline within a round, with the same percentiles. A provider whose result is wrong is
printed as `wrong` and not timed. README.md says what each column means.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from math import ceil
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
    prepare: Callable[[], object] = lambda: None  # before every timing, not timed
    block: float = 0.0  # seconds that a timing lasts at least; shorter work is repeated in it
    bytes_moved: int = 0  # the least that the work has to read and write
    items: int = 0  # how many of something, as steps, one run does; shown per second
    loops: int = 1  # how often a call of `run` runs: to keep this file's own call out of the time
    bar: float | None = None  # to keep: at most so many µs, with `items` at least so many a second
    # Raises AssertionError if the result is wrong, gives its largest error where there is one.
    check: Callable[[], float | None] | None = None
    times: list[float] = field(default_factory=list)
    calls: int = 1  # runs in one timing
    error: float | None = None
    wrong: str = ""


def parse(
    parser: argparse.ArgumentParser, *, seconds: float, device: bool = True
) -> argparse.Namespace:
    """Adds the options that every benchmark has, sets the threads of both sides, says where."""
    if device:
        parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument(
        "--seconds", type=float, default=seconds, help="time to measure a table for (%(default)s)"
    )
    parser.add_argument(
        "--rest", type=float, default=0.0, help="idle so many seconds before each (%(default)s)"
    )
    parser.add_argument("--threads", type=int, default=fastrl.num_threads(), help="of both sides")
    parser.add_argument("--json", help="append the results to this file, one a line")
    arguments = parser.parse_args()
    fastrl.set_num_threads(arguments.threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(arguments.threads)
    print(where(machine(arguments.device if device else "cpu")))
    return arguments


def _quantile(values: list[float], q: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(q * (len(ordered) - 1)))]


def _spread(values: list[float]) -> tuple[float, float, float]:
    """Median, 20th and 80th percentile."""
    return statistics.median(values), _quantile(values, 0.2), _quantile(values, 0.8)


def _timed(provider: Provider, device: str) -> float:
    provider.prepare()
    if device == "cpu":
        begin = time.perf_counter()
        for _ in range(provider.calls):
            provider.run()
        return (time.perf_counter() - begin) / provider.calls / provider.loops
    import torch

    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(provider.calls):
        provider.run()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1e3 / provider.calls / provider.loops


def _rounds(
    providers: list[Provider], *, device: str, seconds: float, least: int
) -> Iterator[tuple[Provider, float]]:
    stop = time.monotonic() + seconds
    turn = 0
    while turn < least or time.monotonic() < stop:
        # The order turns, so that nobody always runs after the same neighbor.
        start = turn % len(providers)
        for provider in providers[start:] + providers[:start]:
            yield provider, _timed(provider, device)
        turn += 1


def _fill_block(provider: Provider, device: str) -> None:
    """Sets `calls` so that they last a block: twice, as one may have been held up, or been cold."""

    def lasts() -> float:
        return _timed(provider, device) * provider.calls * provider.loops

    while (lasted := min(lasts(), lasts())) < provider.block:
        wanted = ceil(1.1 * provider.calls * provider.block / lasted)
        provider.calls = min(max(wanted, provider.calls + 1), 10 * provider.calls)


def measure(
    providers: list[Provider], *, device: str = "cpu", seconds: float = 20.0, rest: float = 0.0
) -> None:
    """Fills in errors and times: the gate, a rest, a warm-up of a tenth of the time, rounds."""
    for provider in providers:
        try:
            provider.prepare()
            provider.error = provider.check() if provider.check else None
        except AssertionError as error:
            provider.wrong = " ".join(str(error).split()) or "the check says no more"
    sound = [provider for provider in providers if not provider.wrong]
    if not sound:
        return
    time.sleep(rest)
    for _ in _rounds(sound, device=device, seconds=seconds / 10, least=1):
        pass
    for provider in sound:
        if provider.block > 0:
            _fill_block(provider, device)
    for provider, taken in _rounds(sound, device=device, seconds=seconds, least=5):
        provider.times.append(taken)


def speedup(provider: Provider, baseline: Provider) -> tuple[float, float, float]:
    """How many times faster than the baseline: median, 20th and 80th percentile of the rounds."""
    return _spread([b / t for b, t in zip(baseline.times, provider.times, strict=True)])


def report(
    title: str,
    providers: list[Provider],
    *,
    baseline: str | None = None,
    copy: str | None = None,
    memory: dict[str, float] | None = None,
    device: str = "cpu",
    json_path: str | None = None,
) -> None:
    """Prints the table of one run, and appends it to a file of JSON lines."""
    by_name = {provider.name: provider for provider in providers}
    rows = [_row(provider, by_name.get(baseline or "")) for provider in providers]
    for row in rows:
        if memory and row["provider"] in memory:
            row["extra_memory"] = memory[row["provider"]]
    if copy is not None:
        reference = next(row for row in rows if row["provider"] == copy)
        for row in rows:
            if "gb_per_s" in row:
                row["copy_share"] = row["gb_per_s"] / reference["gb_per_s"]
    _print_table(title, rows, baseline)
    facts = machine(device) | {"title": title, "baseline": baseline}
    append(json_path, [facts | row for row in rows])


def judge(arguments, title: str, claims) -> None:
    """Prints claims (provider, rival, ratio with spread, bar or 0) and appends them to the file."""
    for one, other, ratio, bar in claims:
        facts = {"provider": one, "baseline": other, "speedup": ratio}
        shown = "{:,.2f} ({:,.2f}–{:,.2f}) times as fast".format(*ratio)
        if bar:
            facts |= {"bar": f"≥ {bar:g} ×", "verdict": "ok" if ratio[0] >= bar else "missed"}
            shown += f"  {facts['bar']}  {facts['verdict']}"
        say(arguments, title, f"{one} / {other}: {shown}", **facts)


def say(arguments, title: str, text: str, **facts) -> None:
    """Prints a line that is no row of a table, and appends its facts to the file."""
    print(text)
    append(arguments.json, [machine("cpu") | {"title": title} | facts])


def append(path: str | Path | None, rows: list[dict[str, object]]) -> None:
    """Adds rows to a file of JSON lines, where there is one to add to."""
    if path:
        with Path(path).open("a") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)


def _row(provider: Provider, baseline: Provider | None) -> dict[str, object]:
    """What one line of the table and of the JSON file says."""
    row: dict[str, object] = {"provider": provider.name}
    if provider.error is not None:
        row["max_error"] = provider.error
    if provider.wrong:
        row["wrong"] = provider.wrong
    if not provider.times:
        return row
    median, p20, p80 = _spread(provider.times)
    row |= {"median_ms": 1e3 * median, "p20_ms": 1e3 * p20, "p80_ms": 1e3 * p80}
    row |= {"rounds": len(provider.times), "calls": provider.calls}
    if baseline is not None and baseline.times:
        row["speedup"] = speedup(provider, baseline)
    if provider.items:
        row["per_second"] = provider.items / median, provider.items / p80, provider.items / p20
    if provider.bytes_moved:
        row["gb_per_s"] = provider.bytes_moved / median / 1e9
    if provider.bar is not None:
        if provider.items:
            row["bar"] = f"≥ {provider.bar:,.0f}/s"
            holds = provider.items / median >= provider.bar
        else:
            row["bar"] = f"≤ {provider.bar:,.{0 if provider.bar >= 1 else 1}f} µs"
            holds = 1e6 * median <= provider.bar
        row["verdict"] = "ok" if holds else "missed"
    return row


def _ratio(value: float) -> str:
    """Two decimals where they say something."""
    return f"{value:,.2f}" if value < 100 else f"{value:,.0f}"


def _print_table(title: str, rows: list[dict[str, object]], baseline: str | None) -> None:
    """Columns behind the median in which no row has anything are left out."""
    in_us = any(row.get("median_ms", 1.0) < 1 for row in rows)

    def taken(milliseconds: float) -> str:
        return f"{1e3 * milliseconds:,.1f}" if in_us else f"{milliseconds:,.2f}"

    columns: list[tuple[str, str, Callable[..., str]]] = [
        ("median µs" if in_us else "median ms", "median_ms", taken),
        ("p20", "p20_ms", taken),
        ("p80", "p80_ms", taken),
        (f"× {baseline} (p20–p80)", "speedup", lambda x: "{} ({}–{})".format(*map(_ratio, x))),
        ("a second (p20–p80)", "per_second", lambda x: "{:,.0f} ({:,.0f}–{:,.0f})".format(*x)),
        ("GB/s", "gb_per_s", "{:.1f}".format),
        ("% copy", "copy_share", "{:.0%}".format),
        ("extra memory", "extra_memory", "{:.1%}".format),
        ("max error", "max_error", "{:.1e}".format),
        ("bar", "bar", str),
        ("", "verdict", str),
    ]
    median, *others = columns
    columns = [median, *(column for column in others if any(column[1] in row for row in rows))]
    lines = [["provider", *(head for head, _, _ in columns)]]
    for row in rows:
        cells = [form(row[key]) if key in row else "" for _, key, form in columns]
        lines.append([row["provider"], *(["wrong", *cells[1:]] if "wrong" in row else cells)])
        if "wrong" in row:
            print(f"{row['provider']}: {row['wrong']}", file=sys.stderr)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    print(f"\n{title}")
    for name, *cells in lines:
        padded = [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)]
        print("  ".join([name.ljust(widths[0]), *padded]).rstrip())


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


def where(facts: dict[str, object]) -> str:
    """These facts on one line."""
    return "fastrl {commit}, {device}, {threads} threads, {instruction_set}".format(**facts)


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
    before = resident()
    run()
    return max(0, _status("VmHWM") - before)


def resident() -> int:
    """Bytes of memory that this process has now."""
    return _status("VmRSS")


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
