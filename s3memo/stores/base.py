"""The Store protocol: dumb bytes by object key, and a clock. The tiers above add meaning."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

Buffer: TypeAlias = bytes | bytearray | memoryview
PutMode: TypeAlias = Literal["overwrite", "create"]
LocalPlace: TypeAlias = str | os.PathLike[str] | bool
"""Location of a local tier: a directory; True: one in the user's cache directory."""
PAGE_SIZE = 1000
"""How many names one LIST returns, and one DELETE takes, on S3."""


class ObjectInfo(NamedTuple):
    """One object in a listing: `size` in bytes, `last_modified` in POSIX seconds by the store's clock."""

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
        """Where the store is, as a user would write it. Each MemoryStore is a separate store, whatever its URL."""
        ...

    def list(self, prefix: str, *, start_after: str = "", limit: int | None = None) -> Iterator[ObjectInfo]:
        """Yield the objects whose key starts with `prefix` and sorts after `start_after`, ascending by UTF-8 bytes.

        Pages are fetched as the iterator advances; a `limit` of at most PAGE_SIZE objects takes a single page.
        """
        ...

    def get(self, object_key: str) -> Buffer:
        """Return the object's bytes, or raise NotFoundError."""
        ...

    def put(self, object_key: str, data: Buffer, *, mode: PutMode = "overwrite") -> None:
        """Write the object, whole or not at all; in mode "create" raise AlreadyExistsError if it exists."""
        ...

    def delete(self, object_keys: Iterable[str]) -> None:
        """Delete the objects, in the order given if the store can; a missing object is no error.

        Failures of single keys are collected, and one StoreError names them all.
        """
        ...

    def time(self) -> TimeBounds:
        """Return bounds of the store's clock; asks the store only if nothing is known of it yet."""
        ...


@runtime_checkable
class HoldsCopies(Protocol):
    """The optional methods of a store that keeps copies on this machine, where its `get` looks first."""

    def copy_of(self, object_key: str) -> Buffer | None:
        """Return the local copy of an object, or None; sends no request and raises no StoreError."""
        ...

    def drop_copy(self, object_key: str) -> None:
        """Drop the local copy, because it turned out to be useless; the next `get` asks the store itself."""
        ...
