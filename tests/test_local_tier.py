"""What a cache does with a local tier: `Cache(…, local=…)`."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from s3memo import (
    Cache,
    Event,
    LocalStore,
    MemoryStore,
    NotFoundError,
    S3Store,
    S3TTLCache,
    ServiceState,
    SettingsError,
    Store,
    StoreUnavailableError,
    TieredStore,
    s3_cached,
)
from s3memo import cache as caches
from s3memo.sharing import cache_at
from s3memo.stores.quota import NAME
from s3memo.stores.tiered import DEFAULT_MAX_BYTES
from tests.servers.server import S3Server
from tests.troubled import Clock, TroubledStore, raising

Make = Callable[..., Any]


def double(number: int) -> list[int]:
    return [2 * number] * 100


@pytest.fixture
def local(tmp_path: Path) -> Path:
    return tmp_path / "local"


@pytest.fixture
def cached(store: TroubledStore, local: Path) -> Make:
    """Make one more process's view on the same function, with nothing in its memory, on this machine."""

    def make(**options: Any) -> Any:
        return Cache(TieredStore(store, local), **options).cached(name="jobs.double", version=1)(double)

    return make


def copies_in(local: Path) -> list[Path]:
    return [path for path in local.rglob("*") if NAME.fullmatch(path.name)]


# What it saves, and where that shows


def test_a_second_run_on_the_machine_downloads_nothing(cached: Make) -> None:
    first, second = cached(), cached()
    assert first(1) == second(1) == double(1)
    info = second.cache_info()
    assert (info.hits, info.local_hits, info.store_hits, info.misses) == (1, 1, 0, 0)
    assert info.requests == {"LIST": 1}
    assert info.bytes_read == 0


def test_what_another_machine_stored_is_downloaded_once(cached: Make, store: TroubledStore) -> None:
    Cache(store).cached(name="jobs.double", version=1)(double)(1)
    first, second = cached(), cached()
    assert first(1) == second(1) == double(1)
    assert first.cache_info().requests == {"LIST": 1, "GET": 1}
    assert first.cache_info().store_hits == 1
    assert second.cache_info().requests == {"LIST": 1}


def test_events_name_the_tier(cached: Make) -> None:
    events: list[Event] = []
    cached()(1)
    function = cached(hooks=[events.append])
    function(1)
    function(1)
    assert [(event.kind, event.tier) for event in events] == [("hit", "local"), ("hit", "memory")]


def test_batches_and_entries_read_copies(cached: Make) -> None:
    list(cached().map(range(20)))
    function = cached(memory=None)
    entries = list(function.map(range(20), returns="entry"))
    assert [entry.value for entry in entries] == [double(number) for number in range(20)]
    assert function.cache_info().requests == {"LIST": 1}
    assert list(cached().map(range(20))) == [double(number) for number in range(20)]


async def test_async_functions_read_copies(store: TroubledStore, local: Path) -> None:
    def made() -> Any:
        @Cache(TieredStore(store, local)).cached(name="jobs.double", version=1)
        async def function(number: int) -> list[int]:
            return double(number)

        return function

    first, second = made(), made()
    assert await first(1) == await second(1) == double(1)
    assert second.cache_info().requests == {"LIST": 1}
    assert second.cache_info().local_hits == 1


def test_results_are_the_callers_own(cached: Make) -> None:
    cached()(1)
    cached(memory=None)(1).append("mine")
    assert cached(memory=None)(1) == double(1)


# What it must not change


def test_invalidations_and_refreshes_elsewhere_are_seen(cached: Make, store: TroubledStore) -> None:
    elsewhere = Cache(store).cached(name="jobs.double", version=1)(double)
    cached()(1)
    elsewhere.cache_set([5], 1)
    assert cached()(1) == [5]
    elsewhere.cache_invalidate(1)
    assert cached().cache_get(1) is None


def test_what_is_superseded_or_invalidated_here_has_no_copy(cached: Make, local: Path) -> None:
    function = cached()
    function(1)
    function.cache_refresh(1)
    assert len(copies_in(local)) == 1
    function.cache_invalidate(1)
    assert copies_in(local) == []
    function(1)
    function.cache_clear()
    assert copies_in(local) == []


def test_states_are_never_copied(store: TroubledStore, local: Path) -> None:
    cache = Cache(TieredStore(store, local))
    state = ServiceState("job", cache)
    state.set(1)
    ServiceState("job", store).set(2)
    assert state.get() == 2
    assert not local.exists()


def test_items_of_mappings_are_copied(store: TroubledStore, local: Path) -> None:
    S3TTLCache(Cache(TieredStore(store, local)), name="items")["a"] = 1
    store.before_get = raising(StoreUnavailableError("down"))
    assert S3TTLCache(Cache(TieredStore(store, local), on_error="raise"), name="items")["a"] == 1


# Trouble


def test_a_damaged_copy_costs_one_get(cached: Make, local: Path, caplog: pytest.LogCaptureFixture) -> None:
    cached()(1)
    (copy,) = copies_in(local)
    copy.write_bytes(copy.read_bytes()[:-1])
    function = cached(on_error="raise")
    assert function(1) == double(1)
    assert function.cache_info().requests == {"LIST": 1, "GET": 1}
    assert function.cache_info().errors == 0
    assert "damaged" in caplog.text
    assert cached(on_error="raise")(1) == double(1)


def test_what_was_damaged_on_its_way_is_not_kept(
    cached: Make, store: TroubledStore, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Cache(store).cached(name="jobs.double", version=1)(double)(1)
    whole = MemoryStore.get
    with monkeypatch.context() as patch:
        patch.setattr(TroubledStore, "get", lambda self, object_key: whole(self, object_key)[:-1])
        function = cached(read_only=True)
        assert function(1) == double(1)
        assert function.cache_info().errors == 1
    assert copies_in(local) == []
    healed = cached(on_error="raise", read_only=True)
    assert healed(1) == double(1)
    assert healed.cache_info().store_hits == 1


def test_a_hit_here_does_not_say_that_the_store_answers(cached: Make, store: TroubledStore) -> None:
    """The store is known to fail, and its names to be true: the call that may ask again finds a copy instead."""
    cached()(1)
    cached()(2)
    function = cached(memory=None)
    function.preload(trust_for=None)
    breaker = function._subject.bind()[0]._memo.breaker
    breaker.learn(StoreUnavailableError("down"), since=breaker.changes)
    assert isinstance(store.clock, Clock)
    store.clock.now += breaker.pause
    for number in (1, 2):
        assert function(number) == double(number)
    assert function.cache_info().local_hits == 2
    assert breaker.changes == 1
    breaker.check()  # the next that needs the store may ask it
    breaker.learn(StoreUnavailableError("down"), since=breaker.changes)
    assert breaker.pause == 2, "the second failure in a row"


def test_a_disk_in_trouble_is_in_nobodys_way(cached: Make, local: Path, caplog: pytest.LogCaptureFixture) -> None:
    local.write_text("no directory")
    function = cached(on_error="raise", memory=None)
    assert function(1) == function(1) == double(1)
    assert function.cache_info().requests == {"LIST": 1, "PUT": 1, "GET": 1}
    assert function.cache_info().errors == 0
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 2


# How it is set


def test_local_is_a_directory_or_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for local, directory in ((True, tmp_path / "s3memo" / "objects"), (tmp_path / "own", tmp_path / "own")):
        store = Cache("s3://bucket/prefix", local=local, local_max_bytes=5000).store
        assert isinstance(store, TieredStore)
        assert isinstance(store.remote, S3Store)
        assert store._directory == directory
        assert store.max_bytes == 5000
        assert store.url == "s3://bucket/prefix"
    assert Cache("s3://bucket", local=True).store.max_bytes == DEFAULT_MAX_BYTES


@pytest.mark.parametrize("local", [None, False])
def test_without_local_there_is_none(local: Any) -> None:
    assert isinstance(Cache("s3://bucket", local=local).store, S3Store)


def test_before_a_store_on_this_machine_it_has_no_effect(tmp_path: Path) -> None:
    assert isinstance(Cache(tmp_path / "store", local=tmp_path / "local").store, LocalStore)
    assert isinstance(Cache("memory://", local=True).store, MemoryStore)


@pytest.mark.parametrize(
    ("place", "options", "message"),
    [
        ("s3://bucket", {"local_max_bytes": 10**9}, "local_max_bytes=1000000000 .* give local="),
        ("s3://bucket", {"local": "cache"}, "local='cache'"),
        ("s3://bucket", {"local": "gs://bucket"}, "local='gs://bucket'"),
        ("s3://bucket", {"local": True, "local_max_bytes": "1 GB"}, "max_bytes='1 GB'"),
        ("memory://", {"local": "cache"}, "local='cache'"),
        (TieredStore(MemoryStore(), "/nowhere"), {"local": True}, "no local tier yet"),
    ],
)
def test_wrong_settings_are_told(place: str | Store, options: Any, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Cache(place, **options)


def test_caches_of_one_url_share_only_what_is_set_alike(local: Path) -> None:
    ours = Cache("s3://bucket", local=local)
    assert cache_at("s3://bucket") is not ours
    assert isinstance(cache_at("s3://bucket").store, S3Store)
    assert cache_at(ours) is ours


def test_a_cache_pickles_with_its_local_tier(local: Path) -> None:
    cache = Cache("s3://bucket/prefix", local=local, local_max_bytes=5000)
    pickled = pickle.dumps(cache)
    identity = cache._identity
    assert pickle.loads(pickled) is cache
    caches._by_identity.pop(identity)
    arrived = pickle.loads(pickled)
    assert arrived is not cache
    assert isinstance(arrived.store, TieredStore)
    assert (arrived.store._directory, arrived.store.max_bytes) == (local, 5000)
    caches._arrived.pop(identity)


def test_a_function_on_a_tiered_store_shares_its_cache(store: TroubledStore, local: Path) -> None:
    tiered = TieredStore(store, local)

    @s3_cached(tiered, name="one", version=1)
    def one(number: int) -> int:
        return number

    assert one(1) == 1
    assert cache_at(tiered) is cache_at(tiered)
    assert len(copies_in(local)) == 1


def test_the_whole_way_by_url(moto: S3Server, local: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moto.set_environment(monkeypatch)
    bucket = moto.make_bucket()

    def run() -> Any:
        with Cache(f"s3://{bucket}/prefix", local=local, on_error="raise") as cache:
            function = cache.cached(name="jobs.double", version=1)(double)
            assert function(1) == double(1)
            return function.cache_info()

    assert run().misses == 1
    assert run().local_hits == 1
    (copy,) = copies_in(local)
    copy.unlink()
    assert run().store_hits == 1
    assert run().local_hits == 1


def test_an_object_that_is_gone_everywhere_is_not_found(cached: Make, local: Path) -> None:
    function = cached(memory=None)
    function(1)
    function.preload()
    (entry,) = function.map([1], returns="entry")
    cached().cache_clear()
    with pytest.raises(NotFoundError):
        entry.value  # noqa: B018


def test_a_name_that_is_known_is_served_from_here_until_names_ttl(
    cached: Make, store: TroubledStore, clock: Clock
) -> None:
    function = cached(memory=None)
    function(1)
    Cache(store).cached(name="jobs.double", version=1)(double).cache_invalidate(1)
    clock.now += 59
    assert function.cache_get(1) is not None
    clock.now += 2
    assert function.cache_get(1) is None
    assert cached(names_ttl=0).cache_get(1) is None
