"""Who says what went wrong: a rule that searches the levels, or a model that is asked."""

from typing import Protocol

import numpy as np

from fastrl._dispatch import Arguments
from fastrl.rollout.episodes import Episodes
from fastrl.rollout.policy import IntArray, Policy
from fastrl.rollout.reflections import (
    FAILURE,
    INEFFICIENT,
    SUCCESS,
    MalformedReflectionError,
    Reflection,
    Reflections,
    parse_reflection,
)
from fastrl.rollout.trajectories import Role, Trajectories, Transcript


class Reflector(Protocol):
    """Looks at finished attempts and says where and how to try again."""

    def reflect(self, attempts: Trajectories, episodes: Episodes) -> Reflections:
        """One reflection per attempt; `episodes` holds the snapshots of every turn."""
        ...


class RuleReflector:
    """Finds the mistake by search: `envs.solve` on the snapshots of every turn.

    The pivot of a failure is the first turn after which the level cannot be solved any more; where
    it stayed solvable (time ran out), the first turn that did not bring the solution nearer. The
    advice names the action taken there, and with `suggest` also the first action of a solution.

    Args:
        suggest: Whether the advice also says what to do instead.
        inefficient: Whether successes that wasted a turn are retried too.
    """

    def __init__(self, *, suggest: bool = False, inefficient: bool = False) -> None:
        arguments = Arguments("RuleReflector")
        self.suggest = arguments.flag("suggest", suggest)
        self.inefficient = arguments.flag("inefficient", inefficient)

    def reflect(self, attempts: Trajectories, episodes: Episodes) -> Reflections:
        """One reflection per attempt, never malformed."""
        envs = episodes.envs
        if not episodes.snapshots:
            raise Arguments("RuleReflector.reflect").error(
                "episodes", "hold the snapshots of every turn", "none"
            )
        solved = [envs.solve(snapshot) for snapshot in episodes.snapshots]
        distances = np.stack([distance for distance, _ in solved], axis=1)  # [B, K + 1]
        first_actions = np.stack([first for _, first in solved], axis=1)
        actions = np.stack(episodes.actions, axis=1)  # [B, K]

        reflections = Reflections()
        for row, num_turns in enumerate(episodes.num_turns):
            success = bool(episodes.successes[row])
            pivot = _mistake(distances[row, : num_turns + 1], lost=not success)
            if success and (pivot < 0 or not self.inefficient):
                reflections.append(Reflection("solved", None, SUCCESS, None, None))
                continue
            pivot = max(pivot, 0)
            action = int(actions[row, pivot])
            words = [] if action < 0 else ["avoid", envs.action_names[action]]
            best = int(first_actions[row, pivot])
            if self.suggest and best >= 0:
                words += ["try", envs.action_names[best]]
            reflections.append(
                Reflection(
                    "solved with detours" if success else "not solved",
                    f"turn {pivot}",
                    INEFFICIENT if success else FAILURE,
                    " ".join(words) or "try again",
                    pivot,
                    avoid_action=action,
                )
            )
        return reflections


def _mistake(distances: IntArray, *, lost: bool) -> int:
    """The turn that made the level unsolvable, else the first that wasted a step, else −1."""
    before, after = distances[:-1], distances[1:]
    if lost:
        fatal = np.flatnonzero((before >= 0) & (after == -1))
        if len(fatal):
            return int(fatal[0])
    wasted = np.flatnonzero((before >= 0) & (after >= before))
    return int(wasted[0]) if len(wasted) else -1


INSTRUCTION = (
    "You are a reflector. Read the attempt below, find its root cause of failure, and answer with "
    "one JSON object that has the fields trajectory_summary, root_cause_analysis, "
    "trajectory_outcome (success, success_but_inefficient or failure), improvement_suggestion and "
    "retry_from_step (the first step to do differently).\n"
)


class ModelReflector:
    """Asks a policy for the reflection, and validates the JSON that it writes.

    What it wrote is handed on as trajectories whose action tokens are the reflection, so that
    reflections whose retry did better can be learned.

    Args:
        policy: Writes the reflections; it must be allowed the tokens of JSON.
        max_new_tokens: Of one reflection.
        instruction: Comes before the attempt.
    """

    def __init__(
        self, policy: Policy, *, max_new_tokens: int = 512, instruction: str = INSTRUCTION
    ) -> None:
        arguments = Arguments("ModelReflector")
        self.max_new_tokens = arguments.integer("max_new_tokens", max_new_tokens, low=1)
        self.policy = policy
        self.instruction = instruction

    def reflect(self, attempts: Trajectories, episodes: Episodes) -> Reflections:
        """One reflection per attempt; malformed ones are None and counted by reason."""
        from fastrl.envs import detokenize

        rows = len(attempts)
        prompts = [self._prompt(attempts, row, episodes) for row in range(rows)]
        lengths = np.array([len(prompt) for prompt in prompts], np.int32)
        padded = np.zeros((rows, int(lengths.max(initial=0))), np.int32)
        for row, prompt in enumerate(prompts):
            padded[row, : len(prompt)] = prompt
        everyone = np.ones(rows, np.bool_)
        transcript = Transcript(rows, padded.shape[1] + self.max_new_tokens)
        session = self.policy.start(rows)
        session.append(padded, lengths)
        transcript.begin_turn(everyone)
        transcript.append(padded, lengths)
        said = session.generate(everyone, self.max_new_tokens)
        transcript.append(said.tokens, said.lengths, said.log_probs)
        none = np.full(rows, -1, np.int32)
        spoken = transcript.trajectories(
            rewards=np.zeros(rows, np.float32),
            successes=np.zeros(rows, np.bool_),
            group_ids=none,
            pivot_turns=none,
            role=Role.REFLECTION,
            pairs=np.arange(rows, dtype=np.int32),
        )

        reflections = Reflections(spoken)
        vocabulary_size = len(episodes.envs.vocabulary)
        for row in range(rows):
            tokens = said.tokens[row, : said.lengths[row]]
            try:
                if tokens.min(initial=0) < 0 or tokens.max(initial=0) >= vocabulary_size:
                    raise MalformedReflectionError("bad_token", "a token has no spelling")
                turns = int(episodes.num_turns[row])
                reflections.append(parse_reflection(detokenize(tokens), num_turns=turns))
            except MalformedReflectionError as error:
                reflections.malformed[error.reason] += 1
                reflections.append(None)
        return reflections

    def _prompt(self, attempts: Trajectories, row: int, episodes: Episodes) -> IntArray:
        """The instruction, the attempt with its steps numbered, and how it ended."""
        from fastrl.envs import tokenize

        parts = [tokenize(self.instruction)]
        turns = int(episodes.num_turns[row])
        starts = [*attempts.turn_starts[row, :turns].tolist(), int(attempts.lengths[row])]
        for turn in range(turns):
            parts += [
                tokenize(f"\nStep {turn}\n"),
                attempts.tokens[row, starts[turn] : starts[turn + 1]],
            ]
        outcome = "success" if episodes.successes[row] else "failure"
        parts.append(tokenize(f"\nFeedback: {outcome}, reward {float(attempts.rewards[row]):g}\n"))
        return np.concatenate(parts).astype(np.int32)
