"""Wrong arguments: each is named with the rule and what came, and nothing has changed."""

import numpy as np
import pytest
from fastrl.replay import ReplayBuffer
from small_rows import first_is, made, rows


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"rewards": np.zeros(5)},
            ValueError,
            r"`rewards` must have shape \[B\] = \[4\], got \[5\]",
        ),
        (
            {"observations": np.zeros((4, 2))},
            ValueError,
            r"`observations` must have shape \[B, 3\] = \[4, 3\], got \[4, 2\]",
        ),
        (
            {"terminated": np.zeros(3, bool)},
            ValueError,
            r"`terminated` must have shape \[B\] = \[4\] or \[T, B\] = \[T, 4\], got \[3\]",
        ),
        (
            {"terminated": np.zeros((2, 4), bool)},
            ValueError,
            r"`truncated` must have shape \[T, B\] = \[2, 4\], got \[4\]",
        ),
        (
            {"terminated": np.zeros(4)},
            TypeError,
            "`terminated` must have dtype bool or uint8, got f",
        ),
        (
            {"actions": np.full(4, 200)},
            TypeError,
            "`actions` must hold what int8 can hold, got 200",
        ),
        (
            {"actions": np.zeros(4)},
            TypeError,
            "`actions` must hold what int8 can hold, got float64",
        ),
        ({"rewards": ["a"] * 4}, TypeError, "`rewards` must hold what float32 can hold, got <U1"),
        ({"rewards": None}, TypeError, "`rewards` must be given, got nothing"),
        (
            {"reward": np.zeros(4)},
            ValueError,
            r"`fields` must be among \['actions', 'observations', 'rewards'\], got 'reward'",
        ),
        ({"discounts": np.zeros(4)}, ValueError, r"`fields` must be among \[.*\], got 'discounts'"),
        (
            {"truncated": np.array([False, False, True, False])},
            ValueError,
            "`final_observations` must be given where an episode ends, got None, but lane 2 ends",
        ),
        (
            {"final_observations": np.zeros((4, 2))},
            ValueError,
            r"`final_observations` must have shape \[B, 3\] = \[4, 3\], got \[4, 2\]",
        ),
        (
            {"priorities": first_is(np.nan)},
            ValueError,
            "`priorities` must be finite and at least 0, got nan at 0",
        ),
        (
            {"priorities": first_is(-1)},
            ValueError,
            "`priorities` must be finite and at least 0, go",
        ),
        ({"priorities": first_is(np.inf)}, ValueError, "`priorities` must be finite and at least"),
        (
            {"priorities": np.zeros(3)},
            ValueError,
            r"`priorities` must have shape \[B\] = \[4\], got",
        ),
        ({"lanes": [0, 1, 2, 4]}, IndexError, "`lanes` must be from 0 to 3, got 4"),
        ({"lanes": [0, 1, -1, 2]}, IndexError, "`lanes` must be from 0 to 3, got -1"),
        ({"lanes": [0, 1, 2, 1]}, ValueError, "`lanes` must name each lane once, got lane 1 twice"),
        ({"lanes": [0.0, 1, 2, 3]}, TypeError, "`lanes` must hold integers, got float64"),
        ({"lanes": [[0, 1, 2, 3]]}, ValueError, r"`lanes` must have shape \[B\], got \[1, 4\]"),
        (
            {"lanes": [0, 2]},
            ValueError,
            r"`terminated` must have shape \[B\] = \[2\] or \[T, B\] = \[T, 2\], got \[4\]",
        ),
    ],
)
def test_add_says_what_is_wrong_and_adds_nothing(changes, error, message):
    buffer = made()
    before = len(buffer), buffer.num_added, buffer.handles().tolist()
    with pytest.raises(error, match=f"^add: {message}"):
        buffer.add(**rows(**changes))
    assert (len(buffer), buffer.num_added, buffer.handles().tolist()) == before


def test_add_checks_nested_observations():
    fields = {"observations": {"eye": ((2,), "float32"), "hand": ((), "float32")}}
    buffer = ReplayBuffer(20, fields)
    flags = {"terminated": np.zeros(1, bool), "truncated": np.zeros(1, bool)}
    eye, hand = np.zeros((1, 2)), np.zeros(1)
    for observations, error, message in [
        ({"eye": eye}, ValueError, r"`observations` must have 2 fields, got \['eye'\]"),
        (
            {"eye": eye, "h": hand},
            ValueError,
            r"`observations` must have 'hand', got \['eye', 'h'\]",
        ),
        (eye, TypeError, "`observations` must be a dict, got ndarray"),
        (
            {"eye": eye, "hand": eye},
            ValueError,
            r"`observations\['hand'\]` must have shape \[B\] = \[1\], got \[1, 2\]",
        ),
    ]:
        with pytest.raises(error, match=f"^add: {message}"):
            buffer.add(observations=observations, **flags)
    buffer.add(observations={"eye": eye, "hand": hand}, **flags)
    with pytest.raises(
        TypeError, match=r"^end_episode: `final_observations` must be a dict, got nd"
    ):
        buffer.end_episode(0, eye)


def test_next_step_rows_cannot_end_and_take_no_final_observations():
    buffer = made(autoreset_mode="next_step")
    with pytest.raises(
        ValueError, match=r"`final_observations` must be None with autoreset_mode='n"
    ):
        buffer.add(**rows(final_observations=np.zeros((4, 3), np.float64)))
    with pytest.raises(
        ValueError, match=r"`final_observations` must be None with autoreset_mode='n"
    ):
        buffer.add(**rows(final_observations=np.zeros((4, 3), np.float32)))
    ended = np.array([False, True, False, False])
    buffer.add(**rows(terminated=ended))
    message = (
        "`truncated` must be False in the row after the end of an episode, its final obs.*lane 1"
    )
    with pytest.raises(ValueError, match=message):
        buffer.add(**rows(truncated=ended))
    buffer.add(**rows())


def test_end_episode_says_what_is_wrong():
    buffer = made()
    finals = np.zeros((1, 3), np.float32)
    buffer.end_episode([2], finals)
    with pytest.raises(
        ValueError, match=r"`lanes` must be lanes with an open episode, got lane 2, "
    ):
        buffer.end_episode([2], finals)
    with pytest.raises(IndexError, match=r"`lanes` must be from 0 to 3, got 9"):
        buffer.end_episode(9, finals)
    with pytest.raises(
        ValueError, match=r"`final_observations` must have shape \[B, 3\] = \[2, 3\]"
    ):
        buffer.end_episode([0, 1], finals)
