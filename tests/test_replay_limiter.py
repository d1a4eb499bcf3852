"""The limiter: writers and learner keep to a ratio, and wait for each other."""

import threading
import time

import numpy as np
import pytest
from fastrl.replay import ReplayBuffer, SamplesPerInsert
from fresh_process import run_python
from told_rows import FIELDS, SPAWN, can_add, can_sample, forge, limited, name_of, steps


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
        # By whole numbers: bytes alone are also found astride, behind a number that ends in a 7.
        numbers = np.fromfile(path, "<i8")
        at = 8 * np.flatnonzero((numbers[:-1] == 7) & (numbers[1:] == 0))[0]
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
    code = """
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
    assert run_python(code).split() == ["interrupted"]
