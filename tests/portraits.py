"""Values as a test sees them: everything there is to see, and as bytes."""

from __future__ import annotations

import re
import struct
from array import array
from collections import deque
from decimal import Decimal
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import msgpack

from s3memo import codec
from s3memo.codec import NO_CLASSES, Classes


def encode(value: object, classes: Classes = NO_CLASSES) -> bytes:
    return b"".join(codec.encode(value, classes))


def portrait(value: Any) -> object:  # noqa: C901, PLR0911, PLR0912  one case a type
    """Everything there is to see of a value, as something that compares simply: types, signs, NaN bits, order."""
    kind = type(value)
    match value:
        case float():
            return kind, struct.pack(">d", value)
        case complex():
            return kind, portrait(value.real), portrait(value.imag)
        case list() | tuple():
            return kind, [portrait(item) for item in value]
        case set() | frozenset():
            return kind, sorted(map(repr, map(portrait, value)))
        case dict():
            factory = getattr(value, "default_factory", None)
            return kind, factory, [(portrait(key), portrait(item)) for key, item in value.items()]
        case deque():
            return kind, value.maxlen, [portrait(item) for item in value]
        case SimpleNamespace():
            return kind, portrait(vars(value))
        case array():
            return kind, value.typecode, value.tobytes()
        case memoryview():
            return kind, value.format, value.shape, value.readonly, value.tobytes()
        case slice():
            return kind, portrait((value.start, value.stop, value.step))
        case int():
            return kind, hex(value)
        case Decimal():
            return kind, value.as_tuple()
        case re.Pattern():
            return kind, value.pattern, value.flags
        case UUID():
            return kind, value.hex, value.is_safe
        case _:
            return kind, repr(value)


def tagged(code: int, *parts: object) -> bytes:
    """A stored value as the module's docstring describes it, with parts that `encode` might never write."""
    return msgpack.packb([msgpack.ExtType(code, b""), *parts], unicode_errors="surrogatepass")
