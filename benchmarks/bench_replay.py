"""How fast replay adds, draws and takes priorities, next to others', and what late ones do to it.

    python benchmarks/bench_replay.py

cpprb, TorchRL, Tianshou, flashbax and Stable-Baselines3 are compared where they can be imported;
who is missing is said. Everything is the public method, with arrays ready for the learner. All
memories hold the same rows, and each is checked before it is timed: whole rows, shares of the
draws, importance weights. The bars are those that the project has set itself, for a machine with
nothing else to do.
"""

import argparse
import json
from collections import deque
from functools import cache, partial
from itertools import cycle
from pathlib import Path

import fastrl
import numpy as np
import replay_rivals
from fastrl.replay import Field, Prioritized, Uniform
from harness import Provider, in_fresh_process, judge, machine, measure, parse, report, speedup
from replay_rivals import ALPHA, BETA, CHUNK, Drawn, Memory, MissingError, chunk

BLOCK = 0.05  # seconds: long enough that what the others left in the caches counts little
BATCHES = (256, 4096)
OURS = "fastrl"
# Rows a second, and times as fast as a rival.
SAMPLE_BAR = {256: 256 / 16e-6}
SAMPLE_RATIOS = {
    256: {"cpprb": 12, "torchrl": 12, "flashbax": 12, "tianshou": 8},
    4096: {"flashbax": 2.5, "cpprb": 8, "torchrl": 8, "tianshou": 8},
}
UPDATE_RATIO = 2
ADD_BAR, ADD_RATIO = 24e6, 3
INDEX_BYTES = 5
ATARI_BYTES = 7.3e9 / 1e6  # a frame
GROWTH = 1.5
KEY_SETS = 64  # batches whose priorities are set in turn: few would stay in the cache
# The stress: batches wait for so many steps of CHUNK rows, in a ring of so many chunks.
FEW = 8  # environments that give a chunk in several steps
STEPS = f"{OURS}, {CHUNK // FEW} steps of {FEW}"
PREFETCH, RING_CHUNKS, STRESS_STEPS = 8, 16, 64


def ours(capacity: int, *, prioritized: bool = True, num_lanes: int = CHUNK) -> Memory:
    """A chunk is a step of as many environments, or so many steps of `num_lanes`."""
    fields = {
        "observations": ((replay_rivals.OBSERVATION,), "float32"),
        "actions": ((replay_rivals.ACTION,), "float32"),
        "rewards": ((), "float32"),
    }
    sampler = Prioritized(ALPHA, BETA) if prioritized else Uniform()
    buffer = fastrl.ReplayBuffer(capacity, fields, num_lanes=num_lanes, sampler=sampler)
    names = (*fields, "terminated", "truncated")

    def add(rows):
        if num_lanes == CHUNK:
            return buffer.add(**{name: rows[name] for name in names})
        steps = (CHUNK // num_lanes, num_lanes)
        return buffer.add(
            **{name: rows[name].reshape(*steps, *rows[name].shape[1:]) for name in names}
        )

    def view(batch):
        return Drawn(
            batch.rewards,
            batch.observations,
            batch.next_observations,
            batch.handles,
            batch.importance_weights if prioritized else None,
        )

    return Memory(
        OURS,
        add,
        buffer.sample,
        view,
        buffer.update_priorities if prioritized else None,
        lambda: buffer.refused_updates,
    )


MAKERS = {OURS: ours, **replay_rivals.MAKERS}


def makers(arguments, *, prioritized: bool):
    """Who can be here, ours first; who cannot is said."""
    found = {}
    for name in (OURS, *arguments.rivals):
        try:
            MAKERS[name](CHUNK * 4, prioritized=prioritized)
        except MissingError as error:
            print(f"not compared: {error}")
            continue
        found[name] = MAKERS[name]
    return found


@cache
def filled(name: str, capacity: int, prioritized: bool, adding: bool = False) -> Memory:
    make = replay_rivals.ADDING.get(name, MAKERS[name]) if adding else MAKERS[name]
    memory = make(capacity, prioritized=prioritized)
    for number in range(capacity // CHUNK):
        memory.add(chunk(number))
    return memory


def filled_by_steps(capacity: int) -> Memory:
    memory = ours(capacity, num_lanes=FEW)
    for number in range(capacity // CHUNK):
        memory.add(chunk(number))
    return memory


def assert_whole(drawn: Drawn, oldest: int, end: int) -> None:
    numbers = np.asarray(drawn.rewards)
    np.testing.assert_array_equal(drawn.observations[:, 0], numbers)
    np.testing.assert_array_equal(drawn.next_observations[:, 0], numbers + CHUNK)
    assert oldest <= numbers.min(), "rows that are gone"
    assert numbers.max() < end, "rows that have not come"


@cache
def assert_right(name: str, prioritized: bool) -> None:
    """Rows are whole after a wrap-around; shares and weights follow from the priorities."""
    chunks = 8
    memory = MAKERS[name](CHUNK * chunks, prioritized=prioritized)
    for number in range(2 * chunks):
        memory.add(chunk(number))
    oldest, end = CHUNK * chunks, 2 * CHUNK * chunks
    draws, classes = 100, 4
    for _ in range(2 * draws):
        drawn = memory.view(memory.sample(CHUNK))
        assert_whole(drawn, oldest, end)
        if prioritized:
            # At most the first priority, so that the others are drawn and get theirs.
            priorities = (1 + np.asarray(drawn.rewards) % classes) / classes
            memory.update(drawn.keys, priorities.astype(np.float32))
    powers = (1 + np.arange(classes)) ** (ALPHA if prioritized else 0.0)
    shares = powers / powers.sum()
    counts = np.zeros(classes)
    for _ in range(draws):
        drawn = memory.view(memory.sample(CHUNK))
        found = np.asarray(drawn.rewards).astype(int) % classes
        counts += np.bincount(found, minlength=classes)
        if prioritized:
            # Some are divided by the batch's largest: the ratios count.
            ratios = np.asarray(drawn.weights) * powers[found] ** BETA
            np.testing.assert_allclose(ratios, ratios[0], rtol=1e-3)
    total = draws * CHUNK
    off = np.abs(counts - total * shares) / np.sqrt(total * shares * (1 - shares))
    assert off.max() < 6, f"shares {counts / total}, not {shares}"


def row(name: str, memory: Memory, run, items: int, prioritized: bool = True, **limits) -> Provider:
    return Provider(
        memory.name,
        run=run,
        block=BLOCK,
        items=items,
        check=partial(assert_right, name, prioritized),
        **limits,
    )


def compare(arguments, title, providers, ratios, best=None, own_name=OURS):
    """One table, and what the project has promised about it: (rival, bar), or (the best, bar)."""
    measure(list(providers.values()), seconds=arguments.seconds)
    report(title, list(providers.values()), baseline=OURS, json_path=arguments.json)
    own = providers[own_name]
    timed = {name: one for name, one in providers.items() if name != OURS and one.times}
    if not own.times:
        return
    if best and timed:
        # The rival that is best by its median; the ratio is of rounds, as everywhere.
        name = min(timed, key=lambda name: sorted(timed[name].times)[len(timed[name].times) // 2])
        ratios = {name: best}
    claims = [
        (own_name, timed[name].name, speedup(own, timed[name]), bar)
        for name, bar in ratios.items()
        if name in timed
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
    for name in makers(arguments, prioritized=True):
        memory = filled(name, arguments.items, True, adding=name in replay_rivals.ADDING)
        turns = cycle(chunks)

        def run(memory=memory, turns=turns):
            memory.add(next(turns))

        providers[name] = row(name, memory, run, CHUNK)
        if name == OURS:
            few, few_turns = filled_by_steps(arguments.items), cycle(chunks)

            def run_few(memory=few, turns=few_turns):
                memory.add(next(turns))

            check = partial(assert_right, name, True)
            providers[STEPS] = Provider(
                STEPS, run=run_few, block=BLOCK, items=CHUNK, check=check, bar=ADD_BAR
            )
    title = f"{arguments.items:,} rows, PER, add of {CHUNK}"
    compare(arguments, title, providers, {"cpprb": ADD_RATIO}, own_name=STEPS)


def bench_uniform(arguments):
    names = makers(arguments, prioritized=False)
    for n in BATCHES:
        providers = {}
        for name in names:
            memory = filled(name, arguments.items, False)
            run = partial(memory.sample, n)
            providers[name] = row(name, memory, run, n, prioritized=False)
        compare(arguments, f"{arguments.items:,} rows, uniform, sample({n:,})", providers, {})


def say(arguments, title, provider, text, **facts):
    """One line that is no time, and the same for the file."""
    print(f"{provider}: {text}")
    if arguments.json:
        with Path(arguments.json).open("a") as file:
            line = machine("cpu") | {"title": title, "provider": provider} | facts
            file.write(json.dumps(line) + "\n")


def judged(value: float, bar: float) -> dict[str, str]:
    return {"bar": f"≤ {bar:g}", "verdict": "ok" if value <= bar else "missed"}


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def measured_bytes(what: str, items: int) -> int:
    """In a fresh process: resident memory that something takes, once it is full."""
    kind, _, name = what.partition(":")
    if kind == "atari":
        before = resident()
        buffer = fill_frames(items)
        assert len(buffer) > 0
        return resident() - before
    memory = MAKERS[name](CHUNK * 4, prioritized=kind == "prioritized")
    memory.add(chunk(0))  # libraries are loaded, functions compiled
    before = resident()
    memory = filled(name, items, kind == "prioritized")
    return resident() - before + 0 * len(memory.name)


def bench_memory(arguments):
    """What priorities take beside the rows, and frames of which none is stored twice."""
    title = f"{arguments.items:,} rows, bytes of memory for a slot's priority"
    print(f"\n{title}")
    for name in makers(arguments, prioritized=True):
        full, plain = (
            in_fresh_process("--measure", f"{kind}:{name}", "--items", str(arguments.items))
            for kind in ("prioritized", "uniform")
        )
        value = (full - plain) / arguments.items
        facts = judged(value, INDEX_BYTES) if name == OURS else {}
        text = " ".join([f"{value:.1f}", *facts.values()])
        say(arguments, title, filled_name(name), text, bytes_per_slot=value, **facts)
    frames = max(1000, arguments.items // 10)
    title = f"{frames:,} frames of 84 × 84 bytes in stacks of 4, bytes of memory for one"
    print(f"\n{title}")
    value = in_fresh_process("--measure", "atari:", "--items", str(frames)) / frames
    facts = judged(value, ATARI_BYTES)
    text = " ".join([f"{value:,.0f}, 1M frames {value / 1e3:.2f} GB", *facts.values()])
    say(arguments, title, OURS, text, bytes_per_frame=value, **facts)


def filled_name(name: str) -> str:
    return MAKERS[name](CHUNK * 4).name


def fill_frames(frames: int, lanes: int = 8) -> fastrl.ReplayBuffer:
    fields = {
        "observations": Field((84, 84), "uint8", stack=4),
        "actions": ((), "int64"),
        "rewards": ((), "float32"),
    }
    buffer = fastrl.ReplayBuffer(frames, fields, num_lanes=lanes, sampler=Prioritized())
    zeros, going = np.zeros(lanes), np.zeros(lanes, np.bool_)
    for number in range(frames // lanes):
        buffer.add(
            observations=np.full((lanes, 84, 84), number % 255, np.uint8),
            actions=zeros.astype(np.int64),
            rewards=zeros.astype(np.float32),
            terminated=going,
            truncated=going,
        )
    return buffer


def bench_stale(arguments):
    """Learners that are PREFETCH batches behind a ring that wraps around.

    Every priority that comes too late is tiny, all others are 1. So a row that is there and is not
    drawn in many draws has got one that was meant for the row before it.
    """
    title = (
        f"Late priorities: {PREFETCH} batches ahead, {RING_CHUNKS} chunks of {CHUNK} rows, "
        f"{STRESS_STEPS} steps"
    )
    print(f"\n{title}")
    found = makers(arguments, prioritized=True)
    if "cpprb" in found:
        found["cpprb, guarded"] = partial(replay_rivals.cpprb, guarded=True)
    for name, make in found.items():
        memory = make(CHUNK * RING_CHUNKS, prioritized=True)
        late, landed = stress(memory)
        facts = {"late": late, "landed": landed}
        text = f"{late:,} priorities came too late, {landed:,} rows have got one of them"
        if memory.refused is not None:
            facts["refused"] = memory.refused()
            text += f", {facts['refused']:,} were refused"
        if name == OURS:
            facts |= judged(landed, 0)
            text += f"  {facts['verdict']}"
        shown = memory.name + name.removeprefix("cpprb") * name.startswith("cpprb")
        say(arguments, title, shown, text, **facts)


def stress(memory: Memory) -> tuple[int, int]:
    """How many late priorities were sent, and how many rows had one that was not theirs."""
    waiting: deque[Drawn] = deque()
    late, landed = 0, set()
    for number in range(RING_CHUNKS + STRESS_STEPS):
        memory.add(chunk(number))
        if number < RING_CHUNKS:
            continue
        oldest = (number + 1 - RING_CHUNKS) * CHUNK
        waiting.append(memory.view(memory.sample(CHUNK)))
        if len(waiting) > PREFETCH:
            drawn = waiting.popleft()
            gone = np.asarray(drawn.rewards) < oldest
            memory.update(drawn.keys, np.where(gone, 1e-12, 1.0).astype(np.float32))
            late += int(gone.sum())
        if number % PREFETCH == 0:
            # 32 draws for each row that has its share: nobody is missed by chance.
            seen = np.zeros(RING_CHUNKS * CHUNK, np.bool_)
            for _ in range(32 * RING_CHUNKS * CHUNK // BATCHES[1]):
                numbers = np.asarray(memory.view(memory.sample(BATCHES[1])).rewards)
                seen[numbers.astype(np.int64) - oldest] = True
            # Ours draws the newest chunk once it knows its next observations.
            landed.update((oldest + np.flatnonzero(~seen[:-CHUNK])).tolist())
    return late, len(landed)


def episodes(steps: int, lanes: int = 16, length: int = 50) -> fastrl.ReplayBuffer:
    """A buffer full of episodes that follow a goal, as hindsight needs it."""
    fields = {
        "observations": {
            "observation": ((4,), "float32"),
            "achieved_goal": ((2,), "float32"),
            "desired_goal": ((2,), "float32"),
        },
        "actions": ((), "int64"),
        "rewards": ((), "float32"),
    }
    buffer = fastrl.ReplayBuffer(steps, fields, num_lanes=lanes)
    span = length * max(1, min(50, steps // (2 * lanes * length)))  # steps in one call
    ends = np.arange(span) % length == length - 1
    flags = np.repeat(ends[:, None], lanes, axis=1)
    observations = {
        "observation": np.zeros((span, lanes, 4), np.float32),
        "achieved_goal": np.zeros((span, lanes, 2), np.float32),
        "desired_goal": np.ones((span, lanes, 2), np.float32),
    }
    for _ in range(-(-steps // (span * lanes))):
        buffer.add(
            observations=observations,
            actions=np.zeros((span, lanes), np.int64),
            rewards=np.zeros((span, lanes), np.float32),
            terminated=np.zeros_like(flags),
            truncated=flags,
            final_observations=observations,
        )
    return buffer


def bench_growth(arguments):
    """The cost of structure, as the buffer grows: sequences and hindsight, next to plain draws."""
    small = max(arguments.items // 10, 4000)
    sizes = (small, 100 * small)
    rows: dict[str, list[Provider]] = {}
    for steps in sizes:
        buffer = episodes(steps)
        runs = {"sample(256)": partial(buffer.sample, 256)}
        if hasattr(buffer, "sample_sequences"):
            runs["sample_sequences(64, 40)"] = partial(buffer.sample_sequences, 64, 40)
        if hasattr(fastrl.replay, "HER"):
            relabel = fastrl.replay.HER("future", compute_reward=reached)
            runs["sample(256), HER"] = partial(buffer.sample, 256, relabel=relabel)
        for what, run in runs.items():
            provider = Provider(f"{what}, {steps:,} steps", run=run, block=BLOCK)
            rows.setdefault(what, []).append(provider)
    title = "Sequences and hindsight in a small and a large buffer"
    providers = [provider for pair in rows.values() for provider in pair]
    measure(providers, seconds=arguments.seconds)
    report(title, providers, json_path=arguments.json)
    for what, (small, large) in rows.items():
        growth = speedup(small, large)
        facts = judged(growth[0], GROWTH)
        text = f"{growth[0]:.2f} ({growth[1]:.2f}–{growth[2]:.2f}) times as long  " + "  ".join(
            facts.values()
        )
        say(arguments, title, what, text, growth=growth, **facts)


def reached(achieved, desired, info=None):
    return -(np.abs(achieved - desired).max(axis=-1) > 0.05).astype(np.float32)


TABLES = {
    "sample": bench_sample,
    "update": bench_update,
    "add": bench_add,
    "uniform": bench_uniform,
    "memory": bench_memory,
    "stale": bench_stale,
    "growth": bench_growth,
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
        print(measured_bytes(arguments.measure, arguments.items))
        return
    for table in arguments.tables:
        TABLES[table](arguments)


if __name__ == "__main__":
    main()
