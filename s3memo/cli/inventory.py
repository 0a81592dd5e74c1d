"""What a store holds, added up from a listing alone. Pure; what is held in memory is one call's names, and the sums."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple, TypeAlias

from s3memo.garbage import by_prefix
from s3memo.sequences import STATE_ROOT, is_prefix, parse_sequence
from s3memo.stores.base import ObjectInfo
from s3memo.trials import PROBE_ROOT, is_of_trial
from s3memo.versions import (
    MAP_ROOT,
    MICROSECONDS,
    Listing,
    Version,
    is_result_prefix,
    parse_version,
    unescape,
)

ROOT = "v1/"
_TAIL = 33  # what a digest and a slash take
Kind: TypeAlias = Literal["function", "mapping", "state", "lease", "probe", "foreign"]


class Owner(NamedTuple):
    """Whose an object is: a function's with one tag, a mapping's; all states are one owner, and so are all leases."""

    kind: Kind
    name: str = ""
    tag: str = ""


@dataclass(slots=True)
class Holding:
    """What somebody has in the store.

    `entries` have a result that is served for ever or not expired by the ttl in its name, `expired` one that is.
    `newest` is when the newest of both was created, in POSIX seconds, and `seconds` what those served took to compute.
    """

    entries: int = 0
    expired: int = 0
    objects: int = 0
    bytes: int = 0
    newest: float = 0.0
    seconds: float = 0.0

    def add(self, other: Holding) -> None:
        """Add another's."""
        self.entries += other.entries
        self.expired += other.expired
        self.objects += other.objects
        self.bytes += other.bytes
        self.newest = max(self.newest, other.newest)
        self.seconds += other.seconds


@dataclass(frozen=True, slots=True)
class Living:
    """The result of one call that a reader finds, as a listing at `latest`, in POSIX seconds, tells it."""

    prefix: str
    version: Version
    size: int
    latest: float

    def __str__(self) -> str:
        return key_of(self.prefix)

    @property
    def object_key(self) -> str:
        """Where it is stored."""
        return self.prefix + self.version.name

    @property
    def age(self) -> float:
        """Seconds since it was created."""
        return since(self.version.created / MICROSECONDS, self.latest)

    @property
    def left(self) -> float | None:
        """Seconds until it expires, negative if it has; None: it never does."""
        return None if self.version.ttl is None else self.version.ttl - self.age

    @property
    def is_expired(self) -> bool:
        """Whether it is older than the ttl that it was written with."""
        return self.left is not None and self.left <= 0

    def as_json(self) -> dict[str, Any]:
        """Return it for scripts."""
        return {"key": str(self), **describe(self.version, self.latest), "size": self.size, "expired": self.is_expired}


def since(moment: float, latest: float) -> float:
    """Return the seconds since a moment; what another's bounds of the clock put a little ahead is of now."""
    return max(0.0, latest - moment)


def key_of(prefix: str) -> str:
    """Return the key of the call whose object keys begin with `prefix`, as `str(key)` is."""
    owner, digest = split_prefix(prefix)
    return "/".join(filter(None, (owner.name, owner.tag, digest)))


def describe(version: Version, latest: float) -> dict[str, Any]:
    """Return what a version's name tells, for scripts; durations are in seconds."""
    return {
        "created": version.created_at.isoformat(),
        "age": round(since(version.created / MICROSECONDS, latest), 3),
        "ttl": version.ttl,
        "elapsed": version.elapsed / 1000,
    }


class Share(NamedTuple):
    """What an owner has below one prefix; of results the versions, with their sizes, and the one that a reader finds."""

    owner: Owner
    holding: Holding
    versions: Mapping[Version, int] = {}
    result: Living | None = None


def survey(infos: Iterable[ObjectInfo], *, latest: float) -> dict[Owner, Holding]:
    """Return what each owner has, of an ascending listing; `latest` is the store's time at the most."""
    found: dict[Owner, Holding] = {}
    for share in itertools.chain.from_iterable(shares(prefix, group, latest) for prefix, group in by_prefix(infos)):
        found.setdefault(share.owner, Holding()).add(share.holding)
    return found


def living(infos: Iterable[ObjectInfo], *, latest: float) -> Iterator[Living]:
    """Yield the result that a reader finds of each call in an ascending listing."""
    for prefix, group in by_prefix(infos):
        if is_result_prefix(prefix):
            result = newest(prefix, versions(group, latest), latest)
            if result is not None:
                yield result


def shares(prefix: str, group: Iterable[ObjectInfo], latest: float) -> Iterator[Share]:
    """Yield who has what of the objects of one prefix."""
    if not is_result_prefix(prefix):
        for info in group:
            yield Share(_other_owner(prefix, info), Holding(objects=1, bytes=info.size))
        return
    foreign = Holding()
    ours = versions(group, latest, foreign)
    if foreign.objects:
        yield Share(Owner("foreign"), foreign)
    if ours:
        holding = Holding(objects=len(ours), bytes=sum(ours.values()))
        result = newest(prefix, ours, latest)
        if result is not None:
            holding.entries, holding.expired = not result.is_expired, result.is_expired
            holding.newest = result.version.created / MICROSECONDS
            holding.seconds = 0.0 if result.is_expired else result.version.elapsed / 1000
        yield Share(split_prefix(prefix)[0], holding, ours, result)


def versions(infos: Iterable[ObjectInfo], latest: float, foreign: Holding | None = None) -> dict[Version, int]:
    """Return the versions among the objects of one prefix, newest first, with their sizes; add up the others."""
    ours: dict[Version, int] = {}
    for info in infos:
        version = parse_version(info.key.rpartition("/")[2])
        if version is not None and not version.is_foreign(latest):
            ours[version] = info.size
        elif foreign is not None:
            foreign.objects += 1
            foreign.bytes += info.size
    return ours


def newest(prefix: str, ours: dict[Version, int], latest: float) -> Living | None:
    """Return the result that a reader finds among the versions of one prefix."""
    version = Listing(tuple(ours)).newest
    return None if version is None else Living(prefix, version, ours[version], latest)


def split_prefix(prefix: str) -> tuple[Owner, str]:
    """Return whose results a prefix is of, and their digest."""
    return _owner_of(prefix[:-_TAIL]), prefix[-_TAIL:-1]


@lru_cache(1024)  # few owners have many results
def _owner_of(folder: str) -> Owner:
    parts = folder.split("/")
    if folder.startswith(MAP_ROOT):
        return Owner("mapping", unescape(parts[2]))
    return Owner("function", unescape(parts[2]), unescape(parts[3]))


def _other_owner(prefix: str, info: ObjectInfo) -> Owner:
    if is_prefix(prefix) and parse_sequence(info.key.removeprefix(prefix)) is not None:
        return Owner("state" if prefix.startswith(STATE_ROOT) else "lease")
    return Owner("probe" if prefix == PROBE_ROOT or is_of_trial(info) else "foreign")
