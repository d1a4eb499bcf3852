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

def policy_loss_ratios() -> list[str]: ...

def policy_loss_surrogates() -> list[str]: ...

def policy_loss_kl_estimators() -> list[str]: ...

num_policy_loss_statistics: int = 11

def policy_loss(*, log_probs: int, advantages: int, mask: int, old_log_probs: int, behavior_log_probs: int, ref_log_probs: int, entropies: int, cu_seqlens: int, num_tokens: int, num_sequences: int, advantages_per_token: bool, ratio: str, surrogate: str, kl: str, clip_low: float, clip_high: float, opmd_tau: float, kl_coef: float, entropy_coef: float, mean_over_sequence: bool, count_tokens: bool, denominator: float, loss: int, statistics: int, scale: int, log_prob_gradients: int, entropy_gradients: int) -> None: ...
