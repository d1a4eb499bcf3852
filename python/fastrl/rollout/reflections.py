"""The reflection on an attempt: five fields of JSON, validated before anything is paid for."""

import json
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

from fastrl._dispatch import Arguments
from fastrl.rollout.trajectories import Trajectories

SUCCESS = "success"
INEFFICIENT = "success_but_inefficient"
FAILURE = "failure"
OUTCOMES = (SUCCESS, INEFFICIENT, FAILURE)

# What the tokens of the environments can spell; JSON escapes can write any other character.
_SPELLABLE = re.compile(r"[\n -~]*")


class MalformedReflectionError(ValueError):
    """A reflection that cannot be used; `reason` is the short name under which it is counted."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Reflection:
    """What went wrong, what to do instead, and where to start again.

    The JSON has the first five fields. `avoid_action` is known to rules only: the action that
    failed at the pivot, which the sampler can be kept from repeating; −1 for none.
    """

    trajectory_summary: str
    root_cause_analysis: str | None
    trajectory_outcome: str
    improvement_suggestion: str | None
    retry_from_step: int | None
    avoid_action: int = -1

    @property
    def wants_retry(self) -> bool:
        """True unless the attempt is judged to be a plain success."""
        return self.trajectory_outcome != SUCCESS

    def to_json(self) -> str:
        """The five fields as JSON, as `parse_reflection` reads them."""
        return json.dumps(
            {
                "trajectory_summary": self.trajectory_summary,
                "root_cause_analysis": self.root_cause_analysis,
                "trajectory_outcome": self.trajectory_outcome,
                "improvement_suggestion": self.improvement_suggestion,
                "retry_from_step": self.retry_from_step,
            }
        )


def parse_reflection(text: str, *, num_turns: int) -> Reflection:
    """Reads a reflection from what a model wrote.

    The JSON object runs from the first `{` to the last `}`. An attempt that is not judged a success
    needs an improvement suggestion, and a pivot 0 ≤ retry_from_step < num_turns that is a JSON
    integer: 2.5, "3" and true are refused.

    Args:
        text: What the model wrote.
        num_turns: Turns of the attempt.

    Raises:
        MalformedReflectionError: With the reason no_json, bad_json, missing_field, bad_field,
            bad_outcome, no_suggestion, bad_text (a suggestion that no tokens spell) or bad_pivot.
    """
    Arguments("parse_reflection").integer("num_turns", num_turns, low=0)
    start, end = text.find("{"), text.rfind("}")
    if start < 0 or end < start:
        raise MalformedReflectionError("no_json", "the reflection holds no JSON object")
    try:
        report = json.loads(text[start : end + 1])
    except (ValueError, RecursionError) as error:
        raise MalformedReflectionError(
            "bad_json", f"the reflection is not JSON: {error}"
        ) from error
    return _validated(report, num_turns)


def _validated(report: dict[str, Any], num_turns: int) -> Reflection:
    for name in ("trajectory_summary", "root_cause_analysis", "trajectory_outcome"):
        if name not in report:
            raise MalformedReflectionError("missing_field", f"the reflection has no `{name}`")
    summary = _text(report, "trajectory_summary")
    if summary is None:
        raise MalformedReflectionError("bad_field", "`trajectory_summary` must be text, got None")
    cause = _text(report, "root_cause_analysis")
    suggestion = _text(report, "improvement_suggestion")
    outcome = report["trajectory_outcome"]
    if outcome not in OUTCOMES:
        raise MalformedReflectionError(
            "bad_outcome", f"`trajectory_outcome` must be one of {OUTCOMES}, got {outcome!r}"
        )
    if outcome == SUCCESS:
        return Reflection(summary, cause, outcome, suggestion, None)
    if not suggestion:
        raise MalformedReflectionError(
            "no_suggestion", f"a {outcome} needs `improvement_suggestion`"
        )
    if not spellable(suggestion):
        raise MalformedReflectionError(
            "bad_text",
            f"`improvement_suggestion` must be printable ASCII and newlines, got {suggestion!r}",
        )
    pivot = report.get("retry_from_step")
    if type(pivot) is not int or not 0 <= pivot < num_turns:
        raise MalformedReflectionError(
            "bad_pivot",
            f"`retry_from_step` must be an integer from 0 to {num_turns - 1}, got {pivot!r}",
        )
    return Reflection(summary, cause, outcome, suggestion, pivot)


def _text(report: dict[str, Any], name: str) -> str | None:
    value = report.get(name)
    if not (value is None or isinstance(value, str)):
        raise MalformedReflectionError("bad_field", f"`{name}` must be text, got {value!r}")
    return value


def spellable(text: str) -> bool:
    """Whether tokens can say this text to a policy."""
    return _SPELLABLE.fullmatch(text) is not None


class Reflections(list[Reflection | None]):
    """One reflection per attempt, None for malformed ones, which `malformed` counts by reason.

    `spoken` holds the tokens of a model's reflections, one row per attempt; None for a rule's.
    """

    def __init__(self, spoken: Trajectories | None = None) -> None:
        super().__init__()
        self.spoken = spoken
        self.malformed: Counter[str] = Counter()


def check_reflections(
    reflector: str, reflections: object, attempts: Trajectories, envs: Any
) -> None:
    """Refuses what a retry cannot be played from, before anything is paid for.

    Args:
        reflector: Named in the errors.
        reflections: What it returned.
        attempts: What it was shown.
        envs: Where the retries will be played.
    """
    arguments = Arguments(f"{reflector}.reflect")
    if not isinstance(reflections, Reflections):
        raise arguments.error(
            "return value", "be Reflections", type(reflections).__name__, kind=TypeError
        )
    rows = len(attempts)
    for what, given in (("return value", reflections), ("spoken", reflections.spoken)):
        if given is not None and len(given) != rows:
            raise arguments.error(what, f"hold one row for each of {rows} attempts", len(given))
    for row, reflection in enumerate(reflections):
        if reflection is None:
            continue
        arguments = Arguments(f"{reflector}.reflect, attempt {row}")
        if not isinstance(reflection, Reflection):
            raise arguments.error(
                "reflection", "be a Reflection or None", type(reflection).__name__, kind=TypeError
            )
        arguments.choice("trajectory_outcome", reflection.trajectory_outcome, OUTCOMES)
        if not reflection.wants_retry:
            continue
        last_turn = int(attempts.num_turns[row]) - 1
        arguments.integer("retry_from_step", reflection.retry_from_step, low=0, high=last_turn)
        arguments.integer(
            "avoid_action", reflection.avoid_action, low=-1, high=envs.num_actions - 1
        )
        suggestion = reflection.improvement_suggestion
        if not (suggestion is None or (isinstance(suggestion, str) and spellable(suggestion))):
            raise arguments.error(
                "improvement_suggestion", "be printable ASCII and newlines", repr(suggestion)
            )
