"""Environments that others have compiled: from a shared library or another Python module."""

import ctypes
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Final, Protocol

from fastrl import _core
from fastrl._dispatch import Arguments, argument_error

_CAPSULE_NAME: Final = b"fastrl.environment"  # kept, as a capsule does not copy its name
_SYMBOL: Final = "fastrl_environment_table"


class HasEnvironment(Protocol):
    """What `make_vec` takes in the place of an id; a module may be one."""

    __fastrl_environment__: Any
    """A capsule named "fastrl.environment" around a ``const fastrl_environment*``."""


class LoadedEnvironment:
    """An environment from a shared library, for `make_vec`.

    Attributes:
        id: What the environment calls itself.
        library: The file. Its code stays loaded as long as the process lives.
    """

    def __init__(self, function: str, argument: str, library: Path) -> None:
        self.library = library
        self.__fastrl_environment__ = _capsule(function, argument, library)
        self.id: str = _core.environment_id(self.__fastrl_environment__, function, argument)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id!r}, {str(self.library)!r})"


def get_include() -> str:
    """The folder to compile against: ``-I`` for ``#include <fastrl/environment.h>``."""
    # Beside the compiled core in wheels and editable installs alike, and of the same build.
    assert _core.__file__ is not None
    return str(Path(_core.__file__).with_name("include"))


def load(library: str | PathLike[str]) -> LoadedEnvironment:
    """An environment from a shared library that exports ``fastrl_environment_table``.

    The function takes nothing and returns a ``const fastrl_environment*`` that stays valid; see
    ``fastrl/envs/environment_table.h`` in `get_include()`. In C++ ``FASTRL_ENVIRONMENT(MyEnv)``
    writes it. Load only what you trust: its code runs in this process.
    """
    if not isinstance(library, str | PathLike):
        raise argument_error("load", "library", "be a path", type(library).__name__, kind=TypeError)
    path = Path(fspath(library))
    if not path.is_file():
        raise argument_error("load", "library", "be a file", path, kind=FileNotFoundError)
    return LoadedEnvironment("load", "library", path)


def _capsule(function: str, argument: str, path: Path) -> Any:
    """The capsule of the one environment that a shared library exports."""
    try:
        table_function = getattr(ctypes.CDLL(str(path.resolve())), _SYMBOL)
    except AttributeError:
        expected = f"export {_SYMBOL}, as FASTRL_ENVIRONMENT(MyEnv) writes it"
        raise argument_error(function, argument, expected, path) from None
    except OSError as error:
        raise argument_error(function, argument, "be a library that loads", error) from None
    table_function.restype = ctypes.c_void_p
    table = table_function()
    if not table:
        raise argument_error(function, argument, f"return a table from {_SYMBOL}", "NULL")
    make_capsule = ctypes.pythonapi.PyCapsule_New
    make_capsule.restype = ctypes.py_object
    make_capsule.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    return make_capsule(table, _CAPSULE_NAME, None)


def capsule_of(function: str, argument: str, environment: object) -> Any:
    """The capsule of a loaded environment, a module, or the capsule itself."""
    capsule = getattr(environment, "__fastrl_environment__", environment)
    is_named = ctypes.pythonapi.PyCapsule_IsValid
    is_named.argtypes = [ctypes.py_object, ctypes.c_char_p]
    if not is_named(capsule, _CAPSULE_NAME):
        expected = 'be a string, or hold a capsule "fastrl.environment" in __fastrl_environment__'
        raise Arguments(function).error(argument, expected, repr(capsule), kind=TypeError)
    return capsule
