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
