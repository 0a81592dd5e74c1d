"""Batches of async functions."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from s3memo import Cache, Entry, SettingsError, disabled
from s3memo.coroutines import CachedCoroutineFunction
from tests.troubled import TroubledStore

pytestmark = pytest.mark.usefixtures("whole_windows")


class Job:
    def __init__(self) -> None:
        self.calls: Counter[int] = Counter()
        self.running = self.most = 0

    def on(self, store: TroubledStore, **options: Any) -> CachedCoroutineFunction[[int], list[int]]:
        @Cache(store, **options).cached(name="double", version=1)
        async def double(x: int) -> list[int]:
            self.calls[x] += 1
            self.running += 1
            self.most = max(self.most, self.running)
            await asyncio.sleep(0)
            self.running -= 1
            if x < 0:
                raise ValueError(x)
            return [x, x]

        return double


async def gathered(results: AsyncIterator[Any]) -> list[Any]:
    return [result async for result in results]


async def test_results_come_in_order_and_duplicates_once(store: TroubledStore) -> None:
    job = Job()
    f = job.on(store)
    inputs = [*range(1200), 5, 5]
    results = f.map(inputs, concurrency=10)
    assert await gathered(results) == [[x, x] for x in inputs]
    assert job.most <= 10
    assert set(job.calls.values()) == {1}
    assert dict(f.cache_info().requests) == {"LIST": 1, "PUT": 1200}
    assert results.progress.done == 1202
    again = Job().on(store)
    assert sorted(await gathered(again.starmap(((x,) for x in range(1200)), ordered=False))) == [
        [x, x] for x in range(1200)
    ]
    assert again.cache_info().requests["PUT"] == 0


async def test_failures_entries_and_disabled(store: TroubledStore) -> None:
    f = Job().on(store)
    results = f.map([1, -1, 2])
    assert await anext(results) == [1, 1]
    with pytest.raises(ValueError, match="-1"):
        await anext(results)
    assert await gathered(results) == [[2, 2]]
    (failure,) = await gathered(f.map([-2], return_exceptions=True))
    assert isinstance(failure, ValueError)
    entries: list[Entry[list[int]]] = await gathered(Job().on(store, memory=None).map([1, 2], returns="entry"))
    assert [entry.value for entry in entries] == [[1, 1], [2, 2]]
    with disabled():
        assert await gathered(f.map([7, 7])) == [[7, 7]] * 2
    assert await f.cache_get(7) is None


async def test_executors_are_for_plain_functions(store: TroubledStore) -> None:
    with ThreadPoolExecutor(1) as pool, pytest.raises(SettingsError, match="executor"):
        Job().on(store).map([1], executor=pool)


async def test_a_batch_may_be_closed_by_another_task(store: TroubledStore) -> None:
    @Cache(store).cached(name="sleeps", version=1)
    async def sleeps(x: int) -> int:
        await asyncio.sleep(3600)
        return x

    results = sleeps.map(range(50), concurrency=2)
    taker = asyncio.create_task(gathered(results))
    await asyncio.sleep(0.2)
    await results.aclose()
    assert await asyncio.wait_for(taker, 60) == []


@pytest.fixture
def cancelled() -> list[int]:
    return []


@pytest.fixture
def sleeps(store: TroubledStore, cancelled: list[int]) -> CachedCoroutineFunction[[int], int]:
    """Of all but 0 it takes an hour, and tells what was cancelled."""

    @Cache(store).cached(name="sleeps", version=1)
    async def sleeps(x: int) -> int:
        if x == 0:
            return x
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled.append(x)
            raise
        return x

    return sleeps


async def test_what_runs_is_cancelled_with_the_batch(
    sleeps: CachedCoroutineFunction[[int], int], cancelled: list[int]
) -> None:
    async with sleeps.map(itertools.count(), concurrency=3) as results:
        assert await anext(results) == 0
        waiter = asyncio.create_task(anext(results))
        await asyncio.sleep(0.1)
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
    await asyncio.sleep(0.1)
    assert sorted(cancelled) == [1, 2, 3]
    assert [result async for result in results] == []


async def test_what_runs_is_cancelled_when_the_batch_is_dropped(
    sleeps: CachedCoroutineFunction[[int], int], cancelled: list[int]
) -> None:
    async for result in sleeps.map(itertools.count(), concurrency=3):
        assert result == 0
        await asyncio.sleep(0.1)
        break
    await asyncio.sleep(0.1)
    assert sorted(cancelled) == [1, 2, 3]


def test_a_batch_may_be_dropped_after_its_loop(sleeps: CachedCoroutineFunction[[int], int]) -> None:
    results = sleeps.map(itertools.count())
    assert asyncio.run(anext(results)) == 0
    del results
