"""Transitions that writers make longer, or end, between their draw and their relabeling."""

import numpy as np
import pytest
from fastrl.replay import HER, Chain, ReplayBuffer, RewardModel

N_STEP = 4
GOALS = dict.fromkeys(("observation", "achieved_goal", "desired_goal"), ((1,), "float32"))
FIELDS = {"observations": GOALS, "rewards": ((), "float32")}


def add(buffer, step):
    no = np.zeros(1, bool)
    observations = {name: np.full((1, 1), step, np.float32) for name in GOALS}
    buffer.add(observations=observations, rewards=np.ones(1), terminated=no, truncated=no)


def end(buffer, step):
    finals = {name: np.full((1, 1), step, np.float32) for name in GOALS}
    buffer.end_episode(np.array([0]), finals)


def same(achieved, desired, info):
    return np.ones(len(achieved), np.float32)


@pytest.mark.parametrize("grow", [lambda buffer: [add(buffer, 6 + i) for i in range(6)], None])
@pytest.mark.parametrize(
    "relabel",
    [
        RewardModel(lambda fields: np.ones(len(fields["rewards"]), np.float32)),
        HER("future", k=1e9, compute_reward=same),
        Chain(
            [
                HER("final", k=1e9, compute_reward=same),
                RewardModel(lambda fields: fields["rewards"]),
            ]
        ),
    ],
)
def test_the_steps_are_those_that_were_drawn(grow, relabel):
    buffer = ReplayBuffer(50, FIELDS, n_step=N_STEP, gamma=0.5)
    for step in range(6):
        add(buffer, step)
    drawn = buffer.gather(buffer.handles())
    assert drawn.lengths.tolist() == [4, 4, 3, 2, 1]
    expected = {name: np.array(drawn[name]) for name in ("rewards", "discounts", "lengths")}
    nexts = np.array(drawn.next_observations["observation"])

    def meanwhile(buffer, batch):
        grow(buffer) if grow else end(buffer, 6)
        return batch

    batch = Chain([meanwhile, relabel])(buffer, drawn)
    for name, values in expected.items():
        np.testing.assert_array_equal(batch[name], values, name)
    np.testing.assert_array_equal(batch.next_observations["observation"], nexts)
    assert not batch.terminated.any()
    assert not batch.truncated.any()
    # Drawn now, they are as long as they can be.
    longer = buffer.gather(drawn.handles).lengths.tolist()
    assert longer == ([4] * 5 if grow else [4, 4, 4, 3, 2])


def test_a_step_that_terminates_shortens_its_transition():
    buffer = ReplayBuffer(50, FIELDS, n_step=N_STEP, gamma=0.5)
    for step in range(8):
        add(buffer, step)

    def ends(fields):
        return fields["observations"]["observation"][:, 0] == 4

    relabel = RewardModel(lambda fields: fields["rewards"], ends)
    batch = relabel(buffer, buffer.gather(buffer.handles()))
    assert batch.lengths.tolist() == [4, 4, 3, 2, 1, 2, 1]
    assert batch.terminated.tolist() == [False, True, True, True, True, False, False]
