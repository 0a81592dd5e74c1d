"""Background refreshes of plain functions, each in a thread of its own, and their end at the interpreter's exit."""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Callable

from s3memo.locks import process_lock, rebuild_after_fork

_AT_ONCE = 16
"""Threads at most. A further refresh is left to a later call, which finds the same stale result."""

_LAST_WAIT = 5.0
"""Seconds that the interpreter's exit waits for all refreshes together; slower ones are dropped."""


class Refreshes:
    """The refreshes of a process. Dropping one is safe: it has written a whole version or none."""

    def __init__(self) -> None:
        self._threads: set[threading.Thread] = set()
        self._is_over = False
        atexit.register(self._finish)
        rebuild_after_fork(self._forget)

    def start(self, action: Callable[[], None]) -> None:
        """Run `action`, which must not raise, unless too many are running already."""
        thread = threading.Thread(target=self._run, args=(action,), name="s3memo refresh", daemon=True)
        with process_lock:
            if self._is_over or len(self._threads) >= _AT_ONCE:
                return
            self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError:  # the machine, or an exiting interpreter, has no more threads
            self._threads.discard(thread)

    def wait(self, timeout: float) -> None:
        """Wait for running refreshes, at most `timeout` seconds."""
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
        """Forget, in a forked child, the threads that do not exist there."""
        self._threads.clear()


refreshes = Refreshes()
