"""How the rows of a tensor lie in memory: two strides walk them, or they are copied."""

from torch import Tensor

from fastrl import _dispatch


def layout_of(tensor: Tensor) -> tuple[int, int, int] | None:
    """(rows_inner, stride_outer, stride_inner), or None where two strides cannot walk the rows."""
    merged: list[tuple[int, int]] = []  # (size, stride), outermost first
    for size, stride in zip(tensor.shape[:-1], tensor.stride()[:-1], strict=True):
        if size == 1:
            continue
        if merged and merged[-1][1] == size * stride:
            merged[-1] = (merged[-1][0] * size, stride)
        else:
            merged.append((size, stride))
    if len(merged) > 2:
        return None
    outer, inner = [(1, 0), (1, 0), *merged][-2:]
    return inner[0], outer[1], inner[1]


def check_writable(arguments: _dispatch.Arguments, logits: Tensor) -> None:
    """Every element must have an address of its own, and two strides must walk the rows."""

    def error(expected: str) -> Exception:
        return arguments.error(
            "logits",
            f"{expected} with inplace_backward=True",
            f"strides {list(logits.stride())}",
            hint="pass inplace_backward=False",
        )

    extent = 1
    dimensions = sorted(zip(logits.stride(), logits.shape, strict=True))
    for stride, size in dimensions:
        if size > 1 and stride < extent:
            raise error("not overlap or interleave with itself in memory")
        extent += (size - 1) * stride
    if layout_of(logits) is None:
        raise error("have leading dimensions that merge into two")


def flat(tensor: Tensor | None) -> Tensor | None:
    """One number a row, next to each other."""
    return None if tensor is None else tensor.reshape(-1).contiguous()


def walkable(logits: Tensor) -> tuple[Tensor, tuple[int, int, int]]:
    """The logits, copied only where they must be, and their layout."""
    layout = layout_of(logits)
    if layout is None:
        logits = logits.contiguous()
        layout = (logits.numel() // logits.shape[-1], 0, logits.shape[-1])
    return logits, layout
