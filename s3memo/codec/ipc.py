"""Checks of an untrusted Arrow IPC stream before an Arrow library reads it.

A stream is a sequence of messages, each a flatbuffer of metadata and the body it describes. Arrow libraries check that
references stay inside a message. They do not check the following: nothing may be compressed, so that nothing unpacks to
more than is there; no buffers may overlap, and no fields may share a dictionary, so that nothing small unfolds to many;
and only extension types built into Arrow may be named, since others run code registered in the process.
"""

from __future__ import annotations

import struct
from collections.abc import Container, Iterator

from s3memo.codec.table import short_repr

EXTENSION_KEY = b"ARROW:extension:name"
"""The key in a field's metadata that gives it an extension type."""

_CONTINUATION = b"\xff\xff\xff\xff"

END = _CONTINUATION + bytes(4)
"""The end of a stream."""

_SCHEMA, _DICTIONARY, _RECORD_BATCH = 1, 2, 3  # in the union MessageHeader
_MAX_NESTING = 64  # of types, as in Arrow's own readers


def check_stream(stream: memoryview, extension_types: Container[bytes]) -> None:
    """Raise ValueError unless `stream` is complete and safe for an Arrow library that validates what it reads.

    `extension_types` are the names of those built into Arrow.
    """
    position = 0
    while stream[position:] != END:
        start = position + 8
        end = start + _number("<4xI", stream, position)
        if stream[position : position + 4] != _CONTINUATION or not start < end <= len(stream):
            raise ValueError("it is not one Arrow IPC stream to its end")
        position = end + _check_message(_root(stream[start:end]), extension_types)


def _check_message(message: _Table, extension_types: Container[bytes]) -> int:
    """Check a message's metadata and return the size of the body that follows."""
    kind, header, body_size = message.number(1, "<B"), message.table(2), message.number(3, "<q")
    if kind == _SCHEMA:
        _check_fields(header.tables(1), extension_types, set(), depth=0)
    elif kind == _RECORD_BATCH:
        _check_batch(header)
    elif kind == _DICTIONARY:
        _check_batch(header.table(1))
    else:
        raise ValueError(f"it holds a message of kind {kind}")
    if body_size < 0:
        raise ValueError("it holds a body of negative size")
    return body_size


def _check_fields(
    fields: Iterator[_Table], extension_types: Container[bytes], dictionaries: set[int], depth: int
) -> None:
    if depth > _MAX_NESTING:
        raise ValueError(f"its types are nested more than {_MAX_NESTING} levels deep")
    for field in fields:
        field.string(0).decode()  # Arrow would not notice an invalid name before it is used
        for pair in field.tables(6):
            if pair.string(0) == EXTENSION_KEY and (name := pair.string(1)) not in extension_types:
                raise ValueError(f"{short_repr(name)} names an extension type that is not built into Arrow")
        if field.has(4):
            dictionary = field.table(4).number(0, "<q")
            if dictionary in dictionaries:
                raise ValueError("its fields share a dictionary")
            dictionaries.add(dictionary)
        _check_fields(field.tables(5), extension_types, dictionaries, depth + 1)


def _check_batch(batch: _Table) -> None:
    if batch.has(3):
        raise ValueError("it is compressed")
    end = 0
    for offset, length in batch.structs(2, "<qq"):
        if length and offset < end:
            raise ValueError("its buffers share bytes")
        end = max(end, offset + length)


class _Flatbuffer:
    """The bytes of a flatbuffer; `room` is how many more tables it can have without one that contains itself."""

    def __init__(self, flat: memoryview) -> None:
        self.flat = flat
        self.room = len(flat) // 4


class _Table:
    """A table of a flatbuffer, whose fields have the numbers of Arrow's schema files.

    Its methods raise ValueError for what lies outside the buffer.
    """

    def __init__(self, buffer: _Flatbuffer, position: int) -> None:
        buffer.room -= 1
        if buffer.room < 0:
            raise ValueError("it holds itself")
        self._buffer = buffer
        self._flat = buffer.flat
        self._position = position
        self._fields = position - _number("<i", buffer.flat, position)

    def has(self, field: int) -> bool:
        """Whether the field is present."""
        return self._find(field) is not None

    def number(self, field: int, layout: str) -> int:
        """Return a number, 0 if it is absent."""
        position = self._find(field)
        return 0 if position is None else _number(layout, self._flat, position)

    def table(self, field: int) -> _Table:
        """Return a table. Raises ValueError if it is absent."""
        position = self._find(field)
        if position is None:
            raise ValueError("it lacks a part")
        return _Table(self._buffer, self._follow(position))

    def tables(self, field: int) -> Iterator[_Table]:
        """Yield the tables of a vector, none if it is absent."""
        start, count = self._vector(field)
        for position in range(start, start + 4 * count, 4):
            yield _Table(self._buffer, self._follow(position))

    def string(self, field: int) -> bytes:
        """Return a string's bytes, empty if it is absent."""
        start, size = self._vector(field)
        return self._flat[start : start + size].tobytes()

    def structs(self, field: int, layout: str) -> Iterator[tuple[int, ...]]:
        """Yield the structs of a vector, none if it is absent."""
        start, count = self._vector(field)
        end = start + count * struct.calcsize(layout)
        if end > len(self._flat):
            raise ValueError("it is cut short")
        return struct.iter_unpack(layout, self._flat[start:end])

    def _vector(self, field: int) -> tuple[int, int]:
        """Return the position and the number of a vector's items."""
        position = self._find(field)
        if position is None:
            return 0, 0
        start = self._follow(position)
        return start + 4, _number("<I", self._flat, start)

    def _find(self, field: int) -> int | None:
        """Return the position of a field's value, or None if it is absent."""
        entry = 4 + 2 * field
        if entry >= _number("<H", self._flat, self._fields):
            return None
        offset = _number("<H", self._flat, self._fields + entry)
        return self._position + offset if offset else None

    def _follow(self, position: int) -> int:
        return position + _number("<I", self._flat, position)


def _root(flat: memoryview) -> _Table:
    return _Table(_Flatbuffer(flat), _number("<I", flat, 0))


def _number(layout: str, flat: memoryview, position: int) -> int:
    try:
        number: int = struct.unpack_from(layout, flat[max(position, 0) :])[0]
    except struct.error as error:
        raise ValueError("it is cut short") from error
    return number
