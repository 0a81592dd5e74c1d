"""Where things are in a chart."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3memo.cli.bins import ORIGIN, STEPS, Amount
from s3memo.cli.charts import AXIS, IN_WORDS, PLOT_HEIGHT, Measure, draw, ticks, time_ticks
from s3memo.cli.summary import History, Row, Series

MEASURES: list[Measure] = ["entries", "bytes", "seconds"]
AMOUNTS = st.builds(Amount, st.integers(0, 10**8), st.integers(0, 10**16), st.integers(0, 10**17))


@st.composite
def histories(draw: st.DrawFn) -> History:
    step = draw(st.sampled_from(STEPS))
    count, series = draw(st.integers(1, 90)), draw(st.integers(1, 6))
    columns = st.lists(AMOUNTS | st.just(Amount()), min_size=count, max_size=count).map(tuple)
    return History(
        step,
        ORIGIN + draw(st.integers(0, 2_000_000_000 // step)) * step,
        tuple(Series(Row("function", f"f{number}"), draw(columns)) for number in range(series)),
    )


@given(histories(), st.sampled_from(MEASURES))
def test_what_is_drawn_is_what_there_is(history: History, measure: Measure) -> None:
    chart = draw(history, measure, [series.row.name for series in history.series if series.row])
    values = [[getattr(amount, measure) for amount in series.amounts] for series in history.series]
    totals = [sum(column) for column in zip(*values, strict=True)]
    top = ticks(max(totals), measure)[-1]
    assert len(chart.columns) == len(totals)
    for place, (column, total) in enumerate(zip(chart.columns, totals, strict=True)):
        assert IN_WORDS[measure](total) in column.title
        assert sum(part.height for part in column.segments) == pytest.approx(PLOT_HEIGHT * total / top)
        assert {part.series for part in column.segments} == {at for at, each in enumerate(values) if each[place]}
        assert all(part.y >= -1e-6 and part.y + part.height <= PLOT_HEIGHT + 1e-6 for part in column.segments)
        for lower, upper in pairwise(column.segments):
            assert upper.y + upper.height == pytest.approx(lower.y, abs=1e-9)
    assert all(column.x >= 0 and column.x + column.width <= 100 for column in chart.columns)
    assert all(left.x + left.width < right.x for left, right in pairwise(chart.columns))


@given(st.integers(0, 10**18) | st.floats(0, 10**15), st.sampled_from(MEASURES))
def test_an_axis_has_few_round_numbers_that_reach_the_highest(most: float, measure: Measure) -> None:
    values = ticks(most, measure)
    labels = [AXIS[measure](value, values[1]) for value in values]
    assert values[0] == 0
    assert values[-1] >= most
    assert values[-2] <= most
    assert len(values) <= 5
    assert len(set(labels)) == len(labels)
    assert max(map(len, labels)) <= 10


@pytest.mark.parametrize(
    ("most", "measure", "labels"),
    [
        (0, "entries", ["0", "1"]),
        (3, "entries", ["0", "1", "2", "3"]),
        (41_000, "entries", ["0", "20k", "40k", "60k"]),
        (5_300, "bytes", ["0", "2 kB", "4 kB", "6 kB"]),
        (900, "bytes", ["0", "500 B", "1 kB"]),
        (0.004, "seconds", ["0", "0.001 s", "0.002 s", "0.003 s", "0.004 s"]),
        (90, "seconds", ["0", "30 s", "60 s", "90 s"]),
        (3 * 3600, "seconds", ["0", "1 h", "2 h", "3 h"]),
        (100_000, "seconds", ["0", "10 h", "20 h", "30 h"]),
        (30 * 86_400, "seconds", ["0", "10 d", "20 d", "30 d"]),
    ],
)
def test_labels_are_short(most: float, measure: Measure, labels: list[str]) -> None:
    values = ticks(most, measure)
    assert [AXIS[measure](value, values[1]) for value in values] == labels


@given(histories())
def test_labels_of_moments_do_not_meet(history: History) -> None:
    *marks, now = time_ticks(history.starts(), history.step)
    assert now == (100, "now")
    room = {5: 15, 6: 15, 8: 23}
    for left, right in pairwise([*marks, now]):
        assert right.at - left.at >= room[len(left.label)] - 9 * (right is now)


@pytest.mark.parametrize(
    ("step", "count", "first", "labels"),
    [
        (600, 12, 1_764_151_200, ["10:00", "10:30", "11:00", "11:30", "now"]),
        (86_400, 30, 1_764_115_200, ["1 Dec", "8 Dec", "15 Dec", "now"]),
        (86_400, 60, 1_764_115_200, ["8 Dec", "22 Dec", "5 Jan", "now"]),
        (7 * 86_400, 20, ORIGIN + 2900 * 7 * 86_400, ["4 Aug", "1 Sep", "29 Sep", "27 Oct", "now"]),
        (7 * 86_400, 60, ORIGIN + 2900 * 7 * 86_400, ["Nov 2025", "Mar 2026", "now"]),
    ],
)
def test_labels_stand_at_round_moments(step: int, count: int, first: int, labels: list[str]) -> None:
    starts = [first + place * step for place in range(count)]
    assert [mark.label for mark in time_ticks(starts, step)] == labels
