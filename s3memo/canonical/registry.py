"""Which type is reduced to what: exact types, families of types, and the libraries whose types we know.

The module for a library is imported with the first value of one of its types, so that programs which do not use the
library do not pay for it.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, TypeAlias

from s3memo.canonical.names import is_reachable, qualified_name

Reduce: TypeAlias = Callable[[Any], Any]

_ROOMS = {
    "numpy": "arrays",
    "scipy": "arrays",
    "pandas": "pandas",
    "polars": "polars",
    "pyarrow": "arrow",
    "pytz": "zones",
    "dateutil": "zones",
}
_entered: set[str] = set()
_registered: dict[type, tuple[str, Reduce]] = {}
_exact: dict[type, tuple[str, Reduce]] = {}
_by_name: dict[str, tuple[str, Reduce]] = {}
_families: list[tuple[Callable[[type], bool], str, Reduce]] = []


class Fields(dict[str, Any]):
    """The parts of a value by attribute; reductions return it so that errors can say `event.tzinfo`."""


class ReductionError(Exception):
    """Raised by a reduction; its text is the full reason why a value has no form."""


def add_type(kind: type, tag: str, reduce: Reduce) -> None:
    """Reduce instances of exactly `kind` to values that have a form; errors of `reduce` are given as the reason."""
    _exact[kind] = tag, reduce


def register_type(kind: type, tag: str, reduce: Reduce) -> None:
    """As add_type, but it takes precedence over all reductions of ours for the type."""
    _registered[kind] = tag, reduce


def add_named_type(name: str, reduce: Reduce) -> None:
    """As add_type, for a type given as `module:qualname`, whose module is not imported for this."""
    _by_name[name] = name, reduce


def add_family(belongs: Callable[[type], bool], tag: str, reduce: Reduce) -> None:
    """As add_type, for all types for which `belongs` is true; their qualified name becomes part of the tag."""
    _families.append((belongs, tag, reduce))


def find_reduction(kind: type) -> tuple[str, Reduce] | None:
    """Return a type's tag and reduction, or None if it has none."""
    found = find_exact(kind) or _find_family(kind)
    if found is None and _enter_rooms(kind):
        return find_exact(kind) or _find_family(kind)
    return found


def find_exact(kind: type) -> tuple[str, Reduce] | None:
    """As find_reduction, without families and libraries."""
    found = _registered.get(kind) or _exact.get(kind)
    if found is not None:
        return found
    name = f"{kind.__module__}:{kind.__qualname__}"
    return _by_name[name] if name in _by_name and is_reachable(kind) else None


def _find_family(kind: type) -> tuple[str, Reduce] | None:
    family = ((f"{tag} {qualified_name(kind)}", reduce) for belongs, tag, reduce in _families if belongs(kind))
    return next(family, None)


def _enter_rooms(kind: type) -> bool:
    """Import the modules for the libraries of a type and its bases; return whether any is new."""
    libraries = {base.__module__.partition(".")[0] for base in kind.__mro__}
    rooms = {_ROOMS[library] for library in libraries & _ROOMS.keys()} - _entered
    for room in rooms:
        import_module(f"s3memo.canonical.{room}")
        _entered.add(room)
    return bool(rooms)
