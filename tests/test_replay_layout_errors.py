"""Wrong arguments of constructors: each is named."""

import fastrl
import pytest
from fastrl.replay import Field, Linear, Prioritized, ReplayBuffer, Uniform
from small_rows import FIELDS


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


def test_a_place_that_cannot_be_had_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"cannot create '.*nowhere/buffer'"):
        ReplayBuffer(20, FIELDS, storage=tmp_path / "nowhere" / "buffer")
    with pytest.raises(OSError, match=r"cannot map memory"):
        ReplayBuffer(2**32 - 1, {"observations": ((2**20,), "float64")})
