"""How dates, numbers and UUIDs of the standard library are stored, whose modules many programs never load."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone
from decimal import Context, Decimal, InvalidOperation
from fractions import Fraction
from types import NoneType
from typing import Any
from uuid import UUID, SafeUUID
from zoneinfo import ZoneInfo

from s3memo.codec.table import Extension, Fields, Record, short_repr


def _fraction(numerator: int, denominator: int) -> Fraction:
    if max(numerator.bit_length(), denominator.bit_length()) > _MAX_FRACTION_BITS:
        raise ValueError(f"its numerator or denominator has more than {_MAX_FRACTION_BITS} bits")
    return Fraction(numerator, denominator)


def _with_fold(kind: Callable[..., object]) -> Callable[..., object]:
    """Return a builder that passes the last part to `kind` as fold=."""
    return lambda *parts: kind(*parts[:-1], fold=parts[-1])


def _timezone_parts(value: Any) -> tuple[int, str | None]:
    """Return the offset in µs, and the name if it has one."""
    offset, *name = value.__getinitargs__()
    return offset // timedelta(microseconds=1), *(name or [None])


def _timezone(offset: int, name: str | None) -> timezone:
    delta = timedelta(microseconds=offset)
    return timezone(delta) if name is None else timezone(delta, name)


def _zone(key: str) -> ZoneInfo:
    if not _ZONE_KEY.fullmatch(key):  # never a path outside the time zone database, nor another package's module
        raise ValueError(f"{short_repr(key)} is not the name of a time zone")
    return ZoneInfo(key)


_MAX_FRACTION_BITS = 1 << 19  # reducing a fraction takes time quadratic in this
_ZONE_KEY = re.compile(r"[A-Za-z0-9_+-]+(?:/[A-Za-z0-9_+-]+)*", re.ASCII)
_DECIMAL = Context(traps=[InvalidOperation])  # with it Decimal(text) is exact and raises, whatever the thread's is

_INT, _STR, _BYTES = (int,), (str,), (bytes,)
_ZONE = (NoneType, timezone, ZoneInfo)
_DATE: Fields = {"year": _INT, "month": _INT, "day": _INT}
_TIME: Fields = {"hour": _INT, "minute": _INT, "second": _INT, "microsecond": _INT, "tzinfo": _ZONE, "fold": _INT}

EXTENSIONS: tuple[Extension, ...] = (
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
)
