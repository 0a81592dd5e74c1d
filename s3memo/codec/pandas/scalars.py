"""How pandas' scalars, time zones and offsets are stored."""

from __future__ import annotations

import importlib
from datetime import time, timedelta, timezone, tzinfo
from types import NoneType
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # it comes without types

from s3memo.codec.table import ANY, Extension, Fields, Items, Kinds, Record, check_parts, short_repr, type_name

UNITS = ("s", "ms", "us", "ns")
"""pandas' units of time."""


def zone_part(zone: tzinfo | None) -> object:
    """Return a time zone as a part: itself, or the name of one of pytz's, which pandas 2 uses."""
    if type(zone) in _ZONES:
        return zone
    name = getattr(zone, "zone", None)
    if type(zone).__module__.partition(".")[0] == "pytz" and type(name) is str:
        return name
    raise TypeError(f"its time zone is of type {type_name(type(zone))}. Use one of zoneinfo")


def zone_of(part: Any) -> tzinfo | None:
    """Return the time zone for a part."""
    if type(part) is not str:
        return part  # type: ignore[no-any-return]  # its kind was checked: ZONE_PART
    pytz = importlib.import_module("pytz")
    if part not in pytz.all_timezones_set:  # never a path outside the time zone database
        raise ValueError(f"{short_repr(part)} is not the name of a time zone")
    return pytz.timezone(part)  # type: ignore[no-any-return]


def checked_unit(unit: str) -> str:
    """Return the unit. Raises ValueError if pandas does not have it."""
    if unit not in UNITS:
        raise ValueError(f"pandas has no unit {short_repr(unit)}")
    return unit


def _timestamp_parts(stamp: pd.Timestamp) -> list[object]:
    return [int(stamp.asm8.view(np.int64)), stamp.unit, zone_part(stamp.tz), stamp.fold]


def _timestamp(count: int, unit: str, zone: Any, fold: int) -> pd.Timestamp:
    stamp = pd.Timestamp(np.int64(count).view(f"M8[{checked_unit(unit)}]"))
    if zone is not None:
        stamp = stamp.tz_localize("UTC").tz_convert(zone_of(zone))
    return stamp if stamp.fold == fold else stamp.replace(fold=fold)


def _timedelta(count: int, unit: str) -> pd.Timedelta:
    return pd.Timedelta(np.int64(count).view(f"m8[{checked_unit(unit)}]"))


def _offset_parts(offset: pd.offsets.BaseOffset) -> list[object]:
    arguments = {name: value for name, value in offset.kwds.items() if name != "calendar"}  # derived from the others
    if _offset(type(offset).__name__, offset.n, offset.normalize, arguments) != offset:
        raise ValueError(f"{offset!r} is more than its arguments")
    return [type(offset).__name__, offset.n, offset.normalize, arguments]


def _offset(name: str, n: int, normalize: bool, arguments: dict[str, Any]) -> pd.offsets.BaseOffset:  # noqa: FBT001  it is a part
    check_parts(dict.fromkeys(arguments, _ARGUMENT), [*arguments.values()])
    return _OFFSETS[name](n, normalize, **arguments)


_ABSTRACT = (pd.offsets.BaseOffset, pd.offsets.Tick)
_OFFSETS = {
    kind.__name__: kind
    for kind in vars(pd.offsets).values()
    if isinstance(kind, type) and issubclass(kind, pd.offsets.BaseOffset) and kind not in _ABSTRACT
}
_ARGUMENT: Kinds = (NoneType, bool, int, float, str, timedelta, Items(tuple, time, np.datetime64))
_ZONES = (NoneType, timezone, ZoneInfo)

ZONE_PART = (*_ZONES, str)
"""The kinds of the part that `zone_part` makes."""

OFFSET_KINDS = tuple(_OFFSETS.values())

_INT, _STR = (int,), (str,)
_TIME: Fields = {"count": _INT, "unit": _STR}

EXTENSIONS: tuple[Extension, ...] = (
    Record(58, pd.Timestamp, _TIME | {"tz": ZONE_PART, "fold": _INT}, take=_timestamp_parts, build=_timestamp),
    Record(59, pd.Timedelta, _TIME, take=lambda delta: [int(delta.asm8.view(np.int64)), delta.unit], build=_timedelta),
    Record(60, type(pd.NaT), {}, build=lambda: pd.NaT),
    Record(61, type(pd.NA), {}, build=lambda: pd.NA),
    Record(
        62,
        pd.Period,
        {"ordinal": _INT, "freq": OFFSET_KINDS},
        build=lambda ordinal, freq: pd.Period(ordinal=ordinal, freq=freq),
    ),
    Record(63, pd.Interval, {"left": ANY, "right": ANY, "closed": _STR}),
    *(
        Record(
            64,
            kind,
            {"name": _STR, "n": _INT, "normalize": (bool,), "kwds": (dict,)},
            take=_offset_parts,
            build=_offset,
        )
        for kind in OFFSET_KINDS
    ),
)
