"""The benchmarks run, and their harness times only what is right, in turns, by ratios of rounds."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest
from fresh_process import run_python

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"

# The smallest run of each program. Those that train are no matter of seconds; what they train has
# tests of its own, and so has bench_ppo.py.
TRAINING = {"bench_dqn.py", "bench_off_policy.py", "bench_ppo.py", "bench_r3l.py"}
PROGRAMS = {
    "bench_advantages.py": ["--shape", "16x16"],
    "bench_envs.py": ["--sizes", "64"],
    "bench_log_probs.py": ["--shape", "8x64", "--dtype", "float32", "--provider", "fastrl"],
    "bench_policy_losses.py": ["--shape", "2x16"],
    "bench_replay.py": ["--items", "4096"],
}


@pytest.fixture
def harness(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("harness")


def run_benchmark(name, *arguments):
    """What a program printed."""
    return run_python(BENCHMARKS / name, *arguments)


def read_rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_benchmark_is_run_here():
    found = {path.name for path in BENCHMARKS.glob("bench_*.py")}
    assert found - TRAINING == set(PROGRAMS)


@pytest.mark.parametrize("name", PROGRAMS)
def test_benchmark_runs_and_writes_json_lines(name, tmp_path):
    if name not in ("bench_envs.py", "bench_replay.py"):
        pytest.importorskip("torch")
    path = tmp_path / "rows.jsonl"
    arguments = ["--seconds", "0.01", "--threads", "1", "--json", path]
    printed = run_benchmark(name, *PROGRAMS[name], *arguments)
    rows = read_rows(path)
    assert rows
    for row in rows:
        assert "wrong" not in row, row
        if "median_ms" not in row:
            # A ratio of two other rows, or a count.
            assert {"title", "provider"} < row.keys()
            continue
        assert 0 < row["p20_ms"] <= row["median_ms"] <= row["p80_ms"]
        assert row["rounds"] >= 5
        assert {"commit", "date", "device", "threads", "versions"} <= row.keys()
        assert row["title"] in printed
        assert row["provider"] in printed


def test_parity_is_reported(tmp_path):
    path = tmp_path / "parity.md"
    arguments = ["--steps", "60", "--seeds", "3", "--workers", "1", "--only", "Blackjack-v1"]
    run_benchmark("parity_envs.py", *arguments, "--output", path)
    text = path.read_text()
    assert "540 steps compared, **no differences**" in text
    for mode in ("next_step", "same_step", "disabled"):
        assert f"| Blackjack-v1 | {mode} | 180 |" in text


def test_benchmark_of_ppo_runs_and_writes_lines_table_and_picture(tmp_path):
    pytest.importorskip("torch")
    printed = run_benchmark("bench_ppo.py", "--quick", "--out", tmp_path)
    rows = read_rows(tmp_path / "bench_ppo.jsonl")
    assert [row["task"] for row in rows] == ["CartPole-v1", "Acrobot-v1", "Taxi-v3"]
    assert {"commit", "seconds", "env_share", "score", "curve", "config"} <= rows[0].keys()
    assert "Environments' share: at most" in printed
    assert "| Taxi-v3 | 7.7 |" in (tmp_path / "bench_ppo.md").read_text()
    assert (tmp_path / "bench_ppo.png").read_bytes().startswith(b"\x89PNG")


def fails_by_numpy():
    np.testing.assert_array_equal([1], [2])  # its message begins with an empty line


def fails_without_a_word():
    raise AssertionError


@pytest.mark.parametrize("check", [fails_by_numpy, fails_without_a_word])
def test_wrong_provider_is_printed_and_not_timed(harness, check, capsys, tmp_path):
    runs = []
    providers = [
        harness.Provider("good", run=lambda: runs.append("good"), check=lambda: 0.5),
        harness.Provider("bad", run=lambda: runs.append("bad"), check=check),
    ]
    harness.measure(providers, seconds=0.0)
    path = tmp_path / "rows.jsonl"
    harness.report("title", providers, baseline="bad", json_path=str(path))
    assert set(runs) == {"good"}
    assert providers[1].times == []
    good, bad = read_rows(path)
    assert good["median_ms"] > 0
    assert good["max_error"] == 0.5
    assert "speedup" not in good
    assert bad["wrong"]
    assert "median_ms" not in bad
    printed = capsys.readouterr()
    assert printed.out.splitlines()[-1].split() == ["bad", "wrong"]
    assert f"bad: {bad['wrong']}" in printed.err


def test_nothing_is_timed_where_all_are_wrong(harness, capsys):
    provider = harness.Provider("bad", run=lambda: pytest.fail("ran"), check=fails_by_numpy)
    harness.measure([provider], seconds=0.0)
    harness.report("title", [provider])
    assert provider.times == []
    assert capsys.readouterr().out.splitlines()[-1].split() == ["bad", "wrong"]


def test_rounds_run_all_providers_in_turning_order(harness):
    runs = []
    providers = [
        harness.Provider(
            name,
            run=lambda name=name: runs.append(name),
            prepare=lambda name=name: runs.append(name.upper()),
        )
        for name in "abc"
    ]
    harness.measure(providers, seconds=0.0)
    # What the gate prepares, one round of warm-up, five that count.
    assert "".join(runs) == "ABC" + "AaBbCc" + "AaBbCcBbCcAaCcAaBb" + "AaBbCcBbCcAa"
    assert [len(provider.times) for provider in providers] == [5, 5, 5]


def test_ratios_are_taken_within_rounds(harness):
    baseline = harness.Provider("baseline", run=print, times=[2.0, 30.0, 100.0])
    provider = harness.Provider("provider", run=print, times=[1.0, 10.0, 100.0])
    # The ratio of the medians would be 3.
    assert harness.speedup(provider, baseline) == (2.0, 1.0, 3.0)


def test_short_work_is_repeated_until_a_timing_lasts(harness, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(harness.time, "perf_counter", lambda: now[0])

    def run():
        now[0] += 1.0

    short, long = (harness.Provider("", run=run, block=block) for block in (2.5, 0.0))
    short.name = "short"
    harness.measure([short, long], seconds=0.0)
    assert (short.calls, long.calls) == (3, 1)
    assert short.times == long.times == [1.0] * 5


def test_calls_that_are_held_up_do_not_shorten_a_timing(harness, monkeypatch):
    now = [0.0]
    # The call of the warm-up, and one of those that fill the block.
    seconds = iter([100.0, 60.0])
    monkeypatch.setattr(harness.time, "perf_counter", lambda: now[0])

    def run():
        now[0] += next(seconds, 1.0)

    provider = harness.Provider("", run=run, block=25.0)
    harness.measure([provider], seconds=0.0)
    assert 25 <= provider.calls <= 30
    assert provider.times == [1.0] * 5


@pytest.mark.parametrize(
    ("items", "bar", "printed", "verdict"),
    [
        (0, 20_000_000, "≤ 20,000,000 µs", "ok"),
        (0, 1_999_999, "≤ 1,999,999 µs", "missed"),
        (3000, 1500, "≥ 1,500/s", "ok"),
        (3000, 1501, "≥ 1,501/s", "missed"),
    ],
)
def test_bars_say_whether_the_median_keeps_them(
    harness, items, bar, printed, verdict, capsys, tmp_path
):
    times = [1.0, 2.0, 2.0, 4.0]
    provider = harness.Provider("x", run=print, items=items, bar=bar, times=times)
    path = tmp_path / "rows.jsonl"
    harness.report("title", [provider], json_path=str(path))
    (row,) = read_rows(path)
    assert (row["bar"], row["verdict"]) == (printed, verdict)
    assert row.get("per_second") == ([1500.0, 1500.0, 1500.0] if items else None)
    assert capsys.readouterr().out.splitlines()[-1].endswith(f"{printed}  {verdict}")
