"""Memory in front of the store: the one way to read a key, and the one way to write it.

`versions` and `freshness` decide, and `memo` asks the store; this module keeps memory and the flights of this process
in step with both.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from functools import partial
from typing import Any

from s3memo import bridge, codec, settings
from s3memo.entry import Hit, Miss
from s3memo.errors import CodecError, EncodeError, NotFoundError, StoreError
from s3memo.events import EventKind, Tier
from s3memo.flight import Flight, Flights, Outcome
from s3memo.freshness import Freshness
from s3memo.locks import process_lock
from s3memo.memo import Draft, Memo
from s3memo.memory import Gone, Held, Memory, MemoryTier, Slot
from s3memo.names import NOTHING_READ, Names, Reading
from s3memo.packing import Packing
from s3memo.quick import Cell
from s3memo.stores.base import Store
from s3memo.stores.clock import local_clock
from s3memo.terms import Terms
from s3memo.versions import MICROSECONDS, NOTHING_LISTED, Key, Listing, Version, tombstone

_LOOKS = 3
"""How often a version that vanished between LIST and GET is looked for again."""

_QUICK = 1.0
"""Seconds for which a function may serve a value from a cell without asking memory again."""

_OWN_CLOCKS = (local_clock, time.time)

SERVED: tuple[Freshness, ...] = ("fresh", "stale")
"""Served to callers at once."""
_OF_USE: tuple[Freshness, ...] = ("fresh", "stale", "fallback")


class Tiers:
    """A memory tier, a store, and the flights of this process between them. Safe to share between threads."""

    def __init__(
        self,
        store: Store,
        packing: Packing,
        memory: MemoryTier,
        *,
        names_ttl: float,
        read_only: bool,
        has_hooks: bool,
    ) -> None:
        self.store = store
        self.flights = Flights()
        self._memory = Memory(memory, timer=getattr(store, "clock", local_clock))
        self._memo = Memo(store, packing, self._memory.room)
        self._names = Names(self._memo, names_ttl, notice=self.notice, is_held=self._is_held)
        self._read_only = read_only
        self._has_hooks = has_hooks

    @property
    def read_only(self) -> bool:
        """Whether nothing is written to the store."""
        return self._read_only or settings.current().read_only

    def held(self, key: Key, terms: Terms, *, most: int | None = None) -> Hit | None:
        """Return what memory holds, if it may be served without asking the store.

        With `most`, not if more bytes than that would be decoded. Nor if the store's clock fails: the look-up that
        follows meets that again, and reports it.
        """
        try:
            return None if most is not None and self._holds_large(key, most) else self._held(key, terms)
        except Exception:  # noqa: BLE001  as above
            return None

    def open_cell(self, cell: Cell, key: Key, terms: Terms) -> None:
        """Let a function serve a key's value from a cell for a moment, if all callers share that value.

        Such hits are not passed to hooks, so cells stay closed if there are hooks, or a clock other than the machine's.
        """
        if self._has_hooks or self._memory.timer not in _OWN_CLOCKS:
            return
        is_bounded = terms.policy.ttl is not None or self._memory.revalidate_after is not None
        latest = math.inf if is_bounded else 0.0
        if is_bounded:
            with terms.fail_open(key, "how old a result is could not be told"):
                latest = self.store.time().latest
        with process_lock:  # the slot may be evicted meanwhile
            slot = self._slot(key, terms)
            if slot is None or slot.held.raised is not None or not slot.held.is_shared:
                return
            left = min(_QUICK, slot.until - self._memory.timer())
            if terms.policy.ttl is not None:
                left = min(left, terms.policy.ttl - (latest - slot.held.version.created / MICROSECONDS))
            if self._memory.revalidate_after is not None:
                left = min(left, self._memory.revalidate_after - (latest - slot.held.confirmed))
            tally = terms.recorder.tally(slot.held.version.elapsed / 1000)
            slot.add_cell(cell)  # first, since an interruption may come between
            cell.lease = slot.held.load(), time.monotonic() + left, tally

    def find(
        self, key: Key, terms: Terms, flight: Flight, *, serves_stale: bool = True, reading: Reading = NOTHING_READ
    ) -> Hit | Miss:
        """Return the cached result, or a miss; trouble with the store is reported and counts as a miss."""
        found: Hit | Miss
        try:
            found = self.recall(key, terms, flight, serves_stale=serves_stale, reading=reading)
        except Exception as error:  # noqa: BLE001  like fail_open, which would slow down hits
            terms.survive(error, key, "the store could not be read, which counts as a miss")
            found = Miss()
            with terms.fail_open(key, "how old a result is could not be told"):
                found = self._old(key, terms) or found
        self.tell(key, terms, found)
        return found

    def tell(self, key: Key, terms: Terms, found: Hit | Miss) -> None:
        """Emit the outcome of a caller's look-up."""
        if isinstance(found, Miss):
            terms.recorder.emit("miss", key=key)
        else:
            kind: EventKind = "hit" if found.freshness == "fresh" else "stale"
            saved = found.held.version.elapsed / 1000
            terms.recorder.emit(kind, key=key, tier=found.tier, seconds=saved, size=found.held.size)

    def find_behind(self, key: Key, terms: Terms, flight: Flight) -> Hit | Miss:
        """Look for a fresh result while callers are served the stale one."""
        with terms.fail_open(key, "the store could not be read, so a stale result is not refreshed"):
            return self.recall(key, terms, flight, serves_stale=False)
        return Miss()

    def recall(
        self,
        key: Key,
        terms: Terms,
        flight: Flight,
        *,
        serves_stale: bool = True,
        reading: Reading = NOTHING_READ,
        lists: bool = False,
    ) -> Hit | Miss:
        """The one read path: memory, else the newest version in the index or the store's listing.

        With `lists` the index is not asked. Raises StoreError.
        """
        served = SERVED if serves_stale else ("fresh",)
        hit = self._held(key, terms)
        if hit is not None and hit.freshness in served:
            return hit
        listing, fallback = NOTHING_LISTED, None
        seen_since = math.inf if lists else self._seen_since(key, terms)
        for sighting in self._names.sightings(key, terms, reading, looks=_LOOKS, seen_since=seen_since):
            listing, fallback = sighting.listing, None
            version = listing.newest
            if version is not None:
                freshness = self._judge_listed(version, sighting.latest, key, terms)
                try:
                    if freshness in served:
                        hit = self._load(key, version, terms, flight, listing, freshness=freshness)
                        freshness = hit.freshness
                except NotFoundError:
                    self._names.forget(key)  # replaced since the listing
                    continue
                except CodecError as error:
                    if sighting.is_proof:
                        terms.survive(error, key, "a stored result is unreadable and is computed anew")
                        break
                    continue
                if hit is not None and freshness in served:
                    return hit
                fallback = version if freshness in _OF_USE else None
            if sighting.is_proof:
                break
        # The computation for a miss begins now, however long ago the names were listed.
        return Miss(listing._replace(seen_at=self.store.time().earliest), fallback)

    def look(self, key: Key, terms: Terms) -> Listing:
        """LIST the key; memory and running flights give way to what is seen."""
        return self._names.look(key, terms)

    def notice(self, key: Key, listing: Listing) -> None:
        """Let memory and the running flights of a key give way to what a listing shows."""
        self.flights.notice(key, listing)
        self._memory.discard_outdated(key, listing)

    def look_for_refresh(self, key: Key, terms: Terms) -> Miss:
        """LIST the key for a computation that takes place whatever is stored."""
        listing = None
        with terms.fail_open(key, "the store could not be read, so the result will not be stored"):
            self._memo.breaker.check()
            listing = self.look(key, terms)
        return Miss(listing)

    def keep(self, flight: Flight, terms: Terms, found: Miss, value: Any, elapsed: float) -> Outcome[Any]:
        """Store the result of a computation, unless it is not wanted; return its outcome, for all waiters.

        `elapsed` is how long it took, in seconds.
        """
        self._tell_computed(flight.key, terms, elapsed)
        if found.listing is not None and _is_wanted(value, terms):
            held, is_stored = self._remember_if_possible(flight, terms, found.listing, value, elapsed)
            if held is not None:
                version = held.version if is_stored else None
                return Outcome(value, partial(loaded, held), elapsed, version=version, size=held.size)
        if not self.flights.is_shared(flight):
            return Outcome(value, None, elapsed)
        if codec.is_immutable(value, terms.classes) or not terms.copy:
            return Outcome(value, lambda: value, elapsed)
        try:
            copy = bridge.aside(partial(self._memo.packing.copier, value, terms.classes))
            return Outcome(value, partial(bridge.aside, copy), elapsed)
        except EncodeError:  # the waiters compute for themselves
            return Outcome(value, None, elapsed)

    def keep_error(self, flight: Flight, terms: Terms, found: Miss, error: Exception, elapsed: float) -> None:
        """Store the exception of a computation that took `elapsed` seconds."""
        self._tell_computed(flight.key, terms, elapsed)
        if found.listing is not None:
            self._remember_if_possible(flight, terms, found.listing, error, elapsed, raised=True)

    def fall_back(self, flight: Flight, terms: Terms, found: Miss, error: Exception) -> Hit | None:
        """Return the expired result to serve because the function raised `error`, or None."""
        key = flight.key
        if found.fallback is None or found.listing is None:
            return None
        old: Hit | None = None
        with terms.fail_open(key, "the function raised, and the old result could not be read"):
            old = self._load(key, found.fallback, terms, flight, found.listing, freshness="fallback")
        if old is None or old.held.raised is not None:
            return None
        terms.recorder.trouble(error, "the function raised, and an old result is served", key=str(key))
        old = old._replace(freshness="fallback")
        self.tell(key, terms, old)
        return old

    def remember(self, key: Key, terms: Terms, draft: Draft, computing: Flight | None = None) -> None:
        """The one write path: PUT the version, then DELETE what it supersedes. Raises StoreError if the PUT fails.

        A computed result skips its PUT while the breaker is open. If the flight was detached during the PUT, its
        version is taken back before it deletes any other: nobody was promised that it is stored, and the write or
        invalidation that detached it may still fail.
        """
        version = draft.held.version
        self._memo.put(key, terms, draft, gives_way=computing is not None)
        terms.recorder.emit("store", key=key, size=draft.held.size)
        taken_back = computing is not None and computing.detached
        void = [version] if taken_back else draft.listing.superseded(version, keep=terms.keep)
        self._names.learn(key, draft, void)
        if not taken_back:  # an older version may have entered memory during the PUT, if this one was evicted
            self.notice(key, Listing((version,)))
            self.flights.overtake(key, by=computing)
        self._memo.delete(key, terms, void)
        if taken_back:  # others may have read it meanwhile, and memory got it from them
            self.notice(key, Listing((tombstone(version.created, nonce=version.nonce),)))
            self.flights.overtake(key, by=computing)

    def _remember_if_possible(
        self, flight: Flight, terms: Terms, listing: Listing, value: Any, elapsed: float, *, raised: bool = False
    ) -> tuple[Held | None, bool]:
        """Put a computed value into memory and the store.

        Returns its form in memory, None if it cannot be encoded, and whether it was stored.
        """
        key, held = flight.key, None
        with terms.fail_open(key, "the result could not be stored and is returned all the same"):
            draft = self._memo.draft(key, terms, value, listing, elapsed=elapsed, raised=raised)
            held = draft.held
            self._land(key, flight, held, terms)
            if not flight.detached and not self.read_only:
                self.remember(key, terms, draft, flight)
                return held, not flight.detached
        return held, False

    def _tell_computed(self, key: Key, terms: Terms, elapsed: float) -> None:
        ttl = terms.policy.ttl
        message = ""
        if ttl is not None and elapsed >= ttl:
            message = (
                f"computed in {elapsed:.3g} s, which is no less than the ttl of {ttl:.3g} s: no other call gets it"
            )
            terms.recorder.warn(message, kind="ttl too short")
        terms.recorder.emit("compute", key=key, seconds=elapsed, message=message)

    def _old(self, key: Key, terms: Terms) -> Hit | None:
        """Return what memory holds although it has expired, because the store fails."""
        slot = self._slot(key, terms)
        if slot is None or self._judge(slot.held, terms) not in _OF_USE:
            return None
        return Hit(key, slot.held, loaded(slot.held), "memory", "fallback")

    def _load(
        self, key: Key, version: Version, terms: Terms, flight: Flight, listing: Listing, *, freshness: Freshness
    ) -> Hit:
        """Return a version from memory if that holds it; else GET it, unless it is known to be too large.

        `freshness` is judged by the name alone, which is enough for a result that never expires. Raises NotFoundError,
        CodecError.
        """
        slot = self._slot(key, terms)
        tier: Tier
        if slot and slot.held.version == version:
            held = replace(slot.held, confirmed=listing.seen_at)
            value, tier = loaded(held), "memory"
        else:
            if self._memo.packing.max_bytes is not None:
                self._memo.packing.check_size(key.prefix + version.name, self._names.size(key, version))
            held, value, tier = self._memo.load(key, version, terms, listing, is_kept=True)
        self._land(key, flight, held, terms)
        if terms.policy.ttl is not None or held.raised is not None:
            freshness = self._judge(held, terms)
        return Hit(key, held, value, tier, freshness)

    def _land(self, key: Key, flight: Flight, held: Held, terms: Terms) -> None:
        if not self._memory.keeps:
            return
        lifetime = terms.longest(held.raised)
        if not math.isinf(lifetime):
            lifetime -= self._memo.age(held.version)
        gone: list[Gone] = []

        def put() -> None:
            gone.extend(self._memory.put(key, held, lifetime=lifetime, recorder=terms.recorder.origin))

        self.flights.land(key, flight, held.version, put)
        for left in gone:
            left.tell()

    def _is_held(self, key: Key) -> bool:
        """Whether memory or a running flight has something of the key that a newer version would outdate."""
        return self._memory.holds(key) or self.flights.is_running(key)

    def _slot(self, key: Key, terms: Terms) -> Slot | None:
        """Return the memory slot that these callers may use: not one whose value was lent and may have been changed."""
        slot = self._memory.slot(key)
        return None if slot is None or (slot.held.is_lent and terms.copy) else slot

    def _held(self, key: Key, terms: Terms) -> Hit | None:
        slot = self._servable(key, terms)
        if slot is None:
            return None
        freshness = self._judge(slot.held, terms)
        return Hit(key, slot.held, loaded(slot.held), "memory", freshness) if freshness in SERVED else None

    def _holds_large(self, key: Key, size: int) -> bool:
        """Whether memory holds a value of more than `size` bytes that is decoded for each caller."""
        slot = self._memory.slot(key)
        return slot is not None and slot.held.raw_size > size and not slot.held.is_shared

    def _servable(self, key: Key, terms: Terms) -> Slot | None:
        """Return the memory slot that may be served without asking whether it was replaced meanwhile."""
        slot = self._slot(key, terms)
        if slot is None:
            return None
        trust = self._memory.revalidate_after
        if trust is None or 0 <= self.store.time().latest - slot.held.confirmed < trust:
            return slot
        return None

    def _seen_since(self, key: Key, terms: Terms) -> float:
        """Return how recent a listing must be to confirm the value in memory, in POSIX seconds; -inf if any will do."""
        trust = self._memory.revalidate_after
        return -math.inf if trust is None or self._slot(key, terms) is None else self.store.time().latest - trust

    def _judge(self, held: Held, terms: Terms) -> Freshness:
        return terms.judge(self._memo.age(held.version), held.raised)

    def _judge_listed(self, version: Version, latest: float, key: Key, terms: Terms) -> Freshness:
        """Judge a version at a time by its name alone, which does not tell a result from an exception."""
        age = latest - version.created / MICROSECONDS
        freshness = terms.judge(age, None)
        if freshness == "ahead":
            skew = StoreError(f"{key.prefix}{version.name} is dated {-age:.0f} s ahead of {self.store.url}")
            terms.recorder.trouble(skew, "clock skew: the version counts as expired", key=str(key))
        is_of_use = terms.exceptions and freshness != "ahead" and terms.may_be_exception(version.ttl, age)
        return "fresh" if is_of_use else freshness


def loaded(held: Held) -> Any:
    """Return the value that memory holds; a large one is decoded beside the loop, if there is one."""
    is_long = held.raw_size > bridge.LARGE and not held.is_shared
    return bridge.aside(held.load) if is_long else held.load()


def _is_wanted(value: Any, terms: Terms) -> bool:
    if terms.cache_if is None:
        return True
    with bridge.blocking():  # the user's code
        return bool(terms.cache_if(value))
