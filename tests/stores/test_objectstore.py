"""ObjectStore: what it asks, what goes wrong, what time it is told, and what becomes of it in a forked child."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import unquote

import obstore.store
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3memo import ObjectStore, S3Store
from s3memo.bridge import bridged
from s3memo.errors import (
    AlreadyExistsError,
    NotFoundError,
    SettingsError,
    StoreAccessError,
    StoreError,
    StoreNotSupportedError,
    StoreUnavailableError,
)
from s3memo.stores import store_at
from s3memo.stores.base import ObjectInfo, TimeBounds
from s3memo.stores.objectstore import client, waiting
from s3memo.stores.objectstore.client import endpoint_of, make_engine
from s3memo.stores.objectstore.names import offset
from s3memo.stores.retry import RetryPolicy
from tests.measuring import without_collector
from tests.servers.engine import engine_on
from tests.servers.recording import Behaviour, Exchange
from tests.servers.scripted import ScriptedServer, answer, hang_up, page, refusal, script
from tests.servers.server import S3Server
from tests.stores.conftest import no_pause
from tests.stores.contract import keys, requests_of
from tests.troubled import Clock

DATED = {"Date": "Mon, 23 Nov 2026 06:30:00 GMT"}
THEN = 1795415400.0


@pytest.fixture
def store(scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    """A store on the scripted server, that knows no pauses."""
    scripted.server.set_environment(monkeypatch)
    return ObjectStore("s3+obstore://bucket/root", sleep=no_pause)


def objects(*names: str, then: str | None = None) -> Behaviour:
    return page(*(f"root/{name}" for name in names), then=then)


def put_answer(exchange: Exchange) -> None:
    exchange.answer(200, b"", {"ETag": '"1"'})


def delete_answer(*kept: tuple[str, str]) -> Behaviour:
    errors = "".join(f"<Error><Key>{key}</Key><Code>{code}</Code><Message>no</Message></Error>" for key, code in kept)
    return answer(200, f"<DeleteResult><Deleted><Key>x</Key></Deleted>{errors}</DeleteResult>")


# places


@pytest.mark.parametrize("url", ["s3+obstore://bucket/a/b", "gs://bucket/a/b", "az://bucket/a/b", "gs://bucket"])
def test_urls(url: str) -> None:
    store = store_at(url + "/")

    assert isinstance(store, ObjectStore)
    assert store.url == url
    assert repr(store) == f"<ObjectStore {url}>"
    assert pickle.loads(pickle.dumps(store)).url == url
    assert ObjectStore(url, "c/d/").url == f"{url}/c/d"


@pytest.mark.parametrize("url", ["s3://bucket", "memory://", "/dir", "s3+obstore://bucket--x-s3", "gs://a"])
def test_what_is_no_place(url: str) -> None:
    with pytest.raises(SettingsError):
        ObjectStore(url)


def test_another_kind_of_engine_is_refused() -> None:
    with pytest.raises(SettingsError, match="HTTPStore"):
        ObjectStore(obstore.store.HTTPStore("https://example.com"))  # type: ignore[arg-type]


def test_a_given_engine_has_a_prefix_of_its_own(scripted: ScriptedServer) -> None:
    given = engine_on("bucket", scripted.server.client_options, prefix="above")
    store = ObjectStore(given, "below")
    scripted.behave = script(put_answer, page("above/below/job/a"))
    store.put("job/a", b"x")

    assert store.url == "s3+obstore://bucket/above/below"
    assert keys(store.list("job/")) == ["job/a"]
    assert scripted.requests[0].target == "/bucket/above/below/job/a"
    assert store.endpoint == scripted.endpoint
    with pytest.raises(TypeError, match="give a URL instead"):
        pickle.dumps(store)


def test_memory_says_where_it_is() -> None:
    assert ObjectStore(obstore.store.MemoryStore()).url == "memory://"
    assert ObjectStore(obstore.store.MemoryStore(), "a").url == "memory://a"
    assert ObjectStore(obstore.store.MemoryStore()).enforces_create_only


@pytest.mark.parametrize("key", ["", "a/", "/a", "a//b", "a/../b", "a\x01"])
def test_names_that_obstore_would_change_are_refused(key: str) -> None:
    store = ObjectStore(obstore.store.MemoryStore())
    for verb in (store.get, lambda key: store.put(key, b"x"), lambda key: store.delete([key])):
        with pytest.raises(StoreNotSupportedError):
            verb(key)


# Google and Azure, as far as nobody answers


def test_endpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "a2V5")

    assert ObjectStore("gs://bucket").endpoint == "https://storage.googleapis.com"
    assert ObjectStore("az://container").endpoint == "https://account.blob.core.windows.net"
    assert ObjectStore("gs://bucket").enforces_create_only
    assert ObjectStore("az://container").enforces_create_only


def test_azure_without_an_account() -> None:
    with pytest.raises(StoreAccessError, match="Account must be specified; set up"):
        ObjectStore("az://container").get("a")


def google(scripted: ScriptedServer) -> ObjectStore:
    engine = obstore.store.GCSStore(
        "bucket",
        service_account_key=json.dumps(
            {
                "gcs_base_url": scripted.endpoint,
                "disable_oauth": True,
                "client_email": "",
                "private_key": "",
                "private_key_id": "",
            }
        ),
        base_url=scripted.endpoint,
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},
    )
    return ObjectStore(engine, "root", sleep=no_pause)


def azure(scripted: ScriptedServer) -> ObjectStore:
    engine = obstore.store.AzureStore(
        "bucket",
        account_name="account",
        account_key="a2V5",
        endpoint=scripted.endpoint,
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},
    )
    return ObjectStore(engine, "root", sleep=no_pause)


@pytest.mark.parametrize(
    ("make", "condition", "refused"),
    [
        (google, ("x-goog-if-generation-match", "0"), refusal(412, "PreconditionFailed")),
        (azure, ("if-none-match", "*"), refusal(409, "BlobAlreadyExists")),
    ],
)
def test_create_only_elsewhere(
    scripted: ScriptedServer,
    make: Callable[[ScriptedServer], ObjectStore],
    condition: tuple[str, str],
    refused: Behaviour,
) -> None:
    store = make(scripted)
    scripted.behave = refused
    with pytest.raises(AlreadyExistsError):
        store.put("job/a", b"x", mode="create")

    assert unquote(scripted.requests[0].target) == "/bucket/root/job/a"
    assert scripted.requests[0].headers[condition[0]] == condition[1]
    assert not store.enforces_create_only


def test_deletes_on_google_go_one_by_one_in_order(scripted: ScriptedServer) -> None:
    store = google(scripted)
    scripted.behave = script(answer(204), refusal(404, "NoSuchKey"), answer(204))

    assert requests_of(lambda: store.delete(["b", "missing", "a"])) == {"DELETE": 3}
    assert [unquote(request.target) for request in scripted.requests] == [
        "/bucket/root/b",
        "/bucket/root/missing",
        "/bucket/root/a",
    ]


def test_a_listing_of_google(scripted: ScriptedServer) -> None:
    scripted.behave = objects("job/b", "job/c")

    assert keys(google(scripted).list("job/", start_after="job/a", limit=1)) == ["job/b"]
    assert scripted.requests[0].target == "/bucket?list-type=2&prefix=root%2Fjob%2F&start-after=root%2Fjob%2Fa"


def test_a_listing_of_azure_is_sorted(scripted: ScriptedServer) -> None:
    properties = f"<Last-Modified>{DATED['Date']}</Last-Modified><Content-Length>7</Content-Length><Content-Type>a</Content-Type><Etag>1</Etag>"
    blobs = "".join(
        f"<Blob><Name>root/{name}</Name><Properties>{properties}</Properties></Blob>"
        for name in ("j/a", "j-1", "j/b", "k")
    )
    scripted.behave = answer(200, f"<EnumerationResults><Blobs>{blobs}</Blobs><NextMarker/></EnumerationResults>")
    store = azure(scripted)

    assert list(store.list("j", limit=2)) == [ObjectInfo("j-1", 7, THEN), ObjectInfo("j/a", 7, THEN)]
    assert keys(store.list("j/", start_after="j/a")) == ["j/b"]
    assert scripted.requests[0].target.startswith("/bucket?restype=container&comp=list&prefix=root%2F")


@pytest.mark.parametrize("make", [google, azure])
def test_trouble_elsewhere_is_told_without_words_of_aws(
    scripted: ScriptedServer, make: Callable[[ScriptedServer], ObjectStore]
) -> None:
    store = make(scripted)
    for status, error in ((403, StoreAccessError), (404, NotFoundError), (503, StoreUnavailableError)):
        scripted.behave = refusal(status)
        with pytest.raises(error, match=f"root/a at {scripted.endpoint}.*{status}") as caught:
            store.get("a")
        assert "s3:" not in str(caught.value)


# what goes wrong


@pytest.mark.parametrize(
    ("status", "code", "error", "advice"),
    [
        (301, "PermanentRedirect", StoreAccessError, "name the bucket's region"),
        (400, "ExpiredToken", StoreAccessError, "renew the credentials"),
        (401, "", StoreAccessError, "grant these credentials"),
        (403, "AccessDenied", StoreAccessError, "grant these credentials"),
        (403, "SignatureDoesNotMatch", StoreAccessError, "set up or correct the AWS credentials"),
        (404, "NoSuchBucket", StoreAccessError, "create the bucket"),
        (501, "NotImplemented", StoreNotSupportedError, "use another"),
    ],
)
def test_an_answer_that_means_no(  # noqa: PLR0917  a table's columns
    scripted: ScriptedServer, store: ObjectStore, status: int, code: str, error: type[StoreError], advice: str
) -> None:
    scripted.behave = refusal(status, code, "said so")
    for verb in (
        lambda: list(store.list("job/")),
        lambda: store.get("job/a"),
        lambda: store.put("job/a", b"x"),
        lambda: store.put("job/a", b"x", mode="create"),
        lambda: store.delete(["job/a", "job/b"]),
    ):
        scripted.requests.clear()
        with pytest.raises(error, match=advice) as caught:
            verb()

        assert f"at {scripted.endpoint}: " in str(caught.value)
        assert "Debug source" not in str(caught.value)
        assert len(scripted.requests) == 1


@pytest.mark.parametrize(
    "trouble",
    [
        refusal(500, "InternalError"),
        refusal(503, "SlowDown"),
        refusal(429),
        refusal(409, "OperationAborted"),
        refusal(409, "ConditionalRequestConflict"),
        hang_up,
    ],
)
def test_an_answer_that_means_later(scripted: ScriptedServer, store: ObjectStore, trouble: Behaviour) -> None:
    for mode in ("overwrite", "create"):
        scripted.behave = script(trouble, put_answer)
        scripted.requests.clear()
        assert requests_of(lambda mode=mode: store.put("job/a", b"x", mode=mode)) == {"PUT": 2}
        assert len(scripted.requests) == 2

        scripted.behave = trouble
        scripted.requests.clear()
        with pytest.raises(StoreUnavailableError, match=r"write s3\+obstore://bucket/root/job/a at .* in 3 attempts"):
            store.put("job/a", b"x", mode=mode)
        assert len(scripted.requests) == 3


def test_what_is_missing_and_what_is_there(scripted: ScriptedServer, store: ObjectStore) -> None:
    scripted.behave = script(refusal(404, "NoSuchKey"), refusal(412, "PreconditionFailed"))
    with pytest.raises(NotFoundError, match="root/job/a"):
        store.get("job/a")
    with pytest.raises(AlreadyExistsError, match="root/job/a"):
        store.put("job/a", b"x", mode="create")


def test_what_is_not_s3(scripted: ScriptedServer, store: ObjectStore) -> None:
    scripted.behave = answer(200, "<html>")
    with pytest.raises(StoreNotSupportedError, match="does not speak S3"):
        list(store.list(""))


def test_no_credentials(scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", scripted.endpoint)
    with pytest.raises(StoreAccessError, match="set up or correct the credentials"):
        ObjectStore("s3+obstore://bucket").get("a")


def test_a_large_object_is_one_request(scripted: ScriptedServer, store: ObjectStore) -> None:
    scripted.behave = put_answer
    store.put("job/a", b"x" * 12_000_000, mode="create")

    assert [(request.method, request.headers["If-None-Match"]) for request in scripted.requests] == [("PUT", "*")]


def test_a_body_cut_short_is_asked_for_again(scripted: ScriptedServer, store: ObjectStore) -> None:
    def cut(exchange: Exchange) -> None:
        exchange.begin_answer(200, {"Content-Length": "10", "Last-Modified": DATED["Date"]})
        exchange.write(b"01234")
        exchange.hang_up()

    scripted.behave = script(cut, answer(200, "0123456789"))

    assert store.get("job/a") == bytearray(b"0123456789")


# how objects are stored


def test_put_options_that_obstore_has(scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted.server.set_environment(monkeypatch)
    options = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "key", "BucketKeyEnabled": True}
    scripted.behave = put_answer
    pickle.loads(pickle.dumps(ObjectStore("s3+obstore://bucket", put_options=options))).put("a", b"x")

    headers = {name.lower(): value for name, value in scripted.requests[0].headers.items()}
    encryption = "x-amz-server-side-encryption"
    assert headers[encryption] == "aws:kms"
    assert headers[f"{encryption}-aws-kms-key-id"] == "key"
    assert headers[f"{encryption}-bucket-key-enabled"] == "true"


@pytest.mark.parametrize(
    ("url", "options", "message"),
    [
        (
            "s3+obstore://bucket",
            {"StorageClass": "STANDARD_IA"},
            "StorageClass here, only ServerSideEncryption, .*use s3://",
        ),
        ("gs://bucket", {"ServerSideEncryption": "AES256"}, "is for s3.obstore"),
        (obstore.store.MemoryStore(), {"ServerSideEncryption": "AES256"}, "is for s3.obstore"),
    ],
)
def test_put_options_that_it_has_not(url: str, options: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        ObjectStore(url, put_options=options)


# credentials


def test_credentials_that_expire_are_had_again_as_boto3_has_them(
    scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A profile names a program that gives them; it stands for SSO, roles and instances, which boto3 renews alike."""
    expires = (datetime.now(UTC) + timedelta(minutes=5)).isoformat()
    program = tmp_path / "credentials.py"
    program.write_text(f"""
import json, os, pathlib
log = pathlib.Path(__file__).with_suffix(".log")
log.write_text(log.read_text() + "." if log.exists() else ".")
print(json.dumps({{"Version": 1, "AccessKeyId": f"KEY{{len(log.read_text())}}", "SecretAccessKey": "b",
                  "SessionToken": "c", "Expiration": "{expires}"}}))
""")
    config = tmp_path / "config"
    config.write_text(f"[profile job]\ncredential_process = {sys.executable} {program}\nregion = eu-west-2\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_PROFILE", "job")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", scripted.endpoint)
    asks_again = timedelta(
        minutes=5
    )  # so long before their end obstore asks again, but not twice in a tenth of a second
    monkeypatch.setattr(client, "_CREDENTIALS_TTL", asks_again)
    store = ObjectStore("s3+obstore://bucket")
    scripted.behave = put_answer
    for _ in range(3):
        store.put("a", b"x")
        time.sleep(0.15)

    used = [request.headers["Authorization"].partition("Credential=")[2][:30] for request in scripted.requests]
    assert len(set(used)) > 1, used
    assert all("/eu-west-2/s3" in request.headers["Authorization"] for request in scripted.requests)


# waits


@pytest.fixture
def silence(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the environment name a server that takes connections and never says anything."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        S3Server("silent", f"http://127.0.0.1:{silent.getsockname()[1]}").set_environment(monkeypatch)
        yield


@pytest.mark.usefixtures("silence")
def test_silence_is_waited_out_only_as_long_as_the_operation_may_take() -> None:
    store = ObjectStore(
        "s3+obstore://bucket", attempts=500, connect_timeout=0.1, read_timeout=0.4, operation_timeout=1.2
    )
    with pytest.raises(StoreUnavailableError):
        store.time()
    for verb in (
        lambda: store.get("a"),
        lambda: store.put("a", b"x"),
        lambda: list(store.list("")),
        lambda: store.delete(["a", "b"]),
        store.time,
    ):
        begun = time.monotonic()
        with pytest.raises(StoreUnavailableError, match=r"Time|time"):
            verb()
        assert time.monotonic() - begun < 60, "five hundred attempts would take two hundred seconds"


def test_a_body_that_trickles_is_cut(scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def trickle(exchange: Exchange) -> None:
        exchange.begin_answer(200, {"Content-Length": "1000"})
        for _ in range(1000):
            exchange.write(b"x")
            time.sleep(0.1)

    scripted.server.set_environment(monkeypatch)
    store = ObjectStore("s3+obstore://bucket", connect_timeout=0.5, read_timeout=0.5, operation_timeout=1.0)
    scripted.behave = trickle
    with pytest.raises(StoreUnavailableError):
        store.get("a")


def test_what_bounds_a_request() -> None:
    engine = make_engine("gs", "bucket", RetryPolicy(connect_timeout=1, read_timeout=2), {})

    assert engine.client_options is not None
    assert {name: engine.client_options[name] for name in ("connect_timeout", "read_timeout", "timeout")} == {  # type: ignore[literal-required]
        "connect_timeout": "1s",
        "read_timeout": "2s",
        "timeout": "3s",
    }
    assert engine.retry_config is not None
    assert engine.retry_config["max_retries"] == 0
    assert endpoint_of(engine) == "https://storage.googleapis.com"


_INTERRUPTED = """
import os, signal, sys, threading, time
from s3memo import ObjectStore

patient, store = (ObjectStore("s3+obstore://bucket", read_timeout=seconds, operation_timeout=100) for seconds in (60, 2))
patient.endpoint, store.endpoint
for verb in lambda: list(patient.list("")), lambda: store.get("a"), lambda: store.put("a", b"x"):
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        verb()
    except KeyboardInterrupt:
        pass
    else:
        sys.exit("nothing interrupted it")
"""


def test_an_interruption_takes_effect_at_once_or_when_the_request_ends(
    scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """obstore lets no signal in while it waits: for one answer at most, and none is asked for again."""
    over = threading.Event()
    scripted.server.set_environment(monkeypatch)
    scripted.behave = lambda _: over.wait(100)  # type: ignore[assignment, return-value]
    try:
        subprocess.run([sys.executable, "-c", _INTERRUPTED], check=True, timeout=50)
    finally:
        over.set()

    assert scripted.counts() == {"LIST": 1, "GET": 1, "PUT": 1}


# listings

CROWD = [f"{number:04}" for number in range(1000)]


def test_a_listing_goes_on_where_it_was_cut(scripted: ScriptedServer, store: ObjectStore) -> None:
    scripted.behave = script(objects(*CROWD, then="t"), refusal(503, "SlowDown"), objects("0999", "1000", "1001"))
    listed: list[str] = []

    assert requests_of(lambda: listed.extend(keys(store.list("")))) == {"LIST": 3}
    assert listed == [*CROWD, "1000", "1001"]
    assert "start-after=root%2F0999" in scripted.requests[2].target


def test_a_listing_out_of_order_is_refused(scripted: ScriptedServer, store: ObjectStore) -> None:
    scripted.behave = objects("a", "c", "b")
    with pytest.raises(StoreNotSupportedError, match="lists 'b' after 'c'"):
        list(store.list(""))


def test_markers_of_folders_are_no_objects(scripted: ScriptedServer, store: ObjectStore) -> None:
    """obstore shows them less their slash, hence out of order."""
    scripted.behave = objects("", "job-1/a", "job/", "job/a", "job/b", "job/b/")

    assert keys(store.list("")) == ["job-1/a", "job/a", "job/b"]


@pytest.mark.parametrize("across", [True, False])
@pytest.mark.parametrize("server", ["moto", "ceph_s3"])
def test_names_that_obstore_has_not_are_listed_by_boto3(
    request: pytest.FixtureRequest, server: str, monkeypatch: pytest.MonkeyPatch, across: bool
) -> None:
    found: S3Server = request.getfixturevalue(server)
    found.set_environment(monkeypatch)
    bucket = found.make_bucket()
    for name in ("a", "b/c", "b//c", "b/../c", "b/./d", "d"):
        found.client.put_object(Bucket=bucket, Key=f"root/{name}", Body=b"x")
    store, other = ObjectStore(f"s3+obstore://{bucket}/root"), S3Store(bucket, "root")

    def look() -> None:
        for prefix, after, limit in (("", "", None), ("b/", "", None), ("", "b/../c", 2), ("", "", 2), ("", "d", None)):
            assert keys(store.list(prefix, start_after=after, limit=limit)) == keys(
                other.list(prefix, start_after=after, limit=limit)
            )

    asyncio.run(bridged(look)) if across else look()


def test_a_name_that_obstore_cannot_show_is_told_of(scripted: ScriptedServer) -> None:
    engine = engine_on("bucket", scripted.server.client_options)
    scripted.behave = page("a//b")
    with pytest.raises(StoreNotSupportedError, match="use s3:// for this bucket"):
        list(ObjectStore(engine).list(""))


@pytest.mark.parametrize(
    ("prefix", "start_after", "target"),
    [
        ("job/", "", "prefix=root%2Fjob%2F"),
        ("job/", "job/a", "prefix=root%2Fjob%2F&start-after=root%2Fjob%2Fa"),
        ("job/ab", "", "prefix=root%2Fjob%2F&start-after=root%2Fjob%2Faa%7E"),
        ("job/ab", "job/abc", "prefix=root%2Fjob%2F&start-after=root%2Fjob%2Fabc"),
        ("job/", "job/a//b", "prefix=root%2Fjob%2F&start-after=root%2Fjob%2Fa"),
    ],
)
def test_what_a_listing_asks_for(
    scripted: ScriptedServer, store: ObjectStore, prefix: str, start_after: str, target: str
) -> None:
    scripted.behave = objects()
    list(store.list(prefix, start_after=start_after))

    assert scripted.requests[0].target == f"/bucket?list-type=2&{target}"


_names = st.text("ab-/~0\x01", max_size=5)


@pytest.mark.parametrize("across", [True, False])
def test_pages_without_names_and_without_end_are_not_read_for_ever(
    scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch, across: bool
) -> None:
    scripted.server.set_environment(monkeypatch)
    store = ObjectStore("s3+obstore://bucket", connect_timeout=1, read_timeout=1, operation_timeout=2)
    scripted.behave = page(then="more")
    with pytest.raises(StoreUnavailableError, match="no names came within"):
        asyncio.run(bridged(lambda: list(store.list("")))) if across else list(store.list(""))

    deadline, sent = time.monotonic() + 60, 0
    while len(scripted.requests) > sent:  # that it was given up has yet to reach obstore's threads
        assert time.monotonic() < deadline
        sent = len(scripted.requests)
        time.sleep(0.2)
    sent = len(scripted.requests)
    time.sleep(0.2)
    assert len(scripted.requests) <= sent + 1, "and obstore reads on no more"


def test_a_listing_that_blocks_a_loop_leaves_it_the_running_one(scripted: ScriptedServer, store: ObjectStore) -> None:
    scripted.behave = objects("a")

    async def list_all() -> list[ObjectInfo]:
        running = asyncio.get_running_loop()
        found = list(store.list(""))
        assert asyncio.get_running_loop() is running
        return found

    assert keys(asyncio.run(list_all())) == ["a"]


def test_an_interruption_before_a_listing_begins_leaves_no_loop_behind(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(loop: asyncio.AbstractEventLoop | None) -> None:
        asyncio._set_running_loop(loop)
        if loop is not None:
            raise KeyboardInterrupt

    monkeypatch.setattr(waiting, "_set_running_loop", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(store.list(""))
    try:
        assert asyncio._get_running_loop() is None
    finally:
        asyncio._set_running_loop(None)


def test_the_end_of_a_listing_leaves_the_collector_nothing(
    scripted: ScriptedServer, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[weakref.ref[waiting._Answer]] = []

    def watched(_loop: waiting._Loop) -> waiting._Answer:
        answer = waiting._Answer()
        answers.append(weakref.ref(answer))
        return answer

    monkeypatch.setattr(waiting._Loop, "create_future", watched)
    scripted.behave = objects()
    with without_collector():
        assert list(store.list("")) == []
        assert answers
        deadline = time.monotonic() + 60
        while any(answer() is not None for answer in answers):  # a thread of obstore's may be about to let go
            assert time.monotonic() < deadline
            assert store.endpoint  # what such a thread drops without the GIL goes with obstore's next call
            time.sleep(0.01)


@given(whole=_names, after=_names, rest=_names)
def test_an_offset_passes_nothing_over(whole: str, after: str, rest: str) -> None:
    begin = offset(whole, after)

    if whole + rest > after:
        assert begin < whole + rest or not begin
    assert not any(part in {"", ".", ".."} for part in begin.split("/") if begin)


# deletes


def test_every_object_that_a_server_keeps_is_named(scripted: ScriptedServer, store: ObjectStore) -> None:
    scripted.behave = script(
        delete_answer(("root/b", "AccessDenied"), ("root/d", "AccessDenied")),
        delete_answer(),
        delete_answer(("root/b", "AccessDenied")),
        delete_answer(("root/c", "NoSuchKey")),
        delete_answer(("root/d", "AccessDenied")),
    )
    with pytest.raises(StoreAccessError, match=r"'b' .*AccessDenied.*'d' .*AccessDenied.* 0 objects after") as caught:
        store.delete(["a", "b", "c", "d"])

    assert "'a'" not in str(caught.value)
    assert caught.value.left == ("b", "d")
    assert len(scripted.requests) == 5


def test_an_answer_that_breaks_obstore_down_is_an_error(scripted: ScriptedServer, store: ObjectStore) -> None:
    scripted.behave = delete_answer(("a name that was not given", "AccessDenied"))
    with pytest.raises(StoreNotSupportedError, match="obstore broke down"):
        store.delete(["a", "b"])


def test_nothing_is_deleted_after_a_batch_of_which_some_was_kept(scripted: ScriptedServer, store: ObjectStore) -> None:
    scripted.behave = script(delete_answer(("root/0007", "AccessDenied")), refusal(503, "SlowDown"))
    with pytest.raises(StoreUnavailableError, match=r"'0000' .* 999 objects after that were not tried") as caught:
        store.delete([*CROWD, "later"])

    assert caught.value.left == tuple(CROWD)
    assert len(scripted.requests) == 1 + 3


# time


def test_time_is_that_of_the_answers_date(
    scripted: ScriptedServer, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted.server.set_environment(monkeypatch)
    store = ObjectStore("s3+obstore://bucket", clock=clock, sleep=no_pause)
    scripted.behave = answer(403, headers=DATED)

    assert store.time() == TimeBounds(THEN, THEN + 1)
    assert requests_of(store.time) == {}
    assert [(request.method, request.target) for request in scripted.requests] == [("HEAD", "/")]
    assert "Authorization" not in scripted.requests[0].headers

    clock.now += 3599
    assert requests_of(store.time) == {}
    assert store.time().latest - store.time().earliest > 2
    clock.now += 2
    scripted.behave = script(answer(403, headers={"Date": "Mon, 23 Nov 2026 07:30:01 GMT"}), objects())
    assert requests_of(store.time) == {}, "who asks for nothing else may be a loop that must go on"
    assert requests_of(lambda: list(store.list(""))) == {"GET": 1, "LIST": 1}
    assert store.time() == TimeBounds(THEN + 3601, THEN + 3602)

    clock.now += 3601
    scripted.behave = script(hang_up, hang_up, hang_up, objects())
    assert requests_of(lambda: list(store.list(""))) == {"GET": 3, "LIST": 1}
    earliest, latest = store.time()
    assert earliest < THEN + 7202 < latest
    assert requests_of(lambda: list(store.list(""))) == {"LIST": 1}


def test_one_asks_the_time_for_all(scripted: ScriptedServer, store: ObjectStore) -> None:
    scripted.behave = answer(403, headers=DATED)
    with ThreadPoolExecutor(8) as pool:
        assert all(bounds.earliest >= THEN - 1 for bounds in pool.map(lambda _: store.time(), range(8)))
    assert len(scripted.requests) == 1


def test_a_proxys_own_date_counts_for_nothing(scripted: ScriptedServer, store: ObjectStore) -> None:
    scripted.behave = answer(502, headers=DATED)
    with pytest.raises(StoreNotSupportedError, match="without a Date header"):
        store.time()


# fork

_FORKS = """
import os, signal, sys, warnings
from urllib.parse import unquote

import obstore.store
from s3memo import ObjectStore
from s3memo.errors import StoreNotSupportedError
warnings.simplefilter("ignore", DeprecationWarning)

def in_child(work):
    child = os.fork()
    if not child:
        signal.alarm(20)
        status = 1
        try:
            work()
            status = 0
        finally:
            sys.stderr.flush()
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0, work

def use(store, key):
    store.put(key, b"x", mode="create")
    assert bytes(store.get(key)) == b"x"
    assert key in [info.key for info in store.list("")]
    assert store.time().earliest > 0
    assert store.endpoint.startswith("http://")
    store.delete([key])

def refused():
    for verb in (lambda: google.get("a"), lambda: memory.put("a", b""), google.time, lambda: memory.list("")):
        try:
            verb()
        except StoreNotSupportedError as error:
            assert "forked" in str(error)
        else:
            raise AssertionError(verb)

url = sys.argv[1]
store = ObjectStore(url)
in_child(lambda: use(store, "before"))          # nobody has used obstore yet
in_child(lambda: in_child(lambda: use(store, "grandchild")))
use(store, "parent")
in_child(lambda: use(store, "after"))
in_child(lambda: use(ObjectStore(url), "new in the child"))
in_child(lambda: in_child(lambda: use(store, "after, in a grandchild")))
google, memory = ObjectStore("gs://bucket"), ObjectStore(obstore.store.MemoryStore())
in_child(refused)
use(store, "parent")
"""


def test_a_forked_child_goes_on_or_is_told_and_never_hangs(moto: S3Server) -> None:
    with pytest.MonkeyPatch.context() as patch:
        moto.set_environment(patch)
        url = f"s3+obstore://{moto.make_bucket()}/root"
        ran = subprocess.run(
            [sys.executable, "-c", _FORKS, url], timeout=60, check=False, capture_output=True, text=True, env=os.environ
        )

    assert ran.returncode == 0, ran.stderr


def test_without_obstore_the_error_says_what_to_install() -> None:
    code = "import sys; sys.modules['obstore'] = None\nfrom s3memo.stores import store_at\nstore_at('gs://bucket')"
    ran = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)

    assert "SettingsError" in ran.stderr
    assert "pip install 's3memo[obstore]'" in ran.stderr
