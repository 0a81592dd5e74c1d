"""Rebuilds a value from untrusted bytes."""

from __future__ import annotations

from typing import Any

import msgpack  # type: ignore[import-untyped]  # it comes without types

from s3memo.codec import registry
from s3memo.codec.builtin import TUPLE
from s3memo.codec.classes import Classes
from s3memo.codec.encoder import ALIGNMENT, RAW_CODE
from s3memo.codec.table import Extension, Raw, type_name
from s3memo.errors import DecodeError

_CHUNK = 64 * 1024
_LENGTH_SIZE = 8


class Decoder:
    """Decodes one value, by msgpack's hooks, which are called in the order of the body, innermost first."""

    def __init__(self, view: memoryview, classes: Classes) -> None:
        self._view = view
        self._classes = classes
        self._position = 0  # of the first byte not yet referred to
        self._loose = 0  # tags and buffers whose array is not complete yet

    def decode(self) -> object:
        """Return the value. Raises DecodeError, and whatever foreign bytes make msgpack or a hash raise."""
        self._position = _body_size(self._view)
        value: object = msgpack.unpackb(
            self._view[: self._position],
            list_hook=self._rebuild,
            ext_hook=self._tag,
            strict_map_key=False,
            unicode_errors="surrogatepass",
            timestamp=1,  # encode writes none, and as a number it is harmless
        )
        if self._loose:
            raise DecodeError("these bytes are not a stored value: a tag or buffer stands where it belongs to nothing")
        if self._position != len(self._view):
            raise DecodeError(f"{len(self._view) - self._position} bytes follow the end of the stored value")
        return value

    def _tag(self, code: int, data: bytes) -> Extension | Raw:
        self._loose += 1
        if code == RAW_CODE and len(data) == _LENGTH_SIZE:
            return self._raw(int.from_bytes(data, "big"))
        try:
            extension = self._classes.by_code(code) or registry.by_code(code)
        except ImportError as error:
            raise DecodeError(f"these bytes hold a value of type number {code}, and to rebuild it {error}") from error
        if extension is None or data:
            raise DecodeError(f"these bytes hold a value of type number {code}, which this version does not know")
        return extension

    def _raw(self, size: int) -> Raw:
        """Return the next buffer: a view of the data if that is writable, else a copy."""
        start = self._position + -self._position % ALIGNMENT
        end = start + size
        if end > len(self._view) or any(self._view[self._position : start]):
            raise DecodeError(f"{len(self._view)} bytes do not hold the buffer of {size} that they refer to")
        self._position = end
        buffer = self._view[start:end]
        return Raw(bytearray(buffer) if buffer.readonly else buffer)

    def _rebuild(self, parts: list[Any]) -> object:
        if not (parts and isinstance(parts[0], Extension)):
            return parts
        self._loose -= 1
        extension, *parts = parts
        if extension is TUPLE:
            return tuple(parts)
        if extension.has_buffers:
            self._loose -= sum(type(part) is Raw for part in parts)
        try:
            return extension.rebuild(parts)
        except Exception as error:  # each constructor has its own ways to refuse
            raise DecodeError(f"a stored {type_name(extension.kind)} cannot be rebuilt: {error}") from error


def _body_size(view: memoryview) -> int:
    """Return the size of the body. It is scanned without building anything, so that no claimed length is trusted.

    Otherwise nested arrays that each claim to be as long as `view` would each reserve that much.
    """
    unpacker = msgpack.Unpacker(max_buffer_size=len(view))
    for start in range(0, len(view), _CHUNK):
        unpacker.feed(view[start : start + _CHUNK])
        try:
            unpacker.skip()
        except msgpack.OutOfData:
            continue
        return int(unpacker.tell())
    raise DecodeError(f"{len(view)} bytes are not all of a stored value")
