"""Countdown in plain Python; see `csrc/envs/text_games/countdown.h` for the rules."""

import ast
import re
from collections import Counter
from fractions import Fraction
from itertools import product
from typing import Self

from fastrl.reference.envs import Outcome, RandomStream


def reachable(numbers: tuple[int, ...], use_all: bool) -> set[Fraction]:
    """All values of expressions over each of the numbers once, or over some with not `use_all`."""
    known: dict[tuple[Fraction, ...], set[Fraction]] = {}

    def search(values: tuple[Fraction, ...]) -> set[Fraction]:
        values = tuple(sorted(values))
        if values in known:
            return known[values]
        found = set(values) if len(values) == 1 or not use_all else set()
        for i in range(len(values)):
            for j in range(i):
                rest = tuple(v for k, v in enumerate(values) if k not in (i, j))
                a, b = values[i], values[j]
                results = {a + b, a - b, b - a, a * b}
                results |= {a / b} if b else set()
                results |= {b / a} if a else set()
                for result in results:
                    found |= search((*rest, result))
        known[values] = found
        return found

    return search(tuple(Fraction(n) for n in numbers))


def evaluate(text: str) -> tuple[list[int], Fraction | None] | None:
    """The numbers of an expression and its value, None at a division by zero; None if it is none.

    Python's parser reads it; only the node types of arithmetic are evaluated.
    """
    if len(text) > 64 or not re.fullmatch(r"[0-9+\-*/() \n\t\r]+", text):
        return None
    if re.search(r"\*\s*\*|/\s*/|\d{5}", text):
        return None
    # Python refuses leading zeros.
    flat = re.sub(r"\b0+(?=\d)", "", re.sub(r"\s", " ", text).strip())
    try:
        tree = ast.parse(flat, mode="eval").body
    except SyntaxError:
        return None
    numbers: list[int] = []

    def visit(node: ast.expr) -> Fraction | None:
        if isinstance(node, ast.Constant) and isinstance(node.value, int):
            numbers.append(node.value)
            return Fraction(node.value)
        if isinstance(node, ast.UnaryOp):
            operand = visit(node.operand)
            return -operand if isinstance(node.op, ast.USub) and operand is not None else operand
        if not isinstance(node, ast.BinOp):
            raise TypeError(type(node))
        a, b = visit(node.left), visit(node.right)
        if a is None or b is None or (isinstance(node.op, ast.Div) and b == 0):
            return None
        if isinstance(node.op, ast.Add):
            return a + b
        if isinstance(node.op, ast.Sub):
            return a - b
        return a * b if isinstance(node.op, ast.Mult) else a / b

    try:
        value = visit(tree)
    except TypeError:
        return None
    return numbers, value


class Countdown:
    """Make the target from the numbers."""

    def __init__(self, numbers: list[int], target: int, attempts: int, use_all: bool) -> None:
        self.numbers, self.target = numbers, target
        self.attempts, self.use_all = attempts, use_all
        self.made = 0
        self.remark = ""
        self.value: Fraction | None = None

    @classmethod
    def drawn(
        cls,
        level: RandomStream,
        *,
        min_numbers: int,
        num_numbers: int,
        max_number: int,
        min_target: int,
        max_target: int,
        attempts: int,
        levels: str,
        use_all: bool,
    ) -> Self:
        """A level: numbers and a target, drawn until they are accepted."""

        def between(low: int, high: int) -> int:
            return low if low == high else low + level.below(high - low + 1)

        while True:
            count = between(min_numbers, num_numbers)
            numbers = [between(1, max_number) for _ in range(count)]
            target = between(min_target, max_target)
            if levels == "any":
                break
            if levels == "sums":
                signs = product(*([[-n, n] if use_all else [-n, 0, n] for n in numbers]))
                if any(sum(terms) == target for terms in signs):
                    break
            elif target in reachable(tuple(numbers), use_all):
                break
        return cls(numbers, target, attempts, use_all)

    def succeeded(self) -> bool:
        """The last expression made the target."""
        return self.value == self.target

    def key(self) -> object:
        """The attempts and the last remark."""
        return self.made, self.remark

    def step(self, text: str) -> Outcome:
        """One expression, "" for a malformed action."""
        self.made += 1
        self.value = None
        right = False
        read = evaluate(text)
        if read is None:
            self.remark = "no expression"
        elif not self._fits(read[0]):
            self.remark = "other numbers"
        elif read[1] is None:
            right, self.remark = True, "division by zero"
        else:
            right, self.value = True, read[1]
            self.remark = f"= {self.value}"
        if self.succeeded():
            return 1.0, True, True
        last = self.made == self.attempts
        return (0.1 if last and right else 0.0), last, False

    def _fits(self, numbers: list[int]) -> bool:
        left = Counter(self.numbers)
        left.subtract(numbers)
        return all(n == 0 if self.use_all else n >= 0 for n in left.values())

    def grid(self) -> str:
        """The task and what came of the last attempt."""
        left = f", attempts: {self.attempts - self.made}" if self.attempts > 1 else ""
        text = f"Target: {self.target}, nums: {self.numbers}{left}"
        return f"{text}\n{self.remark}" if self.remark else text

    def compact(self) -> str:
        """What came of the last attempt."""
        return self.remark
