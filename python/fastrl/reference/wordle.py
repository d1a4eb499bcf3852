"""Wordle in plain Python; see `csrc/envs/text_games/wordle.h` for the rules."""

from collections import Counter
from typing import Self

from fastrl.reference.envs import Outcome, RandomStream


def marks(secret: str, guess: str) -> str:
    """G in its place, Y elsewhere in the word, X: greens first, then from the left."""
    left = Counter(s for s, g in zip(secret, guess, strict=True) if s != g)
    result = ""
    for s, g in zip(secret, guess, strict=True):
        if s == g:
            result += "G"
        elif left[g] > 0:
            left[g] -= 1
            result += "Y"
        else:
            result += "X"
    return result


class Wordle:
    """Guess the word."""

    def __init__(self, words: list[str], secret: str, max_guesses: int, reward: str) -> None:
        self.words, self.secret = words, secret
        self.max_guesses, self.reward = max_guesses, reward
        self.guesses: list[str] = []  # "" for a malformed one

    @classmethod
    def drawn(cls, level: RandomStream, words: list[str], max_guesses: int, reward: str) -> Self:
        """A level: one of the words."""
        return cls(words, words[level.below(len(words))], max_guesses, reward)

    def succeeded(self) -> bool:
        """The last guess is the word."""
        return self.guesses[-1:] == [self.secret]

    def key(self) -> object:
        """The guesses."""
        return tuple(self.guesses)

    def step(self, action: int) -> Outcome:
        """Guesses the word at that position of the list."""
        self.guesses = [*self.guesses, self.words[action] if action >= 0 else ""]
        if self.succeeded():
            return 1.0, True, True
        if len(self.guesses) < self.max_guesses:
            return 0.0, False, False
        greens = [marks(self.secret, guess).count("G") for guess in self.guesses if guess]
        share = max(greens, default=0) / len(self.secret)
        return (share if self.reward == "partial" else 0.0), True, False

    def _marks(self, guess: str) -> str:
        return marks(self.secret, guess) if guess else "?"

    def grid(self) -> str:
        """The guesses left, and those made with their marks."""
        lines = [
            f"Letters: {len(self.secret)}, guesses left: {self.max_guesses - len(self.guesses)}"
        ]
        lines += [f"{guess} {self._marks(guess)}".strip() for guess in self.guesses]
        return "\n".join(lines)

    def compact(self) -> str:
        """The marks of the last guess."""
        return self._marks(self.guesses[-1])
