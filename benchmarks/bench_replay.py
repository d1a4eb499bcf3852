"""How fast replay adds, draws and takes priorities, next to others', and what late ones do to it.

    python benchmarks/bench_replay.py

cpprb, TorchRL, Tianshou, flashbax and Stable-Baselines3 are compared where they can be imported;
who is missing is said. Everything is the public method, with arrays ready for the learner. All
memories hold the same rows, and each is checked before it is timed: whole rows, shares of the
draws, importance weights. The bars are those that the project has set itself, for a machine with
nothing else to do.
"""

import argparse
from functools import partial
from itertools import cycle

import numpy as np
import replay_costs
import replay_rivals
from harness import Provider, judge, measure, parse, report, speedup
from replay_memories import OURS, assert_right, filled, filled_by_steps, makers, shaped
from replay_rivals import CHUNK, Memory, chunk

BLOCK = 0.05  # seconds: long enough that what the others left in the caches counts little
BATCHES = (256, 4096)
# Rows a second, and times as fast as a rival.
SAMPLE_BAR = {256: 256 / 16e-6}
SAMPLE_RATIOS = {
    256: {"cpprb": 12, "torchrl": 12, "flashbax": 12, "tianshou": 8},
    4096: {"flashbax": 2.5, "cpprb": 8, "torchrl": 8, "tianshou": 8},
}
UPDATE_RATIO = 2
ADD_BAR, ADD_RATIO = 24e6, 3
KEY_SETS = 64  # batches whose priorities are set in turn: few would stay in the cache
# So many environments give a chunk, in one step or in several.
LANES = {CHUNK: OURS, 8: f"{OURS}, {CHUNK // 8} steps of 8", 1: f"{OURS}, {CHUNK} steps of 1"}


def row(name: str, memory: Memory, run, items: int, prioritized: bool = True, **limits) -> Provider:
    return Provider(
        memory.name,
        run=run,
        block=BLOCK,
        items=items,
        check=partial(assert_right, name, prioritized),
        **limits,
    )


def compare(arguments, title, providers, ratios, best=None, own_names=(OURS,)):
    """One table, and what the project has promised about it: (rival, bar), or (the best, bar)."""
    measure(list(providers.values()), seconds=arguments.seconds, rest=arguments.rest)
    report(title, list(providers.values()), baseline=OURS, json_path=arguments.json)
    timed = {name: one for name, one in providers.items() if name not in own_names and one.times}
    if best and timed:
        # The rival that is best by its median; the ratio is of rounds, as everywhere.
        name = min(timed, key=lambda name: sorted(timed[name].times)[len(timed[name].times) // 2])
        ratios = {name: best}
    claims = [
        (own_name, timed[name].name, speedup(providers[own_name], timed[name]), bar)
        for own_name in own_names
        for name, bar in ratios.items()
        if name in timed and providers[own_name].times
    ]
    judge(arguments, title, claims)


def bench_sample(arguments):
    """Prioritized batches with their importance weights."""
    names = makers(arguments, prioritized=True)
    for n in BATCHES:
        providers = {}
        for name in names:
            memory = filled(name, arguments.items, True)
            bar = {"bar": SAMPLE_BAR.get(n)} if name == OURS else {}
            providers[name] = row(name, memory, partial(memory.sample, n), n, **bar)
        title = f"{arguments.items:,} rows of {replay_rivals.ROW_BYTES} bytes, PER, sample({n:,})"
        compare(arguments, title, providers, SAMPLE_RATIOS[n])


def bench_update(arguments):
    """Priorities of batches that were drawn, which change from call to call."""
    names = makers(arguments, prioritized=True)
    random = np.random.default_rng(0)
    for n in BATCHES:
        providers = {}
        for name in names:
            memory = filled(name, arguments.items, True)
            keys = [memory.view(memory.sample(n)).keys for _ in range(KEY_SETS)]
            values = [random.uniform(0.1, 1.0, n).astype(np.float32) for _ in keys]
            turns = cycle(zip(keys, values, strict=True))

            def run(memory=memory, turns=turns):
                memory.update(*next(turns))

            providers[name] = row(name, memory, run, n)
        title = f"{arguments.items:,} rows, update_priorities of {n:,}"
        compare(arguments, title, providers, {}, best=UPDATE_RATIO)


def bench_add(arguments):
    """A step of CHUNK environments, or several of a few; each row gets its first priority."""
    providers = {}
    chunks = [chunk(number) for number in range(16)]

    def adding(memory, rows):
        turns = cycle(rows)

        def run():
            memory.add(next(turns))

        return run

    check = partial(assert_right, OURS, True)
    for num_lanes, name in LANES.items():
        memory = filled_by_steps(arguments.items, num_lanes)
        run = adding(memory, [shaped(rows, num_lanes) for rows in chunks])
        providers[name] = Provider(
            name, run=run, block=BLOCK, items=CHUNK, check=check, bar=ADD_BAR
        )
    for name in makers(arguments, prioritized=True):
        if name != OURS:
            memory = filled(name, arguments.items, True, adding=name in replay_rivals.ADDING)
            providers[name] = row(name, memory, adding(memory, chunks), CHUNK)
    title = f"{arguments.items:,} rows, PER, add of {CHUNK}"
    compare(arguments, title, providers, {"cpprb": ADD_RATIO}, own_names=tuple(LANES.values()))


def bench_uniform(arguments):
    names = makers(arguments, prioritized=False)
    for n in BATCHES:
        providers = {}
        for name in names:
            memory = filled(name, arguments.items, False)
            run = partial(memory.sample, n)
            providers[name] = row(name, memory, run, n, prioritized=False)
        compare(arguments, f"{arguments.items:,} rows, uniform, sample({n:,})", providers, {})


TABLES = {
    "sample": bench_sample,
    "update": bench_update,
    "add": bench_add,
    "uniform": bench_uniform,
    "memory": replay_costs.bench_memory,
    "stale": replay_costs.bench_stale,
    "growth": replay_costs.bench_growth,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument(
        "--rivals", nargs="*", choices=replay_rivals.MAKERS, default=list(replay_rivals.MAKERS)
    )
    parser.add_argument("--items", type=int, default=1_000_000, help="rows (%(default)s)")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parse(parser, seconds=2.0, device=False)
    if arguments.measure:
        print(replay_costs.measured_bytes(arguments.measure, arguments.items))
        return
    for table in arguments.tables:
        TABLES[table](arguments)


if __name__ == "__main__":
    main()
