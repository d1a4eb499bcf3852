"""A vectorized environment against Gymnasium's own, step by step and bit by bit."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv, VectorWrapper
from gymnasium.wrappers.vector import NormalizeReward, RecordEpisodeStatistics

from fastrl._dispatch import Arguments
from fastrl.envs.testing.exact import Difference, difference, space_difference

AnyVectorEnv = VectorEnv[Any, Any, Any]
Flags = npt.NDArray[np.bool_]

_FUNCTION = "check_parity"
_STEPS_TO_MASKED_RESET = 97
_STEPS_TO_RESET = 2003  # beyond the limits of episodes
_SEEDS = 1000
_MAY_BE_ALLOWED = ("options_unchanged",)


@dataclass(frozen=True)
class ParityReport:
    """What was compared without a difference."""

    gymnasium_id: str
    autoreset_mode: str
    num_envs: int
    steps: int  # of all environments
    episodes: int  # that ended
    terminated: int
    truncated: int  # some of them terminated in the same step
    resets: int  # of an environment by a call of reset
    violations: tuple[str, ...] = ()  # of rules that the caller allowed to be broken


def check_parity(
    env: AnyVectorEnv,
    gymnasium_id: str,
    *,
    steps: int = 1000,
    seeds: Sequence[int] = (0,),
    actions: Callable[[int, Any, dict[str, Any]], Any] | None = None,
    allow: Collection[str] = (),
    **gymnasium_kwargs: Any,
) -> ParityReport:
    """Checks that an environment returns what Gymnasium's does: the same bits of the same types.

    The reference is a `SyncVectorEnv` of `gymnasium.make(gymnasium_id)` with as many environments
    and the same autoreset mode. Both are wrapped in `RecordEpisodeStatistics` and
    `NormalizeReward`, and reset and stepped with the same seeds and actions. Compared are the
    spaces; of each step and reset the observations, rewards, flags and infos, `final_obs`,
    `final_info` and masks among them; and in the end what the wrappers have counted. Along the way
    some environments are reset by `reset_mask`, with and without seeds; now and then, and in the
    end, all of them without a seed.

    Args:
        env: What is checked, of any library; its arrays are NumPy's. It stays open.
        gymnasium_id: The environment that it should equal.
        steps: Steps of the batch for each seed.
        seeds: Each starts `steps` steps by reset(seed=seed): environment i gets seed + i.
        actions: Gets the number of the step and the observations and infos before it, returns a
            batch of actions. None: random ones.
        allow: "options_unchanged" for environments that change the caller's `options`, as
            Gymnasium's own SyncVectorEnv and AsyncVectorEnv do; the report says so.
        **gymnasium_kwargs: Go to `gymnasium.make`.

    Returns:
        How much was compared.

    Raises:
        AssertionError: At the first difference: where it is, what was expected and what came.
    """
    arguments = Arguments(_FUNCTION)
    arguments.integer("steps", steps, low=1)
    for rule in allow:
        arguments.choice("allow", rule, _MAY_BE_ALLOWED)
    mode = env.metadata.get("autoreset_mode")
    if not isinstance(mode, AutoresetMode):
        raise arguments.error(
            "env", "have an AutoresetMode in its metadata", repr(mode), kind=TypeError
        )
    kwargs = {"disable_env_checker": True} | gymnasium_kwargs
    reference = _Reference(
        [lambda: gymnasium.make(gymnasium_id, **kwargs)] * env.num_envs, autoreset_mode=mode
    )
    try:
        comparison = _Comparison(env, reference, gymnasium_id, mode, frozenset(allow))
        comparison.compare_spaces()
        for seed in seeds:
            comparison.run(arguments.integer("seeds", seed, low=0), steps, actions)
    finally:
        reference.close()
    return comparison.report()


class _Reference(SyncVectorEnv):
    """Gymnasium's takes `reset_mask` out of the caller's options, where wrappers look for it."""

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        return super().reset(seed=seed, options=options and dict(options))


class _Tap(VectorWrapper[Any, Any, Any, Any, Any]):
    """Keeps the rewards that the wrappers outside change."""

    rewards: Any = None

    def __init__(self, env: AnyVectorEnv, allow: frozenset[str]) -> None:
        super().__init__(env)
        self.allow = allow
        self.violations: set[str] = set()

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        given = options and dict(options)
        # The wrappers outside look into the caller's dict, too.
        passed = dict(options) if options and self.allow else options
        returned = self.env.reset(seed=seed, options=passed)
        if passed != given and "options_unchanged" in self.allow:
            self.violations.add("options_unchanged")
        elif passed != given:
            changed = sorted(set(given or ()) ^ set(passed or ())) or sorted(given or ())
            raise AssertionError(
                f"{_FUNCTION}: reset must leave the caller's options as they are, "
                f"but has changed {', '.join(changed)}; allow=['options_unchanged'] allows it"
            )
        return returned

    def step(self, actions: Any) -> Any:
        returned = self.env.step(actions)
        self.rewards = np.array(returned[1])
        return returned


class _Comparison:
    """Both environments, wrapped, and how far they have come."""

    def __init__(
        self,
        env: AnyVectorEnv,
        reference: AnyVectorEnv,
        gymnasium_id: str,
        mode: AutoresetMode,
        allow: frozenset[str],
    ) -> None:
        self.env, self.reference = env, reference
        self.id, self.mode = gymnasium_id, mode
        self.taps = _Tap(reference, frozenset()), _Tap(env, allow)
        self.counts = dict.fromkeys(("steps", "episodes", "terminated", "truncated", "resets"), 0)
        self.place = ""

    def report(self) -> ParityReport:
        return ParityReport(
            self.id,
            self.mode.name.lower(),
            self.env.num_envs,
            **self.counts,
            violations=tuple(sorted(self.taps[1].violations)),
        )

    def run(
        self, seed: int, steps: int, actions: Callable[[int, Any, dict[str, Any]], Any] | None
    ) -> None:
        """One sequence of resets and steps."""
        pair = tuple(NormalizeReward(RecordEpisodeStatistics(tap)) for tap in self.taps)
        random = np.random.default_rng(seed)
        sampler = self.reference.action_space
        sampler.seed(seed)

        self.place = f"seed {seed}, reset"
        observations, infos = self.reset(pair, seed=seed)
        for step in range(1, steps + 1):
            batch = sampler.sample() if actions is None else actions(step, observations, infos)
            self.place = f"seed {seed}, step {step}"
            observations, _, terminated, truncated, infos = self.step(pair, batch)
            mask = np.zeros(self.env.num_envs, np.bool_)
            if self.mode == AutoresetMode.DISABLED:
                mask |= terminated | truncated
            if step % _STEPS_TO_MASKED_RESET == 0:
                mask |= random.random(len(mask)) < 0.25
                mask[random.integers(len(mask))] = True
            self.place = f"seed {seed}, reset after step {step}"
            if step % _STEPS_TO_RESET == 0 or step == steps:
                observations, infos = self.reset(pair)
            elif mask.any():
                # About half of the seeds are None: those environments go on with their streams.
                draws = random.integers(2 * _SEEDS, size=len(mask)).tolist()
                fresh = [draw if draw < _SEEDS else None for draw in draws]
                with_seeds = step % _STEPS_TO_MASKED_RESET == 0
                observations, infos = self.reset(pair, fresh if with_seeds else None, mask)
        self.place = f"seed {seed}, after {steps} steps"
        self.compare(_counted(pair[0]), _counted(pair[1]), "what the wrappers counted")

    def reset(self, pair: Any, seed: Any = None, mask: Flags | None = None) -> Any:
        def options() -> dict[str, Any] | None:
            return None if mask is None else {"reset_mask": mask.copy()}

        expected, got = (each.reset(seed=seed, options=options()) for each in pair)
        self.counts["resets"] += self.env.num_envs if mask is None else int(mask.sum())
        self.compare(expected[0], got[0], "observations")
        self.compare(_timeless(expected[1]), _timeless(got[1]), "infos")
        return expected

    def step(self, pair: Any, batch: Any) -> Any:
        expected, got = (each.step(batch) for each in pair)
        terminated, truncated = expected[2], expected[3]
        self.counts["steps"] += self.env.num_envs
        self.counts["episodes"] += int((terminated | truncated).sum())
        self.counts["terminated"] += int(terminated.sum())
        self.counts["truncated"] += int(truncated.sum())
        self.compare(expected[0], got[0], "observations")
        self.compare(self.taps[0].rewards, self.taps[1].rewards, "rewards")
        self.compare(terminated, got[2], "terminated")
        self.compare(truncated, got[3], "truncated")
        self.compare(_timeless(expected[4]), _timeless(got[4]), "infos")
        self.compare(expected[1], got[1], "normalized rewards")
        return expected

    def compare_spaces(self) -> None:
        self.place = "spaces"
        for name in (
            "single_observation_space",
            "observation_space",
            "single_action_space",
            "action_space",
        ):
            expected, got = getattr(self.reference, name), getattr(self.env, name)
            self.check(space_difference(expected, got, name))

    def compare(self, expected: Any, got: Any, name: str) -> None:
        self.check(difference(expected, got, name))

    def check(self, found: Difference | None) -> None:
        if found is None:
            return
        where = self.place if found.row is None else f"{self.place}, environment {found.row}"
        raise AssertionError(
            f"{_FUNCTION}: {self.id} ({self.mode.name.lower()}), {where}: "
            f"{found.path} must be {found.expected}, got {found.got}"
        )


def _timeless(infos: dict[str, Any]) -> dict[str, Any]:
    """Infos without the seconds that RecordEpisodeStatistics adds."""
    if "episode" not in infos:
        return infos
    return infos | {"episode": {key: infos["episode"][key] for key in ("r", "l")}}


def _counted(env: Any) -> dict[str, Any]:
    statistics, rewards = env.env, env.return_rms
    return {
        "returns": list(statistics.return_queue),
        "lengths": list(statistics.length_queue),
        "episodes": int(statistics.episode_count),
        "reward mean": rewards.mean,
        "reward variance": rewards.var,
        "accumulated rewards": env.accumulated_reward,
    }
