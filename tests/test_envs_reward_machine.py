"""Reward machines: guards, clocks, counterfactuals, and inside of an environment."""

import itertools
import pickle

import fastrl
import numpy as np
import pytest
from fastrl.envs import RewardMachine
from fastrl.reference import reward_machines as reference
from hypothesis import given, settings
from hypothesis import strategies as st

LABELS = ["a", "b", "c", "d"]
MODES = ["next_step", "same_step", "disabled"]


def label_sets():
    return [{name for b, name in enumerate(LABELS) if bits >> b & 1} for bits in range(16)]


def random_guard(random, depth=3):
    kind = random.integers(0, 6 if depth else 2)
    if kind < 2:
        return "true" if random.random() < 0.1 else str(random.choice(LABELS))
    if kind == 2:
        return f"!({random_guard(random, depth - 1)})"
    operator = " & " if kind < 5 else "|"
    return f"({random_guard(random, depth - 1)}{operator}{random_guard(random, depth - 1)})"


def random_machine(seed):
    """A native machine and the interpreter of the same transitions."""
    random = np.random.default_rng(seed)
    states = int(random.integers(2, 6))
    clocks = ["x", "y"][: random.integers(0, 3)]
    transitions = []
    for _ in range(int(random.integers(3, 14))):
        bounds = " & ".join(
            f"{clock} {random.choice(['<', '<=', '==', '>=', '>'])} {random.integers(0, 5)}"
            for clock in clocks
            if random.random() < 0.6
        )
        resets = tuple(clock for clock in clocks if random.random() < 0.4)
        states_of = random.integers(0, states, 2).tolist()
        reward = float(random.normal())
        transitions.append(
            (states_of[0], random_guard(random), states_of[1], reward, bounds, resets)
        )
    rest = {"terminal": [states - 1], "accepting": [1], "clocks": clocks, "discount": 0.9}
    return (
        RewardMachine(states, transitions, **rest),
        reference.RewardMachine(transitions, **rest),
        states,
    )


def test_native_steps_are_those_of_the_interpreter():
    """1e5 steps of random traces through random machines; clocks of the reference have no caps."""
    steps = 0
    seed = 0
    ends = visits = 0
    while steps < 100_000:
        machine, interpreter, _ = random_machine(seed)
        random = np.random.default_rng(1000 + seed)
        seed += 1
        caps = np.array(machine.clock_caps, np.int64)
        # All answers of the machine at once, then a walk through them.
        grid = list(itertools.product(*(range(cap + 1) for cap in caps)))
        valuations = np.array(grid, np.int32).reshape(len(grid), len(caps))
        answers = machine.counterfactuals(np.arange(16), label_names=LABELS, clocks=valuations)
        strides = np.array([int(np.prod(caps[c + 1 :] + 1)) for c in range(len(caps))], np.int64)
        state, clocks = 0, np.zeros(len(caps), np.int64)
        for bits in random.integers(0, 16, 2500).tolist():
            true = {name for b, name in enumerate(LABELS) if bits >> b & 1}
            reward, discount, ended = interpreter.step(true)
            place = (bits, state, int(clocks @ strides))
            assert answers.rewards[place] == reward
            assert answers.discounts[place] == discount
            assert answers.terminated[place] == ended
            state, clocks = answers.next_states[place], answers.next_clocks[place].astype(np.int64)
            assert state == interpreter.state
            assert clocks.tolist() == [
                min(value, cap)
                for value, cap in zip(interpreter.clocks.values(), caps, strict=True)
            ]
            steps += 1
            visits += discount < 1
            if ended:
                ends += 1
                interpreter.state = state = 0
                interpreter.clocks = dict.fromkeys(interpreter.clocks, 0)
                clocks[:] = 0
    assert ends > 100
    assert visits > 1000


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_guards_mean_what_they_say(seed):
    guard = random_guard(np.random.default_rng(seed), 5)
    machine = RewardMachine(2, [(0, guard, 1)])
    told = machine.counterfactuals(np.arange(16), label_names=LABELS).next_states[:, 0]
    assert told.tolist() == [int(reference.holds(guard, true)) for true in label_sets()]


def test_the_first_transition_that_holds_is_taken_and_else_the_state_stays():
    machine = RewardMachine(
        ["start", "key", "door"],
        [
            ("start", "key & !hole", "key", 1.0),
            ("start", "key", "door", 2.0),
            ("key", "goal", "door", 3.0),
        ],
        terminal=["door"],
    )
    assert machine.labels == ["goal", "hole", "key"]
    told = machine.counterfactuals(np.array([4, 6, 1, 0]))
    assert told.next_states.tolist() == [[1, 1, 2], [2, 1, 2], [0, 2, 2], [0, 1, 2]]
    assert told.rewards.tolist() == [[1, 0, 0], [2, 0, 0], [0, 3, 0], [0, 0, 0]]
    assert told.terminated.tolist() == [
        [False, False, True],
        [True, False, True],
        [False, True, True],
        [False, False, True],
    ]
    assert told.next_clocks.shape == (4, 3, 0)


def test_clocks_count_reset_and_stop_past_the_last_bound():
    machine = RewardMachine(
        1,
        [(0, "a", 0, 1.0, "x >= 2 & x <= 3", ("x",))],
        clocks=["x"],
    )
    assert machine.clock_caps == [4]
    told = machine.counterfactuals(np.array([1]), clocks=np.arange(7)[:, None])
    assert told.rewards[0, 0].tolist() == [0, 1, 1, 0, 0, 0, 0]
    assert told.next_clocks[0, 0, :, 0].tolist() == [1, 0, 0, 4, 4, 4, 4]
    later = machine.counterfactuals(np.array([1]), clocks=np.array([[0]]), elapsed=3)
    assert later.rewards.tolist() == [[[1.0]]]


def test_eventual_discounting_counts_visits_not_steps():
    """Slow but sure is worth more than fast but never again (Voloshin et al., 2023)."""
    gamma = 0.9
    machine = RewardMachine(
        2, [(u, "goal", 1, 1.0) for u in (0, 1)] + [(1, "!goal", 0)], accepting=[1], discount=gamma
    )
    told = machine.counterfactuals(np.array([0, 1]))

    def value(trace):
        state, rewards, discounts = 0, [], []
        for bits in trace:
            rewards.append(told.rewards[bits, state])
            discounts.append(told.discounts[bits, state])
            state = told.next_states[bits, state]
        return reference.eventual_return(rewards, discounts)

    sure = value(([0] * 9 + [1]) * 300)
    assert abs((1 - gamma) * sure - 1.0) < 1e-12
    assert value([1] + [0] * 2999) == 1.0


def machine_in_lake(**rest):
    """Of FrozenLake: walk for two steps at least, then the goal; a hole costs."""
    transitions = [
        (0, "hole", 2, -1.0),
        (0, "goal", 1, 1.0, "t > 6"),
        (0, "goal", 1, 0.25),
        (0, "true", 0, 0.0, "t == 3"),
    ]
    rest = {"terminal": [1, 2], "accepting": [1], "clocks": ["t"], "discount": 0.5} | rest
    return (
        RewardMachine(3, transitions, **rest),
        reference.RewardMachine(transitions, **rest),
        transitions,
    )


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


def test_machines_can_be_pickled():
    machine = machine_in_lake()[0]
    copy = pickle.loads(pickle.dumps(machine))
    bits = np.arange(4)
    for name in ("next_states", "rewards", "discounts", "terminated"):
        np.testing.assert_array_equal(
            getattr(machine.counterfactuals(bits), name), getattr(copy.counterfactuals(bits), name)
        )


def test_no_label_sets_and_no_valuations():
    machine = machine_in_lake()[0]
    assert machine.counterfactuals(np.zeros(0, np.int64)).rewards.shape == (0, 3)
    told = machine.counterfactuals(np.zeros(2, np.int64), clocks=np.zeros((0, 1), np.int64))
    assert told.rewards.shape == (2, 3, 0)


@pytest.mark.parametrize(
    ("arguments", "rest", "message"),
    [
        ((0, []), {}, "`states` must be from 1 to 4096, got 0"),
        ((["u", "u"], []), {}, "`states` must be at most 4096 different names"),
        (([], []), {}, "`states` must hold at least one state, got none"),
        ((2, [(0, "a")]), {}, r"`transitions\[0\]` must be \(state, guard, next state"),
        ((2, [(0, "a", 2)]), {}, r"`transitions\[0\]` must be from 0 to 1, got 2"),
        ((2, [(0, "a", "v")]), {}, r"`transitions\[0\]` must name a state, got 'v'"),
        ((2, [(0, "a &", 1)]), {}, r"guard .*got 'a &', with an end where a name should be"),
        ((2, [(0, "(a", 1)]), {}, r"guard .*with an open parenthesis"),
        ((2, [(0, "a b", 1)]), {}, r"guard .*got 'a b', with 'b'"),
        ((2, [(0, "a + b", 1)]), {}, r"guard .*with '\+'"),
        ((2, [(0, "", 1)]), {}, r"guard .*an end where a name should be"),
        ((2, [(0, "a", 1, np.nan)]), {}, r"`transitions\[0\]` must be finite, got nan"),
        ((2, [(0, "a", 1, 0.0, "x < 3")]), {}, "must name clocks out of `clocks`, got 'x'"),
        ((2, [(0, "a", 1, 0.0, "x ! 3")]), {"clocks": ["x"]}, "have a clock guard such as"),
        ((2, [(0, "a", 1, 0.0, "", ["y"])]), {"clocks": ["x"]}, "name clocks .*got 'y'"),
        ((2, []), {"terminal": [2]}, "`terminal` must be from 0 to 1, got 2"),
        ((2, []), {"discount": 1.5}, r"`discount` must be in \[0, 1\], got 1.5"),
        ((2, []), {"clocks": ["x y"]}, "`clocks` must be letters, digits and underscores"),
        (
            (2, [(0, " & ".join(f"(a{i} | b{i})" for i in range(11)), 1)]),
            {},
            "guard of at most 1024 alternatives, got 2048",
        ),
    ],
)
def test_machine_errors(arguments, rest, message):
    with pytest.raises(ValueError, match=f"RewardMachine: .*{message}"):
        RewardMachine(*arguments, **rest)


def test_counterfactual_errors():
    machine = machine_in_lake()[0]
    for labels, rest, message in [
        (np.zeros((2, 2), np.int64), {}, r"`labels` must have shape \[N\], got \[2, 2\]"),
        (np.zeros(2), {}, "`labels` must hold integers, got float64"),
        (np.zeros(2, int), {"clocks": np.zeros(3, int)}, r"shape \[V, K = 1\], got \[3\]"),
        (np.zeros(2, int), {"clocks": np.full((1, 1), -1)}, "`clocks` must be at least 0, got -1"),
        (np.zeros(2, int), {"elapsed": -1}, "`elapsed` must be from 0"),
        (np.zeros(2, int), {"label_names": ["goal"]}, "read labels out of goal, got hole"),
    ]:
        with pytest.raises((ValueError, TypeError), match=f"counterfactuals: .*{message}"):
            machine.counterfactuals(labels, **rest)


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
