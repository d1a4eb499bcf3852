"""What is promised of the package as a whole: its names, its imports, its stub, its version."""

import ast
import importlib.metadata
import inspect
import subprocess
import sys
from pathlib import Path

import fastrl
import pytest
from fresh_process import finished_python, run_python

ROOT = Path(__file__).parent.parent

PUBLIC_NAMES = {
    "PolicyLoss",
    "PolicyLossSpec",
    "ReplayBuffer",
    "TokenStats",
    "TrajectoryStore",
    "__version__",
    "divergence_points",
    "gae",
    "group_advantages",
    "make_vec",
    "num_threads",
    "pivot_mask",
    "policy_loss",
    "positive_amplification",
    "set_num_threads",
    "token_log_probs",
}


def test_public_names_are_exactly_the_documented_ones():
    assert set(fastrl.__all__) == PUBLIC_NAMES
    packages = {"envs", "integrations", "recipes", "replay", "rollout"}
    assert set(dir(fastrl)) == PUBLIC_NAMES | packages


@pytest.mark.parametrize("name", sorted(PUBLIC_NAMES - {"__version__"}))
def test_every_public_name_has_a_docstring(name):
    assert inspect.getdoc(getattr(fastrl, name))


def test_version_is_that_of_the_distribution():
    assert fastrl.__version__ == importlib.metadata.version("fastrl")


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'fastrl' has no attribute 'nothing'"):
        fastrl.nothing  # noqa: B018


def test_import_needs_numpy_only():
    heavy = ["torch", "triton", "gymnasium", "trl", "typer", "rich", "matplotlib", "safetensors"]
    code = f"""
import sys
for name in {heavy}:
    sys.modules[name] = None
import fastrl
fastrl.num_threads()
loaded = [name for name in {heavy} if sys.modules[name] is not None]
assert not loaded, loaded
"""
    run_python(code)


def test_stub_of_the_native_module_is_up_to_date(tmp_path):
    pytest.importorskip("nanobind")
    fresh = tmp_path / "_core.pyi"
    command = [sys.executable, "-m", "nanobind.stubgen", "-q", "-m", "fastrl._core", "-o", fresh]
    subprocess.run(command, check=True)
    committed = ROOT / "python" / "fastrl" / "_core.pyi"
    assert committed.read_text() == fresh.read_text(), "run `make stubs`"


def test_kernels_import_triton_and_each_other_only():
    for path in (ROOT / "kernels").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                modules = [node.module or ""]
            else:
                continue
            assert all(m.startswith(("triton", "fastrl.kernels")) for m in modules), path


@pytest.mark.parametrize("threads", ["0", "two", "4000"])
def test_number_of_threads_in_the_environment_is_checked(threads):
    result = finished_python("import fastrl; fastrl.num_threads()", FASTRL_NUM_THREADS=threads)
    assert f"`FASTRL_NUM_THREADS` must be a whole number from 1 to 1024, got '{threads}'" in (
        result.stderr
    )


def test_number_of_threads_is_checked():
    with pytest.raises(ValueError, match="set_num_threads: `n` must be from 1 to 1024, got 0"):
        fastrl.set_num_threads(0)
    with pytest.raises(TypeError, match="set_num_threads: `n` must be an integer, got float"):
        fastrl.set_num_threads(1.5)
    with pytest.raises(ValueError, match="set_num_threads: `n` must be from 1 to 1024, got 1180"):
        fastrl.set_num_threads(2**70)


def test_instruction_set_in_the_environment_is_checked():
    result = finished_python("import fastrl", FASTRL_INSTRUCTION_SET="sse9")
    assert "`FASTRL_INSTRUCTION_SET` must be portable, x86-64-v3 or x86-64-v4" in result.stderr


def test_packages_are_there_without_an_import_of_their_own():
    code = "import fastrl; fastrl.envs.compile; fastrl.replay.HER; fastrl.rollout"
    assert finished_python(code).returncode == 0


def test_the_pool_survives_a_fork():
    code = """
import os
import fastrl
fastrl.set_num_threads(3)
pid = os.fork()
if pid == 0:
    assert fastrl.num_threads() == 3
    fastrl.set_num_threads(2)
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
"""
    run_python(code)


def readme_examples():
    parts = (ROOT / "README.md").read_text().split("```python\n")[1:]
    return [part.partition("```")[0] for part in parts]


@pytest.mark.parametrize("example", readme_examples(), ids=["losses", "time", "speed", "replay"])
def test_readme_example_runs(example):
    pytest.importorskip("torch")
    run_python(example)
