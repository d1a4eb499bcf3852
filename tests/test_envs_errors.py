"""Bad calls: each is refused by a message that names what is wrong, and changes nothing."""

import struct

import fastrl
import numpy as np
import pytest
import torch
from every_form import FORMS, B, started
from fastrl.envs import Snapshot, environment_ids

CONTINUOUS = ["Pendulum-v1", "MountainCarContinuous-v0", "PointReach-v0"]


def state_of(env):
    return env.snapshot().tobytes(), env.rewindable_steps.tolist()


def refuses(env, kind, match, call):
    """The call raises, and the environments are as before."""
    before = state_of(env)
    with pytest.raises(kind, match=match):
        call()
    assert state_of(env) == before


def test_tensors_that_numpy_cannot_read():
    env = fastrl.make_vec("CartPole-v1", 2, history=2)
    env.reset(seed=0)
    env.step(np.zeros(2, np.int64))
    saved, ids = env.snapshot(), torch.zeros(1, dtype=torch.int64)
    calls = {
        "rewind: `ids`": lambda wrong: env.rewind(1, wrong),
        "restore: `ids`": lambda wrong: env.restore(saved[0], wrong),
        "branch: `target_ids`": lambda wrong: env.branch(0, wrong),
        "send: `ids`": lambda wrong: env.send(np.zeros(1, np.int64), wrong),
        "step: `actions`": env.step,
        "send: `actions`": env.send,
    }
    for name, call in calls.items():
        refuses(
            env,
            ValueError,
            f"{name} must be on the CPU, got meta",
            lambda c=call: c(ids.to("meta")),
        )
        wants = f"{name} must be a dense tensor, got layout torch.sparse_coo"
        refuses(env, ValueError, wants, lambda c=call: c(ids.to_sparse()))
    refuses(env, ValueError, r"rewind: `steps` must be .*, got 10+$", lambda: env.rewind(10**30))


@pytest.mark.parametrize(("name", "precision"), FORMS)
def test_actions_of_a_wrong_shape_or_dtype(name, precision):
    env = started(name, precision)
    good = env.action_space.sample()
    shape = good.shape[1:]
    refuses(env, ValueError, r"step: `actions` must have shape \[B", lambda: env.step(good[:-1]))
    refuses(env, ValueError, r"step: `actions` must have shape \[B", lambda: env.step(good[None]))
    refuses(env, ValueError, r"send: `actions` must have shape \[B", lambda: env.send(good[:-1]))
    wants = "floating-point numbers" if good.dtype.kind == "f" else "integers"
    wrong = np.zeros((B, *shape), np.int64 if good.dtype.kind == "f" else np.float32)
    for call in (env.step, env.send, lambda actions: env.unroll(actions[None])):
        refuses(env, TypeError, f": `actions` must hold {wants}, got", lambda c=call: c(wrong))
    refuses(env, TypeError, f"`actions` must hold {wants}", lambda: env.step(["Up"] * B))
    refuses(env, TypeError, f"`actions` must hold {wants}", lambda: env.step(None))
    env.step(good)


@pytest.mark.parametrize(
    "name", [name for name, precision in FORMS if precision == "exact" and name not in CONTINUOUS]
)
def test_integers_out_of_range(name):
    env = started(name)
    field = env._description.action
    for wrong in (int(field.high[0]) + 1, int(field.low[0]) - 2, 2**31 - 1):
        actions = env.action_space.sample()
        actions.flat[-1] = wrong
        for call in (env.step, env.send, lambda rows: env.unroll(rows[None])):
            refuses(
                env,
                ValueError,
                f"`actions` must be from -?[0-9]+ to {int(field.high[0])}, got {wrong} "
                f"for environment {B - 1}",
                lambda c=call, a=actions: c(a),
            )
    env.step(env.action_space.sample())


@pytest.mark.parametrize(("name", "precision"), [form for form in FORMS if form[0] in CONTINUOUS])
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite(name, precision, wrong):
    env = started(name, precision)
    actions = env.action_space.sample()
    actions[2, 0] = wrong
    for call in (env.step, env.send, lambda rows: env.unroll(rows[None])):
        refuses(
            env,
            ValueError,
            f"`actions` must be finite, got -?{abs(wrong)} for environment 2",
            lambda c=call: c(actions),
        )
    # What an inactive environment is given is not read.
    env.step(actions, np.array([True, True, False, True]))
    # A finite number out of bounds is the environment's to clip.
    env.step(np.full_like(actions, 1e30))


@pytest.mark.parametrize(("name", "precision"), FORMS)
def test_calls_before_the_first_reset(name, precision):
    env = fastrl.make_vec(name, B, precision=precision)
    actions = env.action_space.sample()
    message = "environment 0 has never been reset; call reset first"
    for function, call in [
        ("step", lambda: env.step(actions)),
        ("send", lambda: env.send(actions)),
        ("unroll", lambda: env.unroll(actions[None])),
        ("observe", env.observe),
    ]:
        refuses(env, RuntimeError, f"{function}: {message}", call)
    env.reset(options={"reset_mask": np.array([True, False, True, True])})
    env.step(actions, np.array([True, False, True, True]))
    refuses(env, RuntimeError, "step: environment 1 has never", lambda: env.step(actions))


@pytest.mark.parametrize("name", environment_ids())
def test_an_episode_that_has_ended(name):
    env = fastrl.make_vec(name, B, autoreset_mode="disabled", max_episode_steps=1, history=2)
    env.reset(seed=0)
    actions = env.action_space.sample()
    assert (env.step(actions)[3] | env.step(actions, np.zeros(B, bool))[2]).all()
    for function in ("step", "send"):
        refuses(
            env,
            RuntimeError,
            f"{function}: the episode of environment 0 has ended; reset it",
            lambda f=function: getattr(env, f)(actions),
        )


@pytest.mark.parametrize(("name", "precision"), FORMS)
def test_snapshots_of_others(name, precision):
    env = started(name, precision)
    other = "CodeLock-v0" if name != "CodeLock-v0" else "FrozenLakeText-v0"
    foreign = started(other).snapshot()
    refuses(
        env,
        ValueError,
        f"restore: `snapshot` must be of {name}, got {other}",
        lambda: env.restore(foreign),
    )
    few = env.snapshot([0, 1])
    refuses(
        env,
        ValueError,
        "restore: `snapshot` must hold 4 environments, got 2",
        lambda: env.restore(few),
    )
    refuses(env, TypeError, "restore: `snapshot` must be a Snapshot", lambda: env.restore(b""))
    if precision == "fast":
        exact = started(name).snapshot()
        refuses(
            env,
            ValueError,
            "restore: `snapshot` must have the options precision=fast",
            lambda: env.restore(exact),
        )


def signed(data):
    """The bytes with the checksum that they ought to have."""

    def mix(x):
        x = (x + 0x9E3779B97F4A7C15) % 2**64
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) % 2**64
        return x ^ (x >> 31)

    def hashed(part):
        value = mix(len(part))
        padded = part + b"\0" * (-len(part) % 8)
        for (word,) in struct.iter_unpack("<Q", padded):
            value = mix(value ^ word)
        return value

    header = data[:72] + bytes(8)
    return data[:72] + struct.pack("<Q", mix(hashed(header) ^ hashed(data[80:]))) + data[80:]


@pytest.mark.parametrize(("name", "precision"), FORMS)
def test_damaged_and_impossible_snapshots(name, precision):
    env = started(name, precision)
    data = env.snapshot().tobytes()
    assert signed(data) == data
    for cut in (b"", data[:50], data[:-1], data + b"\0"):
        with pytest.raises(ValueError, match=r"Snapshot.frombytes: `data` must be bytes of"):
            Snapshot.frombytes(cut)
    damaged = bytearray(data)
    damaged[-1] ^= 1
    with pytest.raises(ValueError, match=r"got damaged bytes \(the checksum differs\)"):
        Snapshot.frombytes(bytes(damaged))
    # All bits of the last environment set, phase and steps among them, and well signed.
    size = env._native.slot_size
    impossible = Snapshot.frombytes(signed(data[:-size] + b"\xff" * size))
    refuses(
        env,
        ValueError,
        f"restore: `snapshot` must hold states of {name}, got an impossible state at index 3",
        lambda: env.restore(impossible),
    )


def test_arrays_that_step_into_cannot_write():
    env = started("CartPole-v1")
    actions = env.action_space.sample()
    good = {
        "observations": np.zeros((B, 4), np.float32),
        "rewards": np.zeros(B),
        "terminated": np.zeros(B, bool),
        "truncated": np.zeros(B, bool),
    }
    frozen = np.zeros(B)
    frozen.flags.writeable = False
    askew = np.zeros(8 * B + 1, np.uint8)[1:].view(np.float64)
    for name, wrong, kind, message in [
        ("observations", np.zeros((B, 4)), TypeError, "have dtype float32, got float64"),
        ("observations", np.zeros((B, 3), np.float32), ValueError, r"have shape \[4, 4\]"),
        ("observations", np.zeros((4, B), np.float32).T[:, :4], ValueError, "be contiguous"),
        ("rewards", np.zeros(B, np.float32), TypeError, "have dtype float64, got float32"),
        ("rewards", frozen, ValueError, "be contiguous, aligned and writable"),
        ("rewards", askew, ValueError, "be contiguous, aligned and writable"),
        ("terminated", np.zeros(B, np.uint8), TypeError, "have dtype bool, got uint8"),
        ("truncated", [False] * B, TypeError, "be a NumPy array, a buffer or a tensor, got list"),
        ("observations", None, TypeError, "be a NumPy array, a buffer or a tensor, got NoneType"),
        ("rewards", bytes(8 * B), TypeError, "have dtype float64, got uint8"),
        ("truncated", good["terminated"], ValueError, "not share memory with `terminated`"),
        ("rewards", actions.view(np.float64), ValueError, "not share memory with `actions`"),
        ("rewards", good["observations"][:2].view(np.float64).ravel(), ValueError, "not share"),
    ]:
        refuses(
            env,
            kind,
            f"step_into: `{name}` must {message}",
            lambda n=name, w=wrong: env.step_into(actions, **(good | {n: w})),
        )
    refuses(
        env,
        TypeError,
        "step_into: `actions` must hold integers, got float64",
        lambda: env.step_into(np.zeros(B), **good),
    )
    refuses(
        env,
        ValueError,
        "step_into: `actions` must be from 0 to 1, got 5 for environment 0",
        lambda: env.step_into(np.full(B, 5), **good),
    )
    with pytest.raises(RuntimeError, match="step_infos: there was no step_into yet"):
        _ = env.step_infos
    flags = np.zeros((2, B), bool)  # neighbors are apart
    env.step_into(actions, **(good | {"terminated": flags[0], "truncated": flags[1]}))


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("BitFlip-v0", r"a dict of \['observation', 'achieved_goal', 'desired_goal'\]"),
        ("Blackjack-v1", "a tuple of 3 arrays"),
    ],
)
def test_step_into_takes_observations_of_the_same_structure(name, wanted):
    env = started(name)
    flags = {"terminated": np.zeros(B, bool), "truncated": np.zeros(B, bool)}
    for wrong in (None, 3, {"observation": np.zeros(B)}, np.zeros(B)):
        if name == "Blackjack-v1" and isinstance(wrong, dict | np.ndarray):
            continue  # has a length, which is what the next check names
        got = r"a dict of \['observation'\]" if isinstance(wrong, dict) else type(wrong).__name__
        refuses(
            env,
            TypeError,
            f"step_into: `observations` must be {wanted}, got {got}",
            lambda w=wrong: env.step_into(
                env.action_space.sample(), observations=w, rewards=np.zeros(B), **flags
            ),
        )


@pytest.mark.parametrize("wrong", [[], ["low"], "level", 5])
def test_reset_options_are_a_dict(wrong):
    env = started("CartPole-v1")
    refuses(
        env,
        TypeError,
        f"reset: `options` must be a dict, got {type(wrong).__name__}",
        lambda: env.reset(options=wrong),
    )


def test_an_array_without_dimensions_is_no_seed():
    env = started("CartPole-v1")
    refuses(
        env,
        TypeError,
        "reset: `seed` must be an integer, got ndarray",
        lambda: env.reset(seed=np.array(3)),
    )


@pytest.mark.parametrize(
    ("said", "kind", "message"),
    [
        ([{"x": np.ones(3)}], ValueError, r"say 'x' of shape \[B = 4, …\], got \[3\]"),
        ([{"x": 1.0}], ValueError, r"say 'x' of shape \[B = 4, …\], got \[\]"),
        (
            [{"x": np.ones((B, 2))}, {"x": np.ones((B, 1))}],
            ValueError,
            r"say 'x' of one shape at every step, got \[4, 1\] at step 1",
        ),
        ([{"x": np.ones(B)}, {}], ValueError, r"say \['x'\] at every step, got none at step 1"),
        ([{}, {"x": np.ones(B)}], ValueError, "say 'x' of one shape at every step, got"),
        ([{"actions": np.ones(B)}], ValueError, 'name no extra "actions", got one'),
        (
            [np.ones(B)],
            TypeError,
            r"return actions or \(actions, dict of arrays\), got \(ndarray, ndarray\)",
        ),
    ],
)
def test_what_a_policy_says_beside_its_actions(said, kind, message):
    env = started("CartPole-v1")
    extras = iter(said)
    with pytest.raises(kind, match="collect: `policy` must " + message):
        env.collect(lambda _: (np.zeros(B, np.int64), next(extras)), 2)


def test_actions_at_odd_addresses():
    env, twin = started("CartPole-v1"), started("CartPole-v1")
    actions = env.action_space.sample()
    askew = np.zeros(8 * B + 1, np.uint8)[1:].view(np.int64)
    askew[:] = actions
    observations = np.zeros((B, 4), np.float32)
    flags = {"terminated": np.zeros(B, bool), "truncated": np.zeros(B, bool)}
    for _ in range(3):
        env.step_into(askew, observations=observations, rewards=np.zeros(B), **flags)
        assert np.array_equal(observations, twin.step(actions)[0])
        assert np.array_equal(env.step(askew)[0], twin.step(actions)[0])


def test_actions_that_require_a_gradient_are_taken():
    torch = pytest.importorskip("torch")
    env, other = fastrl.make_vec("Pendulum-v1", 2), fastrl.make_vec("Pendulum-v1", 2)
    env.reset(seed=0)
    other.reset(seed=0)
    actions = torch.tensor([[0.5], [-1.0]], requires_grad=True)
    plain = actions.detach().numpy()
    for call in (
        lambda env, actions: env.step(actions)[0],
        lambda env, actions: (env.send(actions), env.recv().observations)[1],
        lambda env, actions: env.unroll(actions[None]).observations,
        lambda env, actions: env.step(actions, active=np.array([True, False]))[0],
    ):
        assert np.array_equal(call(env, actions), call(other, plain))
    meta = actions.to("meta")
    with pytest.raises(ValueError, match="step: `actions` must be on the CPU, got meta"):
        env.step(meta)
