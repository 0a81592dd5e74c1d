"""The embedded store: one SQLite file in a directory of this machine, shared by its threads and processes."""

from __future__ import annotations

import builtins
import functools
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from s3memo.errors import AlreadyExistsError, NotFoundError, SettingsError, StoreNotSupportedError
from s3memo.events import count_request
from s3memo.settings import Location
from s3memo.stores.base import Buffer, ObjectInfo, PutMode, TimeBounds
from s3memo.stores.paging import delete_batches, list_in_pages
from s3memo.stores.sqlite import Database

FILE_NAME = "s3memo.db"
MAX_OBJECT_BYTES = 10**9 - 10**4
"""SQLite's limit for a row is 10**9 bytes; the key and the row's header take some of it."""

_GET = "SELECT data FROM objects WHERE key = ?"
_LIST = "SELECT key, size, last_modified FROM objects WHERE key >= ? ORDER BY key LIMIT ?"
_INSERT = "INSERT INTO objects (key, size, last_modified, data) VALUES (?, ?, ?, ?) ON CONFLICT (key) "
_PUT: dict[PutMode, str] = {
    "create": _INSERT + "DO NOTHING",
    "overwrite": _INSERT
    + "DO UPDATE SET size = excluded.size, last_modified = excluded.last_modified, data = excluded.data",
}
_DELETE = "DELETE FROM objects WHERE key IN ({})"
_PARAMETERS = 500  # in one statement; SQLite before 3.32 takes up to 999


class LocalStore:
    """Objects in the file `s3memo.db` of a directory on a local disk; both are created on first use.

    Safe for many threads and processes of one machine, and for fork(). An acknowledged write survives the process,
    however it ends. `timeout` is how long an operation waits for other processes' writes, in seconds; `clock` returns
    POSIX seconds. Unpickling opens the file anew, with the default clock. Raises SettingsError.
    """

    enforces_create_only = True

    def __init__(
        self, directory: str | os.PathLike[str], *, timeout: float = 15.0, clock: Callable[[], float] = time.time
    ) -> None:
        if not os.fspath(directory):
            raise SettingsError("LocalStore needs a directory: the path given is empty")
        if not timeout >= 0:
            raise SettingsError(f"LocalStore's timeout is in seconds, 0 or more: {timeout!r}")
        self.directory = Path(directory).expanduser().absolute()
        self.url = str(Location("file", os.fspath(self.directory)))
        self._timeout = timeout
        self.clock = clock
        self._database = Database(self.directory / FILE_NAME, timeout=timeout)

    def __repr__(self) -> str:
        return f"LocalStore({str(self.directory)!r})"

    def __reduce__(self) -> tuple[Callable[..., LocalStore], tuple[Any, ...]]:
        return functools.partial(LocalStore, timeout=self._timeout), (self.directory,)

    def list(self, prefix: str, *, start_after: str = "", limit: int | None = None) -> Iterator[ObjectInfo]:
        """Yield the objects under a prefix, ascending; see Store. Nothing is held open between pages."""
        return list_in_pages(self._read_page, prefix, start_after, limit)

    def get(self, object_key: str) -> bytes:
        """Return the object's bytes, or raise NotFoundError."""
        count_request("GET")
        with self._database.connection("get {!r}", object_key) as connection:
            rows = connection.execute(_GET, (object_key,)).fetchall()
        if not rows:
            raise NotFoundError(f"there is no object {object_key!r} in {self.url}")
        data: bytes = rows[0][0]
        return data

    def put(self, object_key: str, data: Buffer, *, mode: PutMode = "overwrite") -> None:
        """Write the object, whole or not at all; in mode "create" raise AlreadyExistsError if it exists.

        Raises StoreNotSupportedError above MAX_OBJECT_BYTES.
        """
        count_request("PUT")
        view = memoryview(data)
        if view.nbytes > MAX_OBJECT_BYTES:
            raise StoreNotSupportedError(
                f"{object_key!r} has {view.nbytes:,} bytes and {self.url} takes up to {MAX_OBJECT_BYTES:,} in one object; "
                "keep such results in S3"
            )
        blob = view if view.c_contiguous else bytes(view)
        row = object_key, view.nbytes, self.clock(), blob
        with self._database.connection("put {!r}", object_key) as connection:
            written = connection.execute(_PUT[mode], row).rowcount
        if not written:
            raise AlreadyExistsError(f"the object {object_key!r} is already in {self.url}")

    def delete(self, object_keys: Iterable[str]) -> None:
        """Delete the objects in the order given, in transactions of up to 500; missing ones are ignored.

        Each is one statement: between two, a signal's handler may write or fork, which would wait for an open transaction.
        """
        for batch in delete_batches(object_keys):
            with self._database.connection("delete {} objects from {!r} on", len(batch), batch[0]) as connection:
                for at in range(0, len(batch), _PARAMETERS):
                    some = batch[at : at + _PARAMETERS]
                    connection.execute(_DELETE.format(", ".join("?" * len(some))), some)

    def time(self) -> TimeBounds:
        """Return this machine's clock, which is exact."""
        now = self.clock()
        return TimeBounds(now, now)

    def close(self) -> None:
        """Close the idle connections; a later operation opens the file again."""
        self._database.close()

    def _read_page(self, prefix: str, low: str, count: int) -> builtins.list[ObjectInfo]:
        with (
            self._database.connection("list {!r}", prefix) as connection,
            closing(connection.execute(_LIST, (low, count))) as rows,
        ):
            found = []
            for row in rows:
                if not row[0].startswith(prefix):
                    break
                found.append(ObjectInfo(*row))
            return found
