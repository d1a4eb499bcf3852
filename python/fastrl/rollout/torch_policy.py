"""A policy in this process: a torch decoder with a key/value cache, sampled in batches."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch

from fastrl._dispatch import Arguments
from fastrl.rollout.policy import BoolArray, FloatArray, Generation, IntArray


class KeyValueCache:
    """Keys and values of every layer, and where each row's next tokens go.

    Rows have their own lengths. A row's stale entries beyond its length are never attended to:
    position p may only look at positions up to p, and these are written before they are read.
    """

    def __init__(self, model: "Decoder", rows: int, capacity: int) -> None:
        shape = (model.num_layers, rows, model.num_heads, capacity, model.head_size)
        # Zeros, not empty: attention multiplies masked values by exact zeros, and 0 · NaN is NaN.
        self.keys = torch.zeros(shape)
        self.values = torch.zeros(shape)
        self.positions = torch.empty(0)
        self.mask = torch.empty(0)
        self._rows = torch.empty(0)
        self._every_row = True
        self._end = 0

    @property
    def capacity(self) -> int:
        """Tokens that fit in a row."""
        return self.keys.shape[3]

    def aim(self, rows: torch.Tensor, positions: torch.Tensor) -> None:
        """Chooses the rows [R] and the positions [R, M] that the next pass will write."""
        self.positions = positions
        self._rows = rows
        self._every_row = len(rows) == self.keys.shape[1]
        self._end = int(positions.max()) + 1
        self.mask = torch.arange(self._end) <= positions[:, None, :, None]  # [R, 1, M, S]

    def extend(
        self, layer: int, keys: torch.Tensor, values: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Writes one layer's new keys and values [R, H, M, D]; returns all of them [R, H, S, D]."""
        where = (self._rows[:, None], slice(None), self.positions)
        found = []
        for store, new in ((self.keys[layer], keys), (self.values[layer], values)):
            store[where] = new.transpose(1, 2)
            used = store[:, :, : self._end]
            found.append(used if self._every_row else used[self._rows])
        return found[0], found[1]

    def grow(self, capacity: int) -> None:
        """Makes room for longer rows."""
        shape = list(self.keys.shape)
        shape[3] = capacity - self.capacity
        self.keys = torch.cat((self.keys, torch.zeros(shape)), dim=3)
        self.values = torch.cat((self.values, torch.zeros(shape)), dim=3)


class Decoder(Protocol):
    """The model that `TorchPolicy` runs, such as `fastrl.recipes.model.Transformer`."""

    num_layers: int
    num_heads: int
    head_size: int
    head: torch.nn.Linear

    def __call__(self, tokens: torch.Tensor, cache: KeyValueCache | None = None) -> torch.Tensor:
        """Hidden states [B, M, H] of tokens [B, M]."""
        ...


class TorchPolicy:
    """A `Policy` over a decoder on the CPU.

    Args:
        model: The decoder; its weights are read at every call, so training it trains the policy.
        temperature: Divides the logits, in (0, ∞).
        allowed_tokens: The only tokens that may be said; None allows the whole vocabulary.
        stop_token: Ends a row of `generate`; None never does.
        seed: Of the tokens' random numbers.
    """

    def __init__(
        self,
        model: Decoder,
        *,
        temperature: float = 1.0,
        allowed_tokens: Sequence[int] | None = None,
        stop_token: int | None = None,
        seed: int = 0,
    ) -> None:
        arguments = Arguments("TorchPolicy")
        self.temperature = arguments.number("temperature", temperature, low=0, exclusive_low=True)
        vocabulary = model.head.weight.shape[0]
        if allowed_tokens is None:
            allowed_tokens = range(vocabulary)
        if len(allowed_tokens) == 0:
            raise arguments.error("allowed_tokens", "name at least one token", "none")
        for token in allowed_tokens:
            arguments.integer("allowed_tokens", token, low=0, high=vocabulary - 1)
        if stop_token is not None and stop_token not in allowed_tokens:
            raise arguments.error("stop_token", "be one of `allowed_tokens`", stop_token)
        self.model = model
        self.allowed_tokens = torch.tensor(sorted({int(token) for token in allowed_tokens}))
        self.stop_token = stop_token
        self._generator = torch.Generator()
        self.seed(seed)

    def seed(self, seed: int) -> None:
        """Restarts the stream that tokens are drawn from."""
        self._generator.manual_seed(seed)

    def start(self, num_conversations: int) -> "TorchSession":
        """A session of empty conversations."""
        return TorchSession(self, num_conversations)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits [..., number of allowed tokens] of hidden states [..., H]."""
        return torch.nn.functional.linear(hidden, self.model.head.weight[self.allowed_tokens])

    def uniform(self, rows: int) -> torch.Tensor:
        """The next random numbers, one for every row of the batch, asked or not."""
        return torch.rand(rows, generator=self._generator, dtype=torch.float64)


class TorchSession:
    """Conversations with a `TorchPolicy`. Tokens wait until the next `generate` reads them."""

    def __init__(self, policy: TorchPolicy, num_conversations: int, capacity: int = 64) -> None:
        self._policy = policy
        self._tokens = np.zeros((num_conversations, capacity), np.int64)
        self._lengths = np.zeros(num_conversations, np.int64)
        self._cached = np.zeros(num_conversations, np.int64)
        self._cache = KeyValueCache(policy.model, num_conversations, capacity)

    @property
    def lengths(self) -> IntArray:
        """[B] tokens in each conversation."""
        return self._lengths.astype(np.int32)

    def tokens(self, row: int) -> IntArray:
        """All tokens of one conversation."""
        return self._tokens[row, : self._lengths[row]].astype(np.int32)

    def append(self, tokens: IntArray, lengths: IntArray) -> None:
        """Adds tokens [B, M] that the policy did not choose, `lengths` [B] of each row."""
        arguments = Arguments("TorchSession.append")
        rows = len(self._lengths)
        arguments.array("tokens", tokens, (rows, "M"), ("int32", "int64"))
        arguments.array("lengths", lengths, (rows,), ("int32", "int64"))
        if lengths.min(initial=0) < 0 or lengths.max(initial=0) > tokens.shape[1]:
            raise arguments.error("lengths", f"be from 0 to {tokens.shape[1]}", lengths.tolist())
        self._reserve(int((self._lengths + lengths).max(initial=0)))
        given = np.arange(tokens.shape[1]) < lengths[:, None]
        row, column = np.nonzero(given)
        self._tokens[row, self._lengths[row] + column] = tokens[given]
        self._lengths += lengths

    @torch.no_grad()
    def generate(
        self, active: BoolArray, max_new_tokens: int, *, avoid: IntArray | None = None
    ) -> Generation:
        """Continues the active conversations; see `Session.generate`."""
        arguments = Arguments("TorchSession.generate")
        num_rows = len(self._lengths)
        arguments.array("active", active, (num_rows,), ("bool",))
        arguments.integer("max_new_tokens", max_new_tokens, low=1)
        if avoid is not None:
            arguments.array("avoid", avoid, (num_rows,), ("int32", "int64"))
            if len(self._policy.allowed_tokens) < 2:
                raise arguments.error(
                    "avoid", "be None where only one token is allowed", "an array"
                )
        if np.any(self._lengths[active] == 0):
            raise arguments.error("active", "name conversations with at least one token", "empty")
        said = np.zeros((num_rows, max_new_tokens), np.int32)
        said_log_probs = np.zeros((num_rows, max_new_tokens), np.float32)
        said_lengths = np.zeros(num_rows, np.int32)
        rows = np.flatnonzero(active)
        for step in range(max_new_tokens):
            noise = self._policy.uniform(num_rows)
            if len(rows) == 0:
                continue  # the stream moves on alike, whoever still speaks
            chosen, log_probs = self._sample(rows, noise, avoid if step == 0 else None)
            self._tokens[rows, self._lengths[rows]] = chosen
            self._lengths[rows] += 1
            said[rows, step] = chosen
            said_log_probs[rows, step] = log_probs
            said_lengths[rows] += 1
            if self._policy.stop_token is not None:
                rows = rows[chosen != self._policy.stop_token]
        return Generation(said, said_lengths, said_log_probs)

    def fork(self, rows: IntArray, lengths: IntArray) -> "TorchSession":
        """New conversations from the first `lengths[i]` tokens of row `rows[i]`."""
        arguments = Arguments("TorchSession.fork")
        arguments.array("rows", rows, ("R",), ("int32", "int64"))
        arguments.array("lengths", lengths, ("R",), ("int32", "int64"))
        if len(rows) and not (rows.min() >= 0 and rows.max() < len(self._lengths)):
            raise arguments.error("rows", f"be from 0 to {len(self._lengths) - 1}", rows.tolist())
        if np.any(lengths < 0) or np.any(lengths > self._lengths[rows]):
            raise arguments.error(
                "lengths",
                "be at most the rows' own lengths",
                f"{lengths.tolist()} of {self._lengths[rows].tolist()}",
            )
        forked = TorchSession(self._policy, len(rows), 1)
        forked._tokens = self._tokens[rows]
        forked._lengths = lengths.astype(np.int64)
        forked._cached = np.minimum(self._cached[rows], forked._lengths)
        index = torch.from_numpy(rows.astype(np.int64))
        forked._cache.keys = self._cache.keys.index_select(1, index)
        forked._cache.values = self._cache.values.index_select(1, index)
        return forked

    def _reserve(self, needed: int) -> None:
        if needed > self._cache.capacity:
            capacity = max(needed, 2 * self._cache.capacity)
            self._cache.grow(capacity)
            more = np.zeros((len(self._tokens), capacity - self._tokens.shape[1]), np.int64)
            self._tokens = np.concatenate((self._tokens, more), axis=1)

    def _sample(
        self, rows: np.ndarray, noise: torch.Tensor, avoid: IntArray | None
    ) -> tuple[np.ndarray, FloatArray]:
        """Reads the waiting tokens of some rows and draws one token for each by inversion."""
        policy = self._policy
        # The last token is always read again where nothing waits, since its logits are needed.
        starts = np.minimum(self._cached[rows], self._lengths[rows] - 1)
        waiting = self._lengths[rows] - starts
        # Rows with less to read go on past their end, where nothing looks before it is rewritten.
        positions = starts[:, None] + np.arange(waiting.max())
        self._reserve(int(positions.max()) + 2)  # and room for the token to come
        self._cache.aim(torch.from_numpy(rows), torch.from_numpy(positions))
        tokens = torch.from_numpy(self._tokens[rows[:, None], positions])
        hidden = policy.model(tokens, self._cache)
        self._cached[rows] = self._lengths[rows]

        last = hidden[torch.arange(len(rows)), torch.from_numpy(waiting - 1)]
        scores = policy.logits(last) / policy.temperature
        if avoid is not None:
            banned = torch.from_numpy(avoid[rows].astype(np.int64))
            scores = scores.masked_fill(policy.allowed_tokens == banned[:, None], -torch.inf)
        log_probs = scores.log_softmax(dim=-1)
        cumulative = log_probs.double().exp().cumsum(dim=-1)
        index = torch.searchsorted(
            cumulative, noise[torch.from_numpy(rows)][:, None] * cumulative[:, -1:], right=True
        ).clamp_(max=cumulative.shape[1] - 1)
        chosen = policy.allowed_tokens[index[:, 0]]
        return chosen.numpy(), log_probs.gather(1, index)[:, 0].numpy()
