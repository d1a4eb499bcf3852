"""A batch that two threads use, or a forked child, or while results are under way, or closed."""

import copy
import multiprocessing
import pickle
import threading

import fastrl
import numpy as np
import pytest
from every_form import B, started


def test_two_threads_and_one_environment():
    env = fastrl.make_vec("CartPole-v1", 200_000, num_threads=1)
    twin = fastrl.make_vec("CartPole-v1", 200_000, num_threads=1)
    for batch in (env, twin):
        batch.reset(seed=0)
    actions = np.zeros(200_000, np.int64)
    start = threading.Barrier(2)
    done, errors = [], []

    def run():
        start.wait()
        for _ in range(8):
            try:
                env.step(actions)
                done.append(1)
            except RuntimeError as error:
                errors.append(str(error))

    workers = [threading.Thread(target=run) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert set(errors) == {"step: another thread is using this environment"}
    for _ in done:
        twin.step(actions)
    assert env.snapshot().tobytes() == twin.snapshot().tobytes()


def test_results_under_way_keep_other_calls_out():
    env = started("CartPole-v1")
    actions = env.action_space.sample()
    env.send(actions[:2], [0, 1])
    for function, call in [
        ("step", lambda: env.step(actions)),
        ("snapshot", env.snapshot),
        ("unroll", lambda: env.unroll(actions[None])),
        ("reset", env.reset),
    ]:
        with pytest.raises(RuntimeError, match=f"{function}: 2 results of send are outstanding"):
            call()
    with pytest.raises(ValueError, match="send: `ids` must name environments whose result has"):
        env.send(actions[:1], [1])
    with pytest.raises(ValueError, match="recv: `batch_size` must be at most 2, the actions under"):
        env.recv(3)
    assert env.recv().ids.tolist() == [0, 1]
    with pytest.raises(IndexError, match="send: `ids` must be from 0 to 3, got 4"):
        env.send(actions[:1], [4])
    with pytest.raises(
        ValueError, match="send: `ids` must name each environment once, got 2 twice"
    ):
        env.send(actions[:2], [2, 2])


def test_no_environments_are_sent_nothing():
    env = started("CartPole-v1")
    # Read as actions of all, this memory would be refused.
    actions = np.full(B, 7)[:0]
    env.send(actions, np.empty(0, np.int64))
    with pytest.raises(RuntimeError, match="recv: nothing is under way"):
        env.recv()
    env.step(env.action_space.sample())


def test_a_timeout_longer_than_any_clock_waits():
    env = fastrl.make_vec("CartPole-v1", 100_000, num_threads=1)
    env.reset(seed=0)
    env.send(np.zeros(100_000, np.int64))
    assert env.recv(timeout=1e300).ids.size == 100_000


# Newer Pythons warn of every fork with threads.
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("outstanding", [False, True])
def test_a_forked_child_does_not_wait_for_its_parents_thread(outstanding):
    env = started("CartPole-v1")
    actions = env.action_space.sample()
    env.send(actions)
    if not outstanding:
        env.recv()

    def child():
        if outstanding:
            for call in (env.recv, lambda: env.send(actions)):
                with pytest.raises(RuntimeError, match=r": 4 results of send belong to the proc"):
                    call()
            env.close()
            env.reset(seed=1)
        env.send(actions)
        assert env.recv(timeout=5.0).ids.tolist() == [0, 1, 2, 3]
        env.close()

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(20.0)
    ended = process.exitcode
    process.kill()
    assert ended == 0
    if outstanding:
        assert env.recv().ids.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps])
def test_environments_are_not_copied(copied):
    with pytest.raises(TypeError, match="VectorEnv: cannot be copied or pickled; make another one"):
        copied(started("CartPole-v1"))


def test_recv_without_send_says_so():
    env = fastrl.make_vec("CartPole-v1", 3)
    env.reset(seed=0)
    for arguments in ({}, {"batch_size": 2}, {"timeout": 0.1}):
        with pytest.raises(RuntimeError, match=r"^recv: nothing is under way; call send first$"):
            env.recv(**arguments)
    env.send([0, 1, 0])
    assert len(env.recv().ids) == 3
    with pytest.raises(RuntimeError, match="recv: nothing is under way"):
        env.recv()


def test_a_closed_environment_says_so():
    env = fastrl.make_vec("CartPole-v1", 2, history=2)
    env.reset(seed=0)
    saved = env.snapshot()
    env.close()
    env.close()
    calls = {
        "reset": env.reset,
        "step": lambda: env.step(np.array([0, 1])),
        "send": lambda: env.send([0, 1]),
        "recv": env.recv,
        "snapshot": env.snapshot,
        "restore": lambda: env.restore(saved),
        "unroll": lambda: env.unroll(steps=2, seed=0),
        "observe": env.observe,
        "state_hash": env.state_hash,
        "rewind": lambda: env.rewind(1),
    }
    for name, call in calls.items():
        with pytest.raises(RuntimeError, match=f"^{name}: this environment is closed$"):
            call()


@pytest.mark.parametrize("num_envs", [2**40, 2**62])
def test_more_environments_than_memory_holds(num_envs):
    message = (
        rf"make_vec: `num_envs` must leave room in memory, got {num_envs}, which take .* bytes"
    )
    with pytest.raises(MemoryError, match=message):
        fastrl.make_vec("CartPole-v1", num_envs)
