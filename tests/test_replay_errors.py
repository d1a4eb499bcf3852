"""Wrong arguments: each is named with the rule and what came, and nothing has changed."""

import fastrl
import numpy as np
import pytest
from fastrl.replay import Field, Linear, Prioritized, ReplayBuffer, Uniform

FIELDS = {
    "observations": ((3,), "float32"),
    "actions": ((), "int8"),
    "rewards": ((), "float32"),
}


def rows(**changes):
    values = {
        "observations": np.zeros((4, 3), np.float32),
        "actions": np.zeros(4, np.int8),
        "rewards": np.zeros(4, np.float32),
        "terminated": np.zeros(4, bool),
        "truncated": np.zeros(4, bool),
    } | changes
    return {name: value for name, value in values.items() if value is not None}


def made(**options):
    buffer = ReplayBuffer(80, FIELDS, num_lanes=4, **{"sampler": Prioritized()} | options)
    for _ in range(4):
        buffer.add(**rows())
    return buffer


def first_is(value, n=4):
    values = np.zeros(n)
    values[0] = value
    return values


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"capacity": 0}, ValueError, "`capacity` must be at least 1|from 1 to 4294967295, got 0"),
        (
            {"capacity": 2**32},
            ValueError,
            "`capacity` must be from 1 to 4294967295, got 4294967296",
        ),
        ({"capacity": 9.0}, TypeError, "`capacity` must be an integer, got float"),
        (
            {"capacity": 11, "num_lanes": 4},
            ValueError,
            "`capacity` must leave each of 4 lanes 3 rows, for the stack and n_step, got 11, which",
        ),
        ({"capacity": 5, "n_step": 4}, ValueError, "`capacity` must leave each of 1 lanes 6 rows"),
        ({"num_lanes": 0}, ValueError, "`num_lanes` must be at least 1, got 0"),
        ({"n_step": 0}, ValueError, "`n_step` must be at least 1, got 0"),
        ({"gamma": 1.5}, ValueError, r"`gamma` must be in \[0, 1\], got 1.5"),
        ({"seed": -1}, ValueError, "`seed` must be from 0 to 18446744073709551615, got -1"),
        ({"autoreset_mode": "later"}, ValueError, "`autoreset_mode` must be one of 'next_step', "),
        ({"storage": 3}, TypeError, "`storage` must be 'memory', 'shared:NAME' or a path, got 3"),
        ({"storage": "shared:"}, ValueError, "`storage` must have a name without '/' after 'shar"),
        ({"fields": [1]}, TypeError, "`fields` must be a dict, got list"),
        ({"fields": {}}, ValueError, "`fields` must not be empty, got "),
        (
            {"fields": FIELDS | {"terminated": ((), "bool")}},
            ValueError,
            "`fields` must not use a name that is taken, got 'terminated'",
        ),
        (
            {"fields": {"observations": {}}},
            ValueError,
            r"`fields\['observations'\]` must not be empty, got \{\}",
        ),
        (
            {"fields": {"observations": {"a/b": ((), "u1")}}},
            ValueError,
            r"`fields\['observations'\]` must have names without '/', got 'a/b'",
        ),
        (
            {"fields": {"observations": "float32"}},
            TypeError,
            r"`fields\['observations'\]` must be \(shape, dtype\), a Field or a dict of these, got",
        ),
        (
            {"fields": {"observations": ((), "float33")}},
            ValueError,
            r"`fields\['observations'\]` must have a dtype of NumPy's, got 'float33'",
        ),
        (
            {"fields": {"observations": ((), object)}},
            ValueError,
            r"`fields\['observations'\]` must have a dtype of fixed size, got object",
        ),
        (
            {"fields": {"observations": ((2, 0), "u1")}},
            ValueError,
            r"`fields\['observations'\].shape` must be at least 1, got 0",
        ),
        (
            {"fields": {"observations": ((1,) * 9, "u1")}},
            ValueError,
            r"`fields\['observations'\]` must have at most 8 dimensions, got 9",
        ),
        (
            {"fields": {"observations": ((2**31, 2**31), "float32")}},
            ValueError,
            r"`fields\['observations'\]` must have at most 2147483647 bytes with its stack, got 18",
        ),
        (
            {"fields": {"observations": ("x", "u1")}},
            TypeError,
            r"`fields\['observations'\].shape` must be a sequence of integers, got 'x'",
        ),
        (
            {"fields": {"observations": Field(None, "u1")}},
            TypeError,
            r"`fields\['observations'\].shape` must be a sequence of integers, got None",
        ),
        (
            {"fields": FIELDS | {"actions": Field((), "u1", stack=2)}},
            ValueError,
            r"`fields\['actions'\].stack` must be 1 but for observations, got 2",
        ),
        (
            {"fields": {"observations": Field((), "u1", padding="last")}},
            ValueError,
            r"`fields\['observations'\].padding` must be one of 'first', 'zeros', got 'last'",
        ),
        (
            {"fields": FIELDS | {"rewards": ((), "int32")}},
            ValueError,
            r"`fields\['rewards'\]` must have dtype float32 or float64, got int32",
        ),
        (
            {"fields": FIELDS | {"rewards": {"a": ((), "float32")}}},
            ValueError,
            r"`fields\['rewards'\]` must be one field, got a dict",
        ),
        (
            {"fields": FIELDS | {"discounts": ((2,), "float32")}},
            ValueError,
            r"`fields\['discounts'\]` must have shape \(\), got \(2,\)",
        ),
        (
            {"fields": FIELDS | {"n" * 64: ((), "u1")}},
            ValueError,
            "`fields` must have names of at most 63 bytes, got 'nnn",
        ),
        ({"sampler": {}}, ValueError, r"`sampler` must not be empty, got \{\}"),
        ({"sampler": "per"}, TypeError, "`sampler` must be a Uniform, Prioritized, RankPr"),
        ({"sampler": {"": Uniform()}}, ValueError, "`sampler` must have names of 1 to 31 bytes"),
        ({"sampler": Uniform("sorted")}, ValueError, "`scheme` must be one of 'independent', "),
        ({"sampler": Prioritized(-1)}, ValueError, "`priority_exponent` must be finite and at lea"),
        ({"sampler": Prioritized(epsilon=-1)}, ValueError, "`epsilon` must be finite and at least"),
        ({"sampler": Prioritized(new_priority="old")}, ValueError, "`new_priority` must be one of"),
        ({"sampler": Prioritized(new_priority=-2)}, ValueError, "`new_priority` must be finite an"),
        ({"sampler": Prioritized(normalize="sum")}, ValueError, "`normalize` must be 'batch', 'bu"),
        (
            {"sampler": Prioritized(importance_exponent=Linear(0, 1, -1))},
            ValueError,
            "`importance_exponent.steps` must be from 0 to 46",
        ),
    ],
)
def test_constructor_says_what_is_wrong(options, error, message):
    arguments = {"capacity": 80, "fields": FIELDS} | options
    with pytest.raises(error, match=f"^ReplayBuffer: .*({message})"):
        fastrl.ReplayBuffer(**arguments)


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


def test_sampling_what_is_not_there_says_why():
    buffer = ReplayBuffer(20, FIELDS, sampler=Prioritized())
    with pytest.raises(ValueError, match=r"^sample: the buffer is empty"):
        buffer.sample(4)
    one = {name: value[:1] for name, value in rows().items()}
    buffer.add(**one)
    with pytest.raises(
        ValueError, match=r"^sample: no transition can be drawn yet, only once the ro"
    ):
        buffer.sample(4)
    buffer.add(**one)
    buffer.update_priorities(buffer.handles(), np.zeros(1))
    with pytest.raises(ValueError, match=r"^sample: all priorities are 0"):
        buffer.sample(4)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n": 0}, ValueError, "`n` must be from 1 to 2147483647, got 0"),
        ({"n": 4.0}, TypeError, "`n` must be an integer, got float"),
        ({"n": True}, TypeError, "`n` must be an integer, got bool"),
        ({"output": "jax"}, ValueError, "`output` must be one of 'numpy', 'torch', 'pinned', got"),
        ({"sampler": "other"}, ValueError, "`sampler` must be one of 'default', got 'other'"),
        ({"importance_exponent": -1}, ValueError, "`importance_exponent` must be finite and at le"),
    ],
)
def test_sample_says_what_is_wrong(options, error, message):
    buffer = made()
    buffer.sample(4)
    buffer.sample(1)
    with pytest.raises(error, match=f"^sample: {message}"):
        buffer.sample(**{"n": 4} | options)


@pytest.mark.parametrize("scheme", ["independent", "without_replacement"])
def test_without_replacement_there_must_be_enough(scheme):
    buffer = made(sampler=Prioritized(scheme=scheme))
    assert len(buffer.sample(12)) == 12
    if scheme == "without_replacement":
        with pytest.raises(
            ValueError, match=r"^sample: `n` must be at most the 12 that can be draw"
        ):
            buffer.sample(13)


@pytest.mark.parametrize(
    ("handles", "priorities", "error", "message"),
    [
        (
            [0, 80],
            [1.0, 1],
            ValueError,
            "`handles` must be handles of this buffer's rows, got 80 at",
        ),
        (
            [0, 5],
            [1.0, 1],
            ValueError,
            "`handles` must be handles of this buffer's rows, got 5 at 1",
        ),
        (
            [2**32],
            [1.0],
            ValueError,
            "`handles` must be handles of this buffer's rows, got 42949672",
        ),
        (
            [0, 1],
            [1.0, np.nan],
            ValueError,
            "`priorities` must be finite and at least 0, got nan at",
        ),
        ([0, 1], [-1.0, 1], ValueError, "`priorities` must be finite and at least 0, got -1 at 0"),
        ([0, 1], [1.0], ValueError, r"`priorities` must have shape \[B\] = \[2\], got \[1\]"),
    ],
)
def test_update_priorities_says_what_is_wrong_and_changes_nothing(
    handles, priorities, error, message
):
    buffer = made()
    before = buffer.priorities(buffer.handles())
    for dtype in (np.float64, np.float32):
        with pytest.raises(error, match=f"^update_priorities: {message}"):
            buffer.update_priorities(np.array(handles, np.uint64), np.array(priorities, dtype))
    np.testing.assert_array_equal(buffer.priorities(buffer.handles()), before)
    assert buffer.refused_updates == 0


def test_handles_must_be_handles():
    buffer = made()
    with pytest.raises(TypeError, match=r"^gather: `handles` must have dtype uint64, got int64"):
        buffer.gather(np.arange(3))
    with pytest.raises(
        ValueError, match=r"^priorities: `handles` must have shape \[n\], got \[1, 2\]"
    ):
        buffer.priorities(np.zeros((1, 2), np.uint64))
    with pytest.raises(
        ValueError, match=r"^gather: `handles` must be of transitions that can be dra"
    ):
        buffer.gather(np.array([3], np.uint64))
    for _ in range(20):
        buffer.add(**rows())
    with pytest.raises(ValueError, match=r"got 0 at 0, whose row has been overwritten"):
        buffer.gather(np.array([0], np.uint64))


def test_rows_must_be_there():
    buffer = made()
    for _ in range(30):
        buffer.add(**rows())
    with pytest.raises(
        ValueError, match=r"^places: `handles` must be of rows that are still there"
    ):
        buffer.places(np.zeros(1, np.uint64))
    with pytest.raises(
        IndexError, match=r"^gather_rows: `rows` must be from 14 to 33 in lane 3, go"
    ):
        buffer.gather_rows([3], [13])
    with pytest.raises(
        IndexError, match=r"^gather_rows: `rows` must be from 14 to 33 in lane 3, go"
    ):
        buffer.gather_rows([3], [34])
    with pytest.raises(IndexError, match=r"^gather_rows: `lanes` must be from 0 to 3, got 4"):
        buffer.gather_rows([4], [20])
    with pytest.raises(
        ValueError, match=r"^gather_rows: `rows` must have shape \[n\] = \[1\], got"
    ):
        buffer.gather_rows([3], [20, 21])
    with pytest.raises(TypeError, match=r"^gather_rows: `rows` must hold integers, got float64"):
        buffer.gather_rows([3], [20.0])
    with pytest.raises(ValueError, match=r"^gather_rows: `names` must be one of 'actions', 'obse"):
        buffer.gather_rows([3], [20], ["action"])


def test_what_is_opened_must_be_a_buffer(tmp_path):
    path = tmp_path / "other"
    path.write_bytes(b"something else" * 1000)
    with pytest.raises(ValueError, match=r"other: not a replay buffer, or one that was never comp"):
        ReplayBuffer.open(path)
    with pytest.raises(FileNotFoundError, match=r"cannot open '.*missing'"):
        ReplayBuffer.open(tmp_path / "missing")
    with pytest.raises(
        ValueError, match=r"^open: `storage` must be 'shared:NAME' or a path, got 'm"
    ):
        ReplayBuffer.open("memory")
    path = tmp_path / "buffer"
    buffer = ReplayBuffer(20, FIELDS, storage=path)
    del buffer
    whole = path.read_bytes()
    path.write_bytes(whole[:4096])
    with pytest.raises(
        ValueError, match=r"buffer: a replay buffer of \d+ bytes, but 4096 are there"
    ):
        ReplayBuffer.open(path)
    path.write_bytes(whole[:8] + b"\x09" + whole[9:])
    with pytest.raises(
        ValueError, match=r"buffer: a replay buffer of version 9, this build reads v"
    ):
        ReplayBuffer.open(path)
    path.write_bytes(whole[:33] + b"\x63" + whole[34:])
    with pytest.raises(ValueError, match=r"buffer: a header that contradicts itself"):
        ReplayBuffer.open(path)


def test_evict_says_what_is_wrong():
    buffer = made()
    with pytest.raises(
        ValueError, match=r"^evict: `which` must be a mask, bool of shape \[n\] = \[12"
    ):
        buffer.evict(np.zeros(3, bool))
    with pytest.raises(ValueError, match=r"^evict: `which` must be a mask, .*, got float64 \[12\]"):
        buffer.evict(lambda batch: batch.rewards.astype(float))
    with pytest.raises(
        ValueError, match=r"^evict: `handles` must be handles of this buffer's rows"
    ):
        buffer.evict(np.array([0, 999], np.uint64))
    assert buffer.num_drawable == 12


def test_uniform_samplers_have_no_priorities():
    buffer = made(sampler=Uniform())
    with pytest.raises(
        ValueError, match=r"^priorities: `sampler` must be a Prioritized one, got Unif"
    ):
        buffer.priorities(buffer.handles())
    with pytest.raises(
        ValueError, match=r"^update_priorities: `sampler` must be one that has priorities, go"
    ):
        buffer.update_priorities(buffer.handles(), np.ones(12))


def test_a_place_that_cannot_be_had_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"cannot create '.*nowhere/buffer'"):
        ReplayBuffer(20, FIELDS, storage=tmp_path / "nowhere" / "buffer")
    with pytest.raises(OSError, match=r"cannot map memory"):
        ReplayBuffer(2**32 - 1, {"observations": ((2**20,), "float64")})
