from __future__ import annotations

import os
import threading

import pytest

from s3memo.stores.base import ObjectInfo, TimeBounds
from s3memo.stores.memory import MemoryStore
from tests.stores.contract import ListingProperty, NewStore, StoreContract, keys


class TestMemoryStore(StoreContract, ListingProperty):
    @pytest.fixture(scope="class")
    @classmethod
    def new_store(cls) -> NewStore:
        return MemoryStore


def test_url_shows_the_name() -> None:
    assert MemoryStore().url == "memory://"
    assert MemoryStore("trial").url == "memory://trial"
    assert repr(MemoryStore("trial")) == "<MemoryStore memory://trial of 0 objects>"


def test_stores_of_one_name_share_nothing() -> None:
    one, other = MemoryStore("trial"), MemoryStore("trial")
    one.put("object", b"x")

    assert keys(other.list("")) == []


def test_time_is_that_of_the_clock() -> None:
    now = [100.5]
    store = MemoryStore(clock=lambda: now[0])
    store.put("object", b"x")
    now[0] = 200.25

    assert store.time() == TimeBounds(200.25, 200.25)
    assert list(store.list("")) == [ObjectInfo("object", 1, 100.5)]


def test_bytes_that_cannot_change_are_not_copied() -> None:
    data = b"as it is"
    store = MemoryStore()
    store.put("object", data)

    assert store.get("object") is data


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_forked_in_the_midst_of_writes_goes_on() -> None:
    store = MemoryStore()
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            store.put(f"object/{number % 50}", b"x")
            store.delete([f"object/{(number + 25) % 50}"])
            number += 1

    writers = [threading.Thread(target=write) for _ in range(3)]
    for writer in writers:
        writer.start()
    try:
        for _ in range(20):
            child = os.fork()
            if not child:
                store.put("from the child", b"x")
                store.delete(keys(store.list("")))
                os._exit(len(list(store.list(""))))
            assert os.waitpid(child, 0)[1] == 0
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert "from the child" not in keys(store.list(""))
