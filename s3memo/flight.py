"""Flights: the look-ups and computations under way in this process, which other calls for the same key can wait for.

A call waits for the running flight of its key, unless that flight waits for the call in turn, directly or through other
keys: in a recursion on one key or a cycle over several, each call computes by itself.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Generic, NamedTuple, TypeVar

from s3memo.locks import holds_process_lock, process_lock, rebuild_after_fork
from s3memo.versions import Key, Listing, Version

T = TypeVar("T")


class Outcome(NamedTuple, Generic[T]):
    """The outcome of a flight: the value for its own caller, and a way to make one for each waiter, if there is one.

    `seconds` is how long it took to compute. An outcome that `is_stale` is to be refreshed. `version` is the stored
    version, of `size` bytes, or None; `is_hit` tells that it was not computed for this call.
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

    `detached`: its key was set, invalidated or cleared meanwhile, so its outcome goes only to those who wait already.
    `bypasses_memory`: only memory was cleared, so its outcome still goes to the store. `landed` is a lock, released
    when the flight has landed. `thread` began it and does the work, unless `task`, an asyncio.Task, does; while that
    `asks` the store it is not cancelled when the last waiter leaves, but marked `is_unwanted`.
    """

    __slots__ = (
        "_newest",
        "_tombstone",
        "_trace",
        "asks",
        "bypasses_memory",
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
        self.detached = self.bypasses_memory = False
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
        """Let the waiters raise an error."""
        self.error, self._trace = error, error.__traceback__

    def brought(self) -> Outcome[Any] | None:
        """Return the outcome, None if it was given up; or raise the error, without the tracebacks of other waiters."""
        if self.error is not None:
            raise self.error.with_traceback(self._trace)
        return self.outcome

    def notice(self, listing: Listing) -> None:
        """Take note of what a listing showed meanwhile."""
        newest = listing.newest
        if newest is not None:
            self.notice_version(newest)
        if listing.tombstone is not None:
            self._tombstone = max(self._tombstone, listing.tombstone)

    def notice_version(self, version: Version) -> None:
        """Take note of a result."""
        self._newest = min(self._newest, version.name)

    def may_land(self, version: Version) -> bool:
        """Whether memory may hold the version: nothing seen meanwhile is newer or buries it."""
        is_void = self.detached or self.bypasses_memory
        return not is_void and version.name <= self._newest and version.created > self._tombstone

    def depends_on(self, others: tuple[Flight, ...]) -> bool:
        """Whether it is one of the others or waits for one, directly or indirectly, or for this very thread.

        The last happens where a signal handler or a finalizer makes the call that it interrupted.
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
"""The flights that the running code works for, outermost first."""


class Flights:
    """The flights of a process, by key. Safe to call from many threads."""

    def __init__(self) -> None:
        self._running: defaultdict[Key, set[Flight]] = defaultdict(set)
        self._led: dict[tuple[Key, Hashable], Flight] = {}
        rebuild_after_fork(self._keep_own)

    def begin(self, key: Key) -> Begun:
        """Register a flight that nobody else can wait for, while the block runs."""
        return Begun(self, Flight(key))

    def board(self, key: Key, scope: Hashable) -> Boarded:
        """Join the key's flight while the block runs; return it, and whether it is new.

        The caller of a new flight has to do the work, in `working`. Only calls of the same scope wait for each other.
        """
        return Boarded(self, Flight(key, scope), _within.get())

    def working(self, flight: Flight) -> Working:
        """Do the work of a flight in the block; its waiters go on after that."""
        return Working(self, flight)

    def register(self, flight: Flight) -> None:
        """Register a flight until it ends, so that it learns of newer versions and invalidations."""
        with process_lock:
            self._running[flight.key].add(flight)

    def take_part(self, part: Boarded) -> None:
        """Join the flight of the same calls, or a new one if there is none or it might wait for this call in turn."""
        own, may_wait = part.own, not holds_process_lock()
        with process_lock:
            flight = self._led.get((own.key, own.scope))
            if flight is None or not may_wait or flight.depends_on(part.within):
                flight = own
                self._running[own.key].add(own)
                self._led.setdefault((own.key, own.scope), own)
            part.flight = flight
            flight.waiters += 1
            for outer in part.within:
                outer.waits_for.append(flight)

    def leave(self, part: Boarded) -> None:
        """Leave a flight. The caller's own flight ends with that, unless a task works on it."""
        own = part.own
        with process_lock:
            if own.task is None and not own.has_landed:
                self.end(own)  # again, in case the first time was interrupted
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
        """Whether a flight is under way that the calls of a scope can join."""
        return (key, scope) in self._led

    def is_shared(self, flight: Flight) -> bool:
        """Whether others wait for a flight; closes it to newcomers."""
        with process_lock:
            self._close(flight)
            return flight.waiters > 1

    def close(self, flight: Flight) -> None:
        """Close a flight to newcomers."""
        with process_lock:
            self._close(flight)

    def end(self, flight: Flight) -> None:
        """End a flight, closed to newcomers, and let its waiters go on. Safe to repeat."""
        with process_lock:
            flight.detached = True  # a cancelled flight may still have a thread at work, out of reach
            self._close(flight)
            running = self._running.get(flight.key)
            if running is not None:
                running.discard(flight)
                if not running:
                    self._running.pop(flight.key, None)  # a signal's handler may have done it
            if not flight.has_landed:
                flight.has_landed = True
                flight.landed.release()
            if not flight.waiters:  # all were cancelled
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
        """Run `action`, which puts the version into memory, unless something newer was seen meanwhile."""
        with process_lock:
            if flight.may_land(version):
                for running in self._running.get(key, ()):
                    running.notice_version(version)
                action()

    def overtake(self, key: Key, *, by: Flight | None) -> None:
        """Close the running flights of a key to newcomers, except the one whose result is newer."""
        with process_lock:
            for flight in self._running.get(key, ()):
                if flight is not by:
                    self._close(flight)

    def detach(self, key: Key, *, but: Flight | None = None) -> None:
        """Detach the running flights of one key, except the caller's own."""
        with process_lock:
            self._detach(self._running.get(key, set()) - {but})

    def detach_all(self, belongs: Callable[[Key], bool]) -> None:
        """Detach the running flights of every key that `belongs` accepts."""
        with process_lock:
            self._detach(self._of(belongs))

    def lead_past_memory(self, belongs: Callable[[Key], bool]) -> None:
        """Let the running flights of those keys reach the store but not memory, and close them to newcomers."""
        with process_lock:
            for flight in self._of(belongs):
                flight.bypasses_memory = True
                self._close(flight)

    def _of(self, belongs: Callable[[Key], bool]) -> list[Flight]:
        return [flight for key, flights in self._running.items() if belongs(key) for flight in flights]

    def _detach(self, flights: Iterable[Flight]) -> None:
        for flight in flights:
            flight.detached = True
            self._close(flight)

    def _close(self, flight: Flight) -> None:
        if self._led.get((flight.key, flight.scope)) is flight:
            del self._led[flight.key, flight.scope]

    @staticmethod
    def _forget(flight: Flight) -> None:
        """Release the outcome when nobody waits any more: an exception in it, as in a task, forms a reference cycle."""
        flight.outcome = flight.error = flight._trace = None  # noqa: SLF001  same module
        if flight.has_landed:
            flight.task = None

    def _keep_own(self) -> None:
        """Forget, in a forked child, the flights of threads that do not exist there."""
        own = [flight for flight in _within.get() if flight in self._running.get(flight.key, ())]
        self._led.clear()
        self._running.clear()
        for flight in own:
            self._running[flight.key].add(flight)


class Begun:
    """The context manager of `Flights.begin`."""

    __slots__ = ("_flight", "_flights")

    def __init__(self, flights: Flights, flight: Flight) -> None:
        self._flights = flights
        self._flight = flight

    def __enter__(self) -> Flight:
        try:
            self._flights.register(self._flight)
        except BaseException:  # an interrupt
            self._flights.end(self._flight)
            raise
        return self._flight

    def __exit__(self, *_: object) -> None:
        self._flights.end(self._flight)


class Boarded:
    """The context manager of `Flights.board`.

    `own` is made before any lock is taken, because an allocation may run the garbage collector, and so any code.
    `flight` is the one that was joined; the flights `within` wait for it too.
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
        except BaseException:  # an interrupt
            self._flights.leave(self)
            raise
        flight = self.flight or self.own
        return flight, flight is self.own

    def __exit__(self, *_: object) -> None:
        self._flights.leave(self)


class Working:
    """The context manager of `Flights.working`."""

    __slots__ = ("_flight", "_flights", "_token")

    def __init__(self, flights: Flights, flight: Flight) -> None:
        self._flights = flights
        self._flight = flight

    def __enter__(self) -> None:
        self._token = _within.set((*_within.get(), self._flight))

    def __exit__(self, *_: object) -> None:
        self._flights.end(self._flight)
        _within.reset(self._token)
