"""What a training run is: everything its results depend on, as plain JSON values."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from fastrl._dispatch import Arguments
from fastrl.recipes.model import TransformerConfig
from fastrl.rollout.episodes import RolloutSpec

ALGORITHMS = ("r3l", "grpo")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """What every run has; its fields are plain JSON values. Equal configs write equal logs.

    Args:
        env: Id for `fastrl.make_vec`.
        env_options: Its options.
        seed: Of all that is random.
        env_steps: Budget; training ends with the first update that reaches it.
        eval_every: Updates between evaluations.
        eval_episodes: Episodes of an evaluation; they cost no budget.
        checkpoint_every: Updates between checkpoints.
        torch_threads: Threads of torch's own kernels; results are promised for equal numbers.
    """

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """By environment, what suits it better than the defaults."""

    env: str
    env_options: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    env_steps: int
    eval_every: int
    eval_episodes: int
    checkpoint_every: int = 20
    torch_threads: int = 1

    def __post_init__(self) -> None:
        check = self._arguments
        for name, kind, wanted in (("env", str, "string"), ("env_options", dict, "dict")):
            value = getattr(self, name)
            if not isinstance(value, kind):
                raise check.error(name, f"be a {wanted}", type(value).__name__, kind=TypeError)
        check.integer("seed", self.seed, low=0)
        for name in (
            "env_steps",
            "eval_every",
            "eval_episodes",
            "checkpoint_every",
            "torch_threads",
        ):
            check.integer(name, getattr(self, name), low=1)

    @property
    def _arguments(self) -> Arguments:
        """The checks of this config's fields."""
        return Arguments(type(self).__name__)

    @property
    def target(self) -> float | None:
        """Training also ends when an evaluation reaches this; None never does."""
        return None

    @classmethod
    def tuned(cls, env: str, **changes: Any) -> Self:
        """The preset of an environment, or the defaults where there is none, with changes."""
        return cls(**({"env": env} | dict(cls.presets.get(env, {})) | changes))

    def to_json(self) -> str:
        """The config as JSON, one field a line."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The config that `to_json` wrote."""
        return cls(**json.loads(text))

    def difference(self, text: str) -> str | None:
        """How another run's JSON differs from this config, as "seed = 1 instead of 0"."""
        if text == self.to_json():
            return None
        try:
            theirs = json.loads(text)
        except ValueError:
            theirs = None
        if not isinstance(theirs, dict):
            return "something that is no config"
        ours = json.loads(self.to_json())
        return (
            ", ".join(
                f"{name} = {theirs.get(name)!r} instead of {ours.get(name)!r}"
                for name in sorted(ours.keys() | theirs.keys())
                if theirs.get(name) != ours.get(name)
            )
            or None
        )


@dataclass(frozen=True, kw_only=True)
class TrainConfig(RunConfig):
    """A training run of R³L or GRPO; see `RunConfig` for what all runs have.

    Args:
        algorithm: "r3l" or "grpo".
        env: Id of a text environment.
        env_options: Its options; `num_levels` among them.
        env_steps: Budget; steps of bases and retries count.
        eval_episodes: Attempts of an evaluation, sampled from the policy without advice.
        target_success: Training also ends when an evaluation reaches this; None never does.
        num_groups: Groups per update.
        group_size: Members of a group: attempts in GRPO, half attempts and half retries in R³L.
        learning_rate: Of AdamW.
        weight_decay: Of AdamW.
        max_grad_norm: Longer gradients are cut to this length.
        width: Of the transformer, as `num_layers` and `num_heads`.
        reflection: Whether R³L retries; False plays whole groups of attempts.
        mask_prefix: Whether turns before the pivot are left out of the loss.
        amplification: The factor α on positive advantages, 1 for none.
        guidance: How long retries see the advice; see `RolloutSpec`, as for `avoid` and `verified`.
        avoid: Whether retries are kept from beginning with the action that failed.
        verified: Which guided retries are learned.
        suggest: Whether the advice also names a right action, found by search.
        sft_coef: Weight of the verified guided retries' log-likelihood.
    """

    algorithm: str
    env_steps: int = 100_000
    eval_every: int = 5
    eval_episodes: int = 64
    target_success: float | None = None
    num_groups: int = 4
    group_size: int = 8
    learning_rate: float = 3e-3
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    width: int = 64
    num_layers: int = 2
    num_heads: int = 4
    reflection: bool = True
    mask_prefix: bool = True
    amplification: float = 3.0
    guidance: str = "turn"
    avoid: bool = True
    verified: str = "improvement"
    suggest: bool = False
    sft_coef: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check = self._arguments
        check.choice("algorithm", self.algorithm, ALGORITHMS)
        for name in ("id", "num_envs", "group_size", "autoreset_mode"):
            if name in self.env_options:
                hint = "num_groups and group_size of the run say how many there are"
                raise check.error("env_options", "leave this to the run", name, hint=hint)
        for name in ("reflection", "mask_prefix", "avoid", "suggest"):
            check.flag(name, getattr(self, name))
        check.integer("num_groups", self.num_groups, low=1)
        check.integer("group_size", self.group_size, low=2)
        for name in ("learning_rate", "max_grad_norm"):
            check.number(name, getattr(self, name), low=0, exclusive_low=True)
        for name in ("weight_decay", "sft_coef"):
            check.number(name, getattr(self, name), low=0)
        check.number("amplification", self.amplification, low=1)
        if self.target_success is not None:
            check.number("target_success", self.target_success, low=0, high=1)
        if self.retries and self.group_size % 2:
            raise check.error(
                "group_size", "be even, half attempts and half retries", self.group_size
            )

        self.rollout_spec()
        self.model_config()

    def rollout_spec(self) -> RolloutSpec:
        """How the run's attempts and retries are played."""
        return RolloutSpec(guidance=self.guidance, avoid=self.avoid, verified=self.verified)

    def model_config(self) -> TransformerConfig:
        """The sizes of the run's transformer."""
        return TransformerConfig(
            width=self.width, num_layers=self.num_layers, num_heads=self.num_heads
        )

    @property
    def target(self) -> float | None:
        """The success that also ends training."""
        return self.target_success

    @property
    def retries(self) -> bool:
        """Whether half of each group are retries."""
        return self.algorithm == "r3l" and self.reflection
