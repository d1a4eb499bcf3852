"""What a draw gives back, and the arrays behind it."""

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastrl import _core
from fastrl._dispatch import Arguments, address
from fastrl.replay.fields import Leaf, nested

OUTPUTS = ("numpy", "torch", "pinned")
_HUGE = 4 << 20
_MAX_RINGS = 8


class Batch:
    """n drawn transitions: every field by its name, as an attribute or an item, and what follows.

    Attributes:
        observations: [n, …], or a dict of these; stacked ones are [n, stack, …].
        next_observations: Of the step after, or n-step transitions' last one.
        rewards: [n], the discounted sum over the n-step transition.
        discounts: [n], what to multiply the next value with: γ^m, 0 after termination.
        terminated: [n], whether the (last) step ended its episode by itself.
        truncated: [n], whether it was cut off there; the next value counts.
        lengths: [n] int64, m, how many rewards were summed; only where the buffer's n_step is
            more than 1.
        handles: [n] uint64, to give priorities to; always a NumPy array.
        probabilities: [n] float64, that one draw takes this item; without replacement, of being
            among the n, divided by n.
        importance_weights: [n] float32.

    The arrays are written again by a later draw once nobody holds them, or a view of them.
    """

    observations: Any
    next_observations: Any
    rewards: Any
    discounts: Any
    terminated: Any
    truncated: Any
    lengths: Any
    handles: Any
    probabilities: Any
    importance_weights: Any

    @classmethod
    def of(cls, values: dict[str, Any]) -> "Batch":
        """A batch that says what this dict does."""
        batch = cls.__new__(cls)
        batch.__dict__ = values
        return batch

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"this batch has no {name!r}, but {', '.join(self.__dict__)}")

    def __getitem__(self, name: str) -> Any:
        return self.__dict__[name]

    def __contains__(self, name: object) -> bool:
        return name in self.__dict__

    def __iter__(self) -> Iterator[str]:
        return iter(self.__dict__)

    def __len__(self) -> int:
        """How many items there are."""
        return len(self.handles)

    def keys(self) -> Any:
        """The names."""
        return self.__dict__.keys()

    def __repr__(self) -> str:
        return f"Batch(n={len(self)}, {', '.join(self.__dict__)})"


def check_output(arguments: Arguments, output: object, leaves: Sequence[Leaf]) -> str:
    """What batches come as, if all fields can."""
    chosen = arguments.choice("output", output, OUTPUTS)
    if chosen == "numpy":
        return chosen
    import torch

    for leaf in leaves:
        try:
            torch.from_numpy(np.empty(0, leaf.dtype))
        except (TypeError, ValueError):
            rule = f"be 'numpy', as torch has no dtype like {leaf.dtype} of {'/'.join(leaf.path)!r}"
            raise arguments.error("output", rule, repr(chosen)) from None
    return chosen


def batch_of(values: dict[str, Any], output: str) -> Batch:
    """A batch of these arrays, or of tensors over them."""
    if output == "numpy":
        return Batch.of(values)
    import torch

    return Batch.of(as_tensors(values, torch.from_numpy))


def allocate(shape: tuple[int, ...], dtype: npt.DTypeLike, pinned: bool) -> npt.NDArray[Any]:
    """An array that owns its memory, so that a view of it counts as a reference to it."""
    if pinned:
        import torch

        like = torch.from_numpy(np.empty(0, dtype))
        array: npt.NDArray[Any] = torch.empty(shape, dtype=like.dtype, pin_memory=True).numpy()
        return array
    array = np.empty(shape, dtype)
    if array.nbytes >= _HUGE:
        _core.prefer_huge_pages(address(array), array.nbytes)
    return array


def make_set(leaves: Sequence[Leaf], n: int, output: str, n_step: int = 1) -> Any:
    """One set of arrays for batches of n."""
    pinned = output == "pinned"

    def arrays(chosen: Sequence[Leaf]) -> list[npt.NDArray[Any]]:
        return [allocate((n, *leaf.batch_shape), leaf.dtype, pinned) for leaf in chosen]

    drawn = [leaf for leaf in leaves if leaf.path[0] != "discounts"]
    observed = [leaf for leaf in leaves if leaf.is_observation]
    values = arrays(drawn)
    next_values = arrays(observed)
    numbers = {leaf.path[0]: leaf.dtype for leaf in leaves}
    discount_dtype = numbers.get("discounts", numbers.get("rewards", np.dtype(np.float32)))
    rest = {
        "discounts": allocate((n,), discount_dtype, pinned),
        "terminated": allocate((n,), np.bool_, pinned),
        "truncated": allocate((n,), np.bool_, pinned),
        "handles": np.empty(n, np.uint64),
        "probabilities": allocate((n,), np.float64, pinned),
        "importance_weights": allocate((n,), np.float32, pinned),
    }
    if n_step > 1:
        rest["lengths"] = allocate((n,), np.int64, pinned)
    shown = nested(drawn, values)
    if observed:
        shown["next_observations"] = nested(observed, next_values, below=1)
    by_leaf = dict(zip([leaf.path for leaf in drawn], values, strict=True))
    next_by_leaf = dict(zip([leaf.path for leaf in observed], next_values, strict=True))
    return _core.BatchSet(
        shown | rest,
        [by_leaf.get(leaf.path) for leaf in leaves],
        [next_by_leaf.get(leaf.path) for leaf in leaves],
        rest,
    )


class Rings(dict[Any, Any]):
    """A few rings by what they are for; the oldest goes. Threads may ask at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def at(self, key: Any, make: Callable[[], Any]) -> Any:
        """The ring of this key, made where there is none."""
        with self._lock:
            if key not in self:
                if len(self) == _MAX_RINGS:
                    del self[next(iter(self))]
                self[key] = make()
            return self[key]


def make_ring(leaves: Sequence[Leaf], n: int, output: str, n_step: int = 1) -> Any:
    """Sets for batches of n that take turns."""
    return _core.BatchRing(lambda: make_set(leaves, n, output, n_step))


def as_tensors(values: dict[str, Any], from_numpy: Callable[..., Any]) -> dict[str, Any]:
    """The same arrays as torch tensors, but for the handles."""
    return {
        name: as_tensors(value, from_numpy)
        if isinstance(value, dict)
        else value
        if name == "handles"
        else from_numpy(value)
        for name, value in values.items()
    }
