"""The examples of environments of one's own."""

from pathlib import Path

from fresh_process import run_python

EXAMPLES = Path(__file__).parents[1] / "examples"


def write(path, text):
    path.write_text(text)
    return path


def run_example(name, *arguments, path=""):
    return run_python(EXAMPLES / name / "run.py", *arguments, PYTHONPATH=str(path))
