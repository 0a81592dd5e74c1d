"""Trouble as a new user meets it: the function returns all the same, and one line says what happened and what to do."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from s3memo import Cache, S3Store, StoreAccessError, StoreError, StoreUnavailableError
from tests.servers.recording import Exchange, RecordingServer
from tests.servers.server import S3Server, free_port

DENIED = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>not allowed</Message></Error>"


def double(number: int) -> int:
    return 2 * number


def assert_harmless(store: S3Store, caplog: pytest.LogCaptureFixture, kind: type[StoreError], *words: str) -> None:
    """A decorated function works on the store, says so once, and what is asked of the store itself raises."""
    function = Cache(store).cached(name="jobs.double", version=1)(double)
    assert function(1) == function(1) == 2
    assert function.cache_get(3) is None
    [warning] = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    for word in (kind.__name__, "jobs.double", *words):
        assert word in warning
    with pytest.raises(kind):
        function.cache_invalidate(1)
    assert function.cache_info().errors == 3


def test_a_bucket_that_does_not_exist(s3_server: S3Server, caplog: pytest.LogCaptureFixture) -> None:
    store = S3Store("no-such-bucket", "results", client_options=s3_server.client_options)
    assert_harmless(store, caplog, StoreAccessError, "s3://no-such-bucket", "create the bucket")


def test_wrong_credentials(ceph_s3: S3Server, caplog: pytest.LogCaptureFixture) -> None:
    options = ceph_s3.client_options | {"aws_secret_access_key": "wrong"}
    store = S3Store(ceph_s3.make_bucket(), client_options=options)
    assert_harmless(store, caplog, StoreAccessError, "credentials")


def test_no_credentials(ceph_s3: S3Server, caplog: pytest.LogCaptureFixture) -> None:
    options = {"endpoint_url": ceph_s3.endpoint, "region_name": ceph_s3.region}
    assert_harmless(S3Store(ceph_s3.make_bucket(), client_options=options), caplog, StoreAccessError, "credentials")


@pytest.fixture
def denying() -> Iterator[RecordingServer]:
    def behave(exchange: Exchange) -> None:
        exchange.answer(403, DENIED, {"Content-Type": "application/xml"})

    with RecordingServer(behave) as server:
        yield server


def options_for(endpoint: str) -> dict[str, Any]:
    return S3Server("scripted", endpoint).client_options


def test_no_permission_to_list(denying: RecordingServer, caplog: pytest.LogCaptureFixture) -> None:
    store = S3Store("bucket", "results", client_options=options_for(denying.endpoint))
    assert_harmless(store, caplog, StoreAccessError, "s3:ListBucket", "s3://bucket/results")


def test_an_endpoint_where_nobody_listens(caplog: pytest.LogCaptureFixture) -> None:
    endpoint = f"http://127.0.0.1:{free_port()}"
    store = S3Store("bucket", client_options=options_for(endpoint), sleep=lambda _: None)
    assert_harmless(store, caplog, StoreUnavailableError, endpoint)


def test_a_profile_that_does_not_exist(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("AWS_PROFILE", "no-such-profile")
    assert_harmless(S3Store("bucket"), caplog, StoreAccessError, "no-such-profile")


def test_a_bucket_that_may_be_read_but_not_written(ceph_s3: S3Server, caplog: pytest.LogCaptureFixture) -> None:
    bucket = ceph_s3.make_bucket()
    for number in (1, 2):
        Cache(S3Store(bucket, client_options=ceph_s3.client_options)).cached(name="jobs.double", version=1)(double)(
            number
        )
    store = S3Store(bucket, client_options=ceph_s3.client_options)
    function = Cache(ReadOnlyRole(store)).cached(name="jobs.double", version=1)(double)
    assert [function(number) for number in (1, 2, 3, 3)] == [2, 4, 6, 6]
    info = function.cache_info()
    assert (info.store_hits, info.memory_hits, info.misses, info.errors) == (2, 1, 1, 1)


class ReadOnlyRole:
    """A store whose role may list and get: puts are refused as S3 refuses them."""

    def __init__(self, store: S3Store) -> None:
        self.url, self.list, self.get, self.delete, self.time = (
            store.url,
            store.list,
            store.get,
            store.delete,
            store.time,
        )

    def put(self, object_key: str, data: bytes, *, mode: str = "overwrite") -> None:
        raise StoreAccessError(f"may not put {object_key}")
