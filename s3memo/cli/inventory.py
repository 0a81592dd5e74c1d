"""What a store holds, added up from a listing alone. Pure; keeps in memory one call's names and the sums."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple, TypeAlias

from s3memo.garbage import by_prefix
from s3memo.sequences import STATE_ROOT, is_chain_prefix, parse_sequence
from s3memo.stores.base import ObjectInfo
from s3memo.trials import PROBE_ROOT, is_of_trial
from s3memo.versions import MAP_ROOT, MICROSECONDS, Listing, Version, is_result_prefix, parse_version, unescape

ROOT = "v1/"
_TAIL = 33  # the length of a digest and its slash
Kind: TypeAlias = Literal["function", "mapping", "state", "lease", "probe", "foreign"]


class Owner(NamedTuple):
    """Who an object belongs to: a function with one tag, or a mapping; all states are one owner, and so are all leases."""

    kind: Kind
    name: str = ""
    tag: str = ""


@dataclass(slots=True)
class Holding:
    """What an owner has in the store.

    `entries` counts the calls whose result is fresh by the ttl in its name, `expired` those whose result is not.
    `newest` is when the newest result was created, in POSIX seconds, and `seconds` what the entries took to compute.
    """

    entries: int = 0
    expired: int = 0
    objects: int = 0
    bytes: int = 0
    newest: float = 0.0
    seconds: float = 0.0

    def newest_age(self, at: float) -> float | None:
        """Return the seconds since the newest result was created; None without results."""
        return since(self.newest, at) if self.newest else None

    def as_json(self, at: float) -> dict[str, Any]:
        """Return it for scripts; `at` is when the store was listed, in POSIX seconds."""
        age = self.newest_age(at)
        return {
            "entries": self.entries,
            "expired": self.expired,
            "objects": self.objects,
            "bytes": self.bytes,
            "newest_age": None if age is None else round(age, 3),
            "seconds": round(self.seconds, 3),
        }

    def add(self, other: Holding) -> None:
        """Add another holding."""
        self.entries += other.entries
        self.expired += other.expired
        self.objects += other.objects
        self.bytes += other.bytes
        self.newest = max(self.newest, other.newest)
        self.seconds += other.seconds


def add_up(holdings: Iterable[Holding]) -> Holding:
    """Return the sum of some holdings."""
    total = Holding()
    for holding in holdings:
        total.add(holding)
    return total


@dataclass(frozen=True, slots=True)
class Living:
    """The result of one call that a reader finds, by a listing at `latest`, in POSIX seconds."""

    prefix: str
    version: Version
    size: int
    latest: float

    def __str__(self) -> str:
        return key_of(self.prefix)

    @property
    def object_key(self) -> str:
        """Its full object key."""
        return self.prefix + self.version.name

    @property
    def age(self) -> float:
        """Seconds since it was created."""
        return since(self.version.created / MICROSECONDS, self.latest)

    @property
    def left(self) -> float | None:
        """Seconds until it expires, negative if it has expired; None if it never does."""
        return None if self.version.ttl is None else self.version.ttl - self.age

    @property
    def is_expired(self) -> bool:
        """Whether it is older than the ttl it was written with."""
        return self.left is not None and self.left <= 0

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON for scripts."""
        return {"key": str(self), **describe(self.version, self.latest), "size": self.size, "expired": self.is_expired}


def since(moment: float, latest: float) -> float:
    """Return the seconds since a moment; 0 for one slightly ahead, as another writer's clock bounds may put it."""
    return max(0.0, latest - moment)


def key_of(prefix: str) -> str:
    """Return the key, as `str(key)` gives it, of the call with this prefix."""
    owner, digest = split_prefix(prefix)
    return "/".join(filter(None, (owner.name, owner.tag, digest)))


def describe(version: Version, latest: float) -> dict[str, Any]:
    """Return what a version's name tells, as JSON for scripts; durations in seconds."""
    return {
        "created": version.created_at.isoformat(),
        "age": round(since(version.created / MICROSECONDS, latest), 3),
        "ttl": version.ttl,
        "elapsed": version.elapsed / 1000,
    }


class Share(NamedTuple):
    """What an owner has below one prefix; for results also the versions with their sizes, and the one a reader finds."""

    owner: Owner
    holding: Holding
    versions: Mapping[Version, int] = {}
    result: Living | None = None


def survey(infos: Iterable[ObjectInfo], *, latest: float) -> dict[Owner, Holding]:
    """Return what each owner has in an ascending listing; `latest` bounds the store's time."""
    found: dict[Owner, Holding] = {}
    for share in itertools.chain.from_iterable(shares(prefix, group, latest) for prefix, group in by_prefix(infos)):
        found.setdefault(share.owner, Holding()).add(share.holding)
    return found


def living(infos: Iterable[ObjectInfo], *, latest: float) -> Iterator[Living]:
    """Yield, for each call in an ascending listing, the result that a reader finds."""
    for prefix, group in by_prefix(infos):
        if is_result_prefix(prefix):
            ours, _ = versions(group, latest)
            result = newest(prefix, ours, latest)
            if result is not None:
                yield result


def shares(prefix: str, group: Iterable[ObjectInfo], latest: float) -> Iterator[Share]:
    """Yield who has what among the objects of one prefix."""
    if not is_result_prefix(prefix):
        for info in group:
            yield Share(_other_owner(prefix, info), Holding(objects=1, bytes=info.size))
        return
    ours, foreign = versions(group, latest)
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


def versions(infos: Iterable[ObjectInfo], latest: float) -> tuple[dict[Version, int], Holding]:
    """Return the versions among one prefix's objects, newest first, with their sizes; and the foreign objects added up."""
    ours: dict[Version, int] = {}
    foreign = Holding()
    for info in infos:
        version = parse_version(info.key.rpartition("/")[2])
        if version is None or version.is_foreign(latest):
            foreign.add(Holding(objects=1, bytes=info.size))
        else:
            ours[version] = info.size
    return ours, foreign


def newest(prefix: str, ours: dict[Version, int], latest: float) -> Living | None:
    """Return the result that a reader finds among the versions of one prefix."""
    version = Listing(tuple(ours)).newest
    return None if version is None else Living(prefix, version, ours[version], latest)


def split_prefix(prefix: str) -> tuple[Owner, str]:
    """Return the owner and the digest in a result's prefix."""
    return _owner_of(prefix[:-_TAIL]), prefix[-_TAIL:-1]


@lru_cache(1024)  # few owners have many results
def _owner_of(folder: str) -> Owner:
    parts = folder.split("/")
    if folder.startswith(MAP_ROOT):
        return Owner("mapping", unescape(parts[2]))
    return Owner("function", unescape(parts[2]), unescape(parts[3]))


def _other_owner(prefix: str, info: ObjectInfo) -> Owner:
    if is_chain_prefix(prefix) and parse_sequence(info.key.removeprefix(prefix)) is not None:
        return Owner("state" if prefix.startswith(STATE_ROOT) else "lease")
    return Owner("probe" if prefix == PROBE_ROOT or is_of_trial(info) else "foreign")
