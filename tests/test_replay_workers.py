"""Many writers and one learner: threads, processes, and their deaths.

FASTRL_TEST_KILLS says how many writers are killed; benchmarks/replay_writers.py is the large form
of the check for torn rows.
"""

import os
import threading
from pathlib import Path

import numpy as np
from fastrl.replay import Prioritized, ReplayBuffer, Uniform
from fresh_process import run_python
from told_rows import FIELDS, name_of, steps, torn

KILLED = """
    import os, signal, sys, time
    import numpy as np
    from fastrl.replay import Prioritized, RankPrioritized, ReplayBuffer
    from told_rows import FIELDS, steps, torn
    samplers = {"priority": Prioritized(), "rank": RankPrioritized()}
    storage = sys.argv[1]
    buffer = ReplayBuffer(6000, FIELDS, num_lanes=3, storage=storage, sampler=samplers)
    random = np.random.default_rng(1)
    num_torn = 0
    buffer.add(**steps(0, 500, 3))
    rows = steps(0, 900, 3)
    rows["final_observations"] = rows["observations"] + np.array([1, 2, 3, 5])
    rows["truncated"][-1] = True
    for kill in range(int(sys.argv[2])):
        child = os.fork()
        if child == 0:
            buffer.end_episode([0, 1, 2])
            while True:
                buffer.add(**rows)
        time.sleep(0.002 + random.random() * 0.03)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        for sampler in samplers:
            batch = buffer.sample(2000, sampler=sampler)
            num_torn += torn(batch)
            values = random.random(2000)
            assert buffer.update_priorities(batch.handles, values, sampler=sampler) == 2000
        all_rows = buffer.gather(buffer.handles())
        num_torn += torn(all_rows)
        assert len(all_rows) == buffer.num_drawable > 1000
    print(num_torn, buffer.num_repairs)
"""


def test_the_learner_goes_on_when_writers_are_killed():
    kills = os.environ.get("FASTRL_TEST_KILLS", "8")
    num_torn, num_repairs = map(int, run_python(KILLED, name_of("kills"), kills).split())
    assert num_torn == 0
    assert num_repairs > 0


def test_threads_write_and_draw_at_once():
    buffer = ReplayBuffer(
        4000, FIELDS, num_lanes=4, sampler={"a": Prioritized(), "b": Uniform("stratified")}
    )
    buffer.add(**steps(0, 10, 4))
    errors, running = [], threading.Event()
    running.set()

    def write(lane):
        try:
            for step in range(10, 6010, 60):
                buffer.add(**steps(1e6 * lane + step, 60), lanes=[lane])
        except Exception as error:
            errors.append(error)

    def draw(sampler, n):
        try:
            while running.is_set():
                batch = buffer.sample(n, sampler=sampler)
                errors.extend(["torn"] * torn(batch))
                if sampler == "a":
                    buffer.update_priorities(batch.handles, np.ones(n))
                buffer.sample_sequences(4, 5)
        except Exception as error:
            errors.append(error)

    # Many sizes, so that the sets of arrays for them come and go.
    learners = [
        threading.Thread(target=draw, args=(sampler, n))
        for sampler in ("a", "b")
        for n in (16, 17, 18)
    ]
    writers = [threading.Thread(target=write, args=(lane,)) for lane in range(4)]
    for thread in learners + writers:
        thread.start()
    for thread in writers:
        thread.join()
    running.clear()
    for thread in learners:
        thread.join()
    assert not errors
    assert buffer.num_added == 4 * 6010


def test_the_program_that_looks_for_torn_rows():
    program = Path(__file__).parents[1] / "benchmarks" / "replay_writers.py"
    options = ["--rows", "20000", "--capacity", "20000", "--batch", "512", "--kills", "2"]
    said = run_python(program, *options)
    assert "torn 0" in said
    assert "kills 2" in said
