"""s3memo remembers what Python functions returned, in S3, so that no later run computes it again.

    from s3memo import s3_cached

    @s3_cached("s3://bucket/prefix", ttl="7d")
    def expensive(x): ...
"""

from s3memo.cache import Entry
from s3memo.decorator import Cache, s3_cached
from s3memo.errors import (
    AlreadyExistsError,
    CodecError,
    DecodeError,
    EncodeError,
    IntegrityError,
    KeyDerivationError,
    NotFoundError,
    S3MemoError,
    SettingsError,
    StoreAccessError,
    StoreError,
    StoreNotSupportedError,
    StoreUnavailableError,
)
from s3memo.events import PRICES, CacheInfo, Event, Hook
from s3memo.keys import register_key
from s3memo.memory import MemoryTier
from s3memo.settings import configure, disabled
from s3memo.stores.base import ObjectInfo, Store, TimeBounds
from s3memo.stores.local import LocalStore
from s3memo.stores.memory import MemoryStore
from s3memo.stores.s3 import S3Store
from s3memo.versions import Key, Version

__version__ = "0.1.0"

__all__ = [
    "PRICES",
    "AlreadyExistsError",
    "Cache",
    "CacheInfo",
    "CodecError",
    "DecodeError",
    "EncodeError",
    "Entry",
    "Event",
    "Hook",
    "IntegrityError",
    "Key",
    "KeyDerivationError",
    "LocalStore",
    "MemoryStore",
    "MemoryTier",
    "NotFoundError",
    "ObjectInfo",
    "S3MemoError",
    "S3Store",
    "SettingsError",
    "Store",
    "StoreAccessError",
    "StoreError",
    "StoreNotSupportedError",
    "StoreUnavailableError",
    "TimeBounds",
    "Version",
    "__version__",
    "configure",
    "disabled",
    "register_key",
    "s3_cached",
]
