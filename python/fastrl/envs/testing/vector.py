"""`check_vector_env`: does a vectorized environment keep the rules that training loops rely on?"""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from gymnasium.vector import AutoresetMode, VectorEnv

from fastrl._dispatch import Arguments
from fastrl.envs.testing.checks import VectorEnvCheck
from fastrl.envs.testing.rules import RULES


@dataclass(frozen=True)
class VectorEnvReport:
    """What `check_vector_env` looked at.

    Attributes:
        environment: The environment's repr.
        autoreset_mode: Its mode.
        steps: Of the rollout whose returned values were looked at one by one.
        episodes: That ended in it.
        checked: The rules that hold.
        violations: What is wrong with rules that the caller allowed to fail, by rule.
        not_applicable: Why a rule says nothing about this environment, by rule.
    """

    environment: str
    autoreset_mode: AutoresetMode
    steps: int
    episodes: int
    checked: tuple[str, ...]
    violations: dict[str, str] = field(default_factory=dict)
    not_applicable: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [
            f"{self.environment}, {self.autoreset_mode.name}: {self.episodes} episodes ended in "
            f"{self.steps} steps",
            *(f"  holds           {rule}: {RULES[rule]}" for rule in self.checked),
            *(f"  VIOLATED        {rule}: {text}" for rule, text in self.violations.items()),
            *(f"  not applicable  {rule}: {why}" for rule, why in self.not_applicable.items()),
        ]
        return "\n".join(lines)


def check_vector_env(
    env: VectorEnv[Any, Any, Any],
    *,
    seed: int = 0,
    steps: int = 200,
    allow: Collection[str] = (),
    close: bool = True,
) -> VectorEnvReport:
    """Checks a `gymnasium.vector.VectorEnv`, anyone's, against the rules in `RULES`.

    It resets the environment and steps it with random actions some eight times over, so let
    episodes be short: the rules about their ends need some that end within `steps`. The seconds
    that RecordEpisodeStatistics writes into infos are not compared. Arrays of torch and others are
    looked at as NumPy arrays.

    Args:
        env: At least two environments; with one, fewer rules can be checked.
        seed: Of the rollouts and the actions.
        steps: Of each long rollout.
        allow: Rules that may be broken; how they are is in the report. "other_seed" for an
            environment without randomness, "options_unchanged" for Gymnasium's own SyncVectorEnv
            and AsyncVectorEnv, which take "reset_mask" out of the caller's dict.
        close: Whether to close the environment in the end, to check that.

    Raises:
        AssertionError: With the rule, the step and the environment of the first violation.
    """
    arguments = Arguments("check_vector_env")
    kind = type(env).__name__
    if not issubclass(type(env), VectorEnv):
        raise arguments.error("env", "be a gymnasium.vector.VectorEnv", kind, kind=TypeError)
    arguments.integer("seed", seed, low=0)
    arguments.integer("steps", steps, low=1)
    for rule in allow:
        arguments.choice("allow", rule, list(RULES))
    closes = arguments.flag("close", close)
    check = VectorEnvCheck(env, int(seed), int(steps), frozenset(allow))
    check.run(closes)
    broken = {*check.violations, *check.not_applicable}
    return VectorEnvReport(
        str(env),
        env.metadata["autoreset_mode"],
        check.steps,
        sum(int(moment.ended.sum()) for moment in check.moments if not moment.is_reset),
        tuple(rule for rule in RULES if rule not in broken),
        check.violations,
        check.not_applicable,
    )
