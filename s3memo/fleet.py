"""One computation of a missing result across machines, best effort: whoever gets the lease computes, the others wait."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import TypeVar

from s3memo.errors import LeaseTimeout, SettingsError
from s3memo.lease import Lease, polling
from s3memo.stores.clock import local_clock

F = TypeVar("F")

_leading: ContextVar[bool] = ContextVar("s3memo_leading", default=False)


def compute_once(
    lease: Lease,
    find: Callable[[], F | None],
    compute: Callable[[], F],
    survive: Callable[[Exception], None],
    *,
    clock: Callable[[], float] = local_clock,
    sleep: Callable[[float], None] = time.sleep,
) -> F:
    """Return what `find` finds, now or while somebody else computes, or else what `compute` returns, which stores it.

    `find` looks into the store anew and returns None for nothing. Whatever goes wrong with the lease is given to
    `survive`, and then the result is computed: a lease saves work and never decides what is right. What `compute`
    raises passes through, and the next who waits computes.
    """
    try:
        found = _await_turn(lease, find, clock, sleep)
    except SettingsError:
        raise
    except Exception as error:  # noqa: BLE001  a store of somebody else's may raise anything
        survive(error)
        return compute()
    if found is not None:
        return found
    token = _leading.set(True)
    try:
        return compute()
    finally:
        _leading.reset(token)
        lease.release()


def _await_turn(
    lease: Lease, find: Callable[[], F | None], clock: Callable[[], float], sleep: Callable[[float], None]
) -> F | None:
    """Return what was found, or None when the lease is ours.

    A computation that has a lease waits for another's no longer than a lease lasts, for that one may be waiting for its own.
    """
    begun = clock()
    for pause in polling():
        if lease.acquire(blocking=False):
            return _look_again(lease, find)
        if _leading.get() and clock() - begun > lease.ttl:
            break
        sleep(pause)
        found = find()
        if found is not None:
            return found
    raise LeaseTimeout(f"{lease!r} was not free for {lease.ttl:g} seconds, and what waits for it has a lease itself")


def _look_again(lease: Lease, find: Callable[[], F | None]) -> F | None:
    """Return what the holder before us left, and then give the lease back."""
    found = None
    try:
        found = find()
    except BaseException:
        lease.release()
        raise
    if found is not None:
        lease.release()
    return found
