"""Reward machines in plain Python: guards are evaluated as they are written, clocks run for ever.

clock ← clock + elapsed; then the first transition (u, guard, u', r, clock guard, resets) with
guard(labels) and clock guard(clocks): u ← u', reward r, resets ← 0; else u stays, reward 0.
"""

import functools
import re
from collections.abc import Collection, Sequence
from types import CodeType
from typing import Any


@functools.cache
def _formula(text: str) -> tuple[CodeType, list[str]]:
    words = text.replace("!", " not ").replace("&", " and ").replace("|", " or ")
    return compile(words.strip(), text, "eval"), re.findall(r"[A-Za-z_]\w*", text)


def holds(guard: str, true: Collection[str]) -> bool:
    """Whether a guard is true where exactly these labels are."""
    formula, read = _formula(guard)
    names = {name: name in true for name in read} | {"true": True, "false": False}
    return bool(eval(formula, {"__builtins__": {}}, names))


class RewardMachine:
    """The interpreter; arguments as of `fastrl.envs.RewardMachine`, with indexes for states."""

    def __init__(
        self,
        transitions: Sequence[Sequence[Any]],
        terminal: Collection[int] = (),
        accepting: Collection[int] = (),
        clocks: Sequence[str] = (),
        discount: float = 1.0,
    ) -> None:
        self.transitions = [tuple(t) + (0.0, "", ())[len(t) - 3 :] for t in transitions]
        self.terminal, self.accepting, self.discount = terminal, accepting, discount
        self.clocks = dict.fromkeys(clocks, 0)
        self.state = 0

    def step(self, true: Collection[str], elapsed: int = 1) -> tuple[float, float, bool]:
        """Reward, discount and whether the machine has ended."""
        for clock in self.clocks:
            self.clocks[clock] += elapsed
        if self.state in self.terminal:
            return 0.0, 1.0, True
        reward = 0.0
        for state, guard, following, gain, bounds, resets in self.transitions:
            if state != self.state or not holds(guard, true):
                continue
            if not bounds or eval(_formula(bounds)[0], {"__builtins__": {}}, dict(self.clocks)):
                self.state, reward = following, gain
                self.clocks |= dict.fromkeys(resets, 0)
                break
        discount = self.discount if self.state in self.accepting else 1.0
        return reward, discount, self.state in self.terminal


def eventual_return(rewards: Sequence[float], discounts: Sequence[float]) -> float:
    """Σ_t Γ_t r_t with Γ_t the product of the discounts before t."""
    total, factor = 0.0, 1.0
    for reward, discount in zip(rewards, discounts, strict=True):
        total += factor * reward
        factor *= discount
    return total
