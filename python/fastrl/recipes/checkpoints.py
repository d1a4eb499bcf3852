"""Checkpoints: one safetensors file, replaced atomically, loaded without running code."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from fastrl._dispatch import argument_error

FORMAT = "fastrl-checkpoint-2"


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
    text = json.dumps(state)
    metadata = {"format": FORMAT, "state": text, "sha256": _digest(contiguous, text)}
    write_atomically(path, save(contiguous, metadata))


def _digest(tensors: dict[str, torch.Tensor], state: str) -> str:
    """A checksum of all that a checkpoint says; safetensors itself has none."""
    digest = hashlib.sha256(state.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"\n{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def checkpoint_error(path: Path, reason: str) -> Exception:
    """The error of a file that no run can go on from."""
    return argument_error("load_checkpoint", "path", f"hold a whole {FORMAT}", f"{path}: {reason}")


def load_checkpoint(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The tensors and the state that `save_checkpoint` wrote, if not a bit of them has changed."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise checkpoint_error(path, f"cannot be read ({error})") from error
    if metadata.get("format") != FORMAT:
        raise checkpoint_error(path, f"format {metadata.get('format')}")
    text = metadata.get("state", "")
    if metadata.get("sha256") != _digest(tensors, text):
        raise checkpoint_error(path, "its checksum is wrong")
    state: dict[str, Any] = json.loads(text)
    return tensors, state


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
