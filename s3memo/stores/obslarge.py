"""Large objects by obstore: in parts, for its client gives a request, body and all, so long and no longer."""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

import obstore

from s3memo.bridge import aside
from s3memo.errors import StoreError
from s3memo.events import RequestKind, count_request
from s3memo.stores.obsverbs import Engine, read_all, read_first
from s3memo.stores.parts import HELPERS, cut, share

if TYPE_CHECKING:
    from collections.abc import Callable

    from obstore import ObjectMeta

T = TypeVar("T")

_NO_RANGE = "non-partial response"


class Ask(Protocol):
    """Sends a request until it is answered, or raises a StoreError."""

    def __call__(self, kind: RequestKind, url: str, send: Callable[[Engine], T], *, counted: bool = True) -> T: ...


class _RangeIgnoredError(Exception):
    """The server sends the whole object, or says that it does, whatever range it is asked for."""


def put_in_parts(ask: Ask, url: str, path: str, data: bytes) -> None:
    """Write an object in parts, which obstore gives up if one of them fails. Raises StoreError."""
    parts = cut(len(data))

    def send(engine: Engine) -> None:
        for _ in range(len(parts) + 2):
            count_request("PUT")
        obstore.put(engine, path, data, use_multipart=True, chunk_size=parts[0].stop, max_concurrency=HELPERS + 1)

    ask("PUT", url, send, counted=False)


def read(ask: Ask, url: str, path: str) -> bytearray:
    """Return an object's bytes, which are asked for in parts from the second on. Raises StoreError."""
    data, meta = ask("GET", url, lambda engine: read_first(engine, path))
    return aside(partial(_with_rest, ask, url, path, data, meta)) if len(cut(len(data))) > 1 else data


def _with_rest(ask: Ask, url: str, path: str, data: bytearray, meta: ObjectMeta) -> bytearray:
    missing = deque(cut(len(data))[1:])

    def fetch() -> bool:
        try:
            part = missing.popleft()
        except IndexError:
            return False
        data[part] = ask("GET", url, lambda engine: _fetch(engine, path, part, meta, url))
        return True

    try:
        share(fetch, min(HELPERS, len(missing) - 1), missing.clear)
    except _RangeIgnoredError:
        return ask("GET", url, lambda engine: read_all(engine, path))
    return data


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
