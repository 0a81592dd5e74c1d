from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3memo.errors import SettingsError
from s3memo.freshness import MAX_AHEAD, Policy, judge, seconds

ages = st.floats(-1e6, 1e9)


@pytest.mark.parametrize(
    ("duration", "expected"),
    [
        (None, None),
        (0, 0.0),
        (1.5, 1.5),
        ("90s", 90.0),
        ("15m", 900.0),
        ("6h", 21_600.0),
        ("7d", 604_800.0),
        ("2w", 1_209_600.0),
        ("1.5h", 5400.0),
        (" 6 h ", 21_600.0),
        (timedelta(minutes=2), 120.0),
    ],
)
def test_durations(duration: Any, expected: float | None) -> None:
    assert seconds(duration, name="ttl") == expected


@pytest.mark.parametrize(
    "duration",
    [
        "",
        "6",
        "h",
        "6y",
        "-6h",
        "6h 5m",
        "99999999999w",
        "٦h",
        True,
        -1,
        float("nan"),
        float("inf"),
        1e12,
        timedelta.max,
        timedelta(-1),
        [6],
        b"6h",
    ],
)
def test_what_is_no_duration_is_refused_by_name(duration: Any) -> None:
    with pytest.raises(SettingsError, match="ttl="):
        seconds(duration, name="ttl")


@given(ages, st.none() | st.floats(0, 1e9))
def test_a_result_is_fresh_until_its_ttl_and_never_from_far_ahead(age: float, ttl: float | None) -> None:
    freshness = judge(age, Policy(ttl))
    if age < -MAX_AHEAD:
        assert freshness == "ahead"
    else:
        assert (freshness == "fresh") == (ttl is None or age < ttl)


@given(ages.filter(lambda age: age >= -MAX_AHEAD), st.floats(0, 1e6), st.floats(0, 1e6))
def test_what_was_fresh_to_a_strict_reader_is_fresh_to_a_patient_one(age: float, ttl: float, more: float) -> None:
    if judge(age, Policy(ttl)) == "fresh":
        assert judge(age, Policy(ttl + more)) == "fresh"
        assert judge(age, Policy(None)) == "fresh"
