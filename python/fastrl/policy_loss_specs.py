"""What a policy loss is: `PolicyLossSpec`, a product of independent choices, and presets."""

from ast import literal_eval
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from types import MappingProxyType

from fastrl import _core
from fastrl._dispatch import Arguments

# The tables of the kernels, read once: torch.compile cannot trace a native function.
_RATIOS = tuple(_core.policy_loss_ratios())
_SURROGATES = tuple(_core.policy_loss_surrogates())
_KL_ESTIMATORS = tuple(_core.policy_loss_kl_estimators())

# name: (every token weighs 1 / tokens of its sequence, what the weighted sum is divided by)
AGGREGATIONS = {
    "token_mean": (False, "tokens"),
    "seq_mean_token_mean": (True, "sequences"),
    "seq_mean_token_sum": (False, "sequences"),
    "seq_mean_token_sum_norm": (False, "sequences * max_length"),
    "token_sum": (False, "one"),
}

LARGEST_NUMBER = 1e18
"""Of a hyper-parameter or a normalizer: float32 then holds its products and its reciprocal."""


@dataclass(frozen=True, kw_only=True)
class PolicyLossSpec:
    """A policy loss as a product of independent choices; change one with `dataclasses.replace`.

    A token t of a sequence has A its advantage, r its ratio, sg stop-gradient, and

        ℓ_t = surrogate_t + kl_coef · kl_t − entropy_coef · entropy_t

    Attributes:
        ratio: "token": r = π / π_old; without `old_log_probs` it is 1, with a gradient.
            "none": r = 1 with the gradient of log π, whatever the sampler was.
        surrogate: "ppo": −min(r A, clip(r, 1 − clip_low, 1 + clip_high) A).
            "reinforce": −sg(r) A log π.
            "opmd": −sg(r) A log π / (1 + opmd_tau), online policy mirror descent.
            "cispo": −sg(min(r, 1 + clip_high)) A log π. TRL's epsilon_high is 1 + clip_high.
        clip_low: Distance of the lower clip from 1, in [0, 1].
        clip_high: Distance of the upper clip from 1.
        opmd_tau: Strength τ of OPMD's regularizer.
        kl: Estimator of KL(π || π_ref) from d = log π − log π_ref, added to every token's loss:
            "none", "k1" (d), "k2" (d² / 2) or "k3" (exp(−d) + d − 1).
        kl_coef: Its coefficient. 0 with an estimator only reports the metric.
        entropy_coef: Coefficient of the entropy bonus.
        aggregation: How n_i tokens of B sequences become one number; N = Σ n_i counts unmasked
            tokens. Sequences without any count in B (pass the number that you want as
            `normalizer` for another rule); without any unmasked token the loss is 0.
            "token_mean": Σ ℓ / N.
            "seq_mean_token_mean": Σ_i (Σ_t ℓ / n_i) / B.
            "seq_mean_token_sum": Σ ℓ / B.
            "seq_mean_token_sum_norm": Σ ℓ / (B · max_length).
            "token_sum": Σ ℓ.
        max_length: The constant of "seq_mean_token_sum_norm": the most tokens a response can have.
    """

    ratio: str = "token"
    surrogate: str = "ppo"
    clip_low: float = 0.2
    clip_high: float = 0.2
    opmd_tau: float = 1.0
    kl: str = "none"
    kl_coef: float = 0.0
    entropy_coef: float = 0.0
    aggregation: str = "token_mean"
    max_length: int | None = None

    def __post_init__(self) -> None:
        check = Arguments("PolicyLossSpec")
        largest = LARGEST_NUMBER
        checked = {
            "ratio": check.choice("ratio", self.ratio, _RATIOS),
            "surrogate": check.choice("surrogate", self.surrogate, _SURROGATES),
            "kl": check.choice("kl", self.kl, _KL_ESTIMATORS),
            "aggregation": check.choice("aggregation", self.aggregation, tuple(AGGREGATIONS)),
            "clip_low": check.number("clip_low", self.clip_low, low=0.0, high=1.0),
            "clip_high": check.number("clip_high", self.clip_high, low=0.0, high=largest),
            "opmd_tau": check.number("opmd_tau", self.opmd_tau, low=0.0, high=largest),
            "kl_coef": check.number("kl_coef", self.kl_coef, low=0.0, high=largest),
            "entropy_coef": check.number(
                "entropy_coef", self.entropy_coef, low=-largest, high=largest
            ),
        }
        if self.max_length is not None:
            checked["max_length"] = check.integer(
                "max_length", self.max_length, low=1, high=2**31 - 1
            )
        if self.kl == "none" and self.kl_coef != 0.0:
            raise check.error(
                "kl_coef", "be 0 where `kl` is 'none'", self.kl_coef, hint="choose kl='k3'"
            )
        for name, value in checked.items():  # NumPy's scalars have become Python's
            object.__setattr__(self, name, value)
        # Written out rather than by json.dumps, which torch.compile cannot trace.
        values = [f"{field.name!r}: {getattr(self, field.name)!r}" for field in fields(self)]
        object.__setattr__(self, "_text", "{" + ", ".join(values) + "}")

    @property
    def text(self) -> str:
        """Everything, as one argument of the operator: torch pays for each one at every call."""
        text: str = self.__dict__["_text"]
        return text


@lru_cache(maxsize=256)
def spec_of(text: str) -> PolicyLossSpec:
    """The spec that has this `text`."""
    return PolicyLossSpec(**literal_eval(text))


_GRPO = PolicyLossSpec(aggregation="seq_mean_token_mean")
_OPMD = PolicyLossSpec(ratio="none", surrogate="opmd")

PRESETS: Mapping[str, PolicyLossSpec] = MappingProxyType(
    {
        # The first four are TRL's loss types of the same names with TRL's default clips, but for
        # dapo: its clip_high is the paper's 0.28, TRL's epsilon_high is 0.2 unless set. Where TRL
        # counts over all processes (dapo), pass that count as `normalizer`.
        "grpo": _GRPO,
        "bnpo": PolicyLossSpec(),
        "dapo": PolicyLossSpec(clip_high=0.28),
        "dr_grpo": PolicyLossSpec(aggregation="seq_mean_token_sum_norm"),
        "reinforce": PolicyLossSpec(ratio="none", surrogate="reinforce"),
        "opmd": _OPMD,
        # R³L's released objective without its KL of 0.001, which costs a reference model.
        "r3l": _OPMD,
        "r3l:code": PolicyLossSpec(ratio="none", surrogate="opmd", kl="k2", kl_coef=0.001),
        "r3l:paper": PolicyLossSpec(
            ratio="none", surrogate="reinforce", aggregation="seq_mean_token_mean"
        ),
    }
)
"""Specs by name. Dr. GRPO still needs its constant: `replace(PRESETS["dr_grpo"], max_length=…)`."""
