"""The specification of sequences from the replay buffer: each is read row by row."""

from typing import Any

from fastrl.reference.replay import ReplayBuffer, Step


def sequence(
    buffer: ReplayBuffer,
    handle: int,
    length: int,
    *,
    burn_in: int = 0,
    bootstrap: int = 1,
    boundary: str = "pad",
) -> list[dict[str, Any]]:
    """What `sample_sequences` must return for one drawn handle: its rows in the order of time.

    The steps learned from are the drawn one and those after it, `length` of them or as many as have
    a next observation in their episode. With "shift" they begin earlier where there are fewer.
    Before them are `burn_in` rows, after them `bootstrap` rows, or as many as there are.
    """
    lane, drawn = buffer.find(handle)
    steps = buffer.lanes[lane]
    last = drawn
    while last + 1 < len(steps) and steps[last + 1].episode == steps[drawn].episode:
        last += 1
    # How an evicted step ended its episode is not known: it and the rest are left out.
    if steps[last].is_final and steps[last - 1].evicted:
        last -= 1

    # Rows are there and so is what is stacked on them; the drawn one has its stack.
    lowest = drawn
    while _is_usable(buffer, lane, lowest - 1, steps[drawn].episode):
        lowest -= 1
    start = drawn
    while boundary == "shift" and start > lowest and last - start < length:
        start -= 1
    end = min(start + length, last)
    rows = range(max(start - burn_in, lowest), min(start + length + bootstrap, last + 1))
    return [
        {
            **(_step(steps[row]) if row < last else {}),
            "observations": buffer.observation(lane, row),
            "positions": row,
            "step_handles": buffer.handle(lane, row),
            "learning_mask": start <= row < end,
            "is_first": _is_first(buffer, lane, row),
        }
        for row in rows
    ]


def _is_first(buffer: ReplayBuffer, lane: int, row: int) -> bool:
    """Whether an episode begins here, which is known even where the row before is not there."""
    steps = buffer.lanes[lane]
    return row == 0 or steps[row - 1].episode != steps[row].episode


def _is_usable(buffer: ReplayBuffer, lane: int, row: int, episode: int) -> bool:
    if row < buffer.oldest(lane) or buffer.lanes[lane][row].episode != episode:
        return False
    # The rows of its stack, up to the one where the episode begins.
    for before in range(row, row - buffer.stack, -1):
        if before < buffer.oldest(lane):
            return False
        if _is_first(buffer, lane, before):
            return True
    return True


def _step(step: Step) -> dict[str, Any]:
    """What the last row of an episode lacks, which is only an observation."""
    return {
        **step.values,
        "discounts": 0.0 if step.terminated else step.discount,
        "terminated": step.terminated,
        "truncated": step.truncated,
    }


def sequence_priority(td_errors: list[float], eta: float = 0.9) -> float:
    """η max |δ| + (1 − η) mean |δ|."""
    sizes = [abs(error) for error in td_errors]
    return eta * max(sizes) + (1 - eta) * sum(sizes) / len(sizes)
