"""Transfers of an object's bytes in blocks, so that a deadline holds while they flow."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from contextlib import closing, suppress
from typing import Any

from s3memo.stores.base import Buffer
from s3memo.stores.retry import Deadline

_BLOCK = 256 * 1024


def read_body(answer: Mapping[str, Any], deadline: Deadline) -> bytearray:
    """Return the body of a GET in a new buffer, so that values can be built over it without a copy."""
    data = bytearray()
    size = answer.get("ContentLength", math.inf)
    at_once = None if size <= _BLOCK else _BLOCK
    with closing(answer["Body"]) as body:
        while True:
            left = deadline.left()
            if left < deadline.policy.read_timeout and len(data) < size:
                _set_timeout(body, left)
            block = body.read(at_once)
            data += block
            if not block or at_once is None:
                return data


def whole(answer: Mapping[str, Any], _deadline: Deadline) -> Mapping[str, Any]:
    """Return an answer that has no body to read."""
    return answer


def flat(data: Buffer) -> memoryview:
    """Return a buffer's bytes as a contiguous view, copied only if they are not contiguous."""
    view = memoryview(data)
    return view.cast("B") if view.c_contiguous and view.nbytes else memoryview(view.tobytes())


def read_into(target: memoryview, body: Any, deadline: Deadline) -> None:
    """Fill a buffer from a body, which may be longer. Raises read errors, and ConnectionError if it is shorter."""
    filled, patience = 0, deadline.policy.read_timeout
    while filled < len(target):
        left = min(deadline.left(), deadline.policy.read_timeout)
        if left != patience:
            _set_timeout(body, left)
            patience = left
        block = body.read(min(_BLOCK, len(target) - filled))
        if not block:
            raise ConnectionError(f"the body ended {len(target) - filled} bytes too early")
        target[filled : filled + len(block)] = block
        filled += len(block)
        deadline.moved(len(block))


def _set_timeout(body: Any, seconds: float) -> None:
    with suppress(AttributeError):  # the body of a mocked client has no socket
        body.set_socket_timeout(seconds)


def as_body(data: Buffer, deadline: Deadline) -> bytes | io.BufferedReader:
    """Return a buffer as a file that is read block by block within the deadline, or as bytes if it is one block."""
    view = flat(data)
    return bytes(view) if view.nbytes <= _BLOCK else io.BufferedReader(_Upload(view, deadline), _BLOCK)


class _Upload(io.RawIOBase):
    def __init__(self, data: memoryview, deadline: Deadline) -> None:
        self._bytes = data
        self._deadline = deadline
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        self._deadline.left()
        block = self._bytes[self._position : self._position + len(target)]
        target[: len(block)] = block
        self._position += len(block)
        self._deadline.moved(len(block))
        return len(block)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: len(self._bytes)}[whence]
        self._position = origin + offset
        return self._position

    def tell(self) -> int:
        return self._position
