"""The request table of the design, as a real server counts it: not what s3memo believes to have sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from s3memo import Cache, Key, Lease, S3Store, S3TTLCache, ServiceState, TieredStore, Version, gc
from s3memo.register import Register
from s3memo.versions import base32
from tests.servers.proxy import CountingProxy
from tests.servers.server import S3Server
from tests.stores.contract import put_all

MEMORY_HIT: dict[str, int] = {}
STORE_HIT = {"LIST": 1, "GET": 1}
MISS = {"LIST": 1, "PUT": 1}
REPLACED = {"LIST": 1, "PUT": 1, "DELETE": 1}


@pytest.fixture
def proxy(s3_server: S3Server) -> Iterator[CountingProxy]:
    with CountingProxy(s3_server) as counting:
        yield counting


@pytest.fixture
def store(proxy: CountingProxy) -> S3Store:
    """An empty store whose time bounds are known."""
    store = S3Store(proxy.server.make_bucket(), "results", client_options=proxy.server.client_options)
    store.time()
    proxy.reset()
    return store


@pytest.fixture
def cached(store: S3Store) -> Callable[..., Any]:
    """Make one more process's view on the same function, with nothing in its memory."""

    def make(**options: Any) -> Any:
        return Cache(store, on_error="raise").cached(name="jobs.double", version=1, **options)(double)

    return make


def double(number: int) -> int:
    return 2 * number


@pytest.fixture
def sent(proxy: CountingProxy) -> Callable[..., dict[str, int]]:
    """Return what the server received while a call was made."""

    def count(call: Callable[..., Any], *arguments: Any) -> dict[str, int]:
        proxy.reset()
        call(*arguments)
        return {str(kind): number for kind, number in proxy.counts().items()}

    return count


def test_hits_and_misses(cached: Any, sent: Any) -> None:
    function = cached()
    assert sent(function, 1) == MISS
    assert sent(function, 1) == MEMORY_HIT
    fresh = cached()
    assert sent(fresh, 1) == STORE_HIT
    assert sent(fresh, 1) == MEMORY_HIT
    assert sent(cached().cache_get, 1) == STORE_HIT
    assert sent(cached().cache_get, 2) == {"LIST": 1}


@pytest.mark.parametrize("number", [1, 9, 20])
def test_hits_in_a_local_tier(store: S3Store, sent: Any, tmp_path: Path, number: int) -> None:
    def run(place: str) -> Any:
        """In one more process, with nothing in its memory, on the machine of that name."""
        cache = Cache(TieredStore(store, tmp_path / place), on_error="raise")
        function = cache.cached(name="jobs.double", version=1)(double)
        return lambda: [function(argument) for argument in range(number)]

    listings = min(number, 9)
    assert sent(run("here"))["PUT"] == number
    assert sent(run("here")) == {"LIST": listings}
    assert sent(run("elsewhere")) == {"LIST": listings, "GET": number}
    assert sent(run("elsewhere")) == {"LIST": listings}


def test_refreshes(cached: Any, sent: Any) -> None:
    function = cached()
    assert sent(function.cache_refresh, 1) == MISS
    assert sent(function.cache_refresh, 1) == REPLACED
    expired = cached(ttl=0)
    assert sent(expired, 1) == REPLACED
    assert sent(cached(keep=9).cache_refresh, 1) == MISS


def test_setting(cached: Any, sent: Any) -> None:
    function = cached()
    assert sent(function.cache_set, 5, 1) == MISS
    assert sent(function.cache_set, 6, 1) == REPLACED
    assert sent(function, 1) == MEMORY_HIT


def test_invalidating(cached: Any, sent: Any) -> None:
    function = cached()
    function(1)
    assert sent(function.cache_invalidate, 1) == {"LIST": 1, "PUT": 1, "DELETE": 1}
    assert sent(function.cache_get, 1) == {"LIST": 1}
    assert sent(function, 1) == MISS
    assert sent(function.cache_invalidate, 2) == {"LIST": 1, "PUT": 1}


def test_invalidating_again_before_the_clock_is_past_the_last_tombstone_puts_twice(cached: Any, sent: Any) -> None:
    """A tombstone is dated at the upper bound of the time, so the next one may have to be dated past it."""
    function = cached()
    function.cache_invalidate(1)
    requests = sent(function.cache_invalidate, 1)
    assert requests.pop("PUT") in {1, 2}
    assert requests == {"LIST": 1, "DELETE": 1}


def test_clearing(cached: Any, sent: Any) -> None:
    function = cached()
    for number in range(3):
        function(number)
    assert sent(function.cache_clear) == {"LIST": 1, "DELETE": 1}
    assert sent(function.cache_clear) == {"LIST": 1}


@pytest.mark.parametrize("s3_server", ["rclone_s3"], indirect=True)  # a thousand objects take the others minutes
def test_clearing_more_than_a_page(s3_server: S3Server, store: S3Store, cached: Any, sent: Any) -> None:
    function = cached()
    key = function.cache_key(1)
    prefixes = [Key(key.namespace, key.tag, base32(bytes(18) + number.to_bytes(2))).prefix for number in range(1001)]
    direct = S3Store(store.url.removeprefix("s3://").partition("/")[0], "results", client=s3_server.client)
    put_all(direct, [prefix + Version(5, 5, None, 0, "00000000").name for prefix in prefixes])
    assert sent(function.cache_clear) == {"LIST": 2, "DELETE": 2}


def test_clearing_several_versions_of_a_digest_takes_one_request_more(cached: Any, sent: Any) -> None:
    function = cached(keep=2)
    function(1)
    function.cache_refresh(1)
    assert sent(function.cache_clear) == {"LIST": 1, "DELETE": 2}
    assert sent(function.cache_history, 1) == {"LIST": 1}


def test_the_first_invalidation_or_clear_of_a_process_lists_for_the_time(proxy: CountingProxy, sent: Any) -> None:
    store = S3Store(proxy.server.make_bucket(), client_options=proxy.server.client_options)
    function = Cache(store).cached(name="jobs.double", version=1)(double)
    assert sent(function.cache_invalidate, 1) == {"LIST": 2, "PUT": 1}
    unacquainted = S3Store(store.url.removeprefix("s3://"), client_options=proxy.server.client_options)
    assert sent(Cache(unacquainted).cached(name="jobs.double", version=1)(double).cache_clear) == {"LIST": 2}


def test_what_cache_info_reports_is_what_the_server_received(cached: Any, proxy: CountingProxy) -> None:
    function = cached()
    for number in (1, 2, 1):
        function(number)
    function.cache_refresh(1)
    function.cache_invalidate(2)
    function.cache_get(2)
    function.cache_history(1)
    function.cache_clear()
    assert function.cache_info().requests == proxy.counts()


class Hasty(Register):
    """Deletes what is superseded at once, however wide the bounds of the time are."""

    retention = -60.0


UPDATE = {"LIST": 1, "GET": 1, "PUT": 1}


@pytest.mark.parametrize("s3_server", ["moto", "ceph_s3"], indirect=True)  # rclone keeps no state
def test_states(store: S3Store, sent: Any) -> None:
    state = ServiceState("job", store)
    ServiceState("another", store).set(1)  # the first write of a process looks whether the server was tried
    assert sent(state.get) == {"LIST": 1}
    assert sent(state.set, 1) == {"LIST": 1, "PUT": 1}
    assert sent(state.get) == {"LIST": 1, "GET": 1}
    assert sent(state.update, str) == UPDATE
    assert sent(lambda: state.version) == {"LIST": 1}
    assert sent(state.history) == {"LIST": 1}
    assert sent(state.rollback, 1) == UPDATE
    assert sent(state.clear) == {"LIST": 1, "PUT": 1}
    assert sent(state.get) == {"LIST": 1}

    state._register_type = Hasty
    assert sent(state.set, 1) == {"LIST": 1, "PUT": 1}  # ten versions stay
    state.keep = 1
    assert sent(state.set, 1) == {"LIST": 1, "PUT": 1, "DELETE": 1}
    assert sent(state.update, str) == {"LIST": 1, "GET": 1, "PUT": 1, "DELETE": 1}


@pytest.mark.parametrize("s3_server", ["moto", "ceph_s3"], indirect=True)
def test_a_conflict_adds_a_list_and_a_get(store: S3Store, sent: Any, s3_server: S3Server) -> None:
    state = ServiceState("job", store)
    state._sleep = lambda _: None
    state.set(0)
    direct = ServiceState("job", S3Store(*split(store), client=s3_server.client))

    def overtaken(value: int) -> int:
        if value == 0:
            direct.set(10)
        return value + 1

    assert sent(state.update, overtaken) == {"LIST": 2, "GET": 2, "PUT": 2}
    assert state.get() == 11


@pytest.mark.parametrize("s3_server", ["moto", "ceph_s3"], indirect=True)
def test_leases(store: S3Store, sent: Any) -> None:
    lease = Lease("job", store)
    ServiceState("another", store).set(1)
    assert sent(lease.acquire) == {"LIST": 1, "PUT": 1}
    assert sent(lease.renew) == {"PUT": 1}
    assert sent(Lease("job", store).acquire, False) == {"LIST": 1, "GET": 1}
    assert sent(lease.release) == {"PUT": 1}


@pytest.mark.parametrize("s3_server", ["moto", "ceph_s3"], indirect=True)
def test_a_miss_with_a_fleet(store: S3Store, cached: Any, sent: Any) -> None:
    ServiceState("another", store).set(1)
    function = cached(fleet=True)
    assert sent(function, 1) == {"LIST": 3, "PUT": 3}
    assert function.cache_info().requests == {"LIST": 3, "PUT": 3}
    assert sent(cached(fleet=True), 1) == STORE_HIT


def test_mappings(store: S3Store, sent: Any) -> None:
    def mapping() -> S3TTLCache:
        return S3TTLCache(Cache(store), name="items")  # as in one more process

    items = mapping()
    assert sent(items.get, 1) == {"LIST": 1}
    assert sent(items.__setitem__, 1, "one") == MISS
    assert sent(items.__getitem__, 1) == MEMORY_HIT
    assert sent(mapping().__getitem__, 1) == STORE_HIT
    assert sent(mapping().__contains__, 1) == STORE_HIT
    assert sent(items.__setitem__, 1, "uno") == REPLACED
    assert sent(items.setdefault, 2, "two") == MISS
    assert sent(len, items) == {"LIST": 1}
    assert sent(list, iter(items)) == {"LIST": 1}
    assert sent(list, iter(mapping())) == {"LIST": 3, "GET": 2}
    assert sent(list, items) == {"LIST": 2}  # list() asks for the length first
    assert sent(items.__delitem__, 1) == {"LIST": 2, "PUT": 1, "DELETE": 1}
    assert sent(items.clear) == {"LIST": 1, "DELETE": 1}
    assert sent(items.expire) == {"LIST": 1}


def test_collecting(store: S3Store, cached: Any, sent: Any) -> None:
    function = cached()
    function(1)
    assert sent(lambda: gc(store)) == {"LIST": 1}
    assert sent(lambda: gc(store, tags=[("jobs.double", "1")])) == {"LIST": 1, "DELETE": 1}
    assert sent(function.cache_history, 1) == {"LIST": 1}


def split(store: S3Store) -> tuple[str, str]:
    """Return a store's bucket and prefix."""
    bucket, _, prefix = store.url.removeprefix("s3://").partition("/")
    return bucket, prefix
