"""Descriptions of arguments for whoever inspects a store: scalars as they are, of all else the type and size."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from types import NoneType

MAX_TEXT = 100
"""How many characters may describe one argument."""

MAX_TOTAL = 1024
"""How many may describe all arguments of one call, their names included."""

_SCALARS = frozenset({NoneType, bool, int, float, complex, str, bytes, date, datetime, timedelta})
_SIZED = frozenset({list, tuple, dict, set, frozenset, bytearray})
_SHAPED = frozenset({"numpy", "pandas", "polars", "pyarrow", "scipy"})  # their shapes and dtypes are cheap to get
_MAX_INT_BITS = 256


def describe(arguments: Mapping[str, object]) -> dict[str, str]:
    """Return a short description of each argument; no code of an argument's own class is run.

    Once the total is too long, "…" stands for the remaining arguments.
    """
    described: dict[str, str] = {}
    left = MAX_TOTAL
    for name, value in arguments.items():
        text = _described(value)
        left -= len(name) + len(text)
        if left < 0:
            described["…"] = f"{len(arguments) - len(described)} more"
            break
        described[name] = text
    return described


def _described(value: object) -> str:
    kind = type(value)
    if kind in _SCALARS:
        return _scalar(value)
    if kind in _SIZED:
        return f"{kind.__name__} of {len(value)}"  # type: ignore[arg-type]
    words = [f"{kind.__module__}.{kind.__qualname__}"]
    if words[0].partition(".")[0] in _SHAPED:
        words += [f"{name} {getattr(value, name)}" for name in ("shape", "dtype") if hasattr(kind, name)]  # no column
    return _cut(" ".join(words))


def _scalar(value: object) -> str:
    if type(value) is int and value.bit_length() > _MAX_INT_BITS:
        return f"int of {value.bit_length()} bits"
    if isinstance(value, str | bytes):
        return _cut(repr(value[: MAX_TEXT + 1]))
    return _cut(repr(value))


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
