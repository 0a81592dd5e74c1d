"""A store in this process's memory: for tests and trials, and to see what s3memo would send to S3."""

from __future__ import annotations

import builtins
import time
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator
from itertools import takewhile
from typing import NoReturn

from s3memo.errors import AlreadyExistsError, NotFoundError
from s3memo.events import count_request
from s3memo.locks import process_lock
from s3memo.stores.base import Buffer, ObjectInfo, PutMode, TimeBounds
from s3memo.stores.paging import delete_batches, list_in_pages


class MemoryStore:
    """Objects in a dict. Each instance is a separate store, gone when the process ends; `name` only labels it.

    `clock` returns POSIX seconds.
    """

    enforces_create_only = True

    def __init__(self, name: str = "", *, clock: Callable[[], float] = time.time) -> None:
        self.url = f"memory://{name}"
        self.clock = clock
        self._objects: dict[str, tuple[bytes, float]] = {}
        self._sorted_keys: list[str] = []

    def __repr__(self) -> str:
        return f"<MemoryStore {self.url} of {len(self._objects)} objects>"

    def __getstate__(self) -> NoReturn:
        raise TypeError(
            f"cannot pickle {self!r}: its objects are in this process alone; use a directory or a bucket, which other "
            "processes reach, or the URL memory:// for a store of its own in each"
        )

    def list(self, prefix: str, *, start_after: str = "", limit: int | None = None) -> Iterator[ObjectInfo]:
        """Yield the objects under a prefix, ascending; see Store."""
        return list_in_pages(self._read_page, prefix, start_after, limit)

    def get(self, object_key: str) -> bytes:
        """Return the object's bytes, or raise NotFoundError."""
        count_request("GET")
        with process_lock:
            if object_key in self._objects:
                return self._objects[object_key][0]
        raise NotFoundError(f"there is no object {object_key!r} in {self.url}")

    def put(self, object_key: str, data: Buffer, *, mode: PutMode = "overwrite") -> None:
        """Store a copy of the bytes; in mode "create" raise AlreadyExistsError if the object exists."""
        count_request("PUT")
        stored = bytes(data), self.clock()
        with process_lock:
            is_new = object_key not in self._objects
            if mode == "create" and not is_new:
                raise AlreadyExistsError(f"the object {object_key!r} is already in {self.url}")
            self._objects[object_key] = stored
            if is_new:
                insort(self._sorted_keys, object_key)

    def delete(self, object_keys: Iterable[str]) -> None:
        """Delete the objects; missing ones are ignored."""
        for batch in delete_batches(object_keys):
            with process_lock:
                for key in batch:
                    if self._objects.pop(key, None) is not None:
                        del self._sorted_keys[bisect_left(self._sorted_keys, key)]

    def time(self) -> TimeBounds:
        """Return this machine's clock, which is exact."""
        now = self.clock()
        return TimeBounds(now, now)

    def _read_page(self, prefix: str, low: str, count: int) -> builtins.list[ObjectInfo]:
        with process_lock:
            start = bisect_left(self._sorted_keys, low)
            found = takewhile(lambda key: key.startswith(prefix), self._sorted_keys[start : start + count])
            return [ObjectInfo(key, len(self._objects[key][0]), self._objects[key][1]) for key in found]
