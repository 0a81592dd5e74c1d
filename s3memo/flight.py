"""Who is looking up or computing a key in this process, so that one does it for all who ask, and is told what overtakes it.

A call waits for the flight that is under way for its key, unless that one waits for it in turn, directly or by way of
other keys: recursion on one key and a cycle over several compute by themselves.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, TypeVar

from s3memo.locks import process_lock, rebuild_after_fork
from s3memo.versions import Key, Listing, Version

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """What a flight brought: the value for its own caller, and what makes one for each other, if it can be made again.

    `seconds` is how long it took to compute; one that `is_stale` is to be refreshed. `version` is what the store has of
    it, in `size` bytes, or None; `is_hit` tells that it was not computed for this.
    """

    value: T
    share: Callable[[], T] | None = None
    seconds: float = 0.0
    is_stale: bool = False
    version: Version | None = None
    size: int = 0
    is_hit: bool = False


class Flight:
    """One look-up or computation under way.

    `detached` says that what it brings is for those who wait for it already, and for nobody else: its key was set,
    invalidated or cleared meanwhile. The lock `landed` is free from when it has landed. Where an asyncio.Task does the
    work, that is `task`; while it `asks` the store it is not cancelled when nobody waits any more, but `is_unwanted`.
    """

    __slots__ = (
        *(
            "_newest",
            "_tombstone",
            "_trace",
            "asks",
            "detached",
            "error",
            "has_landed",
            "is_unwanted",
            "key",
            "landed",
            "outcome",
        ),
        *("scope", "task", "waiters", "waits_for"),
    )

    def __init__(self, key: Key, scope: Hashable = None) -> None:
        self.key = key
        self.scope = scope
        self.detached = False
        self.task: Any = None
        self.asks = self.is_unwanted = self.has_landed = False
        self.landed = threading.Lock()
        self.landed.acquire()
        self.outcome: Outcome[Any] | None = None
        self.error: Exception | None = None
        self._trace: TracebackType | None = None
        self.waiters = 0
        self.waits_for: list[Flight] = []
        self._newest = "~"  # sorts after every name
        self._tombstone = -1

    def fail(self, error: Exception) -> None:
        """Let those who wait for it raise an error."""
        self.error, self._trace = error, error.__traceback__

    def brought(self) -> Outcome[Any] | None:
        """Return what it brought, None if it was given up, or raise its error, which grows by no other waiter's trace."""
        if self.error is not None:
            raise self.error.with_traceback(self._trace)
        return self.outcome

    def notice(self, listing: Listing) -> None:
        """Learn what the store, or memory, was seen to have meanwhile."""
        newest = listing.newest
        if newest is not None:
            self.notice_version(newest)
        if listing.tombstone is not None:
            self._tombstone = max(self._tombstone, listing.tombstone)

    def notice_version(self, version: Version) -> None:
        """Learn of a result."""
        self._newest = min(self._newest, version.name)

    def may_land(self, version: Version) -> bool:
        """Whether memory may hold the version: nothing seen meanwhile is newer or buries it."""
        return not self.detached and version.name <= self._newest and version.created > self._tombstone

    def depends_on(self, others: tuple[Flight, ...]) -> bool:
        """Whether it waits for one of the others, or is one, or waits for what does."""
        met, pending = set[Flight](), [self]
        while pending:
            flight = pending.pop()
            if flight in others:
                return True
            if flight not in met:
                met.add(flight)
                pending += flight.waits_for
        return False


_within: ContextVar[tuple[Flight, ...]] = ContextVar("s3memo_flights", default=())
"""The flights that what runs in this context is done for, outermost first."""


class Flights:
    """The flights of a process, by key. Safe to call from many threads."""

    def __init__(self) -> None:
        self._running: defaultdict[Key, set[Flight]] = defaultdict(set)
        self._led: dict[tuple[Key, Hashable], Flight] = {}
        rebuild_after_fork(self._keep_own)

    @contextmanager
    def begin(self, key: Key) -> Iterator[Flight]:
        """Register a flight that nobody else waits for, for as long as the block runs."""
        flight = Flight(key)
        try:
            with process_lock:
                self._running[key].add(flight)
            yield flight
        finally:
            self.end(flight)

    @contextmanager
    def board(self, key: Key, scope: Hashable) -> Iterator[tuple[Flight, bool]]:
        """Take part in the key's flight, for as long as the block runs; and tell whether it is a new one.

        Whoever is told so has to do the work, in `working`. Calls of one scope can wait for each other.
        """
        within = _within.get()
        own = flight = Flight(key, scope)  # made before the lock is taken: the collector may run anybody's code then
        try:
            with process_lock:
                led = self._led.get((key, scope))
                if led is None or led.depends_on(within):
                    self._running[key].add(own)
                    self._led.setdefault((key, scope), own)
                else:
                    flight = led
                flight.waiters += 1
                for outer in within:
                    outer.waits_for.append(flight)
            yield flight, flight is own
        finally:
            with process_lock:
                if own.task is None:  # else the task ends it, whoever has left meanwhile
                    self.end(own)  # again, in case that was interrupted the first time
                flight.waiters -= 1
                for outer in within:
                    outer.waits_for.remove(flight)
                if not flight.waiters:
                    self._forget(flight)

    @contextmanager
    def working(self, flight: Flight) -> Iterator[None]:
        """Do the work of a flight in the block, and let those who wait for it go on after that."""
        token = _within.set((*_within.get(), flight))
        try:
            yield
        finally:
            self.end(flight)
            _within.reset(token)

    def is_led(self, key: Key, scope: Hashable) -> bool:
        """Whether somebody is at work for the calls of a scope."""
        return (key, scope) in self._led

    def is_shared(self, flight: Flight) -> bool:
        """Whether others wait for a flight; from now on nobody will begin to."""
        with process_lock:
            self._close(flight)
            return flight.waiters > 1

    def close(self, flight: Flight) -> None:
        """Let nobody board a flight any more."""
        with process_lock:
            self._close(flight)

    def end(self, flight: Flight) -> None:
        """Let those who wait for a flight go on, when nobody can come to wait for it. It may be ended again."""
        with process_lock:
            flight.detached = True  # a cancelled one may have a thread at work yet, which nothing reaches any more
            self._close(flight)
            running = self._running.get(flight.key, set())
            running.discard(flight)
            if not running:
                self._running.pop(flight.key, None)
            if not flight.has_landed:
                flight.has_landed = True
                flight.landed.release()
            if not flight.waiters:  # they were all cancelled
                self._forget(flight)

    def is_running(self, key: Key) -> bool:
        """Whether a flight of the key is under way."""
        return key in self._running

    def notice(self, key: Key, listing: Listing) -> None:
        """Tell the flights of a key what a listing showed."""
        with process_lock:
            for flight in self._running.get(key, ()):
                flight.notice(listing)

    def land(self, key: Key, flight: Flight, version: Version, action: Callable[[], None]) -> None:
        """Run `action`, which hands the version to memory, unless something overtook the flight."""
        with process_lock:
            if flight.may_land(version):
                for running in self._running.get(key, ()):
                    running.notice_version(version)
                action()

    def detach(self, key: Key, *, but: Flight | None = None) -> None:
        """Detach the running flights of one key, except the caller's own."""
        with process_lock:
            self._detach(self._running.get(key, set()) - {but})

    def detach_all(self, belongs: Callable[[Key], bool]) -> None:
        """Detach the running flights of every key that `belongs` is true of."""
        with process_lock:
            self._detach([flight for key in self._running if belongs(key) for flight in self._running[key]])

    def _detach(self, flights: Iterable[Flight]) -> None:
        for flight in flights:
            flight.detached = True
            self._close(flight)

    def _close(self, flight: Flight) -> None:
        if self._led.get((flight.key, flight.scope)) is flight:
            del self._led[flight.key, flight.scope]

    @staticmethod
    def _forget(flight: Flight) -> None:
        """Let go of what nobody waits for any more: an exception, as a task's is, refers to what refers to it."""
        flight.outcome = flight.error = flight._trace = None  # noqa: SLF001  it is one of us
        if flight.has_landed:
            flight.task = None

    def _keep_own(self) -> None:
        """Forget, in a forked child, the flights of the threads that it does not have."""
        own = [flight for flight in _within.get() if flight in self._running.get(flight.key, ())]
        self._led.clear()
        self._running.clear()
        for flight in own:
            self._running[flight.key].add(flight)
