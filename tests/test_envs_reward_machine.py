"""Reward machines: guards, clocks, counterfactuals."""

import itertools
import pickle

import numpy as np
import pytest
from fastrl.envs import RewardMachine
from fastrl.reference import reward_machines as reference
from hypothesis import given, settings
from hypothesis import strategies as st
from reward_machines import LABELS, label_sets, machine_in_lake, random_guard, random_machine


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
