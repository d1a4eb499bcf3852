"""What `fastrl info` prints."""

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from rich.console import Console
from rich.table import Table

import fastrl
from fastrl import _core


def package_version(name: str) -> str:
    """The version of an installed package."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def build_facts() -> dict[str, str]:
    """What this build has, by name."""
    cuda: dict[str, Any] = _core.cuda_info()
    facts = {
        "fastrl": fastrl.__version__,
        "instruction set": _core.instruction_set(),
        "threads": str(_core.num_threads()),
        "compiler": _core.compiler(),
        "torch": package_version("torch"),
        "triton": package_version("triton"),
        "gymnasium": package_version("gymnasium"),
        "CUDA build": f"runtime {cuda['runtime_version']}" if cuda else "no",
    }
    if cuda:
        devices = [
            f"{device['name']} ({'.'.join(map(str, device['compute_capability']))}, "
            f"{device['memory_bytes'] / 2**30:.0f} GiB)"
            for device in cuda["devices"]
        ]
        facts["CUDA devices"] = ", ".join(devices) or f"none: {cuda['error'] or 'no device'}"
    return facts


def print_info() -> None:
    """Prints the facts as a table."""
    table = Table(show_header=False, box=None)
    for name, fact in build_facts().items():
        table.add_row(name, fact)
    Console().print(table)
