"""How S3Store asks: the client it makes, how long it waits, and what time it is told."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from typing import Any

import pytest
from botocore.config import Config
from botocore.utils import parse_timestamp

from s3memo import __version__
from s3memo.errors import (
    StoreError,
    StoreNotSupportedError,
    StoreUnavailableError,
)
from s3memo.stores.retry import RetryPolicy
from s3memo.stores.s3 import S3Store
from s3memo.stores.s3.client import make_client
from s3memo.stores.s3.direct import read_time
from tests.servers.recording import Behaviour, Exchange
from tests.servers.scripted import ScriptedServer, answer, deleted, page, refusal, script
from tests.servers.server import S3Server
from tests.stores.conftest import no_pause


def warm_store(scripted: ScriptedServer, **options: Any) -> S3Store:
    """A store of its own on the scripted server, whose client is made already: that takes time."""
    behave = scripted.behave
    scripted.behave = answer(200)
    store = store_at(scripted.endpoint, **options)
    store.get("warm")
    scripted.behave = behave
    return store


def store_at(endpoint: str, **options: Any) -> S3Store:
    return S3Store("bucket", "root", client_options=S3Server("any", endpoint).client_options, **options)


# the client it makes


def test_client_on_aws() -> None:
    client = make_client({"region_name": "eu-west-1"}, RetryPolicy())
    config: Any = client.meta.config

    assert client.meta.endpoint_url == "https://s3.eu-west-1.amazonaws.com"
    assert (config.connect_timeout, config.read_timeout, config.max_pool_connections) == (3, 10, 1000)
    assert config.retries == {"total_max_attempts": 1, "mode": "standard"}
    assert config.request_checksum_calculation == "when_supported"
    assert config.response_checksum_validation == "when_supported"


def test_times_in_answers_are_read_quickly_and_as_boto3_reads_them() -> None:
    for text in ("2026-11-26T12:30:00.123Z", "2026-11-26T12:30:00Z", "Thu, 26 Nov 2026 12:30:00 GMT", 1795696200):
        assert read_time(text) == parse_timestamp(text)
    for wrong in ("yesterdayZ", "soon"):
        with pytest.raises(ValueError, match="Invalid timestamp"):
            read_time(wrong)


@pytest.mark.parametrize(
    "endpoint", ["http://127.0.0.1:9000", "https://s3.example.com", "https://amazonaws.com.evil.net"]
)
def test_client_elsewhere(endpoint: str) -> None:
    client = make_client({"endpoint_url": endpoint}, RetryPolicy(connect_timeout=1, read_timeout=2))
    config: Any = client.meta.config

    assert config.request_checksum_calculation == "when_required"
    assert config.response_checksum_validation == "when_required"
    assert (config.connect_timeout, config.read_timeout) == (1, 2)


def test_a_config_of_ones_own_beats_ours() -> None:
    theirs = Config(read_timeout=7, request_checksum_calculation="when_supported")
    config: Any = make_client({"endpoint_url": "http://127.0.0.1:9", "config": theirs}, RetryPolicy()).meta.config

    assert (config.connect_timeout, config.read_timeout) == (3, 7)
    assert config.request_checksum_calculation == "when_supported"
    assert config.response_checksum_validation == "when_required"


def test_the_server_learns_who_asks(scripted: ScriptedServer) -> None:
    scripted.behave = page()
    list(store_at(scripted.endpoint).list(""))

    assert f"s3memo/{__version__}" in scripted.requests[0].headers["User-Agent"]


# time-outs


def test_a_refused_port_is_tried_three_times() -> None:
    with socket.socket() as taken:  # bound and not listening: the port refuses, and nobody else gets it
        taken.bind(("127.0.0.1", 0))
        pauses: list[float] = []
        store = store_at(f"http://127.0.0.1:{taken.getsockname()[1]}", sleep=pauses.append)
        with pytest.raises(
            StoreUnavailableError, match=r"in 3 attempts: EndpointConnectionError: .*check the endpoint"
        ):
            store.get("a")

    assert len(pauses) == 2
    assert pauses[0] <= 0.2
    assert pauses[1] <= 0.4


def test_a_server_that_is_not_reached_is_told_of_even_if_time_ran_out() -> None:
    """Its name may have many addresses, each of which is tried for a whole connect_timeout."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        hours = itertools.count(step=3600.0)
        store = store_at(f"http://127.0.0.1:{taken.getsockname()[1]}", clock=lambda: next(hours))
        with pytest.raises(StoreUnavailableError, match=r"EndpointConnectionError: .*check the endpoint"):
            store.get("a")


def test_silence_is_waited_out_only_as_long_as_the_operation_may_take() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        store = store_at(endpoint, attempts=500, connect_timeout=0.1, read_timeout=0.4, operation_timeout=1.0)
        for operation in (lambda: store.get("a"), lambda: store.put("a", b"x"), lambda: list(store.list(""))):
            begun = time.monotonic()
            with pytest.raises(StoreUnavailableError, match=r"ReadTimeoutError|operation_timeout"):
                operation()
            assert time.monotonic() - begun < 60, "five hundred attempts would take two hundred seconds"


def test_a_body_that_stalls_ends_with_the_operation(scripted: ScriptedServer) -> None:
    over, passed = threading.Event(), [0.0]

    def stall(exchange: Exchange) -> None:
        exchange.begin_answer(200, {"Content-Length": "1000000"})
        passed[0] = 99.5
        exchange.write(b"x" * 300_000)
        over.wait(100)

    scripted.behave = stall
    store = warm_store(scripted, read_timeout=97, operation_timeout=100, clock=lambda: passed[0])
    begun = time.monotonic()
    with pytest.raises(StoreUnavailableError, match="cannot read s3://bucket/root/a"):
        store.get("a")
    over.set()
    assert time.monotonic() - begun < 60, "half a second was left, and not another read_timeout"


def test_a_body_that_trickles_ends_with_the_operation(scripted: ScriptedServer) -> None:
    over = threading.Event()

    def trickle(exchange: Exchange) -> None:
        exchange.begin_answer(200, {"Content-Length": "100000000"})
        while not over.wait(0.1):
            exchange.write(b"x" * 300_000)

    scripted.behave = trickle
    store = warm_store(scripted, connect_timeout=0.1, read_timeout=0.5, operation_timeout=0.7)
    with pytest.raises(StoreUnavailableError, match=r"bytes moved within operation_timeout=0\.7 seconds"):
        store.get("a")
    over.set()


def reads_slowly(pause: threading.Event, seconds: float) -> Behaviour:
    def behave(exchange: Exchange) -> None:
        while exchange.body.read(1_000_000):
            pause.wait(seconds)
        exchange.answer(200)

    return behave


def test_an_upload_may_take_longer_than_a_time_out(scripted: ScriptedServer) -> None:
    never = threading.Event()
    scripted.behave = reads_slowly(never, 0.1)
    store = warm_store(scripted, connect_timeout=0.5, read_timeout=2)
    begun = time.monotonic()
    store.put("a", bytes(8_000_000))

    assert time.monotonic() - begun > 0.5


def test_an_upload_ends_with_the_operation(scripted: ScriptedServer) -> None:
    over = threading.Event()
    scripted.behave = reads_slowly(over, 0.1)
    store = warm_store(scripted, connect_timeout=0.2, read_timeout=0.2, operation_timeout=0.5)
    with pytest.raises(StoreUnavailableError, match=r"cannot write .*operation_timeout=0\.5 seconds"):
        store.put("a", bytes(40_000_000), mode="create")
    over.set()


def test_no_attempt_begins_that_could_not_end_in_time(scripted: ScriptedServer) -> None:
    now = [0.0]

    def busy(exchange: Exchange) -> None:
        now[0] += 1.5
        refusal(503, "SlowDown")(exchange)

    scripted.behave = busy
    store = S3Store("bucket", client=scripted.server.client, clock=lambda: now[0], sleep=no_pause, attempts=10)
    with pytest.raises(StoreUnavailableError, match="in 2 attempts"):
        store.get("a")
    assert scripted.counts() == {"GET": 2}  # after 3 s, 3 to connect and 10 to read would end behind 15


# time


def dated(date: str) -> dict[str, str]:
    return {"Date": date}


def test_time_is_the_servers(scripted: ScriptedServer) -> None:
    now = [50.0]
    store = S3Store("bucket", client=scripted.server.client, clock=lambda: now[0])
    scripted.behave = page(headers=dated("Sun, 06 Nov 1994 08:49:37 GMT"))

    assert store.time() == (784111777.0, 784111778.0)
    now[0] += 10
    assert store.time() == pytest.approx((784111787.0, 784111788.0), abs=0.01)
    assert [(request.kind, request.query["max-keys"]) for request in scripted.requests] == [("LIST", "1")]


@pytest.mark.parametrize("status", [404, 403, 503])
def test_an_error_tells_the_time_too(scripted: ScriptedServer, status: int) -> None:
    store = S3Store("bucket", client=scripted.server.client, clock=lambda: 50.0, sleep=no_pause)
    scripted.behave = answer(status, headers=dated("Sun, 06 Nov 1994 08:49:37 GMT"))
    with pytest.raises(StoreError):
        store.get("a")
    scripted.reset()

    assert store.time() == (784111777.0, 784111778.0)
    assert scripted.requests == []


def test_every_answer_narrows(scripted: ScriptedServer) -> None:
    now = [50.9]
    store = S3Store("bucket", client=scripted.server.client, clock=lambda: now[0])
    scripted.behave = script(
        page(headers=dated("Sun, 06 Nov 1994 08:49:37 GMT")),
        answer(200, headers=dated("Sun, 06 Nov 1994 08:49:38 GMT")),
        deleted(),
    )
    assert store.time() == (784111777.0, 784111778.0)
    now[0] += 0.2
    store.put("a", b"x")
    earliest, latest = store.time()

    assert earliest >= 784111778.0
    assert latest == pytest.approx(784111778.2, abs=0.01)


def test_an_answer_without_a_date_narrows_nothing(scripted: ScriptedServer) -> None:
    store = S3Store("bucket", client=scripted.server.client, clock=lambda: 50.0)
    scripted.behave = page(headers=dated(""))
    with pytest.raises(StoreNotSupportedError, match="answers without a Date header"):
        store.time()

    scripted.behave = page(headers=dated("Sun, 06 Nov 1994 08:49:37 GMT"))
    assert store.time() == (784111777.0, 784111778.0)
    scripted.behave = answer(200, headers=dated(""))
    store.put("a", b"x")
    assert store.time() == (784111777.0, 784111778.0)
