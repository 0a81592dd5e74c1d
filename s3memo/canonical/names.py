"""Names of classes and functions, the same whether their module is imported or run."""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Mapping
from typing import Any

_MAIN = frozenset({"__main__", "__mp_main__"})
_sent_from: dict[str, str] = {}
"""The name of the `__main__` of the process that last sent functions or classes of it to this one."""


def main_name() -> str:
    """Return the name of the main module, of the process that sent code to this one if any has."""
    return _sent_from.get("__main__") or module_name("__main__", vars(sys.modules["__main__"]))


def note_sender(main: str, thing: Any) -> None:
    """Note the name of the sender's main module, if the class or function is of that module."""
    if thing.__module__ in _MAIN:
        _sent_from["__main__"] = main


def qualified_name(thing: Any) -> str:
    """Return `module:qualname` of a class or function, the same whether its module is imported or run.

    What cloudpickle has brought from another process's main module has the name that it has there.
    """
    if _sent_from and thing.__module__ in _MAIN and not is_reachable(thing):
        return f"{main_name()}:{thing.__qualname__}"
    return f"{module_name(_public_module(thing), home_namespace(thing))}:{thing.__qualname__}"


def home_namespace(thing: Any) -> Mapping[str, Any]:
    """Return the namespace of a class's or function's module; a wrapper's module is that of what it wraps."""
    namespace: Mapping[str, Any] = {} if isinstance(thing, type) else getattr(thing, "__globals__", {})
    if namespace.get("__name__") == thing.__module__:
        return namespace
    module = sys.modules.get(thing.__module__)
    return vars(module) if module else namespace


def _public_module(thing: Any) -> str:
    """Return the module of a class or function; for a private one of Python's, the public module that exports it.

    Private modules differ between Python versions, such as `pathlib._local`.
    """
    name = str(thing.__module__)
    public = name.partition("._")[0]
    if public != name and public.partition(".")[0] in sys.stdlib_module_names and _is_found(thing, public):
        return public
    return name


def module_name(name: str, namespace: Mapping[str, Any]) -> str:
    """Return a module's name; for `__main__` the name it would be imported by, or that of its script."""
    if name not in _MAIN:
        return name
    spec, file = namespace.get("__spec__"), namespace.get("__file__")
    if spec is not None and spec.name.startswith("_pyrepl"):  # how Python 3.13 presents its REPL
        return "__main__"
    if spec is not None and spec.name != "__main__":
        return str(spec.name)
    return pathlib.PurePath(file).stem if file else "__main__"


def is_reachable(thing: Any) -> bool:
    """Whether a class or function is found under its qualified name, so that the name identifies it."""
    return _is_found(thing, thing.__module__)


def _is_found(thing: Any, module: str) -> bool:
    found: Any = sys.modules.get(module)
    for part in thing.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is thing
