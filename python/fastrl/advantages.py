"""Advantages: of the steps of a rollout, and of whole trajectories over their group.

CPU arrays run C++, CUDA tensors run Triton without a host synchronization where there is a kernel
(`gae` has none). Advantages are constants of the loss: nothing here is differentiated.
"""

import numpy as np

from fastrl import _core
from fastrl._dispatch import (
    INTEGERS,
    MASKS,
    Arguments,
    Array,
    address,
    backend,
    contiguous,
    device_name,
    dtype_name,
    empty,
    is_torch,
    on_device_of,
)

_REWARDS = ("float32", "float64")
_BASELINES = ("mean", "leave_one_out", "none")
_SCALES = ("group", "batch", "none")


def gae(
    rewards: Array,
    values: Array,
    next_values: Array,
    terminated: Array,
    truncated: Array,
    *,
    gamma: float,
    lambda_: float,
    stepped: Array | None = None,
) -> Array:
    """Generalized advantage estimates of a rollout.

        δ_t = r_t + γ (1 - terminated_t) v(s'_t) - v(s_t)
        A_t = δ_t + γ λ (1 - terminated_t) (1 - truncated_t) A_{t+1},    A_T = 0

    s'_t is the state that action t led to, before any reset. A truncated step therefore still
    bootstraps from its own next state, and nothing leaks from the next episode. `next_values` is
    not read where `terminated` is set, so it may hold anything there, even NaN.

    Where `stepped` is false the environment took no step: the row counts as not there. Its
    advantage is 0, none of its other entries is read, and A_{t+1} of the row before it is that of
    the row after it. Such rows come from environments left out of a step, and from autoreset:

        SAME_STEP  every row is a step. s'_t is `final_obs` where an episode ended, which
                   `next_values` must be computed from.
        NEXT_STEP  the step after an episode's end only resets: stepped_t is
                   ~(terminated_{t-1} | truncated_{t-1}), across rollouts too. s'_t is the
                   observation that step t returned, so `next_values[:-1]` is `values[1:]`.
        DISABLED   every row is a step as long as whoever ended is reset before the next one.

    Sums run back in time in the dtype of `rewards`; no bit depends on the other environments or
    the number of threads.

    Args:
        rewards: [T, B] float32 or float64, of T steps in B environments.
        values: [T, B], dtype of `rewards`, v(s_t).
        next_values: [T, B], dtype of `rewards`, v(s'_t).
        terminated: [T, B] bool or uint8, as returned by the step with the same index.
        truncated: [T, B] bool or uint8, likewise.
        gamma: Discount, in [0, 1].
        lambda_: In [0, 1]; 0 gives TD errors, 1 gives discounted returns minus values.
        stepped: [T, B] bool or uint8, or None where every row is a step.

    Returns:
        [T, B] advantages, dtype, framework and device of `rewards`; `advantages + values` are the
        λ-returns that values are fitted to (where `stepped`).

    Raises:
        NotImplementedError: `rewards` is on a GPU, which has no kernel for this.

    Reference: Schulman et al., "High-Dimensional Continuous Control Using Generalized Advantage
    Estimation", 2016, equation 16; the bootstrap at truncation: Pardo et al., "Time Limits in
    Reinforcement Learning", 2018. Specification: `fastrl.reference.advantages.gae`.
    """
    check = Arguments("gae")
    check.array("rewards", rewards, ["T", "B"], _REWARDS)
    dtype = dtype_name(rewards)
    check.array("values", values, ["T", "B"], [dtype])
    check.array("next_values", next_values, ["T", "B"], [dtype])
    flags = {"terminated": terminated, "truncated": truncated, "stepped": stepped}
    for name, flag in flags.items():
        if flag is not None or name != "stepped":
            check.array(name, flag, ["T", "B"], MASKS)
    gamma = check.number("gamma", gamma, low=0.0, high=1.0)
    lambda_ = check.number("lambda_", lambda_, low=0.0, high=1.0)
    if device_name(rewards) != "cpu":
        raise check.error(
            "rewards",
            "be on the CPU, as gae has no GPU kernel",
            device_name(rewards),
            kind=NotImplementedError,
            hint="move all of its arrays with `.cpu()`",
        )
    # Under names: the copies of strided views have to live until the call has ended.
    rewards, values, next_values = map(contiguous, (rewards, values, next_values))
    terminated, truncated = contiguous(terminated), contiguous(truncated)
    stepped = None if stepped is None else contiguous(stepped)
    advantages = empty(rewards, rewards.shape)
    _core.gae(
        check.size("T"),
        check.size("B"),
        dtype == "float64",
        address(rewards),
        address(values),
        address(next_values),
        address(terminated),
        address(truncated),
        address(stepped),
        gamma,
        lambda_,
        address(advantages),
    )
    return advantages


def group_advantages(
    rewards: Array,
    group_ids: Array,
    *,
    baseline: str = "mean",
    scale: str = "group",
    eps: float = 1e-4,
    unbiased: bool = True,
) -> Array:
    """How much better each trajectory did than the others of its group.

        A_i = (r_i - b_i) / (σ_i + eps)

        b_i   "mean": the mean of the group; "leave_one_out": the mean of its other members;
              "none": 0
        σ_i   "group": the standard deviation of the group's rewards; "batch": of all rewards;
              "none": no division

    A group may have any size and its members may stand anywhere. Rewards without spread (all
    equal, or only one) are never divided, and their distance to a baseline is exactly 0: a group
    of equal rewards gets exact zeros. A single member has no others: with "mean" its advantage is
    0, with "leave_one_out" (and "none") it keeps its reward.

    On the CPU a reward that is not finite is an error; on a GPU, where looking would cost a
    synchronization, it makes the advantages of its group (with "batch": of all) NaN. Sums are in
    float64. On the CPU the order of the members changes no bit; on a GPU it may change the last
    bit of the float64 sums, and repeated runs are bitwise equal.
    Float64 rewards whose squares overflow (beyond 1e150) have no variance to divide by.

    Args:
        rewards: [B] float32 or float64.
        group_ids: [B] int32 or int64, any numbers: equal numbers are one group.
        baseline: What a reward is compared with.
        scale: What the difference is divided by.
        eps: Added to the standard deviation, at least 0.
        unbiased: Whether the variance divides by n - 1 rather than n.

    Returns:
        [B] advantages, dtype, framework and device of `rewards`.

    Reference: Shao et al., "DeepSeekMath", 2024, section 4.1 (mean, group); Ahmadian et al., "Back
    to Basics", 2024 (leave_one_out); Liu et al., "Understanding R1-Zero-Like Training", 2025
    (no scale). Specification: `fastrl.reference.advantages.group_advantages`.
    """
    check = Arguments("group_advantages")
    check.array("rewards", rewards, ["B"], _REWARDS)
    check.array("group_ids", group_ids, ["B"], INTEGERS)
    check.choice("baseline", baseline, _BASELINES)
    check.choice("scale", scale, _SCALES)
    eps = check.number("eps", eps, low=0.0)
    unbiased = check.flag("unbiased", unbiased)
    rewards, group_ids = contiguous(rewards), contiguous(group_ids, "int64")
    advantages = empty(rewards, rewards.shape)
    if is_torch(rewards) and backend(rewards) == "triton":
        from fastrl.kernels.advantages import launch_group_advantages

        with on_device_of(rewards):
            launch_group_advantages(rewards, group_ids, advantages, baseline, scale, eps, unbiased)
    else:
        _core.group_advantages(
            address(rewards),
            address(group_ids),
            check.size("B"),
            str(rewards.dtype).endswith("64"),
            _BASELINES.index(baseline),
            _SCALES.index(scale),
            eps,
            unbiased,
            address(advantages),
        )
    return advantages


def positive_amplification(
    advantages: Array,
    rewards: Array,
    *,
    alpha: float = 3.0,
    success_threshold: float | str = 1.0,
    success_value: float | str = "alpha",
    group_ids: Array | None = None,
) -> Array:
    """Advantages in which successes outweigh the failures around them.

        Â_i = alpha · max(1, A_i)    where r_i ≥ success_threshold
              alpha · A_i            elsewhere where A_i ≥ 0
              A_i                    elsewhere

    Within a group Â never decreases as the reward grows, whatever the signs of the rewards and
    the advantages of `group_advantages`. A group of equal failures has A = 0 and stays exactly 0.
    Success is worth at least `alpha` even where everybody succeeds and A is 0.

    Other readings of the paper are options. `success_value=1.0` gives every success that number:
    the authors' released code (there a failure just below the threshold can get more than a
    success). `success_threshold="group_max", success_value=alpha` is the paper's equation: the
    best of each group succeed, so that a group of equal failures is rewarded as well.

    Args:
        advantages: [B] float32 or float64, as from `group_advantages`.
        rewards: [B], dtype of `advantages`.
        alpha: The factor, at least 0.
        success_threshold: The least reward of a success, rounded to the dtype of `rewards`, or
            "group_max".
        success_value: "alpha" as above, or the value of every success.
        group_ids: [B] int32 or int64; given if and only if `success_threshold` is "group_max".

    Returns:
        [B], dtype, framework and device of `advantages`. On the CPU, input that is not finite is
        an error; on a GPU a NaN advantage stays NaN and a NaN reward is a failure.

    Reference: Shi et al., "R³L: Reflect-then-Retry Reinforcement Learning with Language-Guided
    Exploration, Pivotal Credit, and Positive Amplification", 2026, section 4.3. Specification:
    `fastrl.reference.advantages.positive_amplification`.
    """
    check = Arguments("positive_amplification")
    check.array("advantages", advantages, ["B"], _REWARDS)
    check.array("rewards", rewards, ["B"], [str(advantages.dtype).removeprefix("torch.")])
    alpha = check.number("alpha", alpha, low=0.0)
    threshold = _success_threshold(check, success_threshold, rewards)
    success_is_alpha = isinstance(success_value, str)
    if success_is_alpha:
        check.choice("success_value", success_value, ["alpha"])
        value = 0.0
    else:
        value = check.number("success_value", success_value)
    if (group_ids is None) == (threshold is None):
        needed = "be given" if group_ids is None else "be None"
        raise check.error(
            "group_ids",
            f"{needed} when `success_threshold` is {success_threshold!r}",
            "None" if group_ids is None else "an array",
        )
    if group_ids is not None:
        check.array("group_ids", group_ids, ["B"], INTEGERS)
        group_ids = contiguous(group_ids, "int64")
    advantages, rewards = contiguous(advantages), contiguous(rewards)
    amplified = empty(advantages, advantages.shape)
    if is_torch(advantages) and backend(advantages) == "triton":
        from fastrl.kernels.advantages import launch_positive_amplification

        with on_device_of(advantages):
            launch_positive_amplification(
                advantages, rewards, group_ids, amplified, alpha, threshold or 0.0,
                None if success_is_alpha else value,
            )  # fmt: skip
    else:
        _core.positive_amplification(
            address(advantages),
            address(rewards),
            address(group_ids),
            check.size("B"),
            str(advantages.dtype).endswith("64"),
            alpha,
            threshold or 0.0,
            success_is_alpha,
            value,
            address(amplified),
        )
    return amplified


def _success_threshold(check: Arguments, threshold: object, rewards: Array) -> float | None:
    """The threshold in the precision of the rewards: 0.7 must reach 0.7. None for "group_max"."""
    if isinstance(threshold, str):
        check.choice("success_threshold", threshold, ["group_max"])
        return None
    value = check.number("success_threshold", threshold)
    if str(rewards.dtype).endswith("64"):
        return value
    return float(np.float32(value))
