"""
The compiled core of fastrl. Private: arguments are checked by the modules above it.
"""

from collections.abc import Callable, Mapping, Sequence

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

def group_advantages(
    rewards: int,
    group_ids: int,
    batch: int,
    is_double: bool,
    baseline: int,
    scale: int,
    eps: float,
    unbiased: bool,
    advantages: int,
) -> None: ...
def positive_amplification(
    advantages: int,
    rewards: int,
    group_ids: int,
    batch: int,
    is_double: bool,
    alpha: float,
    success_threshold: float,
    success_is_alpha: bool,
    success_value: float,
    amplified: int,
) -> None: ...
def gae(
    num_steps: int,
    num_envs: int,
    is_double: bool,
    rewards: int,
    values: int,
    next_values: int,
    terminated: int,
    truncated: int,
    stepped: int,
    gamma: float,
    lambda_: float,
    advantages: int,
) -> None: ...
def pivot_mask(
    action_mask: int,
    turn_starts: int,
    pivots: int,
    batch: int,
    num_turns: int,
    num_tokens: int,
    cu_seqlens: int,
    loss_mask: int,
) -> None: ...
def divergence_points(
    base: int,
    base_tokens: int,
    base_lengths: int,
    base_cu_seqlens: int,
    retry: int,
    retry_tokens: int,
    retry_lengths: int,
    retry_cu_seqlens: int,
    batch: int,
    is_int64: bool,
    points: int,
) -> None: ...
def token_log_probs(
    logits: int,
    dtype: str,
    rows: int,
    vocab_size: int,
    layout: tuple[int, int, int],
    temperature: float,
    softcap: float,
    token_ids: int,
    mask: int,
    log_probs: int,
    entropies: int,
    self_certainties: int,
    origins: int,
    sums: int,
) -> None:
    """
    Addresses of checked arrays; 0 where there is none. `softcap` 0 is none.
    """

def token_log_probs_backward(
    logits: int,
    dtype: str,
    rows: int,
    vocab_size: int,
    layout: tuple[int, int, int],
    temperature: float,
    softcap: float,
    token_ids: int,
    mask: int,
    grad_log_probs: int,
    grad_entropies: int,
    grad_self_certainties: int,
    entropies: int,
    origins: int,
    sums: int,
    grad_logits: int,
    grad_layout: tuple[int, int, int],
) -> None:
    """The gradient of the logits; `grad_logits` may be `logits`."""

def prefer_huge_pages(address: int, bytes: int) -> None:
    """Advice for fresh memory that is about to be written."""

def first_token_outside(token_ids: int, mask: int, rows: int, vocab_size: int) -> int:
    """The first row whose token id is outside the vocabulary, or -1."""

def policy_loss_ratios() -> list[str]: ...
def policy_loss_surrogates() -> list[str]: ...
def policy_loss_kl_estimators() -> list[str]: ...

num_policy_loss_statistics: int = 11

def policy_loss(
    *,
    log_probs: int,
    advantages: int,
    mask: int,
    old_log_probs: int,
    behavior_log_probs: int,
    ref_log_probs: int,
    entropies: int,
    cu_seqlens: int,
    num_tokens: int,
    num_sequences: int,
    advantages_per_token: bool,
    ratio: str,
    surrogate: str,
    kl: str,
    clip_low: float,
    clip_high: float,
    opmd_tau: float,
    kl_coef: float,
    entropy_coef: float,
    mean_over_sequence: bool,
    count_tokens: bool,
    denominator: float,
    loss: int,
    statistics: int,
    scale: int,
    log_prob_gradients: int,
    entropy_gradients: int,
) -> None: ...

class RewardMachine:
    def __init__(
        self,
        arg0: int,
        arg1: Sequence[str],
        arg2: Sequence[int],
        arg3: Sequence[
            tuple[int, int, float, Sequence[tuple[int, int]], Sequence[tuple[int, int, int]], int]
        ],
        arg4: Sequence[int],
        arg5: Sequence[int],
        arg6: float,
        /,
    ) -> None: ...
    def over(self, arg: Sequence[str], /) -> RewardMachine: ...
    def counterfactuals(
        self,
        arg0: int,
        arg1: int,
        arg2: int,
        arg3: int,
        arg4: int,
        arg5: int,
        arg6: int,
        arg7: int,
        arg8: int,
        arg9: int,
        /,
    ) -> None: ...

class Environment:
    @property
    def description(self) -> Description: ...
    @property
    def max_episode_steps(self) -> int: ...
    @property
    def action_tokens(self) -> list[int]: ...
    @property
    def action_names(self) -> list[str]: ...
    @property
    def options(self) -> str: ...
    @property
    def can_solve(self) -> bool: ...
    @property
    def slot_size(self) -> int: ...
    def seed(self, arg0: int, arg1: int, /) -> None: ...
    def seed_each(self, arg0: int, arg1: int, /) -> None: ...
    def reset(self, arg0: int, arg1: int, arg2: int, arg3: int, arg4: OutputSet, /) -> None: ...
    def step(self, arg0: object | None, arg1: OutputRing, /) -> object: ...
    def step_some(self, arg0: int, arg1: int, arg2: OutputRing, /) -> object: ...
    def step_into(
        self,
        arg0: object | None,
        arg1: tuple,
        arg2: object | None,
        arg3: object | None,
        arg4: object | None,
        arg5: OutputSet,
        /,
    ) -> bool: ...
    def send(self, arg0: int, arg1: int, arg2: int, arg3: Callable, /) -> None: ...
    def receive(self, arg0: int, arg1: float, arg2: OutputSet, arg3: int, /) -> bool: ...
    def close(self) -> None: ...
    @property
    def num_outstanding(self) -> int: ...
    @property
    def is_unusual(self) -> bool: ...
    def unroll(self, arg0: int, arg1: int, arg2: bool, arg3: int, arg4: dict, /) -> None: ...
    def observe(self, arg0: int, arg1: int, arg2: dict, /) -> None: ...
    def snapshot(self, arg0: int, arg1: int, /) -> Snapshot: ...
    def restore(self, arg0: Snapshot, arg1: int, arg2: int, arg3: int, /) -> None: ...
    def branch(self, arg0: int, arg1: int, arg2: int, arg3: int, arg4: int, /) -> None: ...
    def rewind(self, arg0: int, arg1: int, arg2: int, arg3: int, /) -> None: ...
    def rewindable(self, arg: int, /) -> None: ...
    def state_hash(self, arg0: int, arg1: int, arg2: int, /) -> None: ...
    def labels(self, arg0: int, arg1: int, arg2: int, /) -> None: ...
    def solve(self, arg0: Snapshot, arg1: int, /) -> None: ...
    def episodes(self, arg0: int, arg1: int, /) -> None: ...
    def set_levels(self, levels: Snapshot | None, weights: Sequence[float]) -> None: ...
    def make_levels(self, arg0: int, arg1: int, /) -> Snapshot: ...
    def parse_levels(self, arg: Sequence[str], /) -> Snapshot: ...
    def set_contexts(self, arg: dict, /) -> None: ...
    @property
    def num_levels(self) -> int: ...
    @property
    def num_contexts(self) -> int: ...
    @property
    def observes_context(self) -> bool: ...
    @property
    def step_labels(self) -> list[str]: ...
    def render(self, arg0: int, arg1: int, arg2: int, arg3: int, /) -> None: ...
    def cells(self, arg0: int, arg1: int, arg2: int, /) -> None: ...
    def parse_actions(self, arg0: Sequence[str], arg1: int, arg2: int, /) -> None: ...
    def parse_action_tokens(
        self, arg0: int, arg1: int, arg2: int, arg3: int, arg4: int, arg5: int, /
    ) -> None: ...
    def goal_rewards(self, arg0: int, arg1: int, arg2: int, arg3: int, /) -> None: ...

class Field:
    @property
    def name(self) -> str: ...
    @property
    def dtype(self) -> int: ...
    @property
    def space(self) -> int: ...
    @property
    def shape(self) -> list[int]: ...
    @property
    def low(self) -> list[float]: ...
    @property
    def high(self) -> list[float]: ...
    @property
    def at_reset(self) -> bool: ...
    @property
    def whole_at_reset(self) -> bool: ...

class Description:
    @property
    def structure(self) -> int: ...
    @property
    def action(self) -> Field: ...
    @property
    def observations(self) -> list[Field]: ...
    @property
    def infos(self) -> list[Field]: ...
    @property
    def reset_options(self) -> list[str]: ...
    @property
    def labels(self) -> list[str]: ...
    @property
    def reports_success(self) -> bool: ...
    @property
    def is_text(self) -> bool: ...
    @property
    def render_tokens(self) -> int: ...
    @property
    def grid_height(self) -> int: ...
    @property
    def grid_width(self) -> int: ...
    @property
    def goal_size(self) -> int: ...

class OutputSet:
    def __init__(self, arg0: Environment, arg1: dict, arg2: dict, arg3: list, /) -> None: ...
    def observation(self) -> object: ...
    def info_dict(self) -> dict: ...
    @property
    def rewards(self) -> object: ...
    @property
    def terminated(self) -> object: ...
    @property
    def truncated(self) -> object: ...
    @property
    def stepped(self) -> object: ...
    @property
    def informed(self) -> object: ...
    @property
    def lengths(self) -> object: ...

class OutputRing:
    def __init__(self, arg: Callable, /) -> None: ...
    def acquire(self) -> object: ...
    @property
    def last(self) -> object: ...

def make_vector_env(
    arg0: object,
    arg1: bool,
    arg2: dict,
    arg3: dict,
    arg4: Mapping[str, bool | int | float | str],
    /,
) -> Environment: ...
def environment_id(arg0: object, arg1: str, arg2: str, /) -> str: ...
def environment_ids() -> list[str]: ...
def has_fast_form(arg: str, /) -> bool: ...

class Snapshot:
    def __len__(self) -> int: ...
    @property
    def id(self) -> str: ...
    @property
    def options(self) -> str: ...
    def select(self, arg0: int, arg1: int, /) -> Snapshot: ...
    def to_bytes(self) -> bytes: ...
    @staticmethod
    def from_bytes(arg: bytes, /) -> Snapshot: ...
    @staticmethod
    def concatenate(arg: Sequence[Snapshot], /) -> Snapshot: ...

def tokenize(arg: str, /) -> list[int]: ...
def detokenize(arg: Sequence[int], /) -> str: ...
def detokenize_rows(arg0: int, arg1: int, arg2: int, arg3: int, /) -> list[str]: ...
def vocabulary() -> list[str]: ...
