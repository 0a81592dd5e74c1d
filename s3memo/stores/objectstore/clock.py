"""A server's clock when answers show no Date: it is asked for on first use and again every hour."""

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
"""Seconds after which drift has doubled the width of the bounds."""


class AskedClock:
    """A server's clock that `ask` asks for, which may raise a StoreError. `clock` is the local one, in seconds.

    Safe to call from many threads: one asks for all. Greenlets wait for it in a thread.
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
        """Return the interval that holds the server's clock, or None if its answer has no date."""
        known = self._server.bounds()
        if known is None:
            failures = self._failures
            aside(lambda: self._learn(failures))
            known = self._server.bounds()
        return known

    def freshen(self) -> None:
        """Ask again if it is due; if that fails the known bounds still hold, only wider."""
        if self._server.bounds() is not None and self._clock() - self._learned_at > _LEARN_AGAIN:
            self._learned_at = self._clock()
            with suppress(StoreError):
                aside(lambda: self._ask(self._server))

    def _learn(self, failures: int) -> None:
        """Ask, unless another thread has meanwhile; raise its error if it failed after `failures` were counted."""
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
