"""How old a result may be: parsing durations and judging ages."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Literal, TypeAlias

from s3memo.errors import SettingsError

Duration: TypeAlias = float | timedelta | str
Freshness: TypeAlias = Literal["fresh", "stale", "fallback", "expired", "ahead"]
"""Stale: served while it is refreshed; fallback: served only on trouble; ahead: expired, as its date is wrong."""

MAX_AHEAD = 300.0
"""Seconds by which a version's date may lead the store's clock before it counts as wrong."""

LEASE_SECONDS = 60.0
"""Default time, in seconds, that a lease lasts without a renewal."""

_LONGEST = 10**11
_LONGEST_LEASE = 86_400.0  # so that a lease a week old has lapsed, whatever its ttl
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([smhdw])\s*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Policy:
    """Which results a reader accepts: those up to `ttl` seconds old (None: of any age).

    Results that expired less than `stale_while_revalidate` seconds ago are served while they are refreshed; those that
    expired less than `stale_if_error` seconds ago are served if the function or the store fails (RFC 5861).
    """

    ttl: float | None = None
    stale_while_revalidate: float = 0.0
    stale_if_error: float = 0.0

    @property
    def longest(self) -> float:
        """The age, in seconds, from which a result is never served."""
        return math.inf if self.ttl is None else self.ttl + max(self.stale_while_revalidate, self.stale_if_error)


def judge(age: float, policy: Policy) -> Freshness:
    """Return the freshness of a result of this age, in seconds."""
    if age < -MAX_AHEAD:
        return "ahead"
    if policy.ttl is None or age < policy.ttl:
        return "fresh"
    if age < policy.ttl + policy.stale_while_revalidate:
        return "stale"
    return "fallback" if age < policy.longest else "expired"


@lru_cache(64)  # a process has few durations, and each version holds one
def whole_seconds(duration: float | None) -> int | None:
    """Return a duration in whole seconds, rounded up, as written in names; None if it is for ever."""
    return None if duration is None or math.isinf(duration) else math.ceil(duration)


def seconds(duration: Duration | None, *, name: str) -> float | None:
    """Parse a duration: seconds, a timedelta or "90s" "15m" "6h" "7d" "2w"; return seconds. None stays None.

    Raises SettingsError, which refers to the argument as `name`.
    """
    match duration:
        case None:
            return None
        case bool():
            pass
        case timedelta():
            return _checked(duration.total_seconds(), duration, name)
        case int() | float():
            return _checked(float(duration), duration, name)
        case str() if match := _DURATION.fullmatch(duration):
            return _checked(float(match[1]) * _UNITS[match[2]], duration, name)
        case _:
            pass
    raise SettingsError(
        f'{name}={duration!r} is no duration: give seconds, a timedelta, or "90s", "15m", "6h", "7d", "2w"'
    )


def lease_seconds(duration: Duration | None, *, name: str) -> float:
    """Return how long a lease lasts without a renewal, in seconds. Raises SettingsError, naming the argument."""
    lasting = seconds(duration, name=name)
    if lasting is None or not 1 <= lasting <= _LONGEST_LEASE:
        raise SettingsError(f"{name}={duration!r} must be between 1 second and a day")
    return lasting


def _checked(value: float, duration: object, name: str) -> float:
    if not 0 <= value <= _LONGEST:
        raise SettingsError(f"{name}={duration!r} must be between 0 and {_LONGEST} seconds; None means for ever")
    return value
