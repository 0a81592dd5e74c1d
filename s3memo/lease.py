"""`Lease`: one holder at a time among all machines, as long as it lives and renews the lease.

It is a state under v1/lease/ whose value is the holder and the ttl. Acquire, renew and release are updates of it; a
release is a tombstone. A lease saves work but proves nothing: a holder that is paused for longer than its lease does not
notice (Kleppmann, How to do distributed locking, 2016).
"""

from __future__ import annotations

import math
import os
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Self

from s3memo import bridge, codec
from s3memo.createonly import check_create_only
from s3memo.errors import DecodeError, LeaseTimeout, NotFoundError, SettingsError
from s3memo.events import Recorder
from s3memo.freshness import LEASE_SECONDS, Duration, lease_seconds
from s3memo.locks import process_lock, rebuild_after_fork
from s3memo.register import PUTS, Record, Register, writer
from s3memo.sequences import Chain, StateVersion, lease_prefix
from s3memo.sharing import Place, cache_at, check_place
from s3memo.stores.clock import local_clock

_FIRST_POLL = 0.2
_LONGEST_POLL = 5.0
_RENEWALS = 3  # within the time of one lease
_STEP = 1.0  # seconds by which a listing may round its times down


@dataclass(frozen=True, slots=True)
class _Tenure:
    """A lease that we hold: the number of its version, and when it was written and lapses by the store's clock."""

    holder: str
    number: int
    written: float
    until: float


class Lease:
    """A lock with at most one holder among all machines that use one store: a context manager.

    While it is held a thread renews it; if its process dies, it lapses `ttl` (a duration, a day at most) after its last
    renewal, by the store's clock. Long work should check `lost` before a step that must not be done twice. Another Lease
    for the same key is another holder, even in the same thread. A forked child holds none; releasing one that it has from
    its parent has no effect. Needs a store that enforces create-only. Raises SettingsError, and StoreError from `acquire`.
    """

    _puts = PUTS

    def __init__(self, key: str, url_or_store: Place = None, *, ttl: Duration = LEASE_SECONDS) -> None:
        if not isinstance(key, str) or not key:
            raise SettingsError(f"Lease({key!r}): give the lease a key, a string that is not empty")
        check_place(url_or_store)
        self.key = key
        self.ttl = lease_seconds(ttl, name="ttl")
        self._place = url_or_store
        self._clock: Callable[[], float] = local_clock
        self._sleep: Callable[[float], None] = bridge.sleep
        self._in_use = threading.Lock()
        self._changing = threading.Lock()
        self._tenure: _Tenure | None = None
        self._recorder: Recorder | None = None
        self._first_seen: int | None = None
        self.holder = ""
        self.was_passed_on = False
        self._stop: bridge.Signal = threading.Event()
        self._heart: bridge.Companion | None = None
        rebuild_after_fork(self._lose)

    def __repr__(self) -> str:
        return f"Lease({self.key!r}, ttl={self.ttl:g})"

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_error: object) -> None:
        self.release()

    @property
    def held(self) -> bool:
        """Whether it was acquired and not released since; it may be `lost` nevertheless."""
        return self._heart is not None

    @property
    def lost(self) -> bool:
        """Whether it is not held, or has lapsed, so that somebody else may have it. Sends no request."""
        tenure = self._tenure
        return tenure is None or self._is_over(tenure)

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:  # noqa: FBT001, FBT002  as threading.Lock has it
        """Take the lease and return True; False if it is taken and `blocking` is false.

        Raises LeaseTimeout after `timeout` seconds, RuntimeError if this object has it already, and StoreError.
        """
        if timeout is not None and not (isinstance(timeout, int | float) and blocking and timeout >= 0):
            raise SettingsError(f"timeout={timeout!r} must be 0 seconds or more, and is for blocking=True")
        cache_at(self._place).check_writable(repr(self))
        if not self._in_use.acquire(blocking=False):
            raise RuntimeError(f"{self!r} is in use already: make a Lease of its own for each piece of work")
        with ExitStack() as unless_held:
            unless_held.callback(self._in_use.release)
            tenure = self._wait(blocking=blocking, timeout=math.inf if timeout is None else timeout)
            if tenure is None:
                return False
            self._start(tenure)
            unless_held.pop_all()
        return True

    def release(self) -> None:
        """Release the lease, without effect if it is lost. Raises RuntimeError if it is not held.

        A store error is reported only, since the lease lapses anyway.
        """
        with process_lock:
            heart, self._heart = self._heart, None
        if heart is None:
            raise RuntimeError(f"{self!r} is not held, so it cannot be released")
        self._stop.set()
        heart.join()
        try:
            self._let_go()
        finally:
            self._in_use.release()

    def _let_go(self) -> None:
        """Write a tombstone if we still hold the lease."""
        tenure = None if self.lost else self._tenure
        self._tenure = None
        try:
            if tenure is not None:
                self._follow(tenure, None)
        except Exception as error:  # noqa: BLE001  a user's own store may raise anything
            self._register().recorder.trouble(error, "the lease could not be released, and lapses by itself")

    def _wait(self, *, blocking: bool, timeout: float) -> _Tenure | None:
        """Return our tenure, or None if somebody else has the lease and we do not wait."""
        begun = self._clock()
        for pause in polling():
            tenure = self._try()
            if tenure is not None or not blocking:
                return tenure
            left = timeout - (self._clock() - begun)
            if left <= 0:
                break
            self._sleep(min(pause, left))
        raise LeaseTimeout(
            f"{self!r} in {self._register().store.url} was not free for {timeout:g} seconds; {self.holder} has it"
        )

    def _try(self) -> _Tenure | None:
        """Take the lease if nobody has it; return our tenure, or None."""
        register = self._register()
        chain = register.look()
        newest = chain.newest
        if newest is not None and not newest.cleared and not self._has_lapsed(register, newest):
            self._first_seen = self._first_seen or newest.number
            self.was_passed_on = any(version.cleared for version in chain.versions if version.number > self._first_seen)
            return None
        check_create_only(register.store)  # first, since it may take time off the lease
        sent_at = register.store.time().earliest
        tenure = _Tenure(
            f"{writer()}:{os.urandom(8).hex()}", chain.number + 1, written=sent_at, until=sent_at + self.ttl
        )
        rival = register.append(chain, self._claim(tenure))
        if rival is not None:
            self.holder = rival.writer
            return None
        if not self._is_over(tenure):
            return tenure
        renewed = self._follow(tenure, self._claim(tenure))  # the store was slow; it may be faster now
        return None if renewed is None or self._is_over(renewed) else renewed

    def _is_over(self, tenure: _Tenure) -> bool:
        return self._register().store.time().latest >= tenure.until

    def _has_lapsed(self, register: Register, version: StateVersion) -> bool:
        try:
            self.holder, lasting = _terms(register.read(version.number))
        except NotFoundError:
            return False  # it was collected since the listing, so there is a newer one
        return register.store.time().earliest >= version.last_modified + _STEP + lasting

    def renew(self) -> None:
        """Renew the lease, as a thread does three times per ttl. Raises StoreError."""
        with self._changing:
            if self._tenure is not None:
                self._tenure = self._follow(self._tenure, self._claim(self._tenure))

    def _follow(self, tenure: _Tenure, payload: bytes | None) -> _Tenure | None:
        """Write the version after our own; return our tenure, or None if another holder was first."""
        register = self._register()
        while True:
            sent_at = register.store.time().earliest
            rival = register.append(self._after(tenure), payload)
            if rival is None:
                return replace(tenure, number=tenure.number + 1, written=sent_at, until=sent_at + self.ttl)
            if rival.payload is None or _terms(rival)[0] != tenure.holder:
                return None
            tenure = replace(tenure, number=rival.number)  # our own renewal, whose answer was lost

    def _claim(self, tenure: _Tenure) -> bytes:
        return b"".join(codec.encode([tenure.holder, self.ttl]))

    @staticmethod
    def _after(tenure: _Tenure) -> Chain:
        """Return the chain as known without a LIST: our own version was the newest when it was written."""
        return Chain((StateVersion(tenure.number, 1, tenure.written),), listed_at=tenure.written)

    def _start(self, tenure: _Tenure) -> None:
        self._tenure, self._stop = tenure, bridge.signal()
        try:
            self._heart = bridge.accompany(partial(self._beat, self._stop), f"s3memo-{self!r}")
        except RuntimeError:  # no thread could be started
            self._let_go()
            raise

    def _beat(self, stop: bridge.Signal) -> None:
        while not stop.wait(self.ttl / _RENEWALS) and not self.lost:
            try:
                self.renew()
            except Exception as error:  # noqa: BLE001  as above
                self._register().recorder.trouble(error, "the lease could not be renewed; the next try comes soon")

    def _lose(self) -> None:
        """Leave the lease to the parent after a fork, since only it renews it."""
        self._tenure = None
        self._changing, self._stop = threading.Lock(), threading.Event()
        if self._heart is None:
            self._in_use = threading.Lock()

    def _register(self) -> Register:
        cache = cache_at(self._place)
        if self._recorder is None:
            self._recorder = Recorder(f"lease {self.key!r}", cache.hooks)
        return Register(
            cache.store,
            lease_prefix(self.key),
            1,
            self._recorder,
            cache.packing,
            self._clock,
            self._sleep,
            puts=self._puts,
        )


def polling() -> Iterator[float]:
    """Yield the pauses between polls, in seconds: random, and doubling up to a limit."""
    pause = _FIRST_POLL
    while True:
        yield pause * (1 + random.random()) / 2  # noqa: S311  it keeps no secret
        pause = min(2 * pause, _LONGEST_POLL)


def _terms(record: Record) -> tuple[str, float]:
    """Return the holder and the ttl in a record. Raises DecodeError."""
    match codec.decode(record.payload or b""):
        case [str() as holder, float() as lasting]:
            return holder, lasting
    raise DecodeError(f"version {record.number} of a lease does not say who holds it")
