"""Who is looking up or computing a key in this process, so that what overtakes them can reach them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from s3memo.locks import process_lock
from s3memo.versions import Key, Listing, Version


class Flight:
    """One look-up or computation under way.

    `detached` says that what it brings is for its own caller only: its key was set, invalidated or cleared meanwhile.
    """

    __slots__ = ("_newest", "_tombstone", "detached")

    def __init__(self) -> None:
        self.detached = False
        self._newest = "~"  # sorts after every name
        self._tombstone = -1

    def notice(self, listing: Listing) -> None:
        """Learn what the store, or memory, was seen to have meanwhile."""
        newest = listing.newest
        if newest is not None:
            self._newest = min(self._newest, newest.name)
        if listing.tombstone is not None:
            self._tombstone = max(self._tombstone, listing.tombstone)

    def may_land(self, version: Version) -> bool:
        """Whether memory may hold the version: nothing seen meanwhile is newer or buries it."""
        return not self.detached and version.name <= self._newest and version.created > self._tombstone


class Flights:
    """The flights of a process, by key. Safe to call from many threads."""

    def __init__(self) -> None:
        self._running: defaultdict[Key, set[Flight]] = defaultdict(set)

    @contextmanager
    def begin(self, key: Key) -> Iterator[Flight]:
        """Register a flight for as long as the block runs."""
        flight = Flight()
        with process_lock:
            self._running[key].add(flight)
        try:
            yield flight
        finally:
            with process_lock:
                self._running[key].discard(flight)
                if not self._running[key]:
                    del self._running[key]

    def notice(self, key: Key, listing: Listing) -> None:
        """Tell the flights of a key what a listing showed."""
        with process_lock:
            for flight in self._running.get(key, ()):
                flight.notice(listing)

    def land(self, key: Key, flight: Flight, version: Version, action: Callable[[], None]) -> None:
        """Run `action`, which hands the version to memory, unless something overtook the flight."""
        with process_lock:
            if flight.may_land(version):
                self.notice(key, Listing((version,)))
                action()

    def detach(self, key: Key, *, but: Flight | None = None) -> None:
        """Detach the running flights of one key, except the caller's own."""
        with process_lock:
            self._detach(self._running.get(key, set()) - {but})

    def detach_all(self, belongs: Callable[[Key], bool]) -> None:
        """Detach the running flights of every key that `belongs` is true of."""
        with process_lock:
            self._detach(flight for key in self._running if belongs(key) for flight in self._running[key])

    @staticmethod
    def _detach(flights: Iterable[Flight]) -> None:
        for flight in flights:
            flight.detached = True
