"""How many threads work on one call."""

from fastrl import _core
from fastrl._dispatch import Arguments


def set_num_threads(n: int) -> None:
    """Sets how many threads work on one call; results do not depend on it.

    The default is the environment variable FASTRL_NUM_THREADS, or the number of cores that this
    process may use.

    Args:
        n: From 1 to 1024, the caller included.
    """
    _core.set_num_threads(Arguments("set_num_threads").integer("n", n, low=1, high=1024))
