"""Log-probability, entropy and self-certainty of every row of a logits matrix, and their gradient.

Math      y = softcap tanh(x / softcap), or x without softcap; d_j = (y_j - max y) / temperature;
          sum = Σ_j exp d_j and log_sum its logarithm;
          log_prob = d_token - log_sum; entropy = log_sum - Σ_j p_j d_j;
          self_certainty = log_sum - mean_j d_j - log V.
          With g, h, s the gradients of the three:
          ∂d_j = p_j (s - g + h (log_sum - entropy - d_j)) + g [j = token] - s / V.
Shapes    logits [rows, V] with unit stride in V; row r starts at
          (r // rows_inner) stride_outer + (r % rows_inner) stride_inner. Per-row arrays are [rows].
Cost      forward V reads, backward V reads and V writes; one exponential an element in each.
          A row whose mask is 0, or whose gradients are all 0, is not read.
Numerics  float32. Each lane keeps its own running maximum and sums, joined once a row, so repeated
          runs are bitwise equal. A logit of -inf has probability 0 and gradient 0. Rows that hold
          NaN, +inf or nothing but -inf give NaN.
Limits    one program a row: few rows leave the GPU idle. A token id outside [0, V) reads nothing
          and gives a NaN log-prob and gradient; with TRITON_DEBUG=1 it stops the kernel.
"""

import triton
import triton.language as tl

# The lowest finite float32, where every running maximum starts.
LOWEST = tl.constexpr(-3.4028234663852886e38)
# exp(-FLOOR) is 0 in float32, and 0 times ±FLOOR is 0, which 0 times infinity is not.
FLOOR = tl.constexpr(1.0e4)


def block_of(vocab_size):
    """Columns a program takes at a time, and its warps: 16 elements a thread on long rows."""
    block = min(4096, max(128, triton.next_power_of_2(vocab_size)))
    return block, max(1, block // 512)


@triton.jit
def _tanh(x):
    """Odd polynomial near 0, where 1 - 2 / (exp(2x) + 1) would cancel; else that form."""
    square = x * x
    near = -5.70498872745e-3
    near = near * square + 2.06390887954e-2
    near = near * square - 5.37397155531e-2
    near = near * square + 1.33314422036e-1
    near = near * square - 3.33332819422e-1
    near = x + x * square * near
    far = 1.0 - 2.0 / (tl.exp(2.0 * tl.abs(x)) + 1.0)
    return tl.where(square < 0.390625, near, tl.where(x < 0.0, -far, far))


@triton.jit
def _bounded(d):
    """Into [-FLOOR, FLOOR]; NaN stays."""
    d = tl.where(d < -FLOOR, -FLOOR, d)
    return tl.where(d > FLOOR, FLOOR, d)


@triton.jit
def _row_start(row, rows_inner, stride_outer, stride_inner):
    return (row // rows_inner) * stride_outer + (row % rows_inner) * stride_inner


@triton.jit(do_not_specialize=["rows_inner"])
def token_log_probs_fwd_kernel(
    logits_ptr, token_ids_ptr, mask_ptr,
    log_probs_ptr, entropies_ptr, self_certainties_ptr, origins_ptr, sums_ptr,
    vocab_size, rows_inner, stride_outer, stride_inner, inverse_temperature, softcap,
    HAS_MASK: tl.constexpr, HAS_SOFTCAP: tl.constexpr,
    ENTROPY: tl.constexpr, SELF_CERTAINTY: tl.constexpr, BLOCK_V: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    if HAS_MASK:  # noqa: SIM102 (`and` would load where there is no mask)
        if tl.load(mask_ptr + row) == 0:
            tl.store(log_probs_ptr + row, 0.0)
            if ENTROPY:
                tl.store(entropies_ptr + row, 0.0)
            if SELF_CERTAINTY:
                tl.store(self_certainties_ptr + row, 0.0)
            tl.store(origins_ptr + row, 0.0)
            tl.store(sums_ptr + row, 0.0)
            return
    token = tl.load(token_ids_ptr + row).to(tl.int64)
    inside = (token >= 0) & (token < vocab_size)
    tl.device_assert(inside, "token_log_probs: `token_ids` must be in [0, V)")
    logits_row_ptr = logits_ptr + _row_start(row, rows_inner, stride_outer, stride_inner)

    columns = tl.arange(0, BLOCK_V)
    peak = tl.full([BLOCK_V], LOWEST, tl.float32)  # the largest y of this lane so far
    total = tl.zeros([BLOCK_V], tl.float32)  # Σ exp((y - peak) / temperature)
    weighted = tl.zeros([BLOCK_V], tl.float32)  # Σ exp(…) (y - peak) / temperature
    plain = tl.zeros([BLOCK_V], tl.float32)  # Σ (y - peak)
    for start in range(0, vocab_size, BLOCK_V):
        valid = start + columns < vocab_size
        y = tl.load(logits_row_ptr + start + columns, mask=valid, other=-float("inf"))
        y = y.to(tl.float32)
        if HAS_SOFTCAP:
            y = tl.where(valid, softcap * _tanh(y / softcap), -float("inf"))
        # One exponential serves both cases: where y is a new peak it rescales the sums, and where
        # it is not it is the new term.
        step = y - peak
        rises = step > 0
        if SELF_CERTAINTY:
            added = tl.where(rises, -step * (start // BLOCK_V), step)
            plain += tl.where(valid, added, 0.0)
        d = _bounded(step * inverse_temperature)
        factor = tl.exp(tl.where(rises, -d, d))
        if ENTROPY:
            weighted = tl.where(rises, factor * (weighted - total * d), weighted + factor * d)
        total = tl.where(rises, total * factor + 1.0, total + factor)
        peak = tl.where(rises, y, peak)

    maximum = tl.max(peak, 0)
    lag = tl.where(total > 0, peak - maximum, 0.0)
    d = _bounded(lag * inverse_temperature)
    scale = tl.exp(d)
    row_total = tl.sum(total * scale, 0)
    # No finite logit, +inf (inf - inf is NaN) or NaN: no distribution.
    row_total = tl.where(row_total > 0, row_total, float("nan")) + (maximum - maximum)
    log_sum = tl.log(row_total)
    y_token = tl.load(logits_row_ptr + token, mask=inside, other=float("nan")).to(tl.float32)
    if HAS_SOFTCAP:
        y_token = softcap * _tanh(y_token / softcap)
    tl.store(log_probs_ptr + row, (y_token - maximum) * inverse_temperature - log_sum)
    tl.store(origins_ptr + row, maximum)
    # A token without a probability leaves its row without a gradient: NaN is what says so.
    tl.store(sums_ptr + row, tl.where(inside, row_total, float("nan")))
    if ENTROPY:
        mean = tl.sum(scale * (weighted + total * d), 0) / row_total
        tl.store(entropies_ptr + row, log_sum - mean)
    if SELF_CERTAINTY:
        size = tl.sum(tl.full([1], vocab_size, tl.float32), 0)
        seen = (vocab_size - columns + BLOCK_V - 1) // BLOCK_V
        mean = tl.sum(plain + lag * seen, 0) / size * inverse_temperature
        tl.store(self_certainties_ptr + row, tl.log(row_total / size) - mean)


@triton.jit(do_not_specialize=["rows_inner", "grad_rows_inner"])
def token_log_probs_bwd_kernel(
    grad_log_probs_ptr, grad_entropies_ptr, grad_self_certainties_ptr,
    logits_ptr, token_ids_ptr, mask_ptr, entropies_ptr, origins_ptr, sums_ptr, grad_logits_ptr,
    vocab_size, rows_inner, stride_outer, stride_inner,
    grad_rows_inner, grad_stride_outer, grad_stride_inner, inverse_temperature, softcap,
    HAS_MASK: tl.constexpr, HAS_SOFTCAP: tl.constexpr, GRAD_LOG_PROBS: tl.constexpr,
    GRAD_ENTROPIES: tl.constexpr, GRAD_SELF_CERTAINTIES: tl.constexpr, BLOCK_V: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    logits_row_ptr = logits_ptr + _row_start(row, rows_inner, stride_outer, stride_inner)
    grad_row_ptr = grad_logits_ptr + _row_start(
        row, grad_rows_inner, grad_stride_outer, grad_stride_inner
    )
    columns = tl.arange(0, BLOCK_V)
    g = 0.0
    h = 0.0
    s = 0.0
    if GRAD_LOG_PROBS:
        g = tl.load(grad_log_probs_ptr + row)
    if GRAD_ENTROPIES:
        h = tl.load(grad_entropies_ptr + row)
    if GRAD_SELF_CERTAINTIES:
        s = tl.load(grad_self_certainties_ptr + row)
    # NaN is not 0: it must reach the gradient.
    idle = (g == 0.0) & (h == 0.0) & (s == 0.0)
    if HAS_MASK:
        idle = idle | (tl.load(mask_ptr + row) == 0)

    if idle:
        zeros = tl.zeros([BLOCK_V], tl.float32).to(grad_logits_ptr.dtype.element_ty)
        for start in range(0, vocab_size, BLOCK_V):
            tl.store(grad_row_ptr + start + columns, zeros, mask=start + columns < vocab_size)
    else:
        token = tl.load(token_ids_ptr + row).to(tl.int64)
        maximum = tl.load(origins_ptr + row)
        row_total = tl.load(sums_ptr + row)
        # The only token of its vocabulary is certain: rounding must not claim otherwise.
        uncertain = tl.where(vocab_size == 1, 0.0, 1.0)
        g *= uncertain
        h *= uncertain
        s *= uncertain
        constant = s - g
        if GRAD_ENTROPIES:
            constant += h * (tl.log(row_total) - tl.load(entropies_ptr + row))
        inverse_total = 1.0 / row_total
        uniform = s / tl.sum(tl.full([1], vocab_size, tl.float32), 0)
        for start in range(0, vocab_size, BLOCK_V):
            valid = start + columns < vocab_size
            x = tl.load(logits_row_ptr + start + columns, mask=valid, other=-float("inf"))
            y = x.to(tl.float32)
            slope = inverse_temperature
            if HAS_SOFTCAP:
                t = _tanh(y / softcap)
                y = softcap * t
                slope = inverse_temperature * (1.0 - t * t)
            d = _bounded((y - maximum) * inverse_temperature)
            p = tl.exp(d) * inverse_total
            grad = p * (constant - h * d)
            grad += tl.where(start + columns == token, g, 0.0) - uniform
            grad = tl.where(y == -float("inf"), 0.0 * row_total, grad * slope)
            tl.store(
                grad_row_ptr + start + columns,
                grad.to(grad_logits_ptr.dtype.element_ty),
                mask=valid,
            )


def launch_token_log_probs_fwd(
    logits, token_ids, mask, log_probs, entropies, self_certainties, origins, sums, *,
    layout, inverse_temperature, softcap, entropy, self_certainty,
):  # fmt: skip
    """One program a row; `layout` is (rows_inner, stride_outer, stride_inner) of the logits."""
    block, num_warps = block_of(logits.shape[-1])
    token_log_probs_fwd_kernel[(token_ids.numel(),)](
        logits, token_ids, mask,
        log_probs, entropies, self_certainties, origins, sums,
        logits.shape[-1], *layout, inverse_temperature, softcap or 0.0,
        HAS_MASK=mask is not None, HAS_SOFTCAP=softcap is not None,
        ENTROPY=entropy, SELF_CERTAINTY=self_certainty, BLOCK_V=block, num_warps=num_warps,
    )  # fmt: skip


def launch_token_log_probs_bwd(
    grad_log_probs, grad_entropies, grad_self_certainties,
    logits, token_ids, mask, entropies, origins, sums, grad_logits, *,
    layout, grad_layout, inverse_temperature, softcap,
):  # fmt: skip
    """`grad_logits` may be `logits`: every element is read before its own gradient is written."""
    block, num_warps = block_of(logits.shape[-1])
    token_log_probs_bwd_kernel[(token_ids.numel(),)](
        grad_log_probs, grad_entropies, grad_self_certainties,
        logits, token_ids, mask, entropies, origins, sums, grad_logits,
        logits.shape[-1], *layout, *grad_layout, inverse_temperature, softcap or 0.0,
        HAS_MASK=mask is not None, HAS_SOFTCAP=softcap is not None,
        GRAD_LOG_PROBS=grad_log_probs is not None, GRAD_ENTROPIES=grad_entropies is not None,
        GRAD_SELF_CERTAINTIES=grad_self_certainties is not None, BLOCK_V=block,
        num_warps=num_warps,
    )  # fmt: skip
