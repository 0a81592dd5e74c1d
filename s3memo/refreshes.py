"""Refreshes that nobody waits for, each in a thread of its own; what is under way when the interpreter ends."""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Callable

from s3memo.locks import process_lock, rebuild_after_fork

_AT_ONCE = 16
"""Threads. A refresh beyond them is left to a later call, which finds the same result as stale."""

_LAST_WAIT = 5.0
"""Seconds that the end of the interpreter waits for all refreshes together; those that last longer are dropped."""


class Refreshes:
    """The refreshes of a process. To drop one is safe: what it wrote is whole, and what it did not write is not missed."""

    def __init__(self) -> None:
        self._threads: set[threading.Thread] = set()
        self._is_over = False
        atexit.register(self._finish)
        rebuild_after_fork(self._forget)

    def start(self, action: Callable[[], None]) -> None:
        """Run `action`, which must not raise, unless too much runs already."""
        thread = threading.Thread(target=self._run, args=(action,), name="s3memo refresh", daemon=True)
        with process_lock:
            if self._is_over or len(self._threads) >= _AT_ONCE:
                return
            self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError:  # the machine, or the interpreter that is ending, has no more threads to give
            self._threads.discard(thread)

    def wait(self, timeout: float) -> None:
        """Wait for what is under way, for so many seconds at most."""
        deadline = time.monotonic() + timeout
        for thread in list(self._threads):
            thread.join(max(0.0, deadline - time.monotonic()))

    def _run(self, action: Callable[[], None]) -> None:
        try:
            action()
        finally:
            self._threads.discard(threading.current_thread())

    def _finish(self) -> None:
        self._is_over = True
        self.wait(_LAST_WAIT)

    def _forget(self) -> None:
        """Leave a forked child without the threads that it does not have."""
        self._threads.clear()


refreshes = Refreshes()
