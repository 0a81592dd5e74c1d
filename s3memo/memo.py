"""The memo protocol on one store: the requests of each operation, in order. The decisions are in `versions`."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from functools import partial
from typing import Any

from s3memo import packing
from s3memo.breaker import Breaker, Change
from s3memo.bridge import LARGE, aside, is_crossed
from s3memo.envelope import Envelope
from s3memo.errors import CodecError, StoreError
from s3memo.events import Counting, Recorder, Tier, logger
from s3memo.freshness import whole_seconds
from s3memo.memory import Held
from s3memo.packing import Packing
from s3memo.spans import Name
from s3memo.stores.base import PAGE_SIZE, Buffer, HoldsCopies, Store, TimeBounds
from s3memo.stores.clock import local_clock
from s3memo.stores.parts import PART
from s3memo.terms import Terms
from s3memo.versions import (
    DAY,
    MICROSECONDS,
    NOTHING_LISTED,
    Key,
    Listing,
    Version,
    clearing,
    parse_object_key,
    tombstone,
)

_LONGEST_COMPUTATION = 7 * DAY
"""In µs. Tombstones may be collected after that, so an older computation could escape its invalidation."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A version about to be written, and the listing it rests on."""

    held: Held
    sealed: Envelope
    listing: Listing


class Memo:
    """Versions of results in a store, packed by the cache's settings, for a memory tier of up to `room` bytes."""

    def __init__(self, store: Store, packing: Packing, room: int) -> None:
        self.store = store
        self.packing = packing
        self._room = room
        self.breaker = Breaker(getattr(store, "clock", local_clock))
        self._copies = store if isinstance(store, HoldsCopies) else None

    def look(self, key: Key, terms: Terms) -> tuple[Listing, dict[str, int]]:
        """LIST a key's prefix: one page, or more until the names behind could not change the answer.

        Returns the listing, and the sizes in bytes by name.
        """
        listing, start_after, sizes = NOTHING_LISTED, "", dict[str, int]()
        with self.asking(terms):
            while True:
                page = list(self.store.list(key.prefix, start_after=start_after, limit=PAGE_SIZE))
                found = {info.key.removeprefix(key.prefix): info.size for info in page}
                sizes |= found
                listing = listing.extended(found, now=self.store.time(), full=len(page) == PAGE_SIZE)
                if listing.settled:
                    return listing, sizes
                start_after = page[-1].key

    def page(self, folder: str, start_after: str, terms: Terms) -> tuple[list[Name], TimeBounds]:
        """LIST a page of a function's names; return them with their sizes, and the time bounds of the answer."""
        with self.asking(terms):
            found = list(self.store.list(folder, start_after=folder + start_after, limit=PAGE_SIZE))
            return [(info.key.removeprefix(folder), info.size) for info in found], self.store.time()

    def load(
        self, key: Key, version: Version, terms: Terms, listing: Listing, *, is_kept: bool
    ) -> tuple[Held, Any, Tier]:
        """GET a version, or read its local copy; return it as held in memory, its value, and the tier that had it.

        With `is_kept`, if memory has room for it, the value shares no buffer with the object. Raises NotFoundError,
        CodecError, and StoreUnavailableError while the breaker is open.
        """
        object_key = key.prefix + version.name
        data, tier = self._read(object_key, terms)
        if is_kept and terms.copy and len(data) <= self._room:
            data = memoryview(data).toreadonly()
        sealed = self._open(object_key, data) if len(data) <= LARGE else aside(partial(self._open, object_key, data))
        if sealed.header.raw_size <= LARGE:
            held, value = self._unpack(version, sealed, terms, listing)
        else:
            held, value = aside(partial(self._unpack, version, sealed, terms, listing))
        return held, value, tier

    def draft(
        self, key: Key, terms: Terms, value: Any, listing: Listing, *, elapsed: float, raised: bool = False
    ) -> Draft:
        """Seal a value, or with `raised` an exception, whose computation began after the listing. Raises EncodeError.

        `elapsed` is how long the computation took, in seconds.
        """
        ttl = whole_seconds(terms.exceptions[type(value)] if raised else terms.policy.ttl)
        version = listing.next_version(listing.seen_at, ttl=ttl, elapsed=int(elapsed * 1000), nonce=_nonce())
        if self.store.time().latest * MICROSECONDS - version.created > _LONGEST_COMPUTATION:
            raise StoreError(f"the computation of {key} took over seven days, so an invalidation could not be told")

        def pack() -> Draft:
            sealed = self.packing.pack(key, version, value, terms.classes, terms.arguments, raised=raised)
            return Draft(self._held(version, value, sealed, terms, listing), sealed, listing)

        return aside(pack) if is_crossed() and packing.may_be_large(value) else pack()

    def put(self, key: Key, terms: Terms, draft: Draft, *, gives_way: bool) -> None:
        """PUT a version. With `gives_way`, raises StoreUnavailableError while the breaker is open.

        A large object, for which a loop has only a few threads, checks the breaker once a thread is free.
        """
        data = draft.sealed.data

        def put() -> None:
            if gives_way:
                self.breaker.check()
            with self.asking(terms):
                self.store.put(key.prefix + draft.held.version.name, data)

        aside(put) if len(data) >= PART else put()

    def bury(self, key: Key, terms: Terms) -> tuple[Version, Listing]:
        """PUT a tombstone, and another if that was not the newest; return the last one and the listing between."""
        with self.asking(terms):
            grave = self._bury(key, math.ceil(self.store.time().latest * MICROSECONDS))
            listing, _ = self.look(key, terms)
            rival = listing.rival(grave)
            return (grave if rival is None else self._bury(key, rival.created + 2)), listing

    def delete(self, key: Key, terms: Terms, versions: list[Version]) -> None:
        """DELETE versions. A failure is survived, since the next write tries again."""
        if versions:
            with (
                terms.fail_open(key, "old versions could not be deleted; the next write tries again"),
                self.asking(terms),
            ):
                self.store.delete(key.prefix + version.name for version in versions)

    def clear(self, prefix: str, terms: Terms) -> int:
        """DELETE all results below a prefix, each digest's oldest first; return how many objects."""
        deleted = 0
        with self.asking(terms):
            object_keys = (info.key for info in self.store.list(prefix))
            for batch in clearing(object_keys, latest=self.store.time().latest, batch=PAGE_SIZE):
                self.store.delete(batch)
                deleted += len(batch)
        return deleted

    def history(self, key: Key, terms: Terms) -> list[Version]:
        """LIST all versions of a key, tombstones included, newest first."""
        with self.asking(terms):
            found = [parse_object_key(info.key) for info in self.store.list(key.prefix)]
            latest = self.store.time().latest
            return [version for _, version in filter(None, found) if not version.is_foreign(latest)]

    def age(self, version: Version) -> float:
        """Return a version's greatest possible age by the store's clock, in seconds."""
        return self.store.time().latest - version.created / MICROSECONDS

    def asking(self, terms: Terms) -> Asking:
        """Count the block's requests and report their outcome to the breaker, unless they are interrupted."""
        return Asking(self.breaker, terms.recorder, self.store.url)

    def _read(self, object_key: str, terms: Terms) -> tuple[Buffer, Tier]:
        copy = None if self._copies is None else self._copies.copy_of(object_key)
        if copy is not None:
            return copy, "local"
        self.breaker.check()
        with self.asking(terms):
            return self.store.get(object_key), "store"

    def _open(self, object_key: str, data: Buffer) -> Envelope:
        try:
            return self.packing.open(object_key, data)
        except CodecError:
            if self._copies is not None:  # the stored object may be intact, and only the copy damaged
                self._copies.drop_copy(object_key)
            raise

    def _unpack(self, version: Version, sealed: Envelope, terms: Terms, listing: Listing) -> tuple[Held, Any]:
        is_of_use = terms.exceptions or not sealed.header.raised
        value = packing.unpack(sealed, terms.classes) if is_of_use else Exception()
        return self._held(version, value, sealed, terms, listing), value

    def _held(self, version: Version, value: Any, sealed: Envelope, terms: Terms, listing: Listing) -> Held:
        return Held.of(
            version,
            value,
            sealed,
            confirmed=listing.seen_at,
            classes=terms.classes,
            copy=terms.copy,
            most=self._room,
        )

    def _bury(self, key: Key, at: int) -> Version:
        grave = tombstone(at, nonce=_nonce())
        self.store.put(key.prefix + grave.name, b"")
        return grave


class Asking(Counting):
    """The context manager of `Memo.asking`."""

    __slots__ = ("_breaker", "_since", "_url")

    def __init__(self, breaker: Breaker, recorder: Recorder, url: str) -> None:
        self.recorder = recorder
        self._breaker = breaker
        self._since = breaker.changes
        self._url = url

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            if error is None or isinstance(error, Exception):
                change = self._breaker.learn(error, since=self._since)
                if change is not None:
                    self._tell(change, error)
            else:  # an interrupt or a cancellation is no answer
                self._breaker.give_back()
        finally:
            super().__exit__(kind, error, trace)

    def _tell(self, change: Change, outcome: Exception | None) -> None:
        if change == "opened":
            message = f"{self._url} is left alone for {self._breaker.pause:g} s"
        else:
            message = f"{self._url} answers again"
            logger.info("s3memo: %s", message)
        self.recorder.emit("breaker", message=message, error=outcome)


def _nonce() -> str:
    return os.urandom(4).hex()
