"""A store with copies on this machine before it: what was written or read here once is not downloaded again."""

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
    """A remote store, and copies of its results in a directory of this machine that all processes share.

    Copied are versions of results, which never change under their names, when they are written or first read; all else
    passes through. `local` is a directory; True: one in the user's cache directory. In it each remote store has a
    directory of its own, private to the user, which takes up to `max_bytes` (10 GiB by default); the least recently used
    copies make room. A directory that somebody else can write in is not used. What ails the copies is logged, once of each
    kind as a WARNING, and the remote store asked instead. `clock` dates the copies, in POSIX seconds. Raises
    SettingsError; a pickled store keeps its copies where it arrives.
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
        """That of the remote store."""
        return self.remote.url

    @property
    def endpoint(self) -> str:
        """Where the remote store's server is."""
        return str(getattr(self.remote, "endpoint", self.remote.url))

    @property
    def enforces_create_only(self) -> bool:
        """Whether the remote store is known to."""
        return bool(getattr(self.remote, "enforces_create_only", False))

    @property
    def versioning(self) -> str:
        """What the remote store's bucket does with old versions, as far as it tells."""
        return str(getattr(self.remote, "versioning", ""))

    @property
    def awaits(self) -> bool:
        """Whether the remote store lets a loop go on across a `bridge`; the copies are read beside it."""
        return bool(getattr(self.remote, "awaits", False))

    @property
    def clock(self) -> Callable[[], float]:
        """The clock that the remote store goes by, in seconds."""
        clock: Callable[[], float] = getattr(self.remote, "clock", local_clock)
        return clock

    def list(self, prefix: str, *, start_after: str = "", limit: int | None = None) -> Iterator[ObjectInfo]:
        """Yield what the remote store lists; see Store."""
        return self.remote.list(prefix, start_after=start_after, limit=limit)

    def get(self, object_key: str) -> Buffer:
        """Return the object's bytes, from here if there is a copy, or raise NotFoundError.

        What another thread or process downloads just now is waited for, if that takes no longer than 15 seconds.
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
        """Delete the objects from the remote store, and then their copies, whether or not it could.

        An object whose deletion failed, or whose answer was lost, may be there or not. Without its copy the remote store
        is asked, and that is never wrong; first of all the copies, and a reader could bring one back meanwhile.
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
        """Close the remote store; of the copies nothing is held open."""
        close = getattr(self.remote, "close", None)
        if close is not None:
            close()

    def copy_of(self, object_key: str) -> bytearray | None:
        """Return the object's bytes if there is a copy here, without asking the remote store; or None."""
        copies = self._copies_of(object_key)
        if copies is not None:
            with self._surviving("read"):
                return aside(partial(copies.read, object_key))
        return None

    def drop_copy(self, object_key: str) -> None:
        """Let the next read ask the remote store."""
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
        """Return where the object's copy is, or None if it is not one to be copied."""
        if not is_immutable(object_key):
            return None
        if self._copies is None:
            try:
                directory = self._directory / _folder_of(self.url, self.endpoint)
            except S3MemoError:  # there is no remote store to be reached; it says so itself when it is asked
                return None
            self._copies = Copies(os.fspath(directory), self.max_bytes, self._own_clock)
        return self._copies

    @contextmanager
    def _surviving(self, action: str) -> Iterator[None]:
        """Tell of trouble with a copy, and go on without."""
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
    """Return whether it names a result, whose bytes never change; a tombstone is empty and read by its name alone."""
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
    """Return a name that no other store has: the same bucket on two servers is two."""
    label = re.sub(r"[^A-Za-z0-9.]+", "-", url)[:_LABEL_LENGTH]
    place = f"{endpoint}\n{url}".encode()
    return f"{label}-{base32(hashlib.blake2b(place, digest_size=10).digest())}"


def _restored(remote: Store, local: LocalPlace, max_bytes: int) -> TieredStore:
    return TieredStore(remote, local, max_bytes=max_bytes)
