"""Numbered names, and what a listing of them means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3memo.sequences import (
    RETENTION,
    TRUST,
    Chain,
    StateVersion,
    lease_prefix,
    parse_sequence,
    sequence_name,
    state_prefix,
)
from s3memo.stores.base import ObjectInfo

LIMIT = 2**56 - 1
numbers = st.integers(1, LIMIT)


@given(numbers)
def test_a_name_tells_its_number(number: int) -> None:
    assert parse_sequence(sequence_name(number)) == number


@given(numbers, numbers)
def test_a_higher_number_sorts_first(one: int, other: int) -> None:
    assert (one > other) == (sequence_name(one) < sequence_name(other))


@given(st.text(alphabet="0123456789abcdefF.s3\n", max_size=20))
def test_what_parses_is_a_name_of_ours(text: str) -> None:
    number = parse_sequence(text)
    assert number is None or sequence_name(number) == text


@pytest.mark.parametrize(
    "name",
    ["", "ffffffffffffff.s3s", "fffffffffffffe.s3m", "FFFFFFFFFFFFFE.s3s", "fffffffffffffe.s3s~", "ffffffffffffe.s3s"],
)
def test_a_foreign_name_has_no_number(name: str) -> None:
    assert parse_sequence(name) is None


@pytest.mark.parametrize("number", [0, -1, LIMIT + 1])
def test_a_number_out_of_range_has_no_name(number: int) -> None:
    with pytest.raises(ValueError, match="between 1 and"):
        sequence_name(number)


def test_a_name_is_one_part_of_the_object_key() -> None:
    assert state_prefix("a/b") == "v1/state/a=2fb/"
    assert lease_prefix("a/b") == "v1/lease/a=2fb/"


def version(number: int, written: float) -> StateVersion:
    return StateVersion(number, 100, written)


def chain(*written: float) -> Chain:
    """Return a chain of versions 1, 2, … written at these times."""
    return Chain(tuple(version(number, at) for number, at in enumerate(written, start=1))[::-1])


def test_a_listing_shows_what_is_ours() -> None:
    infos = [
        ObjectInfo("v1/state/job/fffffffffffffc.s3s", 0, 7.0),
        ObjectInfo("v1/state/job/fffffffffffffd.s3s.bak", 1, 6.0),
        ObjectInfo("v1/state/job/fffffffffffffe.s3s", 5, 5.0),
    ]
    found = Chain.of(infos, "v1/state/job/", listed_at=8.0)
    assert found == Chain((StateVersion(3, 0, 7.0), StateVersion(1, 5, 5.0)), 8.0)
    assert found.number == 3
    assert found.newest is not None
    assert found.newest.cleared
    assert found.find(1) == StateVersion(1, 5, 5.0)
    assert found.find(2) is None
    assert Chain().newest is None
    assert Chain().number == 0


def test_a_version_is_due_an_hour_after_its_successor() -> None:
    three = chain(0, 10, 20)
    assert three.due(keep=1, now=10 + RETENTION - 0.1) == []
    assert three.due(keep=1, now=10 + RETENTION) == [1]
    assert three.due(keep=1, now=20 + RETENTION) == [1, 2]
    assert three.due(keep=2, now=20 + RETENTION) == [1]
    assert three.due(keep=3, now=20 + RETENTION) == []
    assert three.due(keep=0, now=1e9) == [1, 2]


@given(st.lists(st.floats(0, 1e6)), st.integers(0, 5), st.floats(0, 2e6))
def test_the_newest_is_never_due(written: list[float], keep: int, now: float) -> None:
    shown = chain(*written)
    due = shown.due(keep=keep, now=now)
    assert shown.number not in due
    assert due == sorted(due)
    assert len(due) <= max(len(written) - keep, 0)


def test_a_version_counts_from_when_it_was_written() -> None:
    three = chain(10, 20, 30)
    assert three.at(9) is None
    assert three.at(10) == version(1, 10)
    assert three.at(29.9) == version(2, 20)
    assert three.at(1e9) == version(3, 30)


def test_a_version_whose_successor_is_gone_is_not_known_to_have_counted() -> None:
    gapped = Chain((version(6, 60), version(5, 50), version(2, 20), version(1, 10)))
    assert gapped.at(70) == version(6, 60)
    assert gapped.at(50) == version(5, 50)
    assert gapped.at(49) is None
    assert gapped.at(20) is None
    assert gapped.at(19) == version(1, 10)


def test_a_version_written_long_after_the_next_is_late() -> None:
    assert not chain(10, 20, 30).shows_late(2)
    assert not chain(10, 20, 30).shows_late(3)
    assert not chain(10, 30 + TRUST, 30).shows_late(2)
    assert chain(10, 31 + TRUST, 30).shows_late(2)
    assert not chain(10, 20).shows_late(7)
