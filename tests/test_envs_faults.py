"""What an environment's own code throws: one clear error, and a batch that goes on."""

import threading
import time

import numpy as np
import pytest
from every_form import MODES
from fastrl.envs import compile, make_vec
from fresh_process import run_python

# The action says what goes wrong in this step; the reset option, in the reset.
SOURCE = r"""#pragma once
#include <fastrl/environment.h>
#include <chrono>
#include <new>
#include <stdexcept>
#include <thread>

struct Fuse {
  static constexpr const char* kId = "Fuse-v0";
  static constexpr std::uint32_t kVersion = 1;
  enum { kWait, kThrow, kThrowInt, kBlind, kMute, kLatin1, kLong, kEnd, kMislabel, kSleep };
  struct Params {};
  struct State { std::int64_t n, last; };
  static Params parse(fastrl::Options& options) {
    if (options.boolean("broken", false)) throw std::runtime_error("no parameters today");
    return {};
  }
  static void describe(const Params&, fastrl::Description& d) {
    d.add_observation(fastrl::discrete(1000));
    d.set_action(fastrl::discrete(10));
    d.add_info("n", fastrl::box<std::int64_t>({}, 0, 1000), true);
    d.add_reset_option("fails_above");
    d.add_label("sound");
    d.grid_height = d.grid_width = 1;
  }
  static State reset(const Params&, fastrl::RandomStream& level, const double* options) {
    const std::int64_t n = level.below(100);
    if (options != nullptr && options[0] <= n) {
      throw std::out_of_range("level of " + std::to_string(n));
    }
    return {n, 0};
  }
  static fastrl::StepResult step(const Params&, State& s, fastrl::RandomStream&, int action) {
    s.last = action;
    if (action == kThrow) throw std::runtime_error("out of fuel");
    if (action == kThrowInt) throw 7;
    if (action == kLatin1) throw std::runtime_error("caf\xE9");
    if (action == kLong) throw std::runtime_error(std::string(5000, 'x') + "\xC3\xA9");
    if (action == kSleep) std::this_thread::sleep_for(std::chrono::seconds(1));
    s.n += 1;
    return {.reward = 1.0, .terminated = action == kEnd};
  }
  static void observe(const Params&, const State& s, const fastrl::Rows& rows) {
    if (s.last == kBlind) throw std::bad_alloc();
    *rows.at<std::int64_t>(0) = s.n;
  }
  template <typename Result>
  static void inform(const Params&, const State& s, const Result*, const fastrl::Rows& rows) {
    if (s.last == kMute) throw std::logic_error("nothing to say");
    *rows.at<std::int64_t>(0) = s.n;
  }
  static std::uint64_t labels(const Params&, const State& s) {
    if (s.last == kMislabel) throw std::logic_error("no label");
    return 1;
  }
  static void cells(const Params&, const State& s, char* to) {
    if (s.last == kMislabel) throw std::logic_error("no picture");
    *to = '.';
  }
};

FASTRL_ENVIRONMENT(Fuse);
"""
WAIT, THROW, THROW_INT, BLIND, MUTE, LATIN1, LONG, END, MISLABEL, SLEEP = range(10)
B = 700  # several chunks


@pytest.fixture(scope="module")
def fuse(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuse")
    source = folder / "fuse.hpp"
    source.write_text(SOURCE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTRL_CACHE_DIR", str(folder))
        yield compile(source, flags=["-O0"])


@pytest.fixture(params=[1, 3])
def threads(request, set_threads):
    set_threads(request.param)
    return request.param


def actions_with(num_envs, **faults):
    """Waiting, but for environments given as e3=THROW."""
    actions = np.full(num_envs, WAIT)
    for name, action in faults.items():
        actions[int(name[1:])] = action
    return actions


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (THROW, "`step` threw: out of fuel"),
        (THROW_INT, "`step` threw what is no std::exception"),
        (BLIND, "`observe` threw: std::bad_alloc"),
        (MUTE, "`inform` threw: nothing to say"),
        (LATIN1, "`step` threw: caf?"),
        (LONG, "`step` threw: " + "x" * 985),
    ],
)
def test_the_error_names_environment_function_and_reason(fuse, threads, action, message):
    env = make_vec(fuse, B)
    env.reset(seed=0)
    with pytest.raises(RuntimeError) as raised:
        env.step(actions_with(B, e300=action))
    expected = f"step: environment 300 of Fuse-v0 has failed and needs a reset: {message}"
    assert str(raised.value) == expected


@pytest.mark.parametrize("mode", MODES)
def test_all_others_make_their_step(fuse, threads, mode):
    env, sound = (make_vec(fuse, B, autoreset_mode=mode, history=3) for _ in range(2))
    env.reset(seed=0)
    sound.reset(seed=0)
    waiting = actions_with(B, e4=END)
    failing = actions_with(B, e4=END, e1=BLIND, e2=THROW, e290=THROW, e699=MUTE)
    failed = np.isin(np.arange(B), [1, 2, 290, 699])
    sound.step(waiting)
    message = r"environment 1 of Fuse-v0 .* `observe` threw: std::bad_alloc \(and 3 more\)"
    with pytest.raises(RuntimeError, match=message):
        env.step(failing)
    good = np.flatnonzero(~failed)
    assert np.array_equal(env.observe(good), sound.observe(good))
    assert np.array_equal(env.elapsed_steps[good], sound.elapsed_steps[good])
    assert np.array_equal(env.episode_returns[good], sound.episode_returns[good])
    assert np.array_equal(env.state_hash(good), sound.state_hash(good))
    with pytest.raises(RuntimeError, match="step: environment 1 needs a reset; call reset first"):
        env.step(actions_with(B))
    for each in (env, sound):
        each.reset(options={"reset_mask": failed})
    if mode == "disabled":
        failed[4] = True
    for step in range(3):
        active = None if mode != "disabled" else ~failed
        got, expected = (each.step(actions_with(B), active) for each in (env, sound))
        assert np.array_equal(got[0][good], expected[0][good]), step
        assert np.array_equal(got[1][good], expected[1][good]), step


def test_who_failed_can_be_rewound(fuse):
    env = make_vec(fuse, 3, history=4)
    env.reset(seed=0)
    env.step(actions_with(3))
    before = env.observe(), env.snapshot().tobytes()
    with pytest.raises(RuntimeError, match="environment 1 of"):
        env.step(actions_with(3, e1=THROW))
    env.rewind(1)
    assert np.array_equal(env.observe(), before[0])
    assert env.snapshot().tobytes() == before[1]
    env.step(actions_with(3))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("group_size", [1, 4])
def test_a_reset_that_throws(fuse, threads, mode, group_size):
    env, sound = (make_vec(fuse, 64, autoreset_mode=mode, group_size=group_size) for _ in range(2))
    expected = sound.reset(seed=1)[0]
    failed = expected >= 50
    first = int(np.flatnonzero(failed)[0])
    message = (
        rf"^reset: environment {first} of Fuse-v0 has failed and needs a reset: "
        rf"`reset` threw: level of {expected[first]} \(and {failed.sum() - 1} more\)$"
    )
    with pytest.raises(RuntimeError, match=message):
        env.reset(seed=1, options={"fails_above": 50})
    good = np.flatnonzero(~failed)
    assert np.array_equal(env.observe(good), expected[good])
    with pytest.raises(RuntimeError, match=f"observe: environment {first} has never been reset"):
        env.observe()
    assert np.array_equal(env.reset(seed=1)[0], expected)


def test_step_into_writes_zeros_where_it_failed(fuse):
    env = make_vec(fuse, 3)
    env.reset(seed=0)
    into = {
        "observations": np.full(3, -1),
        "rewards": np.full(3, -1.0),
        "terminated": np.ones(3, np.bool_),
        "truncated": np.ones(3, np.bool_),
    }
    with pytest.raises(RuntimeError, match=r"^step_into: environment 1 of"):
        env.step_into(actions_with(3, e1=BLIND, e2=END), **into)
    with pytest.raises(RuntimeError, match="step_infos: there was no step_into yet"):
        _ = env.step_infos
    assert into["observations"][1] == 0
    assert (into["observations"][[0, 2]] > 0).all()
    assert into["rewards"].tolist() == [1.0, 0.0, 1.0]
    assert into["terminated"].tolist() == [False, False, True]
    assert not into["truncated"].any()


def test_a_later_step_into_that_throws(fuse):
    env = make_vec(fuse, 3)
    env.reset(seed=0)
    flags = np.zeros((2, 3), np.bool_)
    into = {"rewards": np.zeros(3), "terminated": flags[0], "truncated": flags[1]}
    observations = np.zeros(3, np.int64)
    env.step_into(actions_with(3), observations=observations, **into)
    n = observations[0]
    message = (
        r"^step_into: environment 1 of Fuse-v0 has failed and needs a reset: "
        r"`step` threw: out of fuel$"
    )
    with pytest.raises(RuntimeError, match=message):
        env.step_into(actions_with(3, e1=THROW), observations=observations, **into)
    assert observations[0] == n + 1, "stepped once"
    assert observations[1] == 0


def test_other_threads_run_while_a_slow_environment_steps(fuse):
    env = make_vec(fuse, 1)
    env.reset(seed=0)
    assert_others_run(lambda: env.step(actions_with(1, e0=SLEEP)))
    assert_others_run(lambda: env.unroll(np.array([[SLEEP]])))


def assert_others_run(call):
    """During a call of a second."""
    stepper = threading.Thread(target=call)
    times = [time.monotonic()]
    stepper.start()
    while stepper.is_alive():
        time.sleep(0.001)
        times.append(time.monotonic())
    assert times[-1] - times[0] >= 1
    assert np.diff(times).max() < 0.8


def test_unroll_goes_on_with_the_others(fuse, threads):
    env, sound = make_vec(fuse, B), make_vec(fuse, B)
    env.reset(seed=0)
    sound.reset(seed=0)
    actions = np.full((6, B), WAIT)
    sound.unroll(actions)
    actions[2, 600] = THROW
    with pytest.raises(RuntimeError, match=r"^unroll: environment 600 of .* out of fuel$"):
        env.unroll(actions)
    good = np.delete(np.arange(B), 600)
    assert np.array_equal(env.state_hash(good), sound.state_hash(good))
    assert (env.elapsed_steps[good] == 6).all()


def test_recv_raises_what_send_led_to(fuse, threads):
    env = make_vec(fuse, 8)
    env.reset(seed=0)
    env.send(actions_with(8, e5=THROW, e6=MUTE))
    assert env.recv(5).ids.tolist() == [0, 1, 2, 3, 4]
    message = r"^recv: environment 5 of .* needs a reset: `step` threw: out of fuel \(and 1 more\)$"
    with pytest.raises(RuntimeError, match=message):
        env.recv()
    assert env.observe([7]) > 0
    with pytest.raises(RuntimeError, match="send: environment 5 needs a reset"):
        env.send(actions_with(1), [5])
    env.reset(options={"reset_mask": np.isin(np.arange(8), [5, 6])})
    env.send(actions_with(8))
    assert env.recv().rewards.tolist() == [1.0] * 8


@pytest.mark.parametrize(
    "wrapper",
    [
        {"action_repeat": 2},
        {"trials": {"episodes": 2}},
        {"costs": {"sound": 1.0}, "cost_limit": 100.0},
        {"contexts": {"broken": [False, False]}},
    ],
)
def test_under_wrappers_too(fuse, threads, wrapper):
    env = make_vec(fuse, B, **wrapper)
    env.reset(seed=0)
    with pytest.raises(RuntimeError, match=r"environment 10 of .* \(and 1 more\)$"):
        env.step(actions_with(B, e10=THROW, e400=BLIND))
    env.reset(options={"reset_mask": np.isin(np.arange(B), [10, 400])})
    _, rewards, *_ = env.step(actions_with(B))
    assert (rewards == wrapper.get("action_repeat", 1)).all()


def test_labels_that_throw_while_costs_are_counted(fuse, threads):
    env = make_vec(fuse, B, costs={"sound": 1.0}, cost_limit=100.0)
    env.reset(seed=0)
    with pytest.raises(RuntimeError, match=r"environment 9 of .*: `labels` threw: no label$"):
        env.step(actions_with(B, e9=MISLABEL))
    with pytest.raises(RuntimeError, match="environment 9 needs a reset"):
        env.step(actions_with(B))


def test_what_only_reads_changes_nothing(fuse):
    env = make_vec(fuse, 2, render_mode="ansi")
    env.reset(seed=0)
    env.step([WAIT, MISLABEL])
    before = env.snapshot().tobytes()
    with pytest.raises(RuntimeError, match=r"^render: Fuse-v0 has failed: `cells` threw: no pic"):
        env.render()
    assert env.snapshot().tobytes() == before
    env.step([WAIT, WAIT])
    assert env.render() == (".", ".")


def test_observing_a_state_that_throws_changes_nothing(fuse):
    env = make_vec(fuse, 3, history=1)
    env.reset(seed=0)
    with pytest.raises(RuntimeError, match="environment 1 of"):
        env.step(actions_with(3, e1=BLIND))
    assert env.observe([0, 2]).shape == (2,)


def test_making_an_environment_that_throws(fuse):
    message = "^make_vec: Fuse-v0 has failed: `parse` threw: no parameters today$"
    with pytest.raises(RuntimeError, match=message):
        make_vec(fuse, 2, broken=True)
    with pytest.raises(RuntimeError, match=message):
        make_vec(fuse, 2, contexts={"broken": [False, True]})


def test_the_process_lives_on(fuse):
    """Apart, as what this guards against ends the process."""
    code = f"""
import numpy as np, fastrl
from fastrl.envs import load, make_vec
fastrl.set_num_threads(3)
env = make_vec(load({str(fuse.library)!r}), {B})
env.reset(seed=0)
for i in range(50):
    try:
        env.send(np.full({B}, {THROW}))
        env.recv()
    except RuntimeError:
        env.reset()
    else:
        raise SystemExit("no error")
print("alive")
"""
    assert run_python(code) == "alive\n"
