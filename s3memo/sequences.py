"""The numbered versions of a state or lease: their names, and what a listing of them means. Pure.

    v1/state/<name>/<sequence>       v1/lease/<key>/<sequence>
    sequence = <14 hex: 2^56-1 minus the number>.s3s           an empty object: a tombstone

Numbers count from 1 and are never reused. The newest comes first in a listing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from s3memo.stores.base import ObjectInfo
from s3memo.versions import escape

STATE_ROOT = "v1/state/"
LEASE_ROOT = "v1/lease/"
RETENTION = 3600.0
"""Seconds a superseded version stays after its successor was written, so that no stalled writer can create it again."""

TRUST = 1800.0
"""Seconds after a listing during which the names it showed as free cannot be those of collected versions."""

SWEEP_EVERY = 500
"""Every so many versions, what is due beyond the first page is deleted too."""

LIMIT = 2**56 - 1
"""The highest number of a version."""

_PREFIX = re.compile(rf"(?:{STATE_ROOT}|{LEASE_ROOT})[A-Za-z0-9._=-]+/", re.ASCII)
_NAME = re.compile(r"[0-9a-f]{14}\.s3s", re.ASCII)


@dataclass(frozen=True, slots=True)
class StateVersion:
    """One version of a state or lease, as a listing shows it.

    `size` is the object's, in bytes; `last_modified` is when it was written, in POSIX seconds by the store's clock,
    possibly rounded down to whole seconds.
    """

    number: int
    size: int
    last_modified: float

    @property
    def cleared(self) -> bool:
        """Whether it is a tombstone: there is no value."""
        return self.size == 0

    @property
    def written_at(self) -> datetime:
        """When it was written, by the store's clock."""
        return datetime.fromtimestamp(self.last_modified, UTC)


def state_prefix(name: str) -> str:
    """Return the prefix of a state's object keys."""
    return f"{STATE_ROOT}{escape(name)}/"


def lease_prefix(key: str) -> str:
    """Return the prefix of a lease's object keys."""
    return f"{LEASE_ROOT}{escape(key)}/"


def is_chain_prefix(prefix: str) -> bool:
    """Whether this is the prefix of a state or lease."""
    return _PREFIX.fullmatch(prefix) is not None


def sequence_name(number: int) -> str:
    """Return the name of a version, the last part of its object key; higher numbers sort first."""
    if not 0 < number <= LIMIT:
        raise ValueError(f"a version's number is between 1 and {LIMIT}: {number}")
    return f"{LIMIT - number:014x}.s3s"


def parse_sequence(name: str) -> int | None:
    """Return the number in a name, or None for a foreign name."""
    number = LIMIT - int(name[:14], 16) if _NAME.fullmatch(name) else 0
    return number or None


@dataclass(frozen=True, slots=True)
class Chain:
    """The versions in a listing, newest first; `listed_at` is the store's earliest time when it began, in POSIX seconds."""

    versions: tuple[StateVersion, ...] = ()
    listed_at: float = 0.0

    @classmethod
    def of(cls, infos: Iterable[ObjectInfo], prefix: str, *, listed_at: float = 0.0) -> Chain:
        """Return the versions among the objects below `prefix`."""
        named = ((parse_sequence(info.key.removeprefix(prefix)), info) for info in infos)
        return cls(
            tuple(StateVersion(number, info.size, info.last_modified) for number, info in named if number), listed_at
        )

    @property
    def newest(self) -> StateVersion | None:
        """The version that counts."""
        return self.versions[0] if self.versions else None

    @property
    def number(self) -> int:
        """The newest version's number; 0 if there never was one."""
        return self.versions[0].number if self.versions else 0

    def find(self, number: int) -> StateVersion | None:
        """Return the version of that number, if it is still there."""
        return next((version for version in self.versions if version.number == number), None)

    def at(self, moment: float) -> StateVersion | None:
        """Return the version that was current at a moment, in POSIX seconds, or None if that cannot be told.

        A version is current until the next is written; when that was is unknown once the next is deleted.
        """
        following = self.number + 1
        for version in self.versions:
            if version.last_modified <= moment:
                return version if version.number + 1 == following else None
            following = version.number
        return None

    def due(self, *, keep: int, now: float, retention: float = RETENTION) -> list[int]:
        """Return the numbers of versions beyond `keep` that were superseded `retention` seconds ago, oldest first.

        `now` is the store's earliest time. The newest version is never among them.
        """
        pairs = zip(self.versions, self.versions[1:], strict=False)
        due = [
            version.number
            for place, (successor, version) in enumerate(pairs, start=1)
            if place >= keep and successor.last_modified + retention <= now
        ]
        return due[::-1]

    def shows_late(self, number: int) -> bool:
        """Whether a version was written long after its successor, so under a name that was used and collected before."""
        version = self.find(number)
        newer = [each for each in self.versions if each.number > number]
        return version is not None and bool(newer) and version.last_modified > newer[-1].last_modified + TRUST
