"""How the indexes of a cache's functions are filled and asked: by listing single digests, a page, or everything."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple, TypeAlias

from s3memo.bridge import Errand, side_by_side
from s3memo.index import Index, Walk
from s3memo.locks import process_lock, rebuild_after_fork
from s3memo.memo import Draft, Memo
from s3memo.spans import Known, Span
from s3memo.terms import Terms
from s3memo.versions import NOTHING_LISTED, Key, Listing, Version

_MOST_INDEXES = 1000
"""Indexes kept, one per function, mapping and tag: a process that makes closures without end forgets the oldest."""

_PATIENCE = 15.0
"""Seconds for which a call waits for a page that another call is listing; by default a LIST takes no longer."""


class Reading(NamedTuple):
    """What the calls of a batch may rely on: absences seen since one moment, and names since another.

    These names count even if they have become too old for a single call. Moments are POSIX seconds.
    """

    absent_since: float = math.inf
    known_since: float = math.inf


NOTHING_READ = Reading()

Forgotten: TypeAlias = tuple[Index, int]
"""Where a key was forgotten, and when in the order of its questions."""


class Sighting(NamedTuple):
    """What was seen of a key. Only with `is_proof` does an absence count; otherwise the store has to be asked.

    `latest` is the current time in POSIX seconds by the store's clock.
    """

    listing: Listing
    latest: float
    is_proof: bool


class Names:
    """The names that a process knows, by function. Safe to call from many threads.

    `notice` is called with what a page shows of each key that `is_held` accepts.
    """

    def __init__(
        self, memo: Memo, ttl: float, *, notice: Callable[[Key, Listing], None], is_held: Callable[[Key], bool]
    ) -> None:
        self._memo = memo
        self._ttl = ttl
        self._notice = notice
        self._is_held = is_held
        self._indexes: dict[str, tuple[Key, Index]] = {}
        self._pages: dict[Index, Errand] = {}
        rebuild_after_fork(self._forget_pages)

    def sightings(
        self, key: Key, terms: Terms, reading: Reading, *, looks: int, seen_since: float
    ) -> Iterator[Sighting]:
        """Yield what is known of a key, if seen since `seen_since`; if that is not enough, look up to `looks` times."""
        known = self.sighted(key, reading)
        if known is not None and known.listing.seen_at >= seen_since:
            yield known
        if known is not None and known.listing.versions:
            self._index(key).doubt()
        for _ in range(looks):
            self._memo.breaker.check()
            yield from self._sight(key, terms, reading, seen_since)

    def look(self, key: Key, terms: Terms) -> Listing:
        """LIST one digest."""
        with process_lock:
            self._index(key).count_single()
        return self._look(key, terms)

    def _look(self, key: Key, terms: Terms) -> Listing:
        index = self._index(key)  # before the LIST, so that what is forgotten meanwhile stays forgotten
        with process_lock:
            asked = index.ask()
        listing, sizes = self._memo.look(key, terms)
        known = Known(tuple((version.name, sizes[version.name]) for version in listing.versions), listing.seen_at)
        with process_lock:
            index.learn(key.digest, known, asked=asked)
        self._notice(key, listing)
        return listing

    def survey(self, keys: Sequence[Key], terms: Terms) -> float:
        """LIST pages that show some of a function's keys; return since when absences count.

        Isolated digests are skipped: a page would answer for no other. Wide walks run in parallel.
        """
        if not self._ttl:  # names would not count for any time
            return math.inf
        return self._walk(keys[0], Walk(sorted({key.digest for key in keys})), terms, trust_for=0.0)

    def preload(self, key: Key, terms: Terms, *, trust_for: float | None) -> Iterator[Key]:
        """LIST all names of a function; yield the keys that have a result, even if buried.

        Names and absences count for `trust_for` seconds; None: until they are forgotten.
        """
        self._walk(key, Walk(), terms, trust_for=math.inf if trust_for is None else trust_for)
        index = self._index(key)
        with process_lock:
            spans = index.spans()
        return (type(key)(key.namespace, key.tag, digest) for span in spans for digest in span.digests(having=".s3m "))

    def sighted(self, key: Key, reading: Reading) -> Sighting | None:
        """Return what is known of a key without asking the store; an absence is proof if read for this, or trusted."""
        found = self._known(key, reading)
        if found is None:
            return None
        known, latest, is_current = found
        is_proof = latest < known.trusted_until or (is_current and known.seen_at >= reading.absent_since)
        return Sighting(_listing(known, latest), latest, is_proof)

    def known(self, key: Key, reading: Reading) -> tuple[Listing, int] | None:
        """Return what is known of a key without asking the store, and the size in bytes of its newest version."""
        found = self._known(key, reading)
        if found is None:
            return None
        known, latest, _ = found
        listing = _listing(known, latest)
        newest = listing.newest and listing.newest.name
        return listing, next((size for name, size in known.versions if name == newest), 0)

    def size(self, key: Key, version: Version) -> int:
        """Return a version's size in bytes if a listing showed it, else 0."""
        known = self._index(key).find(key.digest)
        return dict(known.versions).get(version.name, 0) if known else 0

    def learn(self, key: Key, draft: Draft, gone: Iterable[Version]) -> None:
        """Update the index after a write, keeping what others in this process have learned meanwhile.

        The name counts as long as the listing before it. If that was forgotten meanwhile, nothing is known: others may
        have written versions that the listing does not show.
        """
        index, names = self._index(key), _names(draft.listing)
        with process_lock:
            former = index.find(key.digest)
            if former is None:
                index.learn(key.digest, None)
            else:
                names |= {draft.held.version.name: draft.held.size} | dict(former.versions)
                index.learn(key.digest, _known(names, gone, draft.listing.seen_at))

    def bury(self, key: Key, grave: Version, listing: Listing, forgotten: Forgotten) -> None:
        """Update the index after an invalidation, whose listing was asked for after the key was forgotten."""
        index, names = self._index(key), _names(listing) | {grave.name: 0}
        with process_lock:
            former = index.find(key.digest)
            if former is not None:
                names |= dict(former.versions)
            known = None  # where it was forgotten again, for others may have written since
            if former is not None or (index, index.last_word(key.digest)) == forgotten:
                known = _known(names, listing.buried(grave), listing.seen_at)
            index.learn(key.digest, known)

    def forget(self, key: Key) -> Forgotten:
        """Forget what is known of a key; return what tells later whether more was forgotten meanwhile."""
        index = self._index(key)
        with process_lock:
            asked = index.ask()
            index.learn(key.digest, None, asked=asked)
        return index, asked

    def forget_all(self, belongs: Callable[[Key], bool]) -> None:
        """Forget the functions that `belongs` accepts; pages being listed for them are lost."""
        with process_lock:
            for folder in [folder for folder, (key, _) in self._indexes.items() if belongs(key)]:
                del self._indexes[folder]

    def _index(self, key: Key) -> Index:
        folder = key.folder
        found = self._indexes.get(folder)
        if found is None:
            with process_lock:
                found = self._indexes.setdefault(folder, (key, Index()))
                if len(self._indexes) > _MOST_INDEXES:
                    del self._indexes[next(iter(self._indexes))]
        return found[1]

    def _known(self, key: Key, reading: Reading) -> tuple[Known, float, bool] | None:
        """Return what is known of a key if it counts now or for the reading, the time, and whether it counts now."""
        source = self._index(key).source(key.digest)
        if source is None:
            return None
        now = self._memo.store.time().latest
        is_current = now < source.trusted_until or 0 <= now - source.seen_at < self._ttl
        if not is_current and source.seen_at < reading.known_since:
            return None
        return (source.find(key.digest) if isinstance(source, Span) else source), now, is_current

    def _sight(self, key: Key, terms: Terms, reading: Reading, seen_since: float) -> Iterator[Sighting]:
        """LIST one digest; or a page of names, once that has become worth its price.

        While another call lists such a page, wait for it and look there first.
        """
        index, page = self._index(key), None
        now = self._memo.store.time().latest if index.is_whole else 0.0  # else the store's time may not be known yet
        with process_lock:
            others = self._pages.get(index)
            if others is None and self._ttl and index.wants_page(now, self._ttl):
                page = self._pages[index] = Errand()
                index.begin_page()
            else:
                index.count_single()
        if page is not None:
            span = self._first_page(key, index, terms, page)
            if key.digest < span.high:
                latest = self._memo.store.time().latest
                yield Sighting(_listing(span.find(key.digest), latest), latest, is_proof=True)
                return
        if others is not None and not self._memo.breaker.is_open:
            others.wait(_PATIENCE)
            self._end_page(index, others)  # its lister may have been interrupted, or its loop closed
            known = self.sighted(key, reading)
            if known is not None and known.listing.seen_at >= seen_since:
                yield known  # asked for before this call, so an absence proves nothing
            self._memo.breaker.check()
        listing = self._look(key, terms)
        yield Sighting(listing, self._memo.store.time().latest, is_proof=True)

    def _first_page(self, key: Key, index: Index, terms: Terms, errand: Errand) -> Span:
        """LIST the first page of a function's names, for all who ask for one of them meanwhile."""
        try:
            span = self._page(key, Walk(), index, terms, trust_for=0.0)
            with process_lock:
                index.count_page(span)
            return span
        finally:
            self._end_page(index, errand)
            errand.end()

    def _end_page(self, index: Index, errand: Errand) -> None:
        """Let no more calls wait for a page."""
        with process_lock:
            if self._pages.get(index) is errand:
                del self._pages[index]

    def _forget_pages(self) -> None:
        """Forget, in a forked child, the pages of threads that do not exist there."""
        self._pages.clear()

    def _walk(self, key: Key, walk: Walk, terms: Terms, *, trust_for: float) -> float:
        """LIST pages until a walk is done; return when the oldest was seen."""
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
                self._notice(other, _listing(span.find(digest), latest))
        return span


def _names(listing: Listing) -> dict[str, int]:
    return {version.name: 0 for version in listing.versions}


def _known(names: dict[str, int], gone: Iterable[Version], seen_at: float) -> Known:
    """Return what is known when some versions have gone."""
    left = names.keys() - {version.name for version in gone}
    return Known(tuple((name, names[name]) for name in sorted(left)), seen_at)


def _listing(known: Known, latest: float) -> Listing:
    """Return what is known in the form of a listing answered now."""
    return NOTHING_LISTED.extended(dict(known.versions), now=(known.seen_at, latest))
