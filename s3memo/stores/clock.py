"""A server's clock, known as an interval out of the `Date` headers of its answers.

Time as an interval follows Spanner's TrueTime (Corbett et al. 2012); the intersection is Marzullo's (1984).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import NamedTuple

from s3memo.errors import StoreNotSupportedError
from s3memo.stores.base import TimeBounds

DRIFT = 200e-6
"""How much faster or slower, at most, one clock may run than another; quartz is an order of magnitude better."""

_DATE_STEP = 1.0


local_clock: Callable[[], float] = partial(time.clock_gettime, getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
"""Seconds since some fixed moment, by a clock that nobody sets and, where there is one, no suspend stops."""


@lru_cache(16)  # a second's answers have one date
def parse_date(header: str) -> float | None:
    """Return an HTTP `Date` header as POSIX seconds, or None if it is none."""
    from email.utils import parsedate_to_datetime  # noqa: PLC0415  without a server nobody needs it, and it loads much

    try:
        moment = parsedate_to_datetime(header)
    except (ValueError, OverflowError):
        return None
    return posix_seconds(moment)


def posix_seconds(moment: datetime) -> float:
    """Return a moment in POSIX seconds: what names no zone is in UTC, as all times of HTTP and S3 are."""
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


class ServerClock:
    """Bounds of a server's clock, narrowed by each answer and widened by the drift of the local clock since.

    `clock` is the local one, in seconds; the readings given to `observe` must be its own. Safe to call from many
    threads and after fork().
    """

    def __init__(self, clock: Callable[[], float] = local_clock) -> None:
        self._clock = clock
        # Replaced as a whole and never locked: an observation that two threads' race drops only narrows less.
        self._offset: _Offset | None = None

    def observe(self, date: float, sent: float, received: float) -> None:
        """Learn from an answer dated `date` (POSIX seconds, whole) to a request sent and received at those readings.

        One that contradicts what is known, as of a clock that was set or of another front end, is joined with it, so
        that the interval holds both; the next one narrows it again.
        """
        seen = _Offset(date - received, date + _DATE_STEP - sent, at=received).widened(received - sent)
        self._offset = seen if self._offset is None else self._offset.joined(seen)

    def bounds(self) -> TimeBounds | None:
        """Return the interval that holds the server's clock now, or None before the first observation."""
        known = self._offset
        if known is None:
            return None
        now = self._clock()
        margin = DRIFT * abs(now - known.at)
        return TimeBounds(now + known.low - margin, now + known.high + margin)


def checked_bounds(bounds: TimeBounds | None, url: str) -> TimeBounds:
    """Return the bounds of a server's clock, or raise StoreNotSupportedError if no answer had a date."""
    if bounds is None:
        raise StoreNotSupportedError(
            f"the server of {url} answers without a Date header, so nothing tells its time: "
            "use a server, or a proxy before it, that sends one"
        )
    return bounds


class _Offset(NamedTuple):
    """How far the server's clock is ahead of the local one, at least and at most, at the local time `at`."""

    low: float
    high: float
    at: float

    def widened(self, elapsed: float) -> _Offset:
        margin = DRIFT * abs(elapsed)
        return _Offset(self.low - margin, self.high + margin, self.at)

    def at_time(self, now: float) -> _Offset:
        return self.widened(now - self.at)._replace(at=now)

    def joined(self, other: _Offset) -> _Offset:
        """Return what both allow, or where they contradict each other the least interval around both."""
        at = max(self.at, other.at)
        one, two = self.at_time(at), other.at_time(at)
        low, high = max(one.low, two.low), min(one.high, two.high)
        if low > high:
            low, high = min(one.low, two.low), max(one.high, two.high)
        return _Offset(low, high, at)
