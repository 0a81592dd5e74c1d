"""doctor finds what is wrong with a store, says what to do about it, and leaves nothing there."""

from __future__ import annotations

import itertools
import json
import queue
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from s3memo import LocalStore, S3Store, ServiceState
from s3memo.cli.bucket import read_settings
from s3memo.cli.policy import make_policy
from s3memo.settings import parse_url
from tests.cli.console import at, finish, s3memo, start
from tests.servers.ceph import as_guest
from tests.servers.proxy import CountingProxy
from tests.servers.recording import Behaviour, Exchange
from tests.servers.server import S3Server, free_port

ALL = {"memo": True, "fleet": True, "state": True}


def doctor(url: str, server: S3Server | None = None) -> tuple[int, dict[str, Any]]:
    run = s3memo("doctor", url, "--json", env=at(server))
    assert run.err == ""
    return run.code, json.loads(run.out)


def problems(report: dict[str, Any]) -> list[str]:
    """Which subjects have a finding that is neither well nor a note."""
    return [finding["subject"] for finding in report["findings"] if finding["level"] in {"warning", "problem"}]


def names(server: S3Server, bucket: str) -> list[str]:
    return [entry["Key"] for entry in server.client.list_objects_v2(Bucket=bucket).get("Contents", [])]


# What the process says of real stores.


@pytest.mark.parametrize("s3_server", ["moto", "ceph_s3"], indirect=True)
def test_a_good_bucket_is_called_good_and_left_as_it_was(s3_server: S3Server) -> None:
    bucket = s3_server.make_bucket()
    foreign = ["p/other", "p/v1/probe/theirs", "q"]
    for key in foreign:
        s3_server.client.put_object(Bucket=bucket, Key=key, Body=b"")
    code, report = doctor(f"s3://{bucket}/p", s3_server)
    assert (code, report["works"]) == (0, ALL)
    assert problems(report) == ["lifecycle"]  # no rule yet
    assert names(s3_server, bucket) == foreign
    assert set(report["latency_ms"]) == {"LIST", "GET", "PUT", "DELETE"}
    assert all(0 < each["p50"] <= each["p90"] <= each["p99"] for each in report["latency_ms"].values())
    low, high = report["clock_offset_seconds"]
    assert -2 < low <= high < 2


def test_a_directory_is_good(tmp_path: Path) -> None:
    code, report = doctor(f"file://{tmp_path}")
    assert (code, report["works"], problems(report)) == (0, ALL, [])
    assert not list(LocalStore(tmp_path).list(""))
    assert (
        report["findings"][-1]["text"] == "versions, object lock and lifecycle rules are asked of buckets in S3 alone"
    )


def test_memory_is_good() -> None:
    assert doctor("memory://")[1]["works"] == ALL


def test_a_server_that_ignores_create_only_is_found_out(rclone_s3: S3Server) -> None:
    bucket = rclone_s3.make_bucket()
    code, report = doctor(f"s3://{bucket}/p", rclone_s3)
    assert (code, report["works"]) == (0, {"memo": True, "fleet": False, "state": False})
    assert "create-only" in problems(report)
    left = names(rclone_s3, bucket)  # rclone brings back what was deleted while it was written side by side, but seldom
    assert all(name.startswith("p/v1/probe/") for name in left)


def test_ceph_does_not_enforce_create_only_in_a_versioned_bucket(ceph_s3: S3Server) -> None:
    """It was found by this doctor, in Ceph 16."""
    bucket = ceph_s3.make_bucket()
    assert ServiceState("job", S3Store(bucket, client_options=ceph_s3.client_options)).set(1)
    assert any(name.startswith("v1/probe/") for name in names(ceph_s3, bucket))
    ceph_s3.client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    code, report = doctor(f"s3://{bucket}", ceph_s3)
    assert (code, report["works"]) == (0, {"memo": True, "fleet": False, "state": False})
    assert not any(name.startswith("v1/probe/") for name in names(ceph_s3, bucket))  # nor what vouched for it


@pytest.mark.parametrize("s3_server", ["moto", "ceph_s3"], indirect=True)
def test_it_is_content_with_the_rules_that_lifecycle_prints(s3_server: S3Server) -> None:
    bucket = s3_server.make_bucket()
    rules: Any = json.loads(s3memo("lifecycle", f"s3://{bucket}/p", env=at()).out)
    s3_server.client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration=rules)
    if s3_server.name == "moto":  # for Ceph see above
        s3_server.client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    code, report = doctor(f"s3://{bucket}/p", s3_server)
    assert (code, report["works"], problems(report)) == (0, ALL, [])


def test_versions_and_a_lock_that_cost_are_found(moto: S3Server) -> None:
    bucket = f"{moto.make_bucket()}-locked"
    moto.client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    code, report = doctor(f"s3://{bucket}/p", moto)
    assert (code, problems(report)) == (0, ["versions", "lifecycle"])
    bucket += "-long"
    moto.client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    retention: Any = {"Mode": "GOVERNANCE", "Days": 3}
    lock: Any = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": retention}}
    moto.client.put_object_lock_configuration(Bucket=bucket, ObjectLockConfiguration=lock)
    settings = read_settings(S3Store(bucket, "p", client_options=moto.client_options), "p/")
    assert (settings.versioning, settings.rules) == ("Enabled", ())
    assert retention.items() <= settings.retention.items()  # type: ignore[union-attr]


def test_without_permission_each_one_that_is_missing_is_named(ceph_s3: S3Server) -> None:
    bucket = ceph_s3.make_bucket()
    code, report = doctor(f"s3://{bucket}/p", as_guest(ceph_s3))
    assert (code, report["works"]) == (1, dict.fromkeys(ALL, False))
    remedies = " ".join(finding["remedy"] for finding in report["findings"] if finding["subject"] == "access")
    assert all(action in remedies for action in ("s3:ListBucket", "s3:GetObject", "s3:PutObject", "s3:DeleteObject"))
    assert names(ceph_s3, bucket) == []


def test_questions_that_are_optional_may_be_forbidden(ceph_s3: S3Server) -> None:
    bucket = ceph_s3.make_bucket()
    document = make_policy(parse_url(f"s3://{bucket}/p"))
    for statement in document["Statement"]:
        statement |= {"Principal": {"AWS": ["arn:aws:iam:::user/guest"]}, "Condition": {}}
        statement["Resource"] = [
            f"arn:aws:s3:::{bucket}",
            f"arn:aws:s3:::{bucket}/*",
        ]  # as this Ceph has it: see policy
    ceph_s3.client.put_bucket_policy(Bucket=bucket, Policy=json.dumps(document))
    code, report = doctor(f"s3://{bucket}/p", as_guest(ceph_s3))
    assert (code, report["works"], problems(report)) == (0, ALL, [])
    needed = re.findall(r"\(needs (\S+)\)", " ".join(finding["text"] for finding in report["findings"]))
    assert needed == ["s3:GetBucketVersioning", "s3:GetBucketObjectLockConfiguration", "s3:GetLifecycleConfiguration"]


def test_who_may_only_read_is_told_so(ceph_s3: S3Server) -> None:
    bucket = ceph_s3.make_bucket()
    document = make_policy(parse_url(f"s3://{bucket}/p"), read_only=True)
    for statement in document["Statement"]:
        statement["Principal"] = {"AWS": ["arn:aws:iam:::user/guest"]}
    listing = document["Statement"][0]
    listing["Condition"] = {"StringLikeIfExists": listing["Condition"]["StringLike"]}
    ceph_s3.client.put_bucket_policy(Bucket=bucket, Policy=json.dumps(document))
    code, report = doctor(f"s3://{bucket}/p", as_guest(ceph_s3))
    assert code == 1
    assert {"level": "note", "text": "what is stored can be read"}.items() <= report["findings"][2].items()
    assert "S3MEMO_READ_ONLY=1" in report["findings"][2]["remedy"]


@pytest.mark.parametrize("s3_server", ["moto", "ceph_s3", "rclone_s3"], indirect=True)
def test_a_typo_is_one_problem(s3_server: S3Server) -> None:
    code, report = doctor("s3://no-such-bucket/p", s3_server)
    assert (code, problems(report)) == (1, ["access"])
    assert report["findings"][0]["remedy"] == "create the bucket, or correct its name or the endpoint"


def test_where_nobody_answers_it_says_so(moto: S3Server) -> None:
    nobody = S3Server("nobody", f"http://127.0.0.1:{free_port()}")
    code, report = doctor("s3://bucket/p", nobody)
    assert (code, problems(report)) == (1, ["access"])
    assert "check the endpoint and the network" in report["findings"][0]["remedy"]


def test_the_store_is_the_one_that_jobs_use_unless_one_is_named(tmp_path: Path) -> None:
    run = s3memo("doctor", "--json", env=at() | {"S3MEMO_URL": f"file://{tmp_path}"})
    assert json.loads(run.out)["url"] == f"file://{tmp_path}"


def test_what_is_no_url_is_refused() -> None:
    run = s3memo("doctor", "bucket/prefix", env=at())
    assert (run.code, run.out) == (2, "")
    assert run.err.startswith("s3memo: 'bucket/prefix' names no store")


# What it says of servers with faults, before which a real one stands.


@pytest.fixture
def faulty(moto: S3Server) -> Iterator[CountingProxy]:
    with CountingProxy(moto) as proxy:
        yield proxy


def dated(relay: Behaviour, date: Callable[[], str]) -> Behaviour:
    """Relay, and say that the time is another; or nothing of it."""

    def behave(exchange: Exchange) -> None:
        begin = exchange.begin_answer

        def begin_dated(status: int, headers: Mapping[str, str]) -> None:
            others = {name: value for name, value in headers.items() if name.lower() != "date"}
            begin(status, others | {"Date": date()})

        exchange.begin_answer = begin_dated  # type: ignore[method-assign]
        relay(exchange)

    return behave


def swapping(relay: Behaviour, one: bytes, two: bytes) -> Behaviour:
    """Relay, and let two names of a listing change places."""

    def behave(exchange: Exchange) -> None:
        write = exchange.write
        if exchange.received.kind == "LIST":
            exchange.write = lambda data: write(  # type: ignore[method-assign]
                data.replace(one, b"\0").replace(two, one).replace(b"\0", two) if one in data and two in data else data
            )
        relay(exchange)

    return behave


def test_it_asks_about_as_often_as_it_says(faulty: CountingProxy) -> None:
    code, _ = doctor(f"s3://{faulty.server.make_bucket()}/p", faulty.server)
    counts = faulty.counts()
    assert code == 0
    assert {kind: counts[kind] for kind in ("LIST", "GET", "PUT", "DELETE")} == {
        "LIST": 25,
        "GET": 27,
        "PUT": 51,
        "DELETE": 26,
    }
    assert counts["OTHER"] == 4  # the bucket's three settings, and that this test made it


def test_a_server_an_hour_ahead_is_found(faulty: CountingProxy) -> None:
    bucket = faulty.server.make_bucket()
    faulty.behave = dated(faulty.relay, lambda: formatdate(time.time() + 3600, usegmt=True))
    code, report = doctor(f"s3://{bucket}/p", faulty.server)
    assert (code, report["works"], problems(report)) == (0, ALL, ["clock", "lifecycle"])
    assert re.search(r"between \+3\d{3}\.\d\d and \+36\d\d\.\d\d s ahead", str(report))


def test_a_server_without_a_clock_is_found(faulty: CountingProxy) -> None:
    bucket = faulty.server.make_bucket()
    faulty.behave = dated(faulty.relay, str)
    code, report = doctor(f"s3://{bucket}/p", faulty.server)
    assert (code, report["works"]) == (1, dict.fromkeys(ALL, False))
    (finding,) = (finding for finding in report["findings"] if finding["subject"] == "clock")
    assert "answers without a Date header" in finding["text"]
    assert finding["remedy"] == "use a server, or a proxy before it, that sends one"


def test_a_server_without_order_is_found(faulty: CountingProxy) -> None:
    bucket = faulty.server.make_bucket()
    faulty.behave = swapping(faulty.relay, b"/a-b<", b"/aab<")
    code, report = doctor(f"s3://{bucket}/p", faulty.server)
    assert (code, report["works"], problems(report)[0]) == (1, dict.fromkeys(ALL, False), "order")
    faulty.behave = faulty.relay
    assert names(faulty.server, bucket) == []


# How it looks.

WIDE = """\
Examined file:///store

ok    access       objects can be listed, read, written and deleted
ok    order        listings are in ascending order of UTF-8 bytes
ok    consistency  what is written or deleted is seen at once from another connection
ok    create-only  of racing writers of one object exactly one wins
ok    clock        the store's clock is this machine's
note  bucket       versions, object lock and lifecycle rules are asked of buckets in S3 alone

Milliseconds
 p50 p90 p99
LIST # # #
GET # # #
PUT # # #
DELETE # # #

What works here
works  memo   results of functions and mappings
works  fleet  one computation for all machines, and Lease
works  state  ServiceState
"""
NARROW = """\
Examined file:///store

ok    access       objects can be listed,
                   read, written and deleted
ok    order        listings are in ascending
                   order of UTF-8 bytes
ok    consistency  what is written or
                   deleted is seen at once
                   from another connection
ok    create-only  of racing writers of one
                   object exactly one wins
ok    clock        the store's clock is this
                   machine's
note  bucket       versions, object lock and
                   lifecycle rules are asked
                   of buckets in S3 alone

Milliseconds
 p50 p90 p99
LIST # # #
GET # # #
PUT # # #
DELETE # # #

What works here
works  memo   results of functions and
              mappings
works  fleet  one computation for all
              machines, and Lease
works  state  ServiceState
"""


@pytest.mark.parametrize(("columns", "expected"), [(120, WIDE), (44, NARROW)])
def test_it_fits_the_terminal(tmp_path: Path, columns: int, expected: str) -> None:
    run = s3memo("doctor", f"file://{tmp_path}", env=at(columns=columns))
    shown = run.out.replace(str(tmp_path), "/store")
    shown = re.sub(r" +\d+\.\d\d(?= |$)", " #", re.sub(r" +p(?=\d)", " p", shown), flags=re.MULTILINE)
    assert "".join(f"{line.rstrip()}\n" for line in shown.splitlines()) == expected


def test_in_a_pipe_no_line_is_broken(tmp_path: Path) -> None:
    env = at()
    del env["COLUMNS"]
    run = s3memo("doctor", f"file://{tmp_path}", env=env)
    assert "what is written or deleted is seen at once from another connection" in run.out


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_twice_leaves_nothing_behind(number: signal.Signals, code: int, faulty: CountingProxy) -> None:
    bucket, started, puts = faulty.server.make_bucket(), queue.Queue[subprocess.Popen[str]](), itertools.count(1)

    def behave(exchange: Exchange) -> None:
        is_fifth = exchange.received.kind == "PUT" and next(puts) == 5
        faulty.relay(exchange)
        if is_fifth:  # one that is still under way might come to the server after all was deleted
            process = started.get(timeout=60)
            process.send_signal(number)
            process.send_signal(number)

    faulty.behave = behave
    process = start("doctor", f"s3://{bucket}/p", env=at(faulty.server))
    started.put(process)
    run = finish(process)
    assert (run.code, run.out, run.err) == (code, "", "")
    assert names(faulty.server, bucket) == []
