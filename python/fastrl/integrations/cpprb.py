"""fastrl's replay buffer under the names of cpprb's classes and methods.

    from fastrl.integrations.cpprb import PrioritizedReplayBuffer

takes the place of `from cpprb import PrioritizedReplayBuffer`; cpprb itself is not needed. What is
different:

- ``indexes`` name transitions, not places: they are uint64 as cpprb's are, and equal to its places
  until the ring first wraps, but a priority that comes after its transition was overwritten or
  cleared is left out (``refused_updates`` counts these) where cpprb gives it to a newer one. An
  index that never was is an error where cpprb writes past its memory.
- Wrong shapes, values that do not fit, priorities that are negative or not finite, and drawing from
  an empty buffer are errors; nothing is stored then.
- `seed` makes draws repeatable. Batches come in random order, not sorted by place.
- ``next_of`` stores the next values beside the others. `stack_compress` and `Nstep` are errors:
  `fastrl.ReplayBuffer` stores frames and observations once and counts n steps when it draws.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastrl._dispatch import Arguments
from fastrl.replay import Prioritized, Uniform
from fastrl.replay import ReplayBuffer as Rows
from fastrl.replay.arguments import MAX_DRAWS, check_names, checked_array
from fastrl.replay.samplers import Sampler

_SLOT = np.uint64(0xFFFFFFFF)


class ReplayBuffer:
    """`cpprb.ReplayBuffer`: transitions of any named values, drawn uniformly.

    Args:
        size: Transitions that it holds.
        env_dict: {"name": {"shape": …, "dtype": …}}; shapes are 1 and dtypes `default_dtype` where
            they are not given.
        next_of: Names of values that have a "next_" one beside them.
        stack_compress: Must be None.
        default_dtype: float32 where it is None.
        Nstep: Must be None.
        mmap_prefix: The values lie in the new file of that name with ".fastrl" behind it.
        seed: Of the random numbers.
    """

    def __init__(
        self,
        size: float,
        env_dict: Mapping[str, Mapping[str, Any]] | None = None,
        next_of: str | Iterable[str] | None = None,
        *,
        stack_compress: Any = None,
        default_dtype: Any = None,
        Nstep: Any = None,
        mmap_prefix: str | None = None,
        seed: int = 0,
    ) -> None:
        self._arguments = arguments = Arguments(type(self).__name__)
        number = arguments.number("size", size, low=1)
        if number != int(number):
            raise arguments.error("size", "be a whole number", size)
        for name, value in (("stack_compress", stack_compress), ("Nstep", Nstep)):
            if value is not None:
                hint = "fastrl.ReplayBuffer has it"
                raise arguments.error(name, "be None", repr(value), hint=hint)
        self._values = _values(
            arguments, env_dict, next_of, np.float32 if default_dtype is None else default_dtype
        )
        # Under numbers: cpprb's names are free, some of the buffer's own have a meaning.
        self._buffer = Rows(
            int(number),
            {str(i): value for i, value in enumerate(self._values.values())},
            sampler=self._sampler(),
            storage="memory" if mmap_prefix is None else f"{mmap_prefix}.fastrl",
            seed=seed,
        )
        self._episode_len = 0

    def _sampler(self) -> Sampler:
        return Uniform()

    @property
    def buffer(self) -> Rows:
        """What holds the transitions; its fields are called "0", "1", … in `env_dict`'s order."""
        return self._buffer

    def add(self, **kwargs: Any) -> int:
        """Store one transition, or several.

        Args:
            **kwargs: Each value of one transition, or of several, [T, …].

        Returns:
            The first one's index.

        Raises:
            KeyError: A value is missing.
        """
        return self._add(self._rows(kwargs), None)

    def _rows(self, given: Mapping[str, Any]) -> dict[str, npt.NDArray[Any]]:
        for name in self._values:
            if name not in given:
                raise KeyError(name)
        rows = {}
        for i, (name, (shape, dtype)) in enumerate(self._values.items()):
            array = checked_array(Arguments("add"), name, given[name])
            if not _fits(array, dtype):
                wrong = f"{array.dtype} {array}"
                raise Arguments("add").error(name, f"hold what {dtype} can hold", wrong)
            try:
                array = array.astype(dtype, copy=False).reshape(-1, 1, *shape)
            except ValueError:
                rule = f"hold transitions of shape {list(shape)} of {dtype}"
                actual = f"{array.dtype} {list(array.shape)}"
                raise Arguments("add").error(name, rule, actual) from None
            rows[str(i)] = array
        steps = {name: len(rows[str(i)]) for i, name in enumerate(self._values)}
        if len(set(steps.values())) != 1 or 0 in steps.values():
            raise Arguments("add").error(
                "kwargs", "hold as many transitions each, at least 1", steps
            )
        return rows

    def _add(self, rows: dict[str, Any], priorities: npt.NDArray[np.float64] | None) -> int:
        no = np.zeros((len(rows["0"]), 1), np.bool_)
        given: dict[str, Any] = {"terminated": no, "truncated": no, "priorities": priorities}
        handles = self._buffer.add(**given | rows)
        self._episode_len += len(no)
        return int(handles[0, 0])

    def sample(self, batch_size: int) -> dict[str, npt.NDArray[Any]]:
        """Values of drawn transitions, [batch_size, …] each."""
        return self._named(self._buffer.sample(_batch_size(batch_size)))

    def _named(self, batch: Any) -> dict[str, npt.NDArray[Any]]:
        return {name: batch[str(i)] for i, name in enumerate(self._values)}

    def get_all_transitions(self, shuffle: bool = False) -> dict[str, npt.NDArray[Any]]:
        """Values of all transitions, in the order of their places, or in random order."""
        handles = self._buffer.handles()
        handles = handles[np.argsort(handles & _SLOT)]
        if shuffle:
            handles = np.random.default_rng().permutation(handles)
        return self._named(self._buffer.gather(handles))

    def save_transitions(self, file: Any, *, safe: bool = True) -> None:
        """Write all transitions, the oldest first, into an npz file; nothing is pickled."""
        self._arguments.flag("safe", safe)
        values: dict[str, Any] = self._named(self._buffer.gather(self._buffer.handles()))
        np.savez(file, **values)

    def load_transitions(self, file: Any) -> None:
        """Add what `save_transitions` wrote; code in a file is never run."""
        with np.load(file, allow_pickle=False) as stored:
            self.add(**dict(stored))

    def clear(self) -> None:
        """Forget all transitions; priorities that come for them are refused."""
        self._buffer.evict(self._buffer.handles())
        self._episode_len = 0

    def on_episode_end(self) -> None:
        """The next transition begins an episode; only `get_current_episode_len` asks."""
        self._episode_len = 0

    def get_stored_size(self) -> int:
        """Transitions that it has."""
        return self._buffer.num_drawable

    def get_buffer_size(self) -> int:
        """Transitions that it can have."""
        return self._buffer.capacity

    def get_next_index(self) -> int:
        """The place of the next transition."""
        return self._buffer.num_added % self._buffer.capacity

    def get_current_episode_len(self) -> int:
        """Transitions since the last `on_episode_end`."""
        return self._episode_len

    def is_Nstep(self) -> bool:  # noqa: N802 - cpprb's name
        """Never."""
        return False


class PrioritizedReplayBuffer(ReplayBuffer):
    """`cpprb.PrioritizedReplayBuffer`: P(i) ∝ (p_i + eps)^alpha, exactly.

    Args:
        size: As of `ReplayBuffer`, and so are `env_dict` and all others.
        env_dict: As of `ReplayBuffer`.
        alpha: The exponent of the priorities.
        eps: Is added to all of them.
        check_for_update: Is accepted: stale priorities are always refused.
        **kwargs: As of `ReplayBuffer`.
    """

    def __init__(
        self,
        size: float,
        env_dict: Mapping[str, Mapping[str, Any]] | None = None,
        alpha: float = 0.6,
        *,
        eps: float = 1e-4,
        check_for_update: bool = False,
        **kwargs: Any,
    ) -> None:
        self._alpha, self._eps = alpha, eps
        self._max_priority = 1.0
        super().__init__(size, env_dict, **kwargs)
        self._arguments.flag("check_for_update", check_for_update)

    def _sampler(self) -> Sampler:
        return Prioritized(self._alpha, scheme="stratified", normalize="buffer", epsilon=self._eps)

    @property
    def refused_updates(self) -> int:
        """Priorities that came after their transition was overwritten or cleared."""
        return self._buffer.refused_updates

    def add(self, *, priorities: Any = None, **kwargs: Any) -> int:
        """Store one transition, or several.

        Args:
            priorities: Of each; else the largest that was ever given, 1 at first.
            **kwargs: As of `ReplayBuffer.add`.
        """
        rows = self._rows(kwargs)
        steps = len(rows["0"])
        if priorities is None:
            values = np.full(steps, self._max_priority)
        else:
            values = _numbers(Arguments("add"), "priorities", priorities)
            if len(values) != steps:
                rule = f"have shape [T] = [{steps}]"
                raise Arguments("add").error("priorities", rule, [len(values)])
        first = self._add(rows, values[:, None])
        self._max_priority = max(self._max_priority, float(values.max()))
        return first

    def sample(self, batch_size: int, beta: float = 0.4) -> dict[str, npt.NDArray[Any]]:
        """As of `ReplayBuffer`, and "indexes" and "weights".

        Args:
            batch_size: How many.
            beta: Weights are (N · P)^−beta, divided by the largest that any transition would have.
        """
        number = _batch_size(batch_size)
        exponent = Arguments("sample").number("beta", beta, low=0)
        batch = self._buffer.sample(number, importance_exponent=exponent)
        return self._named(batch) | {"weights": batch.importance_weights, "indexes": batch.handles}

    def update_priorities(self, indexes: Any, priorities: Any) -> None:
        """Give transitions new priorities; the last one of an index stays.

        Args:
            indexes: [n], as `sample` or `add` gave them.
            priorities: [n], finite and at least 0.
        """
        arguments = Arguments("update_priorities")
        chosen = np.ravel(checked_array(arguments, "indexes", indexes))
        if chosen.size and (chosen.dtype.kind not in "iu" or chosen.min() < 0):
            rule = "hold indexes, which are not negative"
            raise arguments.error("indexes", rule, chosen.dtype)
        values = _numbers(arguments, "priorities", priorities)
        self._buffer.update_priorities(chosen.astype(np.uint64), values)
        self._max_priority = max(self._max_priority, float(values.max(initial=0.0)))

    def get_max_priority(self) -> float:
        """The largest that was ever given, 1 at first."""
        return self._max_priority

    def clear(self) -> None:
        """Forget all transitions, and the largest priority."""
        super().clear()
        self._max_priority = 1.0


def _fits(array: npt.NDArray[Any], dtype: np.dtype[Any]) -> bool:
    """Whether nothing but precision is lost: 1.0 is an integer, 1.5 and 300 are no uint8."""
    if array.dtype.kind not in "iufb" or dtype.kind not in "iub":
        return np.can_cast(array.dtype, dtype, "same_kind")
    if np.can_cast(array.dtype, dtype):
        return True
    with np.errstate(invalid="ignore"):
        return bool(np.all(array.astype(dtype) == array))


def _batch_size(given: Any) -> int:
    return Arguments("sample").integer("batch_size", given, low=1, high=MAX_DRAWS)


def _numbers(arguments: Arguments, name: str, given: Any) -> npt.NDArray[np.float64]:
    """One dimension of float64."""
    array = np.ravel(checked_array(arguments, name, given))
    if array.dtype.kind not in "fiub":
        raise arguments.error(name, "hold numbers", array.dtype, kind=TypeError)
    return array.astype(np.float64)


def _values(
    arguments: Arguments, env_dict: Any, next_of: Any, default_dtype: Any
) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    """Shape and dtype of each value."""
    if not isinstance(env_dict, Mapping) or not env_dict:
        actual = "{}" if isinstance(env_dict, Mapping) else type(env_dict).__name__
        raise arguments.error("env_dict", "be a dict of dicts, at least one", actual)
    values = {}
    for name, one in env_dict.items():
        if not isinstance(one, Mapping):
            actual = type(one).__name__
            raise arguments.error(f"env_dict[{name!r}]", "be a dict", actual, kind=TypeError)
        sizes = one.get("shape", 1)
        if not isinstance(sizes, Sequence):
            sizes = sizes.tolist() if isinstance(sizes, np.ndarray) and sizes.ndim else [sizes]
        label = f"env_dict[{name!r}]['shape']"
        shape = tuple(arguments.integer(label, size, low=1) for size in sizes)
        dtype = one.get("dtype")
        try:
            values[name] = shape, np.dtype(default_dtype if dtype is None else dtype)
        except (TypeError, ValueError, SyntaxError):
            actual = repr(default_dtype if dtype is None else dtype)
            label = f"env_dict[{name!r}]['dtype']"
            raise arguments.error(label, "be a dtype of NumPy's", actual) from None
    named = (
        [next_of]
        if isinstance(next_of, str)
        else check_names(arguments, "next_of", () if next_of is None else next_of)
    )
    for name in named:
        arguments.choice("next_of", name, list(env_dict))
        values[f"next_{name}"] = values[name]
    return values
