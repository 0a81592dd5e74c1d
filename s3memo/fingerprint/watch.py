"""Tells whether what a fingerprint was derived from has changed, without deriving it again.

Code and immutable values are compared by identity; mutable values are digested again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import _lru_cache_wrapper, cached_property
from itertools import repeat
from operator import is_
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, ModuleType
from typing import Any, Final

from s3memo.codec import is_immutable

_HOLDERS = (FunctionType, type, ModuleType, _lru_cache_wrapper, staticmethod, classmethod, property, cached_property)


ABSENT: Final = object()
"""The value of a name that is not defined, and of an empty cell."""


class Watch:
    """What was read, with its value at the time: names in namespaces, functions, cells, and mutable values.

    A mutable value has changed if its `digest` has. A change while reading is noticed later.
    """

    def __init__(self, digest: Callable[[Any], str | None]) -> None:
        self._digest = digest
        self._namespaces: dict[int, tuple[Mapping[str, Any], dict[str, Any]]] = {}
        self._sizes: list[tuple[Mapping[str, Any], int]] = []
        self._bases: list[tuple[type, tuple[type, ...]]] = []
        self._functions: dict[int, tuple[FunctionType, CodeType, bool, Any, Any]] = {}
        self._cells: dict[int, tuple[CellType, Any]] = {}
        self._mutable: dict[int, tuple[Any, str | None]] = {}

    def read(self, namespace: Mapping[str, Any], name: str) -> Any:
        """Return the value of a name in a module or class, or ABSENT, and watch it."""
        _, values = self._namespaces.setdefault(id(namespace), (namespace, {}))
        return values.setdefault(name, namespace.get(name, ABSENT))

    def read_all(self, namespace: Mapping[str, Any]) -> dict[str, Any]:
        """Return all of a namespace and watch it, for added and removed names too."""
        self._sizes.append((namespace, len(namespace)))
        return {name: self.read(namespace, name) for name in list(namespace)}

    def of_class(self, cls: type) -> dict[str, Any]:
        """Return all of a class's namespace, and watch it and the bases."""
        self._bases.append((cls, cls.__bases__))
        return self.read_all(vars(cls))

    def function(self, function: FunctionType, *, defaults: bool) -> None:
        """Watch a function's code, its cells and, if they count, its defaults."""
        values, keyword_values = (function.__defaults__, function.__kwdefaults__) if defaults else (None, None)
        self._functions[id(function)] = function, function.__code__, defaults, values, keyword_values
        self.value(values)
        for value in self.read_all(keyword_values).values() if keyword_values else ():
            self.value(value)
        for cell in function.__closure__ or ():
            content = content_of(cell)
            self._cells.setdefault(id(cell), (cell, content))
            self.value(content)

    def value(self, value: Any) -> None:
        """Watch the content of a value, if it can change."""
        if not _is_steady(value) and id(value) not in self._mutable:
            self._mutable[id(value)] = value, self._digest(value)

    def lone_function(self) -> tuple[FunctionType, CodeType] | None:
        """Return the function and its code if nothing else is watched."""
        others = self._namespaces or self._sizes or self._cells or self._mutable
        if others or len(self._functions) != 1:
            return None
        ((function, code, counts, _, _),) = self._functions.values()
        return None if counts else (function, code)

    def holds(self) -> bool:
        """Whether nothing has changed."""
        for function, code, counts, defaults, keyword_defaults in self._functions.values():
            if function.__code__ is not code:
                return False
            if counts and (function.__defaults__ is not defaults or function.__kwdefaults__ is not keyword_defaults):
                return False
        for cell, content in self._cells.values():
            if content_of(cell) is not content:
                return False
        for namespace, values in self._namespaces.values():
            if not all(map(is_, map(namespace.get, values, repeat(ABSENT)), values.values())):
                return False
        if self._sizes and not self._is_whole():
            return False
        return all(self._digest(value) == digest for value, digest in self._mutable.values()) if self._mutable else True

    def _is_whole(self) -> bool:
        """Whether no name was added or removed, and no class has other bases."""
        whole = all(len(namespace) == size for namespace, size in self._sizes)
        return whole and all(cls.__bases__ is bases for cls, bases in self._bases)


def content_of(cell: CellType) -> Any:
    """Return a cell's content, or ABSENT if it is empty."""
    try:
        return cell.cell_contents
    except ValueError:
        return ABSENT


def _is_steady(value: Any) -> bool:
    """Whether a value's content cannot change, or is watched otherwise, as functions and classes are."""
    if isinstance(value, _HOLDERS) or value is ABSENT:
        return True
    if isinstance(value, BuiltinFunctionType):
        return value.__self__ is None or isinstance(value.__self__, ModuleType)
    if type(value) in (tuple, frozenset):
        return all(map(_is_steady, value))
    return is_immutable(value)
