"""Checkpoints: one safetensors file, replaced atomically, loaded without running code."""

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save

from fastrl._dispatch import argument_error

FORMAT = "fastrl-checkpoint-1"


def write_atomically(path: Path, content: bytes) -> None:
    """Puts a file in place so that a killed process leaves the old one or the new one."""
    temporary = path.with_name(path.name + ".partial")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def save_checkpoint(path: Path, tensors: dict[str, torch.Tensor], state: dict[str, Any]) -> None:
    """Writes tensors and JSON values in one file.

    Args:
        path: The file; an older checkpoint there is replaced.
        tensors: By name.
        state: Any JSON values.
    """
    contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    write_atomically(path, save(contiguous, {"format": FORMAT, "state": json.dumps(state)}))


def load_checkpoint(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The tensors and the state that `save_checkpoint` wrote."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        if metadata.get("format") != FORMAT:
            raise argument_error(
                "load_checkpoint", "path", f"hold a {FORMAT}", f"{path} ({metadata.get('format')})"
            )
        return {name: file.get_tensor(name) for name in file.keys()}, json.loads(  # noqa: SIM118
            metadata["state"]
        )


def optimizer_tensors(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, torch.Tensor]:
    """The optimizer's state by the names of the parameters."""
    return {
        f"optimizer.{key}.{name}": value
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def restore_optimizer(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]
) -> None:
    """Gives the optimizer back what `optimizer_tensors` took."""
    parameters = dict(model.named_parameters())
    for full_name, tensor in tensors.items():
        if full_name.startswith("optimizer."):
            _, key, name = full_name.split(".", 2)
            optimizer.state[parameters[name]][key] = tensor
