"""The key=value texts of --option."""

import json
from typing import Any

from fastrl._dispatch import argument_error

_PYTHON_BOOLS = {"True": "true", "False": "false"}


def read_option(command: str, option: str) -> tuple[str, Any]:
    """The key and the value of one key=value text.

    Values are read as JSON where they are JSON (numbers, true, null), True and False as Python
    means them, and all others as text.
    """
    key, equals, text = option.partition("=")
    if not (key and equals):
        raise argument_error(command, "--option", "be key=value", repr(option))
    try:
        return key, json.loads(_PYTHON_BOOLS.get(text, text))
    except ValueError:
        return key, text
