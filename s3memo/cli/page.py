"""A report as one self-contained HTML page: a pure function of its data.

All text from a store is escaped by the template. The page has no script, and its own security policy forbids scripts
and requests.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from base64 import b64encode
from collections.abc import Mapping
from importlib.resources import files
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined

from s3memo._about import __version__
from s3memo.cli.bins import DAY, Amount
from s3memo.cli.charts import PLOT_HEIGHT, Measure, draw, per
from s3memo.cli.inventory import Living, split_prefix
from s3memo.cli.plain import plain
from s3memo.cli.screen import moment as in_words
from s3memo.cli.screen import size, span
from s3memo.cli.summary import Row, Series, Summary, moment
from s3memo.cli.tally import COLOURED
from s3memo.garbage import Reason, Standing

MARK = '<meta name="generator" content="s3memo '
"""Identifies a file as a report."""

_WHY: Mapping[Reason, str] = {
    "expired": "results that expired over a week ago",
    "superseded": "versions that newer ones replaced, those of results and states over a week ago",
    "buried": "results made void by an invalidation",
    "old": "results older than --older-than",
    "tag": "results of a --tag",
    "tombstone": "invalidations with nothing left to bury",
    "lease": "leases that lapsed long ago",
    "trial": "what a trial of the store left when it was killed",
}
_STAYS: Mapping[Standing, str] = {
    "newest": "what readers get",
    "keep": "versions of states to roll back to",
    "grace": "outdated for less than a week",
    "cover": "hide older ones that stay",
    "tombstone": "invalidations that may have to bury",
    "marker": "what was found out of the store",
    "foreign": "not written by s3memo",
}
_NAMES = {"state": "states", "lease": "leases", "probe": "probes", "foreign": "foreign objects"}
_MANY = 10**7  # from here on numbers are too wide
_LONG = 10_000 * DAY
_YEAR = 365.25 * DAY
_GREY = COLOURED  # the colour after the others
_CHARTS: Mapping[Measure, str] = {"entries": "Entries", "bytes": "Stored bytes", "seconds": "Computing time held"}


class Cell(NamedTuple):
    """A number in a table: its text, its unit, and its percentage of the largest in the column."""

    number: str
    unit: str = ""
    percent: float | None = None


class Line(NamedTuple):
    """A line of a table; `colour` is the index of its series, if it has one."""

    name: str
    cells: tuple[Cell, ...]
    colour: int | None = None
    notes: tuple[str, ...] = ()
    title: str = ""
    is_total: bool = False


def render(summary: Summary) -> str:
    """Return the page as HTML."""
    folder = files("s3memo.cli").joinpath("templates")
    style = folder.joinpath("report.css").read_text(encoding="utf-8")
    digest = b64encode(hashlib.sha256(f"\n{style}".encode()).digest()).decode()
    return (
        _environment()
        .get_template("report.html")
        .render(
            version=__version__,
            mark=MARK,
            style=style,
            digest=digest,
            url=plain(summary.url),
            hint=plain(summary.hint),
            taken=in_words(moment(summary.at)),
            command=f"s3memo gc --url {shlex.quote(plain(summary.url))}",
            plot_height=PLOT_HEIGHT,
            tiles=_tiles(summary),
            functions=_functions(summary),
            others=_others(summary),
            legend=[_name(series) for series in summary.history.series],
            colours=[place if series.row else _GREY for place, series in enumerate(summary.history.series)],
            per=per(summary.history.step),
            charts=_charts(summary),
            ages=_distribution(summary.ages),
            sizes=_distribution(summary.sizes),
            largest=[_call(result) for result in summary.largest],
            oldest=[_call(result) for result in summary.oldest],
            garbage=_garbage(summary),
            kept=[Line(_STAYS[reason], (_count(number),)) for reason, number in _by_number(summary.kept)],
        )
    )


def _environment() -> Environment:
    environment = Environment(
        autoescape=True,
        loader=PackageLoader("s3memo.cli"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["parts"] = _parts
    return environment


def _tiles(summary: Summary) -> list[dict[str, Any]]:
    total, going = summary.total, summary.collectable
    entries = f"of {_owners(summary)}" + (f"; {total.expired:,} more have expired" if total.expired else "")
    tiles = [
        ("Entries", entries, _count(total.entries)),
        ("Stored", f"in {_counted(summary.objects, 'object')}", _size(summary.bytes)),
        ("Computing time held", "what the entries took to compute", _span(total.seconds)),
        ("Garbage to collect", f"{_counted(going.objects, 'object')} that s3memo gc would delete", _size(going.bytes)),
    ]
    return [{"name": name, "note": note, "cell": cell} for name, note, cell in tiles]


def _owners(summary: Summary) -> str:
    count = len(summary.rows) + summary.unnamed
    if summary.unnamed or any(row.kind == "mapping" for row in summary.rows):
        return f"{count:,} functions and mappings"
    return _counted(count, "function")


def _functions(summary: Summary) -> list[Line]:
    places = {id(series.row): place for place, series in enumerate(summary.history.series) if series.row}
    rows = [*summary.rows, *([summary.rest] if summary.unnamed else ())]
    most = [max(values, default=0) for values in zip(*map(_measures, summary.rows), strict=True)] or [0, 0, 0]
    lines = []
    for row in rows:
        entries, held, seconds = _measures(row)
        age = row.holding.newest_age(summary.at)
        is_rest = row is summary.rest
        limits = [None, None, None] if is_rest else most
        newest = Cell("") if age is None else _span(age)
        cells = _count(entries, limits[0]), _size(held, limits[1]), _span(seconds, limits[2]), newest
        name = _counted(summary.unnamed, "other") if is_rest else plain(row.name)
        lines.append(Line(name, cells, places.get(id(row)), _notes(row)))
    return lines


def _measures(row: Row) -> tuple[int, int, float]:
    return row.holding.entries, row.holding.bytes, row.holding.seconds


def _notes(row: Row) -> tuple[str, ...]:
    notes = {
        "mapping": row.kind == "mapping",
        f"{row.tags:,} tags": row.tags > 1,
        f"{row.holding.expired:,} expired": row.holding.expired,
    }
    return tuple(note for note, holds in notes.items() if holds)


def _others(summary: Summary) -> list[Line]:
    return [
        Line(_NAMES[kind], (_count(pile.objects), _size(pile.bytes)))
        for kind, pile in summary.others.items()
        if pile.objects
    ]


def _name(series: Series) -> str:
    row = series.row
    return "all others" if row is None else plain(row.name) + (" (mapping)" if row.kind == "mapping" else "")


def _charts(summary: Summary) -> list[dict[str, Any]]:
    names = [_name(series) for series in summary.history.series]
    return [{"title": title, "chart": draw(summary.history, measure, names)} for measure, title in _CHARTS.items()]


def _distribution(amounts: Mapping[str, Amount]) -> list[Line]:
    entries, held, seconds = (
        max(getattr(amount, name) for amount in amounts.values()) for name in ("entries", "bytes", "seconds")
    )
    return [
        Line(label, (_count(each.entries, entries), _size(each.bytes, held), _span(each.seconds, seconds)))
        for label, each in amounts.items()
    ]


def _call(result: Living) -> Line:
    """Return a line for one call: its function, with the rest of the key as a note."""
    owner, digest = split_prefix(result.prefix)
    version, left = result.version, result.left
    until = Cell("never") if left is None else Cell("expired") if result.is_expired else _span(left)
    cells = (_size(result.size), _span(result.age), _span(version.elapsed / 1000), until)
    rest = plain("/".join(filter(None, (owner.tag, digest))))
    return Line(plain(owner.name), cells, notes=(rest,), title=plain(str(result)))


def _garbage(summary: Summary) -> list[Line]:
    piles = summary.garbage
    objects, held = (max((getattr(pile, name) for pile in piles.values()), default=0) for name in ("objects", "bytes"))
    lines = [
        Line(reason, (_count(pile.objects, objects), _size(pile.bytes, held)), notes=(_WHY[reason],))
        for reason, pile in piles.items()
    ]
    if len(lines) > 1:
        going = summary.collectable
        lines.append(Line("in all", (_count(going.objects), _size(going.bytes)), is_total=True))
    return lines


def _by_number(kept: Mapping[Standing, int]) -> list[tuple[Standing, int]]:
    return sorted(kept.items(), key=lambda item: (-item[1], item[0]))


def _parts(name: str) -> list[str]:
    """Split a name where a line may be broken."""
    return re.split(r"(?<=[._/])(?=[^._/])", name)


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}" if count else f"no {what}s"


def _count(count: int, most: float | None = None) -> Cell:
    if count < _MANY:
        return Cell(f"{count:,}", "", _percent(count, most))
    return Cell(f"{count / 10**6:,.1f}", "M", _percent(count, most))


def _size(count: int, most: float | None = None) -> Cell:
    number, _, unit = size(count).replace("bytes", "B").replace("byte", "B").partition(" ")
    return Cell(number, unit, _percent(count, most)) if count else Cell("0", "", _percent(0, most))


def _span(seconds: float, most: float | None = None) -> Cell:
    number, _, unit = span(seconds).partition(" ")
    if seconds > _LONG:
        number, unit = f"{seconds / _YEAR:,.0f}", "y"
    return Cell(number, unit, _percent(seconds, most)) if seconds else Cell("0", "", _percent(0, most))


def _percent(number: float, most: float | None) -> float | None:
    return None if most is None else 100 * number / most if most else 0.0
