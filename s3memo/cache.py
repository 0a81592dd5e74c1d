"""The cache of one store: the one way to read a key, the one way to write it, and what else can be done to it.

Every decision is taken by `versions` and `freshness`; what stands here is the order of the requests.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Generic, Self, TypeVar, cast, get_args

from s3memo import packing, settings
from s3memo.envelope import Compression, Envelope
from s3memo.errors import CodecError, NotFoundError, SettingsError, StoreError
from s3memo.events import CacheInfo, Hook, Recorder, Tier, logger
from s3memo.flight import Flight, Flights
from s3memo.freshness import judge
from s3memo.memory import Held, Memory, MemoryTier
from s3memo.packing import CodecName, Packing
from s3memo.settings import check_choice
from s3memo.signing import SigningKey, SigningKeys
from s3memo.stores import store_at
from s3memo.stores.base import PAGE_SIZE, Store
from s3memo.terms import OnError, Terms
from s3memo.versions import DAY, MICROSECONDS, Key, Listing, Version, clearing, parse_object_key, tombstone

T = TypeVar("T")

_LOOKS = 3
"""How often a version that vanished between LIST and GET is looked for again."""

_LONGEST_COMPUTATION = 7 * DAY
"""µs. A tombstone may be collected after that, so an older computation can no longer be told from a fresh one."""


@dataclass(frozen=True, slots=True)
class Entry(Generic[T]):
    """A stored result: its value and what its name tells. `size` is what the object takes in the store, in bytes."""

    key: Key
    value: T
    version: Version
    size: int

    @property
    def created_at(self) -> datetime:
        """When its computation began, by the store's clock."""
        return self.version.created_at

    @property
    def elapsed(self) -> float:
        """How long it took to compute, in seconds."""
        return self.version.elapsed / 1000


@dataclass(frozen=True, slots=True)
class Recall:
    """What looking for a key found: an entry or none; and the listing, if the store was asked."""

    entry: Entry[Any] | None = None
    listing: Listing | None = None


@dataclass(frozen=True, slots=True)
class _Found:
    """A version, its value for this one caller, and the tier that had it."""

    held: Held
    value: Any
    tier: Tier


@dataclass(frozen=True, slots=True)
class _Draft:
    """A version about to be written, and the listing that it rests on."""

    held: Held
    sealed: Envelope
    listing: Listing


class Cache:
    """What functions returned, in one store with a memory tier before it. Safe to share between threads.

    `url_or_store` is a URL, a directory or a Store; None: what `configure` or S3MEMO_URL says, else an embedded store
    in the user's cache directory. `memory=None` keeps nothing in the process. `signing_keys`, secrets of at least 32
    bytes, sign what is written and refuse what none of them signed; the first signs; none: those of `configure` or
    S3MEMO_SIGNING_KEYS. `compression` is "auto" (zstd where it helps) or "none". `codec="pickle"` stores what only
    pickle can, and demands signing keys. `on_error="raise"` lets errors of the store and of stored bytes out, for
    tests; "compute" makes each a visible miss. `read_only` computes what is missing and stores nothing.
    `record_arguments` stores with each result what it was computed from, in words that the bucket's readers can read.
    Each of `hooks` is called with every Event. Raises SettingsError.
    """

    def __init__(
        self,
        url_or_store: str | os.PathLike[str] | Store | None = None,
        *,
        memory: MemoryTier | None = MemoryTier(),  # noqa: B008  it is immutable
        signing_keys: Iterable[SigningKey] = (),
        compression: Compression = "auto",
        codec: CodecName = "msgpack",
        on_error: OnError = "compute",
        read_only: bool = False,
        record_arguments: bool = False,
        hooks: Iterable[Hook] = (),
    ) -> None:
        if not isinstance(memory, MemoryTier | None):
            raise SettingsError(f"memory={memory!r} must be a MemoryTier, or None to keep nothing in the process")
        if not isinstance(hooks, Iterable):
            raise SettingsError(f"hooks={hooks!r} must be a list of functions: hooks=[{hooks!r}]")
        check_choice("on_error", on_error, get_args(OnError))
        check_choice("compression", compression, get_args(Compression))
        check_choice("codec", codec, get_args(CodecName))
        self.store = store_at(url_or_store)
        self.hooks = tuple(hooks)
        self.on_error: OnError = on_error
        self._read_only = read_only
        self.record_arguments = record_arguments
        self._packing = Packing(codec, compression, SigningKeys(signing_keys))
        self._memory = Memory(memory or MemoryTier(max_entries=0))
        self._flights = Flights()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.store.url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the store's connections; a later call opens them again."""
        close = getattr(self.store, "close", None)
        if close is not None:
            close()

    @property
    def read_only(self) -> bool:
        """Whether nothing is written to the store."""
        return self._read_only or settings.current().read_only

    def fetch(self, key: Key, terms: Terms, compute: Callable[[], T]) -> T:
        """Return the key's value: remembered, or computed and then remembered."""
        with self._flights.begin(key) as flight:
            found = self._recall_or_miss(key, terms, flight)
            if found.entry is not None:
                return cast("T", found.entry.value)
            return self._compute(key, terms, compute, found.listing, flight)

    def get(self, key: Key, terms: Terms) -> Entry[Any] | None:
        """Return what `fetch` would find without computing, or None."""
        with self._flights.begin(key) as flight:
            return self._recall_or_miss(key, terms, flight).entry

    def refresh(self, key: Key, terms: Terms, compute: Callable[[], T]) -> T:
        """Compute, remember and return the value, whatever is stored."""
        with self._flights.begin(key) as flight:
            listing = None
            with terms.fail_open(key, "the store could not be read, so the result will not be stored"):
                listing = self._look(key, terms)
            return self._compute(key, terms, compute, listing, flight)

    def set(self, key: Key, terms: Terms, value: Any) -> None:
        """Remember a value that was not computed here. Raises EncodeError and StoreError."""
        self._check_writable("cache_set")
        with self._flights.begin(key) as flight:
            listing = self._look(key, terms)
            draft = self._seal(key, terms, value, listing, elapsed=0.0)
            try:
                self.remember(key, terms, draft)
            finally:
                self._flights.detach(key, but=flight)
                self._memory.discard(key)
            self._land(key, flight, draft.held, terms)

    def invalidate(self, key: Key, terms: Terms) -> None:
        """Make void every result whose computation began before now. Raises StoreError."""
        self._check_writable("cache_invalidate")
        with terms.recorder.counting_requests():
            try:
                grave = self._bury(key, math.ceil(self.store.time().latest * MICROSECONDS))
                listing = self._look(key, terms)
                rival = listing.rival(grave)
                if rival is not None:
                    grave = self._bury(key, rival.created + 2)
            finally:
                self._flights.detach(key)
                self._memory.discard(key)
        terms.recorder.emit("invalidate", key=str(key))
        self._delete(key, terms, listing.buried(grave))

    def clear(self, prefix: str, belongs: Callable[[Key], bool], terms: Terms) -> int:
        """Delete every result below `prefix`, and forget the keys that `belongs` is true of; return how many.

        Raises StoreError; what was deleted until then is gone, each digest's oldest first.
        """
        self._check_writable("cache_clear")
        deleted = 0
        self._flights.detach_all(belongs)
        try:
            with terms.recorder.counting_requests():
                object_keys = (info.key for info in self.store.list(prefix))
                for batch in clearing(object_keys, latest=self.store.time().latest, batch=PAGE_SIZE):
                    self.store.delete(batch)
                    deleted += len(batch)
        finally:
            self.forget(belongs)
        terms.recorder.emit("clear", message=f"{deleted} objects deleted below {prefix}")
        logger.info("s3memo: %s: %d objects deleted below %s in %s", terms.recorder.function, deleted, prefix, self)
        return deleted

    def forget(self, belongs: Callable[[Key], bool]) -> None:
        """Drop from memory the keys that `belongs` is true of, and what is being looked up for them now."""
        self._flights.detach_all(belongs)
        self._memory.discard_all(belongs)

    def history(self, key: Key, terms: Terms) -> list[Version]:
        """Return all versions of the key that the store has, tombstones included, newest first. Raises StoreError."""
        with terms.recorder.counting_requests():
            found = [parse_object_key(info.key) for info in self.store.list(key.prefix)]
            latest = self.store.time().latest
            return [version for _, version in filter(None, found) if not version.is_foreign(latest)]

    def info(self, belongs: Callable[[Key], bool], recorder: Recorder) -> CacheInfo:
        """Return a function's numbers; `belongs` tells its keys."""
        return recorder.info(maxsize=self._memory.tier.max_entries, currsize=self._memory.count(belongs))

    def recall(self, key: Key, terms: Terms, flight: Flight) -> Recall:
        """The one read path: memory, else the newest version that the store lists. Raises StoreError."""
        held = self._memory.get(key)
        if held is not None and held.is_lent and terms.copy:
            held = None
        if held is not None and self._is_current(held, terms):
            return self._hit(key, _Found(held, held.load(), "memory"), terms, None)
        listing = Listing()
        for _ in range(_LOOKS):
            listing = self._look(key, terms)
            version = listing.newest
            if version is None or not self._is_fresh(version, key, terms):
                break
            try:
                found = self._load(key, version, terms, held, listing)
            except NotFoundError:
                continue  # replaced since it was listed
            except CodecError as error:
                terms.survive(error, key, "a stored result is unreadable and is computed anew")
                break
            self._land(key, flight, found.held, terms)
            return self._hit(key, found, terms, listing)
        return Recall(listing=listing)

    def remember(self, key: Key, terms: Terms, draft: _Draft, computing: Flight | None = None) -> None:
        """The one write path: PUT the version, then DELETE what it supersedes. Raises StoreError if the PUT fails.

        A computation that was detached during the PUT takes its version back, before it has deleted any other: nobody
        was promised that it is stored, and what overtook it may yet fail.
        """
        version = draft.held.version
        with terms.recorder.counting_requests():
            self.store.put(key.prefix + version.name, draft.sealed.data)
        terms.recorder.emit("store", key=str(key), size=draft.held.size)
        taken_back = computing is not None and computing.detached
        void = [version] if taken_back else draft.listing.superseded(version, keep=terms.keep)
        self._delete(key, terms, void)

    def _recall_or_miss(self, key: Key, terms: Terms, flight: Flight) -> Recall:
        found = Recall()
        with terms.fail_open(key, "the store could not be read, which counts as a miss"):
            found = self.recall(key, terms, flight)
        if found.entry is None:
            terms.recorder.emit("miss", key=str(key))
        return found

    def _hit(self, key: Key, found: _Found, terms: Terms, listing: Listing | None) -> Recall:
        entry = Entry(key, found.value, found.held.version, found.held.size)
        terms.recorder.emit("hit", key=str(key), tier=found.tier, seconds=entry.elapsed, size=entry.size)
        return Recall(entry, listing)

    def _compute(self, key: Key, terms: Terms, compute: Callable[[], T], listing: Listing | None, flight: Flight) -> T:
        """Compute, and store the value if the store could be read: without a listing no version can be dated."""
        started = time.perf_counter()
        value = compute()
        elapsed = time.perf_counter() - started
        terms.recorder.emit("compute", key=str(key), seconds=elapsed)
        if listing is not None:
            with terms.fail_open(key, "the result could not be stored and is returned all the same"):
                draft = self._seal(key, terms, value, listing, elapsed=elapsed)
                self._land(key, flight, draft.held, terms)
                if not flight.detached and not self.read_only:
                    self.remember(key, terms, draft, flight)
        return value

    def _look(self, key: Key, terms: Terms) -> Listing:
        """LIST the key's prefix: one page, or as many as it takes until those behind could not change the answer.

        What memory holds, or a flight of the key would bring it, gives way to what is seen.
        """
        listing, start_after = Listing(), ""
        with terms.recorder.counting_requests():
            while True:
                page = list(self.store.list(key.prefix, start_after=start_after, limit=PAGE_SIZE))
                names = (info.key.removeprefix(key.prefix) for info in page)
                listing = listing.extended(names, now=self.store.time(), full=len(page) == PAGE_SIZE)
                if listing.settled:
                    break
                start_after = page[-1].key
        self._flights.notice(key, listing)
        self._memory.discard_outdated(key, listing)
        return listing

    def _load(self, key: Key, version: Version, terms: Terms, held: Held | None, listing: Listing) -> _Found:
        """Return a version from memory, if that is the one held there, else GET it. Raises NotFoundError, CodecError."""
        if held is not None and held.version == version:
            held = replace(held, confirmed=listing.seen_at)
            return _Found(held, held.load(), "memory")
        object_key = key.prefix + version.name
        with terms.recorder.counting_requests():
            data = self.store.get(object_key)
        if terms.copy and self._memory.takes(len(data)):
            data = memoryview(data).toreadonly()  # no value lies over what memory holds
        sealed = self._packing.open(object_key, data)
        value = packing.unpack(sealed, terms.classes)
        held = self._held(version, value, sealed, terms, listing)
        return _Found(held, value, "store")

    def _seal(self, key: Key, terms: Terms, value: Any, listing: Listing, *, elapsed: float) -> _Draft:
        """Encode a value whose computation began after the listing and took `elapsed` seconds. Raises EncodeError."""
        ttl = None if terms.policy.ttl is None else math.ceil(terms.policy.ttl)
        version = listing.next_version(listing.seen_at, ttl=ttl, elapsed=int(elapsed * 1000), nonce=_nonce())
        if self.store.time().latest * MICROSECONDS - version.created > _LONGEST_COMPUTATION:
            raise StoreError(f"the computation of {key} took over seven days, so an invalidation could not be told")
        sealed = self._packing.pack(key, version, value, terms.classes, terms.arguments)
        return _Draft(self._held(version, value, sealed, terms, listing), sealed, listing)

    def _held(self, version: Version, value: Any, sealed: Envelope, terms: Terms, listing: Listing) -> Held:
        return Held.of(version, value, sealed, confirmed=listing.seen_at, classes=terms.classes, copy=terms.copy)

    def _land(self, key: Key, flight: Flight, held: Held, terms: Terms) -> None:
        lifetime = math.inf
        if terms.policy.ttl is not None:
            lifetime = terms.policy.ttl - self._age(held.version)
        self._flights.land(key, flight, held.version, lambda: self._memory.put(key, held, lifetime=lifetime))

    def _is_current(self, held: Held, terms: Terms) -> bool:
        """Whether a held version may be served without asking the store."""
        trust = self._memory.revalidate_after
        return judge(self._age(held.version), terms.policy) == "fresh" and (
            trust is None or self.store.time().latest - held.confirmed < trust
        )

    def _is_fresh(self, version: Version, key: Key, terms: Terms) -> bool:
        age = self._age(version)
        freshness = judge(age, terms.policy)
        if freshness == "ahead":
            skew = StoreError(f"{key.prefix}{version.name} is dated {-age:.0f} s ahead of {self.store.url}")
            terms.recorder.trouble(skew, "clock skew: the version counts as expired", key=str(key))
        return freshness == "fresh"

    def _age(self, version: Version) -> float:
        return self.store.time().latest - version.created / MICROSECONDS

    def _bury(self, key: Key, at: int) -> Version:
        grave = tombstone(at, nonce=_nonce())
        self.store.put(key.prefix + grave.name, b"")
        return grave

    def _delete(self, key: Key, terms: Terms, versions: list[Version]) -> None:
        if not versions:
            return
        with (
            terms.fail_open(key, "old versions could not be deleted; the next write tries again"),
            terms.recorder.counting_requests(),
        ):
            self.store.delete(key.prefix + version.name for version in versions)

    def _check_writable(self, operation: str) -> None:
        if self.read_only:
            raise SettingsError(f"{operation}: this cache is read-only (read_only=True or S3MEMO_READ_ONLY)")


def _nonce() -> str:
    return os.urandom(4).hex()
