"""What time it is by a server whose answers obstore shows without their Date: asked for at first, and again each hour."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

from s3memo.bridge import aside
from s3memo.errors import StoreError
from s3memo.locks import rebuild_after_fork
from s3memo.stores.base import TimeBounds
from s3memo.stores.clock import ServerClock

_LEARN_AGAIN = 3600.0
"""After so many seconds drift has made the bounds of the server's clock twice as wide."""


class AskedClock:
    """A server's clock, for which `ask` asks; it may raise a StoreError. `clock` is the local one, in seconds.

    Safe to call from many threads: one asks for all. No greenlet waits for it but aside.
    """

    def __init__(self, ask: Callable[[ServerClock], None], clock: Callable[[], float]) -> None:
        self._ask = ask
        self._clock = clock
        self._server = ServerClock(clock)
        self._learned_at = clock()
        self._failures = 0
        self._failure: StoreError | None = None
        self._renew_lock()
        rebuild_after_fork(self._renew_lock)

    def bounds(self) -> TimeBounds | None:
        """Return the interval that holds the server's clock, or None if it tells no time."""
        known = self._server.bounds()
        if known is None:
            failures = self._failures
            aside(lambda: self._learn(failures))
            known = self._server.bounds()
        return known

    def freshen(self) -> None:
        """Ask again if it is time to; where that fails what is known still holds, only less narrowly."""
        if self._server.bounds() is not None and self._clock() - self._learned_at > _LEARN_AGAIN:
            self._learned_at = self._clock()
            with suppress(StoreError):
                aside(lambda: self._ask(self._server))

    def _learn(self, failures: int) -> None:
        """Ask, unless somebody else has been told meanwhile, or has not been answered since there were that many."""
        with self._asking:
            if self._server.bounds() is not None:
                return
            failure = self._failure
            if failure is not None and failures != self._failures:
                raise type(failure)(str(failure)) from failure
            try:
                self._ask(self._server)
            except StoreError as error:
                self._failures, self._failure = self._failures + 1, error
                raise
            self._learned_at = self._clock()

    def _renew_lock(self) -> None:
        self._asking = threading.Lock()
