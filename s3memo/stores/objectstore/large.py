"""Large objects by obstore: in parts, because its client's time-out covers a request with its whole body."""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

import obstore

from s3memo.bridge import aside, is_crossed, side_by_side
from s3memo.errors import StoreError
from s3memo.events import RequestKind, count_request
from s3memo.stores.objectstore.verbs import Engine, read_all, read_first, read_part
from s3memo.stores.parts import HELPERS, cut, share

if TYPE_CHECKING:
    from collections.abc import Callable

    from obstore import ObjectMeta

T = TypeVar("T")

_NO_RANGE = "non-partial response"


class Ask(Protocol):
    """Sends a request with retries; raises StoreError."""

    def __call__(self, kind: RequestKind, url: str, send: Callable[[Engine], T], *, counted: bool = True) -> T: ...


class _RangeIgnoredError(Exception):
    """The server ignores ranges and sends, or claims to send, the whole object."""


def put_in_parts(ask: Ask, url: str, path: str, data: bytes) -> None:
    """Write an object in parts; obstore aborts the upload if one fails. Raises StoreError."""
    parts = cut(len(data))

    def send(engine: Engine) -> None:
        for _ in range(len(parts) + 2):
            count_request("PUT")
        obstore.put(engine, path, data, use_multipart=True, chunk_size=parts[0].stop, max_concurrency=HELPERS + 1)

    ask("PUT", url, send, counted=False)


def read(ask: Ask, url: str, path: str) -> bytearray:
    """Return an object's bytes; from the second part on each is a request of its own. Raises StoreError."""
    data, meta = ask("GET", url, lambda engine: read_first(engine, path))
    missing = cut(len(data))[1:]
    if not missing:
        return data

    def fetch(part: slice) -> None:
        found = ask("GET", url, lambda engine: _read_part(engine, path, data, part))
        if (found["size"], found["e_tag"]) != (meta["size"], meta["e_tag"]):
            raise StoreError(f"{url} was replaced while it was read: read it again")

    try:
        if is_crossed():
            side_by_side([partial(fetch, part) for part in missing], most=HELPERS + 1, name="part")
        else:
            _share(fetch, missing)
    except _RangeIgnoredError:
        return aside(lambda: ask("GET", url, lambda engine: read_all(engine, path)))
    return data


def _share(fetch: Callable[[slice], None], missing: list[slice]) -> None:
    left = deque(missing)

    def fetch_next() -> bool:
        try:
            part = left.popleft()
        except IndexError:
            return False
        fetch(part)
        return True

    share(fetch_next, min(HELPERS, len(left) - 1), left.clear)


def _read_part(engine: Engine, path: str, data: bytearray, part: slice) -> ObjectMeta:
    try:
        return read_part(engine, path, data, part)
    except obstore.exceptions.GenericError as error:
        if _NO_RANGE in str(error):
            raise _RangeIgnoredError from error
        raise
