"""Where the bytes are: in this process, in one file on this machine, or in S3."""

from __future__ import annotations

from s3memo.settings import Location
from s3memo.stores.base import Store


def open_store(location: Location) -> Store:
    """Return the store at a location; nothing is contacted or created before its first use."""
    match location.scheme:
        case "s3":
            from s3memo.stores.s3 import S3Store  # noqa: PLC0415  a program on the embedded store need not load it

            return S3Store(location.root, location.prefix)
        case "file":
            from s3memo.stores.local import LocalStore  # noqa: PLC0415  as above: sqlite3

            return LocalStore(location.root)
        case "memory":
            from s3memo.stores.memory import MemoryStore  # noqa: PLC0415  as above

            return MemoryStore(location.root)
