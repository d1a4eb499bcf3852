"""The forward operator. CPU tensors run C++, CUDA tensors Triton."""

from typing import Any

import torch
from torch import Tensor

from fastrl import _core, _dispatch
from fastrl.log_probs.backward import backward, save_for_backward
from fastrl.log_probs.rows import flat, walkable


@torch.library.custom_op("fastrl::token_log_probs", mutates_args=())
def forward(
    logits: Tensor,
    token_ids: Tensor,
    mask: Tensor | None,
    temperature: float,
    softcap: float | None,
    entropy: bool,
    self_certainty: bool,
    inplace_backward: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Log-probs, entropies, self-certainties; then what the backward pass needs of each row."""
    outputs = _empty_outputs(logits, entropy, self_certainty)
    if token_ids.numel() == 0:
        return outputs
    rows, layout = walkable(logits)
    ids, keep = flat(token_ids), flat(mask)
    assert ids is not None
    if _dispatch.backend(logits) == "triton":
        from fastrl.kernels.log_probs import launch_token_log_probs_fwd

        with _dispatch.on_device_of(logits):
            launch_token_log_probs_fwd(
                rows,
                ids,
                keep,
                *outputs,
                layout=layout,
                inverse_temperature=1.0 / temperature,
                softcap=softcap,
                entropy=entropy,
                self_certainty=self_certainty,
            )
        return outputs
    ids = ids.to(torch.int64)
    size = rows.shape[-1]
    _check_token_ids(ids, keep, size, token_ids.shape)
    log_probs, entropies, self_certainties, origins, sums = outputs
    _core.token_log_probs(
        _dispatch.address(rows),
        _dispatch.dtype_name(rows),
        ids.numel(),
        size,
        layout,
        temperature,
        softcap or 0.0,
        _dispatch.address(ids),
        _dispatch.address(keep),
        _dispatch.address(log_probs),
        _dispatch.address(entropies) if entropy else 0,
        _dispatch.address(self_certainties) if self_certainty else 0,
        _dispatch.address(origins),
        _dispatch.address(sums),
    )
    return outputs


def _empty_outputs(
    logits: Tensor, entropy: bool, self_certainty: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    def empty(wanted: bool) -> Tensor:
        return logits.new_empty(logits.shape[:-1] if wanted else (0,), dtype=torch.float32)

    return empty(True), empty(entropy), empty(self_certainty), empty(True), empty(True)


def _check_token_ids(ids: Tensor, keep: Tensor | None, size: int, shape: torch.Size) -> None:
    row = _core.first_token_outside(
        _dispatch.address(ids), _dispatch.address(keep), ids.numel(), size
    )
    if row < 0:
        return
    position, rest = [], row
    for length in reversed(shape):
        position.append(rest % length)
        rest //= length
    place = ", ".join(map(str, reversed(position)))
    raise _dispatch.argument_error(
        "token_log_probs",
        "token_ids",
        f"be in [0, V = {size})",
        f"{int(ids[row])} at [{place}]",
        kind=IndexError,
    )


@forward.register_fake
def _(logits: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    *_, entropy, self_certainty, _ = rest
    return _empty_outputs(logits, entropy, self_certainty)


forward.register_autograd(backward, setup_context=save_for_backward)
