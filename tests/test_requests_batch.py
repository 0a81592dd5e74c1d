"""What batches, preloads and known names ask a real server for, as the server counts it."""

from __future__ import annotations

import asyncio
import math
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from s3memo import Cache, MemoryStore, ObjectStore, S3Store, Store
from s3memo.functions import CachedFunction
from tests.servers.proxy import CountingProxy
from tests.servers.rclone import RcloneServer

SIZES = (1, 10, 1_000, 5_000)
HUNDRED = 100


pytestmark = pytest.mark.usefixtures("whole_windows")


@pytest.fixture(scope="module")
def proxy(rclone_s3: RcloneServer) -> Iterator[CountingProxy]:
    with CountingProxy(rclone_s3) as counting:
        yield counting


@pytest.fixture(scope="module")
def stores(rclone_s3: RcloneServer, proxy: CountingProxy) -> dict[int, S3Store]:
    """For each size, a store that has so many results, of the numbers from 0 on; its time bounds are known."""
    made = {}
    for size in (*SIZES, HUNDRED):
        results = MemoryStore()
        assert sum(1 for _ in function(results).map(range(size))) == size
        bucket = rclone_s3.make_bucket()
        rclone_s3.lay(bucket, results)
        made[size] = S3Store(bucket, client_options=proxy.server.client_options)
        made[size].time()
    return made


def function(store: Store, **options: Any) -> CachedFunction[[int], int]:
    """One more process's view on a function, with nothing in its memory."""
    return Cache(store, memory=None, on_error="raise", **options).cached(name="jobs.double", version=1)(double)


def double(number: int) -> int:
    return 2 * number


def wanted_of(f: CachedFunction[[int], int], stored: int, wanted: int, *, clustered: bool) -> list[int]:
    """Return numbers whose digests are neighbours, or anywhere; as far as there are so many, of those that are stored."""
    by_digest = sorted(range(max(stored, wanted)), key=lambda number: f.cache_key(number).digest)
    begin = random.Random(stored).randrange(len(by_digest) - wanted + 1)
    return by_digest[begin : begin + wanted] if clustered else random.Random(wanted).sample(by_digest, wanted)


@pytest.mark.parametrize("clustered", [True, False], ids=["clustered", "spread"])
@pytest.mark.parametrize("wanted", SIZES)
@pytest.mark.parametrize("stored", SIZES)
def test_a_batch_lists_no_more_than_its_digests_nor_than_there_are_pages(
    stores: dict[int, S3Store], proxy: CountingProxy, stored: int, wanted: int, clustered: bool
) -> None:
    f = function(stores[stored], read_only=True)
    numbers = wanted_of(f, stored, wanted, clustered=clustered)
    proxy.reset()
    entries = list(f.map(numbers, returns="entry"))
    received = proxy.counts()
    assert sum(entry.size > 0 for entry in entries) == sum(number < stored for number in numbers)
    several_windows = wanted > 1_000  # a later one may begin before the first name that an earlier one listed from
    assert received["LIST"] <= min(wanted, math.ceil(stored / 1000) + 1) + several_windows
    assert received == {"LIST": received["LIST"]}  # names alone make entries


def test_a_batch_gets_each_stored_result_once_and_puts_each_other_once(
    stores: dict[int, S3Store], proxy: CountingProxy
) -> None:
    f = function(stores[1_000])
    proxy.reset()
    assert list(f.map(range(900, 1_100))) == [double(number) for number in range(900, 1_100)]
    received = proxy.counts()
    assert received["LIST"] <= 2
    assert received == {"LIST": received["LIST"], "GET": 100, "PUT": 100}
    f.cache_clear()
    assert sum(1 for _ in f.map(range(1_000))) == 1_000


@pytest.mark.parametrize("hits", [1, 9, 200])
def test_a_fresh_process_sends_nine_lists_at_most(stores: dict[int, S3Store], proxy: CountingProxy, hits: int) -> None:
    f = function(stores[1_000])
    f.cache_info()
    proxy.reset()
    for number in range(hits):
        assert f(number) == double(number)
    # rclone's function has exactly a page of names: that page cannot know that it shows all
    assert proxy.counts()["GET"] == hits
    assert proxy.counts()["LIST"] <= min(hits, 9) + (hits > 9)


@pytest.mark.parametrize("numbers", [range(32), range(32, 0, -1)])
def test_threads_that_come_at_once_list_no_more_than_one_after_the_other(
    stores: dict[int, S3Store], proxy: CountingProxy, numbers: range
) -> None:
    f = function(stores[HUNDRED])
    proxy.reset()
    with ThreadPoolExecutor(32) as pool:
        barrier = threading.Barrier(32)
        assert [*pool.map(lambda number: (barrier.wait(), f(number))[1], numbers)] == [*map(double, numbers)]
    assert proxy.counts() == {"LIST": 9, "GET": 32}


async def test_tasks_that_come_at_once_list_no_more_than_one_after_the_other(
    stores: dict[int, S3Store], proxy: CountingProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy.server.set_environment(monkeypatch)
    store = ObjectStore(stores[HUNDRED].url.replace("s3:", "s3+obstore:"))
    store.time()

    @Cache(store, memory=None, on_error="raise").cached(name="jobs.double", version=1)
    async def f(number: int) -> int:
        raise AssertionError(number)

    proxy.reset()
    assert await asyncio.gather(*map(f, range(32))) == [*map(double, range(32))]
    assert proxy.counts() == {"LIST": 9, "GET": 32}


def test_after_preload_no_call_lists(stores: dict[int, S3Store], proxy: CountingProxy) -> None:
    f = function(stores[1_000])
    assert f.preload() == 1_000
    proxy.reset()
    for number in range(950, 1_010):
        assert f(number) == double(number)
    assert proxy.counts() == {"GET": 50, "PUT": 10}
