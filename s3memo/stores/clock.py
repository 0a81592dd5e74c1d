"""A server's clock as an interval, from the `Date` headers of its answers.

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
"""The highest relative drift between two clocks; quartz is an order of magnitude better."""

_DATE_STEP = 1.0


local_clock: Callable[[], float] = partial(time.clock_gettime, getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
"""Seconds since some fixed moment, by a clock that is never set and, if the system has one, runs on in suspend."""


@lru_cache(16)  # answers within a second share one date
def parse_date(header: str) -> float | None:
    """Return an HTTP `Date` header as POSIX seconds, or None if it is not valid."""
    from email.utils import parsedate_to_datetime  # noqa: PLC0415  slow to load, and only needed with a server

    try:
        moment = parsedate_to_datetime(header)
    except (ValueError, OverflowError):
        return None
    return posix_seconds(moment)


def posix_seconds(moment: datetime) -> float:
    """Return a moment in POSIX seconds; without a time zone it is UTC, as everywhere in HTTP and S3."""
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


class ServerClock:
    """Bounds of a server's clock, narrowed by each answer and widened by the drift of the local clock since.

    `clock` is the local one, in seconds; the readings passed to `observe` must come from it. Safe to call from many
    threads and after fork().
    """

    def __init__(self, clock: Callable[[], float] = local_clock) -> None:
        self._clock = clock
        # Replaced as a whole and never locked: an observation lost between two threads only narrows less.
        self._offset: _Offset | None = None

    def observe(self, date: float, sent: float, received: float) -> None:
        """Learn from an answer dated `date` (POSIX seconds, whole) to a request sent and received at those readings.

        If it contradicts what is known, because the clock was set or another front end answered, the interval grows to
        hold both; the next answer narrows it again.
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
    """Return the bounds of a server's clock; raise StoreNotSupportedError if no answer had a date."""
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
        """Return the intersection, or the smallest interval around both if they contradict each other."""
        at = max(self.at, other.at)
        one, two = self.at_time(at), other.at_time(at)
        low, high = max(one.low, two.low), min(one.high, two.high)
        if low > high:
            low, high = min(one.low, two.low), max(one.high, two.high)
        return _Offset(low, high, at)
