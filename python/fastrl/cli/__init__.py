"""The `fastrl` command. Needs typer, rich and torch: `pip install 'fastrl[train]'`."""

import sys
from importlib.util import find_spec


def main() -> None:
    """Runs the command, or says what is missing."""
    missing = [name for name in ("typer", "rich") if find_spec(name) is None]
    if missing:
        sys.exit(
            f"fastrl: the command line needs {' and '.join(missing)}: pip install 'fastrl[train]'"
        )
    from fastrl.cli.app import app

    app()
