"""How old a result may be: durations as people write them, and the judgement of an age."""

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
"""Stale: served while it is refreshed; fallback: served only if there is trouble; ahead: expired, for its date is wrong."""

MAX_AHEAD = 300.0
"""Seconds by which a version's date may lead the store's clock before it is taken for a fault."""

LEASE_SECONDS = 60.0
"""How long a lease lasts without a renewal unless one says otherwise."""

_LONGEST = 10**11
_LONGEST_LEASE = 86_400.0  # so one of a week ago lapsed, whatever it said
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([smhdw])\s*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Policy:
    """What a reader accepts: results up to `ttl` seconds old; None: of any age.

    Those that expired less than `stale_while_revalidate` seconds ago too while they are refreshed, and those that
    expired less than `stale_if_error` seconds ago if the function or the store fails (RFC 5861).
    """

    ttl: float | None = None
    stale_while_revalidate: float = 0.0
    stale_if_error: float = 0.0

    @property
    def longest(self) -> float:
        """The age, in seconds, at which a result is of no use whatever happens."""
        return math.inf if self.ttl is None else self.ttl + max(self.stale_while_revalidate, self.stale_if_error)


def judge(age: float, policy: Policy) -> Freshness:
    """Say what a result of that age, in seconds, is to a reader."""
    if age < -MAX_AHEAD:
        return "ahead"
    if policy.ttl is None or age < policy.ttl:
        return "fresh"
    if age < policy.ttl + policy.stale_while_revalidate:
        return "stale"
    return "fallback" if age < policy.longest else "expired"


@lru_cache(64)  # of durations: a process has few, and each version holds one
def whole_seconds(duration: float | None) -> int | None:
    """Return a duration in seconds as names tell it: rounded up; None if it is for ever."""
    return None if duration is None or math.isinf(duration) else math.ceil(duration)


def seconds(duration: Duration | None, *, name: str) -> float | None:
    """Return a duration given as seconds, timedelta or "90s" "15m" "6h" "7d" "2w" in seconds; None stays None.

    Raises SettingsError, which calls the argument `name`.
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
    """Return how long a lease lasts without a renewal. SettingsError, which calls it `name`, unless that makes sense."""
    lasting = seconds(duration, name=name)
    if lasting is None or not 1 <= lasting <= _LONGEST_LEASE:
        raise SettingsError(f"{name}={duration!r} must be between 1 second and a day")
    return lasting


def _checked(value: float, duration: object, name: str) -> float:
    if not 0 <= value <= _LONGEST:
        raise SettingsError(f"{name}={duration!r} must be between 0 and {_LONGEST} seconds; None means for ever")
    return value
