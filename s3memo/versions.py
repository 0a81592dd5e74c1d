"""Object names: pure functions that make and parse them, and what a listing of them means.

    v1/memo/<namespace>/<tag>/<digest>/<version>                  v1/map/<name>/<digest>/<version>
    version = <order>_<created>_<ttl>_<elapsed>_<nonce>.s3m      (.dead: a tombstone)

`order` counts down, so that the newest version comes first in a listing. Lance inverts its version numbers likewise
(https://lance.org/format/table/transaction/).
"""

from __future__ import annotations

import hashlib
import itertools
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from operator import itemgetter
from typing import NamedTuple

MICROSECONDS = 1_000_000
DAY = 86_400 * MICROSECONDS
MEMO_ROOT = "v1/memo/"
MAP_ROOT = "v1/map/"
RESULT_ROOTS = (MEMO_ROOT, MAP_ROOT)
MAX_KEY_BYTES = 512
"""The longest object key below a store's root, in bytes: two escaped parts, a digest, a version and some margin."""

_ORDER_LIMIT = 2**56 - 1
_TTL_LIMIT = 10**12
_ELAPSED_LIMIT = 10**15
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MAX_PART_BYTES = 180
_PART = r"(?:[A-Za-z0-9._-]|=[0-9a-f]{2}|=h)+"
_PREFIX = re.compile(rf"(?:{MEMO_ROOT}{_PART}|{MAP_ROOT.rstrip('/')})/{_PART}/[0-9a-v]{{32}}", re.ASCII)
BASE32_DIGITS = "0123456789abcdefghijklmnopqrstuv"
_PAIRS = [
    first + second for first in BASE32_DIGITS for second in BASE32_DIGITS
]  # a table for ten bits at a time is faster than base64
_CUT = re.compile(r"[A-Za-z0-9._=-]{140,146}=h[0-9a-v]{32}")
_UNSAFE = re.compile(rb"[^A-Za-z0-9._-]")
VERSION_NAME = (
    r"(?P<order>[0-9a-f]{14})_(?P<created>\d{8}T\d{6}\.\d{6}Z)_(?P<ttl>0|[1-9]\d{0,11}|inf)"
    r"_(?P<elapsed>0|[1-9]\d{0,14})_(?P<nonce>[0-9a-f]{8})\.(?P<suffix>s3m|dead)"
)
"""A pattern that matches the names of versions, to be used with re.ASCII."""
_NAME = re.compile(VERSION_NAME, re.ASCII)


@dataclass(frozen=True, slots=True)
class Version:
    """One immutable write of a key, as told by its name.

    `order` decides recency, `created` decides age and burial, both in µs since 1970 by the store's clock. `ttl` is the
    writer's, in seconds (None: for ever). `elapsed` is how long the computation took, in ms.
    """

    order: int
    created: int
    ttl: int | None
    elapsed: int
    nonce: str
    dead: bool = False
    _name: str = field(default="", init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not (self.created == self.order if self.dead else 0 <= self.created <= self.order):
            raise ValueError(f"a version cannot be created after its own order: {self.created} > {self.order}")
        if self.order > _ORDER_LIMIT:
            raise ValueError(f"a version's order is at most {_ORDER_LIMIT}: {self.order}")
        if not 0 <= (self.ttl or 0) < _TTL_LIMIT or not 0 <= self.elapsed < _ELAPSED_LIMIT:
            raise ValueError(f"a version's name has no room for ttl={self.ttl} or elapsed={self.elapsed}")

    @property
    def name(self) -> str:
        """The last part of the object key; a newer version's name sorts before an older one's."""
        if not self._name:
            ttl = "inf" if self.ttl is None else self.ttl
            suffix = "dead" if self.dead else "s3m"
            created = self.created_at.isoformat(timespec="microseconds")[:-6].replace("-", "").replace(":", "")
            name = f"{_ORDER_LIMIT - self.order:014x}_{created}Z_{ttl}_{self.elapsed}_{self.nonce}.{suffix}"
            object.__setattr__(self, "_name", name)
        return self._name

    def is_foreign(self, latest: float) -> bool:
        """Whether it is dated more than a day after `latest`, in POSIX seconds, and so is not one of ours."""
        return self.order > int(latest * MICROSECONDS) + DAY

    @property
    def created_at(self) -> datetime:
        """When the computation began."""
        return _EPOCH + timedelta(microseconds=self.created)


def parse_version(name: str) -> Version | None:
    """Return the version with that name, or None if s3memo writes no such name."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    order, created, ttl, elapsed, nonce, suffix = match.groups()
    try:
        version = Version(
            _ORDER_LIMIT - int(order, 16),
            (datetime.fromisoformat(created) - _EPOCH) // _MICROSECOND,
            None if ttl == "inf" else int(ttl),
            int(elapsed),
            nonce,
            suffix == "dead",
        )
    except ValueError:
        return None
    object.__setattr__(version, "_name", name)
    return version


class Key(NamedTuple):
    """One logical call: a function, its code, and its arguments. `str(key)` is stable."""

    namespace: str
    tag: str
    digest: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.tag}/{self.digest}"

    @property
    def prefix(self) -> str:
        """The common prefix of the object keys of all its versions."""
        return f"{self.folder}{self.digest}/"

    @property
    def folder(self) -> str:
        """The common prefix of the object keys of all calls of the same function with the same code."""
        return tag_prefix(self.namespace, self.tag)


class ItemKey(Key):
    """One item of the mapping `namespace`; `tag` is empty, since no code is involved."""

    __slots__ = ()

    def __str__(self) -> str:
        return f"{self.namespace}/{self.digest}"

    @property
    def folder(self) -> str:
        """The common prefix of the object keys of all items of the same mapping."""
        return map_prefix(self.namespace)


def map_prefix(name: str) -> str:
    """Return the common prefix of a mapping's object keys."""
    return f"{MAP_ROOT}{escape(name)}/"


def namespace_prefix(namespace: str) -> str:
    """Return the common prefix of a function's object keys, whatever its code."""
    return f"{MEMO_ROOT}{escape(namespace)}/"


@lru_cache(1024)  # as for `escape`
def tag_prefix(namespace: str, tag: str) -> str:
    """Return the common prefix of the object keys of a function with one tag."""
    return f"{namespace_prefix(namespace)}{escape(tag)}/"


def named_prefixes(namespace: str, tag: str) -> list[str]:
    """Return the possible prefixes of those object keys, if either part may be given in its cut form."""
    return [f"{MEMO_ROOT}{folder}/{part}/" for folder in _written(namespace) for part in _written(tag)]


def _written(part: str) -> set[str]:
    return {escape(part), part} if _CUT.fullmatch(part) else {escape(part)}


@lru_cache(1024)  # a process has few functions, mappings and tags
def escape(part: str) -> str:
    """Return `part` in the characters [A-Za-z0-9._-], with other UTF-8 bytes as `=xx`; a long one ends in a hash."""
    if part in {".", ".."}:
        return part.replace(".", "=2e")
    raw = part.encode("utf-8", "surrogatepass")
    escaped = _UNSAFE.sub(lambda match: b"=%02x" % match[0][0], raw).decode("ascii")
    if len(escaped) <= _MAX_PART_BYTES:
        return escaped
    ending = "=h" + base32(hashlib.blake2b(raw, digest_size=20).digest())  # no byte is escaped as =h
    return re.sub("=[0-9a-f]?$", "", escaped[: _MAX_PART_BYTES - len(ending)]) + ending


def unescape(part: str) -> str:
    """Return the original of an escaped part for display; the part itself if that is unknown or not printable."""
    text = original(part)
    return part if text is None or not text.isprintable() else text


def original(part: str) -> str | None:
    """Return the original of an escaped part, or None if `escape` cut it or writes no such part."""
    raw = re.sub(
        b"=([0-9a-f]{2})", lambda match: bytes.fromhex(match[1].decode()), part.encode("utf-8", "surrogatepass")
    )
    try:
        text = raw.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return None
    return text if escape(text) == part else None


def base32(raw: bytes) -> str:
    """Return `raw`, a multiple of five bytes, in lower-case base32hex, which sorts as the bytes do (RFC 4648)."""
    number = int.from_bytes(raw, "big")
    return "".join([_PAIRS[number >> shift & 1023] for shift in range(8 * len(raw) - 10, -1, -10)])


def is_result_prefix(prefix: str) -> bool:
    """Whether a prefix could be that of a call's or an item's versions."""
    return prefix.endswith("/") and _PREFIX.fullmatch(prefix[:-1]) is not None


def parse_object_key(object_key: str) -> tuple[str, Version] | None:
    """Return the prefix and the version in the object key of a result or tombstone, or None for other object keys."""
    prefix, _, name = object_key.rpartition("/")
    version = parse_version(name)
    return (f"{prefix}/", version) if version and _PREFIX.fullmatch(prefix) else None


def clearing(object_keys: Iterable[str], *, latest: float, batch: int) -> Iterator[list[str]]:
    """Yield the results in a listing to delete, in batches; each digest's oldest go first, tombstones stay.

    No batch holds both a digest's newest version and an older one: a store may carry out only part of a batch, and the
    older one would then be found again. For up to `batch` digests of several versions this costs one more batch.
    Versions that are foreign at `latest` (POSIX seconds) stay.
    """
    found = filter(None, map(parse_object_key, object_keys))
    results = ((prefix, version) for prefix, version in found if not version.dead and not version.is_foreign(latest))
    ready: list[str] = []
    newest_of_several: list[str] = []
    for prefix, group in itertools.groupby(results, key=itemgetter(0)):
        newest, *older = (prefix + version.name for _, version in group)
        ready += reversed(older)
        (newest_of_several if older else ready).append(newest)
        while len(ready) >= batch:
            yield ready[:batch]
            del ready[:batch]
        if len(newest_of_several) == batch:
            yield from filter(None, (ready, newest_of_several))
            ready, newest_of_several = [], []
    yield from filter(None, (ready, newest_of_several))


class Listing(NamedTuple):
    """What one look at a digest's prefix showed, newest first, and what follows from it.

    `full` says that there may be more behind the last name seen. `seen_at` is the earliest time at which the first page
    was answered, in POSIX seconds by the store's clock.
    """

    versions: tuple[Version, ...] = ()
    full: bool = False
    seen_at: float = math.inf

    @property
    def tombstone(self) -> int | None:
        """The date of the newest tombstone, in µs: nothing created up to then counts."""
        newest = None
        for version in self.versions:
            if version.dead and (newest is None or version.created > newest):
                newest = version.created
        return newest

    def extended(self, names: Iterable[str], *, now: tuple[float, float], full: bool = False) -> Listing:
        """Return this listing with one more page, answered `now`: the store's earliest and latest time then."""
        earliest, latest = now
        found = [version for version in map(parse_version, names) if version and not version.is_foreign(latest)]
        return Listing((*self.versions, *found), full, min(self.seen_at, earliest))

    @property
    def newest(self) -> Version | None:
        """The version that a reader gets, unless it has expired."""
        tombstone = self.tombstone
        for version in self.versions:
            if not version.dead and (tombstone is None or version.created > tombstone):
                return version
        return None

    @property
    def settled(self) -> bool:
        """Whether names further back could not change what this listing says, to a reader or to a writer.

        A tombstone's order is its date. So a tombstone that buries the newest version here, and any version that it
        does not bury, sort before the date on which that newest version was created; and a tombstone that would bury a
        version whose computation begins now sorts before now.
        """
        if not self.full:
            return True
        if not self.versions:
            return False
        return self.versions[-1].order < min(self.versions[0].created, int(self.seen_at * MICROSECONDS)) - 1

    def next_version(self, begun: float, *, ttl: int | None, elapsed: int, nonce: str) -> Version:
        """Return the version to write for a computation that began at `begun`, the earliest by the store's clock.

        A hybrid logical clock (Kulkarni et al. 2014): physical time, pushed past everything seen.
        """
        created = int(begun * MICROSECONDS)
        tombstone = self.tombstone
        if tombstone is not None:
            created = max(created, tombstone + 1)
        order = max(created, max((version.order for version in self.versions), default=0) + 1)
        return Version(order, created, ttl, elapsed, nonce)

    def superseded(self, by: Version, *, keep: int) -> list[Version]:
        """Return what a writer of `by` may delete, oldest first: older results beyond the `keep` newest."""
        older = [version for version in self.versions if not version.dead and version.order < by.order]
        return older[keep - 1 :][::-1]

    def rival(self, tombstone: Version) -> Version | None:
        """Return the latest version dated so late that it, or one written after seeing it, would outlive `tombstone`.

        That is another tombstone, from a process with wider time bounds, or a result of a process whose clock is ahead.
        """
        others = (version for version in self.versions if version != tombstone)
        late = (version for version in others if version.created > tombstone.created - (2 if version.dead else 0))
        return max(late, key=lambda version: version.created, default=None)

    def buried(self, by: Version) -> list[Version]:
        """Return what the tombstone `by` buries, oldest first, older tombstones included."""
        return [version for version in self.versions if version.created <= by.created and version != by][::-1]

    def outdates(self, version: Version) -> bool:
        """Whether a version must no longer be served: it is buried, or there is a newer one."""
        newest, tombstone = self.newest, self.tombstone
        is_buried = tombstone is not None and version.created <= tombstone
        return is_buried or (newest is not None and newest.name < version.name)


NOTHING_LISTED = Listing()


def tombstone(at: float, *, nonce: str) -> Version:
    """Return a tombstone dated `at`, in µs since 1970."""
    return Version(order=int(at), created=int(at), ttl=None, elapsed=0, nonce=nonce, dead=True)
