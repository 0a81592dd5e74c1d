"""The index: the names of a function's results that this process knows, packed, and where to list next.

Pure: nothing here asks a store or reads a clock. Moments are POSIX seconds by the store's clock.
"""

from __future__ import annotations

import itertools
import math
import re
import sys
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from operator import attrgetter

from s3memo.spans import DIGEST, END, Known, Name, Span, place
from s3memo.stores.base import PAGE_SIZE
from s3memo.versions import BASE32_DIGITS, VERSION_NAME, base32

RENT = 8
"""How many listings of single digests cost as much as one of a page of names."""

_MAX_BYTES = 256 * 1024 * 1024
_MAX_SINGLES = 10_000
_MAX_SPANS = 10_000
_SPARSE = 8.0
_NEARBY = 4.0
_WIDE = 8
_MOST_SHARDS = 8
_SHARD = 4
_OURS = re.compile(rf"[{BASE32_DIGITS}]{{{DIGEST}}}/{VERSION_NAME}", re.ASCII)
_NEVER = float("inf"), sys.maxsize
_by_low = attrgetter("low")


class Walk:
    """Decides where to list next, so that pages cover every wanted digest, or all from `low` to `high`.

    Leapfrog: each page begins at the first wanted digest not covered yet, or continues where the last one was cut.
    `start_after` is the name to list after; None when all are covered.
    """

    def __init__(
        self, wanted: Sequence[str] | None = None, *, low: str = "", high: str = END, width: float = 1.0
    ) -> None:
        self._wanted = wanted
        self._high = high
        self._width = width  # the share of all digests that a page covers, as estimated so far
        self._read, self._covered = 0, 0.0
        self._cut: list[Name] = []
        self._cut_at, self._cut_asked = _NEVER
        self.low = low
        self.start_after: str | None = low
        if wanted is not None:
            self._jump(low)

    def read(self, page: Sequence[Name], *, seen_at: float, trusted_until: float = 0.0, asked: int = 0) -> Span:
        """Take the page listed there and return it as a span; a digest cut by its end is left to the next page."""
        names, seen_at, asked = [*self._cut, *page], min(seen_at, self._cut_at), min(asked, self._cut_asked)
        self._forget_cut()
        low, high, last = self.low, END, page[-1][0] if page else ""
        if len(page) == PAGE_SIZE:
            high = last[:DIGEST]
            kept = bisect_left(names, high, key=lambda name: name[0][:DIGEST])
            names, self._cut = names[:kept], names[kept:]
            self._cut_at, self._cut_asked = seen_at, asked
        lines = "".join(f"{name} {size}\n" for name, size in names if _OURS.fullmatch(name))
        span = Span(low, high, lines, seen_at, trusted_until, asked)
        self._read, self._covered = self._read + len(names), self._covered + span.width
        self._width = min(1.0, PAGE_SIZE * self._covered / max(self._read, 1)) or self._width
        self._advance(high, last)
        return span

    @property
    def is_sparse(self) -> bool:
        """Whether the next page would probably answer for no other digest than its first."""
        if self._wanted is None or self.start_after is None or self._cut:
            return False
        following = bisect_right(self._wanted, self.low)
        gap = place(self._wanted[following]) - place(self.low) if following < len(self._wanted) else 1.0
        return gap > _SPARSE * self._width

    def skip(self) -> None:
        """Skip the next wanted digest; it is looked up on its own."""
        self._jump(self.low + END)

    def shards(self) -> list[Walk]:
        """Split what is left into walks that can run in parallel; return only this one if little is left."""
        if self._wanted is not None:
            left = self._wanted[bisect_left(self._wanted, self.low) :]
            pages = min(len(left), int((place(END) - place(self.low)) / self._width))
        else:
            pages = int((place(self._high) - place(self.low)) / self._width)
        count = min(_MOST_SHARDS, pages // _SHARD)
        if pages < _WIDE or self.start_after is None:
            return [self]
        if self._wanted is not None:
            bounds = [len(left) * number // count for number in range(count + 1)]
            rest = [Walk(left[first:end], width=self._width) for first, end in itertools.pairwise(bounds[1:])]
            self._wanted = left[: bounds[1]]
        else:
            first = place(self.low)
            step = (place(self._high) - first) / count
            lows = [_digest(first + step * number) for number in range(1, count)]
            highs = [*lows[1:], self._high]
            rest = [Walk(low=low, high=high, width=self._width) for low, high in zip(lows, highs, strict=True)]
            self._high = lows[0]
        return [self, *rest]

    def _advance(self, high: str, last: str) -> None:
        """Continue after a page whose last name is `last` and which covered everything below `high`."""
        if high >= self._high:
            self.start_after = None
            self._forget_cut()
        elif self._wanted is None or (self.low < high and self._is_near(high)):
            self.low, self.start_after = high, last
        else:
            self._forget_cut()
            self._jump(high if self.low < high else high + END)  # this one digest's versions fill pages

    def _forget_cut(self) -> None:
        self._cut = []
        self._cut_at, self._cut_asked = _NEVER

    def _is_near(self, high: str) -> bool:
        """Whether the next wanted digest is so near that jumping there would save no page."""
        wanted = self._wanted or ()
        following = bisect_left(wanted, high)
        return following < len(wanted) and place(wanted[following]) - place(high) <= self._width / _NEARBY

    def _jump(self, low: str) -> None:
        """Continue at the first wanted digest not below `low`."""
        wanted = self._wanted or ()
        following = bisect_left(wanted, low)
        self.start_after = None
        if following < len(wanted):
            self.low = self.start_after = wanted[following]


class Index:
    """What is known of one function's names: spans of digests from pages, and single digests seen since.

    Listings overlap and may be answered in any order, so each gets a number when it is asked for, and the highest
    number wins for each digest. Bounded: what was seen first is forgotten first. `find` needs no lock.
    """

    def __init__(self, *, max_bytes: int = _MAX_BYTES, max_singles: int = _MAX_SINGLES) -> None:
        self._max_bytes = max_bytes
        self._max_singles = max_singles
        self._spans: list[Span] = []
        self._singles: OrderedDict[str, tuple[int, Known | None]] = OrderedDict()
        self._size = 0
        self._asked = 0
        self._lost = 0
        self._listed = 0
        self._patience = RENT
        self._whole_at = float("-inf")

    @property
    def size(self) -> int:
        """The size of all spans' names, in bytes."""
        return self._size

    def spans(self) -> list[Span]:
        """Return the spans, in order."""
        return [*self._spans]

    def find(self, digest: str) -> Known | None:
        """Return what is known of a digest."""
        source = self.source(digest)
        return source.find(digest) if isinstance(source, Span) else source

    def source(self, digest: str) -> Known | Span | None:
        """Return the single digest or the span that tells of a digest."""
        single = self._singles.get(digest)
        return self._span(digest) if single is None else single[1]

    def ask(self) -> int:
        """Return the number of a listing about to be asked for."""
        self._asked += 1
        return self._asked

    def learn(self, digest: str, known: Known | None, *, asked: int | None = None) -> None:
        """Take what the listing numbered `asked` showed of a digest; without a number, the effect of a write just made.

        None forgets the digest. How long it is trusted stays as it was.
        """
        asked = self.ask() if asked is None else asked
        if asked < self.last_word(digest):
            return
        if known is not None:
            sources = known, self.source(digest), self._span(digest)
            known = known._replace(trusted_until=max(source.trusted_until for source in sources if source))
        self._singles[digest] = asked, known
        self._singles.move_to_end(digest)
        if len(self._singles) > self._max_singles:
            self._fold()

    def last_word(self, digest: str) -> int:
        """Return the number of what is known of a digest, or may have been known and was forgotten to save room."""
        single, span = self._singles.get(digest), self._span(digest)
        return max(self._lost, single[0] if single else 0, span.asked if span else 0)

    def land(self, span: Span) -> None:
        """Take what a page showed."""
        if span.asked < self._lost:
            return
        others = [other for other in self._spans if other.low < span.high and span.low < other.high]
        spans = _over(self._spans, span.low, span.high, span)
        for other in others:
            if other.asked > span.asked:
                spans = _over(spans, other.low, other.high, other)
            elif other.trusted_until > span.trusted_until:
                low, high = max(span.low, other.low), min(span.high, other.high)
                spans = _over(spans, low, high, replace(span.part(low, high), trusted_until=other.trusted_until))
        self._keep(spans)
        for digest, (number, _) in [*self._singles.items()]:
            if number < span.asked and span.low <= digest < span.high:
                del self._singles[digest]
        while self._size > self._max_bytes and len(self._spans) > 1:
            oldest = min(self._spans, key=lambda other: other.seen_at)
            self._keep(_over(self._spans, oldest.low, oldest.high), lost=oldest.asked)

    def doubt(self) -> None:
        """Note that a known name was of no use: others have replaced it, and maybe more."""
        self._whole_at = float("-inf")

    def count_single(self) -> None:
        """Count one listing of a single digest."""
        self._listed += 1

    @property
    def is_whole(self) -> bool:
        """Whether the last first page showed everything, so that the time decides when to list it again."""
        return not math.isinf(self._whole_at)

    def wants_page(self, now: float, names_ttl: float) -> bool:
        """Whether enough single digests were listed for a page of names to be worth its price (ski rental)."""
        return self._listed >= self._patience and not 0 <= now - self._whole_at < names_ttl

    def begin_page(self) -> None:
        """Restart the count, even if the page about to be asked for cannot be listed."""
        self._listed = 0

    def count_page(self, span: Span) -> None:
        """Restart the count after a first page; the next is due when reading all pages would be worth it."""
        self._listed = 0
        is_whole = span.high == END
        self._whole_at = span.seen_at if is_whole else float("-inf")
        self._patience = RENT if is_whole else int(RENT / max(span.width, 1e-6))

    def _span(self, digest: str) -> Span | None:
        spans = self._spans
        at = bisect_right(spans, digest, key=_by_low) - 1
        return spans[at] if at >= 0 and digest < spans[at].high else None

    def _fold(self) -> None:
        """Merge the older half of the single digests into the spans they lie in; forget those that lie in none."""
        older = dict(itertools.islice(self._singles.items(), len(self._singles) // 2 + 1))
        digests, spans = sorted(older), list[Span]()
        for span in self._spans:
            within = digests[bisect_left(digests, span.low) : bisect_left(digests, span.high)]
            spans.append(span.patched({digest: known for digest in within if (known := older[digest][1])}))
        for digest, (_, known) in older.items():
            if known is None:
                spans = _over(spans, digest, digest + END)
        self._keep(spans, lost=max(number for number, _ in older.values()))
        for digest in older:
            del self._singles[digest]

    def _keep(self, spans: list[Span], *, lost: int = 0) -> None:
        """Replace the spans; listings numbered up to `lost` can no longer be told from newer ones."""
        self._lost = max(self._lost, lost)
        if len(spans) > _MAX_SPANS:  # searching so many pieces takes longer than listing again
            self._lost, spans = self._asked, []
        self._size = sum(len(span.names) for span in spans)
        self._spans = spans


def _over(spans: list[Span], low: str, high: str, by: Span | None = None) -> list[Span]:
    """Return the spans with all digests between `low` and `high` replaced by another span, or by nothing."""
    first = bisect_right(spans, low, key=_by_low) - 1
    first += first < 0 or spans[first].high <= low
    end = bisect_left(spans, high, key=_by_low)
    left = [span.part(span.low, low) for span in spans[first:end] if span.low < low]
    right = [span.part(high, span.high) for span in spans[first:end] if span.high > high]
    added = [] if by is None or by.low >= by.high else [by]
    return [*spans[:first], *left, *added, *right, *spans[end:]]


def _digest(place: float) -> str:
    """Return the beginning of the digest at a place between 0 and 1."""
    return base32(int(place * 2**40).to_bytes(5, "big"))
