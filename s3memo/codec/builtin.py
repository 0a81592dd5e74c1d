"""How built-in types are stored, and those of modules that every program has loaded."""

from __future__ import annotations

import re
import struct
import sys
from array import array
from collections import Counter, OrderedDict, defaultdict, deque
from pathlib import PosixPath, PurePosixPath, PureWindowsPath, WindowsPath
from types import EllipsisType, NoneType, SimpleNamespace
from typing import Any

from s3memo.codec.table import ANY, BUFFER, Extension, Items, Record, buffer_part, check_attributes, short_repr


def _pairs(parts: list[Any]) -> dict[object, object]:
    return dict(zip(parts[::2], parts[1::2], strict=True))


def pack_int(value: int) -> list[object]:
    """Return an int beyond 64 bits, which msgpack cannot pack, as its two's complement."""
    return [LONG.tag, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)]


def _pattern(pattern: str | bytes, flags: int) -> re.Pattern[Any]:
    if len(pattern) > _MAX_PATTERN:
        raise ValueError(f"it is longer than {_MAX_PATTERN} characters")
    if flags & ~_FLAGS:
        raise ValueError("it has flags that do not change what is matched, such as re.DEBUG")
    return re.compile(pattern, flags)


def _layout(code: str, itemsize: int) -> str:
    """Return a number format with the byte order and size that it has on this machine: "<l8"."""
    return f"{'<' if sys.byteorder == 'little' else '>'}{code}{itemsize}"


def _format(layout: str) -> Any:
    """Return the format in a layout. Raises ValueError if it is unknown, or differs on this machine."""
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
_MAX_PATTERN = 10_000  # compiling may take a millisecond a character
_FLAGS = int(re.ASCII | re.IGNORECASE | re.LOCALE | re.MULTILINE | re.DOTALL | re.UNICODE | re.VERBOSE)

_INT, _FLOAT, _STR, _BYTES = (int,), (float,), (str,), (bytes,)
_DICT = (dict,)

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
    Record(26, array, {"layout": _STR, "data": BUFFER}, take=_array_parts, build=_array, mutable=True),
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
