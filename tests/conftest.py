"""Fixtures that every test sees. Triton reads TRITON_INTERPRET when a kernel is decorated."""

import os

import fastrl
import numpy as np
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
def set_threads():
    """Sets the number of fastrl's threads; it is as before after the test."""
    before = fastrl.num_threads()
    yield fastrl.set_num_threads
    fastrl.set_num_threads(before)


@pytest.fixture
def dirty_memory(monkeypatch):
    """Fills what numpy.empty returns with a byte, so that elements nobody writes differ."""
    empty = np.empty

    def fill_with(byte):
        def dirty(shape, dtype=float, *arguments, **options):
            array = empty(shape, dtype, *arguments, **options)
            if array.dtype != object:
                array.reshape(-1).view(np.uint8).fill(byte)
            return array

        monkeypatch.setattr(np, "empty", dirty)

    return fill_with


@pytest.fixture(scope="module")
def torch_on_one_thread():
    """For models so small that handing work to a second thread takes longer than the work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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
