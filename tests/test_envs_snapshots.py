"""Time: snapshots, restores, branches, hashes, and their bytes."""

import pickle

import fastrl
import numpy as np
import pytest
from fastrl.envs import Snapshot
from forged_snapshots import sealed
from fresh_process import run_python
from hypothesis import given, settings
from hypothesis import strategies as st

ALL_IDS = ["CodeLock-v0", "FrozenLakeText-v0", "Sokoban-v0"]
# No holes and a goal out of reach: no episode ends in these tests.
SLIPPERY = {"size": 11, "slippery": True, "frozen_probability": 1.0, "ends": "corners"}


def play(env, steps=8, seed=0):
    """What happens in the next steps, as bytes."""
    random = np.random.default_rng(seed)
    trace = b""
    for _ in range(steps):
        outputs = env.step(random.integers(0, env.num_actions, env.num_envs))
        trace += b"".join(array.tobytes() for array in outputs[:4])
    return trace


@pytest.mark.parametrize("observation", ["grid", "compact"])
@pytest.mark.parametrize("mode", ["next_step", "same_step"])
@pytest.mark.parametrize("name", ALL_IDS)
def test_restore_makes_the_future_repeat_itself(name, mode, observation):
    options = {"slippery": True} if name == "FrozenLakeText-v0" else {}
    env = fastrl.make_vec(
        name,
        9,
        autoreset_mode=mode,
        observation=observation,
        max_episode_steps=10,
        group_size=3,
        **options,
    )
    env.reset(seed=1)
    play(env, 5)
    snapshot = env.snapshot()
    observed = env.observe()
    returns, elapsed = env.episode_returns, env.elapsed_steps
    first = play(env, 30)
    env.restore(snapshot)
    for now, before in zip(env.observe(), observed, strict=True):
        np.testing.assert_array_equal(now, before)
    np.testing.assert_array_equal(env.episode_returns, returns)
    np.testing.assert_array_equal(env.elapsed_steps, elapsed)
    assert play(env, 30) == first
    other = fastrl.make_vec(
        name,
        9,
        autoreset_mode=mode,
        observation=observation,
        max_episode_steps=10,
        group_size=3,
        **options,
    )
    other.restore(Snapshot.frombytes(snapshot.tobytes()))
    assert play(other, 30) == first


def test_restored_steps_count_towards_the_limit():
    env = fastrl.make_vec("Sokoban-v0", 2, max_episode_steps=6, min_solution_length=9)
    env.reset(seed=0)
    play(env, 4)
    snapshot = env.snapshot([0])
    env.reset()
    env.restore(snapshot, [1])
    truncated = [env.step([0, 0])[3].tolist() for _ in range(2)]
    assert truncated == [[False, False], [False, True]]


def test_rng_modes():
    env = fastrl.make_vec("FrozenLakeText-v0", 16, **SLIPPERY)
    env.reset(seed=0)
    play(env, 3)
    snapshot = env.snapshot([0])

    def futures(rng, ids):
        env.restore(Snapshot.concatenate([snapshot] * len(ids)), ids, rng=rng)
        assert len(set(env.state_hash(ids))) == 1
        for t in range(20):
            env.step(np.full(16, t % 4))
        return env.state_hash(ids).tolist()

    # Restored: all alike, and the same again. Forked: each its own, and others the next time.
    assert len(set(futures("restore", range(16)))) == 1
    assert futures("restore", range(16)) == futures("restore", range(16))
    first = futures("fork", range(16))
    assert len(set(first)) > 8
    assert futures("fork", range(16)) != first
    # All streams are made equal; kept streams then go on alike, forked ones do not.
    futures("restore", range(16))
    assert len(set(futures("keep", range(16)))) == 1
    assert len(set(futures("fork", range(16)))) > 8


def test_forks_are_the_same_in_every_run():
    def run():
        env = fastrl.make_vec("FrozenLakeText-v0", 8, **SLIPPERY)
        env.reset(seed=0)
        env.branch(0, range(1, 8))
        env.branch([1, 2], [3, 4])
        play(env, 20)
        return env.snapshot().tobytes()

    assert run() == run()


def test_keep_and_fork_leave_the_sequence_of_levels():
    env = fastrl.make_vec("FrozenLakeText-v0", 3, size=8)
    env.reset(seed=0)
    first = env.snapshot([0, 0, 0])
    env.reset()
    second = env.render_text()
    env.reset()
    third = env.render_text()
    for rng in ("keep", "fork"):
        env.reset(seed=0)
        env.reset()
        env.restore(first, rng=rng)
        env.reset()
        assert env.render_text() == third
    env.restore(first, rng="restore")
    env.reset()
    assert env.render_text() == [second[0]] * 3


def test_branch_reads_everything_before_it_writes():
    env = fastrl.make_vec("Sokoban-v0", 4)
    env.reset(seed=0)
    texts = env.render_text()
    env.branch([0, 1, 2, 3], [1, 2, 3, 0], rng="restore")
    assert env.render_text() == [texts[3], texts[0], texts[1], texts[2]]
    env.branch(1, [0, 1, 2, 3])
    assert env.render_text() == [texts[0]] * 4


def test_state_hash_sees_states_only():
    env = fastrl.make_vec("Sokoban-v0", 64, num_boxes=2)
    env.reset(seed=0)
    assert len(set(env.state_hash())) == len(set(env.render_text())) > 50
    seen = {}
    for t in range(30):
        env.step(np.random.default_rng(t).integers(-1, 4, 64), env.elapsed_steps < 99)
        for text, key in zip(env.render_text(), env.state_hash(), strict=True):
            assert seen.setdefault(text, key) == key
    assert len(set(seen.values())) == len(seen)
    # The same state at another time, with another stream.
    env.branch(5, range(64))
    env.step(np.full(64, -1))
    assert len(set(env.state_hash())) == 1


def test_snapshots_are_sequences():
    env = fastrl.make_vec("Sokoban-v0", 6)
    env.reset(seed=0)
    snapshot = env.snapshot()
    texts = env.render_text()
    assert len(snapshot) == 6
    assert repr(snapshot).startswith("Snapshot(6 of Sokoban-v0(height=6, width=6, ")

    def shown(part):
        env.restore(part, range(len(part)))
        return env.render_text(range(len(part)))

    assert shown(snapshot[2]) == [texts[2]]
    assert shown(snapshot[-1]) == [texts[5]]
    assert shown(snapshot[::-2]) == [texts[5], texts[3], texts[1]]
    assert shown(snapshot[np.array([4, 4, 0])]) == [texts[4], texts[4], texts[0]]
    assert len(snapshot[[]]) == 0
    assert shown(Snapshot.concatenate([snapshot[3:5], snapshot[0]])) == [*texts[3:5], texts[0]]
    assert [len(one) for one in snapshot] == [1] * 6
    assert pickle.loads(pickle.dumps(snapshot)).tobytes() == snapshot.tobytes()


def test_snapshots_survive_the_process(tmp_path):
    code = """
import fastrl
env = fastrl.make_vec("Sokoban-v0", 5, num_boxes=2)
env.reset(seed=3)
for _ in range(4):
    env.step([0, 1, 2, 3, 0])
print(env.snapshot().tobytes().hex())
"""
    data = bytes.fromhex(run_python(code))
    env = fastrl.make_vec("Sokoban-v0", 5, num_boxes=2)
    env.reset(seed=3)
    for _ in range(4):
        env.step([0, 1, 2, 3, 0])
    texts = env.render_text()
    assert env.snapshot().tobytes() == data
    env.reset(seed=9)
    env.restore(Snapshot.frombytes(data))
    assert env.render_text() == texts
    assert env.elapsed_steps.tolist() == [4] * 5


@pytest.mark.parametrize(
    ("name", "options", "other"),
    [
        ("Sokoban-v0", {"size": 7}, {"height": 7, "width": 7}),
        ("Sokoban-v0", {"size": 6, "height": 8}, {"size": 8, "width": 6}),
        ("FrozenLakeText-v0", {}, {"slippery": False, "success_rate": 0.5}),
        (
            "FrozenLakeText-v0",
            {"slippery": True, "success_rate": 0.0},
            {"slippery": True, "success_rate": -0.0},
        ),
    ],
)
def test_snapshots_fit_however_the_options_were_spelled(name, options, other):
    env, same = fastrl.make_vec(name, 2, **options), fastrl.make_vec(name, 2, **other)
    env.reset(seed=0)
    same.restore(env.snapshot())
    assert same.snapshot().tobytes() == env.snapshot().tobytes()


def test_foreign_snapshots_are_refused_and_change_nothing():
    env = fastrl.make_vec("Sokoban-v0", 3)
    env.reset(seed=0)
    before = env.snapshot()
    for name, options, message in [
        ("CodeLock-v0", {}, "`snapshot` must be of Sokoban-v0, got CodeLock-v0"),
        (
            "Sokoban-v0",
            {"size": 7},
            "`snapshot` must have the options height=6, .*, got height=7, ",
        ),
    ]:
        other = fastrl.make_vec(name, 3, **options)
        other.reset(seed=0)
        for call in (env.restore, env.solve):
            with pytest.raises(ValueError, match=f"{call.__name__}: {message}"):
                call(other.snapshot())
        with pytest.raises(
            ValueError, match=r"Snapshot\.concatenate: `snapshots` must come from one"
        ):
            Snapshot.concatenate([before, other.snapshot()])
    with pytest.raises(ValueError, match="restore: `snapshot` must hold 2 environments, got 3"):
        env.restore(before, [0, 1])
    with pytest.raises(TypeError, match="restore: `snapshot` must be a Snapshot, got bytes"):
        env.restore(before.tobytes())
    with pytest.raises(ValueError, match="restore: `rng` must be one of 'restore', 'keep', 'fork'"):
        env.restore(before, rng="new")
    assert env.snapshot().tobytes() == before.tobytes()


def test_id_errors():
    env = fastrl.make_vec("Sokoban-v0", 3)
    env.reset(seed=0)
    snapshot = env.snapshot([0, 1])
    for call, kind, message in [
        (lambda: env.snapshot([3]), IndexError, "snapshot: `ids` must be from 0 to 2, got 3"),
        (lambda: env.snapshot([-1]), IndexError, "snapshot: `ids` must be from 0 to 2, got -1"),
        (lambda: env.snapshot([0.0]), TypeError, "snapshot: `ids` must hold integers, got float64"),
        (
            lambda: env.snapshot([[0]]),
            ValueError,
            r"snapshot: `ids` must have shape \[n\], got \[1, 1\]",
        ),
        (lambda: env.snapshot(env.elapsed_steps == 0), TypeError, "must hold integers, got bool"),
        (lambda: env.restore(snapshot, [1, 1]), ValueError, "once, got 1 twice"),
        (lambda: env.restore(snapshot, [0, 5]), IndexError, "restore: `ids` must be from 0 to 2"),
        (lambda: env.branch(3, 0), IndexError, "branch: `source_ids` must be from 0 to 2, got 3"),
        (lambda: env.branch(0, [1, 1]), ValueError, "branch: `target_ids` must name each"),
        (lambda: env.branch([0, 1], [2]), ValueError, "`source_ids` must hold 1 or 1 env.*got 2"),
        (lambda: env.state_hash(9), IndexError, "state_hash: `ids` must be from 0 to 2, got 9"),
        (lambda: env.observe(9), IndexError, "observe: `ids` must be from 0 to 2, got 9"),
        (lambda: snapshot[2], IndexError, "Snapshot: `index` must be from -2 to 1, got 2"),
        (lambda: snapshot[-5], IndexError, "Snapshot: `index` must be from -2 to 1, got -5"),
        (lambda: snapshot[np.array([2**64 - 1], np.uint64)], IndexError, f"got {2**64 - 1}"),
        (lambda: env.observe(np.array([2**64 - 1], np.uint64)), IndexError, f"got {2**64 - 1}"),
        (lambda: env.render_text(9), IndexError, "render_text: `ids` must be from 0 to 2, got 9"),
        (lambda: snapshot["a"], TypeError, "Snapshot: `index` must be an integer, a slice or"),
        (lambda: Snapshot.concatenate([]), ValueError, "must hold at least one snapshot, got none"),
        (lambda: Snapshot.concatenate([1]), TypeError, "must be a Snapshot, got int"),
        (lambda: Snapshot.frombytes("x"), TypeError, "`data` must be bytes, got str"),
    ]:
        with pytest.raises(kind, match=message):
            call()


def test_an_unset_environment_may_be_saved_and_is_unknown_to_the_solver():
    env = fastrl.make_vec("Sokoban-v0", 2)
    distances, actions = env.solve(env.snapshot())
    assert distances.tolist() == [-2, -2]
    assert actions.tolist() == [-1, -1]
    Snapshot.frombytes(env.snapshot().tobytes())


def test_damaged_bytes_are_refused():
    env = fastrl.make_vec("Sokoban-v0", 2)
    env.reset(seed=0)
    data = env.snapshot().tobytes()
    assert sealed(data) == data
    for damaged, message in [
        (b"", "only 0 bytes"),
        (data[:79], "only 79 bytes"),
        (b"x" + data[1:], "bytes of another kind"),
        (data[:8] + b"\x07" + data[9:], "format 7"),
        (data[:-1], "a truncated file of"),
        (data + b"x", "a truncated file of"),
        (data[:-1] + b"x", r"damaged bytes \(the checksum differs\)"),
        (data[:20] + b"x" + data[21:], r"damaged bytes \(the checksum differs\)"),
    ]:
        with pytest.raises(
            ValueError, match=f"Snapshot.frombytes: `data` must be bytes of Snapshot.*got {message}"
        ):
            Snapshot.frombytes(damaged)


@given(st.integers(0, 10**6), st.integers(0, 255), st.sampled_from(ALL_IDS))
@settings(max_examples=300, deadline=None)
def test_forged_states_are_refused_or_harmless(position, value, name):
    env = fastrl.make_vec(name, 2)
    env.reset(seed=0)
    data = bytearray(env.snapshot().tobytes())
    position %= len(data)
    data[position] = value
    try:
        snapshot = Snapshot.frombytes(sealed(bytes(data)))
        before = env.snapshot().tobytes()
        env.restore(snapshot)
    except ValueError:
        return
    assert len(before) == len(data)
    env.solve(snapshot)
    try:
        env.render_text()
        play(env, 12)
    except RuntimeError as error:  # the forged byte says that there was no reset
        assert str(error).endswith("; call reset first")  # noqa: PT017


def test_a_forged_state_is_named():
    env = fastrl.make_vec("FrozenLakeText-v0", 2)
    env.reset(seed=0)
    data = env.snapshot().tobytes()
    forged = Snapshot.frombytes(sealed(data[:-1] + b"\x7f"))
    with pytest.raises(
        ValueError, match="restore: `snapshot` must hold states of FrozenLakeText-v0"
    ):
        env.restore(forged)
    assert env.snapshot().tobytes() == data
