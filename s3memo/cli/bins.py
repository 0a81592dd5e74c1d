"""Sums of results by age, by size and over time. Pure; integers, so that sums are exact."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

HOUR = 3600
DAY = 86_400
WEEK = 7 * DAY
AGES: Mapping[int, str] = {
    0: "under 1 hour",
    HOUR: "1\N{EN DASH}24 hours",
    DAY: "1\N{EN DASH}7 days",
    WEEK: "7\N{EN DASH}30 days",
    30 * DAY: "30\N{EN DASH}90 days",
    90 * DAY: "90\N{EN DASH}365 days",
    365 * DAY: "1\N{EN DASH}2 years",
    2 * 365 * DAY: "over 2 years",
}
"""The lowest age of each bin, in seconds, and its label."""
SIZES: Mapping[int, str] = {
    0: "under 1 kB",
    10**3: "1\N{EN DASH}10 kB",
    10**4: "10\N{EN DASH}100 kB",
    10**5: "100 kB\N{EN DASH}1 MB",
    10**6: "1\N{EN DASH}10 MB",
    10**7: "10\N{EN DASH}100 MB",
    10**8: "100 MB\N{EN DASH}1 GB",
    10**9: "over 1 GB",
}
"""The lowest size of each bin, in bytes, and its label."""
STEPS = (600, HOUR, 6 * HOUR, DAY, WEEK, 4 * WEEK, 12 * WEEK, 48 * WEEK, 480 * WEEK)
"""The widths a timeline's columns may have, in seconds; each is a multiple of the one before."""
ORIGIN = 4 * DAY
"""Where column 0 begins, in POSIX seconds: on a Monday, as weeks do."""
MOST_COLUMNS = 90
LEAST_COLUMNS = 12

Owner = TypeVar("Owner", bound=Hashable)


@dataclass(slots=True)
class Amount:
    """Entries, bytes of all versions, and milliseconds that the entries took to compute."""

    entries: int = 0
    bytes: int = 0
    milliseconds: int = 0

    def add(self, other: Amount) -> None:
        """Add another."""
        self.entries += other.entries
        self.bytes += other.bytes
        self.milliseconds += other.milliseconds

    @property
    def seconds(self) -> float:
        """How long the entries took to compute."""
        return self.milliseconds / 1000


class Histogram:
    """Amounts by bins of a number, each from its lower bound up to the next."""

    def __init__(self, bins: Mapping[int, str]) -> None:
        self._bounds = list(bins)
        self.amounts = {label: Amount() for label in bins.values()}
        self._by_place = list(self.amounts.values())

    def add(self, number: float, amount: Amount) -> None:
        """Count an amount in the bin of a number; what is below the first bound belongs to the first bin."""
        self._by_place[max(bisect_right(self._bounds, number) - 1, 0)].add(amount)


class Timeline(Generic[Owner]):
    """Amounts by owner and by the time they were created, up to `latest`, in POSIX seconds.

    Columns are as narrow as MOST_COLUMNS allows, and widen as older amounts come.
    """

    def __init__(self, latest: float) -> None:
        self._latest = int(latest)
        self._level = 0
        self._first = self._place(self._latest)
        self._columns: dict[Owner, dict[int, Amount]] = {}

    @property
    def step(self) -> int:
        """The width of a column, in seconds."""
        return STEPS[self._level]

    @property
    def start(self) -> int:
        """When the first column begins, in POSIX seconds."""
        return ORIGIN + self.places[0] * self.step

    @property
    def places(self) -> range:
        """The numbers of the columns, counted from ORIGIN."""
        last = self._place(self._latest)
        return range(min(self._first, last - LEAST_COLUMNS + 1), last + 1)

    def add(self, owner: Owner, created: float, amount: Amount) -> None:
        """Count an amount; one created after `latest` goes into the last column."""
        created = min(int(created), self._latest)
        while self._place(self._latest) - self._place(created) >= MOST_COLUMNS:
            self._widen()
        place = self._place(created)
        self._first = min(self._first, place)
        self._columns.setdefault(owner, {}).setdefault(place, Amount()).add(amount)

    def fold(self, owners: Iterable[Owner], into: Owner) -> None:
        """Move what these owners have to another."""
        for owner in owners:
            columns = self._columns.pop(owner, {})
            target = self._columns.setdefault(into, {})
            for place, amount in columns.items():
                target.setdefault(place, Amount()).add(amount)

    def amounts(self, owner: Owner) -> list[Amount]:
        """Return an owner's amount in each column."""
        columns = self._columns.get(owner, {})
        return [columns.get(place, Amount()) for place in self.places]

    def _place(self, when: int) -> int:
        return (when - ORIGIN) // self.step

    def _widen(self) -> None:
        ratio = STEPS[self._level + 1] // self.step
        self._level += 1
        self._first //= ratio
        for owner, columns in self._columns.items():
            wider: dict[int, Amount] = {}
            for place, amount in columns.items():
                wider.setdefault(place // ratio, Amount()).add(amount)
            self._columns[owner] = wider
