"""Whether a row is ever torn, with 16 writing threads, 4 writing processes and one learner at once.

    python benchmarks/replay_writers.py

Every row carries a checksum over all of its numbers, and the learner, who draws by priority from a
buffer in shared memory and gives new priorities, checks each row that it draws and the row after
it. The limiter keeps both sides at work until so many rows were drawn (--rows). With --kills so
many of the writing processes are killed meanwhile, at random moments, and replaced. Prints the rows
added and drawn, the seconds, the torn rows, how often either side waited, and the calls that were
undone; the exit status is 1 if any row was torn.
"""

import argparse
import multiprocessing
import os
import sys
import threading
import time

import harness
import numpy as np
from fastrl.replay import Prioritized, ReplayBuffer, SamplesPerInsert

THREADS, PROCESSES = 16, 4
NUMBERS = 16  # of an observation: the writer's name, the row's, random ones, and the checksum
FIELDS = {
    "observations": ((NUMBERS,), "uint64"),
    "actions": ((), "uint64"),  # a checksum of the observation and the reward
    "rewards": ((), "float64"),
}
FACTORS = np.random.default_rng(0).integers(1, 2**63, NUMBERS, np.uint64) * np.uint64(
    2
) + np.uint64(1)
MOST_STEPS = 128


def checksums(numbers):
    """Of [..., NUMBERS - 1] numbers, modulo 2^64."""
    mixed = numbers * FACTORS[:-1]
    return (mixed ^ mixed >> np.uint64(29)).sum(-1) * FACTORS[-1]


def make_observations(random, writer, first, count):
    """Rows first, first + 1, … of a writer."""
    made = random.integers(0, 2**64, (count, NUMBERS), np.uint64)
    made[:, 0] = writer
    made[:, 1] = np.arange(first, first + count)
    made[:, -1] = checksums(made[:, :-1])
    return made


def num_torn(batch):
    """Rows that are not as they were written, or not the next one of the same writer."""
    now, following = batch.observations, batch.next_observations
    torn = (checksums(now[:, :-1]) != now[:, -1]) | (
        checksums(following[:, :-1]) != following[:, -1]
    )
    torn |= batch.actions != (now[:, -1] ^ batch.rewards.view(np.uint64))
    torn |= (following[:, 0] != now[:, 0]) | (following[:, 1] != now[:, 1] + np.uint64(1))
    return int(torn.sum())


def write(buffer, lane, seed, stop):
    """Adds chunks of random lengths, with ends of episodes among them, until it is told to stop."""
    random = np.random.default_rng(seed)
    buffer.end_episode([lane])  # of a writer that was killed
    row = 0
    while not stop.value:
        count = int(random.integers(1, MOST_STEPS + 1))
        observations = make_observations(random, seed, row, count + 1)
        rewards = random.random(count)
        ended = np.zeros(count, bool)
        ended[-1] = random.random() < 0.3
        finals = np.broadcast_to(observations[-1], (count, 1, NUMBERS))
        try:
            buffer.add(
                observations=observations[:count, None],
                actions=(observations[:count, -1] ^ rewards.view(np.uint64))[:, None],
                rewards=rewards[:, None],
                terminated=ended[:, None],
                truncated=np.zeros((count, 1), bool),
                final_observations=finals,
                lanes=[lane],
                timeout=1,
            )
        except TimeoutError:  # it looks whether it is to stop
            continue
        row += count + int(ended[-1])


def start_process(buffer, lane, seed, stop):
    process = multiprocessing.get_context("spawn").Process(
        target=write, args=(buffer, lane, seed, stop), daemon=True
    )
    process.start()
    return process


def learn(buffer, rows, n, between):
    """Draws and checks that many rows; returns how many were torn, and of how many."""
    random = np.random.default_rng(1)
    torn = drawn = 0
    while drawn < rows:
        batch = buffer.sample(n)
        torn += num_torn(batch)
        drawn += n
        buffer.update_priorities(batch.handles, random.random(n))
        between(drawn)
    return torn, drawn


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10**7, help="to draw and check (%(default)s)")
    parser.add_argument("--capacity", type=int, default=200_000)
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--ratio", type=float, default=1.0, help="rows drawn per row added")
    parser.add_argument("--kills", type=int, default=0, help="of writing processes")
    parser.add_argument("--json", help="append the result to this file")
    arguments = parser.parse_args()
    lanes = THREADS + PROCESSES
    buffer = ReplayBuffer(
        arguments.capacity,
        FIELDS,
        num_lanes=lanes,
        storage=f"shared:fastrl-writers-{os.getpid()}",
        sampler=Prioritized(),
        limiter=SamplesPerInsert(
            arguments.ratio, min_size=arguments.batch, error_buffer=4 * arguments.batch
        ),
    )
    stop = multiprocessing.get_context("spawn").RawValue("b")  # no lock that dies with a writer
    threads = [
        threading.Thread(target=write, args=(buffer, lane, lane, stop)) for lane in range(THREADS)
    ]
    processes = {lane: start_process(buffer, lane, lane, stop) for lane in range(THREADS, lanes)}
    kills = 0

    def kill_some(drawn):
        nonlocal kills
        if kills >= arguments.kills or drawn * arguments.kills < (kills + 1) * arguments.rows * 0.9:
            return
        lane = THREADS + kills % PROCESSES
        processes[lane].kill()
        processes[lane].join()
        kills += 1
        processes[lane] = start_process(buffer, lane, lanes + kills, stop)

    begin = time.perf_counter()
    try:
        for thread in threads:
            thread.start()
        torn, drawn = learn(buffer, arguments.rows, arguments.batch, kill_some)
    finally:
        stop.value = 1
        for thread in threads:
            thread.join()
        for process in processes.values():
            process.join()
    add_waits, sample_waits = buffer.num_waits
    result = {
        "drawn": drawn,
        "added": buffer.num_added,
        "seconds": round(time.perf_counter() - begin, 1),
        "torn": torn,
        "writers_waited": add_waits,
        "learner_waited": sample_waits,
        "refused_updates": buffer.refused_updates,
        "kills": kills,
        "repairs": buffer.num_repairs,
    }
    print(", ".join(f"{name.replace('_', ' ')} {value:,}" for name, value in result.items()))
    harness.append(arguments.json, [result])
    return 1 if torn else 0


if __name__ == "__main__":
    sys.exit(main())
