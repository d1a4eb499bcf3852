"""Other libraries in comparisons: each is an optional import, and who is missing says why."""

import importlib
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType


class MissingError(Exception):
    """Why a rival cannot be here."""


def imported(name: str) -> ModuleType:
    """A rival's module."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingError(f"{name} cannot be imported ({error})") from error


def label(package: str, title: str | None = None) -> str:
    """Its name, or a nicer one, with its version."""
    try:
        return f"{title or package} {version(package)}"
    except PackageNotFoundError:
        return title or package
