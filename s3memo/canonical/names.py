"""What a class or function is called, the same whether its module is imported or run."""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Mapping
from typing import Any

_MAIN = frozenset({"__main__", "__mp_main__"})
_sent_from: dict[str, str] = {}
"""What `__main__` is called where things of it came from that are not in this process's own: what sent last decides."""


def main_name() -> str:
    """Return the name of the module that is run, here or where this process was sent its things from."""
    return _sent_from.get("__main__") or module_name("__main__", vars(sys.modules["__main__"]))


def note_sender(main: str, thing: Any) -> None:
    """Learn the name of the module that was run where a class or function came from, if that is where it is from."""
    if thing.__module__ in _MAIN:
        _sent_from["__main__"] = main


def qualified_name(thing: Any) -> str:
    """Return `module:qualname` of a class or function, the same whether its module is imported or run.

    What cloudpickle has brought from the module that was run in another process goes by the name that it has there.
    """
    if _sent_from and thing.__module__ in _MAIN and not is_reachable(thing):
        return f"{main_name()}:{thing.__qualname__}"
    return f"{module_name(_public_module(thing), home_namespace(thing))}:{thing.__qualname__}"


def home_namespace(thing: Any) -> Mapping[str, Any]:
    """Return the names of the module that a class or function is of; a wrapper is of the module of what it wraps."""
    namespace: Mapping[str, Any] = {} if isinstance(thing, type) else getattr(thing, "__globals__", {})
    if namespace.get("__name__") == thing.__module__:
        return namespace
    module = sys.modules.get(thing.__module__)
    return vars(module) if module else namespace


def _public_module(thing: Any) -> str:
    """Return the module that a class or function is of, or the one that shows what Python keeps in a private one.

    Where Python keeps its own things differs from one version to the next, as in `pathlib._local`.
    """
    name = str(thing.__module__)
    public = name.partition("._")[0]
    if public != name and public.partition(".")[0] in sys.stdlib_module_names and _is_found(thing, public):
        return public
    return name


def module_name(name: str, namespace: Mapping[str, Any]) -> str:
    """Return a module's name; of the one that is run, the name it would be imported by, or its script's."""
    if name not in _MAIN:
        return name
    spec, file = namespace.get("__spec__"), namespace.get("__file__")
    if spec is not None and spec.name.startswith("_pyrepl"):  # how Python 3.13 presents its REPL
        return "__main__"
    if spec is not None and spec.name != "__main__":
        return str(spec.name)
    return pathlib.PurePath(file).stem if file else "__main__"


def is_reachable(thing: Any) -> bool:
    """Whether a class or function is what its qualified name leads to, so that the name alone identifies it."""
    return _is_found(thing, thing.__module__)


def _is_found(thing: Any, module: str) -> bool:
    found: Any = sys.modules.get(module)
    for part in thing.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is thing


def display_name(kind: type) -> str:
    """Return a type's name as a user knows it."""
    return f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
