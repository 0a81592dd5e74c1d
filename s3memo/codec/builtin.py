"""How the types of Python and its standard library are stored."""

from __future__ import annotations

import re
import struct
import sys
from array import array
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone
from decimal import Context, Decimal, InvalidOperation
from fractions import Fraction
from pathlib import PosixPath, PurePosixPath, PureWindowsPath, WindowsPath
from types import EllipsisType, NoneType, SimpleNamespace
from typing import Any
from uuid import UUID, SafeUUID
from zoneinfo import ZoneInfo

from s3memo.codec.table import ANY, BUFFER, Extension, Fields, Items, Record, buffer_part, check_attributes, short_repr


def _pairs(parts: list[Any]) -> dict[object, object]:
    return dict(zip(parts[::2], parts[1::2], strict=True))


def pack_int(value: int) -> list[object]:
    """Return an int beyond 64 bits, which is all that msgpack still asks about, as its two's complement."""
    return [LONG.tag, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)]


def _fraction(numerator: int, denominator: int) -> Fraction:
    if max(numerator.bit_length(), denominator.bit_length()) > _MAX_FRACTION_BITS:
        raise ValueError(f"its numerator or denominator has more than {_MAX_FRACTION_BITS} bits")
    return Fraction(numerator, denominator)


def _pattern(pattern: str | bytes, flags: int) -> re.Pattern[Any]:
    if len(pattern) > _MAX_PATTERN:
        raise ValueError(f"it is longer than {_MAX_PATTERN} characters")
    if flags & ~_FLAGS:
        raise ValueError("it has flags that do not change what is matched, such as re.DEBUG")
    return re.compile(pattern, flags)


def _with_fold(kind: Callable[..., object]) -> Callable[..., object]:
    """Return a builder of `kind`, whose parts end in `fold`, a keyword."""
    return lambda *parts: kind(*parts[:-1], fold=parts[-1])


def _timezone_parts(value: Any) -> tuple[int, str | None]:
    """Return the offset in µs, and the name if it was given one."""
    offset, *name = value.__getinitargs__()
    return offset // timedelta(microseconds=1), *(name or [None])


def _timezone(offset: int, name: str | None) -> timezone:
    delta = timedelta(microseconds=offset)
    return timezone(delta) if name is None else timezone(delta, name)


def _zone(key: str) -> ZoneInfo:
    if not _ZONE_KEY.fullmatch(key):  # never a path out of the time zone database, nor a module of any other package
        raise ValueError(f"{short_repr(key)} is not the name of a time zone")
    return ZoneInfo(key)


def _layout(code: str, itemsize: int) -> str:
    """Return what a number's format is on this machine, where a C type has a size of its own: "<l8"."""
    return f"{'<' if sys.byteorder == 'little' else '>'}{code}{itemsize}"


def _format(layout: str) -> Any:
    """Return the format in a layout. Raises ValueError if it is none, or not the same here as where it was written."""
    code = layout[1:2]
    if code not in _NUMBER_FORMATS or layout != _layout(code, struct.calcsize(code)):
        raise ValueError(f"{short_repr(layout)} is no format of numbers on this machine")
    return code


def _view_parts(value: memoryview) -> list[object]:
    data = buffer_part(value if value.c_contiguous else value.tobytes())
    return [_layout(value.format, value.itemsize), value.shape, value.readonly, data]


def _view(layout: str, shape: tuple[int, ...], readonly: Any, data: memoryview) -> memoryview:
    view = data.cast(_format(layout), shape) if len(shape) != 1 else data.cast(_format(layout))
    if view.shape != shape:
        raise ValueError(f"{data.nbytes} bytes are not {short_repr(shape)} items")
    return view.toreadonly() if readonly else view


def _array_parts(value: array[Any]) -> list[object]:
    return [_layout(value.typecode, value.itemsize), buffer_part(memoryview(value))]


def _array(layout: str, data: memoryview) -> array[Any]:
    numbers: array[Any] = array(_format(layout))
    numbers.frombytes(data)
    return numbers


def _items(value: OrderedDict[Any, Any] | Counter[Any]) -> list[object]:
    check_attributes(value, type(value)())
    return [dict(value)]


def _defaultdict_parts(value: defaultdict[Any, Any]) -> list[object]:
    factory = value.default_factory
    if factory is not None and factory not in _FACTORIES.values():
        raise TypeError(f"its default_factory is none of {', '.join(_FACTORIES)}. Return dict(...) of it")
    return [None if factory is None else factory.__name__, dict(value)]


def _defaultdict(factory: str | None, items: dict[Any, Any]) -> defaultdict[Any, Any]:
    return defaultdict(None if factory is None else _FACTORIES[factory], items)


def _deque(items: list[Any], maxlen: int | None) -> deque[Any]:
    if maxlen is not None and len(items) > maxlen:
        raise ValueError(f"its {len(items)} items are more than its maxlen, {maxlen}")
    return deque(items, maxlen)


_NUMBER_FORMATS = "bBhHiIlLqQfd?c"
_FACTORIES = {
    kind.__name__: kind for kind in (bool, int, float, complex, str, bytes, list, tuple, dict, set, frozenset)
}
_MAX_FRACTION_BITS = 1 << 19  # to reduce a fraction takes time that grows with the square of this
_MAX_PATTERN = 10_000  # to compile a pattern may take a millisecond a character
_FLAGS = int(re.ASCII | re.IGNORECASE | re.LOCALE | re.MULTILINE | re.DOTALL | re.UNICODE | re.VERBOSE)
_ZONE_KEY = re.compile(r"[A-Za-z0-9_+-]+(?:/[A-Za-z0-9_+-]+)*", re.ASCII)
_DECIMAL = Context(traps=[InvalidOperation])  # Decimal(text, _DECIMAL) is exact and raises, whatever the thread's is

_INT, _FLOAT, _STR, _BYTES = (int,), (float,), (str,), (bytes,)
_ZONE = (NoneType, timezone, ZoneInfo)
_DICT = (dict,)
_DATE: Fields = {"year": _INT, "month": _INT, "day": _INT}
_TIME: Fields = {"hour": _INT, "minute": _INT, "second": _INT, "microsecond": _INT, "tzinfo": _ZONE, "fold": _INT}

TUPLE = Extension(1, tuple, rebuild=tuple)
PAIRS = Extension(4, dict, rebuild=_pairs, mutable=True)  # of keys that msgpack has no exact form for
LONG = Record(5, int, {"bytes": _BYTES}, build=lambda raw: int.from_bytes(raw, "big", signed=True))
EXTENSIONS: tuple[Extension, ...] = (
    TUPLE,
    Extension(2, set, rebuild=set, mutable=True),
    Extension(3, frozenset, rebuild=frozenset),
    PAIRS,
    LONG,
    Record(6, bytearray, {"bytes": _BYTES}, take=lambda value: [bytes(value)], mutable=True),
    Record(7, complex, {"real": _FLOAT, "imag": _FLOAT}),
    Record(8, range, {"start": _INT, "stop": _INT, "step": _INT}),
    Record(9, slice, {"start": ANY, "stop": ANY, "step": ANY}),
    Record(10, EllipsisType, {}),
    Record(
        11,
        Decimal,
        {"text": _STR},
        take=lambda value: [_DECIMAL.to_sci_string(value)],
        build=lambda text: Decimal(text, _DECIMAL),
    ),
    Record(12, Fraction, {"numerator": _INT, "denominator": _INT}, build=_fraction),
    Record(13, datetime, _DATE | _TIME, build=_with_fold(datetime)),
    Record(14, date, _DATE),
    Record(15, time, _TIME, build=_with_fold(time)),
    Record(16, timedelta, {"days": _INT, "seconds": _INT, "microseconds": _INT}),
    Record(17, timezone, {"offset": _INT, "name": (NoneType, str)}, take=_timezone_parts, build=_timezone),
    Record(18, ZoneInfo, {"key": _STR}, build=_zone),
    Record(
        19,
        UUID,
        {"bytes": _BYTES, "is_safe": (NoneType, int)},
        take=lambda value: [value.bytes, value.is_safe.value],
        build=lambda raw, is_safe: UUID(bytes=raw, is_safe=SafeUUID(is_safe)),
    ),
    *(
        Record(code, kind, {"path": _STR}, take=lambda value: [str(value)])
        for code, kind in enumerate((PurePosixPath, PureWindowsPath, PosixPath, WindowsPath), 20)
    ),
    Record(24, re.Pattern, {"pattern": (str, bytes), "flags": _INT}, build=_pattern),
    Record(
        25,
        memoryview,
        {"layout": _STR, "shape": (Items(tuple, int),), "readonly": (bool,), "data": BUFFER},
        take=_view_parts,
        build=_view,
        mutable=True,
    ),
    Record(
        26,
        array,
        {"layout": _STR, "data": BUFFER},
        take=_array_parts,
        build=_array,
        mutable=True,
    ),
    Record(27, OrderedDict, {"items": _DICT}, take=_items, mutable=True, trial=False),
    Record(28, Counter, {"items": _DICT}, take=_items, mutable=True, trial=False),
    Record(
        29,
        defaultdict,
        {"default_factory": (NoneType, str), "items": _DICT},
        take=_defaultdict_parts,
        build=_defaultdict,
        mutable=True,
        trial=False,
    ),
    Record(
        30,
        deque,
        {"items": (list,), "maxlen": (NoneType, int)},
        take=lambda value: [list(value), value.maxlen],
        build=_deque,
        mutable=True,
        trial=False,
    ),
    Record(
        31,
        SimpleNamespace,
        {"attributes": _DICT},
        take=lambda value: [vars(value)],
        build=lambda attributes: SimpleNamespace(**attributes),
        mutable=True,
    ),
)
