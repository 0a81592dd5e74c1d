from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from s3memo.versions import (
    DAY,
    MAX_KEY_BYTES,
    Key,
    Listing,
    Version,
    base32,
    clearing,
    escape,
    namespace_prefix,
    parse_object_key,
    parse_version,
    tag_prefix,
    tombstone,
)

NOW = 1_790_000_000
LATEST = 2**56 - 1
DIGEST = "0123456789abcdefghijklmnopqrstuv"

moments = st.integers(0, LATEST)
nonces = st.binary(min_size=4, max_size=4).map(bytes.hex)
ttls = st.none() | st.integers(0, 10**12 - 1)


@st.composite
def versions(draw: st.DrawFn, around: int | None = None) -> Version:
    dates = moments if around is None else st.integers(around - 5, around + 5)
    created = draw(dates)
    if draw(st.booleans()):
        return tombstone(created, nonce=draw(nonces))
    order = max(created, draw(dates))
    return Version(order, created, draw(ttls), draw(st.integers(0, 10**15 - 1)), draw(nonces))


@given(versions())
@example(Version(LATEST, LATEST, 10**12 - 1, 10**15 - 1, "ffffffff"))
@example(Version(0, 0, 0, 0, "00000000"))
def test_a_name_parses_back_to_its_version(version: Version) -> None:
    assert parse_version(version.name) == version


@given(versions(around=NOW * 10**6), versions(around=NOW * 10**6))
def test_a_newer_version_sorts_first_in_utf8(one: Version, other: Version) -> None:
    if one.order != other.order:
        assert (one.order > other.order) == (one.name.encode() < other.name.encode())


@given(versions(), st.data())
def test_a_changed_name_is_foreign_or_says_something_else(version: Version, data: st.DataObject) -> None:
    name = version.name
    place = data.draw(st.integers(0, len(name)))
    inserted = data.draw(st.text(max_size=2))
    changed = name[:place] + inserted + name[place + data.draw(st.integers(0, 2)) :]
    parsed = parse_version(changed)
    assert parsed is None or parsed.name == changed


@given(st.text())
@example("ffffffffffffff_00010101T000000.000000Z_inf_0_00000000.s3m")
@example("f9a40125bb9b7b_20260931T141322.000004Z_inf_0_00000000.s3m")
@example("f9a40125bb9b7b_20260921T141322.000004Z_inf_0_00000000.s3m\n")
@example("f9a40125bb9b7b_20260921T141322.000004Z_07_0_00000000.s3m")
@example("f9a40125bb9b7b_\u0662\u0660\u0662\u06660921T141322.000004Z_inf_0_00000000.s3m")
def test_what_parses_is_written_so(name: str) -> None:
    parsed = parse_version(name)
    assert parsed is None or parsed.name == name


def test_names_read_as_the_documentation_says() -> None:
    moment = int(datetime(2026, 11, 23, 6, 30, 0, 123456, UTC).timestamp() * 10**6)
    version = Version(moment, moment, ttl=3600, elapsed=1500, nonce="0badcafe")
    assert version.name == f"{LATEST - moment:014x}_20261123T063000.123456Z_3600_1500_0badcafe.s3m"
    assert tombstone(moment, nonce="0badcafe").name.endswith("_20261123T063000.123456Z_inf_0_0badcafe.dead")


@pytest.mark.parametrize(
    "fields",
    [
        {"order": 5, "created": 6},
        {"order": 7, "created": 6, "dead": True},
        {"order": LATEST + 1, "created": 6},
        {"order": 5, "created": -1},
        {"ttl": 10**12},
        {"ttl": -1},
        {"elapsed": 10**15},
        {"elapsed": -1},
    ],
)
def test_versions_that_no_name_can_tell_cannot_be_made(fields: dict[str, Any]) -> None:
    possible = {"order": 6, "created": 6, "ttl": None, "elapsed": 0, "nonce": "00000000"}
    assert parse_version(Version(**possible).name)
    with pytest.raises(ValueError, match="version"):
        Version(**possible | fields)


@given(st.text(), st.text())
@example(".", "..")
@example("a/b", "a=2fb")
@example("x" * 181, "x" * 182)
@example("é" * 100, "é" * 101)
@example("\ud800", "\ud801")
def test_parts_are_escaped_injectively_and_safely(one: str, other: str) -> None:
    escaped = escape(one)
    assert re.fullmatch(r"[A-Za-z0-9._=-]{0,180}", escaped)
    assert escaped not in {".", ".."}
    assert (escaped == escape(other)) == (one == other)


@pytest.mark.parametrize("cut", range(130, 200))
def test_a_part_is_never_cut_inside_an_escape(cut: int) -> None:
    escaped = escape("x" * (cut % 3) + "é" * cut)
    assert len(escaped) <= 180
    assert re.fullmatch(r"x*(=[0-9a-f]{2})*(=h[0-9a-v]{32})?", escaped)


def test_no_object_key_is_longer_than_promised() -> None:
    key = Key("é" * 500, "ü" * 500, DIGEST)
    longest = Version(LATEST, LATEST, 10**12 - 1, 10**15 - 1, "ffffffff", dead=False)
    assert len((key.prefix + longest.name).encode()) <= MAX_KEY_BYTES


def test_a_keys_prefix_ends_in_a_slash_and_is_below_its_tag_and_function() -> None:
    key = Key("jobs.load", "tag", DIGEST)
    assert key.prefix == f"v1/memo/jobs.load/tag/{DIGEST}/"
    assert key.prefix.startswith(tag_prefix("jobs.load", "tag"))
    assert tag_prefix("jobs.load", "tag").startswith(namespace_prefix("jobs.load"))
    assert str(key) == f"jobs.load/tag/{DIGEST}"


@given(st.text(min_size=1), st.text(min_size=1), st.binary(min_size=20, max_size=20), versions())
def test_an_object_key_parses_back(namespace: str, tag: str, digest: bytes, version: Version) -> None:
    key = Key(namespace, tag, base32(digest))
    assert parse_object_key(key.prefix + version.name) == (key.prefix, version)


@pytest.mark.parametrize(
    "change",
    [
        lambda name: name.replace("v1/memo", "v1/state"),
        lambda name: name.replace(f"{DIGEST}/", ""),
        lambda name: name.replace(DIGEST, DIGEST.upper()),
        lambda name: name.replace(DIGEST, DIGEST[1:]),
        lambda name: name.replace("tag/", "t g/"),
        lambda name: name.replace("tag/", "tag//"),
        lambda name: name.replace("tag/", "ta=g/"),
        lambda name: f"more/{name}",
        lambda name: f"{name}.bak",
    ],
)
def test_foreign_object_keys_are_not_ours(change: object) -> None:
    name = Key("jobs.load", "tag", DIGEST).prefix + tombstone(NOW, nonce="00000000").name
    assert parse_object_key(name)
    assert parse_object_key(change(name)) is None  # type: ignore[operator]


def result(order: int, created: int | None = None, nonce: str = "00000000") -> Version:
    return Version(order, order if created is None else created, None, 0, nonce)


def listing_of(*seen: Version, full: bool = False) -> Listing:
    return Listing().extended(sorted(version.name for version in seen), now=(NOW, NOW), full=full)


def test_a_listing_skips_foreign_names_and_dates_over_a_day_ahead() -> None:
    horizon = NOW * 10**6 + DAY
    listing = Listing().extended(["notes.txt", result(horizon + 1).name, result(horizon).name], now=(NOW, NOW))
    assert listing.versions == (result(horizon),)


def test_a_tombstone_buries_what_began_before_it_whatever_its_order() -> None:
    slow = result(order=900, created=100)
    assert listing_of(slow, tombstone(100, nonce="00000000")).newest is None
    assert listing_of(slow, tombstone(99, nonce="00000000")).newest == slow
    late = result(order=850, created=850)
    assert listing_of(slow, tombstone(500, nonce="00000000"), late).newest == late


@given(st.lists(versions(around=1000), max_size=12), st.integers(1, 12))
def test_a_settled_page_says_what_the_whole_listing_says(seen: list[Version], size: int) -> None:
    whole = listing_of(*seen)
    first = sorted(version.name for version in seen)[:size]
    page = Listing().extended(first, now=(NOW, NOW), full=len(first) < len(seen))
    if page.settled:
        assert page.newest == whole.newest
        assert page.tombstone == whole.tombstone or whole.newest is None or not page.tombstone


@given(st.lists(versions(around=1000), max_size=12), st.integers(990, 1010))
def test_a_new_version_is_newer_than_all_seen_and_never_born_buried(seen: list[Version], begun: int) -> None:
    listing = listing_of(*seen)
    version = listing.next_version(begun / 10**6, ttl=None, elapsed=0, nonce="00000000")
    assert all(version.name < other.name for other in seen)
    assert listing_of(*seen, version).newest == version
    assert version.created >= int(begun / 10**6 * 10**6)


@given(st.lists(versions(around=1000), max_size=12), st.integers(1, 4))
def test_clean_up_spares_the_newest_tombstones_and_whatever_is_not_older(seen: list[Version], keep: int) -> None:
    listing = listing_of(*seen)
    for by in seen:
        doomed = listing.superseded(by, keep=keep)
        assert not any(version.dead or version.order >= by.order for version in doomed)
        assert [version.order for version in doomed] == sorted(version.order for version in doomed)
        spared = [v for v in seen if not v.dead and v.order < by.order and v not in doomed]
        assert len(set(spared)) <= keep - 1
        assert not doomed or min(v.order for v in [*spared, by]) >= doomed[-1].order


@given(st.lists(versions(around=1000), max_size=8), st.integers(990, 1010))
def test_an_invalidation_buries_all_that_any_earlier_writer_can_have_dated(seen: list[Version], at: int) -> None:
    """A writer that saw the tombstones here dates its version 1 µs after the newest of them."""
    grave = tombstone(at, nonce="11111111")
    listing = listing_of(*seen, grave)
    rival = listing.rival(grave)
    if rival is not None:
        grave = tombstone(rival.created + 2, nonce="22222222")
    assert all(grave.created >= version.created + 1 for version in seen if version.dead)
    assert all(version in listing.buried(grave) for version in seen), "as of a clock that was set back"
    assert grave not in listing.buried(grave)
    assert all(version.created <= grave.created for version in listing.buried(grave))
    assert {version for version in listing.versions if version.dead} - set(listing.buried(grave)) <= {grave}


@given(
    st.dictionaries(st.binary(min_size=20, max_size=20).map(base32), st.lists(versions(around=1000), max_size=6)),
    st.integers(1, 5),
)
def test_clearing_deletes_every_result_oldest_first_and_nothing_else(
    digests: dict[str, list[Version]], batch: int
) -> None:
    prefixes = {Key("f", "t", digest).prefix: seen for digest, seen in digests.items()}
    names = {prefix + version.name for prefix, seen in prefixes.items() for version in seen}
    far_ahead = result(NOW * 10**6 + DAY + 1).name
    foreign = {f"{prefix}notes.txt" for prefix in prefixes} | {"v1/memo/f/t/notes.txt"}
    foreign |= {prefix + far_ahead for prefix in prefixes}
    batches = list(clearing(sorted(names | foreign), latest=NOW, batch=batch))
    deleted = [name for names in batches for name in names]
    assert len(deleted) == len(set(deleted))
    assert set(deleted) == {name for name in names if name.endswith(".s3m")}
    assert all(0 < len(names) <= batch for names in batches)
    for number, names_of_batch in enumerate(batches):
        later = {name for names in batches[number:] for name in names}
        for prefix, seen in prefixes.items():
            ours = [prefix + version.name for version in sorted(set(seen), key=lambda v: v.name) if not version.dead]
            if ours and ours[0] in names_of_batch:
                assert not later & set(ours[1:]), "an older version outlives the newest"


def test_clearing_results_of_several_versions_takes_one_batch_more() -> None:
    prefixes = [Key("f", "t", base32(bytes(18) + number.to_bytes(2))).prefix for number in range(2000)]
    names = [prefix + result(5).name for prefix in prefixes] + [prefix + result(4).name for prefix in prefixes[::200]]
    assert [len(batch) for batch in clearing(sorted(names), latest=NOW, batch=1000)] == [1000, 1000, 10]


def test_clearing_results_of_one_version_each_takes_as_few_batches_as_can_be() -> None:
    names = [Key("f", "t", base32(bytes(18) + number.to_bytes(2))).prefix + result(5).name for number in range(2500)]
    assert [len(batch) for batch in clearing(names, latest=NOW, batch=1000)] == [1000, 1000, 500]
