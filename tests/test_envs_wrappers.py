"""What the engine wraps around environments: repeats, costs, and all together across time."""

import fastrl
import numpy as np
import pytest
from every_form import MODES
from fastrl.envs import RewardMachine, Snapshot
from forged_snapshots import sealed
from random_play import locks, play
from sameness import assert_same

# --- Action repeat ------------------------------------------------------------------------------


def test_repeated_actions_are_steps_whose_rewards_are_summed():
    env, plain = (
        fastrl.make_vec("CliffWalking-v1", 3, max_episode_steps=1000, action_repeat=n)
        for n in (3, 1)
    )
    env.reset(seed=1)
    plain.reset(seed=1)
    random = np.random.default_rng(0)
    for t in range(60):
        action = random.integers(0, 4, 3)
        observations, rewards, *_ = env.step(action)
        sums = np.zeros(3)
        for _ in range(3):
            told = plain.step(action)
            sums += told[1]
        np.testing.assert_array_equal(observations, told[0])
        np.testing.assert_array_equal(rewards, sums)
        assert env.elapsed_steps.tolist() == [t + 1] * 3


@pytest.mark.parametrize("mode", MODES)
def test_repeating_stops_at_the_end_of_an_episode(mode):
    env = fastrl.make_vec("CodeLock-v0", 2, length=5, action_repeat=3, autoreset_mode=mode)
    env.reset(seed=0)
    assert not env.step(np.zeros(2, np.int64))[2].any()
    assert env.step(np.zeros(2, np.int64))[2].all()
    assert env.elapsed_steps.tolist() == ([0, 0] if mode == "same_step" else [2, 2])


# --- Costs --------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_costs_are_counted_and_end_episodes_beyond_the_limit(mode):
    env = fastrl.make_vec(
        "CliffWalking-v1",
        4,
        costs={"cliff": 1.0, "goal": -0.25},
        cost_limit=2.5,
        max_episode_steps=50,
        autoreset_mode=mode,
    )
    env.reset(seed=0)
    sums, begins, cut = np.zeros(4), np.zeros(4, bool), 0
    for said in play(env, 400, 1):
        ended = said[2] | said[3]
        for i in range(4):
            if begins[i] and mode == "next_step":
                assert not said[4]["_cost"][i]
                continue
            infos = said[4]["final_info"] if mode == "same_step" and ended[i] else said[4]
            assert infos["cost"][i] == 1.0 * (said[1][i] == -100) - 0.25 * said[2][i]
            sums[i] += infos["cost"][i]
            assert infos["episode_cost"][i] == sums[i]
            assert said[3][i] >= (sums[i] > 2.5)
            cut += sums[i] > 2.5
        sums[ended] = 0
        begins = ended
    assert cut > 20


def test_malformed_actions_can_cost():
    env = locks(2, costs={"malformed": 0.5, "success": 2.0})
    env.reset(seed=0)
    assert env.step(np.array([-1, 0]))[4]["cost"].tolist() == [0.5, 0.0]


def test_every_repeated_step_costs():
    env = fastrl.make_vec("CliffWalking-v1", 1, costs={"cliff": 1.0}, action_repeat=3)
    env.reset(seed=0)
    assert env.step(np.array([1]))[4]["cost"].tolist() == [3.0]


# --- Together -----------------------------------------------------------------------------------


def everything(num_envs, mode="next_step", **options):
    machine = RewardMachine(
        3, [(0, "goal", 2, 1.0), (0, "hole", 1, 0.5, "t >= 2", "t")], terminal=[2], clocks=["t"]
    )
    env = fastrl.make_vec(
        "FrozenLake-v1",
        num_envs,
        autoreset_mode=mode,
        max_episode_steps=6,
        history=5,
        action_repeat=2,
        contexts={"is_slippery": [True, False]},
        context_selector="uniform",
        costs={"hole": 1.0},
        cost_limit=1.5,
        trials={"episodes": 3},
        reward_machine=machine,
        machine_reward="add",
        **options,
    )
    env.set_levels(env.levels(1, seed=0))
    return env


@pytest.mark.parametrize("mode", MODES)
def test_time_travel_takes_all_wrappers_along(mode):
    env = everything(40, mode)
    env.reset(seed=1)
    last = play(env, 7, 1)[-1]
    ended = last[2] | last[3]
    saved = env.snapshot()
    first = play(env, 12, 2, ended)
    for name in ("context", "attempt", "episode_cost", "machine_clocks"):
        assert len(np.unique([said[4][name] for said in first])) > 1
    end = env.snapshot().tobytes()
    env.restore(saved)
    for one, two in zip(first, play(env, 12, 2, ended), strict=True):
        assert_same(one, two)
    assert env.snapshot().tobytes() == end
    # In another batch, from bytes, in another order.
    other = everything(40, mode)
    other.reset(seed=5)
    order = np.random.default_rng(0).permutation(40)
    other.restore(Snapshot.frombytes(saved.tobytes()), ids=order)
    assert other.snapshot(order).tobytes() == saved.tobytes()
    env.restore(saved)
    if mode != "disabled":
        told = play(env, 3, 3)
        env.rewind(3)
        assert env.snapshot().tobytes() == saved.tobytes()
        for one, two in zip(told, play(env, 3, 3), strict=True):
            assert_same(one, two)
    env.branch([0], np.arange(40), rng="restore")
    states = env.snapshot()
    assert len({states[i].tobytes() for i in range(40)}) == 1


@pytest.mark.parametrize("mode", MODES)
def test_numbers_do_not_depend_on_threads(mode):
    ends = []
    for threads in (1, 3):
        env = everything(700, mode, num_threads=threads)
        env.reset(seed=1)
        play(env, 15, 1)
        ends.append(env.snapshot().tobytes())
    assert ends[0] == ends[1]


def test_all_ways_of_stepping_say_the_same(dirty_memory):
    actions = np.random.default_rng(0).integers(0, 4, (20, 30))
    env, unrolled, sent, into = (everything(30) for _ in range(4))
    for one in (env, unrolled, sent, into):
        one.reset(seed=3)
    dirty_memory(0xA5)
    told = unrolled.unroll(actions)
    arrays = {
        "observations": np.zeros(30, np.int64),
        "rewards": np.zeros(30),
        "terminated": np.zeros(30, bool),
        "truncated": np.zeros(30, bool),
    }
    for t in range(20):
        said = env.step(actions[t])
        sent.send(actions[t])
        received = sent.recv()
        into.step_into(actions[t], **arrays)
        assert_same(said, received[1:])
        np.testing.assert_array_equal(told.observations[t], said[0])
        for key, array in arrays.items():
            np.testing.assert_array_equal(array, said[list(arrays).index(key)])
            np.testing.assert_array_equal(getattr(told, key)[t], array)
        for key in set(said[4]) - {"prob"}:  # whose dtype is Gymnasium's in `step` alone
            np.testing.assert_array_equal(told.infos[key][t], said[4][key])
            np.testing.assert_array_equal(into.step_infos[key], said[4][key])
    for one in (unrolled, sent, into):
        assert env.snapshot().tobytes() == one.snapshot().tobytes()


def test_forged_wrapper_bytes_are_refused_or_harmless():
    """Contexts, attempts, machine states and clocks are indexes: a wrong one must not be used."""
    env = everything(1)
    env.reset(seed=0)
    data = env.snapshot().tobytes()
    refused = 0
    for place in range(len(data) - env._native.slot_size, len(data)):
        for value in (0x7F, 0xFF):
            forged = data[:place] + bytes([value]) + data[place + 1 :]
            try:
                env.restore(Snapshot.frombytes(sealed(forged)))
                play(env, 8, 0)
            except ValueError as error:
                refused += "an impossible state at index 0" in str(error)
            except RuntimeError:  # the forged byte says that there was no reset
                pass
            env.reset()
    assert refused > 40


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"action_repeat": 0}, "`action_repeat` must be from 1"),
        ({"contexts": {}}, "`contexts` must name at least one option, got none"),
        ({"contexts": []}, "`contexts` must be a dict, got list"),
        ({"contexts": {1: [2]}}, "`contexts` must have strings as keys, got 1"),
        ({"contexts": {"length": 3}}, r"`contexts\['length'\]` must hold values \[C\], got int"),
        ({"contexts": {"length": []}}, "must hold at least one value, got none"),
        (
            {"contexts": {"length": [3, 4], "num_choices": [2]}},
            r"`contexts\['num_choices'\]` must have shape \[C\] = \[2\], got \[1\]",
        ),
        (
            {"contexts": {"lengths": [3]}},
            "`contexts` must be among those of CodeLock-v0 .*'lengths'; did you mean 'length'?",
        ),
        ({"contexts": {"length": [8, 99]}}, "`length` must be an integer from 1 to 64, got 99"),
        ({"contexts": {"num_choices": [2, 3]}}, "must leave observations, actions and infos"),
        ({"context_selector": "uniform"}, "`contexts` must be given to be selected"),
        ({"contexts": {"length": [8]}, "context_selector": "x"}, "`context_selector` must be one"),
        ({"contexts": {"length": [8]}, "context_selector": [1.0, 2.0]}, r"shape \[C\] = \[1\]"),
        ({"contexts": {"length": [8]}, "context_observed": True}, "`context_observed` must be Fal"),
        ({"costs": {}}, "`costs` must name at least one label, got none"),
        (
            {"costs": {"lava": 1.0}},
            "`costs` must name labels out of .*success, malformed, got lava",
        ),
        ({"costs": {"success": np.nan}}, r"`costs\['success'\]` must be finite, got nan"),
        ({"cost_limit": 1.0}, "`costs` must be given where `cost_limit` is, got None"),
        ({"retries": {"turns": 3}}, "`retries` must have no key but 'max_attempts', 'decay'"),
        ({"retries": {"max_attempts": 65}}, r"`retries\['max_attempts'\]` must be from 1 to 64"),
        ({"retries": {"decay": 2.0}}, r"`retries\['decay'\]` must be in \[0, 1\], got 2.0"),
        ({"retries": {"repeat_penalty": -1}}, r"`retries\['repeat_penalty'\]` must be finite and"),
        ({"retries": {}, "trials": {}}, "`trials` must be None where `retries` is given"),
        ({"trials": {"episodes": 0}}, r"`trials\['episodes'\]` must be from 1"),
        ({"trials": {"until_success": 1}}, r"`trials\['until_success'\]` must be True or False"),
    ],
)
def test_errors(options, message):
    with pytest.raises((ValueError, TypeError), match=f"make_vec: .*{message}"):
        fastrl.make_vec("CodeLock-v0", **options)


def test_attempts_that_end_with_success_need_it():
    for options in ({"retries": {}}, {"trials": {"until_success": True}}):
        with pytest.raises(ValueError, match="must be of an environment that reports success"):
            fastrl.make_vec("FrozenLake-v1", **options)
