"""Steps in the background: what is received is what a step gives."""

import fastrl
import numpy as np
import pytest
from sameness import assert_same


@pytest.mark.parametrize("mode", ["next_step", "same_step"])
def test_received_results_are_those_of_a_step(mode):
    settings = {"length": 3, "autoreset_mode": mode}
    stepped = fastrl.make_vec("CodeLock-v0", 5, **settings)
    sent = fastrl.make_vec("CodeLock-v0", 5, **settings)
    stepped.reset(seed=4)
    sent.reset(seed=4)
    rng = np.random.default_rng(0)
    ended = 0
    for _ in range(9):
        actions = rng.integers(-1, 4, 5)
        expected = stepped.step(actions)
        ended += int(expected[2].sum())
        sent.send(actions)
        received = sent.recv()
        assert received.ids.tolist() == [0, 1, 2, 3, 4]
        assert_same(expected, tuple(received[1:]))
    assert ended > 0
    # In parts, from the middle of the ring of results.
    for _ in range(9):
        actions = rng.integers(0, 4, 5)
        expected = stepped.step(actions)
        sent.send(actions[3:], [3, 4])
        sent.send(actions[:3], [0, 1, 2])
        parts = [sent.recv(4), sent.recv(1)]
        assert [*parts[0].ids, *parts[1].ids] == [3, 4, 0, 1, 2]
        for part in parts:
            assert_same(expected[0][part.ids], part.observations)
            assert_same(expected[1][part.ids], part.rewards)
            for name in ("final_obs", "success", "_success"):
                if name in part.infos:
                    assert_same(expected[4][name][part.ids], part.infos[name])


def test_asynchronous_errors():
    env = fastrl.make_vec("CodeLock-v0", 4, autoreset_mode="disabled", length=1)
    with pytest.raises(RuntimeError, match="recv: nothing is under way; call send first"):
        env.recv(1)
    with pytest.raises(RuntimeError, match="send: environment 0 has never been reset"):
        env.send([0] * 4)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"send: `actions` must have shape \[B\] = \[2\], got \[4"):
        env.send([0] * 4, [0, 1])
    with pytest.raises(ValueError, match="send: `actions` must be from -1 to 3, got 4 for env"):
        env.send([0, 4], [0, 1])
    with pytest.raises(ValueError, match="send: `ids` must name each environment once, got 1 twi"):
        env.send([0, 0], [1, 1])
    env.send([0, 1], [0, 1])
    with pytest.raises(ValueError, match="send: `ids` must name environments whose result has"):
        env.send([0], [1])
    with pytest.raises(RuntimeError, match="step: 2 results of send are outstanding"):
        env.step([0] * 4)
    with pytest.raises(ValueError, match="recv: `batch_size` must be at most 2, the actions under"):
        env.recv(3)
    with pytest.raises(ValueError, match="recv: `batch_size` must be from 1 to 4, got 0"):
        env.recv(0)
    assert env.recv().ids.tolist() == [0, 1]
    with pytest.raises(RuntimeError, match="send: the episode of environment 0 has ended"):
        env.send([0], [0])
    with pytest.raises(RuntimeError, match="recv: nothing is under way; call send first"):
        env.recv()
    env.close()
    env.close()
