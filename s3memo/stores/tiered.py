"""A remote store behind a local tier: what was written or read on this machine once is not downloaded again."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from s3memo.bridge import aside
from s3memo.errors import S3MemoError, SettingsError
from s3memo.events import logger
from s3memo.settings import check_count, parse_url
from s3memo.stores.base import Buffer, LocalPlace, ObjectInfo, PutMode, Store, TimeBounds
from s3memo.stores.clock import local_clock
from s3memo.stores.copies import Copies
from s3memo.versions import base32, parse_object_key

DEFAULT_MAX_BYTES = 10 * 2**30

_LABEL_LENGTH = 80


class TieredStore:
    """A remote store, with copies of its results in a directory of this machine that all processes share.

    Versions of results, which never change under their names, are copied when they are written or first read; all else
    passes through. `local` is a directory; True: one in the user's cache directory. Each remote store has its own
    directory within, private to the user, of up to `max_bytes` (10 GiB by default); the least recently used copies are
    evicted. A directory that others can write to is not used. Trouble with the copies is logged, each kind once as a
    WARNING, and the remote store is asked instead. `clock` dates the copies, in POSIX seconds. Unpickled on another
    machine, the store keeps its copies there. Raises SettingsError.
    """

    def __init__(
        self,
        remote: Store,
        local: LocalPlace = True,  # noqa: FBT002  as in Cache(local=True)
        *,
        max_bytes: int = DEFAULT_MAX_BYTES,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not isinstance(remote, Store) or isinstance(remote, TieredStore):
            raise SettingsError(f"TieredStore needs a store to stand before, which has no local tier yet: {remote!r}")
        check_count("max_bytes", max_bytes, of="bytes", least=1)
        self.remote = remote
        self.max_bytes = max_bytes
        self._directory = _checked_directory(local)
        self._given = True if local is True else self._directory
        self._own_clock = clock
        self._copies: Copies | None = None
        self._told: set[tuple[object, ...]] = set()

    def __repr__(self) -> str:
        return f"<TieredStore {self.url} with copies in {self._directory}>"

    def __reduce__(self) -> tuple[Callable[..., TieredStore], tuple[Any, ...]]:
        return _restored, (self.remote, self._given, self.max_bytes)

    @property
    def url(self) -> str:
        """The URL of the remote store."""
        return self.remote.url

    @property
    def endpoint(self) -> str:
        """The endpoint of the remote store's server."""
        return str(getattr(self.remote, "endpoint", self.remote.url))

    @property
    def enforces_create_only(self) -> bool:
        """Whether the remote store is known to enforce create-only writes."""
        return bool(getattr(self.remote, "enforces_create_only", False))

    @property
    def versioning(self) -> str:
        """The versioning of the remote store's bucket, if known."""
        return str(getattr(self.remote, "versioning", ""))

    @property
    def awaits(self) -> bool:
        """Whether the remote store awaits its own I/O across a `bridge`; copies are read beside the loop."""
        return bool(getattr(self.remote, "awaits", False))

    @property
    def clock(self) -> Callable[[], float]:
        """The clock of the remote store, in seconds."""
        clock: Callable[[], float] = getattr(self.remote, "clock", local_clock)
        return clock

    def list(self, prefix: str, *, start_after: str = "", limit: int | None = None) -> Iterator[ObjectInfo]:
        """Yield what the remote store lists; see Store."""
        return self.remote.list(prefix, start_after=start_after, limit=limit)

    def get(self, object_key: str) -> Buffer:
        """Return the object's bytes, from a local copy if there is one, or raise NotFoundError.

        Waits up to 15 seconds for another thread or process that is downloading it.
        """
        data: Buffer | None = self.copy_of(object_key)
        if data is None:
            copies = self._copies_of(object_key)
            with copies.claimed(object_key) if copies else nullcontext():
                data = self.copy_of(object_key)
                if data is None:
                    data = self.remote.get(object_key)
                    self._keep(object_key, data)
        return data

    def put(self, object_key: str, data: Buffer, *, mode: PutMode = "overwrite") -> None:
        """Write the object to the remote store, and then a copy."""
        self.remote.put(object_key, data, mode=mode)
        self._keep(object_key, data)

    def delete(self, object_keys: Iterable[str]) -> None:
        """Delete the objects from the remote store, and then their copies, even if that failed.

        An object whose deletion failed, or whose answer was lost, may still exist. Without its copy the remote store is
        asked, which is never wrong. If the copies went first, a reader could bring one back in between.
        """
        keys = [*object_keys]
        try:
            self.remote.delete(keys)
        finally:
            for object_key in keys:
                self.drop_copy(object_key)

    def time(self) -> TimeBounds:
        """Return bounds of the remote store's clock."""
        return self.remote.time()

    def close(self) -> None:
        """Close the remote store; no copies are held open."""
        close = getattr(self.remote, "close", None)
        if close is not None:
            close()

    def copy_of(self, object_key: str) -> bytearray | None:
        """Return the local copy of an object, without asking the remote store; or None."""
        copies = self._copies_of(object_key)
        if copies is not None:
            with self._surviving("read"):
                return aside(partial(copies.read, object_key))
        return None

    def drop_copy(self, object_key: str) -> None:
        """Delete the local copy; the next read asks the remote store."""
        copies = self._copies_of(object_key)
        if copies is not None:
            with self._surviving("delete"):
                aside(partial(copies.drop, object_key))

    def _keep(self, object_key: str, data: Buffer) -> None:
        copies = self._copies_of(object_key)
        if copies is not None:
            with self._surviving("keep"):
                aside(partial(copies.keep, object_key, data))

    def _copies_of(self, object_key: str) -> Copies | None:
        """Return the copies an object belongs to, or None if it is not to be copied."""
        if not is_immutable(object_key):
            return None
        if self._copies is None:
            try:
                directory = self._directory / _folder_of(self.url, self.endpoint)
            except S3MemoError:  # the remote store is misconfigured; it says so itself when asked
                return None
            self._copies = Copies(os.fspath(directory), self.max_bytes, self._own_clock)
        return self._copies

    @contextmanager
    def _surviving(self, action: str) -> Iterator[None]:
        """Report trouble with a copy, and go on without it."""
        try:
            yield
        except (OSError, MemoryError) as error:
            kind = action, type(error), getattr(error, "errno", None)
            level = logging.DEBUG if kind in self._told else logging.WARNING
            self._told.add(kind)
            logger.log(
                level, "s3memo: could not %s a local copy, so %s alone is used: %s", action, self.url, error or kind[1]
            )


def is_immutable(object_key: str) -> bool:
    """Return whether an object is a result, whose bytes never change; a tombstone is empty and read by name alone."""
    parsed = parse_object_key(object_key)
    return parsed is not None and not parsed[1].dead


def _checked_directory(local: LocalPlace) -> Path:
    if local is True:
        import platformdirs  # noqa: PLC0415  most programs never need it

        return platformdirs.user_cache_path("s3memo") / "objects"
    try:
        location = None if isinstance(local, bool) else parse_url(local)
    except SettingsError:
        location = None
    if location is None or location.scheme != "file" or str(local) in {"", "."}:
        raise SettingsError(f"local={local!r} must be True, or a directory that starts with /, ./ or ~")
    return Path(location.root)


def _folder_of(url: str, endpoint: str) -> str:
    """Return a folder name unique to a store: the same bucket on two servers is two stores."""
    label = re.sub(r"[^A-Za-z0-9.]+", "-", url)[:_LABEL_LENGTH]
    place = f"{endpoint}\n{url}".encode()
    return f"{label}-{base32(hashlib.blake2b(place, digest_size=10).digest())}"


def _restored(remote: Store, local: LocalPlace, max_bytes: int) -> TieredStore:
    return TieredStore(remote, local, max_bytes=max_bytes)
