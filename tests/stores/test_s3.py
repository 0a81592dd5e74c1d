"""What is S3Store's own: what it is given, the requests that a server receives, threads and processes."""

from __future__ import annotations

import itertools
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import pytest
from botocore import UNSIGNED
from botocore.config import Config

from s3memo.errors import (
    NotFoundError,
    SettingsError,
    StoreAccessError,
    StoreError,
    StoreNotSupportedError,
    StoreUnavailableError,
)
from s3memo.events import Recorder
from s3memo.stores.retry import RetryPolicy
from s3memo.stores.s3 import S3Store
from s3memo.stores.s3.client import make_client
from s3memo.versions import MAX_KEY_BYTES
from tests.servers.proxy import CountingProxy
from tests.servers.recording import Behaviour, Exchange
from tests.servers.scripted import ScriptedServer, answer, deleted, page, script
from tests.servers.server import S3Server
from tests.stores.conftest import BODY
from tests.stores.contract import keys

# what it is given


@pytest.mark.parametrize("bucket", ["", "bucket/prefix", "/"])
def test_what_is_no_buckets_name(bucket: str) -> None:
    with pytest.raises(SettingsError, match="is no bucket's name"):
        S3Store(bucket)


@pytest.mark.parametrize(
    ("prefix", "url"),
    [
        ("", "s3://bucket"),
        ("/", "s3://bucket"),
        ("prefix", "s3://bucket/prefix"),
        ("/a/prefix//", "s3://bucket/a/prefix"),
        ("été", "s3://bucket/été"),
    ],
)
def test_url(prefix: str, url: str) -> None:
    store = S3Store("bucket", prefix)
    assert store.url == url
    assert repr(store) == f"<S3Store {url}>"


def test_a_prefix_leaves_room_for_object_keys() -> None:
    S3Store("bucket", "é" * 255 + "x")
    with pytest.raises(SettingsError, match="may take 512 bytes"):
        S3Store("bucket", "é" * 256)


def test_the_longest_object_key_fits(moto: S3Server) -> None:
    store = S3Store(moto.make_bucket(), "p" * (1023 - MAX_KEY_BYTES), client=moto.client)
    store.put("k" * MAX_KEY_BYTES, b"x")

    assert keys(store.list("")) == ["k" * MAX_KEY_BYTES]


def test_options_that_contradict() -> None:
    with pytest.raises(SettingsError, match="IfNoneMatch, Key"):
        S3Store("bucket", put_options={"Key": "x", "IfNoneMatch": "*"})
    with pytest.raises(SettingsError, match="client= or client_options="):
        S3Store("bucket", client=object(), client_options={})  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="operation_timeout=5"):
        S3Store("bucket", operation_timeout=5)


def test_boto3_is_imported_with_the_first_request() -> None:
    program = """
import sys
from s3memo.stores.s3 import S3Store
store = S3Store("bucket", client_options={"endpoint_url": "no URL"})
assert not {"boto3", "botocore"} & set(sys.modules)
try:
    store.get("x")
except Exception as error:
    print(type(error).__name__)
assert "boto3" in sys.modules
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (run.stdout, run.stderr) == ("StoreAccessError\n", "")


# requests, as a server receives them


def test_each_operation_is_the_requests_it_counts(rclone_s3: S3Server) -> None:
    bucket = rclone_s3.make_bucket()
    with CountingProxy(rclone_s3) as proxy:
        store = S3Store(bucket, "root", client_options=proxy.server.client_options)
        operations: list[tuple[Callable[[], object], dict[str, int]]] = [
            (store.time, {"LIST": 1}),
            (store.time, {}),
            (lambda: store.put("job/a", b"x"), {"PUT": 1}),
            (lambda: store.put("job/b", BODY), {"PUT": 1}),
            (lambda: store.put("job/c", b"x", mode="create"), {"PUT": 1}),
            (lambda: store.get("job/b"), {"GET": 1}),
            (lambda: list(store.list("job/")), {"LIST": 1}),
            (lambda: list(store.list("job/", limit=2)), {"LIST": 1}),
            (lambda: list(store.list("job/", limit=0)), {}),
            (lambda: store.delete(["job/a", "job/b"]), {"DELETE": 1}),
            (lambda: store.delete([]), {}),
            (store.time, {}),
        ]
        for operation, expected in operations:
            proxy.reset()
            recorder = Recorder("counted")
            with recorder.counting_requests():
                operation()
            assert proxy.counts() == expected
            assert recorder.info(maxsize=0, currsize=0).requests == expected
        store.close()


def test_bodies_pass_whole_through_the_proxy(ceph_s3: S3Server) -> None:
    bucket = ceph_s3.make_bucket()
    with CountingProxy(ceph_s3) as proxy:
        store = S3Store(bucket, client_options=proxy.server.client_options)
        store.put("large", memoryview(BODY)[10:])
        store.put("empty", b"")

        assert store.get("large") == BODY[10:]
        assert store.get("empty") == b""
        store.close()


def test_put_options_go_wherever_they_are_taken(scripted: ScriptedServer) -> None:
    options = {
        "ExpectedBucketOwner": "123456789012",
        "RequestPayer": "requester",
        "StorageClass": "STANDARD_IA",
        "SSECustomerAlgorithm": "AES256",
        "SSECustomerKey": "k" * 32,
    }
    store = S3Store("bucket", client=scripted.server.client, put_options=options)
    scripted.behave = script(answer(200), answer(200), deleted(), page())
    store.put("a", b"x")
    store.get("a")
    store.delete(["a"])
    list(store.list(""))

    def sent(header: str) -> list[str | None]:
        return [request.headers[header] for request in scripted.requests]

    assert [request.kind for request in scripted.requests] == ["PUT", "GET", "DELETE", "LIST"]
    assert sent("x-amz-expected-bucket-owner") == ["123456789012"] * 4
    assert sent("x-amz-request-payer") == ["requester"] * 4
    assert sent("x-amz-storage-class") == ["STANDARD_IA", None, None, None]
    assert sent("x-amz-server-side-encryption-customer-algorithm") == ["AES256", "AES256", None, None]


# listings


def test_an_empty_page_is_not_the_end(scripted: ScriptedServer, store: S3Store) -> None:
    scripted.behave = script(page(then="1"), page("root/a", then="2"), page(then="3"), page("root/b"))

    assert keys(store.list("", start_after="A")) == ["a", "b"]
    queries = [request.query for request in scripted.requests]
    assert [query.get("start-after") for query in queries] == ["root/A", None, None, None]
    assert [query.get("continuation-token") for query in queries] == [None, "1", "2", "3"]
    assert {query["prefix"] for query in queries} == {"root/"}


@pytest.mark.parametrize("bucket", ["bucket", "data--use1-az4--x-s3"])
def test_pages_without_objects_are_not_read_for_ever(scripted: ScriptedServer, bucket: str) -> None:
    unsigned = {"endpoint_url": scripted.endpoint, "config": Config(signature_version=UNSIGNED)}
    seconds = itertools.count()  # each look at the clock takes one
    store = S3Store(bucket, client_options=unsigned, clock=lambda: next(seconds), operation_timeout=40)

    def behave(exchange: Exchange) -> None:
        page(then=str(len(scripted.requests)))(exchange)

    scripted.behave = behave
    with pytest.raises(StoreUnavailableError, match="pages that hold nothing"):
        list(store.list("", limit=5))
    assert 2 < len(scripted.requests) < 40


def test_a_limit_asks_for_no_more_than_it_needs(scripted: ScriptedServer, store: S3Store) -> None:
    scripted.behave = script(page("root/a", "root/b", then="1"), page("root/c", then="2"))

    assert keys(store.list("", limit=3)) == ["a", "b", "c"]
    assert [request.query["max-keys"] for request in scripted.requests] == ["3", "1"]


def test_names_come_url_encoded(scripted: ScriptedServer, store: S3Store) -> None:
    body = (
        "<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>false</IsTruncated><Contents>"
        "<Key>root/a+b%2Bc%25%01</Key><Size>1</Size><LastModified>2026-11-23T06:30:00Z</LastModified></Contents>"
        "</ListBucketResult>"
    )
    scripted.behave = answer(200, body)

    assert keys(store.list("")) == ["a b+c%\x01"]
    assert scripted.requests[0].query["encoding-type"] == "url"


def test_an_object_named_as_the_prefix_is_not_below_it(moto: S3Server) -> None:
    bucket = moto.make_bucket()
    moto.client.put_object(Bucket=bucket, Key="root/")
    inside, outside = S3Store(bucket, "root", client=moto.client), S3Store(bucket, client=moto.client)
    inside.put("a", b"x")

    assert keys(inside.list("")) == ["a"]
    assert keys(inside.list("", limit=1)) == ["a"]
    assert keys(outside.list("")) == ["root/", "root/a"]


def test_stores_side_by_side_do_not_see_each_other(s3_server: S3Server) -> None:
    bucket = s3_server.make_bucket()
    job, job2 = S3Store(bucket, "job", client=s3_server.client), S3Store(bucket, "job2", client=s3_server.client)
    job.put("a", b"1")
    job2.put("b", b"2")

    assert keys(job.list("")) == ["a"]
    with pytest.raises(NotFoundError):
        job.get("b")


@pytest.mark.parametrize(
    ("pages", "message"),
    [
        ([page("root/b", "root/a")], "'a' after 'b'"),
        ([page("root/a", "root/a")], "'a' after 'a'"),
        ([page("root/b", then="1"), page("root/a")], "'a' after 'b'"),
        ([page("root/A")], "'A' after 'Z'"),
        ([page("root/b", then="")], "without saying whether or where it goes on"),
    ],
    ids=["unordered", "repeated", "unordered over pages", "StartAfter ignored", "no token"],
)
def test_a_listing_that_cannot_be_trusted(
    scripted: ScriptedServer, store: S3Store, pages: list[Behaviour], message: str
) -> None:
    scripted.behave = script(*pages)
    with pytest.raises(StoreNotSupportedError, match=message):
        list(store.list("", start_after="Z"))


@pytest.mark.parametrize("bucket", ["data--use1-az4--x-s3", "point--use1-az4--xa-s3"])
def test_a_directory_bucket_is_sorted_here(scripted: ScriptedServer, bucket: str) -> None:
    pages = script(page("root/job/c", "root/job/éa", then="1"), page(then="2"), page("root/job/b", "root/job/ca"))
    session = (
        "<Credentials><AccessKeyId>a</AccessKeyId><SecretAccessKey>b</SecretAccessKey><SessionToken>c</SessionToken>"
    )
    session += "<Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>"
    create_session = answer(200, f"<CreateSessionResult>{session}</CreateSessionResult>")

    def behave(exchange: Exchange) -> None:
        (create_session if "session" in exchange.received.query else pages)(exchange)

    scripted.behave = behave
    store = S3Store(bucket, "root", client=scripted.server.client)
    assert keys(store.list("job/", start_after="job/b", limit=2)) == ["job/c", "job/ca"]

    queries = [request.query for request in scripted.requests if request.kind == "LIST"]
    assert len(queries) == 3
    assert all("start-after" not in query and query["max-keys"] == "1000" for query in queries)


def test_a_directory_bucket_knows_no_part_of_a_name(scripted: ScriptedServer) -> None:
    unsigned = {"endpoint_url": scripted.endpoint, "config": Config(signature_version=UNSIGNED)}
    scripted.behave = page("root/job/b", "root/job/a")
    store = S3Store("data--use1-az4--x-s3", "root", client_options=unsigned)

    assert keys(store.list("job/a")) == ["job/a"]
    assert {request.query.get("prefix") for request in scripted.requests if request.kind == "LIST"} == {"root/job/"}


def test_a_time_without_a_zone_is_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    class Client:
        meta = SimpleNamespace(endpoint_url="http://localhost")

        def list_objects_v2(self, **_: Any) -> dict[str, Any]:
            entry = {"Key": "a", "Size": 1, "LastModified": datetime(1970, 1, 2)}  # noqa: DTZ001  what is meant
            return {"Contents": [entry], "IsTruncated": False, "ResponseMetadata": {"HTTPHeaders": {}}}

    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        found = [*S3Store("bucket", client=Client()).list("")]  # type: ignore[arg-type]
    finally:
        monkeypatch.undo()
        time.tzset()
    assert [info.last_modified for info in found] == [86_400.0]


# deletes


def test_every_object_left_is_named_and_nothing_later_deleted(scripted: ScriptedServer, store: S3Store) -> None:
    failures = [("root/k0007", "AccessDenied"), ("root/k0009", "AccessDenied"), ("root/k0011", "NoSuchKey")]
    scripted.behave = script(deleted(), deleted(failures))
    source = iter([f"k{number:04}" for number in range(1000)] * 3)

    with pytest.raises(StoreAccessError) as caught:
        store.delete(source)
    message = str(caught.value)
    assert caught.value.left == ("k0007", "k0009")
    assert "cannot delete from s3://bucket/root at http://127.0.0.1" in message
    assert "the server kept 'k0007' (AccessDenied), 'k0009' (AccessDenied); nothing after that was tried" in message
    assert "grant these credentials s3:DeleteObject" in message
    assert scripted.counts() == {"DELETE": 2}
    assert len(list(source)) == 1000


@pytest.mark.parametrize(
    ("codes", "error"),
    [
        (["InternalError", "SlowDown"], StoreUnavailableError),
        (["AccessDenied", "InternalError"], StoreError),
        (["SomethingNew"], StoreAccessError),
    ],
)
def test_what_kind_of_error_failed_deletes_are(
    scripted: ScriptedServer, store: S3Store, codes: list[str], error: type[StoreError]
) -> None:
    scripted.behave = deleted((f"root/{number}", code) for number, code in enumerate(codes))
    with pytest.raises(StoreError, match=codes[-1]) as caught:
        store.delete(str(number) for number in range(len(codes)))
    assert type(caught.value) is error


def test_a_key_that_is_not_there_is_no_error_even_if_the_server_says_so(
    scripted: ScriptedServer, store: S3Store
) -> None:
    scripted.behave = deleted([("root/a", "NoSuchKey")])
    store.delete(["a"])


# threads and processes


def test_threads_share_one_client(moto: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def recorded(*given: Any) -> Any:
        made.append(make_client(*given))
        return made[-1]

    monkeypatch.setattr("s3memo.stores.s3.client.make_client", recorded)
    store = S3Store(moto.make_bucket(), client_options=moto.client_options)
    barrier = threading.Barrier(16)

    def work(number: int) -> bytes:
        barrier.wait()
        store.put(f"job/{number}", b"%d" % number)
        return bytes(store.get(f"job/{number}"))

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(work, range(16))) == [b"%d" % number for number in range(16)]
    assert len(made) == 1
    store.close()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_and_its_parent_go_on(rclone_s3: S3Server) -> None:
    with CountingProxy(rclone_s3) as proxy:
        store = S3Store(rclone_s3.make_bucket(), client_options=proxy.server.client_options)
        store.put("parent", b"before")
        parents = store._connection
        child = os.fork()
        if child == 0:
            try:
                store.put("child", bytes(store.get("parent")))
                os._exit(store._connection is parents)
            finally:
                os._exit(2)
        store.put("parent", b"after")

        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert bytes(store.get("child")) in {b"before", b"after"}
        assert store._connection is parents
        assert [request.path.rpartition("/")[2] for request in proxy.requests if request.kind == "PUT"].count(
            "child"
        ) == 1
        store.close()


def test_a_pickled_store_connects_anew(moto: S3Server) -> None:
    store = S3Store(moto.make_bucket(), "root", client_options=moto.client_options, attempts=5)
    store.put("a", b"x")
    copy = pickle.loads(pickle.dumps(store))

    assert copy.url == store.url
    assert copy._policy == RetryPolicy(attempts=5)
    assert copy.get("a") == b"x"
    store.close()
    copy.close()


def test_a_given_client_is_not_pickled(store: S3Store) -> None:
    with pytest.raises(TypeError, match=r"cannot pickle <S3Store s3://bucket/root>.* client_options="):
        pickle.dumps(store)


def test_a_closed_store_opens_again(moto: S3Server) -> None:
    store = S3Store(moto.make_bucket(), client_options=moto.client_options)
    store.close()
    store.put("a", b"x")
    store.close()

    assert store.get("a") == b"x"
    store.close()


def test_a_given_client_is_not_closed(moto: S3Server) -> None:
    class Closing:
        closed = False

        def __getattr__(self, name: str) -> object:
            return getattr(moto.client, name)

        def close(self) -> None:
            self.closed = True

    client: Any = Closing()
    store = S3Store(moto.make_bucket(), client=client)
    store.put("a", b"x")
    store.close()

    assert not client.closed
