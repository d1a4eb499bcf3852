"""The vocabulary that all text environments share: special tokens, words and characters."""

import re
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from fastrl import _core
from fastrl._dispatch import Arguments

VOCABULARY: Final[tuple[str, ...]] = tuple(_core.vocabulary())
"""The spelling of each token; the position is the token."""

PAD_TOKEN: Final = VOCABULARY.index("<pad>")
START_TOKEN: Final = VOCABULARY.index("<start>")
OBSERVATION_TOKEN: Final = VOCABULARY.index("<observation>")
ACTION_TOKEN: Final = VOCABULARY.index("<action>")
END_TOKEN: Final = VOCABULARY.index("<end>")
GUIDANCE_TOKEN: Final = VOCABULARY.index("<guidance>")


def tokenize(text: str) -> npt.NDArray[np.int32]:
    """The tokens of a text: greedy, the longest word first, single characters otherwise.

    Special tokens never come out, not even of the text "<end>".

    Args:
        text: Printable ASCII and newlines.

    Returns:
        [N] int32 tokens, with ``detokenize(tokenize(text)) == text``.
    """
    check_string("tokenize", "text", text)
    wrong = re.search(r"[^\n -~]", text)
    if wrong:
        raise Arguments("tokenize").error(
            "text",
            "hold printable ASCII and newlines only",
            f"{wrong[0]!a} at position {wrong.start()}",
        )
    return np.array(_core.tokenize(text), np.int32)


def detokenize(tokens: Sequence[int] | npt.NDArray[np.integer]) -> str:
    """The text of tokens. Padding is nothing, other special tokens are written by name.

    Args:
        tokens: [N] integers in [0, len(VOCABULARY)).
    """
    array = np.asarray(tokens)
    error = Arguments("detokenize").error
    if array.size == 0:
        return ""
    if array.dtype.kind not in "iu":
        raise error("tokens", "hold integers", array.dtype, kind=TypeError)
    if array.ndim != 1:
        raise error("tokens", "have shape [N]", list(array.shape))
    if array.min() < 0 or array.max() >= len(VOCABULARY):
        wrong = array[(array < 0) | (array >= len(VOCABULARY))][0]
        raise error("tokens", f"be from 0 to {len(VOCABULARY) - 1}", wrong)
    text: str = _core.detokenize(array.tolist())
    return text


def check_string(function: str, argument: str, value: object) -> None:
    """Raises the error that says so if `value` is not a string."""
    if not isinstance(value, str):
        raise Arguments(function).error(
            argument, "be a string", type(value).__name__, kind=TypeError
        )
