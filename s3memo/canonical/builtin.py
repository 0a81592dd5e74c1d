"""Reductions of the standard library's types."""

from __future__ import annotations

import pathlib
from collections import Counter, OrderedDict, defaultdict, deque
from functools import partial
from typing import Any

from s3memo.canonical.form import Blocks
from s3memo.canonical.registry import Fields, Reduce, add_named_type, add_type


def _attributes(*names: str) -> Reduce:
    return lambda value: Fields((name, getattr(value, name)) for name in names)


def _moment(value: Any) -> Fields:
    """Reduce a datetime or time to its representation, since equal instants may display differently."""
    clock_face = value.replace(tzinfo=None, fold=0).isoformat()
    return Fields(clock_face=clock_face, fold=value.fold, tzinfo=value.tzinfo)


def _zone_key(zone: Any) -> str:
    if zone.key is None:
        raise ValueError("it was read from a file, and has no key")
    return str(zone.key)


def _array(value: Any) -> Fields:
    if value.typecode in "uw":
        return Fields(typecode=value.typecode, text=value.tounicode())
    return Fields(typecode=value.typecode, data=Blocks([memoryview(value).cast("B")]))


_REDUCTIONS: dict[type, tuple[str, Reduce]] = {
    OrderedDict: ("OrderedDict", lambda value: list(value.items())),
    Counter: ("Counter", dict),
    defaultdict: ("defaultdict", lambda value: Fields(default_factory=value.default_factory, items=dict(value))),
    deque: ("deque", lambda value: Fields(items=list(value), maxlen=value.maxlen)),
    range: ("range", _attributes("start", "stop", "step")),
    slice: ("slice", _attributes("start", "stop", "step")),
    partial: ("partial", _attributes("func", "args", "keywords")),
    # A Path can do what a PurePath cannot, so they differ; the file itself is not read.
    pathlib.PurePosixPath: ("PurePosixPath", str),
    pathlib.PosixPath: ("PosixPath", str),
    pathlib.PureWindowsPath: ("PureWindowsPath", str),
    pathlib.WindowsPath: ("WindowsPath", str),
}

_BY_NAME: dict[str, Reduce] = {  # types whose modules are not imported just for this table
    "datetime:datetime": _moment,
    "datetime:time": _moment,
    "datetime:date": lambda value: value.isoformat(),
    "datetime:timedelta": _attributes("days", "seconds", "microseconds"),
    "datetime:timezone": lambda value: Fields(offset=value.utcoffset(None), name=value.tzname(None)),
    "decimal:Decimal": lambda value: tuple(value.as_tuple()),  # 1.0 and 1.00 display, and divide, differently
    "fractions:Fraction": _attributes("numerator", "denominator"),
    "operator:attrgetter": lambda value: value.__reduce__()[1],
    "operator:itemgetter": lambda value: value.__reduce__()[1],
    "re:Pattern": _attributes("pattern", "flags"),
    "array:array": _array,
    "uuid:UUID": lambda value: value.bytes,
    "zoneinfo:ZoneInfo": _zone_key,
}

for _kind, (_name, _reduce) in _REDUCTIONS.items():
    add_type(_kind, _name, _reduce)
for _name, _reduce in _BY_NAME.items():
    add_named_type(_name, _reduce)
