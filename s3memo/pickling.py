"""The pickle codec, for results that only pickle can store. Loading a pickle runs whatever its writer wanted to run.

So it is read by no cache that did not ask for it, and only from objects whose MAC that cache's own signing keys made.
"""

from __future__ import annotations

import pickle
from typing import Any

from s3memo.errors import DecodeError, EncodeError

_PROTOCOL = 5  # of every Python that s3memo runs on, so that all of a fleet can read what one writes


def encode(value: object) -> list[bytes]:
    """Return `value` as pickle stores it, or raise EncodeError."""
    try:
        return [pickle.dumps(value, _PROTOCOL)]
    except Exception as error:  # each class has its own ways to refuse
        raise EncodeError(
            f"the result, of type {type(value).__qualname__}, holds what cannot be pickled: {error}. "
            "Return what it is made of, at the best of types that msgpack stores"
        ) from error


def decode(data: bytes | bytearray | memoryview) -> Any:
    """Return the value that was pickled, or raise DecodeError. What is given must come from a trusted writer."""
    try:
        return pickle.loads(data)  # noqa: S301  the caller has verified the MAC
    except Exception as error:  # a class that moved, or whose constructor refuses now
        raise DecodeError(f"the pickled result cannot be loaded: {type(error).__name__}: {error}") from error
