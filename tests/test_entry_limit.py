"""`max_entry_bytes`: what is too large is returned and not kept, nor downloaded, and both are told."""

from __future__ import annotations

import gc
import logging
import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from s3memo import Cache, Event, LocalStore, MemoryStore, S3TTLCache, SettingsError
from s3memo.errors import DecodeError, EncodeError, NotStoredError, StoreNotSupportedError
from s3memo.stores import local
from s3memo.stores.base import Store
from tests.stores.contract import keys

LIMIT = 4096


def zeros(size: int) -> bytes:
    return bytes(size)


class Watched:
    """A cached function that returns so many bytes, and what its hooks were told."""

    def __init__(self, store: Store, **options: Any) -> None:
        self.events: list[Event] = []
        self.calls = 0
        self.cache = Cache(store, hooks=[self.events.append], **{"max_entry_bytes": LIMIT, **options})
        self.function: Any = self.cache.cached(name="jobs.make", version=1)(self.make)

    def make(self, size: int) -> bytes:
        self.calls += 1
        return os.urandom(size)

    def told(self, kind: str) -> list[Event]:
        return [event for event in self.events if event.kind == kind]


def test_what_is_too_large_is_returned_and_not_kept(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore()
    watched = Watched(store)
    with caplog.at_level(logging.WARNING, logger="s3memo"):
        assert [len(watched.function(size)) for size in (5000, 6000, 6000, 100, 100)] == [5000, 6000, 6000, 100, 100]

    assert watched.calls == 4
    assert len(keys(store.list("v1/memo/"))) == 1
    assert [(event.key.split("/")[0], type(event.error)) for event in watched.told("error")] == [
        ("jobs.make", EncodeError)
    ] * 3
    assert len(watched.told("store")) == 1
    (warning,) = caplog.messages
    assert "jobs.make" in warning
    assert "5,195 bytes" in warning, "the size of the object"
    assert "max_entry_bytes=4,096" in warning
    assert "give the Cache a higher limit, or return less" in warning


def test_the_limit_is_of_the_whole_object() -> None:
    store = MemoryStore()
    Watched(store, max_entry_bytes=None).function(3000)
    ((_, size),) = [(info.key, info.size) for info in store.list("v1/memo/")]

    for limit, stored in ((size, 1), (size - 1, 0)):
        other = MemoryStore()
        Watched(other, max_entry_bytes=limit).function(3000)
        assert len(keys(other.list("v1/memo/"))) == stored


def test_what_a_local_store_does_not_take_is_returned_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(local, "MAX_OBJECT_BYTES", LIMIT)
    watched = Watched(LocalStore(tmp_path), max_entry_bytes=None)
    assert [len(watched.function(size)) for size in (5000, 100, 100)] == [5000, 100, 100]
    assert watched.calls == 2
    assert [type(event.error) for event in watched.told("error")] == [StoreNotSupportedError]
    assert "has 5,195 bytes" in caplog.messages[0]
    assert "takes up to 4,096 in one object; keep such results in S3" in caplog.messages[0]


def test_what_is_compressed_below_the_limit_is_kept() -> None:
    store = MemoryStore()
    cached = Cache(store, max_entry_bytes=LIMIT).cached(name="jobs.zeros", version=1)(zeros)
    cached(1_000_000)

    assert len(keys(store.list("v1/memo/"))) == 1


def test_what_is_too_large_already_is_not_downloaded(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore()
    large = Watched(store, max_entry_bytes=None).function(5000)
    watched = Watched(store)

    with caplog.at_level(logging.WARNING, logger="s3memo"):
        assert watched.function(5000) != large
    assert watched.function.cache_info().requests == {"LIST": 1}
    assert watched.calls == 1
    assert type(watched.told("error")[0].error) is DecodeError
    assert "has 5,195 bytes" in caplog.messages[0]
    assert "is not read, for this cache has max_entry_bytes=4,096" in caplog.messages[0]
    assert watched.function.cache_get(5000) is None
    assert Watched(store, max_entry_bytes=None).function(5000) == large, "it is left to those who may read it"


def test_a_listing_of_all_names_tells_the_sizes_too() -> None:
    store = MemoryStore()
    Watched(store, max_entry_bytes=None).function(5000)
    watched = Watched(store)
    watched.function.preload()
    (entry,) = watched.function.map([5000], returns="entry")

    assert watched.calls == 1
    assert len(entry.value) == 5000


def test_what_is_set_explicitly_raises() -> None:
    watched = Watched(MemoryStore())
    with pytest.raises(EncodeError, match=r"takes 5,\d\d\d bytes, and max_entry_bytes=4,096"):
        watched.function.cache_set(os.urandom(5000), 5000)
    items = S3TTLCache(watched.cache, name="items")
    with pytest.raises(NotStoredError, match="max_entry_bytes=4,096"):
        items["a"] = os.urandom(5000)


def test_a_pickled_cache_has_its_limit(tmp_path: Path) -> None:
    origin = Cache(tmp_path, max_entry_bytes=LIMIT)
    pickled = pickle.dumps(origin)
    del origin
    gc.collect()
    cache = pickle.loads(pickled)

    assert cache.packing.max_bytes == LIMIT
    assert cache.part("items", max_entries=1).packing.max_bytes == LIMIT


@pytest.mark.parametrize("limit", [0, -1, True, 1.5, "1 GiB"])
def test_a_limit_of_no_sense_is_refused(limit: Any) -> None:
    with pytest.raises(SettingsError, match="max_entry_bytes"):
        Cache(MemoryStore(), max_entry_bytes=limit)
