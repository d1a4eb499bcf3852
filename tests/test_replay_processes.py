"""Buffers that processes share: attached, forked, left by killed ones, and kept in files."""

import os
import pickle
import signal
from pathlib import Path

import numpy as np
import pytest
from fastrl.replay import Prioritized, ReplayBuffer, remove_shared_buffer, shared_buffers
from fresh_process import finished_python, run_python
from told_rows import FIELDS, SPAWN, forge, name_of, steps, torn


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
    code = f"""
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
    error, own, shared = run_python(code).split()
    assert error.startswith("ReplayBuffer:_made_before_a_fork,_in_memory_that_the_processes_do_not")
    assert (own, shared) == ("1", "2")
    assert not [found for found in shared_buffers() if found.storage == name_of("forked")]


def test_the_memory_of_a_killed_owner_is_found():
    storage = name_of("killed")
    code = f"""
        import os, signal, numpy as np
        from fastrl.replay import ReplayBuffer
        buffer = ReplayBuffer(20, {{"observations": ((2,), "float32")}}, storage="{storage}")
        flags = np.zeros((9, 1), bool)
        buffer.add(observations=np.ones((9, 1, 2)), terminated=flags, truncated=flags)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    assert finished_python(code).returncode == -signal.SIGKILL
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
    code = f"""
        from fastrl.replay import ReplayBuffer
        import sys
        buffer = ReplayBuffer(20, {{"observations": ((), "f4")}}, storage="{name_of("exit")}")
        sys.leaked = [buffer]
        sys.leaked.append(sys.leaked)
    """
    run_python(code)
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
