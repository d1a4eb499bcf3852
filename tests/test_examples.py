"""The examples run as they are, and what they train improves."""

import re
from pathlib import Path

import pytest
from fresh_process import run_python

EXAMPLES = Path(__file__).parents[1] / "examples"


def run_example(name, *arguments):
    """Everything the example prints."""
    return run_python(EXAMPLES / name, *arguments, HF_HUB_OFFLINE="1")


def test_plain_loop_learns_to_copy_the_prompt():
    pytest.importorskip("torch")
    rewards = [float(x) for x in re.findall(r"reward (\d\.\d+)", run_example("plain_loop.py"))]
    assert rewards[0] < 0.3
    assert rewards[-1] > 0.9


def test_trl_example_learns_to_answer_with_colors():
    pytest.importorskip("trl")
    last_line = run_example("trl_grpo.py", "--steps", "15").splitlines()[-1]
    first, last = re.findall(r"\d\.\d+", last_line)
    assert float(last) > float(first) + 0.2
