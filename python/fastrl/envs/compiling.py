"""Environments of the user's own, compiled when they are needed and kept for the next time."""

import functools
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Final

from fastrl._dispatch import Arguments
from fastrl.envs.foreign import LoadedEnvironment, get_include

# As the environments of the library are compiled: numbers do not depend on the instruction set.
_FLAGS: Final = (
    *("-std=c++20", "-O3", "-fPIC", "-shared", "-fvisibility=hidden"),
    *("-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-DNDEBUG"),
)
_COMPILERS: Final = ("c++", "g++", "clang++")
_DIAGNOSTIC: Final = re.compile(
    r"^(?P<file>[^\s:][^:\n]*):(?P<line>\d+):(?:(?P<column>\d+):)? "
    r"(?P<kind>fatal error|error|warning|note): (?P<text>.*)$"
)
_MAX_ERRORS, _MAX_LINES = 5, 8


class CompileError(RuntimeError):
    """An environment does not compile.

    Attributes:
        file: Where the first error is; None if the compiler named no place, as do `line`.
        line: From 1.
        log: Everything that the compiler wrote.
    """

    def __init__(self, message: str, file: str | None, line: int | None, log: str) -> None:
        super().__init__(message)
        self.file = file
        self.line = line
        self.log = log


class CompiledEnvironment(LoadedEnvironment):
    """An environment that `compile` made, for `make_vec`."""


def compile(
    source: str | PathLike[str],
    *,
    compiler: str | None = None,
    flags: Sequence[str] = (),
    timeout: float = 300.0,
) -> CompiledEnvironment:
    """Compiles an environment from a C++ file, unless that was done before.

        #include <fastrl/environment.h>
        struct MyEnv { … };
        FASTRL_ENVIRONMENT(MyEnv);

    The library is kept below ``$FASTRL_CACHE_DIR``, ``$XDG_CACHE_HOME/fastrl`` or
    ``~/.cache/fastrl`` under a name made of the compiler's version, the flags and the contents of
    the source and all it includes, but for the system's headers. Processes may compile at once.

    What its functions throw becomes a RuntimeError that names the environment, the function and
    the reason. In `step`, `unroll`, `recv` and `reset` all other environments of the batch make
    their step first; the one that threw must be reset (or rewound) before its next.

    Args:
        source: A header or a C++ file.
        compiler: A command; ``$CXX`` if None, else the first of c++, g++ and clang++. It compiles
            C++20 and uses the C++ library that this Python's modules use.
        flags: After fastrl's own, such as ``-march=native`` or ``-g``.
        timeout: Seconds for the compiler.

    Returns:
        ``make_vec(compiled, num_envs, **options)`` takes it in the place of an id.

    Raises:
        CompileError: With the compiler's messages about the source, and the place of the first.
    """
    arguments = Arguments("compile")
    if not isinstance(source, str | PathLike):
        raise arguments.error("source", "be a path", type(source).__name__, kind=TypeError)
    path = Path(fspath(source)).resolve()
    if not path.is_file():
        raise arguments.error("source", "be a file", path, kind=FileNotFoundError)
    if isinstance(flags, str) or not all(isinstance(flag, str) for flag in flags):
        raise arguments.error("flags", "be a sequence of strings", repr(flags), kind=TypeError)
    seconds = arguments.number("timeout", timeout, low=0.0, exclusive_low=True)
    command = [*_compiler_command(arguments, compiler), *_FLAGS, *flags]
    folder = _cache_folder()
    key = _key(path, command)
    library = _kept(folder, key) or _built(folder, key, path, command, seconds)
    return CompiledEnvironment("compile", "source", library)


def _compiler_command(arguments: Arguments, compiler: str | None) -> list[str]:
    given = os.environ.get("CXX") if compiler is None else compiler
    if not given:
        found = next(filter(None, map(shutil.which, _COMPILERS)), None)
        if found is None:
            expected = f"be given, as none of {', '.join(_COMPILERS)} is on the path"
            raise arguments.error("compiler", expected, compiler, kind=FileNotFoundError)
        return [found]
    command = shlex.split(given)
    found = shutil.which(command[0]) if command else None
    if found is None:
        name = "compiler" if compiler is not None else "CXX"
        raise arguments.error(name, "be a command", repr(given), kind=FileNotFoundError)
    return [found, *command[1:]]


def _cache_folder() -> Path:
    own = os.environ.get("FASTRL_CACHE_DIR")
    if own:
        folder = Path(own)
    else:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fastrl"
    folder = folder / "environments"
    # Its content is run: nobody else may write there.
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


# --- The cache --------------------------------------------------------------------------------


def _key(source: Path, command: Sequence[str]) -> str:
    """Names what is known before anything is compiled, but for the files that are included."""
    version = _compiler_version(command[0], Path(command[0]).stat().st_mtime_ns)
    parts = [str(source), *command, version, _digest_of_includes(get_include())]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


@functools.cache
def _compiler_version(compiler: str, modified: int) -> str:
    shown = subprocess.run(
        [compiler, "--version"], capture_output=True, text=True, timeout=60, check=False
    )
    return f"{modified} {shown.stdout}"


@functools.cache
def _digest_of_includes(folder: str) -> str:
    return _digest(*sorted(Path(folder).rglob("*.h")))


def _digest(*files: Path) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _kept(folder: Path, key: str) -> Path | None:
    """The library, if all that it was made of is as it was."""
    try:
        record = json.loads((folder / f"{key}.json").read_text())
        library = folder / str(record["library"])
        if all(_digest(Path(file)) == digest for file, digest in record["files"].items()):
            return library if library.is_file() else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # not there, or damaged: it is made anew
    return None


def _built(folder: Path, key: str, source: Path, command: Sequence[str], timeout: float) -> Path:
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        made, rule = Path(scratch) / "library.so", Path(scratch) / "rule.d"
        # The source is included, so that a header may say #pragma once.
        files = ["-MMD", "-MF", str(rule), "-isystem", get_include(), "-include", str(source)]
        log = _run([*command, *files, "-x", "c++", os.devnull, "-o", str(made)], source, timeout)
        if not made.is_file():
            raise CompileError(f"compile: the compiler wrote no library\n{log}", None, None, log)
        digests = {str(file): _digest(file) for file in _dependencies(rule, source)}
        # Another content, another name: a library that is loaded stays as it is.
        content = hashlib.sha256("\0".join([key, *digests.values()]).encode()).hexdigest()[:24]
        library = folder / f"{source.stem}-{content}.so"
        record = Path(scratch) / "record.json"
        record.write_text(json.dumps({"library": library.name, "files": digests}))
        # Whoever is first or last: both are complete, and the same.
        made.replace(library)
        record.replace(folder / f"{key}.json")
    return library


def _dependencies(rule: Path, source: Path) -> Iterator[Path]:
    """What a rule for make names on its right side, but for the system's headers."""
    text = rule.read_text().replace("\\\n", " ")
    names = re.findall(r"(?:\\ |[^\s])+", text.split(": ", 1)[1])
    files = {Path(name.replace("\\ ", " ").replace("$$", "$")).resolve() for name in names}
    yield from sorted({source, *files} - {Path(os.devnull)})


# --- The compiler -----------------------------------------------------------------------------


def _run(command: Sequence[str], source: Path, timeout: float) -> str:
    environment = {**os.environ, "LC_ALL": "C", "GCC_COLORS": ""}
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
            env=environment,
        )
    except subprocess.TimeoutExpired as error:
        log = error.stderr.decode(errors="replace") if isinstance(error.stderr, bytes) else ""
        message = f"compile: {source.name} took longer than {timeout:g} s"
        raise CompileError(message, None, None, log) from None
    if done.returncode != 0:
        raise _compile_error(done.stderr, source)
    return done.stderr


def _compile_error(log: str, source: Path) -> CompileError:
    """The errors in the user's own files first; the compiler's whole log where there are none."""
    blocks: list[tuple[re.Match[str], list[str]]] = []
    for line in log.splitlines():
        match = _DIAGNOSTIC.match(line)
        if match:
            blocks.append((match, []))
        elif blocks and line.startswith((" ", "\t")):
            blocks[-1][1].append(line)
    include = Path(get_include()).resolve()
    errors = [(match, rest) for match, rest in blocks if "error" in match["kind"]]
    own = [
        (match, rest)
        for match, rest in errors
        if Path(match["file"]).resolve().is_relative_to(source.parent)
        and not Path(match["file"]).resolve().is_relative_to(include)
    ]
    # Only the first of a line: a macro's failure has others behind it.
    chosen = list(
        {(m["file"], m["line"]): (m, rest) for m, rest in reversed(own or errors)}.values()
    )
    chosen.reverse()
    if not chosen:
        return CompileError(f"compile: {source.name}\n{log.strip()}", None, None, log)
    lines: list[str] = []
    for match, rest in chosen[:_MAX_ERRORS]:
        file = Path(match["file"])
        lines.append(f"{file.name}:{match['line']}: {match['text']}")
        lines.extend(rest[:2])
        lines.extend(_reasons(blocks, match))
    if len(chosen) > _MAX_ERRORS:
        lines.append(f"and {len(chosen) - _MAX_ERRORS} more errors")
    first = chosen[0][0]
    return CompileError("compile: " + "\n".join(lines), first["file"], int(first["line"]), log)


def _reasons(blocks: list[tuple[re.Match[str], list[str]]], error: re.Match[str]) -> list[str]:
    """The notes that belong to an error, such as which requirement of a concept is not met."""
    at = next(i for i, (match, _) in enumerate(blocks) if match is error)
    reasons: list[str] = []
    for match, rest in blocks[at + 1 :]:
        if match["kind"] != "note" or len(reasons) >= _MAX_LINES:
            break
        if "require" in match["text"] or "because" in match["text"]:
            reasons.extend([f"  {match['text']}", *rest[:1]])
    return reasons
