"""The cache over one store: its settings, and the operations beside calling a cached function."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any, Self, get_args
from weakref import WeakValueDictionary

from s3memo.bridge import side_by_side
from s3memo.entry import Entry, Hit
from s3memo.envelope import Compression
from s3memo.errors import SettingsError, StoreError
from s3memo.events import CacheInfo, Hook, Recorder, logger
from s3memo.freshness import Duration, seconds
from s3memo.locks import process_lock, rebuild_after_fork
from s3memo.memory import MemoryTier
from s3memo.packing import CodecName, Packing
from s3memo.settings import check_choice, check_count
from s3memo.signing import SigningKey, SigningKeys
from s3memo.stores import store_at, with_local_tier
from s3memo.stores.base import PAGE_SIZE, LocalPlace, Store
from s3memo.surveys import Surveys
from s3memo.terms import OnError, Terms
from s3memo.versions import Key, Version

_THREADS = 32
"""How many store operations of async functions may run at once."""


class Cache(Surveys):
    """Results of functions in one store, with a memory tier in front. Safe to share between threads.

    `url_or_store` is a URL, a directory or a Store; None means the one set by `configure` or S3MEMO_URL, else an
    embedded store in the user's cache directory. `local` is a directory that keeps copies of a remote store's results
    for all processes of this machine (True: one in the user's cache directory), of up to `local_max_bytes` (10 GiB);
    see TieredStore. `memory=None` keeps nothing in the process. For `names_ttl` (a duration; 0 always lists), names
    seen in a listing are used without listing again.

    `signing_keys` are secrets of at least 32 bytes: the first signs what is written, and data that none of them signed
    is refused; without any, those of `configure` or S3MEMO_SIGNING_KEYS apply. `compression` is "auto" (zstd where it
    helps) or "none". `codec="pickle"` stores whatever pickle can, and demands signing keys. A result whose object,
    envelope included, exceeds `max_entry_bytes` (None: no limit) is returned but not stored, with an event and one
    warning per function; a stored object above the limit is a miss, and not even downloaded if a listing told its size.

    `on_error="raise"` raises errors of the store and of stored data, for tests; "compute" reports each and counts it as
    a miss. `read_only` computes missing results and stores nothing. `record_arguments` stores a description of the
    arguments with each result, for anyone who can read the bucket. Each of `hooks` is called with every Event. Raises
    SettingsError.
    """

    def __init__(
        self,
        url_or_store: str | os.PathLike[str] | Store | None = None,
        *,
        memory: MemoryTier | None = MemoryTier(),  # noqa: B008  immutable
        names_ttl: Duration = 60,
        local: LocalPlace | None = None,
        local_max_bytes: int | None = None,
        signing_keys: Iterable[SigningKey] = (),
        compression: Compression = "auto",
        codec: CodecName = "msgpack",
        max_entry_bytes: int | None = None,
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
        if max_entry_bytes is not None:
            check_count("max_entry_bytes", max_entry_bytes, of="bytes", least=1)
        keys, hooks = SigningKeys(signing_keys), tuple(hooks)
        packing = Packing(codec, compression, keys, max_entry_bytes)
        tier = memory or MemoryTier(max_entries=0)
        ttl = seconds(names_ttl, name="names_ttl")
        if ttl is None:
            raise SettingsError(
                "names_ttl=None says nothing: give a duration; for longer ones use preload(trust_for=…)"
            )
        self.names_ttl = ttl
        store = with_local_tier(store_at(url_or_store), local, local_max_bytes)
        super().__init__(store, packing, tier, names_ttl=ttl, read_only=read_only, has_hooks=bool(hooks))
        self.hooks = hooks
        self.on_error: OnError = on_error
        self.record_arguments = record_arguments
        self._pool: ThreadPoolExecutor | None = None
        self._whole: Cache | None = None
        self._parts: WeakValueDictionary[str, Self] = WeakValueDictionary()
        self._identity = os.urandom(16).hex()
        self._settings: dict[str, Any] = {
            "url_or_store": self.store,  # its local tier included
            "memory": tier,
            "names_ttl": ttl,
            "signing_keys": keys,
            "compression": compression,
            "codec": codec,
            "max_entry_bytes": max_entry_bytes,
            "on_error": on_error,
            "read_only": read_only,
            "record_arguments": record_arguments,
            "hooks": hooks,
        }
        _by_identity[self._identity] = self
        rebuild_after_fork(self._forget_pool)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle with all settings, signing keys included. Unpickled twice in a process, it is the same object."""
        return _restored, (type(self), self._identity, self._settings)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _memo: dict[int, Any]) -> Self:
        """Return the cache itself: its threads and memory belong to this process."""
        return self

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.store.url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the store's connections and the threads of async functions; a later call opens them again."""
        with process_lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False)
        close = getattr(self.store, "close", None)
        if close is not None:
            close()

    @property
    def pool(self) -> ThreadPoolExecutor:
        """The threads in which async functions wait for a store without native async I/O."""
        with process_lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="s3memo")
            return self._pool

    @property
    def awaits(self) -> bool:
        """Whether the store awaits its own I/O, so that async functions need no threads; see `bridge`."""
        return bool(getattr(self.store, "awaits", False))

    def asking(self, terms: Terms) -> AbstractContextManager[None]:
        """Count the requests of a block for a function, and report their outcome to the breaker."""
        return self._memo.asking(terms)

    @property
    def packing(self) -> Packing:
        """How values are packed into objects."""
        return self._memo.packing

    def check_writable(self, operation: str) -> None:
        """Raise SettingsError if the cache is read-only."""
        if self.read_only:
            raise SettingsError(f"{operation}: this cache is read-only (read_only=True or S3MEMO_READ_ONLY)")

    def part(self, name: str, *, max_entries: int) -> Self:
        """Return a cache with the same settings and a memory tier of its own.

        All users of the same name share one part while it is in use; the first of them bounds its entries.
        """
        with process_lock:
            part = self._parts.get(name)
            if part is None:
                tier = self._memory.tier
                tier = replace(tier, max_entries=min(max_entries, tier.max_entries))
                part = self._parts[name] = type(self)(**{**self._settings, "memory": tier})
                part._whole = self  # noqa: SLF001  keeps the whole alive, which finds the part again
            return part

    def get(self, key: Key, terms: Terms) -> Entry[Any] | None:
        """Return the cached result of a key, or None, without computing it."""
        with self.flights.begin(key) as flight:
            found = self.find(key, terms, flight)
            return found.entry if isinstance(found, Hit) else None

    def preload(self, key: Key, terms: Terms, *, values: bool, trust_for: Duration | None) -> int:
        """List the names of all results of the key's function; return how many keys have one. Raises StoreError.

        For `trust_for` these names and absences are trusted (None: until memory is cleared). With `values`, results are
        read into memory too, as many as fit.
        """
        keys = self._names.preload(key, terms, trust_for=seconds(trust_for, name="trust_for"))
        if not values:
            return sum(1 for _ in keys)
        tier, count, size = self._memory.tier, 0, 0
        while batch := list(islice(keys, PAGE_SIZE)):
            if count < tier.max_entries and size < tier.max_bytes:
                bringing = [partial(self._bring, other, terms) for other in batch]
                size += sum(side_by_side(bringing, most=_THREADS, name="preload"))
            count += len(batch)
        return count

    def _bring(self, key: Key, terms: Terms) -> int:
        """Read a stored result into memory; return the size of its object in bytes."""
        with self.flights.begin(key) as flight, terms.fail_open(key, "a result could not be preloaded"):
            found = self.recall(key, terms, flight)
            return found.held.size if isinstance(found, Hit) else 0
        return 0

    def set(self, key: Key, terms: Terms, value: Any) -> None:
        """Store a value that was not computed here. Raises EncodeError and StoreError."""
        self.check_writable("cache_set")
        with self.flights.begin(key) as flight:
            listing = self.look(key, terms)
            draft = self._memo.draft(key, terms, value, listing, elapsed=0.0)
            try:
                self.remember(key, terms, draft)
            except StoreError:
                self._names.forget(key)
                raise
            finally:
                self.flights.detach(key, but=flight)
                self._memory.discard(key)
            self._land(key, flight, draft.held, terms)

    def invalidate(self, key: Key, terms: Terms) -> None:
        """Invalidate every result whose computation began before now. Raises StoreError."""
        self.check_writable("cache_invalidate")
        try:
            forgotten = self._names.forget(key)
            grave, listing = self._memo.bury(key, terms)
            self._names.bury(key, grave, listing, forgotten)
        finally:
            self.drop(key)
        terms.recorder.emit("invalidate", key=key)
        self._memo.delete(key, terms, listing.buried(grave))

    def clear(self, prefix: str, belongs: Callable[[Key], bool], terms: Terms) -> int:
        """Delete every result below `prefix` and forget the keys that `belongs` accepts; return how many were deleted.

        Raises StoreError; what was deleted before that stays deleted, each digest's oldest first.
        """
        self.check_writable("cache_clear")
        self.flights.detach_all(belongs)
        try:
            deleted = self._memo.clear(prefix, terms)
        finally:
            self.flights.detach_all(belongs)
            self.forget(belongs)
        terms.recorder.emit("clear", message=f"{deleted} objects deleted below {prefix}")
        logger.info("s3memo: %s: %d objects deleted below %s in %s", terms.recorder.function, deleted, prefix, self)
        return deleted

    def drop(self, key: Key) -> None:
        """Drop a key from memory and detach its running flights."""
        self.flights.detach(key)
        self._memory.discard(key)

    def forget(self, belongs: Callable[[Key], bool]) -> None:
        """Drop the keys that `belongs` accepts from memory; their running flights reach the store only."""
        self._names.forget_all(belongs)
        self.flights.lead_past_memory(belongs)  # after that, or one that begins between them would go by an old name
        self._memory.discard_all(belongs)

    def history(self, key: Key, terms: Terms) -> list[Version]:
        """Return all stored versions of a key, tombstones included, newest first. Raises StoreError."""
        return self._memo.history(key, terms)

    def info(self, belongs: Callable[[Key], bool], recorder: Recorder) -> CacheInfo:
        """Return a function's counters; `belongs` tells which keys are its own."""
        return recorder.info(maxsize=self._memory.tier.max_entries, currsize=self._memory.count(belongs))

    def _forget_pool(self) -> None:
        """Drop the pool in a forked child, where its threads do not exist."""
        self._pool = None


_by_identity: WeakValueDictionary[str, Cache] = WeakValueDictionary()
_arrived: dict[str, Cache] = {}
"""Unpickled caches, kept alive so that the next pickle does not open the store again."""


def _restored(kind: type[Cache], identity: str, settings: dict[str, Any]) -> Cache:
    with process_lock:
        cache = _by_identity.get(identity)
        if cache is None:
            cache = _arrived[identity] = kind(**settings)
            cache._identity = identity  # noqa: SLF001  same class
            _by_identity[identity] = cache
        return cache
