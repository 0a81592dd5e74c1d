"""Who fetches what: of all threads and processes that share a directory, one at a time for each name.

A claim is an empty file, named after what is fetched and locked by who fetches it. Who has done so, or failed, deletes
it; who dies leaves it, unlocked, to one of those who wait, or to be swept like all that is half done.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from s3memo import bridge
from s3memo.locks import rebuild_after_fork
from s3memo.stores.quota import try_lock, unlock

_PATIENCE = (*(0.001 * 2**attempt for attempt in range(6)), *[0.05] * 300)
"""Seconds between attempts, 15 in all: as long as one operation on a store may take."""

_MOST = 128
"""Claims, of which each holds a file open. What one process fetches beyond that at once it fetches without."""


class Claims:
    """Claims in a directory that is there; whatever is wrong with that, there is no claim and no error."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._open = set[int]()
        rebuild_after_fork(self._forget)

    @contextmanager
    def claimed(self, name: str) -> Iterator[None]:
        """Let the block fetch what others do not fetch meanwhile, after whoever fetches it now.

        He may have brought it. If he fails, or takes over 15 seconds, all who waited for him go on without a claim.
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
