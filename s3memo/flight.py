"""Who is looking up or computing a key in this process, so that one does it for all who ask, and is told what overtakes it.

A call waits for the flight that is under way for its key, unless that one waits for it in turn, directly or by way of
other keys: recursion on one key and a cycle over several compute by themselves.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Generic, NamedTuple, TypeVar

from s3memo.locks import process_lock, rebuild_after_fork
from s3memo.versions import Key, Listing, Version

T = TypeVar("T")


class Outcome(NamedTuple, Generic[T]):
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
    invalidated or cleared meanwhile. The lock `landed` is free from when it has landed. `thread` began it, and does the
    work unless an asyncio.Task does, which is `task`; while that `asks` the store it is not cancelled when nobody waits
    any more, but `is_unwanted`.
    """

    __slots__ = (
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
        "scope",
        "task",
        "thread",
        "waiters",
        "waits_for",
    )

    def __init__(self, key: Key, scope: Hashable = None) -> None:
        self.key = key
        self.scope = scope
        self.detached = False
        self.thread = threading.get_ident()
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
        """Whether it waits for one of the others, or is one, or waits for what does; or for what this thread does next.

        That is so where a signal's handler, or a finalizer, makes the call that it came amidst.
        """
        if self.task is None and self.thread == threading.get_ident():
            return True
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

    def begin(self, key: Key) -> Begun:
        """Register a flight that nobody else waits for, for as long as the block runs."""
        return Begun(self, Flight(key))

    def board(self, key: Key, scope: Hashable) -> Boarded:
        """Take part in the key's flight, for as long as the block runs; and tell whether it is a new one.

        Whoever is told so has to do the work, in `working`. Calls of one scope can wait for each other.
        """
        return Boarded(self, Flight(key, scope), _within.get())

    def working(self, flight: Flight) -> Working:
        """Do the work of a flight in the block, and let those who wait for it go on after that."""
        return Working(self, flight)

    def register(self, flight: Flight) -> None:
        """Let a flight learn what overtakes it, until it is ended."""
        with process_lock:
            self._running[flight.key].add(flight)

    def take_part(self, part: Boarded) -> None:
        """Board the flight that is led for the same calls, or if that would wait for this one in turn, one's own."""
        own = part.own
        with process_lock:
            flight = self._led.get((own.key, own.scope))
            if flight is None or flight.depends_on(part.within):
                flight = own
                self._running[own.key].add(own)
                self._led.setdefault((own.key, own.scope), own)
            part.flight = flight
            flight.waiters += 1
            for outer in part.within:
                outer.waits_for.append(flight)

    def leave(self, part: Boarded) -> None:
        """Take no part in a flight any more; one's own has ended with that, unless a task is at work on it."""
        own = part.own
        with process_lock:
            if own.task is None and not own.has_landed:
                self.end(own)  # again, in case that was interrupted the first time
            flight = part.flight
            if flight is None:
                return
            flight.waiters -= 1
            for outer in part.within:
                if flight in outer.waits_for:  # an interruption may have come between them
                    outer.waits_for.remove(flight)
            if not flight.waiters:
                self._forget(flight)

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
            running = self._running.get(flight.key)
            if running is not None:
                running.discard(flight)
                if not running:
                    self._running.pop(flight.key, None)  # a signal's handler may have done it
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

    def overtake(self, key: Key, *, by: Flight | None) -> None:
        """Let nobody board the running flights of a key any more, except the one whose result overtook the others."""
        with process_lock:
            for flight in self._running.get(key, ()):
                if flight is not by:
                    self._close(flight)

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


class Begun:
    """The block of `Flights.begin`."""

    __slots__ = ("_flight", "_flights")

    def __init__(self, flights: Flights, flight: Flight) -> None:
        self._flights = flights
        self._flight = flight

    def __enter__(self) -> Flight:
        try:
            self._flights.register(self._flight)
        except BaseException:  # an interruption
            self._flights.end(self._flight)
            raise
        return self._flight

    def __exit__(self, *_: object) -> None:
        self._flights.end(self._flight)


class Boarded:
    """The block of `Flights.board`: `own` is made before any lock is taken, for the collector may run anybody's code then.

    `flight` is the one that was boarded, and `within` those that wait for it, too.
    """

    __slots__ = ("_flights", "flight", "own", "within")

    def __init__(self, flights: Flights, own: Flight, within: tuple[Flight, ...]) -> None:
        self._flights = flights
        self.own = own
        self.within = within
        self.flight: Flight | None = None

    def __enter__(self) -> tuple[Flight, bool]:
        try:
            self._flights.take_part(self)
        except BaseException:  # an interruption
            self._flights.leave(self)
            raise
        flight = self.flight or self.own
        return flight, flight is self.own

    def __exit__(self, *_: object) -> None:
        self._flights.leave(self)


class Working:
    """The block of `Flights.working`."""

    __slots__ = ("_flight", "_flights", "_token")

    def __init__(self, flights: Flights, flight: Flight) -> None:
        self._flights = flights
        self._flight = flight

    def __enter__(self) -> None:
        self._token = _within.set((*_within.get(), self._flight))

    def __exit__(self, *_: object) -> None:
        self._flights.end(self._flight)
        _within.reset(self._token)
