"""The one lock for what this process keeps in memory, and what to rebuild in a forked child.

The lock is only held for moments, never during a request or a call of user code.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from weakref import WeakMethod


def fork_safe_lock() -> threading.RLock:
    """Return a lock that fork() acquires first, so that the child finds it free and its data consistent."""
    lock = threading.RLock()
    os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)
    return lock


process_lock = fork_safe_lock()
_rebuilds: list[WeakMethod[Callable[[], None]]] = []


def holds_process_lock() -> bool:
    """Whether this thread holds the process lock: then a signal's handler or a finalizer has interrupted a change.

    It must wait for no other thread, since that may wait for the lock.
    """
    return bool(process_lock._is_owned())  # type: ignore[attr-defined]  # noqa: SLF001  as threading.Condition asks it


def rebuild_after_fork(method: Callable[[], None]) -> None:
    """Call a method in each forked child, where only the forking thread exists, as long as its object lives."""
    with process_lock:
        _rebuilds[:] = [alive for alive in _rebuilds if alive() is not None]
        _rebuilds.append(WeakMethod(method))


def _rebuild() -> None:
    for method in [alive() for alive in _rebuilds]:
        if method is not None:
            method()


os.register_at_fork(after_in_child=_rebuild)
