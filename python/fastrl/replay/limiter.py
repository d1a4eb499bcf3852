"""The pace between who writes to a buffer and who learns from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastrl._dispatch import Arguments


@dataclass(frozen=True, slots=True)
class SamplesPerInsert:
    """Keeps draws and additions in proportion: whoever is ahead waits for the other.

        lead = sampled − ratio · (added − min_size)

    `add` goes on while lead ≥ −error_buffer, and `sample` while lead ≤ error_buffer, where both
    count what the buffer's memory counts: `num_added` and `num_sampled`, of all threads and
    processes together, and as they were saved. A call is judged by the numbers before it, so each
    side goes beyond the band by one call at most, however large that call is.

    The two sides never wait for each other. One of lead ≥ −error_buffer and lead ≤ error_buffer
    holds for every number, so whatever was restored, however large a batch is compared with the
    band, and for every ratio, at least one side goes on, and moves the lead towards the band. The
    other reason to wait is that nothing can be drawn: `sample` waits until `min_size` transitions
    were added and one can be drawn, and as long as it waits for that, `add` never does. `min_size`
    is about transitions that were ever added: eviction does not undo it, and a buffer that holds
    fewer reaches it, too. `end_episode` never waits.

    A buffer that was filled before, or restored with another ratio, may be far from the band, and
    one side waits until the other has caught up; `ReplayBuffer.restart_limiter` takes them to be
    even instead.

    Attributes:
        ratio: Items drawn per transition added, above 0.
        min_size: Transitions to be added before the first is drawn.
        error_buffer: How many items either side may be ahead, at least 0.
    """

    ratio: float
    min_size: int = 1
    error_buffer: float = 0.0


def check_limiter(arguments: Arguments, limiter: object) -> dict[str, Any]:
    """A limiter's checked options as the native side takes them."""
    if limiter is None:
        return {"samples_per_insert": 0.0, "min_size": 0, "error_buffer": 0.0}
    if not isinstance(limiter, SamplesPerInsert):
        rule = "be a SamplesPerInsert or None"
        raise arguments.error("limiter", rule, type(limiter).__name__, kind=TypeError)
    return {
        "samples_per_insert": arguments.number(
            "limiter.ratio", limiter.ratio, low=0, exclusive_low=True
        ),
        "min_size": arguments.integer("limiter.min_size", limiter.min_size, low=1, high=2**62),
        "error_buffer": arguments.number("limiter.error_buffer", limiter.error_buffer, low=0),
    }


def limiter_of(options: Mapping[str, Any]) -> SamplesPerInsert | None:
    """The limiter whose options these are."""
    if options["samples_per_insert"] == 0:
        return None
    return SamplesPerInsert(
        options["samples_per_insert"], options["min_size"], options["error_buffer"]
    )


def check_timeout(arguments: Arguments, timeout: float | None) -> float:
    """Seconds to wait for the other side; None is for ever."""
    return float("inf") if timeout is None else arguments.number("timeout", timeout, low=0)
