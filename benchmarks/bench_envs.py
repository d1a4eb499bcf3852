"""How fast the environments step, restore, branch, render, parse, generate and solve.

    python benchmarks/bench_envs.py [--threads N]

"native" is the call into the compiled core with addresses at hand, "Python" the public method.
Numbers are medians of short blocks, with the best block behind them: where other processes use the
cores, the best says what the code costs. The bars are those that the project has set itself.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import fastrl
import numpy as np
from fastrl._dispatch import address
from fastrl.envs import VectorEnv


class Times(NamedTuple):
    """Seconds of one call."""

    median: float
    best: float


def seconds(call: Callable[[], Any], *, repeats: int = 101, least: float = 0.002) -> Times:
    """Times of one call; each block lasts at least `least` seconds."""
    call()
    start = time.perf_counter()
    call()
    count = max(1, int(least / max(time.perf_counter() - start, 1e-9)))
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        for _ in range(count):
            call()
        times.append((time.perf_counter() - start) / count)
    return Times(statistics.median(times), min(times))


def report(what: str, times: Times, *, items: int | None = None, bar: float | None = None) -> None:
    """A row: µs per call (the bar is an upper one) or items per second (a lower one)."""
    if items is None:
        value, best = times.median * 1e6, times.best * 1e6
        unit, kept, sign = "µs", bar is None or value <= bar, "≤"
    else:
        value, best = items / times.median, items / times.best
        unit, kept, sign = "/s", bar is None or value >= bar, "≥"
    verdict = "" if bar is None else f"{'ok' if kept else 'MISSED'} ({sign} {bar:,.0f})"
    print(f"{what:<56}{value:>14,.1f} {unit:<4}{f'(best {best:,.1f})':<24}{verdict}")


def sokoban(num_envs: int, **options: Any) -> VectorEnv:
    env = fastrl.make_vec("Sokoban-v0", num_envs, size=6, num_boxes=2, **options)
    env.reset(seed=0)
    return env


def bench_time() -> None:
    env = sokoban(1024)
    native = env._native
    ids = np.arange(1024, dtype=np.int64)
    where = address(ids)
    saved = env.snapshot()
    for name, mode in (("restore", 0), ("keep", 1), ("fork", 2)):
        times = seconds(lambda mode=mode: native.restore(saved._native, where, 1024, mode))
        report(f'restore 1,024 Sokoban, rng="{name}", native', times, bar=20)
    report("restore 1,024 Sokoban, Python", seconds(lambda: env.restore(saved)))
    report("snapshot 1,024 Sokoban, Python", seconds(env.snapshot))
    report(
        "snapshot and restore 1,024 Sokoban, Python",
        seconds(lambda: env.restore(env.snapshot())),
        bar=20,
    )
    source, targets = address(ids), address(ids) + 8
    times = seconds(lambda: native.branch(source, 1, targets, 64, 2))
    report("branch 1 → 64 Sokoban, native", times, bar=5)
    report("branch 1 → 64 Sokoban, Python", seconds(lambda: env.branch(0, ids[1:65])))
    report("state hashes of 1,024 Sokoban", seconds(env.state_hash))
    data = saved.tobytes()
    report(f"tobytes, {len(data) / 1024:.0f} KiB", seconds(saved.tobytes))
    report("frombytes", seconds(lambda: fastrl.envs.Snapshot.frombytes(data)))


def bench_steps() -> None:
    random = np.random.default_rng(0)
    for name in ("CodeLock-v0", "FrozenLakeText-v0", "Sokoban-v0"):
        for num_envs in (1, 64, 1024, 8192):
            # Levels are kept, so that this measures steps; level generation has its own rows.
            env = fastrl.make_vec(name, num_envs, num_levels=1000)
            env.reset(seed=0)
            actions = random.integers(0, env.num_actions, num_envs)
            times = seconds(lambda env=env, actions=actions: env.step(actions))
            report(f"{name}, steps with tokens, B = {num_envs}", times, items=num_envs)
    env = sokoban(1024, num_levels=1000)
    texts = [f"<answer>{name}</answer>" for name in random.choice(env.action_names, 1024)]

    def step_in_text() -> None:
        env.step(env.parse_actions(texts)[0])
        env.render_text()

    what = "Sokoban 6×6, 2 boxes, steps: parse, step, render as text"
    report(what, seconds(step_in_text), items=1024, bar=500_000)
    tokens = env.action_tokens[random.integers(0, 4, (1024, 1))]
    lengths = np.ones(1024, np.int32)
    times = seconds(lambda: env.step(env.parse_action_tokens(tokens, lengths)))
    report("the same in tokens", times, items=1024, bar=1_000_000)
    fresh = sokoban(1024, max_episode_steps=20)
    actions = random.integers(0, 4, 1024)
    report(
        "steps with a new level for every episode", seconds(lambda: fresh.step(actions)), items=1024
    )


def bench_levels() -> None:
    for size, boxes in ((6, 1), (6, 2), (8, 2), (10, 4)):
        env = fastrl.make_vec("Sokoban-v0", 256, size=size, num_boxes=boxes)
        what = f"Sokoban {size}×{size}, {boxes} boxes"
        # One environment's reset makes one level on one core.
        single = fastrl.make_vec("Sokoban-v0", 1, size=size, num_boxes=boxes)
        single.reset(seed=0)
        bar = 2000 if (size, boxes) == (6, 2) else None
        times = seconds(single.reset, least=0.02, repeats=21)
        report(f"{what}: levels on one core", times, items=1, bar=bar)
        env.reset(seed=0)
        snapshot = env.snapshot(range(16))
        times = seconds(lambda env=env, snapshot=snapshot: env.solve(snapshot), repeats=5)
        report(f"{what}: solved", times, items=16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--threads", type=int, default=fastrl.num_threads())
    fastrl.set_num_threads(parser.parse_args().threads)
    print(f"{fastrl.num_threads()} threads, Python {sys.version.split()[0]}")
    bench_time()
    bench_steps()
    bench_levels()


if __name__ == "__main__":
    main()
