"""How a type is stored: a tag with a code, which is part of the format for ever, and the parts of its value."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterable
from types import NoneType
from typing import Any, TypeAlias

import msgpack  # type: ignore[import-untyped]  # it comes without types


class Place(str):
    """A step into a value that no index takes: to an attribute, a key, a member of a set."""

    __slots__ = ()


class Extension:
    """How a type is stored: a tag with its code, which is part of the format for ever, then the parts of the value.

    `rebuild` is given parts that may be anything; whatever it raises means that no value consists of them.
    """

    def __init__(
        self,
        code: int,
        kind: type,
        *,
        take: Callable[[Any], Iterable[object]] = iter,
        rebuild: Callable[[list[Any]], object],
        mutable: bool = False,
    ) -> None:
        self.code = code
        self.kind = kind
        self.take = take
        self.rebuild = rebuild
        self.mutable = mutable
        self.tag = msgpack.ExtType(code, b"")


Fields: TypeAlias = dict[str, tuple[type, ...]]


class Record(Extension):
    """A type with a fixed list of parts: the name of each and the exact types that it may have, () for any."""

    def __init__(
        self,
        code: int,
        kind: type,
        fields: Fields,
        *,
        take: Callable[[Any], Iterable[object]] | None = None,
        build: Callable[..., object] | None = None,
        mutable: bool = False,
    ) -> None:
        super().__init__(code, kind, take=take or self._attributes, rebuild=self._checked, mutable=mutable)
        self.steps = [Place(f".{name}") for name in fields]
        self._fields = fields
        self._build = build or kind

    def _attributes(self, value: object) -> list[object]:
        return [getattr(value, name) for name in self._fields]

    def _checked(self, parts: list[Any]) -> object:
        for (name, kinds), part in zip(self._fields.items(), parts, strict=True):
            if kinds and type(part) not in kinds:
                expected = " or ".join("None" if kind is NoneType else type_name(kind) for kind in kinds)
                raise TypeError(f"its {name} is of type {type_name(type(part))}, not {expected}")
        return self._build(*parts)


def type_name(kind: type) -> str:
    """Return a type's name as a user would write it."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def short_repr(step: object) -> str:
    """Return a short representation, whatever `step` is."""
    try:
        return reprlib.repr(step)
    except ValueError:  # an int of more digits than Python agrees to print
        return f"<{type_name(type(step))}>"
