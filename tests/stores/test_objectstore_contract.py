"""The store contract over ObjectStore: by its URL and boto3's settings on each of the servers, and in obstore's memory."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import obstore.store
import pytest

from s3memo.stores.objectstore import ObjectStore
from tests.servers.server import S3Server
from tests.stores.contract import NewStore, StoreContract
from tests.stores.test_s3_contract import TestS3StoreOnRclone as _OnRclone


def stores_on(server: S3Server) -> Iterator[NewStore]:
    """Yield what makes empty stores in one new bucket, while the environment names the server."""
    bucket = server.make_bucket()
    numbers = itertools.count(1)
    with pytest.MonkeyPatch.context() as patch:
        server.set_environment(patch)
        yield lambda: ObjectStore(f"s3+obstore://{bucket}/empty-{next(numbers)}")


class TestObjectStoreOnMoto(StoreContract):
    @pytest.fixture(scope="class")
    @classmethod
    def new_store(cls, moto: S3Server) -> Iterator[NewStore]:
        yield from stores_on(moto)


class TestObjectStoreOnRclone(_OnRclone):
    """What rclone does otherwise, it does to any client."""

    @pytest.fixture(scope="class")
    @classmethod
    def new_store(cls, rclone_s3: S3Server) -> Iterator[NewStore]:
        yield from stores_on(rclone_s3)


class TestObjectStoreOnCeph(StoreContract):
    @pytest.fixture(scope="class")
    @classmethod
    def new_store(cls, ceph_s3: S3Server) -> Iterator[NewStore]:
        yield from stores_on(ceph_s3)


class TestObjectStoreInMemory(StoreContract):
    @pytest.fixture(scope="class")
    @classmethod
    def new_store(cls) -> NewStore:
        return lambda: ObjectStore(obstore.store.MemoryStore(), "root")
