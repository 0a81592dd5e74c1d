"""What a report adds up: nothing is lost, and nothing counted twice."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from s3memo.cli.bins import (
    AGES,
    LEAST_COLUMNS,
    MOST_COLUMNS,
    ORIGIN,
    SIZES,
    STEPS,
    WEEK,
    Amount,
    Histogram,
    Timeline,
)

AMOUNTS = st.builds(Amount, st.integers(0, 1), st.integers(0, 10**12), st.integers(0, 10**15))
LATEST = 1_764_000_000.5
MOMENTS = st.floats(0, LATEST + 86_400) | st.floats(LATEST - 100 * 86_400, LATEST)


def summed(amounts: list[Amount]) -> Amount:
    total = Amount()
    for amount in amounts:
        total.add(amount)
    return total


def test_each_step_is_a_multiple_of_the_one_before_so_that_columns_can_be_joined() -> None:
    assert all(wider % step == 0 for step, wider in itertools.pairwise(STEPS))
    assert MOST_COLUMNS * STEPS[-1] > 10_000 * 365.25 * 86_400 / 25  # 400 years


@given(st.lists(st.tuples(st.integers(-5, 10**11), AMOUNTS)), st.sampled_from([AGES, SIZES]))
def test_bins_sum_to_the_total(counted: list[tuple[int, Amount]], bins: dict[int, str]) -> None:
    histogram = Histogram(bins)
    for number, amount in counted:
        histogram.add(number, amount)
    assert summed(list(histogram.amounts.values())) == summed([amount for _, amount in counted])
    bounds = [*bins, 10**30]
    for place, label in enumerate(bins.values()):
        least, below = (bounds[place] if place else -(10**9)), bounds[place + 1]
        assert histogram.amounts[label] == summed([amount for number, amount in counted if least <= number < below])


@given(st.lists(st.tuples(st.sampled_from("abc"), MOMENTS, AMOUNTS), min_size=1), st.sets(st.sampled_from("abc")))
def test_columns_sum_to_the_total_and_hold_what_was_created_then(
    counted: list[tuple[str, float, Amount]], folded: set[str]
) -> None:
    timeline: Timeline[str] = Timeline(LATEST)
    for whose, created, amount in counted:
        timeline.add(whose, created, amount)
    timeline.fold(folded, "rest")
    assert timeline.start <= max(min(created for _, created, _ in counted), 0) + 1
    assert LEAST_COLUMNS <= len(timeline.places) <= MOST_COLUMNS
    for name in "abc":
        theirs = [(created, amount) for whose, created, amount in counted if whose == name and name not in folded]
        columns = timeline.amounts(name)
        assert summed(columns) == summed([amount for _, amount in theirs])
        for place, column in enumerate(columns):
            start = timeline.start + place * timeline.step
            within = [a for at, a in theirs if start <= min(int(at), int(LATEST)) < start + timeline.step]
            assert column == summed(within)
    assert summed(timeline.amounts("rest")) == summed([amount for whose, _, amount in counted if whose in folded])


@given(st.lists(MOMENTS, min_size=1))
def test_columns_are_as_narrow_as_they_can_be(moments: list[float]) -> None:
    timeline: Timeline[str] = Timeline(LATEST)
    for created in moments:
        timeline.add("a", created, Amount(1))
    oldest = min(int(created) for created in moments)
    fitting = [step for step in STEPS if (int(LATEST) - ORIGIN) // step - (oldest - ORIGIN) // step < MOST_COLUMNS]
    assert timeline.step == fitting[0]


def test_a_week_begins_on_a_monday() -> None:
    timeline: Timeline[str] = Timeline(LATEST)
    timeline.add("a", LATEST - 200 * 86_400, Amount(1))
    assert timeline.step == WEEK
    assert (timeline.start // 86_400 + 4) % 7 == 1  # 1970-01-01 was a Thursday
