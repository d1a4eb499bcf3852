"""Reward machines: rewards that depend on what has happened, as an automaton over labels."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fastrl import _core
from fastrl._dispatch import Arguments, address
from fastrl.envs.vocabulary import check_string

_MAX_STATES = 4096
_MAX_CLOCKS = 8
_MAX_CLAUSES = 1024
_MAX_TIME = 2**31 - 2
_NAME = re.compile(r"[A-Za-z_]\w*")
_TOKEN = re.compile(r"\s*([A-Za-z_]\w*|[!&|()])")
_BOUND = re.compile(r"\s*([A-Za-z_]\w*)\s*(<=|>=|==|<|>)\s*(\d+)\s*")

Clause = tuple[frozenset[str], frozenset[str]]


@dataclass(frozen=True)
class Counterfactuals:
    """What a machine answers to each label set from each of its states (and clock valuations).

    Attributes:
        next_states: [N, U] int64, or [N, U, V] where valuations of clocks were given.
        rewards: As `next_states`, float64.
        discounts: As `next_states`, float64.
        terminated: As `next_states`, bool.
        next_clocks: [..., K] int32, capped at `RewardMachine.clock_caps`.
    """

    next_states: npt.NDArray[np.int64]
    rewards: npt.NDArray[np.float64]
    discounts: npt.NDArray[np.float64]
    terminated: npt.NDArray[np.bool_]
    next_clocks: npt.NDArray[np.int32]


class RewardMachine:
    """An automaton that reads the labels that are true after each step and gives the reward.

    In each step every clock advances by 1. Then the first transition of the present state, in the
    order given, is taken whose guard holds on the labels and whose bounds hold on the clocks: it
    gives its reward, and its clocks start again at 0. Where none holds, the state stays and the
    reward is 0. States without an entry in `transitions` are left by none.

    Args:
        states: U, or their names; the first is where each episode begins.
        transitions: (state, guard, next state[, reward[, clock guard[, resets]]]). A guard is a
            formula of label names with ``!``, ``&``, ``|`` and parentheses, such as
            ``"goal & !(hole | key)"``, or ``"true"``. A clock guard is bounds joined by ``&``, such
            as ``"x >= 2 & x <= 5"``. Resets are names of clocks. Defaults: 0.0, "", ().
        terminal: States that end the episode.
        accepting: States whose every visit is discounted by `discount`.
        clocks: Their names.
        discount: In [0, 1]. Info "discount" is this after a step into an accepting state and 1
            after any other: eventual discounting, under which (1 - discount) times the return of 1
            a visit is the chance of visiting accepting states for ever.

    Attributes:
        labels: The names that guards read, sorted.
        clock_caps: Where each clock stops: one past the largest number it is compared with.

    Sources: Toro Icarte et al., "Reward Machines", 2022; Voloshin et al., "Eventual Discounting
    Temporal Logic Counterfactual Experience Replay", 2023; timed reward machines.
    """

    def __init__(
        self,
        states: int | Sequence[str],
        transitions: Sequence[Sequence[Any]],
        *,
        terminal: Sequence[int | str] = (),
        accepting: Sequence[int | str] = (),
        clocks: Sequence[str] = (),
        discount: float = 1.0,
    ) -> None:
        self._arguments = arguments = Arguments("RewardMachine")
        if isinstance(states, int | np.integer):
            count = arguments.integer("states", states, low=1, high=_MAX_STATES)
            self.states = [str(u) for u in range(count)]
        else:
            self.states = self._names("states", states, _MAX_STATES)
            if not self.states:
                raise arguments.error("states", "hold at least one state", "none")
        self.clocks = self._names("clocks", clocks, _MAX_CLOCKS)
        self.discount = arguments.number("discount", discount, low=0.0, high=1.0)
        self.terminal = [self._state("terminal", u) for u in terminal]
        self.accepting = [self._state("accepting", u) for u in accepting]
        read = [self._read(t, transition) for t, transition in enumerate(transitions)]
        self.transitions = [tuple(transition) for transition in transitions]
        used = {name for entry in read for clause in entry[3] for name in (*clause[0], *clause[1])}
        self.labels = sorted(used)
        if len(self.labels) > 64:
            raise arguments.error("transitions", "read at most 64 labels", len(self.labels))
        caps = [0] * len(self.clocks)
        for entry in read:
            for clock, low, high in entry[4]:
                # A bound is a largest number that matters on either side.
                caps[clock] = max(caps[clock], low, 0 if high == _MAX_TIME else high + 1)
        self.clock_caps = caps
        bit = {name: 1 << b for b, name in enumerate(self.labels)}
        self._native = _core.RewardMachine(
            len(self.states),
            self.labels,
            caps,
            [
                (
                    state,
                    following,
                    reward,
                    [(sum(bit[a] for a in yes), sum(bit[b] for b in no)) for yes, no in clauses],
                    bounds,
                    resets,
                )
                for state, following, reward, clauses, bounds, resets in read
            ],
            self.terminal,
            self.accepting,
            self.discount,
        )

    def __repr__(self) -> str:
        return f"RewardMachine({len(self.states)} states, {len(self.transitions)} transitions)"

    def __reduce__(self) -> tuple[Any, ...]:
        extra = (self.terminal, self.accepting, self.clocks, self.discount)
        return _rebuilt, (self.states, self.transitions, *extra)

    @property
    def num_states(self) -> int:
        """U."""
        return len(self.states)

    def counterfactuals(
        self,
        labels: npt.NDArray[np.integer],
        *,
        label_names: Sequence[str] | None = None,
        clocks: npt.NDArray[np.integer] | None = None,
        elapsed: int = 1,
    ) -> Counterfactuals:
        """What would have happened in every other state of the machine, for relabeling.

        From a terminal state nothing is taken: the state stays, terminated, with reward 0.

        Args:
            labels: [N] integers, what was true after each step, bit by bit; info "labels".
            label_names: What the bits stand for, such as `VectorEnv.step_labels`; `self.labels` if
                None.
            clocks: [V, K] valuations before the step; all 0 if None.
            elapsed: How far clocks advance: 1 + the delay before the action.
        """
        arguments = Arguments("counterfactuals")
        bits = np.asarray(labels)
        if bits.dtype.kind not in "iu":
            raise arguments.error("labels", "hold integers", bits.dtype, kind=TypeError)
        if bits.ndim != 1:
            raise arguments.error("labels", "have shape [N]", list(bits.shape))
        advance = arguments.integer("elapsed", elapsed, low=0, high=_MAX_TIME)
        native = self._native if label_names is None else self._native.over(list(label_names))
        count = len(self.clocks)
        valuations = np.zeros((1, count), np.int32)
        shape: tuple[int, ...] = (bits.size, self.num_states)
        if clocks is not None:
            given = np.asarray(clocks)
            if given.dtype.kind not in "iu":
                raise arguments.error("clocks", "hold integers", given.dtype, kind=TypeError)
            if given.ndim != 2 or given.shape[1] != count:
                raise arguments.error("clocks", f"have shape [V, K = {count}]", list(given.shape))
            if given.size and given.min() < 0:
                raise arguments.error("clocks", "be at least 0", given.min())
            valuations = np.ascontiguousarray(np.minimum(given, self.clock_caps), np.int32)
            shape += (len(given),)
        made = Counterfactuals(
            next_states=np.empty(shape, np.int64),
            rewards=np.empty(shape, np.float64),
            discounts=np.empty(shape, np.float64),
            terminated=np.empty(shape, np.bool_),
            next_clocks=np.empty((*shape, count), np.int32),
        )
        if made.next_states.size == 0:
            return made
        words = np.ascontiguousarray(bits.astype(np.uint64))
        native.counterfactuals(
            address(words),
            words.size,
            address(valuations),
            len(valuations),
            advance,
            address(made.next_states),
            address(made.next_clocks),
            address(made.rewards),
            address(made.discounts),
            address(made.terminated),
        )
        return made

    # --- Reading ------------------------------------------------------------------------------

    def _names(self, argument: str, names: Sequence[str], most: int) -> list[str]:
        error = self._arguments.error
        if isinstance(names, str) or not isinstance(names, Sequence):
            raise error(argument, "be a list of names", type(names).__name__, kind=TypeError)
        for name in names:
            check_string("RewardMachine", argument, name)
            if argument == "clocks" and not _NAME.fullmatch(name):
                raise error(argument, "be letters, digits and underscores", repr(name))
        if len(set(names)) != len(names) or len(names) > most:
            raise error(argument, f"be at most {most} different names", list(names))
        return list(names)

    def _state(self, argument: str, state: object) -> int:
        if isinstance(state, str):
            if state not in self.states:
                raise self._arguments.error(argument, "name a state", repr(state))
            return self.states.index(state)
        return self._arguments.integer(argument, state, low=0, high=len(self.states) - 1)

    def _read(self, t: int, given: Sequence[Any]) -> Any:
        """(state, next, reward, clauses, bounds, resets) with indexes for names."""
        name = f"transitions[{t}]"
        if isinstance(given, str) or not isinstance(given, Sequence) or not 3 <= len(given) <= 6:
            rule = "be (state, guard, next state[, reward[, clock guard[, resets]]])"
            raise self._arguments.error(name, rule, repr(given))
        defaults: tuple[Any, ...] = (0.0, "", ())
        state, guard, following, reward, bounds, resets = (*given, *defaults[len(given) - 3 :])
        check_string("RewardMachine", name, guard)
        check_string("RewardMachine", name, bounds)
        mask = 0
        for clock in [resets] if isinstance(resets, str) else resets:
            mask |= 1 << self._clock(name, clock)
        return (
            self._state(name, state),
            self._state(name, following),
            self._arguments.number(name, reward),
            _Formula(self._arguments, name, guard).clauses(),
            self._bounds(name, bounds),
            mask,
        )

    def _clock(self, argument: str, clock: object) -> int:
        if clock not in self.clocks:
            raise self._arguments.error(argument, "name clocks out of `clocks`", repr(clock))
        return self.clocks.index(str(clock))

    def _bounds(self, argument: str, text: str) -> list[tuple[int, int, int]]:
        """(clock, least, greatest) of "x >= 2 & x < 5"."""
        bounds = []
        for part in text.split("&") if text.strip() else ():
            found = _BOUND.fullmatch(part)
            if found is None or int(found[3]) >= _MAX_TIME:
                rule = 'have a clock guard such as "x >= 2 & x <= 5"'
                raise self._arguments.error(argument, rule, repr(text))
            number = int(found[3])
            low, high = {
                "<": (0, number - 1),
                "<=": (0, number),
                "==": (number, number),
                ">=": (number, _MAX_TIME),
                ">": (number + 1, _MAX_TIME),
            }[found[2]]
            bounds.append((self._clock(argument, found[1]), low, high))
        return bounds


class _Formula:
    """A formula in disjunctive normal form.

    or := and ("|" and)*    and := not ("&" not)*    not := "!" not | "(" or ")" | name
    """

    def __init__(self, arguments: Arguments, argument: str, text: str) -> None:
        self._arguments, self._argument, self._text = arguments, argument, text
        self._tokens: list[str] = []
        place = 0
        while text[place:].strip():
            found = _TOKEN.match(text, place)
            if found is None:
                raise self._error(f"{text[place:].strip()[0]!r}")
            self._tokens.append(found[1])
            place = found.end()
        self._tokens.append("")

    def clauses(self) -> list[Clause]:
        """Sets of labels that must be true and that must be false; one clause must hold."""
        made = self._either(False)
        if self._tokens[0]:
            raise self._error(repr(self._tokens[0]))
        return made

    def _error(self, found: str) -> Exception:
        rule = 'have a guard such as "goal & !(hole | key)"'
        return self._arguments.error(self._argument, rule, f"{self._text!r}, with {found}")

    # `negated` pushes negations inwards: under it "|" joins like "&" and the other way round.
    def _either(self, negated: bool) -> list[Clause]:
        parts = [self._both(negated)]
        while self._tokens[0] == "|":
            self._tokens.pop(0)
            parts.append(self._both(negated))
        return self._joined(parts, negated)

    def _both(self, negated: bool) -> list[Clause]:
        parts = [self._one(negated)]
        while self._tokens[0] == "&":
            self._tokens.pop(0)
            parts.append(self._one(negated))
        return self._joined(parts, not negated)

    def _one(self, negated: bool) -> list[Clause]:
        token = self._tokens.pop(0)
        if token == "!":
            return self._one(not negated)
        if token == "(":
            inside = self._either(negated)
            if self._tokens.pop(0) != ")":
                raise self._error("an open parenthesis")
            return inside
        if not _NAME.fullmatch(token):
            raise self._error(repr(token) if token else "an end where a name should be")
        if token in ("true", "false"):
            return [(frozenset(), frozenset())] if (token == "true") != negated else []
        label: Clause = (frozenset((token,)), frozenset())
        return [label[::-1]] if negated else [label]

    def _joined(self, parts: list[list[Clause]], every: bool) -> list[Clause]:
        """All of the parts, or any of them."""
        if not every:
            made = [clause for part in parts for clause in part]
        else:
            made = [(frozenset[str](), frozenset[str]())]
            for part in parts:
                both = [(a | c, b | d) for a, b in made for c, d in part]
                made = [(yes, no) for yes, no in dict.fromkeys(both) if not yes & no]
                self._check_size(made)
        self._check_size(made)
        return made

    def _check_size(self, clauses: list[Clause]) -> None:
        if len(clauses) > _MAX_CLAUSES:
            rule = f"have a guard of at most {_MAX_CLAUSES} alternatives"
            raise self._arguments.error(self._argument, rule, f"{len(clauses)} in {self._text!r}")


def _rebuilt(
    states: list[str],
    transitions: list[tuple[Any, ...]],
    terminal: list[int],
    accepting: list[int],
    clocks: list[str],
    discount: float,
) -> RewardMachine:
    return RewardMachine(
        states,
        transitions,
        terminal=terminal,
        accepting=accepting,
        clocks=clocks,
        discount=discount,
    )
