"""How the indexes of a cache's functions are filled and asked: by listing single digests, pages, or all there is."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeGuard

from s3memo.bridge import side_by_side
from s3memo.index import Index, Known, Name, Span, Walk
from s3memo.locks import process_lock
from s3memo.memo import Draft, Memo
from s3memo.terms import Terms
from s3memo.versions import Key, Listing, Version

_MOST_INDEXES = 1000
"""Functions, mappings and tags, each with names of its own: a process that makes closures without end forgets the first."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """What was seen of a key. Only with `is_proof` does it count that there is nothing of use; else one has to look."""

    listing: Listing
    is_proof: bool


class Names:
    """The names that a process knows, by function. Safe to call from many threads.

    `notice` is told what a page shows of each key that `is_held` is true of.
    """

    def __init__(
        self, memo: Memo, ttl: float, *, notice: Callable[[Key, Listing], None], is_held: Callable[[Key], bool]
    ) -> None:
        self._memo = memo
        self._ttl = ttl
        self._notice = notice
        self._is_held = is_held
        self._indexes: dict[str, tuple[Key, Index]] = {}

    def sightings(
        self, key: Key, terms: Terms, absent_since: float, *, looks: int, seen_since: float
    ) -> Iterator[Sighting]:
        """Yield what is known of a key, if it was seen since then, and as long as that is not enough, a few looks."""
        known = self.sighted(key, absent_since)
        if known is not None and known.listing.seen_at >= seen_since:
            yield known
        if known is not None and known.listing.versions:
            self._index(key).doubt()
        for _ in range(looks):
            self._memo.breaker.check()
            yield Sighting(self._sight(key, terms), is_proof=True)

    def look(self, key: Key, terms: Terms) -> Listing:
        """LIST one digest."""
        index = self._index(key)  # before it is listed, so that what is forgotten meanwhile stays so
        with process_lock:
            index.count_single()
            asked = index.ask()
        listing, sizes = self._memo.look(key, terms)
        known = Known(tuple((version.name, sizes[version.name]) for version in listing.versions), listing.seen_at)
        with process_lock:
            index.learn(key.digest, known, asked=asked)
        self._notice(key, listing)
        return listing

    def survey(self, keys: Sequence[Key], terms: Terms) -> float:
        """List pages that show some of a function's keys; return since when absences count.

        Digests far apart are left: a page would show no more than the one. Wide walks take place side by side.
        """
        if not self._ttl:  # names that count for no time are of no use
            return math.inf
        return self._walk(keys[0], Walk(sorted({key.digest for key in keys})), terms, trust_for=0.0)

    def preload(self, key: Key, terms: Terms, *, trust_for: float | None) -> Iterator[Key]:
        """List all names of a function; yield those of its keys that have a result, void ones too.

        Names and absences count for `trust_for` seconds; None: until they are forgotten.
        """
        self._walk(key, Walk(), terms, trust_for=math.inf if trust_for is None else trust_for)
        index = self._index(key)
        with process_lock:
            spans = index.spans()
        return (type(key)(key.namespace, key.tag, digest) for span in spans for digest in span.digests(having=".s3m "))

    def sighted(self, key: Key, absent_since: float) -> Sighting | None:
        """Return what is known of a key without asking; its absence counts if it was read since then, or is trusted."""
        known = self._current(key)
        if known is None:
            return None
        is_proof = known.seen_at >= absent_since or self._memo.store.time().latest < known.trusted_until
        return Sighting(self._listing(known), is_proof)

    def known(self, key: Key) -> tuple[Listing, int] | None:
        """Return what is known of a key without asking, and the size in bytes of its newest version."""
        known = self._current(key)
        if known is None:
            return None
        listing = self._listing(known)
        newest = listing.newest and listing.newest.name
        return listing, next((size for name, size in known.versions if name == newest), 0)

    def size(self, key: Key, version: Version) -> int:
        """Return how many bytes a version takes, as far as that was seen, else 0."""
        known = self._index(key).find(key.digest)
        return dict(known.versions).get(version.name, 0) if known else 0

    def learn(self, key: Key, draft: Draft, gone: Iterable[Version]) -> None:
        """Take what a write made of a listing, beside what others of this process have made of it meanwhile.

        The name counts for as long as what was listed before it.
        """
        self._take(key, draft.listing, (draft.held.version.name, draft.held.size), gone)

    def bury(self, key: Key, grave: Version, listing: Listing) -> None:
        """Take what an invalidation made of a listing."""
        self._take(key, listing, (grave.name, 0))

    def forget(self, key: Key) -> None:
        """Know nothing of a key any more."""
        index = self._index(key)
        with process_lock:
            index.learn(key.digest, None)

    def forget_all(self, belongs: Callable[[Key], bool]) -> None:
        """Know nothing any more of the keys of those functions that `belongs` is true of; pages under way are lost."""
        with process_lock:
            for folder in [folder for folder, (key, _) in self._indexes.items() if belongs(key)]:
                del self._indexes[folder]

    def _take(self, key: Key, listing: Listing, written: Name, gone: Iterable[Version] = ()) -> None:
        """Know what was listed, what is known beside that, and what was written after it, without what has gone."""
        index = self._index(key)
        names = dict([*((version.name, 0) for version in listing.versions), written])
        with process_lock:
            former = index.find(key.digest)
            names |= dict(former.versions if former else ())
            for version in gone:
                names.pop(version.name, None)
            index.learn(key.digest, Known(tuple(sorted(names.items())), listing.seen_at))

    def _index(self, key: Key) -> Index:
        folder = key.folder
        found = self._indexes.get(folder)
        if found is None:
            with process_lock:
                found = self._indexes.setdefault(folder, (key, Index()))
                if len(self._indexes) > _MOST_INDEXES:
                    del self._indexes[next(iter(self._indexes))]
        return found[1]

    def _current(self, key: Key) -> Known | None:
        """Return what is known of a key, if it still counts."""
        source = self._index(key).source(key.digest)
        if not self._is_current(source):
            return None
        return source.find(key.digest) if isinstance(source, Span) else source

    def _is_current(self, source: Known | Span | None) -> TypeGuard[Known | Span]:
        if source is None:
            return False
        now = self._memo.store.time().latest
        return now < source.trusted_until or 0 <= now - source.seen_at < self._ttl

    def _sight(self, key: Key, terms: Terms) -> Listing:
        """LIST one digest, or instead a page of names, if so many were listed one by one that it is worth its price."""
        index = self._index(key)
        wants_page = False
        if self._ttl and index.has_rented:  # before that, a process may not know the time yet
            now = self._memo.store.time().latest
            with process_lock:
                wants_page = index.wants_page(now, self._ttl)
                if wants_page:
                    index.begin_page()
        if wants_page:
            span = self._page(key, Walk(), index, terms, trust_for=0.0)
            with process_lock:
                index.count_page(span)
            if key.digest < span.high:
                return self._listing(span.find(key.digest))
        return self.look(key, terms)

    def _walk(self, key: Key, walk: Walk, terms: Terms, *, trust_for: float) -> float:
        """List pages until a walk is done; return when the first was seen."""
        index = self._index(key)
        seen = [self._page(key, walk, index, terms, trust_for=trust_for).seen_at]
        shards = walk.shards()
        if len(shards) == 1:
            seen += self._finish(key, walk, index, terms, trust_for)
            return min(seen)
        finish = partial(self._finish, key, index=index, terms=terms, trust_for=trust_for)
        finished = side_by_side([partial(finish, walk=shard) for shard in shards], most=len(shards), name="list")
        return min(itertools.chain(seen, *finished))

    def _finish(self, key: Key, walk: Walk, index: Index, terms: Terms, trust_for: float) -> list[float]:
        seen = []
        while walk.start_after is not None:
            if walk.is_sparse:
                walk.skip()
            else:
                seen.append(self._page(key, walk, index, terms, trust_for=trust_for).seen_at)
        return seen

    def _page(self, key: Key, walk: Walk, index: Index, terms: Terms, *, trust_for: float) -> Span:
        with process_lock:
            asked = index.ask()
        names, (earliest, latest) = self._memo.page(key.folder, walk.start_after or "", terms)
        trusted_until = latest + trust_for if trust_for else 0.0
        span = walk.read(names, seen_at=earliest, trusted_until=trusted_until, asked=asked)
        with process_lock:
            index.land(span)
        for digest in span.digests():
            other = type(key)(key.namespace, key.tag, digest)
            if self._is_held(other):
                self._notice(other, self._listing(span.find(digest)))
        return span

    def _listing(self, known: Known) -> Listing:
        now = known.seen_at, self._memo.store.time().latest
        return Listing().extended((name for name, _ in known.versions), now=now)
