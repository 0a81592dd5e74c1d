"""Claims: of all threads and processes that share a directory, only one at a time fetches an object.

A claim is an empty file, named after the object and locked by its fetcher, who deletes it when done or failed. If the
fetcher dies, the file stays, unlocked: one of the waiters takes it over, or it is swept like all unfinished files.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from s3memo import bridge
from s3memo.locks import rebuild_after_fork
from s3memo.stores.quota import try_lock, unlock

_PATIENCE = (*(0.001 * 2**attempt for attempt in range(6)), *[0.05] * 300)
"""Seconds between attempts, 15 in all: the longest that one operation on a store may take."""

_MOST = 128
"""Claims at once, each of which holds a file open. Further fetches of a process go without."""


class Claims:
    """Claims in an existing directory. Any trouble with it means no claim, and no error."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._open = set[int]()
        rebuild_after_fork(self._forget)

    @contextmanager
    def claimed(self, name: str) -> Iterator[None]:
        """Run the block while no other claimant fetches the same object, after any that is fetching it now.

        That one may have fetched it. If it fails, or takes over 15 seconds, all who waited go on without a claim.
        """
        path = f"{self._directory}/{name}"
        with ExitStack() as held:
            with suppress(OSError):
                self._claim(path, held)
            yield

    def _claim(self, path: str, held: ExitStack) -> None:
        if len(self._open) >= _MOST:
            return
        with ExitStack() as unless_ours:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            unless_ours.callback(self._close, descriptor)
            self._open.add(descriptor)
            for pause in _PATIENCE:
                if try_lock(descriptor):
                    break
                bridge.sleep(pause)
            else:
                return
            if os.fstat(descriptor).st_nlink:
                held.push(unless_ours.pop_all())
                held.callback(_delete, path)

    def _close(self, descriptor: int) -> None:
        self._open.discard(descriptor)
        unlock(descriptor)

    def _forget(self) -> None:
        self._open.clear()


def _delete(path: str) -> None:
    with suppress(OSError):
        os.unlink(path)  # noqa: PTH108  as in quota
