"""Previews of stored values. No stored code runs: only values of the codec's own types are decoded."""

from __future__ import annotations

import json
import reprlib
from typing import Any

from s3memo import codec
from s3memo.envelope import Envelope
from s3memo.errors import DecodeError

MAX_TEXT = 2000
"""How many characters of a value are shown."""

_BUILTIN = (type(None), bool, int, float, complex, str, bytes, bytearray, tuple, list, dict, set, frozenset)


def decoded(sealed: Envelope) -> Any:
    """Return the value in an envelope, or raise DecodeError with the reason not to show it."""
    if sealed.header.codec != "msgpack":
        raise DecodeError(f"it was written with codec={sealed.header.codec!r}, which runs code when it is loaded")
    return codec.decode(sealed.payload())


def preview(value: Any) -> str:
    """Return the value's repr, shortened."""
    try:
        text = _short.repr(value) if type(value) in _BUILTIN else repr(value)
    except Exception as error:  # noqa: BLE001  such as an int of over 4,300 digits, or a table its library cannot show
        return f"<{type(value).__qualname__}, which cannot be shown: {error}>"
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"


def as_json(value: Any) -> dict[str, Any]:
    """Return a preview for scripts, with the value itself if JSON can represent it."""
    document = {"preview": preview(value)}
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return document
    return {"value": value, **document}


class _Short(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 5
        self.maxdict = self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = 20
        self.maxstring = self.maxlong = 200
        self.maxother = 400

    def repr_bytes(self, value: bytes, _level: int) -> str:
        return repr(value) if len(value) <= self.maxstring else f"{value[: self.maxstring]!r}…"

    repr_bytearray = repr_bytes


_short = _Short()
