"""Batches of environments whose observations are text."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastrl import _core
from fastrl._dispatch import Arguments, address
from fastrl.envs.arguments import Ids
from fastrl.envs.spaces import dtype_of
from fastrl.envs.vector import VectorEnv
from fastrl.envs.vocabulary import VOCABULARY


class TextVectorEnv(VectorEnv):
    """B text environments; made by `make_vec`.

    Observations are int32 tokens [B, O], padded with 0; `observation_lengths` says how many count.
    Actions are integers [B], -1 a malformed one, which moves nothing and costs the turn; or rows of
    tokens. Infos have "action_valid" and "success".

    Attributes:
        num_actions: A; actions are 0, …, A − 1, or -1. 0 where actions are rows of tokens.
        action_names: [A] words, as `parse_actions` reads them; empty where it reads more than that.
        action_tokens: [A] int32, the one token that each action is; empty as `action_names`.
        vocabulary: The spelling of each token.
        max_observation_tokens: O.
    """

    def __init__(self, native: Any, name: str, **settings: Any) -> None:
        super().__init__(native, name, **settings)
        action = self._description.action
        self.max_observation_tokens: int = self._description.observations[0].shape[0]
        self.num_actions = 0 if action.shape else int(action.high[0]) + 1
        self.action_names: list[str] = native.action_names
        self.action_tokens = np.array(native.action_tokens, np.int32)
        self.vocabulary = list(VOCABULARY)

    @property
    def observation_lengths(self) -> npt.NDArray[np.int32]:
        """[B] int32: how many tokens of each observation count, as of the last reset or step."""
        last = self._ring.last
        if last is None:
            return np.zeros(self.num_envs, np.int32)
        lengths: npt.NDArray[np.int32] = last.lengths
        return lengths

    def observe(self, ids: Ids = None) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Observations [n, O] and lengths [n] of the present states, as after a `restore`."""
        arrays = self._observed(ids)
        return arrays["observations"][0], arrays["lengths"]

    def render(self) -> tuple[Any, ...] | None:
        """All environments as texts ("ansi") or pictures ("rgb_array"), or None without a mode."""
        return tuple(self.render_text()) if self.render_mode == "ansi" else super().render()

    def render_text(self, ids: Ids = None) -> list[str]:
        """All there is to see of each environment, whatever the form of the observations."""
        chosen = self._chosen("render_text", "ids", ids)
        tokens = np.empty((chosen.size, self._description.render_tokens), np.int32)
        lengths = np.empty(chosen.size, np.int32)
        self._native.render(address(chosen), chosen.size, address(tokens), address(lengths))
        texts: list[str] = _core.detokenize_rows(
            address(tokens), address(lengths), *map(int, tokens.shape)
        )
        return texts

    def parse_actions(
        self, texts: Sequence[str] | npt.NDArray[np.str_]
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """The actions that texts name, and which of them name one.

        Actions are whole words, in any case. The last complete ``<answer>…</answer>`` or
        ``<action>…</action>`` counts and in it the first action; a text without one counts by its
        last action. -1 where there is none. Games with a grammar of their own (cells, words,
        expressions) say it in their headers.
        """
        given = texts.tolist() if isinstance(texts, np.ndarray) else texts
        if (
            not isinstance(given, Sequence)
            or isinstance(given, str | bytes)
            or not all(isinstance(text, str) for text in given)
        ):
            raise Arguments("parse_actions").error(
                "texts", "be a sequence of strings", type(texts).__name__, kind=TypeError
            )
        # A lone surrogate separates words, like all that is not ASCII, but has no UTF-8.
        encodable = [
            text if text.isascii() else text.encode("utf-8", "replace").decode() for text in given
        ]
        rows, valid = self._action_rows(len(given))
        self._native.parse_actions(encodable, address(rows), address(valid))
        return rows, valid

    def parse_action_tokens(
        self, tokens: npt.NDArray[np.int32], lengths: npt.NDArray[np.int32]
    ) -> npt.NDArray[Any]:
        """The actions that tokens name: what comes before ``<end>`` is read as its text would be.

        Args:
            tokens: [N, L] int32.
            lengths: [N] int32, how many of each row count.

        Returns:
            [N] int64, -1 where a row names no action; or rows of the action space.
        """
        arguments = Arguments("parse_action_tokens")
        arguments.array("tokens", tokens, ("N", "L"), ("int32",))
        arguments.array("lengths", lengths, ("N",), ("int32",))
        n, width = tokens.shape
        if n and not (lengths.min() >= 0 and lengths.max() <= width):
            wrong = lengths[(lengths < 0) | (lengths > width)][0]
            raise arguments.error("lengths", f"be from 0 to L = {width}", wrong)
        tokens, lengths = np.ascontiguousarray(tokens), np.ascontiguousarray(lengths)
        rows, valid = self._action_rows(n)
        self._native.parse_action_tokens(
            address(tokens), address(lengths), n, width, address(rows), address(valid)
        )
        return rows

    def _action_rows(self, n: int) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        action = self._description.action
        return np.zeros((n, *action.shape), dtype_of(action)), np.empty(n, np.bool_)
