"""Programs in a Python process of their own, which finds this folder's modules."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path


def finished_python(code, *arguments, timeout=100, **environment):
    """The finished process of a program that may fail.

    Args:
        code: A path, or lines of Python that may be indented.
        arguments: Of the program.
        timeout: Seconds.
        environment: Variables beside or instead of this process' own.
    """
    program = [code] if isinstance(code, Path) else ["-c", textwrap.dedent(code)]
    own = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent)}
    return subprocess.run(
        [sys.executable, *program, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
        env={**os.environ, **own, **environment},
    )


def run_python(code, *arguments, timeout=100, **environment):
    """What a program prints; one that fails, fails the test with all that it has said."""
    finished = finished_python(code, *arguments, timeout=timeout, **environment)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout
