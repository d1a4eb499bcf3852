"""The prefetcher: batches of sample, drawn ahead."""

import gc
import threading
import time
import weakref

import numpy as np
import pytest
from fastrl.replay import HER, MixReplay, Prefetcher, Prioritized, ReplayBuffer
from fresh_process import run_python
from told_rows import FIELDS, filled, limited, steps, torn


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
    code = """
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
    assert run_python(code).split() == ["8", "forked"]
