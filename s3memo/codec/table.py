"""How a type is stored: a tag with a code, and the parts of its value."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterable, Sequence
from types import NoneType
from typing import Any, TypeAlias

import msgpack  # type: ignore[import-untyped]  # it comes without types

Buffer: TypeAlias = bytes | bytearray | memoryview

PLAIN = frozenset({NoneType, bool, int, float, str, bytes})
"""The immutable types that msgpack stores exactly."""

_INLINE = 1024
"""Bytes. A smaller buffer takes less space in the body than beside it, where it is aligned."""


class Place(str):
    """A step into a value other than an index: to an attribute, a key, a member of a set."""

    __slots__ = ()


class Raw:
    """A buffer that is stored beside the body, at a multiple of 64 bytes.

    `views` show its bytes, piece by piece; a decoded one has a single view.
    """

    __slots__ = ("views",)

    def __init__(self, *pieces: Buffer) -> None:
        self.views = [memoryview(piece).cast("B") for piece in pieces]

    @property
    def nbytes(self) -> int:
        """Its size in bytes."""
        return sum(view.nbytes for view in self.views)


class Labelled:
    """A part of a Record that is stored as a list, whose items errors name by labels rather than positions."""

    __slots__ = ("items", "labels")

    def __init__(self, labels: Iterable[object], items: Iterable[object]) -> None:
        self.labels = labels
        self.items = items


class Items:
    """A kind of part: exactly a list or a tuple, whose items are exactly of some types.

    Other iterables may be long yet take no bytes, such as a range.
    """

    __slots__ = ("container", "kinds")

    def __init__(self, container: type[list[Any] | tuple[Any, ...]], *kinds: type) -> None:
        self.container = container
        self.kinds = frozenset(kinds)

    def fits(self, part: Any) -> bool:
        """Whether a part is of this kind."""
        return type(part) is self.container and self.kinds.issuperset(map(type, part))

    def __str__(self) -> str:
        return f"{type_name(self.container)} of {' or '.join(sorted(map(type_name, self.kinds)))}"


Kinds: TypeAlias = tuple["type | Items", ...]
Fields: TypeAlias = dict[str, Kinds]
"""The names of parts, and the allowed kinds of each."""

ANY: Kinds = (object,)
"""The kinds of a part that is only kept, or that the type's constructor checks without iterating over it."""

BUFFER: Kinds = (bytes, Raw)
"""The kinds of a part that is a buffer, which `buffer_part` makes; see Record."""


def buffer_part(*pieces: Buffer) -> Raw | bytes:
    """Return a buffer, given as C-contiguous pieces, as a part of a Record; large ones are not copied."""
    raw = Raw(*pieces)
    return b"".join(raw.views) if raw.nbytes < _INLINE else raw


class Extension:
    """How a type is stored: a tag with its code, which must never change, then the parts of the value.

    `take` raises any error for a value that would not come back unchanged. `rebuild` gets untrusted parts; any error it
    raises means that they are not a value.
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
        self.has_buffers = False
        self.tag = msgpack.ExtType(code, b"")


class Record(Extension):
    """A type with a fixed list of parts, each with a name and allowed kinds.

    `build` is called with the parts; for a BUFFER it gets a memoryview, which is writable and not shared when a value is
    decoded. Before a value is stored it is rebuilt as a trial, unless `trial` is False because `take` already refuses
    what would not come back.
    """

    def __init__(
        self,
        code: int,
        kind: type,
        fields: Fields,
        *,
        take: Callable[[Any], Iterable[object]] | None = None,
        build: Callable[..., object] | None = None,
        mutable: bool = False,
        trial: bool = True,
    ) -> None:
        super().__init__(code, kind, take=take or self._attributes, rebuild=self._checked, mutable=mutable)
        self.steps = [Place(f".{name}") for name in fields]
        self.trial = trial
        self.has_buffers = BUFFER in fields.values()
        self._fields = fields
        self._build = build or kind

    def _attributes(self, value: object) -> list[object]:
        return [getattr(value, name) for name in self._fields]

    def _checked(self, parts: list[Any]) -> object:
        check_parts(self._fields, parts)
        if self.has_buffers:
            kinds_of_parts = zip(self._fields.values(), parts, strict=True)
            parts = [_as_view(part) if kinds is BUFFER else part for kinds, part in kinds_of_parts]
        return self._build(*parts)


def check_parts(fields: Fields, parts: Sequence[Any]) -> None:
    """Raise TypeError for a part that is of none of its kinds, ValueError for a wrong number of parts."""
    for (name, kinds), part in zip(fields.items(), parts, strict=True):
        kind = type(part)
        if kind not in kinds and (kinds is not ANY or kind is Raw) and not _fits_items(kinds, part):
            expected = " or ".join(map(_kind_name, kinds)) if kinds is not ANY else "a value"
            raise TypeError(f"its {name} is of type {type_name(kind)}, not {expected}")


def _fits_items(kinds: Kinds, part: object) -> bool:
    return any(isinstance(kind, Items) and kind.fits(part) for kind in kinds)


def _kind_name(kind: type | Items) -> str:
    if isinstance(kind, Items):
        return str(kind)
    return "None" if kind is NoneType else type_name(kind)


def check_attributes(value: object, like: object) -> None:
    """Raise TypeError for a value with attributes that a fresh one, such as `like`, does not have."""
    others = vars(value).keys() - vars(like).keys()
    if others:
        raise TypeError(f"it has attributes of its own, which would be lost: {', '.join(sorted(map(str, others)))}")


def _as_view(part: Raw | bytes) -> memoryview:
    if isinstance(part, Raw):
        (view,) = part.views
        return view
    return memoryview(bytearray(part))


HEAP_TYPE = 1 << 9
"""Py_TPFLAGS_HEAPTYPE, the flag of classes that are created at run time, as by a class statement."""


def type_name(kind: type) -> str:
    """Return a type's name as users know it."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def short_repr(step: object) -> str:
    """Return a short representation of any object."""
    try:
        return reprlib.repr(step)
    except ValueError:  # an int with more digits than Python prints
        return f"<{type_name(type(step))}>"
