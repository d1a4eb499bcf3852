"""Kills a process that adds to a buffer and saves it, again and again, and looks at what is left.

    python benchmarks/replay_crash.py --kills 200 --report results/replay_crash.md

A child adds, draws, values and evicts, and saves the buffer every few steps into two folders in
turn; it is killed (SIGKILL) at a random moment. Each time both folders are opened. Each must hold
what was committed there last: a save that was under way is either whole or not there. And what is
loaded must draw the next 10,000 samples that a buffer draws which was never saved, loaded or
killed. Then the next child goes on from the newer folder. The exit status is 1 if anything is
wrong.
"""

import argparse
import hashlib
import os
import platform
import random
import select
import shutil
import signal
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
from fastrl.replay import Field, Prioritized, RankPrioritized, ReplayBuffer

FIELDS = {
    "observations": {"camera": Field((24, 24), "uint8", stack=2), "body": ((4,), "float32")},
    "actions": ((), "int64"),
    "rewards": ((), "float32"),
}
LANES, CAPACITY, SAVE_EVERY = 4, 2000, 3
DRAWN, AHEAD = 512, 20  # samples of a step, and steps that are compared: 10,240 samples
SAMPLERS = {"priorities": Prioritized(), "ranks": RankPrioritized()}
LONGEST = 0.08  # seconds from a child's first step to its end


class Program:
    """A buffer and what is done with it: step k is the same whenever it is run."""

    def __init__(self, buffer=None, step=0):
        self.step = step
        self.buffer = buffer or ReplayBuffer(
            CAPACITY, FIELDS, num_lanes=LANES, n_step=3, sampler=SAMPLERS, seed=1
        )

    def state_dict(self):
        """The step, to be saved along with the buffer."""
        return {"step": self.step}

    def load_state_dict(self, state):
        """Goes on at that step."""
        self.step = state["step"]

    def advance(self):
        """One step; the digest of what it has drawn."""
        self.step += 1
        chance = np.random.default_rng([7, self.step])
        leading = (int(chance.integers(1, 12)), LANES)

        def observations():
            return {
                "camera": chance.integers(0, 256, (*leading, 24, 24), np.uint8),
                "body": chance.random((*leading, 4), np.float32),
            }

        self.buffer.add(
            observations=observations(),
            actions=chance.integers(0, 9, leading),
            rewards=chance.random(leading, np.float32),
            terminated=chance.random(leading) < 0.05,
            truncated=chance.random(leading) < 0.02,
            final_observations=observations(),
        )
        digest = hashlib.blake2b(str(self.buffer.num_added).encode())
        for name in SAMPLERS if self.buffer.num_drawable else ():
            batch = self.buffer.sample(DRAWN // len(SAMPLERS), sampler=name)
            for value in (batch.handles, batch.importance_weights, batch.rewards):
                digest.update(value.tobytes())
            digest.update(batch.next_observations["camera"].tobytes())
            self.buffer.update_priorities(batch.handles, chance.random(len(batch)), sampler=name)
        self.buffer.evict(self.buffer.handles()[:2])
        return digest.digest()

    def save(self, folder):
        """Both, in one commit."""
        return self.buffer.save(folder, extras={"program": self})

    @classmethod
    def load(cls, folder):
        """Goes on from a folder."""
        program = cls.__new__(cls)
        program.buffer = ReplayBuffer.load(folder, extras={"program": program})
        return program


def child(folders, start, says):
    """Goes on from one of the folders, or from nothing, until it is killed."""
    program = Program() if start is None else Program.load(folders[start])
    turn = 0 if start is None else 1 - start
    while True:
        program.advance()
        if program.step % SAVE_EVERY == 0:
            os.write(says, b"begins %d %d\n" % (turn, program.step))
            program.save(folders[turn])
            os.write(says, b"saved %d %d\n" % (turn, program.step))
            turn = 1 - turn
        else:
            os.write(says, b"steps\n")


def run_and_kill(folders, start, after):
    """What the child said, killed so many seconds after its first word."""
    hears, says = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(hears)
            child(folders, start, says)
        finally:
            os._exit(1)  # only an exception ends it by itself
    os.close(says)
    select.select([hears], [], [], 60)
    time.sleep(after)
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    said = b""
    while more := os.read(hears, 1 << 16):
        said += more
    os.close(hears)
    if not os.WIFSIGNALED(status):
        raise RuntimeError("a child ended by itself")
    return [line.split() for line in said.decode().splitlines()]


class Crashes:
    """Kills, and what was found after each."""

    def __init__(self, folders, seed):
        self.folders = folders
        self.chance = random.Random(seed)
        self.committed = [0, 0]  # the step that each folder must hold
        self.twin = Program()  # never saved, loaded or killed
        self.digests = [b""]  # of each of its steps
        self.kills = self.opened = self.samples = 0
        self.while_saving = self.under_way_whole = 0
        self.wrong = []

    def kill_once(self):
        """A child's life, and what it left."""
        newer = max((0, 1), key=lambda turn: self.committed[turn])
        start = newer if self.committed[newer] else None
        said = run_and_kill(self.folders, start, self.chance.uniform(0.0, LONGEST))
        self.kills += 1
        under_way = [None, None]
        for word, *numbers in said:
            if word == "begins":
                under_way[int(numbers[0])] = int(numbers[1])
            elif word == "saved":
                self.committed[int(numbers[0])] = int(numbers[1])
                under_way[int(numbers[0])] = None
        self.while_saving += any(under_way)
        for turn in (0, 1):
            self.look_at(turn, under_way[turn])

    def look_at(self, turn, under_way):
        """Opens a folder and compares it with the buffer that lives on."""
        try:
            program = Program.load(self.folders[turn])
        except (OSError, ValueError) as error:
            if self.committed[turn] or not isinstance(error, FileNotFoundError):
                self.wrong.append(f"kill {self.kills}: {error}")
            return
        self.opened += 1
        if program.step not in (self.committed[turn], under_way):
            expected = f"{self.committed[turn]} or {under_way}"
            self.wrong.append(f"kill {self.kills}: step {program.step} in place of {expected}")
        self.under_way_whole += program.step == under_way
        self.committed[turn] = program.step
        while len(self.digests) <= program.step + AHEAD:
            self.digests.append(self.twin.advance())
        for _ in range(AHEAD):
            if program.advance() != self.digests[program.step]:
                self.wrong.append(f"kill {self.kills}: other samples in step {program.step}")
                return
        self.samples += AHEAD * DRAWN


def report(crashes, seconds):
    wrong = len(crashes.wrong)
    verdict = f"{wrong} things are wrong." if wrong else "Nothing was lost."
    size = sum(path.stat().st_size for path in crashes.folders[0].iterdir()) / 2**20
    lines = [
        "# Buffers that are killed",
        "",
        f"`python benchmarks/replay_crash.py --kills {crashes.kills}`, "
        f"{datetime.now(UTC):%Y-%m-%d}; fastrl {version('fastrl')}, Python "
        f"{platform.python_version()}, {seconds:.0f} seconds. **{verdict}**",
        "",
        f"A buffer of {CAPACITY:,} rows in {LANES} lanes, with frame stacks, 3-step returns and "
        f"two prioritized samplers, saved every {SAVE_EVERY} steps into two folders in turn "
        f"({size:.1f} MiB each).",
        "",
        "| | |",
        "|---|---|",
        f"| SIGKILLs | {crashes.kills} |",
        f"| of these while a save was under way | {crashes.while_saving} |",
        f"| saves under way that had been committed | {crashes.under_way_whole} |",
        f"| folders opened, each with its last commit | {crashes.opened} |",
        f"| samples equal to those of a buffer that lived on | {crashes.samples:,} |",
        f"| steps of the buffer that lived on | {crashes.twin.step:,} |",
        f"| wrong | {wrong} |",
    ]
    return "\n".join([*lines, *(f"\n- {one}" for one in crashes.wrong)]) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--report", type=Path, help="where to write what was found, as Markdown")
    arguments = parser.parse_args()
    top = Path(tempfile.mkdtemp(prefix="fastrl-crash-"))
    begin = time.monotonic()
    try:
        crashes = Crashes([top / "replay-0", top / "replay-1"], arguments.seed)
        for _ in range(arguments.kills):
            crashes.kill_once()
        text = report(crashes, time.monotonic() - begin)
    finally:
        shutil.rmtree(top)
    print(text, end="")
    if arguments.report:
        arguments.report.write_text(text)
    sys.exit(1 if crashes.wrong else 0)


if __name__ == "__main__":
    main()
