"""Token-exact records of what happened: tokens, who chose them, how likely, and in which turn."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fastrl._dispatch import argument_error
from fastrl.rollout.policy import BoolArray, FloatArray, IntArray


class Role(IntEnum):
    """What a trajectory is for."""

    BASE = 0
    """Played from the start, without guidance."""
    RETRY = 1
    """Played from the pivot on; the guidance that the policy saw is not among the tokens."""
    GUIDED = 2
    """A retry that did better, with the guidance among the tokens: teaches to follow advice."""
    REFLECTION = 3
    """A reflection whose retry did better: teaches to reflect."""


class PackedTrajectories(NamedTuple):
    """Trajectories one after the other; the arrays of N tokens mean what `Trajectories` says."""

    tokens: IntArray
    action_mask: BoolArray
    log_probs: FloatArray
    cu_seqlens: IntArray
    """[B + 1] where each trajectory starts, and the end."""


@dataclass(frozen=True, eq=False)
class Trajectories:
    """A batch of trajectories, padded on the right to the longest.

    Turn k of a trajectory is the k-th observation and the action that answers it. The log-probs are
    those of the distribution that each token was drawn from (for a retry: with the guidance in
    sight), so they are the behavior log-probs of an off-policy correction.
    """

    tokens: IntArray
    """[B, L] token ids, 0 after the end."""
    action_mask: BoolArray
    """[B, L] true where the policy chose the token."""
    log_probs: FloatArray
    """[B, L] the sampler's log-probs, 0 where `action_mask` is false."""
    lengths: IntArray
    """[B] tokens in each trajectory."""
    turn_starts: IntArray
    """[B, K] first token of each turn, −1 after the last turn."""
    rewards: FloatArray
    """[B] sum of the environment's rewards."""
    successes: BoolArray
    """[B] whether the environment reported success."""
    num_turns: IntArray
    """[B] turns played, those before the pivot included."""
    group_ids: IntArray
    """[B] the same for trajectories of the same level."""
    pivot_turns: IntArray
    """[B] the turn where the retry starts, for both members of a pair; −1 for none."""
    roles: npt.NDArray[np.int8]
    """[B] a `Role` each."""
    pairs: IntArray
    """[B] the row of the base that a retry or a guided trajectory starts from, −1 for a base."""

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, rows: npt.NDArray[np.generic]) -> "Trajectories":
        """Some of the trajectories; `pairs` still names the rows of this batch."""
        return Trajectories(
            **{field.name: getattr(self, field.name)[rows] for field in fields(self)}
        )

    def packed(self) -> PackedTrajectories:
        """The same tokens without padding."""
        used = np.arange(self.tokens.shape[1]) < self.lengths[:, None]
        cu_seqlens = np.concatenate(([0], np.cumsum(self.lengths))).astype(np.int32)
        return PackedTrajectories(
            self.tokens[used], self.action_mask[used], self.log_probs[used], cu_seqlens
        )

    @staticmethod
    def concatenate(batches: "Sequence[Trajectories]") -> "Trajectories":
        """One batch of several. `pairs` are not shifted: they name rows of the whole already."""
        if not batches:
            raise argument_error("Trajectories.concatenate", "batches", "not be empty", "[]")
        joined = {}
        for field in fields(Trajectories):
            arrays = [getattr(batch, field.name) for batch in batches]
            if arrays[0].ndim == 2:
                width = max(array.shape[1] for array in arrays)
                fill = -1 if field.name == "turn_starts" else 0
                arrays = [
                    np.pad(a, ((0, 0), (0, width - a.shape[1])), constant_values=fill)
                    for a in arrays
                ]
            joined[field.name] = np.concatenate(arrays)
        return Trajectories(**joined)


class Transcript:
    """The tokens of a batch of conversations while they grow."""

    def __init__(self, rows: int, capacity: int = 64) -> None:
        self.lengths = np.zeros(rows, np.int32)
        self._tokens = np.zeros((rows, capacity), np.int32)
        self._action_mask = np.zeros((rows, capacity), np.bool_)
        self._log_probs = np.zeros((rows, capacity), np.float32)
        self._turn_starts: list[IntArray] = []

    def begin_turn(self, active: BoolArray) -> None:
        """The next tokens of the active rows belong to a new turn."""
        self._turn_starts.append(np.where(active, self.lengths, -1).astype(np.int32))

    def append(
        self, tokens: IntArray, lengths: IntArray, log_probs: FloatArray | None = None
    ) -> None:
        """Adds tokens [B, M]; those with log-probs were chosen by the policy."""
        needed = int((self.lengths + lengths).max(initial=0))
        if needed > self._tokens.shape[1]:
            more = ((0, 0), (0, max(needed, 2 * self._tokens.shape[1]) - self._tokens.shape[1]))
            self._tokens = np.pad(self._tokens, more)
            self._action_mask = np.pad(self._action_mask, more)
            self._log_probs = np.pad(self._log_probs, more)
        given = np.arange(tokens.shape[1]) < lengths[:, None]
        row, column = np.nonzero(given)
        where = row, self.lengths[row] + column
        self._tokens[where] = tokens[given]
        if log_probs is not None:
            self._action_mask[where] = True
            self._log_probs[where] = log_probs[given]
        self.lengths += lengths.astype(np.int32)

    def fork(self, rows: IntArray, lengths: IntArray, turns: IntArray) -> "Transcript":
        """The first `lengths[i]` tokens of row `rows[i]`, which has begun `turns[i]` turns."""
        forked = Transcript(len(rows), self._tokens.shape[1])
        kept = np.arange(self._tokens.shape[1]) < lengths[:, None]
        forked.lengths = lengths.astype(np.int32)
        forked._tokens = np.where(kept, self._tokens[rows], 0)
        forked._action_mask = self._action_mask[rows] & kept
        forked._log_probs = np.where(kept, self._log_probs[rows], np.float32(0))
        forked._turn_starts = [
            np.where(turn < turns, starts[rows], -1).astype(np.int32)
            for turn, starts in enumerate(self._turn_starts[: int(turns.max(initial=0))])
        ]
        return forked

    def turn_starts(self) -> IntArray:
        """[B, K] first token of each row's turns, −1 after the last."""
        rows = len(self.lengths)
        if not self._turn_starts:
            return np.zeros((rows, 0), np.int32)
        stacked = np.stack(self._turn_starts, axis=1)
        # Rows begin turns at different calls; move each row's turns to the front, in order.
        order = np.argsort(stacked < 0, axis=1, kind="stable")
        ordered = np.take_along_axis(stacked, order, axis=1)
        return ordered[:, : int((ordered >= 0).sum(axis=1).max(initial=0))]

    def trajectories(
        self,
        *,
        rewards: FloatArray,
        successes: BoolArray,
        group_ids: IntArray,
        pivot_turns: IntArray,
        role: Role,
        pairs: IntArray,
    ) -> Trajectories:
        """What was recorded, with what the environments and the caller know about it."""
        length = int(self.lengths.max(initial=0))
        turn_starts = self.turn_starts()
        return Trajectories(
            tokens=self._tokens[:, :length].copy(),
            action_mask=self._action_mask[:, :length].copy(),
            log_probs=self._log_probs[:, :length].copy(),
            lengths=self.lengths.copy(),
            turn_starts=turn_starts,
            rewards=rewards.astype(np.float32),
            successes=successes.astype(np.bool_),
            num_turns=(turn_starts >= 0).sum(axis=1).astype(np.int32),
            group_ids=group_ids.astype(np.int32),
            pivot_turns=pivot_turns.astype(np.int32),
            roles=np.full(len(self.lengths), role, np.int8),
            pairs=pairs.astype(np.int32),
        )
