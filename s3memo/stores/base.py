"""What a store is: dumb bytes by object key, and a clock. Tiers above add the meaning."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

Buffer: TypeAlias = bytes | bytearray | memoryview
PutMode: TypeAlias = Literal["overwrite", "create"]
LocalPlace: TypeAlias = str | os.PathLike[str] | bool
"""Where a local tier is: a directory; True: one in the user's cache directory."""
PAGE_SIZE = 1000
"""How many names one LIST answers, and one DELETE takes, on S3."""


class ObjectInfo(NamedTuple):
    """What a listing tells of one object: `size` in bytes, `last_modified` in POSIX seconds by the store's clock."""

    key: str
    size: int
    last_modified: float


class TimeBounds(NamedTuple):
    """An interval, in POSIX seconds, that holds the store's clock at the moment it was asked for."""

    earliest: float
    latest: float


@runtime_checkable
class Store(Protocol):
    """Bytes by object key, synchronous and thread-safe. Every method may raise a StoreError."""

    @property
    def url(self) -> str:
        """Where the store is, as a user would write it. Each MemoryStore is a store of its own, whatever its URL."""
        ...

    def list(self, prefix: str, *, start_after: str = "", limit: int | None = None) -> Iterator[ObjectInfo]:
        """Yield the objects whose key starts with `prefix` and sorts after `start_after`, ascending by UTF-8 bytes.

        Pages are fetched as the iterator advances; with `limit` (objects) of at most PAGE_SIZE, one page suffices.
        """
        ...

    def get(self, object_key: str) -> Buffer:
        """Return the object's bytes, or raise NotFoundError."""
        ...

    def put(self, object_key: str, data: Buffer, *, mode: PutMode = "overwrite") -> None:
        """Write the object, whole or not at all; in mode "create" raise AlreadyExistsError if there is one."""
        ...

    def delete(self, object_keys: Iterable[str]) -> None:
        """Delete the objects, in the order given where the store can; deleting what is not there is no error.

        Every failure of a single key is collected, and one StoreError names them all.
        """
        ...

    def time(self) -> TimeBounds:
        """Return bounds of the store's clock; asks the store only if nothing is known of it yet."""
        ...


@runtime_checkable
class HoldsCopies(Protocol):
    """What a store may have beside its verbs if it keeps copies on this machine, where its `get` looks first."""

    def copy_of(self, object_key: str) -> Buffer | None:
        """Return the object's bytes if there is a copy here, or None; no request is sent, and no StoreError raised."""
        ...

    def drop_copy(self, object_key: str) -> None:
        """Let the next `get` ask the store itself, because the copy turned out to be of no use."""
        ...
