"""Listings by obstore, which lists whole folders: here they are filtered, checked for order, and counted as requests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import obstore

from s3memo.errors import StoreNotSupportedError
from s3memo.events import count_request
from s3memo.stores.base import PAGE_SIZE, ObjectInfo
from s3memo.stores.objectstore.names import folder, offset
from s3memo.stores.objectstore.verbs import Engine, next_chunk

if TYPE_CHECKING:
    from obstore import ListStream, ObjectMeta


class Lister:
    """Lists what lies below `root`; `place` names a path in errors, `ask` sends a request with retries.

    A page of names must arrive within `seconds`. obstore does not show pages, so requests are counted as if every page
    were full, as S3's are; a server with shorter pages gets more requests than are counted.
    """

    def __init__(self, root: str, place: Callable[[str], str], ask: Callable[..., Any], seconds: float) -> None:
        self._root = root
        self._place = place
        self._ask = ask
        self._seconds = seconds

    def walk(self, prefix: str, start_after: str, limit: int | None) -> Iterator[ObjectInfo]:
        """Yield the objects under a prefix and after a key, in the server's order, which is checked."""
        return self._in_order(self._walk(prefix, start_after, limit), limit)

    def sort(self, prefix: str, start_after: str, limit: int | None) -> Iterator[ObjectInfo]:
        """Yield them sorted, for a server with another order, such as Azure with hierarchical namespaces."""
        return islice(self._in_order(self._sort(prefix, start_after), None), limit)

    def _walk(self, prefix: str, start_after: str, limit: int | None) -> Iterator[ObjectInfo]:
        whole, after = self._root + prefix, self._root + start_after if start_after else ""
        stream = _Stream(whole, after, PAGE_SIZE if limit is None else min(limit, PAGE_SIZE), self._seconds)
        while not stream.is_over:
            chunk = self._ask("LIST", self._place(whole), stream.read, counted=False)
            yield from (self._info(meta) for meta in chunk if meta["path"].startswith(whole))
            if chunk and chunk[-1]["path"] > whole and not chunk[-1]["path"].startswith(whole):
                return  # the rest of the folder is behind the prefix

    def _sort(self, prefix: str, start_after: str) -> Iterator[ObjectInfo]:
        whole, after = self._root + prefix, self._root + start_after if start_after else ""

        def read(engine: Engine) -> list[ObjectMeta]:
            stream = obstore.list(engine, folder(whole), chunk_size=PAGE_SIZE)
            metas: list[ObjectMeta] = []
            while chunk := next_chunk(stream, self._seconds):
                metas += chunk
            return metas

        metas = self._ask("LIST", self._place(whole), read)
        found = [self._info(meta) for meta in metas if meta["path"].startswith(whole) and meta["path"] > after]
        yield from sorted(found, key=attrgetter("key"))

    def _info(self, meta: ObjectMeta) -> ObjectInfo:
        return ObjectInfo(meta["path"].removeprefix(self._root), meta["size"], meta["last_modified"].timestamp())

    def _in_order(self, found: Iterator[ObjectInfo], limit: int | None) -> Iterator[ObjectInfo]:
        """Yield a listing in checked order, without the objects for folders, which obstore shows without their slash."""
        last, left = "", limit
        while left is None or left > 0:
            info = next(found, None)
            if info is None:
                return
            if info.key <= last:  # str compares by code point, which is the order of its UTF-8 bytes
                if last < info.key + "/":
                    continue
                place = self._place(self._root).rstrip("/")
                raise StoreNotSupportedError(
                    f"the server of {place} lists {info.key!r} after {last!r}: s3memo needs ascending UTF-8 order"
                )
            yield info
            last = info.key
            left = None if left is None else left - 1


class _Stream:
    """The folder of `whole` from behind `after` on, in chunks of `size` names; begun anew whenever a request fails."""

    def __init__(self, whole: str, after: str, size: int, seconds: float) -> None:
        self.is_over = size == 0
        self._whole = whole
        self._after = after  # up to here all is known
        self._size = size
        self._seconds = seconds
        self._stream: ListStream[Sequence[ObjectMeta]] | None = None

    def read(self, engine: Engine) -> list[ObjectMeta]:
        """Return the next chunk, and count the LISTs that a server with pages of a thousand is sent for it."""
        if self._stream is None:
            begin = offset(self._whole, self._after)
            self._stream = obstore.list(engine, folder(self._whole), offset=begin or None, chunk_size=self._size)
            self._floor = self._after
            self._seen, self._sent = 0, 1
            count_request("LIST")
        try:
            chunk = next_chunk(self._stream, self._seconds)
        except Exception:
            self._stream = None
            if self._seen:
                count_request("LIST")
            raise
        found = [] if chunk is None else list(chunk)
        self._seen += len(found)
        while self._sent * PAGE_SIZE < self._seen:
            self._sent += 1
            count_request("LIST")
        self.is_over = len(found) < self._size  # obstore fills chunks but for the last, whatever the server's pages are
        if found:
            self._after = max(self._after, found[-1]["path"])
        return [meta for meta in found if meta["path"] > self._floor]
