"""How a type is stored: a tag with a code, which is part of the format for ever, and the parts of its value."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterable, Sequence
from types import NoneType
from typing import Any, TypeAlias

import msgpack  # type: ignore[import-untyped]  # it comes without types

Buffer: TypeAlias = bytes | bytearray | memoryview

PLAIN = frozenset({NoneType, bool, int, float, str, bytes})
"""The types that are immutable, and that msgpack stores exactly."""

_INLINE = 1024
"""Bytes. A smaller buffer costs less in the body than beside it, with its alignment."""


class Place(str):
    """A step into a value that no index takes: to an attribute, a key, a member of a set."""

    __slots__ = ()


class Raw:
    """A buffer that is stored beside the body and not in it, at a multiple of 64 bytes.

    `views` show its bytes, piece by piece; once it is stored and read, it has one.
    """

    __slots__ = ("views",)

    def __init__(self, *pieces: Buffer) -> None:
        self.views = [memoryview(piece).cast("B") for piece in pieces]

    @property
    def nbytes(self) -> int:
        """How many bytes it has."""
        return sum(view.nbytes for view in self.views)


class Labelled:
    """A part of a Record that is stored as a list, and whose items are known by labels rather than positions."""

    __slots__ = ("items", "labels")

    def __init__(self, labels: Iterable[object], items: Iterable[object]) -> None:
        self.labels = labels
        self.items = items


class Items:
    """A kind of part: exactly a list or a tuple, of items that are exactly of some types.

    What else can be gone through may be long and take no bytes, as a range does.
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
"""The names of parts, and the kinds that each may be of."""

ANY: Kinds = (object,)
"""Of a part that is only kept, or that the type's own constructor checks without going through it."""

BUFFER: Kinds = (bytes, Raw)
"""Of a part that is a buffer, see Record; `buffer_part` makes it."""


def buffer_part(*pieces: Buffer) -> Raw | bytes:
    """Return a buffer, which is C-contiguous pieces, as a part of a Record.

    If it is large, no piece is copied: the encoder reads them where they are.
    """
    raw = Raw(*pieces)
    return b"".join(raw.views) if raw.nbytes < _INLINE else raw


class Extension:
    """How a type is stored: a tag with its code, which is part of the format for ever, then the parts of the value.

    `take` raises what it likes for a value that would not come back as it was. `rebuild` is given parts that may be
    anything; whatever it raises means that no value consists of them.
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
    """A type with a fixed list of parts: the name of each, and the kinds that it may be of.

    `build` is called with the parts; in place of a BUFFER with a memoryview of bytes, which is writable and its own
    when a value is decoded. Before a value is stored it is rebuilt as a trial, unless `trial` is False because `take`
    has refused all that would not come back.
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
    """Raise TypeError unless each part is of one of its kinds, ValueError unless they are as many as the fields."""
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
    """Raise TypeError for an instance that somebody has given attributes which a new one, such as `like`, does not have."""
    others = vars(value).keys() - vars(like).keys()
    if others:
        raise TypeError(f"it has attributes of its own, which would be lost: {', '.join(sorted(map(str, others)))}")


def _as_view(part: Raw | bytes) -> memoryview:
    if isinstance(part, Raw):
        (view,) = part.views
        return view
    return memoryview(bytearray(part))


def type_name(kind: type) -> str:
    """Return a type's name as a user would write it."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def short_repr(step: object) -> str:
    """Return a short representation, whatever `step` is."""
    try:
        return reprlib.repr(step)
    except ValueError:  # an int of more digits than Python agrees to print
        return f"<{type_name(type(step))}>"
