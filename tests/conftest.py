"""Fixtures that every test sees. Triton reads TRITON_INTERPRET when a kernel is decorated."""

import os

import pytest

try:
    import torch
except ImportError:
    torch = None

HAS_CUDA = torch is not None and torch.cuda.is_available()
if not HAS_CUDA:
    os.environ.setdefault("TRITON_INTERPRET", "1")


def pytest_collection_modifyitems(items):
    if HAS_CUDA:
        return
    skip = pytest.mark.skip(reason="needs a CUDA GPU")
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(skip)


@pytest.fixture
def triton_backend(monkeypatch):
    """Sends CPU tensors to the Triton kernels, which the interpreter then runs."""
    monkeypatch.setenv("FASTRL_BACKEND", "triton")


@pytest.fixture(params=["cpp", "triton"])
def cpu_backend(request, monkeypatch):
    """Runs a test on both floors that can serve a CPU tensor."""
    if request.param == "triton" and HAS_CUDA:
        pytest.skip("the interpreter is off where a GPU runs the kernels")
    monkeypatch.setenv("FASTRL_BACKEND", request.param)
    return request.param
