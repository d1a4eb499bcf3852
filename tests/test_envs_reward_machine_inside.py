"""Reward machines inside of an environment: observed, in snapshots, from its labels."""

import itertools

import fastrl
import numpy as np
import pytest
from every_form import MODES
from fastrl.envs import RewardMachine
from reward_machines import machine_in_lake


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("combine", ["replace", "add"])
def test_inside_an_environment(mode, combine):
    """The same actions without a machine tell its labels; the interpreter tells the rest."""
    machine = machine_in_lake(terminal=[2])[0]
    interpreters = [machine_in_lake(terminal=[2])[1] for _ in range(5)]
    options = {"autoreset_mode": mode, "is_slippery": False, "max_episode_steps": 20}
    env = fastrl.make_vec(
        "FrozenLake-v1", 5, reward_machine=machine, machine_reward=combine, **options
    )
    plain = fastrl.make_vec("FrozenLake-v1", 5, **options)
    bits = {name: 1 << b for b, name in enumerate(env.step_labels)}
    random = np.random.default_rng(3)
    infos = env.reset(seed=1)[1]
    plain.reset(seed=1)
    assert infos["machine_state"].tolist() == [0] * 5
    ended = np.zeros(5, bool)
    seen = set()
    for _ in range(300):
        if mode == "disabled" and ended.any():
            infos = env.reset(options={"reset_mask": ended})[1]
            plain.reset(options={"reset_mask": ended})
            assert (infos["_machine_state"] == ended).all()
        before = ended
        actions = random.integers(0, 4, 5)
        observations, rewards, terminated, truncated, infos = env.step(actions)
        told = plain.step(actions)
        np.testing.assert_array_equal(observations, told[0])
        np.testing.assert_array_equal(terminated, told[2])
        np.testing.assert_array_equal(truncated, told[3])
        ended = terminated | truncated
        for i in range(5):
            if before[i] and mode == "next_step":
                assert infos["machine_state"][i] == 0
                assert infos["machine_clocks"][i] == 0
                continue
            final = mode == "same_step" and ended[i]
            said = infos["final_info"] if final else infos
            labels = {name for name, bit in bits.items() if said["labels"][i] & bit}
            seen |= labels
            reward, discount, _ = interpreters[i].step(labels)
            assert rewards[i] == (reward + told[1][i] if combine == "add" else reward)
            assert said["machine_state"][i] == interpreters[i].state
            assert said["machine_clocks"][i, 0] == min(interpreters[i].clocks["t"], 7)
            assert said["discount"][i] == discount
            assert ("goal" in labels) == (told[1][i] == 1.0)
            if final:
                assert infos["machine_state"][i] == 0
            if ended[i]:
                interpreters[i].state = 0
                interpreters[i].clocks = {"t": 0}
    assert seen == {"goal", "hole"}


@pytest.mark.parametrize("mode", MODES)
def test_terminal_states_end_the_episode(mode):
    machine = RewardMachine(2, [(0, "true", 1, 5.0, "t == 3")], terminal=[1], clocks=["t"])
    env = fastrl.make_vec("CodeLock-v0", 3, reward_machine=machine, autoreset_mode=mode)
    env.reset(seed=0)
    for t in range(3):
        _, rewards, terminated, truncated, _ = env.step(np.zeros(3, np.int64))
        assert rewards.tolist() == [5.0 * (t == 2)] * 3
        assert terminated.tolist() == [t == 2] * 3
        assert not truncated.any()
    if mode != "disabled":
        assert env.step(np.zeros(3, np.int64))[4]["machine_state"].tolist() == [0] * 3


@pytest.mark.parametrize("precision", ["exact", "fast"])
def test_the_state_can_be_observed(precision):
    machine = RewardMachine(3, [(0, "true", 1, 1.0, "t == 5"), (1, "fallen", 2)], clocks=["t"])
    env, plain = (
        fastrl.make_vec("CartPole-v1", 40, precision=precision, autoreset_mode="same_step", **extra)
        for extra in ({"reward_machine": machine, "machine_observed": True}, {})
    )
    assert env.single_observation_space.shape == (7,)
    observations, told = env.reset(seed=1)[0], plain.reset(seed=1)[0]
    np.testing.assert_array_equal(observations, np.hstack([told, [[1, 0, 0]] * 40]))
    for _ in range(60):
        action = np.random.default_rng(0).integers(0, 2, 40)
        said, other = env.step(action), plain.step(action)
        np.testing.assert_array_equal(said[0][:, :4], other[0])
        np.testing.assert_array_equal(said[0][:, 4:], np.eye(3)[said[4]["machine_state"]])
        ended = said[2] | said[3]
        states = said[4]["machine_state"]
        assert not states[ended].any()
        for i in np.flatnonzero(ended):
            assert said[4]["final_obs"][i][4:].tolist() == [0, 0, 1]
    np.testing.assert_array_equal(env.observe(), said[0])


def test_counterfactuals_of_what_an_environment_says():
    machine = machine_in_lake()[0]
    env = fastrl.make_vec("FrozenLake-v1", 64, reward_machine=machine, is_slippery=True)
    env.reset(seed=3)
    for _ in range(20):
        before = np.array(env.observe())
        infos = env.step(np.random.default_rng(int(before.sum())).integers(0, 4, 64))[4]
        told = machine.counterfactuals(infos["labels"], label_names=env.step_labels)
        assert told.next_states.shape == (64, 3)
        stepped = infos["_labels"]
        ones = stepped & (infos["machine_clocks"][:, 0] == 1)
        np.testing.assert_array_equal(told.next_states[ones, 0], infos["machine_state"][ones])


def test_success_and_malformed_actions_are_labels():
    machine = RewardMachine(
        2, [(0, "malformed", 0, -1.0), (0, "success", 1, 7.0), (0, "!success", 0, 0.5)]
    )
    env = fastrl.make_vec("CodeLock-v0", 2, length=2, reward_machine=machine)
    assert env.step_labels[-2:] == ["success", "malformed"]
    env.reset(seed=0)
    distance, first = env.solve(env.snapshot())
    assert distance.tolist() == [2, 2]
    assert env.step(np.array([-1, first[1]]))[1].tolist() == [-1.0, 0.5]
    second = env.solve(env.snapshot())[1]
    assert env.step(np.array([0, second[1]]))[1].tolist() == [0.5, 7.0]


def test_machines_are_part_of_snapshots_and_threads_do_not_matter():
    machine = machine_in_lake()[0]
    results = []
    for threads in (1, 3):
        env = fastrl.make_vec(
            "FrozenLake-v1", 700, reward_machine=machine, num_threads=threads, history=4
        )
        env.reset(seed=5)
        random = np.random.default_rng(0)
        actions = random.integers(0, 4, (12, 700))
        for row in actions[:5]:
            env.step(row)
        saved = env.snapshot()
        first = [env.step(row) for row in actions[5:8]]
        env.rewind(2)
        assert env.state_hash().shape == (700,)
        again = [env.step(row) for row in actions[6:8]]
        for one, two in zip(first[1:], again, strict=True):
            np.testing.assert_array_equal(one[1], two[1])
            np.testing.assert_array_equal(one[4]["machine_clocks"], two[4]["machine_clocks"])
        end = env.snapshot().tobytes()
        env.restore(saved)
        for row, old in zip(actions[5:8], first, strict=True):
            new = env.step(row)
            np.testing.assert_array_equal(new[4]["machine_state"], old[4]["machine_state"])
        assert env.snapshot().tobytes() == end
        results.append(end)
    assert results[0] == results[1]


def test_make_vec_errors():
    machine = machine_in_lake()[0]
    for options, message in [
        ({"reward_machine": 3}, "`reward_machine` must be a RewardMachine, got int"),
        ({"machine_reward": "add"}, "`reward_machine` must be given to add a reward"),
        ({"reward_machine": machine, "machine_reward": "x"}, "`machine_reward` must be one of"),
        ({"reward_machine": machine}, "must read labels out of .*success, malformed, got hole"),
    ]:
        with pytest.raises(
            (ValueError, TypeError), match=f"make_vec: {message}|make_vec: .*{message}"
        ):
            fastrl.make_vec("CodeLock-v0", **options)
    with pytest.raises(ValueError, match="`machine_observed` must be False where an observation"):
        fastrl.make_vec("FrozenLake-v1", reward_machine=machine, machine_observed=True)


def test_a_snapshot_of_another_machine_is_refused():
    one = fastrl.make_vec("FrozenLake-v1", 2, reward_machine=machine_in_lake()[0])
    two = fastrl.make_vec("FrozenLake-v1", 2, reward_machine=machine_in_lake(discount=0.25)[0])
    bare = fastrl.make_vec("FrozenLake-v1", 2)
    for env in (one, two, bare):
        env.reset(seed=0)
    for a, b in itertools.permutations((one, two, bare), 2):
        with pytest.raises(ValueError, match="restore: `snapshot` must have the options"):
            a.restore(b.snapshot())
