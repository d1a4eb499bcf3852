"""
The compiled core of fastrl. Private: arguments are checked by the modules above it.
"""



def instruction_set() -> str:
    """The SIMD form that the kernels run in."""

def num_threads() -> int:
    """Threads that work on one call, the caller included."""

def set_num_threads(n: int) -> None:
    """
    Set how many threads work on one call, from 1 to 1024. Results do not depend on it. The
    default is FASTRL_NUM_THREADS, or the cores that this process may use.
    """

def compiler() -> str: ...

def cuda_info() -> dict[str, object]:
    """Empty when built without CUDA."""

def group_advantages(rewards: int, group_ids: int, batch: int, is_double: bool, baseline: int, scale: int, eps: float, unbiased: bool, advantages: int) -> None: ...

def positive_amplification(advantages: int, rewards: int, group_ids: int, batch: int, is_double: bool, alpha: float, success_threshold: float, success_is_alpha: bool, success_value: float, amplified: int) -> None: ...

def pivot_mask(action_mask: int, turn_starts: int, pivot_turns: int, batch: int, num_turns: int, num_tokens: int, cu_seqlens: int, loss_mask: int) -> None: ...

def divergence_points(base: int, base_tokens: int, base_lengths: int, base_cu_seqlens: int, retry: int, retry_tokens: int, retry_lengths: int, retry_cu_seqlens: int, batch: int, is_int64: bool, points: int) -> None: ...

def token_log_probs(logits: int, dtype: str, rows: int, vocab_size: int, layout: tuple[int, int, int], temperature: float, softcap: float, token_ids: int, mask: int, log_probs: int, entropies: int, self_certainties: int, origins: int, sums: int) -> None:
    """
    Addresses of checked arrays; 0 where there is none. `softcap` 0 is none.
    """

def token_log_probs_backward(logits: int, dtype: str, rows: int, vocab_size: int, layout: tuple[int, int, int], temperature: float, softcap: float, token_ids: int, mask: int, grad_log_probs: int, grad_entropies: int, grad_self_certainties: int, entropies: int, origins: int, sums: int, grad_logits: int, grad_layout: tuple[int, int, int]) -> None:
    """The gradient of the logits; `grad_logits` may be `logits`."""

def prefer_huge_pages(address: int, bytes: int) -> None:
    """Advice for fresh memory that is about to be written."""

def first_token_outside(token_ids: int, mask: int, rows: int, vocab_size: int) -> int:
    """The first row whose token id is outside the vocabulary, or -1."""

def policy_loss_ratios() -> list[str]: ...

def policy_loss_surrogates() -> list[str]: ...

def policy_loss_kl_estimators() -> list[str]: ...

num_policy_loss_statistics: int = 11

def policy_loss(*, log_probs: int, advantages: int, mask: int, old_log_probs: int, behavior_log_probs: int, ref_log_probs: int, entropies: int, cu_seqlens: int, num_tokens: int, num_sequences: int, advantages_per_token: bool, ratio: str, surrogate: str, kl: str, clip_low: float, clip_high: float, opmd_tau: float, kl_coef: float, entropy_coef: float, mean_over_sequence: bool, count_tokens: bool, denominator: float, loss: int, statistics: int, scale: int, log_prob_gradients: int, entropy_gradients: int) -> None: ...
