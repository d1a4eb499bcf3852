"""One pass of a policy through a batch of environments, turn by turn, on exact tokens."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from fastrl._dispatch import Arguments
from fastrl.rollout.policy import BoolArray, FloatArray, IntArray, Session
from fastrl.rollout.trajectories import Transcript

Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RolloutSpec:
    """How attempts and retries are played.

    Args:
        max_action_tokens: Tokens that an action may take.
        guidance: How long a retry's advice stands in the context that it is sampled from: for the
            whole "episode", for the pivot's "turn" only, or never ("none").
        avoid: Whether a retry is kept from beginning with the very action that failed, where the
            reflector named it. This is advice that a policy follows before it can read.
        verified: Which retries are worth learning to follow: those with a "success" (by more reward
            or in fewer turns than their base), or every "improvement" in reward.
        retry_rng: The random stream of a restored environment: "restore" repeats the base's luck,
            "keep" goes on with the environment's own, "fork" takes a new one.
    """

    max_action_tokens: int = 1
    guidance: str = "episode"
    avoid: bool = True
    verified: str = "success"
    retry_rng: str = "fork"

    def __post_init__(self) -> None:
        arguments = Arguments("RolloutSpec")
        arguments.integer("max_action_tokens", self.max_action_tokens, low=1)
        arguments.choice("guidance", self.guidance, ("episode", "turn", "none"))
        arguments.flag("avoid", self.avoid)
        arguments.choice("verified", self.verified, ("success", "improvement"))
        arguments.choice("retry_rng", self.retry_rng, ("restore", "keep", "fork"))


@dataclass
class Episodes:
    """What one pass left behind, apart from the tokens. R conversations, K turns so far.

    Environment `env_ids[i]` is the one of conversation i.
    """

    envs: Any
    env_ids: npt.NDArray[np.int64]
    num_turns: IntArray
    rewards: list[Float64Array] = field(default_factory=list)
    """Per turn, [R]."""
    actions: list[IntArray] = field(default_factory=list)
    """Per turn, [R], −1 for malformed ones."""
    decisions: list[IntArray] = field(default_factory=list)
    """Per turn, [R] tokens of each conversation when the observation had been read."""
    snapshots: list[Any] = field(default_factory=list)
    """Before each turn and after the last one, of all R environments; empty unless asked for."""
    successes: BoolArray = field(default_factory=lambda: np.zeros(0, np.bool_))
    env_steps: int = 0

    def total_rewards(self, before: Float64Array | None = None) -> FloatArray:
        """[R] sums over the turns, on top of what came before them."""
        total = np.zeros(len(self.env_ids)) if before is None else before
        for rewards in self.rewards:
            total = total + rewards
        return total.astype(np.float32)

    def rewards_before(self, rows: IntArray, turns: IntArray) -> Float64Array:
        """[n] sums over the first `turns[i]` turns of row `rows[i]`.

        They are added in the order of `total_rewards`, so that equal rewards have equal totals.
        """
        total = np.zeros(len(rows))
        for turn, rewards in enumerate(self.rewards):
            total = total + np.where(turn < turns, rewards[rows], 0)
        return total


class Player:
    """Plays conversations in environments; every transcript given gets the same new tokens."""

    def __init__(
        self,
        envs: Any,
        env_ids: npt.NDArray[np.int64],
        session: Session,
        transcripts: Sequence[Transcript],
        spec: RolloutSpec,
        *,
        keep_snapshots: bool = False,
    ) -> None:
        self._spec = spec
        self._session = session
        self.transcripts = transcripts
        self._keep_snapshots = keep_snapshots
        self._marker = action_marker(envs)
        self.active = np.ones(len(env_ids), np.bool_)
        self.episodes = Episodes(
            envs,
            env_ids,
            np.zeros(len(env_ids), np.int32),
            successes=np.zeros(len(env_ids), np.bool_),
        )
        self._snapshot()

    def _snapshot(self) -> None:
        if self._keep_snapshots:
            self.episodes.snapshots.append(self.episodes.envs.snapshot(self.episodes.env_ids))

    def _tell(self, tokens: IntArray, lengths: IntArray) -> None:
        self._session.append(tokens, lengths)
        for transcript in self.transcripts:
            transcript.append(tokens, lengths)

    def observe(self, observations: IntArray, lengths: IntArray) -> None:
        """Begins a turn with what the active environments [B] show."""
        ids = self.episodes.env_ids
        for transcript in self.transcripts:
            transcript.begin_turn(self.active)
        shown = np.where(self.active, lengths[ids], 0).astype(np.int32)
        self._tell(observations[ids, : int(shown.max(initial=0))], shown)
        self.episodes.decisions.append(np.asarray(self._session.lengths))

    def act(
        self, *, avoid: IntArray | None = None, aside: Session | None = None
    ) -> tuple[IntArray, IntArray]:
        """Answers the observation; returns the next observations and their lengths.

        Args:
            avoid: [R] a token that must not come first, −1 for none.
            aside: A session to ask instead, which knows more; this one is told what was said.
        """
        episodes, spec, active = self.episodes, self._spec, self.active
        envs, ids = episodes.envs, episodes.env_ids
        marker = np.tile(self._marker, (len(ids), 1)), active.astype(np.int32)
        self._tell(*marker)
        if aside is None:
            said = self._session.generate(active, spec.max_action_tokens, avoid=avoid)
        else:
            aside.append(*marker)
            said = aside.generate(active, spec.max_action_tokens, avoid=avoid)
            self._session.append(said.tokens, said.lengths)
        for transcript in self.transcripts:
            transcript.append(said.tokens, said.lengths, said.log_probs)

        actions = np.full(envs.num_envs, -1, np.int32)
        actions[ids[active]] = envs.parse_action_tokens(said.tokens[active], said.lengths[active])
        stepping = np.zeros(envs.num_envs, np.bool_)
        stepping[ids[active]] = True
        observations, rewards, terminated, truncated, infos = envs.step(actions, active=stepping)
        episodes.env_steps += int(active.sum())
        episodes.num_turns += active
        episodes.actions.append(actions[ids])
        episodes.rewards.append(np.where(active, rewards[ids], 0.0))
        episodes.successes |= active & infos["success"][ids].astype(np.bool_)
        self.active = active & ~(terminated | truncated)[ids]
        self._snapshot()
        return observations, envs.observation_lengths

    def finish(self, observations: IntArray, lengths: IntArray) -> Episodes:
        """Plays on until every environment has ended."""
        while self.active.any():
            self.observe(observations, lengths)
            observations, lengths = self.act()
        return self.episodes


def action_marker(envs: Any) -> IntArray:
    """[1] the token that asks for an action."""
    return np.array([envs.vocabulary.index("<action>")], np.int32)
