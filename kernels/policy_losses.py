"""Policy losses over tokens: ratio, surrogate and KL estimator with closed-form gradients.

Math      loss = Σ_t weight_t (surrogate_t + kl_coef kl_t - entropy_coef entropy_t) / denominator;
          weight_t is 1, or 1 / (unmasked tokens of its sequence). The formulas of the choices are
          in fastrl.policy_losses; each is one function here and one row of `surrogate` or `kl`.
Shapes    N tokens in B sequences, every per-token array [N] and contiguous. Sequences are N / B
          tokens each, or lie between consecutive cu_seqlens [B + 1].
Cost      at most 4 B read per input and token, 1 B of mask, 4 B written per gradient:
          bandwidth-bound. Two launches, three where weights depend on the sequence.
          Masked tokens are not read.
Numerics  float32 a token, float32 sums of 1024 tokens in a fixed tree, float64 sums of those; no
          atomics, so repeated runs are bitwise equal.
Limits    one program counts the tokens of a sequence: few, very long sequences leave the GPU idle
          in that launch. cu_seqlens is not checked, but never read or followed out of bounds.
"""

import triton
import triton.language as tl

BLOCK = 1024

# The statistics, in the order of csrc/ops/policy_losses.h.
LOSS = tl.constexpr(0)
POLICY_LOSS = tl.constexpr(1)
TOKENS = tl.constexpr(2)
ADVANTAGE = tl.constexpr(3)
RATIO_MEAN = tl.constexpr(4)
CLIPPED_LOW = tl.constexpr(5)
CLIPPED_HIGH = tl.constexpr(6)
KL_TO_OLD = tl.constexpr(7)
KL_TO_BEHAVIOR = tl.constexpr(8)
KL_TO_REF = tl.constexpr(9)
ENTROPY = tl.constexpr(10)
NUM_STATISTICS = tl.constexpr(11)


# A surrogate gives its loss, the derivative in log_prob (the ratio's own included), and 1 where
# its lower and its upper clip acted.
@triton.jit
def surrogate_reinforce(log_prob, ratio, advantage, clip_low, clip_high, opmd_tau):
    gradient = -ratio * advantage
    nowhere = tl.zeros_like(ratio)
    return gradient * log_prob, gradient, nowhere, nowhere


@triton.jit
def surrogate_opmd(log_prob, ratio, advantage, clip_low, clip_high, opmd_tau):
    gradient = -ratio * advantage / (1.0 + opmd_tau)
    nowhere = tl.zeros_like(ratio)
    return gradient * log_prob, gradient, nowhere, nowhere


@triton.jit
def surrogate_ppo(log_prob, ratio, advantage, clip_low, clip_high, opmd_tau):
    low = 1.0 - clip_low
    high = 1.0 + clip_high
    # Comparisons rather than minimum and maximum, which would drop NaN.
    clipped = tl.where(ratio < low, low, ratio)
    clipped = tl.where(clipped > high, high, clipped)
    free_gain = ratio * advantage
    clipped_gain = clipped * advantage
    clipped_low = (advantage < 0.0) & (ratio < low)
    clipped_high = (advantage > 0.0) & (ratio > high)
    loss = tl.where(clipped_gain < free_gain, -clipped_gain, -free_gain)
    gradient = tl.where(clipped_low | clipped_high, 0.0, -free_gain)
    return loss, gradient, clipped_low.to(tl.float32), clipped_high.to(tl.float32)


@triton.jit
def surrogate_cispo(log_prob, ratio, advantage, clip_low, clip_high, opmd_tau):
    clipped_high = ratio > 1.0 + clip_high
    gradient = -tl.where(clipped_high, 1.0 + clip_high, ratio) * advantage
    return gradient * log_prob, gradient, tl.zeros_like(ratio), clipped_high.to(tl.float32)


@triton.jit
def surrogate(
    SURROGATE: tl.constexpr, log_prob, ratio, advantage, clip_low, clip_high, opmd_tau
):  # fmt: skip
    if SURROGATE == "reinforce":
        return surrogate_reinforce(log_prob, ratio, advantage, clip_low, clip_high, opmd_tau)
    elif SURROGATE == "opmd":
        return surrogate_opmd(log_prob, ratio, advantage, clip_low, clip_high, opmd_tau)
    elif SURROGATE == "ppo":
        return surrogate_ppo(log_prob, ratio, advantage, clip_low, clip_high, opmd_tau)
    elif SURROGATE == "cispo":
        return surrogate_cispo(log_prob, ratio, advantage, clip_low, clip_high, opmd_tau)
    else:
        tl.static_assert(False, "policy_loss: unknown surrogate")


@triton.jit
def _exp_minus_one(x):
    """The power series near 0, where exp(x) - 1 would cancel."""
    near = 1.0 + x * (1.0 / 7.0)
    near = 1.0 + x * (1.0 / 6.0) * near
    near = 1.0 + x * (1.0 / 5.0) * near
    near = 1.0 + x * (1.0 / 4.0) * near
    near = 1.0 + x * (1.0 / 3.0) * near
    near = x * (1.0 + x * 0.5 * near)
    return tl.where(tl.abs(x) < 0.35, near, tl.exp(x) - 1.0)


@triton.jit
def kl(KL: tl.constexpr, d):
    """An estimate of KL(π || π_ref) from d = log π - log π_ref, and its derivative in d."""
    if KL == "none":
        return tl.zeros_like(d), tl.zeros_like(d)
    elif KL == "k1":
        return d, tl.full(d.shape, 1.0, tl.float32)
    elif KL == "k2":
        return 0.5 * d * d, d
    elif KL == "k3":
        minus_one = _exp_minus_one(-d)
        return minus_one + d, -minus_one
    else:
        tl.static_assert(False, "policy_loss: unknown KL estimator")


@triton.jit
def _sequence_of(tokens, cu_seqlens_ptr, num_sequences, length, search_steps):
    """The sequence that holds each token: a division, or a binary search where they are packed."""
    if cu_seqlens_ptr is None:
        return tokens // length
    low = tl.zeros_like(tokens)  # cu_seqlens[low] <= token
    high = low + num_sequences  # token < cu_seqlens[high], if that is the end
    for _ in range(search_steps):
        middle = (low + high) // 2
        begun = tl.load(cu_seqlens_ptr + middle) <= tokens
        low = tl.where(begun, middle, low)
        high = tl.where(begun, high, middle)
    return low


@triton.jit(do_not_specialize=["num_tokens", "length"])
def policy_loss_count_kernel(
    mask_ptr, cu_seqlens_ptr, inverse_counts_ptr, num_tokens, length, BLOCK: tl.constexpr
):  # fmt: skip
    sequence = tl.program_id(0).to(tl.int64)
    if cu_seqlens_ptr is None:
        begin = sequence * length
        end = begin + length
    else:
        begin = tl.maximum(tl.load(cu_seqlens_ptr + sequence).to(tl.int64), 0)
        end = tl.minimum(tl.load(cu_seqlens_ptr + sequence + 1).to(tl.int64), num_tokens)
    offs = tl.arange(0, BLOCK)
    counts = tl.zeros([BLOCK], tl.int32)
    for start in range(begin, end, BLOCK):
        tokens = start + offs
        keep = tl.load(mask_ptr + tokens, mask=tokens < end, other=0) != 0
        counts += keep.to(tl.int32)
    count = tl.sum(counts, 0).to(tl.float32)
    tl.store(inverse_counts_ptr + sequence, 1.0 / tl.maximum(count, 1.0))


@triton.jit(do_not_specialize=["num_tokens", "num_sequences", "length", "search_steps"])
def policy_loss_fwd_kernel(
    log_probs_ptr, advantages_ptr, mask_ptr, old_log_probs_ptr, behavior_log_probs_ptr,
    ref_log_probs_ptr, entropies_ptr, cu_seqlens_ptr, inverse_counts_ptr,
    log_prob_gradients_ptr, entropy_gradients_ptr, partials_ptr,
    num_tokens, num_sequences, length, search_steps,
    clip_low, clip_high, opmd_tau, kl_coef, entropy_coef,
    RATIO: tl.constexpr, SURROGATE: tl.constexpr, KL: tl.constexpr,
    ADVANTAGES_PER_TOKEN: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0).to(tl.int64)
    tokens = program * BLOCK + tl.arange(0, BLOCK)  # [BLOCK]
    inside = tokens < num_tokens
    keep = tl.load(mask_ptr + tokens, mask=inside, other=0) != 0
    kept = keep.to(tl.float32)

    if not ADVANTAGES_PER_TOKEN or inverse_counts_ptr is not None:
        sequence = _sequence_of(
            tl.where(inside, tokens, 0), cu_seqlens_ptr, num_sequences, length, search_steps
        )
    if ADVANTAGES_PER_TOKEN:
        advantage = tl.load(advantages_ptr + tokens, mask=keep, other=0.0)
    else:
        advantage = tl.load(advantages_ptr + sequence, mask=keep, other=0.0)
    if inverse_counts_ptr is None:
        weight = kept
    else:
        weight = tl.load(inverse_counts_ptr + sequence, mask=keep, other=0.0)

    log_prob = tl.load(log_probs_ptr + tokens, mask=keep, other=0.0)
    log_ratio = log_prob - log_prob  # 0, or NaN where log π is not finite
    one = tl.exp(log_ratio)
    if old_log_probs_ptr is not None:
        log_ratio = log_prob - tl.load(old_log_probs_ptr + tokens, mask=keep, other=0.0)
    old_ratio = tl.exp(log_ratio)
    ratio = old_ratio
    if RATIO == "none":
        ratio = one
    policy_loss, gradient, clipped_low, clipped_high = surrogate(
        SURROGATE, log_prob, ratio, advantage, clip_low, clip_high, opmd_tau
    )
    ref_log_ratio = tl.zeros_like(log_prob)
    if ref_log_probs_ptr is not None:
        ref_log_ratio = log_prob - tl.load(ref_log_probs_ptr + tokens, mask=keep, other=0.0)
    kl_to_ref, kl_gradient = kl(KL, ref_log_ratio)
    entropy = tl.zeros_like(log_prob)
    if entropies_ptr is not None:
        entropy = tl.load(entropies_ptr + tokens, mask=keep, other=0.0)
    kl_to_behavior = tl.zeros_like(log_prob)
    if behavior_log_probs_ptr is not None:
        behavior = tl.load(behavior_log_probs_ptr + tokens, mask=keep, other=0.0)
        kl_to_behavior = _exp_minus_one(log_prob - behavior) - (log_prob - behavior)

    if log_prob_gradients_ptr is not None:
        gradient = tl.where(keep, weight * (gradient + kl_coef * kl_gradient), 0.0)
        tl.store(log_prob_gradients_ptr + tokens, gradient, mask=inside)
    if entropy_gradients_ptr is not None:
        tl.store(entropy_gradients_ptr + tokens, -entropy_coef * weight, mask=inside)

    total = policy_loss + kl_coef * kl_to_ref - entropy_coef * entropy
    blocks = tl.num_programs(0).to(tl.int64)
    partials_ptr += program
    tl.store(partials_ptr + LOSS * blocks, tl.sum(weight * total, 0))
    tl.store(partials_ptr + POLICY_LOSS * blocks, tl.sum(weight * policy_loss, 0))
    tl.store(partials_ptr + TOKENS * blocks, tl.sum(kept, 0))
    tl.store(partials_ptr + ADVANTAGE * blocks, tl.sum(advantage, 0))
    tl.store(partials_ptr + RATIO_MEAN * blocks, tl.sum(kept * old_ratio, 0))
    tl.store(partials_ptr + CLIPPED_LOW * blocks, tl.sum(kept * clipped_low, 0))
    tl.store(partials_ptr + CLIPPED_HIGH * blocks, tl.sum(kept * clipped_high, 0))
    kl_to_old = _exp_minus_one(log_ratio) - log_ratio
    tl.store(partials_ptr + KL_TO_OLD * blocks, tl.sum(kl_to_old, 0))
    tl.store(partials_ptr + KL_TO_BEHAVIOR * blocks, tl.sum(kl_to_behavior, 0))
    tl.store(partials_ptr + KL_TO_REF * blocks, tl.sum(kl_to_ref, 0))
    tl.store(partials_ptr + ENTROPY * blocks, tl.sum(entropy, 0))


@triton.jit(do_not_specialize=["blocks"])
def policy_loss_finish_kernel(
    partials_ptr, normalizer_ptr, loss_ptr, statistics_ptr, scale_ptr, blocks, denominator,
    COUNT_TOKENS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    rows = tl.arange(0, 16)
    columns = tl.arange(0, BLOCK)
    row_ptrs = partials_ptr + rows.to(tl.int64)[:, None] * blocks  # [16, 1]
    sums = tl.zeros([16, BLOCK], tl.float64)
    for start in range(0, blocks, BLOCK):
        valid = (rows < NUM_STATISTICS)[:, None] & (start + columns < blocks)[None, :]
        partial = tl.load(row_ptrs + (start + columns)[None, :], mask=valid, other=0.0)
        sums += partial.to(tl.float64)
    totals = tl.sum(sums, 1)  # [16]
    num_tokens = tl.sum(tl.where(rows == TOKENS, totals, 0.0), 0)

    divisor = num_tokens
    if not COUNT_TOKENS:
        divisor = tl.full([], 1.0, tl.float64)
    divisor *= denominator
    if normalizer_ptr is not None:
        divisor *= tl.load(normalizer_ptr).to(tl.float64)
    valid = (divisor > 0.0) & (divisor < float("inf"))
    scale = tl.where(valid, 1.0 / tl.where(valid, divisor, 1.0), float("nan"))
    scale = tl.where(num_tokens == 0.0, 0.0, scale)
    values = tl.where(rows <= POLICY_LOSS, totals * scale, totals / tl.maximum(num_tokens, 1.0))
    values = tl.where(rows == TOKENS, totals, values).to(tl.float32)
    tl.store(statistics_ptr + rows, values, mask=rows < NUM_STATISTICS)
    tl.store(loss_ptr, tl.sum(tl.where(rows == LOSS, values, 0.0), 0))
    tl.store(scale_ptr, scale.to(tl.float32))


def policy_loss(
    log_probs, advantages, mask, old_log_probs, behavior_log_probs, ref_log_probs, entropies,
    cu_seqlens, normalizer, loss, statistics, scale, log_prob_gradients, entropy_gradients,
    partials, inverse_counts, *, num_sequences, advantages_per_token, ratio, surrogate, kl,
    clip_low, clip_high, opmd_tau, kl_coef, entropy_coef, mean_over_sequence, count_tokens,
    denominator,
):  # fmt: skip
    """Launches the kernels; absent tensors are None.

    The workspaces are partials [NUM_STATISTICS, ⌈N / BLOCK⌉] and inverse_counts [B].
    """
    num_tokens = log_probs.numel()
    length = num_tokens // max(num_sequences, 1)
    blocks = triton.cdiv(num_tokens, BLOCK)
    if not mean_over_sequence:
        inverse_counts = None
    if blocks and mean_over_sequence:
        policy_loss_count_kernel[(num_sequences,)](
            mask, cu_seqlens, inverse_counts, num_tokens, length, BLOCK=4096, num_warps=8
        )
    if blocks:
        policy_loss_fwd_kernel[(blocks,)](
            log_probs, advantages, mask, old_log_probs, behavior_log_probs, ref_log_probs,
            entropies, cu_seqlens, inverse_counts, log_prob_gradients, entropy_gradients, partials,
            num_tokens, num_sequences, length, num_sequences.bit_length(),
            clip_low, clip_high, opmd_tau, kl_coef, entropy_coef,
            RATIO=ratio, SURROGATE=surrogate, KL=kl, ADVANTAGES_PER_TOKEN=advantages_per_token,
            BLOCK=BLOCK, num_warps=4,
        )  # fmt: skip
    policy_loss_finish_kernel[(1,)](
        partials, normalizer, loss, statistics, scale, blocks, denominator,
        COUNT_TOKENS=count_tokens, BLOCK=128, num_warps=4,
    )  # fmt: skip
