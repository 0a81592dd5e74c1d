"""The store contract over TieredStore: as it is, and with copies of whatever the contract puts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from s3memo.stores import tiered
from s3memo.stores.base import Store
from s3memo.stores.memory import MemoryStore
from s3memo.stores.tiered import TieredStore
from tests.servers.server import S3Server
from tests.stores.contract import ListingProperty, NewStore, StoreContract, requests_of
from tests.stores.test_s3_contract import stores_on


@pytest.fixture(scope="class")
def _all_is_copied() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiered, "is_immutable", lambda object_key: True)
        yield


class TestTieredStoreInMemory(StoreContract, ListingProperty):
    @pytest.fixture(scope="class")
    @classmethod
    def new_store(cls, tmp_path_factory: pytest.TempPathFactory) -> NewStore:
        return lambda: TieredStore(MemoryStore(), tmp_path_factory.mktemp("local"))


@pytest.mark.usefixtures("_all_is_copied")
class TestCopiesBeforeMemory(TestTieredStoreInMemory):
    def test_put_and_get_are_a_request_each(self, store: Store) -> None:
        """A copy takes none."""
        assert requests_of(lambda: store.put("job/a", b"x")) == {"PUT": 1}
        assert requests_of(lambda: store.get("job/a")) == {}


class TestTieredStoreOnMoto(StoreContract):
    @pytest.fixture(scope="class")
    @classmethod
    def new_store(cls, moto: S3Server, tmp_path_factory: pytest.TempPathFactory) -> NewStore:
        new_remote = stores_on(moto)
        return lambda: TieredStore(new_remote(), tmp_path_factory.mktemp("local"))
