"""Reflect-then-retry rollouts (R³L), and plain groups (GRPO) played by the same code.

Half of a group plays from the start. Each attempt is reflected upon; where the reflection asks for
it, the environment is put back to the pivot by its snapshot, and the policy plays on with the
advice in its context. The retry is then recorded without the advice: base and retry are
token-identical up to the pivot's observation.
"""

from typing import Any, NamedTuple

import numpy as np

from fastrl._dispatch import Arguments
from fastrl.rollout.episodes import Episodes, Player, RolloutSpec
from fastrl.rollout.policy import IntArray, Policy, Session
from fastrl.rollout.reflections import SUCCESS, Reflection, Reflections, check_reflections
from fastrl.rollout.reflectors import Reflector
from fastrl.rollout.trajectories import Role, Trajectories, Transcript

Metrics = dict[str, float]


class GroupRollout:
    """Plays every environment once from the start: groups of `envs.group_size` on the same level.

    Args:
        policy: Chooses the tokens.
        envs: A `fastrl.make_vec` environment with autoreset_mode="disabled".
        spec: How to play.
    """

    def __init__(self, policy: Policy, envs: Any, spec: RolloutSpec | None = None) -> None:
        from gymnasium.vector import AutoresetMode

        # Any other mode starts new episodes under the hands of the rollout, which loses successes.
        mode = getattr(envs, "metadata", {}).get("autoreset_mode")
        if mode != AutoresetMode.DISABLED:
            raise Arguments(type(self).__name__).error(
                "envs", 'be made with autoreset_mode="disabled"', mode
            )
        self.policy = policy
        self.envs = envs
        self.spec = spec or RolloutSpec()

    def collect(self, seed: int) -> tuple[Trajectories, Metrics]:
        """One batch of trajectories, and counts of what happened.

        Args:
            seed: Of the levels, the environments' luck and the policy's tokens.
        """
        attempts = self._attempt(seed, keep_snapshots=False)
        return attempts.trajectories, _base_metrics(attempts)

    def _attempt(self, seed: int, *, keep_snapshots: bool) -> "_Attempts":
        Arguments(f"{type(self).__name__}.collect").integer("seed", seed, low=0)
        envs = self.envs
        self.policy.seed(seed)
        observations, _ = envs.reset(seed=seed)
        rows = envs.num_envs
        session = self.policy.start(rows)
        transcript = Transcript(rows)
        player = Player(
            envs, np.arange(rows), session, [transcript], self.spec, keep_snapshots=keep_snapshots
        )
        episodes = player.finish(observations, envs.observation_lengths)
        trajectories = transcript.trajectories(
            rewards=episodes.total_rewards(),
            successes=episodes.successes,
            group_ids=np.arange(rows) // envs.group_size,
            pivot_turns=np.full(rows, -1),
            role=Role.BASE,
            pairs=np.full(rows, -1),
        )
        return _Attempts(trajectories, episodes, session, transcript)


class _Attempts(NamedTuple):
    """Finished attempts, and what a retry goes on from."""

    trajectories: Trajectories
    episodes: Episodes
    session: Session
    transcript: Transcript


class ReflectThenRetry(GroupRollout):
    """Plays half of each group from the start, and retries attempts where a reflection says so.

    A batch holds bases and retries (their group is the base's), guided trajectories of the verified
    retries (they succeed, with more reward or in fewer turns than their base), and verified
    reflections if a model wrote them: those of verified retries, and those that rightly judged an
    attempt a success. Bases that were retried carry the pivot, too.

    Args:
        policy: Chooses the tokens.
        envs: As many environments as bases, `group_size` of them on the same level.
        reflector: Looks at all attempts of a batch at once.
        spec: How to play.
    """

    def __init__(
        self, policy: Policy, envs: Any, reflector: Reflector, spec: RolloutSpec | None = None
    ) -> None:
        super().__init__(policy, envs, spec)
        self.reflector = reflector

    def collect(self, seed: int) -> tuple[Trajectories, Metrics]:
        """One batch of trajectories, and counts of what happened; see `GroupRollout.collect`."""
        attempts = self._attempt(seed, keep_snapshots=True)
        bases = attempts.trajectories
        metrics = _base_metrics(attempts)
        reflections = self.reflector.reflect(bases, attempts.episodes)
        check_reflections(type(self.reflector).__name__, reflections, bases, self.envs)
        metrics |= {"reflections": len(reflections), "malformed": reflections.malformed.total()}
        for reason, count in sorted(reflections.malformed.items()):
            metrics[f"malformed_{reason}"] = count
        metrics |= dict.fromkeys(
            ("retries", "retry_env_steps", "retry_successes", "improvements", "verified"), 0
        )
        chosen = {
            row: reflection
            for row, reflection in enumerate(reflections)
            if reflection is not None and reflection.wants_retry
        }
        parts, confirmed = [bases], _confirmed(bases, reflections)
        if chosen:
            retried, verified = self._retried(attempts, chosen, metrics)
            parts += retried
            confirmed = np.union1d(confirmed, verified)
        if reflections.spoken is not None:
            metrics["verified_reflections"] = len(confirmed)
            parts.append(reflections.spoken[confirmed])
        return Trajectories.concatenate(parts), metrics

    def _retried(
        self, attempts: _Attempts, chosen: dict[int, Reflection], metrics: Metrics
    ) -> tuple[list[Trajectories], IntArray]:
        """The retries and guided trajectories of some attempts; the rows of verified retries."""
        bases = attempts.trajectories
        rows = np.array(list(chosen), np.int32)
        advice = list(chosen.values())
        pivots = np.array([reflection.retry_from_step for reflection in advice], np.int32)
        bases.pivot_turns[rows] = pivots
        retries, distilled, guided = self._retry(attempts, rows, pivots, advice)

        rewards = retries.total_rewards(attempts.episodes.rewards_before(rows, pivots))
        improved = rewards > bases.rewards[rows]
        verified = improved
        if self.spec.verified == "success":
            faster = pivots + retries.num_turns < bases.num_turns[rows]
            verified = retries.successes & (improved | faster)
        metrics["retries"] = len(rows)
        metrics["retry_env_steps"] = retries.env_steps
        metrics["env_steps"] += retries.env_steps
        metrics["retry_successes"] = int(retries.successes.sum())
        metrics["improvements"] = int(improved.sum())
        metrics["verified"] = int(verified.sum())

        shared: dict[str, Any] = {
            "rewards": rewards,
            "successes": retries.successes,
            "group_ids": bases.group_ids[rows],
            "pivot_turns": pivots,
            "pairs": rows,
        }
        parts = [distilled.trajectories(**shared, role=Role.RETRY)]
        if self.spec.guidance != "none":
            parts.append(guided.trajectories(**shared, role=Role.GUIDED)[verified])
        return parts, rows[verified]

    def _retry(
        self, attempts: _Attempts, rows: IntArray, pivots: IntArray, advice: list[Reflection]
    ) -> tuple[Episodes, Transcript, Transcript]:
        """Plays on from the pivots of some attempts; records it without and with the advice."""
        spec = self.spec
        self._restore(attempts.episodes, rows, pivots)
        # Where the pivot's observation has been read: it stands in the retry once, as in the base.
        decisions = np.stack(attempts.episodes.decisions, axis=1)[rows, pivots]
        distilled = attempts.transcript.fork(rows, decisions, pivots + 1)
        guided = attempts.transcript.fork(rows, decisions, pivots + 1)
        session = attempts.session.fork(rows, decisions)
        aside = None
        if spec.guidance != "none":
            told, lengths = self._guidance(advice)
            guided.append(told, lengths)
            if spec.guidance == "turn":
                aside = session.fork(np.arange(len(rows), dtype=np.int32), decisions)
            (session if aside is None else aside).append(told, lengths)
        player = Player(self.envs, rows.astype(np.int64), session, [distilled, guided], spec)
        shown = player.act(avoid=self._avoided(advice), aside=aside)
        if spec.guidance == "turn":
            player.transcripts = [distilled]
        return player.finish(*shown), distilled, guided

    def _restore(self, episodes: Episodes, rows: IntArray, pivots: IntArray) -> None:
        """Puts the environments of these attempts back to the state before their pivots."""
        by_turn = [
            (episodes.snapshots[pivot], rows[pivots == pivot]) for pivot in np.unique(pivots)
        ]
        states = [snapshot[ids.astype(np.int64)] for snapshot, ids in by_turn]
        ids = np.concatenate([ids for _, ids in by_turn])
        self.envs.restore(
            type(states[0]).concatenate(states), ids=ids.astype(np.int64), rng=self.spec.retry_rng
        )

    def _guidance(self, advice: list[Reflection]) -> tuple[IntArray, IntArray]:
        """The advice as padded tokens behind the <guidance> mark, and their lengths."""
        from fastrl.envs import tokenize

        mark = np.array([self.envs.vocabulary.index("<guidance>")], np.int32)
        told = [
            np.concatenate((mark, tokenize(reflection.improvement_suggestion or "")))
            for reflection in advice
        ]
        lengths = np.array([len(tokens) for tokens in told], np.int32)
        padded = np.zeros((len(told), int(lengths.max())), np.int32)
        for row, tokens in enumerate(told):
            padded[row, : len(tokens)] = tokens
        return padded, lengths

    def _avoided(self, advice: list[Reflection]) -> IntArray | None:
        """The first token that each retry must not say, −1 where no action was named."""
        if not self.spec.avoid:
            return None
        actions = np.array([reflection.avoid_action for reflection in advice])
        tokens = np.asarray(self.envs.action_tokens, np.int32)
        return np.where(actions >= 0, tokens[actions], np.int32(-1)).astype(np.int32)


def _confirmed(bases: Trajectories, reflections: Reflections) -> IntArray:
    """The successful attempts that their reflection judged a success."""
    judged = [reflection and reflection.trajectory_outcome == SUCCESS for reflection in reflections]
    return np.flatnonzero(bases.successes & np.array(judged, np.bool_)).astype(np.int32)


def _base_metrics(attempts: _Attempts) -> Metrics:
    bases, env_steps = attempts.trajectories, attempts.episodes.env_steps
    return {
        "bases": len(bases),
        "base_successes": int(bases.successes.sum()),
        "base_reward": float(bases.rewards.astype(np.float64).mean()),
        "base_env_steps": env_steps,
        "env_steps": env_steps,
    }
