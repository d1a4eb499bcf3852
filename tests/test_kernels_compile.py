"""Every Triton kernel compiles for Hopper without a GPU, and keeps its values in registers."""

from dataclasses import asdict, dataclass, replace
from itertools import product

import pytest

pytest.importorskip("triton")

from aot import compile_all
from fastrl import _core


@dataclass(frozen=True)
class Kernel:
    """One way to compile one kernel.

    `signature` has a Triton type for each argument that is not a constexpr: "*bf16" is a pointer,
    "i32" and "fp32" are numbers. Pointers count as aligned to 16 bytes; `aligned` names the numbers
    that are multiples of 16 too, as the sizes of real models are.
    """

    module: str
    name: str
    signature: dict[str, str]
    constexprs: dict[str, object]
    num_warps: int = 4
    aligned: str = ""

    def row(self):
        pointers = [name for name, kind in self.signature.items() if kind.startswith("*")]
        return asdict(self) | {"aligned": pointers + self.aligned.split()}

    def __str__(self):
        options = [f"{k}={v}" for k, v in self.constexprs.items()]
        types = {kind for kind in self.signature.values() if kind in ("*bf16", "*fp16")}
        return "-".join([self.name, *sorted(types), *options])


def typed(kind, names):
    """The same Triton type for each of these space-separated arguments."""
    return dict.fromkeys(names.split(), kind)


def log_probs_kernels():
    strides = "stride_outer stride_inner"
    grad_strides = "grad_stride_outer grad_stride_inner"
    for dtype, extras in product(["fp32", "bf16", "fp16"], [False, True]):
        common = (
            typed(f"*{dtype}", "logits_ptr")
            | typed("*i64", "token_ids_ptr")
            | typed("*i1", "mask_ptr")
            | typed("*fp32", "entropies_ptr origins_ptr sums_ptr")
            | typed("i32", f"vocab_size rows_inner {strides}")
            | typed("fp32", "inverse_temperature softcap")
        )
        options = {"HAS_MASK": extras, "HAS_SOFTCAP": extras, "BLOCK_V": 4096}
        yield Kernel(
            "fastrl.kernels.log_probs",
            "token_log_probs_fwd_kernel",
            common | typed("*fp32", "log_probs_ptr self_certainties_ptr"),
            options | {"ENTROPY": True, "SELF_CERTAINTY": extras},
            num_warps=8,
            aligned=f"vocab_size {strides}",
        )
        yield Kernel(
            "fastrl.kernels.log_probs",
            "token_log_probs_bwd_kernel",
            common
            | typed("*fp32", "grad_log_probs_ptr grad_entropies_ptr grad_self_certainties_ptr")
            | typed(f"*{dtype}", "grad_logits_ptr")
            | typed("i32", f"grad_rows_inner {grad_strides}"),
            options
            | {"GRAD_LOG_PROBS": True, "GRAD_ENTROPIES": True, "GRAD_SELF_CERTAINTIES": extras},
            num_warps=8,
            aligned=f"vocab_size {strides} {grad_strides}",
        )


def policy_losses_kernels():
    module = "fastrl.kernels.policy_losses"
    tokens = "log_probs_ptr advantages_ptr old_log_probs_ptr log_prob_gradients_ptr partials_ptr"
    extras = "behavior_log_probs_ptr ref_log_probs_ptr entropies_ptr entropy_gradients_ptr"
    sizes = typed("i64", "num_tokens") | typed("i32", "num_sequences length search_steps")
    numbers = typed("fp32", "clip_low clip_high opmd_tau kl_coef entropy_coef")
    packed = typed("*i32", "cu_seqlens_ptr") | typed("*fp32", "inverse_counts_ptr")
    absent = dict.fromkeys([*extras.split(), *packed])
    for surrogate in _core.policy_loss_surrogates():
        common = typed("*fp32", tokens) | typed("*u8", "mask_ptr") | sizes | numbers
        options = {"RATIO": "token", "SURROGATE": surrogate, "BLOCK": 1024}
        yield Kernel(
            module,
            "policy_loss_fwd_kernel",
            common,
            options | {"KL": "none", "ADVANTAGES_PER_TOKEN": True} | absent,
        )
        yield Kernel(
            module,
            "policy_loss_fwd_kernel",
            common | typed("*fp32", extras) | packed,
            options | {"KL": "k3", "ADVANTAGES_PER_TOKEN": False},
        )
    yield Kernel(
        module,
        "policy_loss_count_kernel",
        typed("*u8", "mask_ptr") | packed | typed("i64", "num_tokens") | typed("i32", "length"),
        {"BLOCK": 4096},
        num_warps=8,
    )
    yield Kernel(
        module,
        "policy_loss_finish_kernel",
        typed("*fp32", "partials_ptr normalizer_ptr loss_ptr statistics_ptr scale_ptr")
        | typed("i64", "blocks")
        | typed("fp32", "denominator"),
        {"COUNT_TOKENS": True, "BLOCK": 128},
    )


def advantages_kernels():
    sizes = {"BLOCK": 16, "BLOCK_OTHERS": 64}
    for baseline, scale in [("mean", "group"), ("leave_one_out", "batch"), ("none", "none")]:
        yield Kernel(
            "fastrl.kernels.advantages",
            "group_advantages_kernel",
            typed("*fp32", "rewards_ptr advantages_ptr")
            | typed("*i64", "group_ids_ptr")
            | {"B": "i32", "eps": "fp64"},
            sizes | {"BASELINE": baseline, "SCALE": scale, "UNBIASED": True},
        )
    for group_max in [False, True]:
        yield Kernel(
            "fastrl.kernels.advantages",
            "positive_amplification_kernel",
            typed("*fp32", "advantages_ptr rewards_ptr amplified_ptr")
            | typed("*i64", "group_ids_ptr")
            | typed("fp64", "alpha success_threshold success_value")
            | {"B": "i32"},
            sizes | {"GROUP_MAX": group_max, "SUCCESS_IS_ALPHA": not group_max},
        )


def credit_kernels():
    for packed, pivots_are_turns in product([False, True], repeat=2):
        yield Kernel(
            "fastrl.kernels.credit",
            "pivot_mask_kernel",
            typed("*i1", "action_mask_ptr loss_mask_ptr")
            | typed("*i64", "turn_starts_ptr pivots_ptr")
            | typed("*i32", "cu_seqlens_ptr")
            | typed("i32", "num_tokens num_turns"),
            {"PACKED": packed, "PIVOTS_ARE_TURNS": pivots_are_turns, "BLOCK": 1024},
        )
    for packed in [False, True]:
        yield Kernel(
            "fastrl.kernels.credit",
            "divergence_points_kernel",
            typed("*i64", "base_ptr base_lengths_ptr retry_ptr retry_lengths_ptr")
            | typed("*i32", "base_cu_seqlens_ptr retry_cu_seqlens_ptr points_ptr")
            | typed("i32", "base_tokens retry_tokens"),
            {
                "PACKED": packed,
                "HAS_BASE_LENGTHS": not packed,
                "HAS_RETRY_LENGTHS": not packed,
                "BLOCK": 1024,
            },
        )


# A new kernel joins by a line here.
KERNELS = [
    *log_probs_kernels(),
    *policy_losses_kernels(),
    *advantages_kernels(),
    *credit_kernels(),
]

# Far more columns a thread than there are registers: shows that a spill would be seen.
SPILLING = replace(KERNELS[0], constexprs=KERNELS[0].constexprs | {"BLOCK_V": 16384}, num_warps=4)


@pytest.fixture(scope="module")
def costs():
    """All of them in one process: starting it takes longer than compiling a kernel."""
    kernels = [*KERNELS, SPILLING]
    answers = compile_all([kernel.row() for kernel in kernels])
    return dict(zip(map(str, kernels), answers, strict=True))


@pytest.mark.parametrize("name", [str(kernel) for kernel in KERNELS])
def test_kernel_compiles_for_hopper_without_spills(costs, name):
    cost = costs[name]
    assert "error" not in cost, cost["error"]
    assert cost["spilled_bytes"] == 0, cost


def test_spills_are_seen(costs):
    assert costs[str(SPILLING)]["spilled_bytes"] > 0
