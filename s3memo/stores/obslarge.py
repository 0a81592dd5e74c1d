"""Large objects by obstore: in parts, for its client gives a request, body and all, so long and no longer."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import obstore

from s3memo.errors import StoreError
from s3memo.events import count_request
from s3memo.stores.parts import HELPERS, cut, share

if TYPE_CHECKING:
    from obstore import ObjectMeta

    from s3memo.stores.obsclient import Engine, ObstoreConnection

_BLOCK = 1024 * 1024
_NO_RANGE = "non-partial response"


class _RangeIgnoredError(Exception):
    """The server sends the whole object, or says that it does, whatever range it is asked for."""


def put_in_parts(connection: ObstoreConnection, url: str, path: str, data: bytes) -> None:
    """Write an object in parts, which obstore gives up if one of them fails. Raises StoreError."""
    parts = cut(len(data))

    def send(engine: Engine) -> None:
        for _ in range(len(parts) + 2):
            count_request("PUT")
        obstore.put(engine, path, data, use_multipart=True, chunk_size=parts[0].stop, max_concurrency=HELPERS + 1)

    connection.ask("PUT", url, send, counted=False)


def read(connection: ObstoreConnection, url: str, path: str) -> bytearray:
    """Return an object's bytes, which are asked for in parts from the second on. Raises StoreError."""
    data, meta = connection.ask("GET", url, lambda engine: _begin(engine, path, whole=False))
    missing = deque(cut(len(data))[1:])

    def fetch() -> bool:
        try:
            part = missing.popleft()
        except IndexError:
            return False
        data[part] = connection.ask("GET", url, lambda engine: _fetch(engine, path, part, meta, url))
        return True

    try:
        share(fetch, min(HELPERS, len(missing) - 1), missing.clear)
    except _RangeIgnoredError:
        data, _ = connection.ask("GET", url, lambda engine: _begin(engine, path, whole=True))
    return data


def _begin(engine: Engine, path: str, *, whole: bool) -> tuple[bytearray, ObjectMeta]:
    """Return a buffer for all of an object with its first part in it, or with the whole."""
    answer = obstore.get(engine, path)
    data, filled = bytearray(answer.meta["size"]), 0
    end = len(data) if whole or not data else cut(len(data))[0].stop
    for block in answer.stream(_BLOCK):
        taken = memoryview(block)[: end - filled]
        data[filled : filled + len(taken)] = taken
        filled += len(taken)
        if filled == end:
            break
    if filled < end:
        raise ConnectionError(f"the body ended {end - filled} bytes too early")
    return data, answer.meta


def _fetch(engine: Engine, path: str, part: slice, meta: ObjectMeta, url: str) -> memoryview:
    try:
        answer = obstore.get(engine, path, options={"range": (part.start, part.stop)})
        block = memoryview(answer.bytes())
    except obstore.exceptions.GenericError as error:
        if _NO_RANGE in str(error):
            raise _RangeIgnoredError from error
        raise
    if (answer.meta["size"], answer.meta["e_tag"]) != (meta["size"], meta["e_tag"]):
        raise StoreError(f"{url} was replaced while it was read: read it again")
    if len(block) != part.stop - part.start:
        raise ConnectionError(f"{len(block)} bytes came of a part of {part.stop - part.start}")
    return block
