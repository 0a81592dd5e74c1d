"""Who is looking up or computing a key in this process, so that an invalidation can reach them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from s3memo.locks import process_lock
from s3memo.versions import Key


class Flight:
    """One look-up or computation under way; it may land a version no older than `floor`, an order in µs."""

    __slots__ = ("floor",)

    def __init__(self) -> None:
        self.floor: float = 0

    @property
    def detached(self) -> bool:
        """Whether what it brings is for its own caller only: its key was set, invalidated or cleared meanwhile."""
        return self.floor == math.inf


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

    def land(self, key: Key, flight: Flight, order: int, action: Callable[[], None]) -> None:
        """Run `action`, which hands a version of that order to memory, unless something newer overtook the flight."""
        with process_lock:
            if order < flight.floor:
                return
            for other in self._running[key]:
                other.floor = max(other.floor, order)
            action()

    def detach(self, key: Key, *, but: Flight | None = None) -> None:
        """Detach the running flights of one key, except the caller's own."""
        with process_lock:
            self._ground(self._running.get(key, set()) - {but})

    def detach_all(self, belongs: Callable[[Key], bool]) -> None:
        """Detach the running flights of every key that `belongs` is true of."""
        with process_lock:
            self._ground(flight for key in self._running if belongs(key) for flight in self._running[key])

    @staticmethod
    def _ground(flights: Iterable[Flight]) -> None:
        for flight in flights:
            flight.floor = math.inf
