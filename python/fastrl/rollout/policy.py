"""What a rollout asks of a policy: token ids in, token ids and log-probs out.

Tokens are never decoded and encoded again on the way: what was sampled is what is trained on.
"""

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int32]
FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]


class Generation(NamedTuple):
    """What a policy said: one row per conversation, nothing (length 0) where it was not asked."""

    tokens: IntArray
    """[B, A] token ids, 0 after the end of a row."""
    lengths: IntArray
    """[B] number of tokens in each row."""
    log_probs: FloatArray
    """[B, A] log-probs under the distribution that the tokens were drawn from."""


@runtime_checkable
class Session(Protocol):
    """A batch of growing conversations, and whatever the policy remembers of them."""

    @property
    def lengths(self) -> IntArray:
        """[B] tokens in each conversation."""
        ...

    def append(self, tokens: IntArray, lengths: IntArray) -> None:
        """Adds tokens [B, M] that the policy did not choose, `lengths` [B] of each row."""
        ...

    def generate(
        self, active: BoolArray, max_new_tokens: int, *, avoid: IntArray | None = None
    ) -> Generation:
        """Continues the active conversations, and adds what was said to them.

        Args:
            active: [B], the conversations to continue.
            max_new_tokens: A row ends here, or after the policy's stop token.
            avoid: [B] a token that must not come first in a row, −1 for none.
        """
        ...

    def fork(self, rows: IntArray, lengths: IntArray) -> "Session":
        """New conversations that share the first `lengths[i]` tokens of row `rows[i]`.

        What was computed for these tokens is reused; the original is left as it was.
        """
        ...


@runtime_checkable
class Policy(Protocol):
    """Makes sessions. All of a policy's random numbers follow from `seed`."""

    def seed(self, seed: int) -> None:
        """Restarts the stream that tokens are drawn from."""
        ...

    def start(self, num_conversations: int) -> Session:
        """A session of empty conversations."""
        ...
