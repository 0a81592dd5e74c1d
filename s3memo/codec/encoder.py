"""Lowers a value to what msgpack packs, and the buffers beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any

import msgpack  # type: ignore[import-untyped]  # it comes without types

from s3memo.codec import registry
from s3memo.codec.builtin import PAIRS, TUPLE, pack_int
from s3memo.codec.classes import Classes, remedy
from s3memo.codec.table import PLAIN, Extension, Labelled, Place, Raw, Record, short_repr, type_name
from s3memo.codec.walk import walk
from s3memo.errors import EncodeError

MAX_DEPTH = 200
"""How deep containers may be nested."""

ALIGNMENT = 64
"""Bytes. Every buffer beside the body begins at a multiple of this."""

RAW_CODE = 0
"""The extension type that refers to a buffer beside the body; it holds the length, 8 bytes big endian."""

_STEPS_SHOWN = 10
_MANY = 1 << 20  # containers of containers; up to here repetitions do not matter
_MAX_UNFOLDING = 16
_all_plain = PLAIN.issuperset


class Encoder:
    """Encodes one value; `path` leads to the current part, so its length is the depth.

    `buffers` are those beside the body, in the order in which the body refers to them.
    """

    def __init__(self, value: object, classes: Classes) -> None:
        self.path: list[object] = []
        self.buffers: list[Raw] = []
        self._value = value
        self._classes = classes
        self._room = _MANY
        self._has_more_room = False

    def encode(self) -> bytes:
        """Return the body. Raises EncodeError."""
        lowered = self._lower(self._value)
        return _packer(self._pack_rest)(lowered)

    @property
    def place(self) -> str:
        """The current part as a Python expression on the result."""
        steps = [step if type(step) is Place else f"[{short_repr(step)}]" for step in self.path]
        if len(steps) > 2 * _STEPS_SHOWN:
            steps[_STEPS_SHOWN:-_STEPS_SHOWN] = ["…"]
        return "result" + "".join(steps)

    def _lower(self, value: Any) -> object:
        """Return `value` in types that msgpack packs; a container of only such types is returned as it is."""
        kind = type(value)
        if kind in PLAIN or kind is Raw:
            return value
        if kind is list or kind is Labelled:
            return self._lower_list(value)
        if kind is dict:
            return self._lower_dict(value)
        if kind is tuple:
            parts = value if _all_plain(map(type, value)) else self._lower_parts(enumerate(value))
            return [TUPLE.tag, *parts]
        extension = self._find(kind)
        if isinstance(extension, Record):
            return self._lower_record(extension, value)
        return [extension.tag, *self._lower_members(extension.take(value))]

    def _find(self, kind: type) -> Extension:
        try:
            extension = self._classes.by_kind(kind) or registry.by_kind(kind)
        except ImportError as error:
            raise EncodeError(f"{self.place} is of type {type_name(kind)}, and to store {error}") from error
        if extension is None:
            raise EncodeError(f"{self.place} is of type {type_name(kind)}, which {remedy(kind)}")
        return extension

    def _lower_parts(self, parts: Iterable[tuple[object, Any]]) -> list[object]:
        """Lower the parts of one container, each given with the step that leads to it."""
        if len(self.path) >= MAX_DEPTH:
            raise EncodeError(
                f"{self.place} is nested more than {MAX_DEPTH} levels deep, or the result contains itself. "
                "Return a flatter one"
            )
        self._room -= 1
        if self._room < 0:
            self._make_room()
        lowered: list[object] = []
        for step, part in parts:
            kind = type(part)
            if kind in PLAIN:
                lowered.append(part)
            elif kind is tuple and _all_plain(map(type, part)):
                lowered.append([TUPLE.tag, *part])
            else:
                self.path.append(step)
                lowered.append(self._lower(part))
                self.path.pop()
        return lowered

    def _lower_list(self, value: list[object] | Labelled) -> list[object]:
        if isinstance(value, Labelled):
            return self._lower_parts(zip(value.labels, value.items, strict=True))
        return value if _all_plain(map(type, value)) else self._lower_parts(enumerate(value))

    def _lower_dict(self, value: dict[object, object]) -> object:
        if not _all_plain(map(type, value)):
            parts = chain.from_iterable(((Place(".<key>"), key), (key, item)) for key, item in value.items())
            return [PAIRS.tag, *self._lower_parts(parts)]
        if _all_plain(map(type, value.values())):
            return value
        return dict(zip(value, self._lower_parts(value.items()), strict=True))

    def _lower_members(self, members: Iterable[Any]) -> list[object]:
        lowered = self._lower_parts((Place(".<member>"), member) for member in members)
        return sorted(lowered, key=_packer(_pack_in_place))

    def _lower_record(self, record: Record, value: object) -> list[object]:
        try:
            parts = list(record.take(value))
            if record.trial:
                record.rebuild(parts)  # a reader could not rebuild it either
        except Exception as error:  # each type has its own ways to refuse
            raise EncodeError(
                f"{self.place}, a {type_name(record.kind)}, cannot be stored so that it comes back: {error}"
            ) from error
        if _all_plain(map(type, parts)):
            return [record.tag, *parts]
        return [record.tag, *self._lower_parts(zip(record.steps, parts, strict=True))]

    def _make_room(self) -> None:
        """Allow a large value more containers, but not a small one whose repetitions unfold without end.

        `x = [x, x]`, forty times over, is forty lists and would be stored as 2**40.
        """
        if self._has_more_room:
            raise EncodeError(
                "the result holds the same parts in so many places that it would be stored as more than "
                f"{_MAX_UNFOLDING} times what it is. Return each part once"
            )
        self._has_more_room = True
        self._room = _MAX_UNFOLDING * sum(1 for _ in walk(self._value, self._classes))

    def _pack_rest(self, part: Any) -> object:
        """Pack what msgpack asks about: buffers, in the order of the body, and ints beyond 64 bits."""
        if type(part) is not Raw:
            return pack_int(part)
        self.buffers.append(part)
        return msgpack.ExtType(RAW_CODE, part.nbytes.to_bytes(8, "big"))


def _pack_in_place(part: Any) -> object:
    return b"".join(part.views) if type(part) is Raw else pack_int(part)


def _packer(default: Callable[[Any], object]) -> Callable[[object], bytes]:
    packer = msgpack.Packer(default=default, strict_types=True, unicode_errors="surrogatepass", buf_size=4096)
    pack: Callable[[object], bytes] = packer.pack
    return pack
