"""Many writers and one learner: threads, processes, their deaths, the limiter and the prefetcher.

FASTRL_TEST_KILLS says how many writers are killed; benchmarks/replay_writers.py is the large form
of the check for torn rows.
"""

import gc
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

import numpy as np
import pytest
from fastrl.replay import (
    HER,
    Field,
    MixReplay,
    Prefetcher,
    Prioritized,
    ReplayBuffer,
    SamplesPerInsert,
    Uniform,
    remove_shared_buffer,
    shared_buffers,
)

FIELDS = {"observations": ((4,), "float64"), "actions": ((), "int64"), "rewards": ((), "float32")}
SPAWN = multiprocessing.get_context("spawn")


def name_of(what):
    return f"shared:fastrl-{what}-{os.getpid()}"


def steps(first, num_steps=1, num_lanes=1):
    """Rows of which every number follows from the first one, lanes a million apart."""
    names = first + np.arange(num_steps)[:, None] + 1e6 * np.arange(num_lanes)
    flags = np.zeros(names.shape, bool)
    return {
        "observations": names[..., None] * np.array([1, 2, 3, 5]),
        "actions": names.astype(np.int64),
        "rewards": (names % 1000).astype(np.float32),
        "terminated": flags,
        "truncated": flags,
    }


def torn(batch):
    """How many items are not a step and the one after it."""
    names = np.asarray(batch.actions, np.float64)
    factors = np.array([1, 2, 3, 5])
    whole = (batch.observations == names[:, None] * factors).all(1)
    whole &= (batch.next_observations == (names + 1)[:, None] * factors).all(1)
    whole &= batch.rewards == (names % 1000).astype(np.float32)
    return int((~whole).sum())


def run(code, **options):
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=100, **options
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


# Processes


def write_as_child(buffer, lane, count):
    for step in range(0, count, 10):
        buffer.add(**steps(1e6 * lane + step, 10), lanes=[lane])


def test_a_pickled_buffer_attaches():
    storage = name_of("pickled")
    buffer = ReplayBuffer(600, FIELDS, num_lanes=2, storage=storage, sampler=Prioritized())
    children = [SPAWN.Process(target=write_as_child, args=(buffer, lane, 200)) for lane in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join()
        assert child.exitcode == 0
    assert buffer.num_added == 400
    assert buffer.num_repairs == 0
    assert torn(buffer.sample(300)) == 0
    other = pickle.loads(pickle.dumps(buffer))
    assert other.samplers == buffer.samplers
    other.add(**steps(500, 10), lanes=[0])
    assert buffer.num_added == 410


def test_what_cannot_be_pickled_says_why(tmp_path):
    with pytest.raises(TypeError, match="only one that processes can share can be pickled, made w"):
        pickle.dumps(ReplayBuffer(20, FIELDS))
    storage = name_of("renamed")
    buffer = ReplayBuffer(20, FIELDS, storage=storage)
    pickled = pickle.dumps(buffer)
    with pytest.raises(FileExistsError, match="cannot create shared memory 'fastrl-renamed"):
        ReplayBuffer(20, FIELDS, storage=storage)
    del buffer
    with pytest.raises(FileNotFoundError, match="cannot open shared memory 'fastrl-renamed"):
        pickle.loads(pickled)
    another = ReplayBuffer(20, FIELDS, storage=storage)
    with pytest.raises(RuntimeError, match="is not the buffer that was pickled: that one is gone"):
        pickle.loads(pickled)
    assert len(another) == 0
    file = ReplayBuffer(20, FIELDS, storage=tmp_path / "file")
    file.add(**steps(7, 5))
    assert len(pickle.loads(pickle.dumps(file))) == 5


def test_a_forked_child_shares_what_is_shared():
    code = f"""if True:
        import os, numpy as np
        from fastrl.replay import ReplayBuffer
        fields = {{"observations": ((2,), "float32")}}
        def step(buffer):
            flags = np.zeros(1, bool)
            buffer.add(observations=np.ones((1, 2)), terminated=flags, truncated=flags)
        own = ReplayBuffer(20, fields)
        shared = ReplayBuffer(20, fields, storage="{name_of("forked")}")
        for buffer in (own, shared):
            step(buffer)
        if os.fork() == 0:
            try:
                step(own)
            except RuntimeError as error:
                print(str(error).replace(" ", "_"), flush=True)
            step(shared)
            del shared, own
            os._exit(0)
        os.wait()
        print(len(own), len(shared), flush=True)
        ReplayBuffer.open("{name_of("forked")}")  # its name is still there
    """
    error, own, shared = run(code)
    assert error.startswith("ReplayBuffer:_made_before_a_fork,_in_memory_that_the_processes_do_not")
    assert (own, shared) == ("1", "2")
    assert not [found for found in shared_buffers() if found.storage == name_of("forked")]


def test_the_memory_of_a_killed_owner_is_found():
    storage = name_of("killed")
    code = f"""if True:
        import os, signal, numpy as np
        from fastrl.replay import ReplayBuffer
        buffer = ReplayBuffer(20, {{"observations": ((2,), "float32")}}, storage="{storage}")
        flags = np.zeros((9, 1), bool)
        buffer.add(observations=np.ones((9, 1, 2)), terminated=flags, truncated=flags)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    killed = subprocess.run([sys.executable, "-c", code], timeout=100)
    assert killed.returncode == -signal.SIGKILL
    (left,) = [found for found in shared_buffers() if found.storage == storage]
    assert not left.is_open
    buffer = ReplayBuffer.open(storage)
    assert left.num_bytes == buffer.num_bytes
    assert buffer.num_drawable == 8
    with pytest.raises(ValueError, match="`storage` must be of a buffer that no process has open,"):
        remove_shared_buffer(storage)
    del buffer
    remove_shared_buffer(storage)
    with pytest.raises(FileNotFoundError):
        ReplayBuffer.open(storage)
    with pytest.raises(FileNotFoundError, match="cannot open shared memory 'fastrl-killed"):
        remove_shared_buffer(storage)
    with pytest.raises(ValueError, match=r"^remove_shared_buffer: `storage` must be 'shared:NAME"):
        remove_shared_buffer("memory")


def test_an_owner_that_never_drops_it_unlinks_at_exit():
    code = f"""if True:
        from fastrl.replay import ReplayBuffer
        import sys
        buffer = ReplayBuffer(20, {{"observations": ((), "f4")}}, storage="{name_of("exit")}")
        sys.leaked = [buffer]
        sys.leaked.append(sys.leaked)
    """
    run(code)
    assert not [found for found in shared_buffers() if found.storage == name_of("exit")]


def test_memory_that_is_no_buffer_is_left_alone():
    name = f"fastrl-other-{os.getpid()}"
    path = Path("/dev/shm") / name
    path.write_bytes(b"something else" * 400)
    try:
        assert f"shared:{name}" not in [found.storage for found in shared_buffers()]
        with pytest.raises(ValueError, match="not a replay buffer, or one that was never comp"):
            ReplayBuffer.open(f"shared:{name}")
        with pytest.raises(ValueError, match="`storage` must be a replay buffer's, got 'shared"):
            remove_shared_buffer(f"shared:{name}")
    finally:
        path.unlink()


KILLED = """if True:
    import os, signal, sys, time
    import numpy as np
    from fastrl.replay import Prioritized, RankPrioritized, ReplayBuffer
    from test_replay_workers import FIELDS, steps, torn
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
    environment = dict(os.environ, PYTHONPATH=str(Path(__file__).parent), OMP_NUM_THREADS="1")
    done = subprocess.run(
        [sys.executable, "-c", KILLED, name_of("kills"), kills],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    num_torn, num_repairs = map(int, done.stdout.split())
    assert num_torn == 0
    assert num_repairs > 0


def forge(path, at, data):
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def test_a_file_survives_the_system_if_it_was_closed(tmp_path):
    path = tmp_path / "buffer"
    buffer = ReplayBuffer(50, FIELDS, storage=path)
    buffer.add(**steps(0, 20))
    boot = Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()
    at = path.read_bytes().index(boot)
    is_closed, mutex = at - 4, (at + 40 + 63) // 64 * 64
    assert path.read_bytes()[is_closed] == 0
    # As a machine leaves it that goes down now: another boot, and a holder that is long gone.
    down = path.read_bytes()
    del buffer
    assert path.read_bytes()[is_closed] == 1
    buffer = ReplayBuffer.open(path)
    assert len(buffer) == 20
    del buffer
    forge(path, at, b"0" * len(boot))
    # Held for ever by the first process of all, which lives in every boot.
    forge(path, mutex, np.array([1, 0, 1], "<u4").tobytes())
    buffer = ReplayBuffer.open(path)
    buffer.add(**steps(20, 10))
    assert torn(buffer.sample(50)) == 0
    del buffer
    path.write_bytes(down)
    forge(path, mutex, np.array([1, 0, 1], "<u4").tobytes())
    assert len(ReplayBuffer.open(path)) == 20  # in this boot nothing is lost
    path.write_bytes(down)
    forge(path, at, b"0" * len(boot))
    for _ in range(2):
        with pytest.raises(RuntimeError, match="buffer: was in use when the system went down, so "):
            ReplayBuffer.open(path)


# Episodes that nobody ends


def test_an_episode_without_an_end_is_cut():
    buffer = ReplayBuffer(40, FIELDS, num_lanes=2, sampler=Prioritized(), n_step=2)
    handles = buffer.add(**steps(0, 5, 2), priorities=np.full((5, 2), 3.0))
    buffer.end_episode([0])
    assert buffer.num_drawable == 4 + 4
    buffer.end_episode([0])  # nothing is open
    buffer.add(**steps(100, 3), lanes=[0])
    batch = buffer.gather(handles[:4, 0][:-1])
    np.testing.assert_array_equal(batch.truncated, [False, False, True])
    np.testing.assert_array_equal(batch.next_observations[:, 0], [2, 3, 4])
    np.testing.assert_array_equal(buffer.places(handles[:1, 0]).last_rows, [4])
    with pytest.raises(
        ValueError, match=r"^end_episode: `lanes` must be lanes with an open episode"
    ):
        buffer.end_episode([0, 1], np.zeros((2, 4))), buffer.end_episode([0], np.zeros((1, 4)))


def test_a_cut_is_saved(tmp_path):
    """The rows that it changes were saved before, and are saved again."""
    buffer = ReplayBuffer(40, FIELDS, n_step=3, sampler=Prioritized())
    handles = buffer.add(**steps(0, 8))[:, 0]
    buffer.save(tmp_path / "saved")
    buffer.end_episode(0)
    buffer.add(**steps(100, 5))
    buffer.save(tmp_path / "saved")
    loaded = ReplayBuffer.load(tmp_path / "saved")
    batches = [one.gather(handles[:7]) for one in (buffer, loaded)]
    for name in batches[0]:
        np.testing.assert_array_equal(batches[0][name], batches[1][name])
    np.testing.assert_array_equal(batches[1].truncated, np.arange(7) >= 4)
    np.testing.assert_array_equal(batches[1].next_observations[4:, 0], 7)


def test_a_single_step_without_an_end_is_left_alone():
    fields = {"observations": Field((), "float64", 3, "first"), "rewards": ((), "float32")}
    buffer = ReplayBuffer(12, fields, sampler=Prioritized())
    flag = np.zeros(1, bool)
    handles = []
    for step in range(40):  # more episodes than the lane has rows
        added = buffer.add(
            observations=[float(step)], rewards=[1.0], terminated=flag, truncated=flag
        )
        handles.append(added[0])
        if step % 4 != 2:
            buffer.end_episode(0)
            with pytest.raises(ValueError, match="lanes with an open episode, got lane 0"):
                buffer.end_episode(0, np.zeros(1))
            assert buffer.update_priorities(added, [9.0]) == 0
    # Of every four rows the third goes on in the fourth, which ends it.
    drawable = buffer.gather(buffer.handles())
    np.testing.assert_array_equal(drawable.observations[:, -1] % 4, 2)
    np.testing.assert_array_equal(
        drawable.next_observations[:, -1], drawable.observations[:, -1] + 1
    )
    np.testing.assert_array_equal(drawable.observations[:, 0], drawable.observations[:, -1])
    assert drawable.truncated.all()
    assert buffer.gather_rows([0], [37])["observations"].tolist() == [[37.0] * 3]


# Threads


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


# The limiter


def limited(ratio, *, capacity=100, storage="memory", **options):
    limiter = SamplesPerInsert(ratio, **options)
    return ReplayBuffer(capacity, FIELDS, limiter=limiter, storage=storage)


def can_add(buffer, count=1):
    try:
        buffer.add(**steps(buffer.num_added, count), timeout=0)
    except TimeoutError:
        return False
    return True


def can_sample(buffer, n=1):
    try:
        buffer.sample(n, timeout=0)
    except TimeoutError:
        return False
    return True


def test_the_limiter_keeps_the_ratio():
    for ratio, error_buffer, n, count in [(4, 8, 8, 1), (0.25, 2, 1, 4), (1.5, 0, 64, 7)]:
        buffer = limited(ratio, min_size=10, error_buffer=error_buffer, capacity=1000)
        assert not can_sample(buffer)
        while can_add(buffer, count):
            pass
        for _ in range(300):
            moved = can_add(buffer, count), can_sample(buffer, n)
            assert any(moved)
            lead = buffer.num_sampled - ratio * (buffer.num_added - 10)
            assert -error_buffer - ratio * count <= lead <= error_buffer + n
        assert buffer.num_waits == (0, 0)


def test_the_limiter_says_who_waits_for_whom():
    buffer = limited(4, min_size=5, error_buffer=8)
    assert buffer.limiter == SamplesPerInsert(4, min_size=5, error_buffer=8)
    buffer.add(**steps(0, 4))
    with pytest.raises(TimeoutError) as caught:
        buffer.sample(2, timeout=0)
    assert str(caught.value) == (
        "sample: waited 0 s, the learner waits for the writers: min_size is not reached, 4 added, "
        "0 sampled, 4 samples per insert, min_size 5, error_buffer 8"
    )
    buffer.add(**steps(4, 4))
    begin = time.monotonic()
    with pytest.raises(TimeoutError, match=r"^add: waited 0.05 s, the writers wait for the lea"):
        buffer.add(**steps(8), timeout=0.05)
    assert time.monotonic() - begin >= 0.05
    assert buffer.num_added == 8
    buffer.sample(30)
    with pytest.raises(
        TimeoutError, match=r"^sample_sequences: waited 0 s, the learner waits for the writers: 8 a"
    ):
        buffer.sample_sequences(2, 3, timeout=0)
    with pytest.raises(ValueError, match=r"^sample: `timeout` must be finite and at least 0, go"):
        buffer.sample(2, timeout=-1)
    with pytest.raises(TypeError, match=r"^add: `timeout` must be a number, got str"):
        buffer.add(**steps(8), timeout="1")


@pytest.mark.parametrize(
    ("limiter", "kind", "message"),
    [
        (
            SamplesPerInsert(0),
            ValueError,
            "`limiter.ratio` must be finite and greater",
        ),
        (SamplesPerInsert(1, min_size=0), ValueError, "`limiter.min_size` must be from 1 to "),
        (
            SamplesPerInsert(1, error_buffer=-1),
            ValueError,
            "`limiter.error_buffer` must be fi",
        ),
        (8, TypeError, "`limiter` must be a SamplesPerInsert or None, got int"),
    ],
)
def test_the_limiter_is_checked(limiter, kind, message):
    with pytest.raises(kind, match=f"^ReplayBuffer: {message}"):
        ReplayBuffer(20, FIELDS, limiter=limiter)


def test_no_state_makes_both_sides_wait():
    random = np.random.default_rng(0)
    for _ in range(300):
        ratio = float(10 ** random.uniform(-2, 2))
        # Also bands that are narrower than a batch, and a buffer smaller than min_size.
        buffer = limited(
            ratio,
            capacity=int(random.integers(4, 40)),
            min_size=int(random.integers(1, 60)),
            error_buffer=float(random.choice([0, 0.5, 10])),
        )
        for _ in range(30):
            action = random.integers(5)
            if action == 0:
                can_add(buffer, int(random.integers(1, 50)))
            elif action == 1:
                can_sample(buffer, int(random.integers(1, 100)))
            elif action == 2 and len(handles := buffer.handles()):
                buffer.evict(handles[: random.integers(len(handles)) + 1])
            elif action == 3:
                buffer.end_episode(0)
            elif random.random() < 0.1:
                buffer.restart_limiter()
            added, sampled = buffer.num_added, buffer.num_sampled
            assert can_add(buffer) or can_sample(buffer), (added, sampled, buffer.limiter)


def test_counts_from_elsewhere_let_one_side_go_on(tmp_path):
    """A restored pair of counts may be far outside of the band."""
    for added, sampled in [(10**6, 0), (0, 10**6), (10**6, 10**9), (3, 10**15)]:
        path = tmp_path / f"{added}-{sampled}"
        buffer = limited(2, min_size=50, error_buffer=1, storage=path)
        buffer.add(**steps(0, 5))
        buffer.add(**steps(5, 2))
        at = path.read_bytes().index(np.array([7, 0], "<i8").tobytes())
        del buffer
        forge(path, at, np.array([added, sampled], "<i8").tobytes())
        buffer = ReplayBuffer.open(path)
        assert (buffer.num_added, buffer.num_sampled) == (added, sampled)
        assert can_add(buffer) != can_sample(buffer)
        buffer.restart_limiter()
        if added >= 50:
            assert can_sample(buffer, 8)
            assert not can_sample(buffer)
        assert can_add(buffer)


def test_the_limiter_is_saved(tmp_path):
    buffer = limited(2, min_size=4, error_buffer=3)
    buffer.add(**steps(0, 30))
    buffer.restart_limiter()
    buffer.sample(20)
    buffer.save(tmp_path / "saved")
    loaded = ReplayBuffer.load(tmp_path / "saved")
    assert loaded.limiter == buffer.limiter
    for one in (buffer, loaded):
        assert not can_sample(one)
        assert [can_add(one, 5) for _ in range(4)] == [True, True, True, False]
        assert can_sample(one, 6)


def test_a_thread_wakes_the_other_side():
    buffer = limited(8, min_size=2, error_buffer=0)
    buffer.add(**steps(0, 3))
    woken = []

    def write():
        for step in range(3, 6):
            buffer.add(**steps(step), timeout=20)
            woken.append(time.monotonic())

    thread = threading.Thread(target=write)
    thread.start()
    times = []
    for _ in range(3):
        time.sleep(0.03)
        times.append(time.monotonic())
        buffer.sample(16, timeout=20)
    thread.join()
    assert len(woken) == 3
    assert buffer.num_waits[0] >= 1


def add_when_allowed(buffer, count):
    for step in range(count):
        buffer.add(**steps(1000 + step), timeout=50)


def test_a_process_wakes_the_other_side():
    buffer = limited(8, min_size=2, error_buffer=8, storage=name_of("limited"))
    buffer.add(**steps(0, 4))
    child = SPAWN.Process(target=add_when_allowed, args=(buffer, 40))
    child.start()
    for _ in range(40):
        buffer.sample(8, timeout=50)
    child.join()
    assert child.exitcode == 0
    assert buffer.num_added == 44
    assert abs(buffer.num_sampled - 8 * (buffer.num_added - 2)) <= 8 + 8


def test_a_waiting_call_can_be_interrupted():
    code = """if True:
        import numpy as np, os, signal, threading
        from fastrl.replay import ReplayBuffer, SamplesPerInsert
        buffer = ReplayBuffer(
            20, {"observations": ((), "float32")}, limiter=SamplesPerInsert(1, min_size=5)
        )
        # Where tests run in the background, children begin with the signal ignored.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        try:
            buffer.sample(3)
        except KeyboardInterrupt:
            print("interrupted")
    """
    assert run(code) == ["interrupted"]


# The prefetcher


def filled(count=50, **options):
    buffer = ReplayBuffer(options.pop("capacity", 100), FIELDS, **options)
    buffer.add(**steps(0, count))
    return buffer


@pytest.mark.parametrize("depth", [1, 2, 8])
def test_prefetched_batches_are_those_of_sample(depth):
    plain = filled(sampler=Prioritized(), seed=3)
    with Prefetcher(filled(sampler=Prioritized(), seed=3), 16, depth=depth) as batches:
        kept = [next(batches) for _ in range(12)]
    for batch in kept:
        expected = plain.sample(16)
        for name in expected:
            np.testing.assert_array_equal(batch[name], expected[name])
    with pytest.raises(StopIteration):
        next(batches)


def test_it_draws_no_more_than_it_may():
    buffer = filled()
    with Prefetcher(buffer, 10, depth=3) as batches:
        time.sleep(0.1)
        assert buffer.num_sampled == 30
        next(batches)
        time.sleep(0.1)
        assert buffer.num_sampled == 40


def test_late_priorities_are_refused():
    buffer = filled(capacity=60, sampler=Prioritized())
    with Prefetcher(buffer, 32, depth=8) as batches:
        late = [next(batches) for _ in range(3)]
        while buffer.num_sampled < 11 * 32:
            time.sleep(0.001)
        buffer.add(**steps(50, 60))  # all rows are overwritten
        late += [next(batches) for _ in range(9)]
        for batch in late:
            stale = batch.actions < 50
            applied = buffer.update_priorities(batch.handles, np.full(32, 1e6))
            assert applied == 32 - stale.sum()
        assert stale.sum() < 32
    assert buffer.refused_updates == 11 * 32
    assert (buffer.priorities(buffer.handles()) <= 1e6 * 1.001).all()


GOALS = ("observation", "achieved_goal", "desired_goal")


def test_it_relabels_and_makes_tensors():
    import torch

    fields = {
        "observations": dict.fromkeys(
            ("observation", "achieved_goal", "desired_goal"), ((2,), "float32")
        ),
        "rewards": ((), "float32"),
    }
    buffer = ReplayBuffer(100, fields)
    flags = np.zeros((30, 1), bool)
    values = np.repeat(np.arange(30, dtype=np.float32), 2).reshape(30, 1, 2)
    buffer.add(
        observations=dict.fromkeys(fields["observations"], values),
        rewards=np.zeros((30, 1)),
        terminated=flags,
        truncated=flags,
    )
    her = HER(compute_reward=lambda achieved, desired, info: (achieved == desired).all(-1) - 1.0)
    with Prefetcher(buffer, 64, relabel=her, output="torch") as batches:
        batch = next(batches)
    assert isinstance(batch.rewards, torch.Tensor)
    assert (batch.rewards == 0).any()
    mix = MixReplay({"a": filled(), "b": filled()}, {"a": 1, "b": 3})
    with Prefetcher(mix, 8) as batches:
        assert np.bincount(next(batches).sources).tolist() == [2, 6]
    with Prefetcher(filled(), 4, length=5, burn_in=2) as batches:
        assert next(batches).positions.shape == (4, 8)


def test_errors_of_draws_come_in_order():
    buffer = filled()
    calls = []

    def relabel(_, batch):
        calls.append(1)
        if len(calls) == 3:
            raise KeyError("third")
        return batch

    batches = Prefetcher(buffer, 4, relabel=relabel)
    assert len(next(batches)) == len(next(batches)) == 4
    for _ in range(2):
        with pytest.raises(KeyError, match="third"):
            next(batches)
    batches.close()
    with pytest.raises(ValueError, match=r"^sample: the buffer is empty"):
        next(Prefetcher(ReplayBuffer(20, FIELDS), 4))


def test_what_is_prefetched_is_checked():
    with pytest.raises(TypeError, match=r"^Prefetcher: `source` must be a ReplayBuffer or a M"):
        Prefetcher([], 4)
    with pytest.raises(ValueError, match=r"^Prefetcher: `depth` must be at least 1, got 0"):
        Prefetcher(filled(), 4, depth=0)
    with pytest.raises(ValueError, match=r"^Prefetcher: `options` must not have a timeout, got 3"):
        Prefetcher(filled(), 4, timeout=3)
    with pytest.raises(TypeError, match="`source` must be a ReplayBuffer, for sequences, got Mix"):
        Prefetcher(MixReplay({"a": filled()}), 4, length=3)


def test_it_ends_when_it_is_dropped():
    buffer = filled()
    batches = Prefetcher(buffer, 4)
    next(batches)
    of = weakref.ref(batches)
    del batches
    gc.collect()
    assert of() is None
    assert "fastrl-prefetcher" not in [thread.name for thread in threading.enumerate()]


def test_it_ends_while_it_waits():
    buffer = limited(1, min_size=5)
    batches = Prefetcher(buffer, 4)
    time.sleep(0.05)
    begin = time.monotonic()
    batches.close()
    batches.close()
    assert time.monotonic() - begin < 2


def test_a_waiting_prefetcher_goes_on():
    buffer = limited(1, min_size=5)
    with Prefetcher(buffer, 4) as batches:
        time.sleep(0.3)  # longer than it waits at once
        buffer.add(**steps(0, 12))
        assert torn(next(batches)) == 0
        assert batches.num_waits <= 1


def test_it_ends_with_the_interpreter():
    code = """if True:
        import os, numpy as np
        from fastrl.replay import Prefetcher, ReplayBuffer, SamplesPerInsert
        fields = {"observations": ((3,), "float32")}
        buffers = [ReplayBuffer(90, fields), ReplayBuffer(90, fields, limiter=SamplesPerInsert(1))]
        flags = np.zeros((60, 1), bool)
        for buffer in buffers:
            buffer.add(observations=np.zeros((60, 1, 3)), terminated=flags, truncated=flags)
        batches = [Prefetcher(buffer, 8, depth=2) for buffer in buffers]
        print(len(next(batches[0])), flush=True)
        if os.fork() == 0:
            try:
                next(batches[0])
            except RuntimeError as error:
                print("forked", flush=True)
            os._exit(0)
        os.wait()
    """
    assert run(code) == ["8", "forked"]


def test_the_program_that_looks_for_torn_rows():
    program = Path(__file__).parents[1] / "benchmarks" / "replay_writers.py"
    options = ["--rows", "20000", "--capacity", "20000", "--batch", "512", "--kills", "2"]
    done = subprocess.run(
        [sys.executable, program, *options], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    assert "torn 0" in done.stdout
    assert "kills 2" in done.stdout
