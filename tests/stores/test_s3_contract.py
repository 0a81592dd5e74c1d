"""The store contract over S3Store, on each of the servers; what a server does otherwise is asserted here by name."""

from __future__ import annotations

import itertools
from functools import partial

import pytest

from s3memo.errors import AlreadyExistsError, StoreUnavailableError
from s3memo.stores.base import Store
from s3memo.stores.s3 import S3Store
from s3memo.versions import MAX_KEY_BYTES
from tests.servers.server import S3Server
from tests.stores.contract import NewStore, StoreContract, keys, put_all, start_together


def stores_on(server: S3Server) -> NewStore:
    """Return what makes empty stores in one new bucket."""
    bucket = server.make_bucket()
    numbers = itertools.count(1)
    return lambda: S3Store(bucket, f"empty-{next(numbers)}", client=server.client)


class TestS3StoreOnMoto(StoreContract):
    @pytest.fixture(scope="class")
    @classmethod
    def new_store(cls, moto: S3Server) -> NewStore:
        return stores_on(moto)


class TestS3StoreOnRclone(StoreContract):
    """rclone keeps objects as files: names are paths, and writing is neither conditional nor all at once."""

    @pytest.fixture(scope="class")
    @classmethod
    def new_store(cls, rclone_s3: S3Server) -> NewStore:
        return stores_on(rclone_s3)

    def test_key_of_the_greatest_length(self, store: Store) -> None:
        """A part of a name has at most 255 bytes; ours have at most 180, at any length of the whole."""
        longest = "/".join(["v1", "memo", "n" * 180, "t" * 180, "d" * 32, "v" * 109])
        assert len(longest) == MAX_KEY_BYTES
        store.put(longest, b"x")

        assert keys(store.list("v1/memo/")) == [longest]
        with pytest.raises(StoreUnavailableError, match="500 InternalError"):
            store.put("k" * 256, b"x")

    def test_create_refuses_what_exists(self, store: Store) -> None:
        """Create-only is ignored."""
        store.put("state/1", b"first")
        store.put("state/1", b"second", mode="create")

        assert bytes(store.get("state/1")) == b"second"

    def test_racing_creators_have_one_winner(self, store: Store) -> None:
        """Create-only is ignored: no racer is told that it lost."""
        outcomes = start_together(lambda: store.put("state/1", b"x", mode="create") for _ in range(8))

        assert not [outcome for outcome in outcomes if isinstance(outcome, AlreadyExistsError)]
        assert outcomes.count(None) > 1

    def test_prefix_is_strict(self, store: Store) -> None:
        """What is a directory cannot be an object too."""
        put_all(store, ["job-1/a", "job/a", "job/b/c", "job0", "job2/a", "jo/b"])

        assert keys(store.list("job/")) == ["job/a", "job/b/c"]
        with pytest.raises(StoreUnavailableError, match="500 InternalError"):
            store.put("job", b"x")

    def test_delete_removes_only_what_is_named(self, store: Store) -> None:
        """As above."""
        put_all(store, ["job/a", "job/ab", "job/b", "job2"])
        store.delete(["job/a"])

        assert keys(store.list("")) == ["job/ab", "job/b", "job2"]

    def test_no_object_is_ever_seen_torn(self, store: Store) -> None:
        """An object that is being overwritten is at times missing or torn; one that is written once is not."""

        def write_and_read(number: int) -> None:
            for turn in range(10):
                data = b"%d" % number * (10, 50_000)[turn % 2]
                store.put(f"job/{number}/{turn}", data)
                assert bytes(store.get(f"job/{number}/{turn}")) == data

        assert start_together(lambda number=number: write_and_read(number) for number in range(3)) == [None] * 3

    def test_threads_share_the_store(self, store: Store) -> None:
        """Without an object that all of them overwrite: see above.

        A folder goes with its last object, at times just after the next one was put there; so one is left in each.
        """

        def work(number: int) -> None:
            store.put(f"thread/{number}/kept", b"x")
            for turn in range(10):
                key = f"thread/{number}/{turn}"
                store.put(key, key.encode())
                assert bytes(store.get(key)) == key.encode()
                assert keys(store.list(key)) == [key]
                store.delete([key])

        assert start_together(partial(work, number) for number in range(8)) == [None] * 8
        assert keys(store.list("thread/")) == [f"thread/{number}/kept" for number in range(8)]


class TestS3StoreOnCeph(StoreContract):
    @pytest.fixture(scope="class")
    @classmethod
    def new_store(cls, ceph_s3: S3Server) -> NewStore:
        return stores_on(ceph_s3)
