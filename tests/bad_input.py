"""What people pass by mistake, and what an error must look like then."""

import re

import numpy as np
import torch
from fastrl.replay import Field, Linear, Prioritized, SamplesPerInsert, Uniform

FORM = re.compile(r"^[\w.]+: `[^`]+` must .+, got ", re.DOTALL)
# Of functions that say what they found, not what an argument must be.
OTHERS = re.compile(r"^\w+: (the buffer is empty|no transition can be drawn|there are no levels)")


class NoArray:
    def __array__(self, *args, **options):
        raise ValueError("no")


def nothing(*_, **__):
    """What a caller's function may return."""


def wrong_values():
    """What people pass by mistake, and what a fuzzer would."""
    floats = np.linspace(0.5, 3, 6)
    read_only = np.arange(4)
    read_only.flags.writeable = False
    return [
        None, True, 0, -1, 2**63, 2**70, 1.5, np.nan, 1e400, 1j, "", "a", "a\0b", b"b", [], [0],
        ["a"], [None], [0, [1]], [2**70], [-1], {}, {"a": 1}, {1, 2}, nothing, NoArray(), range(3),
        np.float32(2), np.bool_(True), np.datetime64("2020-01-01"), np.array(3), np.array(None),
        np.array([object()]), np.array(["a", "b"]), np.zeros((0, 3)), floats[::2], floats[::-1],
        floats.astype(">f8"), floats.astype(np.float16), floats.astype(np.longdouble), 1j * floats,
        np.full(4, np.nan), np.full(4, -1.0), np.arange(4), read_only, np.arange(4).astype(">i8"),
        np.arange(8, dtype=np.uint64)[::2], np.array([2**63, 2**64 - 1], np.uint64),
        np.array([-(2**63)]), np.zeros((2, 2, 2, 2)), np.zeros(3, bool), np.zeros(2, [("a", "f4")]),
        torch.arange(4), torch.rand(4).bfloat16(), torch.rand(4, requires_grad=True),
        torch.rand(4, device="meta"), torch.rand(4).to_sparse(), torch.tensor(1.5), torch.zeros(0),
        torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)], layout=torch.jagged),
        torch.zeros(4, dtype=torch.float8_e5m2), torch.zeros(4) * 1j, Linear(0, 1, 2**70),
        Linear("a", None, 1.5), Prioritized(2), Uniform([]), Field("x", 3, [], None),
        SamplesPerInsert("a", None, -1),
    ]  # fmt: skip


def method(make, name):
    """Calls a method of a fresh object each time."""
    return lambda **arguments: getattr(make(), name)(**arguments)


def raw_errors(call, arguments):
    """Errors that do not name function, argument and rule, over all values of all arguments."""
    raw = []
    for argument in arguments:
        for value in wrong_values():
            try:
                call(**arguments | {argument: value})
            except Exception as error:
                told = False
                if isinstance(error, OSError) and "path" in arguments:
                    told = FORM.match(error.strerror)
                elif isinstance(error, OSError):
                    told = "storage" in arguments  # which the system names
                elif isinstance(error, TypeError | ValueError | IndexError):
                    told = FORM.match(str(error)) or OTHERS.match(str(error))
                if not told:
                    raw.append(f"{argument}={value!r}: {type(error).__name__}: {error}")
    return raw
