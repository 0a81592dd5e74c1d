"""Adds up a report while a store is listed. Pure; holds our objects of one call at a time."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import TypeAlias

from s3memo.cli.bins import AGES, SIZES, Amount, Histogram, Timeline
from s3memo.cli.inventory import Holding, Kind, Living, Owner, Share, add_up, shares
from s3memo.cli.summary import History, Pile, Row, Series, Summary
from s3memo.garbage import Policy, Reason, Standing, by_prefix, plan, reader
from s3memo.stores.base import PAGE_SIZE, ObjectInfo, TimeBounds
from s3memo.versions import MICROSECONDS

COLOURED = 5
"""How many functions a timeline shows separately."""
ROWS = 15
"""How many functions the table shows separately, by their bytes."""
CALLS = 10
"""How many of the largest and of the oldest results are shown."""

_MOST_ROWS = 120  # held at a time; at most half of them are among the first ROWS by some measure
_OTHERS: tuple[Kind, ...] = ("state", "lease", "probe", "foreign")
_Measure: TypeAlias = Callable[[Holding], float]
_MEASURES: tuple[_Measure, ...] = (lambda held: held.bytes, lambda held: held.entries, lambda held: held.seconds)


def tally(url: str, infos: Iterable[ObjectInfo], now: TimeBounds) -> Summary:
    """Return the summary of an ascending listing that began `now` by the store's clock."""
    found = Tally(now)
    for prefix, group in by_prefix(infos):
        for part in _parts(prefix, group, now.latest):
            found.add(prefix, part)
    return found.summary(url)


def _parts(prefix: str, group: Iterator[ObjectInfo], latest: float) -> Iterator[list[ObjectInfo]]:
    """Yield the objects of a prefix: ours, which are to be judged together, at once, and others by the thousand."""
    first = list(islice(group, PAGE_SIZE))
    if len(first) < PAGE_SIZE:  # there is no need to ask whose they are
        yield first
        return
    read = reader(prefix, latest)
    ours, others = list[ObjectInfo](), list[ObjectInfo]()
    for info in chain(first, group):
        if read(info) is not None:
            ours.append(info)
            continue
        others.append(info)
        if len(others) == PAGE_SIZE:
            yield others
            others = []
    yield from filter(None, (others, ours))


class Tally:
    """Sums by function, age, size and time, and the largest and oldest results."""

    def __init__(self, now: TimeBounds) -> None:
        self._now = now
        self._policy = Policy()
        self._rows: dict[Owner, Row] = {}
        self._rest = Row("rest", "")
        self._unnamed = 0
        self._last_owner: Owner | None = None
        self._others = {kind: Pile() for kind in _OTHERS}
        self._timeline: Timeline[Owner | None] = Timeline(now.latest)  # None: the rest
        self._ages, self._sizes = Histogram(AGES), Histogram(SIZES)
        self._largest, self._oldest = _Leading(), _Leading()
        self._garbage: dict[Reason, Pile] = {}
        self._kept: Counter[Standing] = Counter()

    def add(self, prefix: str, infos: list[ObjectInfo]) -> None:
        """Count objects of one prefix; all of ours if it is a call's, a state's or a lease's."""
        for doomed, kept in plan(infos, self._policy, earliest=self._now.earliest, latest=self._now.latest):
            for each in doomed:
                self._garbage.setdefault(each.reason, Pile()).add(1, each.size)
            self._kept.update(each.reason for each in kept)
        for share in shares(prefix, infos, self._now.latest):
            if share.owner.kind in self._others:
                self._others[share.owner.kind].add(share.holding.objects, share.holding.bytes)
            else:
                self._add_results(share)

    def _add_results(self, share: Share) -> None:
        owner = self._row_of(share.owner, share.holding)
        result = share.result
        if result is not None:
            self._largest.add(result.size, result)
            self._oldest.add(-result.version.created, result)
        for version, size in share.versions.items():
            is_entry = result is not None and version is result.version and not result.is_expired
            amount = Amount(int(is_entry), size, version.elapsed if is_entry else 0)
            created = version.created / MICROSECONDS
            self._timeline.add(owner, created, amount)
            self._ages.add(self._now.latest - created, amount)
            self._sizes.add(size, amount)

    def _row_of(self, owner: Owner, holding: Holding) -> Owner:
        """Count what an owner has; return the owner without its tag. A listing shows all of one function in a row."""
        named = owner._replace(tag="")
        row = self._rows.get(named)
        if row is None:
            if len(self._rows) >= _MOST_ROWS:
                self._fold()
            row = self._rows[named] = Row("mapping" if owner.kind == "mapping" else "function", owner.name)
        if owner != self._last_owner:
            self._last_owner = owner
            row.tags += owner.kind == "function"
        row.holding.add(holding)
        return named

    def _fold(self) -> None:
        """Keep the rows that may still be shown in the end; add the others to the rest."""
        leading = {owner for measure in _MEASURES for owner in heapq.nlargest(ROWS, self._rows, key=self._by(measure))}
        self._give_up(self._rows.keys() - leading)

    def _give_up(self, owners: Iterable[Owner]) -> None:
        for owner in owners:
            self._rest.holding.add(self._rows.pop(owner).holding)
            self._timeline.fold([owner], None)
            self._unnamed += 1

    def _by(self, measure: _Measure) -> Callable[[Owner], float]:
        return lambda owner: measure(self._rows[owner].holding)

    def summary(self, url: str) -> Summary:
        """Return the sums."""
        total = add_up(row.holding for row in (self._rest, *self._rows.values()))
        coloured = set(heapq.nlargest(COLOURED, sorted(self._rows), key=lambda owner: self._share(owner, total)))
        ordered = sorted(self._rows, key=lambda owner: (-self._rows[owner].holding.bytes, owner))
        shown = [owner for place, owner in enumerate(ordered) if place < ROWS or owner in coloured]
        self._give_up(self._rows.keys() - set(shown))
        rows = {owner: self._rows[owner] for owner in shown}
        return Summary(
            url=url,
            at=self._now.latest,
            rows=tuple(rows.values()),
            rest=self._rest,
            unnamed=self._unnamed,
            total=total,
            others=self._others,
            history=self._history([owner for owner in shown if owner in coloured]),
            ages=self._ages.amounts,
            sizes=self._sizes.amounts,
            largest=tuple(self._largest),
            oldest=tuple(self._oldest),
            garbage=dict(sorted(self._garbage.items())),
            kept=dict(sorted(self._kept.items())),
        )

    def _share(self, owner: Owner, total: Holding) -> float:
        """Return an owner's largest share of the total, over all measures."""
        return max(measure(self._rows[owner].holding) / (measure(total) or 1) for measure in _MEASURES)

    def _history(self, coloured: list[Owner]) -> History:
        self._timeline.fold(self._rows.keys() - set(coloured), None)
        series = [Series(self._rows[owner], tuple(self._timeline.amounts(owner))) for owner in coloured]
        if len(self._rows) > len(coloured) or self._unnamed:
            series.append(Series(None, tuple(self._timeline.amounts(None))))
        return History(self._timeline.step, self._timeline.start, tuple(series))


class _Leading:
    """Keeps the CALLS results of the highest rank."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, str, Living]] = []

    def add(self, rank: int, result: Living) -> None:
        """Consider a result."""
        item = rank, result.prefix, result
        if len(self._heap) < CALLS:
            heapq.heappush(self._heap, item)
        elif item > self._heap[0]:
            heapq.heapreplace(self._heap, item)

    def __iter__(self) -> Iterator[Living]:
        """Yield them, highest rank first."""
        return (result for _, _, result in sorted(self._heap, reverse=True))
