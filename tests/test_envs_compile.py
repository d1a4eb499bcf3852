"""Environments of the user's own from a C++ header: compiled, cached, checked."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fastrl import make_vec
from fastrl.envs import (
    CompiledEnvironment,
    CompileError,
    Environment,
    Snapshot,
    compile,
    get_include,
)
from fastrl.envs.testing import check_vector_env
from own_envs import EXAMPLES, run_example, write

HEADER = EXAMPLES / "compiled_env" / "my_env.hpp"
# Half a second to compile where the example takes one and a half.
SMALL = """#pragma once
#include <fastrl/environment.h>

struct Counter {
  static constexpr const char* kId = "Counter-v0";
  static constexpr std::uint32_t kVersion = 1;
  struct Params {};
  struct State { std::int64_t n; };
  static Params parse(fastrl::Options&) { return {}; }
  static void describe(const Params&, fastrl::Description& d) {
    d.add_observation(fastrl::discrete(1000));
    d.set_action(fastrl::discrete(2));
  }
  static State reset(const Params&, fastrl::RandomStream&) { return {7}; }
  static fastrl::StepResult step(const Params&, State& s, fastrl::RandomStream&, int action) {
    s.n += action;
    return {.reward = 1.0, .terminated = s.n == 10};
  }
  static void observe(const Params&, const State& s, const fastrl::Rows& rows) {
    *rows.at<std::int64_t>(0) = s.n;
  }
};

FASTRL_ENVIRONMENT(Counter);
"""
FAST_TO_COMPILE = ["-O0"]


@pytest.fixture(scope="module")
def shared_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def cache(shared_cache, monkeypatch):
    monkeypatch.setenv("FASTRL_CACHE_DIR", str(shared_cache))
    monkeypatch.delenv("CXX", raising=False)
    return shared_cache


@pytest.fixture
def counted_compiler(tmp_path):
    """A compiler that takes a note of each run, and how many there were."""
    notes = tmp_path / "notes"
    script = tmp_path / "count++"
    script.write_text(f'#!/bin/sh\ncase "$*" in *.so*) echo run >> {notes};; esac\nexec c++ "$@"\n')
    script.chmod(0o755)
    return str(script), lambda: len(notes.read_text().splitlines()) if notes.exists() else 0


@pytest.fixture(scope="module")
def ready(tmp_path_factory, shared_cache):
    """What the small header becomes."""
    source = write(tmp_path_factory.mktemp("ready") / "counter.hpp", SMALL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTRL_CACHE_DIR", str(shared_cache))
        patch.delenv("CXX", raising=False)
        return compile(source, flags=FAST_TO_COMPILE).library


@pytest.fixture
def copying_compiler(tmp_path, ready):
    """Takes a moment, then copies what was compiled before: the cache knows no difference."""
    script = tmp_path / "copy++"
    script.write_text(f"""#!/bin/sh
[ "$1" = --version ] && exit 0
while [ $# -gt 0 ]; do
  case "$1" in -o) out=$2;; -MF) rule=$2;; -include) source=$2;; esac
  shift
done
sleep 0.3
echo "out: $source" > "$rule"
cp {ready} "$out"
""")
    script.chmod(0o755)
    return str(script)


# --- Headers ----------------------------------------------------------------------------------


def test_example_header_is_short_and_runs():
    assert len(HEADER.read_text().splitlines()) <= 60
    output = run_example("compiled_env")
    assert -90 < float(re.search(r"return of a day (-[\d.]+)", output)[1]) < -30


@pytest.mark.parametrize("mode", ["next_step", "same_step", "disabled"])
def test_compiled_environment_is_an_environment_like_any_other(mode):
    compiled = compile(HEADER)
    assert isinstance(compiled, CompiledEnvironment)
    assert compiled.id == "Thermostat-v0"
    assert repr(compiled).startswith("CompiledEnvironment('Thermostat-v0', '")
    env = make_vec(compiled, 4, autoreset_mode=mode, insulation=0.5, max_episode_steps=9)
    assert repr(env) == "Thermostat-v0(num_envs=4, insulation=0.5)"
    assert env.single_observation_space.shape == (3,)
    assert check_vector_env(env, steps=40).violations == {}


def test_compiled_environment_travels_in_time():
    env = make_vec(compile(HEADER), 3, history=5)
    env.reset(seed=0)
    saved = env.snapshot()
    first = [env.step(np.array([0, 1, 2]))[0] for _ in range(5)]
    env.rewind(5)
    env.restore(Snapshot.concatenate([saved]))
    second = [env.step(np.array([0, 1, 2]))[0] for _ in range(5)]
    assert np.array_equal(first, second)
    one = Environment(compile(HEADER))
    assert one.reset(seed=0)[0].shape == (3,)


def test_installed_headers_are_complete(tmp_path):
    """Each includes installed ones only, below fastrl/, and all go together."""
    root = Path(get_include())
    headers = sorted(str(path.relative_to(root)) for path in root.rglob("*.h"))
    assert "fastrl/environment.h" in headers
    for header in headers:
        named = re.findall(r'#include "(.*)"', (root / header).read_text())
        assert set(named) <= set(headers), header
    all_of_them = "".join(f"#include <{header}>\n" for header in headers)
    source = write(tmp_path / "counter.hpp", all_of_them + SMALL.removeprefix("#pragma once"))
    warnings = ["-O0", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror"]
    assert compile(source, flags=warnings).id == "Counter-v0"


def test_padding_of_a_state_changes_no_hash_and_no_snapshot(tmp_path):
    """Here padding bytes are drawn at random, where a compiler leaves what lay there before."""
    text = SMALL.replace("{ std::int64_t n; }", "{ float x; std::int8_t flag; double n; }")
    text = text.replace("*rows.at<std::int64_t>(0) = s.n", "*rows.at<std::int64_t>(0) = int(s.n)")
    text = text.replace(
        "fastrl::RandomStream&) {\n    return {7};",
        "fastrl::RandomStream& level) {\n    return noisy(level, 7);",
    )
    text = text.replace(
        "fastrl::RandomStream&, int action) {\n    s.n += action;",
        "fastrl::RandomStream& random, int action) {\n    s = noisy(random, s.n + action);",
    )
    noisy = """static State noisy(fastrl::RandomStream& random, double n) {
    State s;
    std::memset(&s, static_cast<int>(random.below(256)), sizeof(s));
    s.x = 1;
    s.flag = 2;
    s.n = n;
    return s;
  }
  static Params parse"""
    text = text.replace("static Params parse", noisy, 1).replace(
        "#pragma once", "#include <cstring>"
    )
    env = make_vec(compile(write(tmp_path / "padded.hpp", text), flags=FAST_TO_COMPILE), 32)
    env.reset(seed=0)
    assert len(set(env.state_hash().tolist())) == 1
    env.step(np.ones(32, np.int64))
    assert len(set(env.state_hash().tolist())) == 1


def test_options_of_a_compiled_environment_are_checked():
    compiled = compile(HEADER)
    message = r"make_vec: `insulation` must be .*, got 1.5"
    with pytest.raises(ValueError, match=message):
        make_vec(compiled, 1, insulation=1.5)
    with pytest.raises(ValueError, match=r"of Thermostat-v0 \('insulation'\), got 'walls'"):
        make_vec(compiled, 1, walls=4)
    with pytest.raises(ValueError, match="`precision` must be 'exact' for Thermostat-v0"):
        make_vec(compiled, 1, precision="fast")
    with pytest.raises(ValueError, match="`preset` must be None for Thermostat-v0"):
        make_vec(compiled, 1, preset="ragen")


def test_a_library_exports_its_table_and_needs_nothing_of_the_core():
    if not shutil.which("nm"):
        pytest.skip("nm is not installed")
    shown = subprocess.run(
        ["nm", "-D", compile(HEADER).library], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    exported = [line.split()[-1] for line in shown if " T " in line or " D " in line]
    assert exported == ["fastrl_environment_table"]
    assert not [line for line in shown if " U " in line and "fastrl" in line]


# --- The cache --------------------------------------------------------------------------------


def test_compiles_again_only_where_something_changed(tmp_path, counted_compiler):
    compiler, count = counted_compiler
    start = write(tmp_path / "start.h", "#define START 7\n")
    text = SMALL.replace("return {7}", "return {START}").replace(
        "#include <", '#include "start.h"\n#include <', 1
    )
    source = write(tmp_path / "counter with spaces.hpp", text)

    def first_observation(flags=FAST_TO_COMPILE):
        env = make_vec(compile(str(source), compiler=compiler, flags=flags), 1)
        return int(env.reset()[0][0])

    assert first_observation() == 7
    assert first_observation() == 7
    assert count() == 1
    start.write_text("#define START 5\n")
    assert first_observation() == 5
    assert count() == 2
    start.write_text("#define START 7\n")
    source.write_text(text.replace("START}", "START + 1}"))
    assert first_observation(["-O0", "-DNOTHING"]) == 8
    assert count() == 3


@pytest.mark.parametrize("damage", ["", "[]", '{"library": "gone.so", "files": {}}', "{"])
def test_a_damaged_cache_is_made_anew(tmp_path, monkeypatch, copying_compiler, damage):
    monkeypatch.setenv("FASTRL_CACHE_DIR", str(tmp_path / "own"))
    source = write(tmp_path / "counter.hpp", SMALL)
    first = compile(source, compiler=copying_compiler)
    (record,) = (tmp_path / "own" / "environments").glob("*.json")
    whole = json.loads(record.read_text())
    record.write_text(damage)
    assert compile(source, compiler=copying_compiler).library == first.library
    assert json.loads(record.read_text()) == whole


def test_processes_may_compile_at_once(tmp_path, copying_compiler):
    code = (
        "import sys, fastrl.envs as e, fastrl\n"
        "env = fastrl.make_vec(e.compile(sys.argv[1], compiler=sys.argv[2]), 2)\n"
        "print(int(env.reset()[0].sum()))"
    )
    environment = {**os.environ, "FASTRL_CACHE_DIR": str(tmp_path / "own")}
    source = write(tmp_path / "counter.hpp", SMALL)
    command = [sys.executable, "-c", code, source, copying_compiler]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(3)
    ]
    assert [process.communicate()[0] for process in processes] == ["14\n"] * 3
    left = sorted(path.suffix for path in (tmp_path / "own" / "environments").iterdir())
    assert left == [".json", ".so"]


def test_the_cache_lies_where_caches_lie(tmp_path, monkeypatch, copying_compiler):
    monkeypatch.delenv("FASTRL_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    compiled = compile(write(tmp_path / "counter.hpp", SMALL), compiler=copying_compiler)
    assert compiled.library.parent == tmp_path / "fastrl" / "environments"


# --- What can be wrong with a header ----------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message", "line"),
    [
        (("s.n += action;", "s.n += actoin;"), r"counter.hpp:16: .*actoin.* not declared", 16),
        (("return {7};", "return {7}"), r"counter.hpp:14: .*expected ';'", 14),
        (("kVersion", "kVersoin"), r"Counter needs State and Params of plain bytes, kId, kV", 24),
        (("static void observe", "void observe"), "Counter needs describe and observe", 24),
        (("<fastrl/environment.h>", "<nothing.h>"), "counter.hpp:2: nothing.h: No such file", 2),
        (("kVersion", "kVersoin"), r"(?s)Counter needs State.*E::kVersion", 24),
    ],
)
def test_compiler_errors_name_the_place_in_the_users_file(tmp_path, change, message, line):
    assert change[0] in SMALL
    source = write(tmp_path / "counter.hpp", SMALL.replace(*change, 1))
    with pytest.raises(CompileError, match=message) as raised:
        compile(source, flags=FAST_TO_COMPILE)
    error = raised.value
    assert error.line == line
    assert error.file == str(source)
    assert "error" in error.log
    assert str(error).startswith("compile: counter.hpp:")
    assert "In file included" not in str(error)
    assert str(error).count("counter.hpp:") == 1


def test_a_header_without_the_macro_is_refused(tmp_path):
    source = write(tmp_path / "counter.hpp", SMALL.replace("FASTRL_ENVIRONMENT(Counter);", ""))
    with pytest.raises(ValueError, match="compile: `source` must export fastrl_environment_table"):
        compile(source, flags=FAST_TO_COMPILE)


def test_too_many_errors_are_counted(tmp_path):
    many = "\n".join(f"int a{i} = b{i};" for i in range(8))
    source = write(tmp_path / "counter.hpp", SMALL + many)
    with pytest.raises(CompileError, match="and 3 more errors"):
        compile(source, flags=FAST_TO_COMPILE)


def test_a_compiler_that_takes_too_long_is_stopped(tmp_path):
    script = write(tmp_path / "slow", '#!/bin/sh\n[ "$1" = --version ] || exec sleep 60\n')
    script.chmod(0o755)
    source = write(tmp_path / "counter.hpp", SMALL)
    with pytest.raises(CompileError, match=r"counter.hpp took longer than 0.2 s"):
        compile(source, compiler=str(script), timeout=0.2)


def test_a_compiler_that_does_nothing_is_noticed(tmp_path):
    source = write(tmp_path / "counter.hpp", SMALL)
    with pytest.raises(CompileError, match="the compiler wrote no library"):
        compile(source, compiler="true")
    with pytest.raises(CompileError, match=r"compile: counter.hpp"):
        compile(source, compiler="false")


def test_arguments_of_compile_are_checked(tmp_path, monkeypatch):
    source = write(tmp_path / "counter.hpp", SMALL)
    with pytest.raises(TypeError, match="compile: `source` must be a path, got int"):
        compile(3)
    with pytest.raises(FileNotFoundError, match=r"`source` must be a file, got .*none.hpp"):
        compile(tmp_path / "none.hpp")
    with pytest.raises(TypeError, match="compile: `flags` must be a sequence of strings, got '-g'"):
        compile(source, flags="-g")
    with pytest.raises(ValueError, match="`timeout` must be finite and greater than 0, got 0"):
        compile(source, timeout=0)
    with pytest.raises(FileNotFoundError, match=r"`compiler` must be a command, got 'nothing\+\+'"):
        compile(source, compiler="nothing++")
    monkeypatch.setenv("CXX", "no-such-compiler -g")
    with pytest.raises(FileNotFoundError, match="`CXX` must be a command"):
        compile(source)
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"`compiler` must be given, as none of c\+\+"):
        compile(source)
