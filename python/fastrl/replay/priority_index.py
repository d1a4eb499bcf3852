"""Prioritized sampling on its own: slots with priorities, and draws from them.

What a buffer samples its transitions through; also for levels, tasks, or rows kept elsewhere.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from fastrl import _core
from fastrl._dispatch import Arguments, Array, address
from fastrl.replay.arguments import MAX_DRAWS, check_state, checked_array

SCHEMES = ("independent", "stratified", "systematic", "without_replacement")
NEW_PRIORITIES = ("max", "max_in_buffer")
NORMALIZATIONS = (None, "batch", "buffer")
_VALUE = 2
_MAX_CAPACITY = 2**32


class Draw(NamedTuple):
    """What `PriorityIndex.draw` returns.

    Attributes:
        slots: [n] int64.
        probabilities: [n] float64, P of each draw: averages of f / (N · P) estimate the mean of f
            over the N drawable slots without bias.
        tau: For `importance_weights` of draws without replacement; 0 for others.
    """

    slots: Array
    probabilities: Array
    tau: float


class PriorityIndex:
    """Draws slots 0 … capacity − 1 in proportion to a power of their priorities, or by rank.

        P(i) = w_i / Σ w,    w_i = round(p_i^priority_exponent · 2^s)           kind="proportional"
        P(i) ∝ 1 / rank(i)^priority_exponent                                    kind="rank"

    The weights w are integers, at least 1 where p > 0, and their sum is exact whatever came
    before. s is one number for all slots, chosen so that the largest weight fits into 32 bits;
    priorities too small beside the largest have weight 1. Probabilities are always those of the
    integers. A priority of 0 means: never drawn, as all slots are at first. Ranks tie within 6 %,
    and slots that tie share the mean of their 1 / rank^priority_exponent.

    The same seed and calls give the same draws on every processor. Calls of several threads take
    turns.

    Reference: Schaul et al., "Prioritized Experience Replay", 2016. Specification:
    `fastrl.reference.priority` and `ranks`.
    """

    def __init__(
        self,
        capacity: int,
        *,
        priority_exponent: float = 0.6,
        kind: str = "proportional",
        keep_priorities: bool = False,
        seed: int = 0,
    ) -> None:
        """An empty index.

        Args:
            capacity: The number of slots, at most 2^32; 4.7 bytes each, 10.3 by rank.
            priority_exponent: 0 is uniform among priorities that are not 0.
            kind: "proportional" or "rank".
            keep_priorities: Also stores the priorities as float32, 4 bytes a slot, so that
                `priority_exponent` can be set while there are items. "rank" needs none.
            seed: Of the random numbers.
        """
        check = Arguments("PriorityIndex")
        self.capacity = check.integer("capacity", capacity, low=1, high=_MAX_CAPACITY)
        exponent = check.number("priority_exponent", priority_exponent, low=0.0, high=1000.0)
        by_rank = check.choice("kind", kind, ("proportional", "rank")) == "rank"
        keeps = check.flag("keep_priorities", keep_priorities)
        seed = check.integer("seed", seed, low=0, high=2**64 - 1)
        self._made_as = {"capacity": self.capacity, "kind": kind, "keep_priorities": keeps}
        self._index = _core.ReplayIndex(self.capacity, by_rank, keeps, seed)
        self._index.set_exponent("PriorityIndex", exponent)

    def __len__(self) -> int:
        """The number of slots that can be drawn: those whose priority is not 0."""
        return self._index.count

    @property
    def total(self) -> int:
        """The exact sum of the integer weights."""
        return self._index.total

    @property
    def bytes(self) -> int:
        """The memory that the index takes."""
        return self._index.bytes

    @property
    def largest_priority(self) -> float:
        """The largest priority that was ever set, 1 before the first."""
        return self._index.largest_ever

    @property
    def priority_exponent(self) -> float:
        """The exponent of the priorities, or of the ranks.

        Setting it weighs all slots anew, O(capacity). A proportional index that has items needs
        `keep_priorities=True` for that.
        """
        return self._index.exponent

    @priority_exponent.setter
    def priority_exponent(self, value: float) -> None:
        check = Arguments("PriorityIndex")
        exponent = check.number("priority_exponent", value, low=0.0, high=1000.0)
        self._index.set_exponent("PriorityIndex", exponent)

    def set_priorities(self, slots: Array, priorities: Array) -> None:
        """Sets the priorities of slots; where a slot comes twice, the last one stays.

        Args:
            slots: [B] int64, from 0 to capacity − 1.
            priorities: [B] of any floating-point dtype, finite and at least 0.
        """
        at = self._slots("set_priorities", slots)
        check = Arguments("set_priorities")
        values = checked_array(check, "priorities", priorities)
        if values.size and values.dtype.kind != "f":
            rule = "have dtype float32 or float64"
            raise check.error("priorities", rule, values.dtype, kind=TypeError)
        if values.shape != at.shape:
            rule = f"have shape [B] = {list(at.shape)}"
            raise check.error("priorities", rule, list(values.shape))
        width = np.float64 if values.dtype.itemsize > 4 else np.float32
        values = np.ascontiguousarray(values, width)
        self._index.set_priorities(
            "set_priorities",
            address(at),
            at.size,
            address(values),
            width is np.float64,
        )

    def set_new(self, slots: Array, priority: str | float = "max") -> None:
        """Sets slots whose priority nobody knows yet.

        Args:
            slots: [B] int64, from 0 to capacity − 1.
            priority: "max", the largest that was ever set (1 before the first), "max_in_buffer",
                the largest there is now (else as "max"), or a number.
        """
        check = Arguments("set_new")
        at = self._slots("set_new", slots)
        rule, value = _VALUE, 0.0
        if isinstance(priority, str):
            rule = NEW_PRIORITIES.index(check.choice("priority", priority, NEW_PRIORITIES))
        else:
            value = check.number("priority", priority, low=0.0)
        self._index.set_new("set_new", address(at), at.size, rule, value)

    def clear(self, slots: Array) -> None:
        """Takes slots out: they are not drawn before they are set again."""
        at = self._slots("clear", slots)
        self._index.clear("clear", address(at), at.size)

    def draw(self, n: int, *, scheme: str = "independent") -> Draw:
        """Draws n slots.

        Args:
            n: How many, at least 1.
            scheme: "independent"; "stratified": one from each n-th of the total; "systematic": as
                stratified, with one random number for all; both in random order. With
                "without_replacement" no slot comes twice: slot i is drawn next with w_i over the
                weights that are left, and n is at most `len(self)`.

        Without replacement, the chance π_i that slot i is among the n is that of an exponential
        clock of rate w_i that rings before the (n + 1)-th of all clocks, τ: 1 − exp(−w_i τ).
        Σ f_i / π_i over the draws then estimates Σ f without bias, and P is π_i / n (Cohen &
        Kaplan, "Tighter estimation using bottom k sketches", 2008).
        """
        check = Arguments("draw")
        n = check.integer("n", n, low=1, high=MAX_DRAWS)
        code = SCHEMES.index(check.choice("scheme", scheme, SCHEMES))
        if scheme == "without_replacement" and n > len(self) > 0:
            rule = f"be at most the number of drawable items without replacement, {len(self)}"
            raise check.error("n", rule, n)
        slots = np.empty(n, np.int64)
        probabilities = np.empty(n, np.float64)
        tau = self._index.draw("draw", n, code, address(slots), address(probabilities))
        return Draw(slots, probabilities, tau)

    def weights(self, slots: Array) -> Array:
        """The integer weights of slots, [B] uint64: P = weights / total."""
        at = self._slots("weights", slots)
        weights = np.empty(at.shape, np.uint64)
        self._index.weights("weights", address(at), at.size, address(weights))
        return weights

    def importance_weights(
        self, draw: Draw, importance_exponent: float, *, normalize: str | None = "batch"
    ) -> Array:
        """(N · P)^−importance_exponent of draws, [n] float32, N being the drawable slots.

        Args:
            draw: What `draw` returned, before the priorities changed.
            importance_exponent: 1 undoes the priorities, 0 gives ones.
            normalize: Divides by the largest of the batch ("batch"), by the largest that any
                drawable slot would have ("buffer"), or by nothing (None).
        """
        check = Arguments("importance_weights")
        exponent = check.number("importance_exponent", importance_exponent, low=0.0)
        given: object = draw
        if not isinstance(given, Draw):
            rule = "be what `draw` returned"
            raise check.error("draw", rule, type(given).__name__, kind=TypeError)
        if not (normalize is None or (isinstance(normalize, str) and normalize in NORMALIZATIONS)):
            raise check.error("normalize", "be 'batch', 'buffer' or None", repr(normalize))
        smallest = 0.0
        if normalize == "buffer":
            smallest = self._index.smallest_probability(len(draw.slots), draw.tau)
        weights = np.empty(len(draw.slots), np.float32)
        _core.importance_weights(
            address(draw.probabilities),
            weights.size,
            len(self),
            exponent,
            NORMALIZATIONS.index(normalize),
            smallest,
            address(weights),
        )
        return weights

    def state_dict(self) -> dict[str, Any]:
        """All that it remembers, random numbers and exponent included: numbers and bytes."""
        return {**self._made_as, "memory": np.frombuffer(self._index.state(), np.uint8)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Draws from now on what the index would have drawn that `state_dict` was taken of.

        The state must be of an index with the same capacity, kind and `keep_priorities`, and is
        trusted to be one.
        """
        check = Arguments("load_state_dict")
        check_state(check, state, (*self._made_as, "memory"))
        for name, own in self._made_as.items():
            actual = state[name]
            if type(actual) is not type(own) or actual != own:
                raise check.error(f"state[{name!r}]", f"be {own!r}, as of this index", actual)
        check.array("state['memory']", state["memory"], ["bytes"], ["uint8"])
        memory = np.ascontiguousarray(state["memory"])
        if not self._index.restore(address(memory), memory.size):
            raise check.error("state['memory']", "be of such an index", f"{memory.size} bytes")

    def _slots(self, function: str, slots: Array) -> Array:
        check = Arguments(function)
        at = checked_array(check, "slots", slots)
        if at.size and at.dtype != np.int64:
            raise check.error("slots", "have dtype int64", at.dtype, kind=TypeError)
        if at.ndim != 1:
            raise check.error("slots", "have shape [B]", list(at.shape))
        return np.ascontiguousarray(at, np.int64)
