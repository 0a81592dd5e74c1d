"""s3memo caches what Python functions return, in S3, so that no later run computes it again.

from s3memo import s3_cached

@s3_cached("s3://bucket/prefix", ttl="7d")
def expensive(x): ...
"""

from __future__ import annotations

from importlib import import_module

from s3memo._about import __version__

TYPE_CHECKING = False  # for type checkers it is true, and typing takes as long to load as all that is loaded here
if TYPE_CHECKING:
    from typing import Any

    from s3memo.canonical import ByContent
    from s3memo.collect import Collected, gc
    from s3memo.decorator import Cache, s3_cached
    from s3memo.entry import Entry
    from s3memo.errors import (
        AlreadyExistsError,
        CodecError,
        DecodeError,
        EncodeError,
        IntegrityError,
        KeyDerivationError,
        LeaseTimeout,
        NotFoundError,
        NotStoredError,
        S3MemoError,
        SettingsError,
        StateConflictError,
        StoreAccessError,
        StoreError,
        StoreNotSupportedError,
        StoreUnavailableError,
    )
    from s3memo.events import PRICES, CacheInfo, Event, Hook, log_event
    from s3memo.keys import register_key
    from s3memo.lease import Lease
    from s3memo.mapping import S3TTLCache
    from s3memo.memory import MemoryTier
    from s3memo.sequences import StateVersion
    from s3memo.settings import configure, disabled
    from s3memo.state import ServiceState
    from s3memo.stores.base import ObjectInfo, Store, TimeBounds
    from s3memo.stores.local import LocalStore
    from s3memo.stores.memory import MemoryStore
    from s3memo.stores.objectstore import ObjectStore
    from s3memo.stores.s3 import S3Store
    from s3memo.stores.tiered import TieredStore
    from s3memo.versions import Key, Version

__all__ = [
    "PRICES",
    "AlreadyExistsError",
    "ByContent",
    "Cache",
    "CacheInfo",
    "CodecError",
    "Collected",
    "DecodeError",
    "EncodeError",
    "Entry",
    "Event",
    "Hook",
    "IntegrityError",
    "Key",
    "KeyDerivationError",
    "Lease",
    "LeaseTimeout",
    "LocalStore",
    "MemoryStore",
    "MemoryTier",
    "NotFoundError",
    "NotStoredError",
    "ObjectInfo",
    "ObjectStore",
    "S3MemoError",
    "S3Store",
    "S3TTLCache",
    "ServiceState",
    "SettingsError",
    "StateConflictError",
    "StateVersion",
    "Store",
    "StoreAccessError",
    "StoreError",
    "StoreNotSupportedError",
    "StoreUnavailableError",
    "TieredStore",
    "TimeBounds",
    "Version",
    "__version__",
    "configure",
    "disabled",
    "gc",
    "log_event",
    "register_key",
    "s3_cached",
]

_HOMES = {
    "s3memo.entry": ("Entry",),
    "s3memo.canonical": ("ByContent",),
    "s3memo.collect": (
        "Collected",
        "gc",
    ),
    "s3memo.decorator": (
        "Cache",
        "s3_cached",
    ),
    "s3memo.errors": (
        "AlreadyExistsError",
        "CodecError",
        "DecodeError",
        "EncodeError",
        "IntegrityError",
        "KeyDerivationError",
        "LeaseTimeout",
        "NotFoundError",
        "NotStoredError",
        "S3MemoError",
        "SettingsError",
        "StateConflictError",
        "StoreAccessError",
        "StoreError",
        "StoreNotSupportedError",
        "StoreUnavailableError",
    ),
    "s3memo.events": (
        "PRICES",
        "CacheInfo",
        "Event",
        "Hook",
        "log_event",
    ),
    "s3memo.keys": ("register_key",),
    "s3memo.lease": ("Lease",),
    "s3memo.mapping": ("S3TTLCache",),
    "s3memo.memory": ("MemoryTier",),
    "s3memo.sequences": ("StateVersion",),
    "s3memo.settings": (
        "configure",
        "disabled",
    ),
    "s3memo.state": ("ServiceState",),
    "s3memo.stores.base": (
        "ObjectInfo",
        "Store",
        "TimeBounds",
    ),
    "s3memo.stores.local": ("LocalStore",),
    "s3memo.stores.memory": ("MemoryStore",),
    "s3memo.stores.objectstore": ("ObjectStore",),
    "s3memo.stores.s3": ("S3Store",),
    "s3memo.stores.tiered": ("TieredStore",),
    "s3memo.versions": (
        "Key",
        "Version",
    ),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Load a public name on first access, so that importing the package costs next to nothing."""
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
