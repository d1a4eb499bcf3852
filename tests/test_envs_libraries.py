"""Environments of the user's own as a C library or a Python module."""

import ctypes
import shutil
import subprocess
import sys
import types

import pytest
from fastrl import make_vec
from fastrl.envs import get_include, load
from fastrl.envs.testing import check_vector_env
from own_envs import EXAMPLES, run_example, write

# --- Shared libraries -------------------------------------------------------------------------


def c_library(folder, *changes):
    """The example in C, with texts replaced."""
    text = (EXAMPLES / "c_env" / "bandit.c").read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    source = write(folder / "bandit.c", text)
    library = folder / "libbandit.so"
    include = ["-I", get_include()]
    command = ["cc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", *include]
    subprocess.run([*command, source, "-o", library], check=True)
    return library


def test_plain_c_is_enough(tmp_path):
    library = c_library(tmp_path)
    assert "expected 10" in run_example("c_env", str(library))
    env = make_vec(load(str(library)), 5, autoreset_mode="same_step")
    assert check_vector_env(env, steps=60).violations == {}
    with pytest.raises(ValueError, match=r"of CBandit-v0 \(none\), got 'arms'"):
        make_vec(load(library), 1, arms=3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("= FASTRL_ABI_VERSION", "= 99"), "built against version 4 of .* version 99; compile it"),
        (('"CBandit-v0"', "0"), "with an id, got none"),
        ((".step = step", ".step = 0"), "with a function step, got none in CBandit-v0"),
        ((".fork = fork_stream", ".fork = (void)fork_stream, 0"), "with a function fork"),
        ((".lanes = 1", ".lanes = 0"), "with 1 to 1024 lanes, got 0"),
        ((".lanes = 1", ".lanes = 8"), "with a function get"),
        (("= sizeof(State)", "= 0"), "whose states have 1 byte to 1 GiB, got 0"),
    ],
)
def test_tables_that_cannot_be_right_are_refused_at_once(tmp_path, change, message):
    if "(void)" in change[1]:
        change = (change[0], ".fork = 0")
        library = c_library(tmp_path, change, ("static void fork_stream", "void fork_stream"))
    else:
        loose = [("static void step", "void step")] if "step" in change[0] else []
        library = c_library(tmp_path, change, *loose)
    with pytest.raises(ValueError, match=f"load: `library` must .*{message}"):
        load(library)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("num_observations = 1", "num_observations = 99"), r"with 1 to \d+ observations, got 99"),
        (("num_observations = 1", "num_observations = 2"), "1 to 1 observations outside of a dict"),
        ((".high = {kPulls}", ".high = {-1}"), "low bounds not above high ones, got 0 and -1"),
        ((".high = {kPulls}", ".ndim = 1, .shape = {0}"), "fields of 1 to .* a side of 0"),
        ((".high = {kPulls}", ".ndim = 5"), "at most 4 dimensions a field, got 5"),
        (("FASTRL_DISCRETE", "7"), "with known dtypes and spaces, got dtype 4, 7"),
        (("d->num_obs", "d->num_infos = 1; d->num_obs"), "a pair of bounds for a field .* got 0"),
        (
            ("d->num_obs", "d->infos[0].num_bounds = d->num_infos = 1; d->num_obs"),
            "fields, options and labels have names",
        ),
    ],
)
def test_descriptions_that_cannot_be_right_are_refused(tmp_path, change, message):
    library = load(c_library(tmp_path, change))
    with pytest.raises(ValueError, match=f"make_vec: `id` must be an environment.*{message}"):
        make_vec(library, 1)


def test_libraries_without_a_table_are_refused(tmp_path):
    with pytest.raises(TypeError, match="load: `library` must be a path, got int"):
        load(3)
    with pytest.raises(FileNotFoundError, match="load: `library` must be a file"):
        load(tmp_path / "none.so")
    with pytest.raises(ValueError, match="load: `library` must be a library that loads"):
        load(write(tmp_path / "text.so", "no library"))
    other = c_library(tmp_path, ("fastrl_environment_table", "another_name"))
    with pytest.raises(ValueError, match="must export fastrl_environment_table, as FASTRL_ENV"):
        load(other)
    (tmp_path / "null").mkdir()
    null = c_library(tmp_path / "null", ("return &table", "return (void)&table, (void*)0"))
    with pytest.raises(ValueError, match=r"must return a table .*, got NULL"):
        load(null)


def test_what_holds_no_capsule_of_ours_is_refused():
    make_capsule = ctypes.pythonapi.PyCapsule_New
    make_capsule.restype = ctypes.py_object
    make_capsule.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    name = b"another.capsule"
    foreign = make_capsule(ctypes.addressof(ctypes.create_string_buffer(8)), name, None)
    module = types.ModuleType("module")
    module.__fastrl_environment__ = foreign
    for wrong in (foreign, module, types.ModuleType("empty"), 3, None):
        with pytest.raises(TypeError, match=r"make_vec: `id` must be a string, or hold a capsule"):
            make_vec(wrong, 1)


# --- Modules ----------------------------------------------------------------------------------


def test_a_pybind11_module_passes_its_environment(tmp_path, monkeypatch):
    pytest.importorskip("pybind11")
    if not shutil.which("cmake"):
        pytest.skip("cmake is not installed")
    configure = ["cmake", "-S", EXAMPLES / "pybind11_env", "-B", tmp_path]
    options = [f"-DPython_EXECUTABLE={sys.executable}", "-DCMAKE_BUILD_TYPE=Debug"]
    for command in ([*configure, *options], ["cmake", "--build", tmp_path]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    assert "caught 64 of 64" in run_example("pybind11_env", path=tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    import catch_env

    for source in (catch_env, catch_env.__fastrl_environment__):
        env = make_vec(source, 3, rows=4, columns=3)
        assert repr(env) == "Catch-v0(num_envs=3, rows=4, columns=3)"
        assert check_vector_env(env, steps=40).violations == {}


def test_a_nanobind_module_passes_its_environment(tmp_path):
    pytest.importorskip("nanobind")
    build = [sys.executable, EXAMPLES / "nanobind_env" / "build.py", tmp_path, "-O0"]
    subprocess.run(build, check=True)
    assert "by example 6.2 0.5" in run_example("nanobind_env", path=tmp_path)
