"""The data of a report, independent of how it looks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Literal

from s3memo.cli.bins import AGES, SIZES, Amount
from s3memo.cli.inventory import Holding, Kind, Living
from s3memo.garbage import Reason, Standing


@dataclass(slots=True)
class Row:
    """What a function, with all its tags, or a mapping has; "rest" is all those not shown separately."""

    kind: Literal["function", "mapping", "rest"]
    name: str
    tags: int = 0
    holding: Holding = field(default_factory=Holding)

    def as_json(self, at: float) -> dict[str, Any]:
        """Return it as JSON for scripts; `at` is when the store was listed, in POSIX seconds."""
        return {"kind": self.kind, "name": self.name, "tags": self.tags, **self.holding.as_json(at)}


@dataclass(frozen=True, slots=True)
class Series:
    """The amounts of one row, or of all others (None), in each column of a timeline."""

    row: Row | None
    amounts: tuple[Amount, ...]


@dataclass(frozen=True, slots=True)
class History:
    """Amounts over time, in columns of `step` seconds; the first begins at `start`, in POSIX seconds."""

    step: int
    start: int
    series: tuple[Series, ...]

    def starts(self) -> list[int]:
        """Return when each column begins."""
        count = len(self.series[0].amounts) if self.series else 0
        return [self.start + place * self.step for place in range(count)]


@dataclass(slots=True)
class Pile:
    """A number of objects, and their bytes."""

    objects: int = 0
    bytes: int = 0

    def add(self, objects: int, size: int) -> None:
        """Add objects of `size` bytes together."""
        self.objects += objects
        self.bytes += size


@dataclass(frozen=True, slots=True)
class Summary:
    """What a store held when it was listed, `at` POSIX seconds by its clock.

    `rows` are the largest functions and mappings, largest first, `rest` adds up the `unnamed` others, and `total` all of
    them. `garbage` is what `s3memo gc` would delete by default, and `kept` counts what stays. `hint` is set if the store
    has no object of s3memo's.
    """

    url: str
    at: float
    rows: tuple[Row, ...]
    rest: Row
    unnamed: int
    total: Holding
    others: Mapping[Kind, Pile]
    history: History
    ages: Mapping[str, Amount]
    sizes: Mapping[str, Amount]
    largest: tuple[Living, ...]
    oldest: tuple[Living, ...]
    garbage: Mapping[Reason, Pile]
    kept: Mapping[Standing, int]
    hint: str = ""

    @property
    def objects(self) -> int:
        """The number of objects, foreign ones included."""
        return self.total.objects + sum(pile.objects for pile in self.others.values())

    @property
    def bytes(self) -> int:
        """Their size."""
        return self.total.bytes + sum(pile.bytes for pile in self.others.values())

    @property
    def collectable(self) -> Pile:
        """What `s3memo gc` would delete."""
        piles = self.garbage.values()
        return Pile(sum(pile.objects for pile in piles), sum(pile.bytes for pile in piles))

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON for scripts, with the names that `ls`, `du` and `gc` use."""
        return {
            "url": self.url,
            "at": moment(self.at).isoformat(),
            "objects": self.objects,
            "bytes": self.bytes,
            "total": {"entries": self.total.entries, "expired": self.total.expired, "objects": self.total.objects}
            | {"bytes": self.total.bytes, "seconds": round(self.total.seconds, 3)},
            "functions": [row.as_json(self.at) for row in self.rows],
            "rest": {**self.rest.as_json(self.at), "functions": self.unnamed},
            **{kind: _pile(pile) for kind, pile in self.others.items()},
            "history": {
                "step": self.history.step,
                "starts": [moment(start).isoformat() for start in self.history.starts()],
                "series": [_series(series) for series in self.history.series],
            },
            "ages": _classes(AGES, self.ages),
            "sizes": _classes(SIZES, self.sizes),
            "largest": [result.as_json() for result in self.largest],
            "oldest": [result.as_json() for result in self.oldest],
            "garbage": {
                **_pile(self.collectable),
                "reasons": {reason: _pile(pile) for reason, pile in self.garbage.items()},
                "kept": dict(self.kept),
            },
        }


def moment(at: float) -> datetime:
    """Return POSIX seconds as a datetime."""
    return datetime.fromtimestamp(at, UTC)


def _classes(bins: Mapping[int, str], amounts: Mapping[str, Amount]) -> dict[str, Any]:
    """Return each bin by its label, with its bounds in seconds or bytes."""
    bounds = zip(pairwise([*bins, None]), bins.values(), strict=True)
    return {label: {"from": low, "below": high, **_amount(amounts[label])} for (low, high), label in bounds}


def _amount(amount: Amount) -> dict[str, Any]:
    return {"entries": amount.entries, "bytes": amount.bytes, "seconds": amount.seconds}


def _pile(pile: Pile) -> dict[str, int]:
    return {"objects": pile.objects, "bytes": pile.bytes}


def _series(series: Series) -> dict[str, Any]:
    row = series.row
    return {
        "kind": row.kind if row else "rest",
        "name": row.name if row else "",
        "entries": [amount.entries for amount in series.amounts],
        "bytes": [amount.bytes for amount in series.amounts],
        "seconds": [amount.seconds for amount in series.amounts],
    }
