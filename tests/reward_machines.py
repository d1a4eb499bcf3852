"""Reward machines: drawn at random, and one for a lake."""

import numpy as np
from fastrl.envs import RewardMachine
from fastrl.reference import reward_machines as reference

LABELS = ["a", "b", "c", "d"]


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
