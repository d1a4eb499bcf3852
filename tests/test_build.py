"""The sdist and the wheel made from it hold what they must, and the wheel works where it lands."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy
import pytest

ROOT = Path(__file__).parent.parent

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    pytest.importorskip("build")
    out = tmp_path_factory.mktemp("dist")
    # The CUDA part is left out for time; nothing here runs it.
    environment = {**os.environ, "SKBUILD_CMAKE_DEFINE": "FASTRL_CUDA=OFF"}
    bin_dir = str(Path(sys.executable).parent)
    environment["PATH"] = bin_dir + os.pathsep + environment["PATH"]
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return out


def names_in_wheel(dist):
    (wheel,) = dist.glob("*.whl")
    return set(zipfile.ZipFile(wheel).namelist()), wheel


def test_wheel_holds_the_package_and_the_kernels(dist):
    names, _ = names_in_wheel(dist)
    for path in (ROOT / "kernels").glob("*.py"):
        assert f"fastrl/kernels/{path.name}" in names
    for path in (ROOT / "python" / "fastrl").rglob("*.py"):
        assert path.relative_to(ROOT / "python").as_posix() in names
    assert {"fastrl/py.typed", "fastrl/_core.pyi"} <= names
    assert any(name.startswith("fastrl/_core.") and name.endswith(".so") for name in names)
    strays = {name for name in names if not name.startswith(("fastrl/", "fastrl-"))}
    assert not strays


def test_sdist_holds_the_sources_and_no_build_output(dist):
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"CMakeLists.txt", "pyproject.toml", "LICENSE", "csrc/core/thread_pool.cpp"} <= names
    assert "kernels/__init__.py" in names
    assert not {name for name in names if name.startswith(("build/", ".venv", "dist/", "demo/"))}


def test_wheel_works_where_it_is_installed(dist, tmp_path):
    _, wheel = names_in_wheel(dist)
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = """
import sys
import numpy as np
import fastrl
assert fastrl.__file__.startswith(sys.path[0]), fastrl.__file__
advantages = fastrl.group_advantages(np.float32([0, 1]), np.int64([7, 7]), scale="none")
np.testing.assert_array_equal(advantages, [-0.5, 0.5])
assert fastrl.__version__
"""
    # -S and -P leave out this environment's own editable install; NumPy comes by its folder.
    path = [str(tmp_path / "site"), str(Path(numpy.__file__).parent.parent)]
    result = subprocess.run(
        [sys.executable, "-S", "-P", "-c", f"import sys; sys.path[:0] = {path}\n{code}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
