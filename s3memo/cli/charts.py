"""The geometry of a report's charts, in percent of the width and pixels of the height. Pure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple, TypeAlias

from s3memo.cli.bins import DAY, HOUR, WEEK
from s3memo.cli.screen import size, span
from s3memo.cli.summary import History, moment

Measure: TypeAlias = Literal["entries", "bytes", "seconds"]

PLOT_HEIGHT = 112
"""Pixels from the top tick to the base line."""
_MOST_INTERVALS = 4
_LABEL_PERCENT = {False: 15, True: 23}  # the width of a time label on a phone, without and with a year
_NOW_PERCENT = 91  # where the label "now" begins
_YEAR = 360 * DAY
_FILLED = 0.84  # of a column's slot
_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30)
_MINUTES = (60, 120, 300, 600, 1200, 1800)
_HOURS = (HOUR, 2 * HOUR, 5 * HOUR, 10 * HOUR)
_UNITS = ((DAY, "d"), (HOUR, "h"), (60, "min"), (1, "s"))
_STRIDES = {
    600: (3, 6, 12, 18, 36),
    HOUR: (3, 6, 12, 24, 48),
    6 * HOUR: (4, 8, 12, 28),
    DAY: (7, 14, 21, 28),
    WEEK: (4, 8, 13, 18, 26),
}  # columns between labels, by step, so that labels stand at round moments
_SPANS = {600: "10 minutes", HOUR: "hour", 6 * HOUR: "6 hours", DAY: "day", WEEK: "week"}


class Tick(NamedTuple):
    """A label on an axis, and its position: pixels from the top, or percent from the left."""

    at: float
    label: str


class Segment(NamedTuple):
    """One series' part of a column: the index of the series, and pixels from the top."""

    series: int
    y: float
    height: float


class Column(NamedTuple):
    """A column of a chart: percent from the left, segments from the base line up, and a tooltip."""

    x: float
    width: float
    segments: tuple[Segment, ...]
    title: str


@dataclass(frozen=True, slots=True)
class Chart:
    """One measure over time."""

    columns: tuple[Column, ...]
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]


def draw(history: History, measure: Measure, names: Sequence[str]) -> Chart:
    """Return the chart of a measure; `names` are those of its series."""
    in_words = IN_WORDS[measure]
    values = [[getattr(amount, measure) for amount in series.amounts] for series in history.series]
    totals = [sum(column) for column in zip(*values, strict=True)]
    scale = ticks(max(totals, default=0), measure)
    share = 100 / max(len(totals), 1)
    columns = []
    for place, (start, total) in enumerate(zip(history.starts(), totals, strict=True)):
        parts = [each[place] for each in values]
        lines = [f"{_when(start, history.step)}: {in_words(total)}"]
        if total:
            lines += [f"{name}: {in_words(part)}" for name, part in zip(names, parts, strict=True) if part]
        x = (place + (1 - _FILLED) / 2) * share
        columns.append(Column(x, share * _FILLED, _stacked(parts, scale[-1]), "\n".join(lines)))
    across = time_ticks(history.starts(), history.step)
    shown = scale if any(totals) else scale[:1]
    up = tuple(Tick(PLOT_HEIGHT * (1 - value / scale[-1]), AXIS[measure](value, scale[1])) for value in shown)
    return Chart(tuple(columns), across, up)


def per(step: int) -> str:
    """Return the width of a column in words: "day", "4 weeks"."""
    return _SPANS.get(step, f"{step // WEEK} weeks")


def ticks(most: float, measure: Measure) -> list[float]:
    """Return a few round numbers, evenly spaced, from 0 to at least `most`."""
    ladder = _durations() if measure == "seconds" else _decimals()
    distance = next(distance for distance in ladder if distance * _MOST_INTERVALS >= most)
    return [distance * place for place in range(max(math.ceil(most / distance), 1) + 1)]


def time_ticks(starts: Sequence[int], step: int) -> tuple[Tick, ...]:
    """Return labels for a time axis, at round moments and far enough apart not to overlap."""
    count = len(starts)
    if not count:
        return ()
    with_year = count * step > _YEAR
    room = _LABEL_PERCENT[with_year]
    strides = itertools.chain(_STRIDES.get(step, ()), itertools.count(1))
    stride = next(stride for stride in strides if 100 * stride / count >= room)
    places = range(_offset(starts, step, stride), count, stride)
    marks = (Tick(100 * place / count, _label(moment(starts[place]), step, with_year=with_year)) for place in places)
    return *(mark for mark in marks if mark.at + room <= _NOW_PERCENT), Tick(100, "now")


def _offset(starts: Sequence[int], step: int, stride: int) -> int:
    """Return the first column to label: labels stand at multiples of the stride, counted from a Monday."""
    return -((starts[0] - 4 * DAY) // step) % stride


def _stacked(parts: Sequence[float], top: float) -> tuple[Segment, ...]:
    segments, below = [], 0.0
    for series, part in enumerate(parts):
        if part:
            height = PLOT_HEIGHT * part / top
            segments.append(Segment(series, PLOT_HEIGHT - below - height, height))
            below += height
    return tuple(segments)


def _decimals() -> itertools.chain[float]:
    return itertools.chain.from_iterable((10**power, 2 * 10**power, 5 * 10**power) for power in itertools.count())


def _durations() -> itertools.chain[float]:
    days = (DAY * each for each in _decimals())
    return itertools.chain(_SECONDS, _MINUTES, _HOURS, days)


def _when(start: int, step: int) -> str:
    first = moment(start)
    if step < DAY:
        return f"{first:%Y-%m-%d %H:%M}"
    return f"{first:%Y-%m-%d}" if step == DAY else f"{per(step)} from {first:%Y-%m-%d}"


def _label(at: datetime, step: int, *, with_year: bool) -> str:
    if with_year:
        return f"{at:%b %Y}"
    return f"{at:%H:%M}" if step < DAY and (at.hour, at.minute) != (0, 0) else f"{at.day} {at:%b}"


def _count(value: float, _distance: float = 0) -> str:
    for power, unit in ((9, "G"), (6, "M"), (3, "k")):
        if value >= 10 * 10**power or (value >= 10**power and not value % 10**power):
            return f"{value / 10**power:g}{unit}"
    return f"{value:g}"


def _bytes(value: float, _distance: float = 0) -> str:
    return size(int(value)).replace(".0 ", " ").replace("bytes", "B") if value else "0"


def _duration(value: float, distance: float) -> str:
    length, unit = next(((length, unit) for length, unit in _UNITS if distance >= length), _UNITS[-1])
    return f"{_count(value / length)} {unit}" if value else "0"


IN_WORDS: dict[Measure, Callable[[Any], str]] = {
    "entries": lambda count: f"{count:,} {'entry' if count == 1 else 'entries'}",
    "bytes": size,
    "seconds": span,
}
"""A measure in words."""
AXIS: dict[Measure, Callable[[float, float], str]] = {"entries": _count, "bytes": _bytes, "seconds": _duration}
"""Formats a number on an axis, given the distance between labels."""
