"""How a buffer draws: each sampler has its own priorities and random numbers over shared rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastrl._dispatch import Arguments

SCHEMES = ("independent", "stratified", "systematic", "without_replacement")
_NEW = ("max", "max_in_buffer")
_VALUE = 2
_NORMALIZATIONS = (None, "batch", "buffer")
_UNIFORM, _PROPORTIONAL, _RANK, _MARKED = 0, 1, 2, 3


@dataclass(frozen=True, slots=True)
class Linear:
    """A number that goes from `start` to `end` in `steps` batches and stays there."""

    start: float
    end: float
    steps: int


@dataclass(frozen=True, slots=True)
class Uniform:
    """All transitions are equally likely.

    Attributes:
        scheme: "independent", "stratified" or "systematic" (spread over the buffer, in random
            order), or "without_replacement" (no two of a batch are the same).
    """

    scheme: str = "independent"


@dataclass(frozen=True, slots=True)
class _ByPriority:
    priority_exponent: float | Linear = 0.6
    importance_exponent: float | Linear = 0.4
    scheme: str = "independent"
    new_priority: str | float = "max"
    normalize: str | None = "batch"
    epsilon: float = 0.0


@dataclass(frozen=True, slots=True)
class Prioritized(_ByPriority):
    """Transitions in proportion to a power of their priorities.

    P(i) = p_i^priority_exponent / Σ p^priority_exponent, exactly, with importance weights
    (N · P(i))^−importance_exponent (Schaul et al., "Prioritized Experience Replay", 2016).

    Powers are kept as integers w = round(p^α · 2^s), of 32 bits, with one s for all, and P(i) is
    w_i / Σ w of these integers, so what is drawn and its weights always agree. s follows the
    largest power there is: after each change of s that one has a w from 2^29 to 2^30, later ones
    up to 2^32; s goes up again when, after as many updates as there are rows, the largest w is
    below 2^20. What rounding changes P(i) by is at most 1 / (2 w_i) of it. So a p^α of 2^−k of the
    largest is exact to 2^(k − 30), and all below 2^−30 of the largest have w = 1: they are as
    likely as one another, and never left out. For α = 0.6 that is a priority of 9e−16 of the
    largest, for α = 1 of 9e−10.

    One absurd priority, such as 1e30 among ones, therefore makes all others equal. Once it has been
    updated, overwritten or evicted, and at most twice as many priorities were given as there are
    rows, the full resolution is back for all that are given from then on. Those that were made
    equal then count as up to 8 times the largest of these, so that they are soon drawn and given
    anew; with a Linear `priority_exponent`, which keeps the priorities themselves, they are what
    they were. With ``new_priority="max"`` new transitions have the largest priority ever given, the
    absurd one; "max_in_buffer" forgets it.

    Attributes:
        priority_exponent: 0 is uniform among priorities that are not 0. Or Linear to anneal it, in
            64 equal steps, each of which weighs the whole buffer anew from the priorities as
            float32, which take 4 bytes more a row.
        importance_exponent: A number, or Linear to anneal it, a little with each batch.
        scheme: As of `Uniform`.
        new_priority: Of transitions that nobody has valued: "max", the largest that was ever given
            (1 before the first), "max_in_buffer", the largest there is now, or a number.
        normalize: Divides the weights by the largest of the batch ("batch"), by the largest that
            any transition of the buffer would have ("buffer"), or by nothing (None).
        epsilon: Is added to every priority that is given. With 0, a priority of 0 means: never.
    """


@dataclass(frozen=True, slots=True)
class RankPrioritized(_ByPriority):
    """Transitions by the rank of their priorities, the largest having rank 1.

    P(i) ∝ 1 / rank(i)^priority_exponent: how much larger a priority is does not count. Priorities
    within a 16th of a factor of two tie and share their ranks' mean, as do all below 2⁻⁶⁴ and all
    above 2⁶⁴.

    Attributes:
        priority_exponent: 0 is uniform among priorities that are not 0. Or Linear to anneal it, in
            64 equal steps.
        importance_exponent: As of `Prioritized`, and so are all others.
    """

    priority_exponent: float | Linear = 0.7
    importance_exponent: float | Linear = 0.5


@dataclass(frozen=True, slots=True)
class Marked:
    """The transitions that were marked, all equally likely; new ones are not.

    ``update_priorities(handles, marks, sampler=name)`` marks where `marks` is not 0 and takes marks
    away where it is 0. Marks go with what is overwritten or evicted. Priorities given to `add` are
    not meant for it.

    Attributes:
        scheme: As of `Uniform`.
    """

    scheme: str = "independent"


Sampler = Uniform | Prioritized | RankPrioritized | Marked


def check_samplers(arguments: Arguments, sampler: object) -> dict[str, Sampler]:
    """Samplers by name; a single one has the name "default"."""
    if sampler is None:
        sampler = Uniform()
    named: dict[Any, Any] = dict(sampler) if isinstance(sampler, Mapping) else {"default": sampler}
    if not named:
        raise arguments.error("sampler", "not be empty", "{}")
    for name, one in named.items():
        if not isinstance(name, str) or not 0 < len(name.encode()) < 32:
            raise arguments.error("sampler", "have names of 1 to 31 bytes", repr(name))
        if not isinstance(one, Sampler):
            rule = "be a Uniform, Prioritized, RankPrioritized, Marked or a dict of these"
            raise arguments.error("sampler", rule, type(one).__name__, kind=TypeError)
    return named


def native(arguments: Arguments, name: str, sampler: Sampler) -> dict[str, Any]:
    """A sampler's checked options as the native side takes them."""
    scheme = arguments.choice("scheme", sampler.scheme, SCHEMES)
    made = {
        "name": name,
        "kind": _MARKED if isinstance(sampler, Marked) else _UNIFORM,
        "scheme": SCHEMES.index(scheme),
        "priority_start": 0.0,
        "priority_end": 0.0,
        "priority_steps": 0,
        "epsilon": 0.0,
        "new_priority": 0,
        "normalization": 0,
        "new_value": 1.0,
        "importance_start": 0.0,
        "importance_end": 0.0,
        "importance_steps": 0,
    }
    if isinstance(sampler, Marked):
        return made | {"new_priority": _VALUE, "new_value": 0.0}
    if isinstance(sampler, Uniform):
        return made
    new = sampler.new_priority
    if isinstance(new, str):
        rule = _NEW.index(arguments.choice("new_priority", new, _NEW))
        value = 1.0
    else:
        rule = _VALUE
        value = arguments.number("new_priority", new, low=0)
    given: object = sampler.normalize
    if not (given is None or (isinstance(given, str) and given in _NORMALIZATIONS)):
        raise arguments.error("normalize", "be 'batch', 'buffer' or None", repr(given))
    return made | {
        "kind": _PROPORTIONAL if isinstance(sampler, Prioritized) else _RANK,
        "epsilon": arguments.number("epsilon", sampler.epsilon, low=0),
        "new_priority": rule,
        "new_value": value,
        "normalization": _NORMALIZATIONS.index(sampler.normalize),
        **_exponent(arguments, "priority", sampler.priority_exponent),
        **_exponent(arguments, "importance", sampler.importance_exponent),
    }


def _exponent(arguments: Arguments, kind: str, given: float | Linear) -> dict[str, Any]:
    name = f"{kind}_exponent"
    line = given if isinstance(given, Linear) else Linear(given, given, 0)
    return {
        f"{kind}_start": arguments.number(name, line.start, low=0),
        f"{kind}_end": arguments.number(name, line.end, low=0),
        f"{kind}_steps": arguments.integer(f"{name}.steps", line.steps, low=0, high=2**62),
    }


def from_native(options: Mapping[str, Any]) -> Sampler:
    """The sampler whose options these are."""
    scheme = SCHEMES[options["scheme"]]
    if options["kind"] == _UNIFORM:
        return Uniform(scheme)
    if options["kind"] == _MARKED:
        return Marked(scheme)

    def exponent(kind: str) -> float | Linear:
        start, end = float(options[f"{kind}_start"]), float(options[f"{kind}_end"])
        steps = int(options[f"{kind}_steps"])
        return Linear(start, end, steps) if steps else end

    rule = options["new_priority"]
    made = Prioritized if options["kind"] == _PROPORTIONAL else RankPrioritized
    return made(
        exponent("priority"),
        exponent("importance"),
        scheme,
        options["new_value"] if rule == _VALUE else _NEW[rule],
        _NORMALIZATIONS[options["normalization"]],
        options["epsilon"],
    )
