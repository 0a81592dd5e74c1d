"""Objects from 8 MiB up: in parts to a server, and in as few pieces as it takes back."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import obstore.store
import pytest
from botocore.config import Config
from hypothesis import given
from hypothesis import strategies as st

from s3memo import ObjectStore
from s3memo.errors import (
    AlreadyExistsError,
    NotFoundError,
    StoreAccessError,
    StoreError,
    StoreNotSupportedError,
    StoreUnavailableError,
)
from s3memo.stores import parts
from s3memo.stores.parts import MIB, PARALLEL, PART, cut, share
from s3memo.stores.s3 import S3Store, download, multipart
from tests.servers.engine import engine_on
from tests.servers.proxy import CountingProxy
from tests.servers.recording import Behaviour, Exchange, Received
from tests.servers.scripted import ScriptedServer, answer, hang_up, refusal
from tests.servers.server import S3Server
from tests.stores.conftest import no_pause
from tests.stores.contract import keys, requests_of, start_together

LARGE = os.urandom(2 * PART + 12_345)
VERY_LARGE = os.urandom(PARALLEL + 12_345)


# where it is cut


@given(st.integers(PART, 50 * 1024**4) | st.integers(0, 100).map(lambda over: 10_000 * PART - 50 + over))
def test_parts_cover_it_all_and_are_no_more_than_s3_takes(size: int) -> None:
    pieces = cut(size)

    assert len(pieces) <= 10_000
    assert (pieces[0].start, pieces[-1].stop) == (0, size)
    assert all(piece.stop == following.start for piece, following in itertools.pairwise(pieces))
    assert len({piece.stop - piece.start for piece in pieces[:-1]}) <= 1
    assert len(pieces) == 1 or pieces[0].stop >= PART


@pytest.mark.parametrize(
    ("size", "count", "first"),
    [
        (PART, 1, PART),
        (PART + 1, 2, PART),
        (10_000 * PART, 10_000, PART),
        (10_000 * PART + 1, 8_889, 9 * MIB),
        (5 * 1024**4, 9_987, 525 * MIB),
    ],
)
def test_where_parts_grow(size: int, count: int, first: int) -> None:
    pieces = cut(size)

    assert (len(pieces), pieces[0].stop) == (count, first)


# who helps


def test_the_first_failure_ends_all_and_is_raised() -> None:
    cancelled = threading.Event()
    turns = iter(range(100))

    def step() -> bool:
        if next(turns) == 2:
            raise ValueError("the third")
        return not cancelled.wait(10)

    with pytest.raises(ValueError, match="the third"):
        share(step, 3, cancelled.set)
    assert parts._crew._free == 12


def test_an_interrupted_caller_leaves_no_helper_behind() -> None:
    cancelled, caller = threading.Event(), threading.current_thread()

    def step() -> bool:
        if threading.current_thread() is caller:
            raise KeyboardInterrupt
        return not cancelled.wait(10)

    with pytest.raises(KeyboardInterrupt):
        share(step, 3, cancelled.set)
    assert not [thread for thread in threading.enumerate() if thread.name == "s3memo-part"]


def test_where_no_thread_can_be_started_the_caller_does_it_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    turns = iter([True, True, False])
    share(lambda: next(turns), 3, lambda: None)

    assert next(turns, None) is None
    assert parts._crew._free == 12


# on real servers


@pytest.fixture
def proxy(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[CountingProxy]:
    if s3_server.name == "rclone":  # it loses parts that come side by side, now and then
        monkeypatch.setattr(multipart, "HELPERS", 0)
    with CountingProxy(s3_server) as counting:
        yield counting


@pytest.fixture
def bucket(proxy: CountingProxy) -> str:
    return proxy.server.make_bucket()


@pytest.fixture
def real(proxy: CountingProxy, bucket: str) -> Iterator[S3Store]:
    """A store on a real server, behind what can fail."""
    store = S3Store(bucket, "root", client_options=proxy.server.client_options, operation_timeout=120, sleep=no_pause)
    yield store
    store.close()


@pytest.fixture
def begun(proxy: CountingProxy, bucket: str) -> Callable[[], int]:
    """Return how many uploads the server has that were neither ended nor given up."""

    def count() -> int:
        return len(proxy.server.client.list_multipart_uploads(Bucket=bucket).get("Uploads", []))

    return count


def is_part(request: Received) -> bool:
    return "partNumber" in request.query


def is_end(request: Received) -> bool:
    return request.method == "POST" and "uploadId" in request.query


class Unheard:
    """An exchange whose request arrives, and whose answer does not."""

    def __init__(self, exchange: Exchange) -> None:
        self.received, self.body = exchange.received, exchange.body

    def begin_answer(self, *_: object) -> None: ...

    def write(self, _: bytes) -> None: ...


def when(matches: Callable[[Received], bool], behave: Behaviour, otherwise: Behaviour, *, times: int = -1) -> Behaviour:
    """Do something else so many times, or always, where a request matches."""
    left, lock = [times], threading.Lock()

    def act(exchange: Exchange) -> None:
        with lock:
            is_meant = matches(exchange.received) and left[0] != 0
            left[0] -= is_meant
        (behave if is_meant else otherwise)(exchange)

    return act


def test_there_and_back(proxy: CountingProxy, real: S3Store, begun: Callable[[], int]) -> None:
    for data, puts in ((LARGE[: PART - 1], 1), (LARGE[:PART], 3), (LARGE, 5), (VERY_LARGE, 7)):
        proxy.reset()
        view = memoryview(data)
        assert requests_of(lambda: real.put("job/a", view)) == {"PUT": puts}  # noqa: B023  it is called at once
        assert proxy.counts() == {"PUT": puts}

        proxy.reset()
        got: list[bytearray] = []
        counted = requests_of(lambda: got.append(real.get("job/a")))  # noqa: B023  as above
        assert got == [data]
        assert counted == proxy.counts()
        assert counted["GET"] <= (5 if len(data) >= PARALLEL else 1)
        assert [(info.key, info.size) for info in real.list("")] == [("job/a", len(data))]
    assert begun() == 0


def test_a_part_that_fails_is_sent_again(proxy: CountingProxy, real: S3Store) -> None:
    for trouble in (hang_up, refusal(503, "SlowDown"), Exchange.reset):
        proxy.reset()
        proxy.behave = when(is_part, trouble, proxy.relay, times=2)
        real.put("job/a", LARGE)

        assert proxy.counts() == {"PUT": 7}
        assert real.get("job/a") == LARGE


def test_nothing_is_seen_of_an_upload_that_fails(proxy: CountingProxy, real: S3Store, begun: Callable[[], int]) -> None:
    def is_last(request: Received) -> bool:
        return request.query.get("partNumber") == "3"

    proxy.behave = when(is_last, refusal(503, "SlowDown"), proxy.relay)
    with pytest.raises(StoreUnavailableError, match=r"cannot write s3://.*/root/job/a .*in 3 attempts.*503 SlowDown"):
        real.put("job/a", LARGE)

    assert proxy.counts()["DELETE"] == 1
    assert keys(real.list("")) == []
    assert begun() == 0


def test_the_answer_to_the_end_is_lost(proxy: CountingProxy, real: S3Store) -> None:
    """A server that forgets an upload once it is ended says then that there is none."""

    def lose(exchange: Exchange) -> None:
        unheard: Any = Unheard(exchange)
        proxy.relay(unheard)
        exchange.hang_up()

    for times in (1, 3):
        proxy.behave = when(is_end, lose, proxy.relay, times=times)
        real.put(f"job/{times}", LARGE)
        assert real.get(f"job/{times}") == LARGE
    assert "DELETE" not in proxy.counts()


def test_an_end_that_fails(proxy: CountingProxy, real: S3Store, begun: Callable[[], int]) -> None:
    """An object that was there before is not taken for what was to be written, although it has the same size."""
    real.put("job/a", bytes(len(LARGE)))
    for trouble, error in (
        (refusal(503, "SlowDown"), StoreUnavailableError),
        (refusal(404, "NoSuchUpload"), StoreError),
        (hang_up, StoreUnavailableError),
    ):
        proxy.behave = when(is_end, trouble, proxy.relay)
        with pytest.raises(error) as caught:
            real.put("job/a", LARGE)
        assert type(caught.value) is error
        assert "create the bucket" not in str(caught.value)

    assert real.get("job/a") == bytes(len(LARGE))
    assert begun() == 0


def test_a_server_that_loses_parts_gets_them_one_by_one(scripted: ScriptedServer, uploads: Uploads) -> None:
    scripted.behave = when(is_end, refusal(400, "InvalidPart"), uploads, times=1)
    store = S3Store("bucket", client=scripted.server.client, sleep=no_pause)
    assert requests_of(lambda: store.put("a", LARGE)) == {"PUT": 10, "DELETE": 1, "GET": 1}
    assert len(uploads.bodies) == 1
    sent = [int(request.query["partNumber"]) for request in scripted.requests if is_part(request)]
    assert sent[3:] == [1, 2, 3]

    scripted.behave = when(is_end, refusal(400, "InvalidPart"), uploads)
    with pytest.raises(StoreError, match="lost a part that it had acknowledged"):
        store.put("a", LARGE)


def test_threads_carry_many_at_a_time(real: S3Store) -> None:
    most = [0]

    def carry(number: int) -> None:
        data = LARGE[number:]
        real.put(f"job/{number}", data)
        most[0] = max(most[0], sum(thread.name == "s3memo-part" for thread in threading.enumerate()))
        assert real.get(f"job/{number}") == data

    assert start_together(lambda number=number: carry(number) for number in range(8)) == [None] * 8
    assert most[0] <= 12
    assert parts._crew._free == 12


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_has_helpers_of_its_own(rclone_s3: S3Server) -> None:
    store = S3Store(rclone_s3.make_bucket(), client_options=rclone_s3.client_options)
    store.put("parent", VERY_LARGE)
    hired = parts._crew.hire(12)
    child = os.fork()
    if child == 0:
        try:
            store.put("child", store.get("parent"))
            os._exit(parts._crew._free - 12)
        finally:
            os._exit(99)
    parts._crew.dismiss(hired)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert store.get("child") == VERY_LARGE
    store.close()


def test_a_create_goes_in_one_request(moto: S3Server) -> None:
    store = S3Store(moto.make_bucket(), client=moto.client)

    assert requests_of(lambda: store.put("state/1", LARGE, mode="create")) == {"PUT": 1}
    with pytest.raises(AlreadyExistsError):
        store.put("state/1", LARGE, mode="create")


# what is sent


class Uploads:
    """A server of multipart uploads, as far as it must be; `bodies` are those of the requests that end one."""

    def __init__(self) -> None:
        self.bodies: list[str] = []

    def __call__(self, exchange: Exchange) -> None:
        request = exchange.received
        if "uploads" in request.query:
            exchange.answer(
                200, b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
            )
        elif is_part(request):
            exchange.body.read()
            checksum = request.headers.get("x-amz-checksum-crc32", "")
            exchange.answer(200, headers={"ETag": f'"{request.query["partNumber"]}"', "x-amz-checksum-crc32": checksum})
        elif is_end(request):
            self.bodies.append(exchange.body.read().decode())
            exchange.answer(200, b"<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>")
        else:
            exchange.answer(204)


@pytest.fixture
def uploads(scripted: ScriptedServer) -> Uploads:
    server = Uploads()
    scripted.behave = server
    return server


def test_put_options_go_to_the_requests_that_take_them(scripted: ScriptedServer, uploads: Uploads) -> None:
    options = {
        "ExpectedBucketOwner": "123456789012",
        "StorageClass": "STANDARD_IA",
        "ServerSideEncryption": "aws:kms",
        "SSEKMSKeyId": "key",
        "SSECustomerAlgorithm": "AES256",
        "SSECustomerKey": "k" * 32,
        "Metadata": {"team": "red"},
    }
    store = S3Store("bucket", client=scripted.server.client, put_options=options, sleep=no_pause)
    store.put("a", LARGE)
    scripted.behave = when(is_end, answer(400), uploads)
    with pytest.raises(StoreError):
        store.put("a", LARGE)

    def sent(header: str) -> dict[str, set[str | None]]:
        found: dict[str, set[str | None]] = {}
        for request in scripted.requests:
            step = "begin" if "uploads" in request.query else "part" if is_part(request) else request.method
            found.setdefault(step, set()).add(request.headers[header])
        return found

    owner = {"123456789012"}
    assert sent("x-amz-expected-bucket-owner") == dict.fromkeys(["begin", "part", "POST", "HEAD", "DELETE"], owner)
    for header in ("x-amz-storage-class", "x-amz-server-side-encryption", "x-amz-meta-team"):
        assert [step for step, values in sent(header).items() if values != {None}] == ["begin"]
    assert [
        step for step, values in sent("x-amz-server-side-encryption-customer-algorithm").items() if None in values
    ] == ["DELETE"]


def test_where_boto3_adds_checksums_all_requests_know(scripted: ScriptedServer, uploads: Uploads) -> None:
    options = scripted.server.client_options | {"config": Config(request_checksum_calculation="when_supported")}
    S3Store("bucket", client_options=options).put("a", LARGE)
    S3Store("bucket", client=scripted.server.client).put("a", LARGE)

    begins = [
        request.headers["x-amz-checksum-algorithm"] for request in scripted.requests if "uploads" in request.query
    ]
    assert begins == ["CRC32", None]
    assert [body.count("<ChecksumCRC32>") for body in uploads.bodies] == [3, 0]
    assert [body.count("<ETag>") for body in uploads.bodies] == [3, 3]


def test_a_server_without_multipart_uploads(scripted: ScriptedServer) -> None:
    scripted.behave = answer(200)
    with pytest.raises(StoreNotSupportedError, match=r"begins no multipart upload.*max_entry_bytes"):
        S3Store("bucket", client=scripted.server.client).put("a", LARGE)


def test_an_upload_may_take_as_long_as_it_gets_on(
    scripted: ScriptedServer, uploads: Uploads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(multipart, "HELPERS", 0)
    now = [0.0]
    takes = [10.0]

    def behave(exchange: Exchange) -> None:
        now[0] += takes[0] * is_part(exchange.received)
        uploads(exchange)

    scripted.behave = behave
    store = S3Store("bucket", client=scripted.server.client, clock=lambda: now[0], sleep=no_pause)
    store.put("a", VERY_LARGE)
    assert now[0] == 50

    takes[0] = 16.0
    with pytest.raises(StoreUnavailableError, match=r"bytes moved within operation_timeout=15 seconds"):
        store.put("a", VERY_LARGE)


def test_what_the_begin_takes_is_not_taken_from_the_parts(
    scripted: ScriptedServer, uploads: Uploads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(multipart, "HELPERS", 0)
    now = [0.0]

    def behave(exchange: Exchange) -> None:
        now[0] += 16 * ("uploads" in exchange.received.query)
        uploads(exchange)

    scripted.behave = behave
    S3Store("bucket", client=scripted.server.client, clock=lambda: now[0], sleep=no_pause).put("a", LARGE)
    assert len(uploads.bodies) == 1


def test_an_interrupted_upload_is_given_up(scripted: ScriptedServer, uploads: Uploads) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    scripted.behave = when(is_part, refusal(503), uploads, times=1)
    with pytest.raises(KeyboardInterrupt):
        S3Store("bucket", client=scripted.server.client, sleep=interrupt).put("a", LARGE)
    assert scripted.requests[-1].method == "DELETE"


# obstore


def test_obstore_there_and_back(proxy: CountingProxy, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy.server.set_environment(monkeypatch)
    store = ObjectStore(f"s3+obstore://{bucket}/root")
    ignores_ranges = proxy.server.name == "rclone"  # it sends them as if they were the whole
    for data, puts in ((LARGE[:PART], 3), (LARGE, 5), (VERY_LARGE, 7)):
        assert requests_of(lambda: store.put("job/a", bytearray(data))) == {"PUT": puts}  # noqa: B023  it is called at once
        proxy.reset()
        got: list[Any] = []
        counted = requests_of(lambda: got.append(store.get("job/a")))  # noqa: B023  as above
        assert got == [data]
        assert counted == proxy.counts()
        assert ignores_ranges or counted == {"GET": puts - 2}


def given_engine(server: S3Server, bucket: str) -> ObjectStore:
    engine = engine_on(bucket, server.client_options, retry_config={"max_retries": 0})
    return ObjectStore(engine, "root", sleep=no_pause)


def test_an_engine_of_ones_own_sends_parts_by_itself(ceph_s3: S3Server) -> None:
    bucket = ceph_s3.make_bucket()
    with CountingProxy(ceph_s3) as proxy:
        store = given_engine(proxy.server, bucket)
        assert requests_of(lambda: store.put("job/a", LARGE)) == proxy.counts() == {"PUT": 5}
        assert store.get("job/a") == LARGE

        proxy.behave = when(is_part, refusal(503, "SlowDown"), proxy.relay, times=1)
        store.put("job/b", LARGE)
        assert store.get("job/b") == LARGE

        proxy.behave = when(is_part, refusal(403, "AccessDenied"), proxy.relay)
        with pytest.raises(StoreAccessError):
            store.put("job/c", LARGE)
        assert keys(store.list("")) == ["job/a", "job/b"]
        assert "Uploads" not in ceph_s3.client.list_multipart_uploads(Bucket=bucket)


def test_obstores_memory_takes_large_objects() -> None:
    store = ObjectStore(obstore.store.MemoryStore())
    store.put("a", LARGE)

    assert store.get("a") == LARGE


def test_obstore_asks_again_for_a_part(scripted: ScriptedServer) -> None:
    store = given_engine(scripted.server, "bucket")
    scripted.behave = when(is_range, hang_up, serves(LARGE), times=2)
    assert store.get("a") == LARGE
    scripted.behave = when(is_whole, serves(LARGE), serves(LARGE, etag='"2"'))
    with pytest.raises(StoreError, match="was replaced while it was read"):
        store.get("a")
    scripted.behave = serves(LARGE, ranges=False)
    assert store.get("a") == LARGE
    scripted.behave = when(is_range, refusal(404, "NoSuchKey"), serves(LARGE))
    with pytest.raises(NotFoundError):
        store.get("a")


# what is read


def serves(data: bytes, *, ranges: bool = True, etag: str = '"1"') -> Behaviour:
    """A server of one object, with or without ranges."""

    def behave(exchange: Exchange) -> None:
        wanted = exchange.received.headers["Range"]
        if wanted is None or not ranges:
            send(exchange, data, {"ETag": '"1"'})
            return
        first, last = map(int, wanted.removeprefix("bytes=").split("-"))
        head = {"ETag": etag, "Content-Range": f"bytes {first}-{last}/{len(data)}"}
        send(exchange, data[first : last + 1], head)

    return behave


def send(exchange: Exchange, data: bytes, headers: dict[str, str], *, only: int | None = None) -> None:
    common = {"Content-Length": str(len(data)), "Last-Modified": "Mon, 23 Nov 2026 06:30:00 GMT"}
    exchange.begin_answer(206 if "Content-Range" in headers else 200, common | headers)
    exchange.write(data[:only])
    if only is not None:
        exchange.hang_up()


def breaks_off(data: bytes, at: int) -> Behaviour:
    return lambda exchange: send(exchange, data, {"ETag": '"1"'}, only=at)


def is_whole(request: Received) -> bool:
    return request.headers["Range"] is None


def is_range(request: Received) -> bool:
    return not is_whole(request)


@pytest.fixture(params=[LARGE, VERY_LARGE], ids=["large", "very large"])
def data(request: pytest.FixtureRequest) -> bytes:
    found: bytes = request.param
    return found


@pytest.mark.parametrize("size", [10**15, 10**18])
def test_a_size_that_no_memory_holds_is_told(scripted: ScriptedServer, store: S3Store, size: int) -> None:
    scripted.behave = lambda exchange: send(exchange, b"x", {"ETag": '"1"', "Content-Length": str(size)}, only=1)
    for each in (store, given_engine(scripted.server, "bucket")):
        with pytest.raises(StoreError, match=f"a: the server says that it has {size:,} bytes") as caught:
            each.get("a")
        assert type(caught.value) is StoreError


def test_what_broke_off_is_asked_for_in_parts(scripted: ScriptedServer, store: S3Store, data: bytes) -> None:
    for at in (0, 3 * MIB, PART, len(LARGE) - 1):
        scripted.reset()
        scripted.behave = when(is_whole, breaks_off(data, at), serves(data))
        assert store.get("a") == data
        most = 1 + len(cut(len(data)))
        assert scripted.counts()["GET"] == most - at // PART if data is LARGE else scripted.counts()["GET"] <= most


def test_a_server_that_knows_no_ranges(scripted: ScriptedServer, store: S3Store, data: bytes) -> None:
    scripted.behave = serves(data, ranges=False)
    assert store.get("a") == data

    scripted.behave = when(lambda _: True, breaks_off(data, 3 * MIB), serves(data, ranges=False), times=1)
    with pytest.raises(StoreUnavailableError, match="cannot read s3://bucket/root/a"):
        store.get("a")


def test_a_server_that_knows_ranges_now_and_then(scripted: ScriptedServer, store: S3Store) -> None:
    last = f"bytes={cut(len(VERY_LARGE))[-1].start}-"

    def is_last(request: Received) -> bool:
        return (request.headers["Range"] or "").startswith(last)

    scripted.behave = when(is_last, serves(VERY_LARGE, ranges=False), serves(VERY_LARGE))
    assert store.get("a") == VERY_LARGE


@pytest.mark.parametrize("at", [0, 4 * MIB])
@pytest.mark.parametrize("lies", [True, False], ids=["another range", "cut off"])
def test_a_range_that_is_not_all_there(
    scripted: ScriptedServer, store: S3Store, data: bytes, at: int, lies: bool
) -> None:
    def behave(exchange: Exchange) -> None:
        first, last = map(int, exchange.received.headers["Range"].removeprefix("bytes=").split("-"))
        end = first + at if lies else last
        head = {"ETag": '"1"', "Content-Range": f"bytes {first}-{end}/{len(data)}"}
        if lies:
            send(exchange, data[first : end + 1], head)
        else:
            send(exchange, data[first : last + 1], head, only=at)

    broken = when(is_whole, breaks_off(data, MIB), serves(data))
    scripted.behave = when(is_range, behave, broken, times=2)
    assert store.get("a") == data

    scripted.behave = when(is_range, behave, broken)
    with pytest.raises(StoreUnavailableError, match="cannot read s3://bucket/root/a"):
        store.get("a")


def test_an_object_that_is_replaced_or_deleted_meanwhile(scripted: ScriptedServer, store: S3Store, data: bytes) -> None:
    for changed in (serves(data, etag='"2"'), serves(data + b"x")):
        scripted.behave = when(is_whole, breaks_off(data, MIB), changed)
        with pytest.raises(StoreError, match="was replaced while it was read"):
            store.get("a")
    scripted.behave = when(is_whole, breaks_off(data, MIB), refusal(404, "NoSuchKey"))
    with pytest.raises(NotFoundError):
        store.get("a")


def test_one_attempt_is_one(scripted: ScriptedServer) -> None:
    scripted.behave = breaks_off(LARGE, MIB)
    store = S3Store("bucket", client=scripted.server.client, attempts=1)
    with pytest.raises(StoreUnavailableError):
        store.get("a")
    assert scripted.counts() == {"GET": 1}


def test_helpers_take_from_the_end_what_is_slow_to_come(scripted: ScriptedServer) -> None:
    """While the first answer stalls, the others bring all the rest."""
    options = scripted.server.client_options
    store = S3Store("bucket", client_options=options, read_timeout=60, operation_timeout=120, sleep=no_pause)
    asked = threading.Semaphore(0)

    def stall(exchange: Exchange) -> None:
        exchange.begin_answer(200, {"Content-Length": str(len(VERY_LARGE)), "ETag": '"1"'})
        exchange.write(VERY_LARGE[:MIB])
        for _ in range(4):
            asked.acquire(timeout=60)
        exchange.write(VERY_LARGE[MIB:])

    def part(exchange: Exchange) -> None:
        serves(VERY_LARGE)(exchange)
        asked.release()

    scripted.behave = when(is_whole, stall, part)
    assert store.get("a") == VERY_LARGE
    ranges = {request.headers["Range"] for request in scripted.requests}
    assert ranges == {None, *(f"bytes={piece.start}-{piece.stop - 1}" for piece in cut(len(VERY_LARGE))[1:])}
    assert download.HELPERS == 3
