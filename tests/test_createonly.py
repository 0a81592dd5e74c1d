"""A store that does not really enforce create-only is found out, before an update is lost to it."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path
from typing import Any

import pytest

from s3memo import LocalStore, MemoryStore, ObjectStore, S3Store, ServiceState, TieredStore
from s3memo.createonly import PROBE_ROOT, ROUNDS, WRITERS, check_create_only, marker_of, markers_of, probe
from s3memo.errors import AlreadyExistsError, StoreAccessError, StoreNotSupportedError, StoreUnavailableError
from s3memo.stores.base import Buffer, PutMode
from tests.servers.server import S3Server


class StrangeStore(MemoryStore):
    """A store that does not say whether it enforces create-only, and counts."""

    enforces_create_only = False

    def __init__(self) -> None:
        super().__init__()
        self.puts = 0
        self.gets = 0

    def put(self, object_key: str, data: Buffer, *, mode: PutMode = "overwrite") -> None:
        self.puts += 1
        super().put(object_key, data, mode=mode)

    def get(self, object_key: str) -> bytes:
        self.gets += 1
        return super().get(object_key)


class IgnoringStore(StrangeStore):
    """Takes the condition and ignores it."""

    def put(self, object_key: str, data: Buffer, *, mode: PutMode = "overwrite") -> None:
        super().put(object_key, data)


class VersionedStore(IgnoringStore):
    """Keeps what is overwritten, and lets every creator win."""

    versioning = "Enabled"


class SecretiveStore(StrangeStore):
    """Does not tell what its bucket does with old versions."""

    @property
    def versioning(self) -> str:
        raise StoreAccessError("403")


class RacyStore(StrangeStore):
    """Looks whether there is an object, and then writes it: right, as long as nobody else does the same."""

    def __init__(self) -> None:
        super().__init__()
        self.racing = threading.Barrier(WRITERS)

    def put(self, object_key: str, data: Buffer, *, mode: PutMode = "overwrite") -> None:
        if mode == "create":
            exists = any(self.list(object_key))
            self.racing.wait()
            if exists:
                raise AlreadyExistsError(object_key)
        super().put(object_key, data)


class SilentStore(StrangeStore):
    """Says that it wrote, and does so for one writer: another's data."""

    def put(self, object_key: str, data: Buffer, *, mode: PutMode = "overwrite") -> None:
        super().put(object_key, b"somebody else's", mode=mode)


class BusyStore(StrangeStore):
    """Has no answer for those who race."""

    def put(self, object_key: str, data: Buffer, *, mode: PutMode = "overwrite") -> None:
        if mode == "create":
            raise StoreUnavailableError("409")
        super().put(object_key, data)


def test_a_store_that_enforces_it_is_tried_once_and_marked() -> None:
    store = StrangeStore()
    check_create_only(store)
    assert store.puts == ROUNDS * WRITERS + 1
    assert [info.key for info in store.list("")] == [marker_of(store)]
    check_create_only(store)
    assert store.puts == ROUNDS * WRITERS + 1
    assert store.gets == ROUNDS + 1


def test_a_marker_spares_other_processes_the_trial() -> None:
    store = StrangeStore()
    store.put(marker_of(store), b"")
    check_create_only(store)
    assert (store.puts, store.gets) == (1, 1)


def test_a_marker_of_another_versioning_vouches_for_nothing() -> None:
    store, versioned = StrangeStore(), VersionedStore()
    assert markers_of(store) == {marker_of(store)}
    assert markers_of(versioned) == {marker_of(versioned), marker_of(versioned, "Enabled")}
    versioned.put(marker_of(versioned), b"")
    with pytest.raises(StoreNotSupportedError, match="does not enforce create-only"):
        check_create_only(versioned)


def test_a_versioning_that_one_may_not_ask_for_is_none() -> None:
    store = SecretiveStore()
    check_create_only(store)
    assert [info.key for info in store.list("")] == [marker_of(store)]


def test_a_store_that_says_so_is_not_tried(tmp_path: Path) -> None:
    for store in (MemoryStore(), LocalStore(tmp_path)):
        check_create_only(store)
        assert not list(store.list(""))


@pytest.mark.parametrize("kind", [IgnoringStore, RacyStore, SilentStore])
def test_a_store_that_does_not_is_refused_each_time_and_tried_once(kind: type[StrangeStore]) -> None:
    store = kind()
    tried = []
    for _ in range(2):
        with pytest.raises(
            StoreNotSupportedError, match=r"<MemoryStore .* does not enforce create-only: .* keep them in"
        ):
            ServiceState("job", store).set(1)
        tried.append(store.puts)
    assert tried[0] == tried[1]
    assert not any(info.key.startswith("v1/state/") for info in store.list(""))
    assert marker_of(store) not in {info.key for info in store.list("")}


def test_writers_without_an_answer_prove_nothing() -> None:
    probe(BusyStore())


def test_a_trial_for_which_threads_are_lacking_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    start, started = threading.Thread.start, itertools.count(1)

    def start_two(thread: threading.Thread) -> None:
        if next(started) > 2:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_two)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        probe(MemoryStore())


def test_a_marker_that_cannot_be_read_is_an_error() -> None:
    class Forbidden(StrangeStore):
        def get(self, object_key: str) -> bytes:
            raise StoreAccessError("403")

    with pytest.raises(StoreAccessError):
        check_create_only(Forbidden())


def test_aws_is_known_and_others_are_named_by_their_endpoint() -> None:
    aws = S3Store("bucket", client_options={"region_name": "eu-central-1"})
    assert aws.endpoint == "https://s3.eu-central-1.amazonaws.com"
    assert aws.enforces_create_only
    other = S3Store("bucket", client_options={"region_name": "x", "endpoint_url": "https://s3.example"})
    assert not other.enforces_create_only
    assert marker_of(other).startswith(PROBE_ROOT)
    assert marker_of(other) != marker_of(aws)


@pytest.mark.parametrize("s3_server", ["moto", "ceph_s3"], indirect=True)
def test_a_real_server_that_enforces_it_is_accepted(s3_server: S3Server) -> None:
    store = S3Store(s3_server.make_bucket(), client_options=s3_server.client_options)
    assert ServiceState("job", store).set(1) == 1
    assert store.get(marker_of(store)) == b"create-only held"


def test_a_real_server_that_ignores_it_is_refused(rclone_s3: S3Server) -> None:
    store = S3Store(rclone_s3.make_bucket(), client_options=rclone_s3.client_options)
    with pytest.raises(StoreNotSupportedError, match=r"<S3Store s3://bucket-\d+> does not enforce create-only"):
        ServiceState("job", store).update(lambda value: value + 1, default=0)


def test_a_ceph_bucket_that_is_versioned_later_is_tried_again(ceph_s3: S3Server, tmp_path: Path) -> None:
    bucket = ceph_s3.make_bucket()
    options = ceph_s3.client_options
    ServiceState("job", S3Store(bucket, client_options=options)).set(1)
    versioning: Any = {"Status": "Enabled"}
    ceph_s3.client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration=versioning)
    store = S3Store(bucket, client_options=options)
    assert (store.versioning, TieredStore(store, tmp_path).versioning) == ("Enabled", "Enabled")
    assert store.get(marker_of(store)) == b"create-only held"
    with pytest.raises(StoreNotSupportedError, match=r"<S3Store s3://bucket-\d+> does not enforce create-only"):
        ServiceState("job", store).set(2)


def test_a_bucket_is_asked_for_its_versioning_by_boto3_where_obstore_cannot(
    moto: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    moto.set_environment(monkeypatch)
    bucket = moto.make_bucket()
    assert ObjectStore(f"s3+obstore://{bucket}").versioning == ""
    moto.client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    assert ObjectStore(f"s3+obstore://{bucket}").versioning == "Enabled"
    assert ObjectStore("gs://bucket").versioning == ""
