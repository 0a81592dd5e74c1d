"""The stores: in this process, in one file on this machine, or in a bucket, with or without local copies."""

from __future__ import annotations

import functools
import os

from s3memo.errors import SettingsError
from s3memo.events import logger
from s3memo.settings import Location, current, default_location, parse_url
from s3memo.stores.base import LocalPlace, Store


def store_at(url_or_store: str | os.PathLike[str] | Store | None) -> Store:
    """Return the store given or named; None: the default one, with a WARNING if none is set. Raises SettingsError."""
    if isinstance(url_or_store, Store):
        return url_or_store
    if url_or_store is not None:
        return open_store(parse_url(url_or_store))
    location = default_location()
    if current().url is None:
        _warn_of_default(location)
    return open_store(location)


def with_local_tier(store: Store, local: LocalPlace | None, max_bytes: int | None) -> Store:
    """Return the store behind a local tier, if one is asked for and the store itself is not on this machine.

    Raises SettingsError.
    """
    if local is None or local is False:
        if max_bytes is not None:
            raise SettingsError(
                f"local_max_bytes={max_bytes!r} bounds a local tier, and there is none: give local= too"
            )
        return store
    from s3memo.stores.tiered import DEFAULT_MAX_BYTES, TieredStore  # noqa: PLC0415  as below: blake3

    tiered = TieredStore(store, local, max_bytes=DEFAULT_MAX_BYTES if max_bytes is None else max_bytes)
    return store if store.url.startswith(("file:", "memory:")) else tiered


@functools.cache
def _warn_of_default(location: Location) -> None:
    logger.warning("s3memo: no store is named, so results stay on this machine, in %s: set S3MEMO_URL", location)


def open_store(location: Location) -> Store:
    """Return the store at a location; nothing is contacted or created before its first use."""
    match location.scheme:
        case "s3":
            from s3memo.stores.s3 import S3Store  # noqa: PLC0415  so that programs on the embedded store do not load it

            return S3Store(location.root, location.prefix)
        case "s3+obstore" | "gs" | "az":
            from s3memo.stores.objectstore import ObjectStore  # noqa: PLC0415  as above: obstore

            return ObjectStore(str(location))
        case "file":
            from s3memo.stores.local import LocalStore  # noqa: PLC0415  as above: sqlite3

            return LocalStore(location.root)
        case "memory":
            from s3memo.stores.memory import MemoryStore  # noqa: PLC0415  as above

            return MemoryStore(location.root)
