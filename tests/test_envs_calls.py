"""Bad calls of a batch, and any sequence of good ones: errors leave it as it was."""

import threading
import time

import fastrl
import numpy as np
import pytest
from every_form import MODES
from hypothesis import given, settings
from hypothesis import strategies as st


def test_a_second_thread_is_refused_and_harms_nothing():
    env = fastrl.make_vec("Sokoban-v0", 4096, num_boxes=1, max_episode_steps=1)
    env.reset(seed=0)
    errors = []

    def run():
        for _ in range(8):
            try:
                env.step(np.zeros(4096, int))
            except RuntimeError as error:
                errors.append(str(error))

    workers = [threading.Thread(target=run) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert set(errors) <= {"step: another thread is using this environment"}
    assert errors
    steps = 24 - len(errors)
    again = fastrl.make_vec("Sokoban-v0", 4096, num_boxes=1, max_episode_steps=1)
    again.reset(seed=0)
    for _ in range(steps):
        again.step(np.zeros(4096, int))
    assert again.snapshot().tobytes() == env.snapshot().tobytes()


@pytest.mark.parametrize(
    ("options", "call"),
    [
        ({}, lambda env: env.unroll(steps=200_000, seed=1)),
        ({"action_repeat": 100_000}, lambda env: env.step(np.zeros(8, int))),
    ],
)
def test_long_calls_of_few_environments_let_other_threads_run(options, call):
    env = fastrl.make_vec("Acrobot-v1", 8, **options)
    env.reset(seed=0)
    times = [time.monotonic()]
    worker = threading.Thread(target=call, args=(env,))
    worker.start()
    while worker.is_alive():
        time.sleep(0.0005)
        times.append(time.monotonic())
    assert np.diff(times).max() < 0.5 * (times[-1] - times[0])


def test_step_errors_leave_the_batch_as_it_was():
    env = fastrl.make_vec("CodeLock-v0", 4, autoreset_mode="disabled", length=2)
    with pytest.raises(RuntimeError, match="step: environment 0 has never been reset; call reset"):
        env.step(np.zeros(4, int))
    with pytest.raises(RuntimeError, match="observe: environment 0 has never been reset"):
        env.observe()
    with pytest.raises(RuntimeError, match="render_text: environment 0 has never been reset"):
        env.render_text()
    env.reset(seed=0, options={"reset_mask": np.array([True, True, True, False])})
    with pytest.raises(RuntimeError, match="step: environment 3 has never been reset"):
        env.step(np.zeros(4, int))
    env.reset(seed=0)
    before = env.snapshot().tobytes()
    for actions, kind, message in [
        (np.zeros(3, int), ValueError, r"`actions` must have shape \[B\] = \[4\], got \[3\]"),
        (
            np.zeros((4, 1), int),
            ValueError,
            r"`actions` must have shape \[B\] = \[4\], got \[4, 1\]",
        ),
        (np.zeros(4), TypeError, "`actions` must hold integers, got float64"),
        (np.array([np.nan] * 4), TypeError, "`actions` must hold integers, got float64"),
        (np.zeros(4, bool), TypeError, "`actions` must hold integers, got bool"),
        (["Up"] * 4, TypeError, "`actions` must hold integers"),
        ([0, 0, 4, 0], ValueError, "`actions` must be from -1 to 3, got 4 for environment 2"),
        (
            np.array([0, 2**64 - 1, 0, 0], np.uint64),
            ValueError,
            f"`actions` must be from -1 to 3, got {2**64 - 1} for environment 1",
        ),
        ([0, 0, 0, -2], ValueError, "`actions` must be from -1 to 3, got -2 for environment 3"),
    ]:
        with pytest.raises(kind, match=f"step: {message}"):
            env.step(actions)
    with pytest.raises(TypeError, match="step: `active` must be a NumPy array of bool, got int64"):
        env.step(np.zeros(4, int), np.ones(4, int))
    with pytest.raises(
        ValueError, match=r"step: `active` must have shape \[B\] = \[4\], got \[5\]"
    ):
        env.step(np.zeros(4, int), np.ones(5, bool))
    assert env.snapshot().tobytes() == before
    for _ in range(2):
        env.step(np.zeros(4, int))
    with pytest.raises(
        RuntimeError, match="step: the episode of environment 0 has ended; reset it"
    ):
        env.step(np.zeros(4, int))


def test_reset_errors():
    env = fastrl.make_vec("CodeLock-v0", 2)
    for kind, message, arguments in [
        (ValueError, "`seed` must be from 0 to", {"seed": -1}),
        (ValueError, "`seed` must be from 0 to", {"seed": [1, 2**64]}),
        (ValueError, "`seed` must hold B = 2 seeds, got 3", {"seed": [1, 2, 3]}),
        (TypeError, "`seed` must be an integer", {"seed": [1, 2.0]}),
        (TypeError, "`seed` must be an integer", {"seed": 1.5}),
        (TypeError, "`seed` must be an integer", {"seed": "12"}),
        (TypeError, "`seed` must be an integer", {"seed": True}),
        (ValueError, '`options` must have no key but "reset_mask"', {"options": {"mask": 1}}),
        (TypeError, "`reset_mask` must be a NumPy array", {"options": {"reset_mask": [True] * 2}}),
        (ValueError, "`reset_mask` must have shape", {"options": {"reset_mask": np.ones(3, bool)}}),
        (ValueError, "must select at least one", {"options": {"reset_mask": np.zeros(2, bool)}}),
    ]:
        with pytest.raises(kind, match=f"reset: .*{message}"):
            env.reset(**arguments)


def test_parse_errors():
    env = fastrl.make_vec("CodeLock-v0", 2)
    tokens, lengths = np.zeros((2, 3), np.int32), np.array([1, 4], np.int32)
    with pytest.raises(ValueError, match="parse_action_tokens: `lengths` must be from 0 to L = 3"):
        env.parse_action_tokens(tokens, lengths)
    with pytest.raises(TypeError, match="parse_action_tokens: `tokens` must have dtype int32"):
        env.parse_action_tokens(tokens.astype(int), lengths)
    with pytest.raises(ValueError, match="parse_action_tokens: `lengths` must have shape"):
        env.parse_action_tokens(tokens, lengths[:1])
    with pytest.raises(TypeError, match="parse_actions: `texts` must be a sequence of strings"):
        env.parse_actions("Up")
    with pytest.raises(TypeError, match="parse_actions: `texts` must be a sequence of strings"):
        env.parse_actions([b"Up"])
    for texts in (None, 5, b"", iter(["1"]), {"1"}, np.array("1"), np.array([["1"]])):
        with pytest.raises(TypeError, match="parse_actions: `texts` must be a sequence of strings"):
            env.parse_actions(texts)
    assert env.parse_actions(np.array(["1", "x"]))[0].tolist() == [1, -1]
    assert env.parse_actions([])[0].size == 0


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_any_sequence_of_calls_keeps_the_batch_consistent(data):
    name = data.draw(st.sampled_from(["CodeLock-v0", "Sokoban-v0", "FrozenLakeText-v0"]))
    mode = data.draw(st.sampled_from(MODES))
    observation = data.draw(st.sampled_from(["grid", "compact"]))
    env = fastrl.make_vec(
        name, 5, autoreset_mode=mode, observation=observation, max_episode_steps=6, num_levels=4
    )
    env.reset(seed=data.draw(st.integers(0, 2**64 - 1)))
    saved = env.snapshot()
    ids = st.lists(st.integers(0, 4), min_size=1, max_size=5, unique=True)
    for _ in range(data.draw(st.integers(1, 15))):
        call = data.draw(st.sampled_from(["step", "step", "save", "restore", "branch", "reset"]))
        rng = data.draw(st.sampled_from(["restore", "keep", "fork"]))
        if call == "step":
            actions = data.draw(
                st.lists(st.integers(-1, env.num_actions - 1), min_size=5, max_size=5)
            )
            active = np.array(data.draw(st.lists(st.booleans(), min_size=5, max_size=5)))
            try:
                observations, *_ = env.step(actions, active)
                assert env.observation_space.contains(observations)
            except RuntimeError as error:
                assert mode == "disabled"
                assert "has ended" in str(error)  # noqa: PT017
        elif call == "save":
            saved = env.snapshot()
        elif call == "restore":
            chosen = data.draw(ids)
            env.restore(saved[chosen], chosen[::-1], rng=rng)
        elif call == "branch":
            env.branch(data.draw(st.integers(0, 4)), data.draw(ids), rng=rng)
        else:
            mask = np.zeros(5, bool)
            mask[data.draw(ids)] = True
            env.reset(options={"reset_mask": mask})
        assert (env.elapsed_steps <= 6).all()
        distances, actions = env.solve(env.snapshot())
        assert ((distances > 0) == (actions >= 0)).all()
        assert all(env.render_text())
