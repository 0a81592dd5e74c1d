"""The memory tier: what this process has read or written lately, bounded by bytes and by entries."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from cachetools import TLRUCache

from s3memo import codec, packing
from s3memo.codec import NO_CLASSES, Classes
from s3memo.envelope import Envelope
from s3memo.errors import SettingsError
from s3memo.freshness import Duration, seconds
from s3memo.locks import process_lock
from s3memo.versions import Key, Listing, Version

_OVERHEAD = 512
"""Bytes that an entry costs beside its content: the key, the version, the bookkeeping."""


@dataclass(frozen=True, slots=True)
class MemoryTier:
    """How much a Cache keeps in the process, and how long it trusts that.

    `revalidate_after` (a duration) bounds how long another process's write or invalidation can go unseen: a value
    confirmed longer ago is looked up again, at the price of one LIST. None: until it expires.
    """

    max_bytes: int = 256 * 1024 * 1024
    max_entries: int = 100_000
    revalidate_after: Duration | None = None

    def __post_init__(self) -> None:
        for name in ("max_bytes", "max_entries"):
            value = getattr(self, name)
            if type(value) is not int or value < 0:
                raise SettingsError(f"{name}={value!r} must be a whole number, 0 or more")
        seconds(self.revalidate_after, name="revalidate_after")


@dataclass(frozen=True, slots=True)
class Held:
    """A version as the memory tier holds it: an immutable value itself, a mutable one as its sealed object.

    `is_lent` says that it is a mutable value itself, which every caller gets and might change: `copy=False`. `size` is what the object takes in the store and `weight` what it takes here, in bytes; `confirmed` is when it was
    last known to be the newest, in POSIX seconds by the store's clock.
    """

    version: Version
    size: int
    weight: int
    confirmed: float
    is_lent: bool
    load: Callable[[], Any]
    """Returns the value; a mutable one that is not lent is decoded afresh, so that no two callers hold the same."""

    @classmethod
    def of(
        cls,
        version: Version,
        value: Any,
        sealed: Envelope,
        *,
        confirmed: float,
        classes: Classes = NO_CLASSES,
        copy: bool = True,
    ) -> Held:
        """Hold `value`, whose sealed form nobody may change any more; without `copy` lend it to whoever asks."""
        size = len(sealed.data)
        is_immutable = codec.is_immutable(value, classes)
        if is_immutable or not copy:
            weight, load = sealed.header.raw_size, partial(_itself, value)
        else:
            weight, load = size, partial(packing.unpack, sealed, classes)
        return cls(version, size, weight + _OVERHEAD, confirmed, not (is_immutable or copy), load)


def _itself(value: Any) -> Any:
    return value


class Memory:
    """Held versions by key; the least recently used go first. Safe to call from many threads."""

    def __init__(self, tier: MemoryTier, timer: Callable[[], float] = time.monotonic) -> None:
        self.tier = tier
        self.revalidate_after = seconds(tier.revalidate_after, name="revalidate_after")
        self._held: TLRUCache[Key, tuple[Held, float]] = TLRUCache(
            maxsize=tier.max_bytes,
            ttu=lambda _key, item, now: now + item[1],
            timer=timer,
            getsizeof=lambda item: item[0].weight,
        )

    def get(self, key: Key) -> Held | None:
        """Return what is held for the key."""
        with process_lock:
            item = self._held.get(key)
            return item[0] if item else None

    def takes(self, weight: int) -> bool:
        """Whether something of so many bytes can be held at all."""
        return weight <= self.tier.max_bytes and self.tier.max_entries > 0

    def put(self, key: Key, held: Held, *, lifetime: float) -> None:
        """Hold a version for so many seconds, unless a newer one is held or it is larger than the whole tier."""
        if not self.takes(held.weight):
            return
        with process_lock:
            present = self._held.get(key)
            if present and present[0].version.name < held.version.name:
                return
            self._held[key] = (held, lifetime)
            while len(self._held) > self.tier.max_entries:
                self._held.popitem()

    def discard(self, key: Key) -> None:
        """Forget one key."""
        with process_lock:
            self._held.pop(key, None)

    def discard_outdated(self, key: Key, listing: Listing) -> None:
        """Forget what is held for a key if a listing shows that it must not be served any more."""
        with process_lock:
            item = self._held.get(key)
            if item and listing.outdates(item[0].version):
                del self._held[key]

    def discard_all(self, belongs: Callable[[Key], bool]) -> None:
        """Forget every key that `belongs` is true of."""
        with process_lock:
            for key in [key for key in self._held if belongs(key)]:
                del self._held[key]

    def count(self, belongs: Callable[[Key], bool]) -> int:
        """Return how many held keys `belongs` is true of."""
        with process_lock:
            return sum(map(belongs, self._held))
