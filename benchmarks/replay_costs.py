"""What replay costs beside time: memory, late priorities, and time that grows with the buffer."""

import ctypes
from collections import deque
from functools import partial

import fastrl
import numpy as np
import replay_rivals
from fastrl.replay import Field, Prioritized
from harness import Provider, in_fresh_process, measure, report, resident, say, speedup
from replay_memories import MAKERS, OURS, filled, makers
from replay_rivals import CHUNK, Drawn, Memory, chunk

BLOCK = 0.05  # seconds
LARGE_BATCH = 4096
INDEX_BYTES = 5
ATARI_BYTES = 7.3e9 / 1e6  # a frame
GROWTH = 1.5
PR_SET_THP_DISABLE = 41  # of Linux' prctl
# The stress: batches wait for so many steps of CHUNK rows, in a ring of so many chunks.
PREFETCH, RING_CHUNKS, STRESS_STEPS = 8, 16, 64


def judged(value: float, bar: float) -> dict[str, str]:
    return {"bar": f"≤ {bar:g}", "verdict": "ok" if value <= bar else "missed"}


def measured_bytes(what: str, items: int) -> int:
    """In a fresh process: resident memory that something takes, once it is full.

    Without huge pages, which count whole where a byte of them is touched: how many that are depends
    on where the system places the arrays, by 1.8 bytes a slot from run to run.
    """
    if ctypes.CDLL(None).prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) != 0:
        raise OSError("cannot do without huge pages here")
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
        who = MAKERS[name](CHUNK * 4).name
        say(arguments, title, f"{who}: {text}", provider=who, bytes_per_slot=value, **facts)
    frames = max(1000, arguments.items // 10)
    title = f"{frames:,} frames of 84 × 84 bytes in stacks of 4, bytes of memory for one"
    print(f"\n{title}")
    value = in_fresh_process("--measure", "atari:", "--items", str(frames)) / frames
    facts = judged(value, ATARI_BYTES)
    text = " ".join([f"{value:,.0f}, 1M frames {value / 1e3:.2f} GB", *facts.values()])
    say(arguments, title, f"{OURS}: {text}", provider=OURS, bytes_per_frame=value, **facts)


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
        say(arguments, title, f"{shown}: {text}", provider=shown, **facts)


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
            for _ in range(32 * RING_CHUNKS * CHUNK // LARGE_BATCH):
                numbers = np.asarray(memory.view(memory.sample(LARGE_BATCH)).rewards)
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
    measure(providers, seconds=arguments.seconds, rest=arguments.rest)
    report(title, providers, json_path=arguments.json)
    for what, (small, large) in rows.items():
        growth = speedup(small, large)
        facts = judged(growth[0], GROWTH)
        text = f"{growth[0]:.2f} ({growth[1]:.2f}–{growth[2]:.2f}) times as long  " + "  ".join(
            facts.values()
        )
        say(arguments, title, f"{what}: {text}", provider=what, growth=growth, **facts)


def reached(achieved, desired, info=None):
    return -(np.abs(achieved - desired).max(axis=-1) > 0.05).astype(np.float32)
