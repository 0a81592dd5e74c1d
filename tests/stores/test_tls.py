"""Servers that speak TLS with a certificate of the company's own, which AWS_CA_BUNDLE names."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from s3memo import Cache, ObjectStore, S3Store, StoreUnavailableError
from s3memo.stores.base import Store
from tests.servers.rclone import RcloneServer, rclone_server

LARGE = bytes(9 * 1024 * 1024)
"""It travels in parts, over connections of its own."""

AUTHORITY = trustme.CA()


@pytest.fixture(scope="module")
def server() -> Iterator[RcloneServer]:
    with rclone_server(AUTHORITY.issue_cert("127.0.0.1")) as server:
        (server.directory / "results").mkdir()
        yield server


@pytest.fixture(params=["s3", "s3+obstore"])
def store(request: pytest.FixtureRequest, server: RcloneServer, monkeypatch: pytest.MonkeyPatch) -> Store:
    server.set_environment(monkeypatch)
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
    if request.param == "s3":
        return S3Store("results", "jobs", sleep=lambda _: None)
    return ObjectStore("s3+obstore://results/jobs", sleep=lambda _: None)


def test_a_certificate_of_the_bundle_is_trusted(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = tmp_path / "authority.pem"
    AUTHORITY.cert_pem.write_to_path(bundle)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(bundle))

    for name, data in (("small", b"1"), ("large", LARGE)):
        store.put(name, data)
        assert bytes(store.get(name)) == data
    assert {info.key for info in store.list("")} == {"small", "large"}
    bounds = store.time()
    assert bounds.earliest < bounds.latest
    store.delete(["small", "large"])
    assert list(store.list("")) == []


def test_a_strange_certificate_is_named_with_what_to_do(store: Store) -> None:
    for ask in (lambda: store.put("a", b"1"), lambda: store.get("a"), lambda: list(store.list("")), store.time):
        with pytest.raises(StoreUnavailableError, match=r"(?i)certificate.*AWS_CA_BUNDLE"):
            ask()


def test_a_strange_certificate_is_in_nobodys_way(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    @Cache(store).cached(name="double", version=1)
    def double(number: int) -> int:
        return 2 * number

    with caplog.at_level(logging.WARNING, "s3memo"):
        assert [double(1), double(2)] == [2, 4]
    (told,) = caplog.messages
    assert "AWS_CA_BUNDLE" in told
