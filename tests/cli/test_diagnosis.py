"""What is wrong with a store is found, whatever it is, and told with its remedy; nothing is left there."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3memo import MemoryStore
from s3memo.cli.bucket import BucketSettings, parse_rules
from s3memo.cli.diagnosis import Diagnosis, diagnose, percentiles
from s3memo.cli.examination import SAMPLES, Examination, Facts
from s3memo.cli.lifecycle import make_rules
from s3memo.createonly import ROUNDS, WRITERS, marker_of
from s3memo.errors import NotFoundError, StoreAccessError, StoreNotSupportedError, StoreUnavailableError
from s3memo.settings import parse_url
from s3memo.stores.base import Buffer, ObjectInfo, PutMode, TimeBounds

ALL = frozenset({"memo", "fleet", "state"})


def examined(store: MemoryStore, other: MemoryStore | None = None) -> Diagnosis:
    examination = Examination(store, other or store, clock=lambda: 1_790_000_000.0)
    examination.run()
    examination.clean_up()
    return diagnose(examination.facts)


class StillStore(MemoryStore):
    """A store with nothing wrong, whose clock stands still."""

    def __init__(self) -> None:
        super().__init__(clock=lambda: 1_790_000_000.0)


class Unordered(StillStore):
    def list(self, prefix: str, *, start_after: str = "", limit: int | None = None) -> Iterator[ObjectInfo]:
        found = super().list(prefix, start_after=start_after, limit=limit)
        return iter(sorted(found, key=lambda info: info.key.lower()))


class Refusing(StillStore):
    """As S3Store, which notices by itself."""

    def list(self, prefix: str, *, start_after: str = "", limit: int | None = None) -> Iterator[ObjectInfo]:
        if limit is None:
            raise StoreNotSupportedError("the server lists 'a' after 'b': s3memo needs ascending UTF-8 order")
        return super().list(prefix, start_after=start_after, limit=limit)


class FromTheStart(StillStore):
    def list(self, prefix: str, *, start_after: str = "", limit: int | None = None) -> Iterator[ObjectInfo]:
        return super().list(prefix, limit=limit)


class Forgetful(StillStore):
    def list(self, prefix: str, *, start_after: str = "", limit: int | None = None) -> Iterator[ObjectInfo]:
        return (
            info for info in super().list(prefix, start_after=start_after, limit=limit) if not info.key.endswith("n3")
        )


class Keeping(StillStore):
    """Shows for a while what was deleted."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[ObjectInfo] = []

    def delete(self, object_keys: Iterable[str]) -> None:
        gone = [*object_keys]
        self.shown += [info for info in super().list("") if info.key in gone and not info.key.endswith("trial")]
        super().delete(gone)

    def list(self, prefix: str, *, start_after: str = "", limit: int | None = None) -> Iterator[ObjectInfo]:
        yield from super().list(prefix, start_after=start_after, limit=limit)
        yield from (info for info in self.shown if info.key.startswith(prefix))


class IgnoringCreate(StillStore):
    def put(self, object_key: str, data: Buffer, *, mode: PutMode = "overwrite") -> None:
        super().put(object_key, data)


class Ahead(StillStore):
    def time(self) -> TimeBounds:
        return TimeBounds(1_790_003_600.0, 1_790_003_601.0)


class Vague(StillStore):
    def time(self) -> TimeBounds:
        return TimeBounds(1_789_999_980.0, 1_790_000_020.0)


class Timeless(StillStore):
    def time(self) -> TimeBounds:
        raise StoreNotSupportedError("the server answers without a Date header: use a server that sends one")


class Hiding(StillStore):
    def get(self, object_key: str) -> bytes:
        try:
            return super().get(object_key)
        except NotFoundError:
            raise StoreAccessError("403; grant it") from None


class Unreadable(StillStore):
    def get(self, object_key: str) -> bytes:
        raise StoreAccessError("403; grant s3:GetObject")


class Undeletable(StillStore):
    def delete(self, object_keys: Iterable[str]) -> None:
        raise StoreAccessError("403; grant s3:DeleteObject")


class Unwritable(StillStore):
    def put(self, object_key: str, data: Buffer, *, mode: PutMode = "overwrite") -> None:
        raise StoreUnavailableError("503; try again later")


@pytest.mark.parametrize(
    ("kind", "where", "text", "remedy", "broken"),
    [
        (Unordered, "problem: order", "is listed before 'a", "lists as S3 does", ALL),
        (Refusing, "problem: order", "lists 'a' after 'b'", "lists as S3 does", ALL),
        (
            FromTheStart,
            "problem: order",
            "that is to start after '.*' does not",
            "lists as S3 does",
            ALL,
        ),
        (Forgetful, "problem: consistency", "does not show the object", "strong consistency", ALL),
        (Keeping, "problem: consistency", "right after the DELETE", "strong consistency", ALL),
        (IgnoringCreate, "problem: create-only", "6 were told", "keep them in a store", frozenset({"fleet", "state"})),
        (Ahead, "warning: clock", r"between \+3600.00 and \+3601.00 s ahead", "set this machine's clock", frozenset()),
        (Vague, "warning: clock", "which is vague", "NTP", frozenset()),
        (Timeless, "problem: clock", "without a Date header", "use a server that sends one", ALL),
        (Hiding, "problem: absent objects", "like a forbidden one", "StringLikeIfExists", ALL),
        (Unreadable, "problem: access", "403", "s3:GetObject", ALL),
        (Undeletable, "problem: access", "403", "s3:DeleteObject", ALL),
        (Unwritable, "problem: access", "503", "try again later", ALL),
    ],
)
def test_each_fault_is_found_with_its_remedy(
    kind: type[StillStore], where: str, text: str, remedy: str, broken: frozenset[str]
) -> None:
    diagnosis = examined(kind())
    found = [finding for finding in diagnosis.findings if finding.level in {"warning", "problem"}]
    assert f"{found[0].level}: {found[0].subject}" == where
    assert re.search(text, found[0].text)
    assert remedy in found[0].remedy
    assert {service for service, subjects in diagnosis.broken.items() if subjects} >= broken
    if not broken:
        assert not any(diagnosis.broken.values())


def test_another_connection_that_sees_an_old_state_is_found() -> None:
    texts = [
        finding.text for finding in examined(StillStore(), StillStore()).findings if finding.subject == "consistency"
    ]
    assert texts == [
        "from another connection, a GET right after the PUT does not find what was written",
        "from another connection, a LIST right after the PUT does not show the object",
    ]


def test_a_store_without_faults_has_no_findings_and_nothing_in_it() -> None:
    store = StillStore()
    diagnosis = examined(store)
    assert {finding.level for finding in diagnosis.findings} == {"ok", "note"}
    assert not any(diagnosis.broken.values())
    assert not list(store.list(""))


def test_what_cannot_be_deleted_is_named_and_is_little() -> None:
    store = Undeletable()
    finding = examined(store).findings[-1]
    (left,) = store.list("")
    assert finding.subject == "clean-up"
    assert left.key in finding.text


def test_a_marker_that_is_no_longer_true_is_taken_away() -> None:
    """Or jobs would go on relying on it."""
    store = IgnoringCreate()
    store.put(marker_of(store), b"create-only held")
    store.put("v1/probe/foreign", b"")
    examined(store)
    assert [info.key for info in store.list("")] == ["v1/probe/foreign"]


@given(st.lists(st.floats(0, 1e4), min_size=1, max_size=3 * SAMPLES))
def test_percentiles_are_measured_values_in_order(seconds: list[float]) -> None:
    p50, p90, p99 = percentiles(seconds).values()
    assert p50 <= p90 <= p99 <= round(1000 * max(seconds), 2)
    assert {p50, p90, p99} <= {round(1000 * each, 2) for each in seconds}


# Lifecycle rules.


def rule(prefix: str = "", **action: Any) -> dict[str, Any]:
    return {"ID": "theirs", "Status": "Enabled", "Filter": {"Prefix": prefix}, **action}


ABORT = rule(AbortIncompleteMultipartUpload={"DaysAfterInitiation": 1})
EXPIRE = {"Expiration": {"Days": 30}}


@pytest.mark.parametrize(
    ("rules", "versioning", "found", "breaks"),
    [
        ([ABORT], "", [], ()),
        ([], "", ["aborts incomplete uploads"], ()),
        ([ABORT | {"Status": "Disabled"}], "", ["aborts incomplete uploads"], ()),
        ([ABORT | {"Filter": {"Prefix": "other/"}}], "", ["aborts incomplete uploads"], ()),
        ([ABORT | {"Filter": {"Tag": {"Key": "a", "Value": "b"}}}], "", ["aborts incomplete uploads"], ()),
        ([ABORT, rule("", **EXPIRE)], "", ["deletes states of jobs 30 days"], ("state",)),
        ([ABORT, rule("p/v1/state/job/", **EXPIRE)], "", ["deletes states of jobs"], ("state",)),
        ([ABORT, rule("p/v1/memo/", **EXPIRE)], "", ["deletes results 30 days"], ()),
        ([ABORT, rule("p/v1/memo/", Expiration={"Date": "2027-01-01"})], "", ["deletes results 0 days"], ()),
        ([ABORT, rule("p/v1/probe/", **EXPIRE)], "", [], ()),
        ([ABORT, rule("q/", **EXPIRE)], "", [], ()),
        ([ABORT, rule("", Expiration={"ExpiredObjectDeleteMarker": True})], "", [], ()),
        ([ABORT, {**rule(), **EXPIRE, "Filter": {"And": {"Prefix": "", "Tags": [{"Key": "a", "Value": "b"}]}}}], "", [], ()),
        ([ABORT, {**rule(), **EXPIRE, "Filter": {"ObjectSizeGreaterThan": 9}}], "", ["deletes states of jobs"], ("state",)),
        ([ABORT, {"ID": "old", "Status": "Enabled", "Prefix": "p/", **EXPIRE}], "", ["deletes states of jobs"], ("state",)),
        ([ABORT, rule("p/v1/memo/", Transitions=[{"Days": 9, "StorageClass": "GLACIER"}])], "", ["archives objects after 9"], ()),
        ([ABORT, rule("", Transitions=[{"Days": 9, "StorageClass": "STANDARD_IA"}])], "", [], ()),
        ([ABORT], "Enabled", ["kept and billed for ever"], ()),
        ([ABORT], "Suspended", ["kept and billed for ever"], ()),
        ([ABORT, rule("p/v1/", NoncurrentVersionExpiration={"NoncurrentDays": 1})], "Enabled", [], ()),
        (make_rules(parse_url("s3://b/p"))["Rules"], "Enabled", [], ()),
        (make_rules(parse_url("s3://b/p"), expire_after=9)["Rules"], "", ["deletes results 9"] * 2, ()),
    ],
)  # fmt: skip
def test_rules_are_judged_by_where_they_apply(
    rules: list[Any], versioning: str, found: list[str], breaks: tuple[str, ...]
) -> None:
    facts = Facts("s3://b/p", create_only=None)
    facts.bucket = BucketSettings("p/", versioning, {}, parse_rules({"Rules": rules}))
    diagnosis = diagnose(facts)
    texts = [finding.text for finding in diagnosis.findings if finding.level in {"warning", "problem"}]
    assert len(texts) == len(found)
    assert all(part in text for part, text in zip(found, texts, strict=True))
    assert tuple(service for service, subjects in diagnosis.broken.items() if subjects) == breaks


def test_a_default_retention_is_told() -> None:
    facts = Facts("s3://b/p", create_only=None)
    facts.bucket = BucketSettings("p/", "", {"Mode": "GOVERNANCE", "Years": 3}, parse_rules({"Rules": [ABORT]}))
    (finding,) = (finding for finding in diagnose(facts).findings if finding.level == "warning")
    assert "locks each object for 3 years" in finding.text


# Interrupts.


class Interrupting(StillStore):
    """Is interrupted once, before or after it does the request of some number."""

    def __init__(self, at: int, *, after: bool) -> None:
        super().__init__()
        self.left = at
        self.after = after
        self.lock = threading.Lock()

    def put(self, object_key: str, data: Buffer, *, mode: PutMode = "overwrite") -> None:
        with self.lock:
            self.left -= 1
            due = self.left == 0
        if due and not self.after:
            raise KeyboardInterrupt
        super().put(object_key, data, mode=mode)
        if due:
            raise KeyboardInterrupt


@pytest.mark.parametrize("after", [False, True])
def test_an_interrupt_at_any_write_leaves_nothing(after: bool) -> None:
    writes = 1 + SAMPLES + ROUNDS * WRITERS
    interrupts = 0
    for number in range(1, writes + 1):
        store = Interrupting(number, after=after)
        examination = Examination(store, store)
        try:
            examination.run()
        except KeyboardInterrupt:
            interrupts += 1
        finally:
            examination.clean_up()
        assert not list(store.list(""))
    assert interrupts >= (1 + SAMPLES if after else writes)  # after a race's write, only its winner gets so far
