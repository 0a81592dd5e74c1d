"""Cached async functions: one task's work for all who await it, cancellation, and a loop that nothing holds up."""

from __future__ import annotations

import asyncio
import gc
import inspect
import sys
import threading
import time
import weakref
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from s3memo import Cache, MemoryStore, ObjectStore, SettingsError, disabled, s3_cached
from s3memo.flight import Flight, Flights
from s3memo.stores.base import Buffer
from s3memo.versions import Key
from tests.measuring import without_collector
from tests.troubled import Clock

SOON = 60.0
"""Seconds within which all that can happen has happened."""


class Work:
    """A computation that goes on when the test lets it."""

    def __init__(self) -> None:
        self.count = 0
        self.cancelled = 0
        self.begun = asyncio.Event()
        self.go = asyncio.Event()

    async def compute(self, value: Any) -> Any:
        self.count += 1
        self.begun.set()
        try:
            async with asyncio.timeout(SOON):
                await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return value


@pytest.fixture(params=["in the pool", "across the bridge"])
def cache(request: pytest.FixtureRequest) -> Iterator[Cache]:
    """A cache whose store blocks, and one whose store lets the loop go on: a real server."""
    if request.param == "in the pool":
        yield Cache(MemoryStore())
        return
    server = request.getfixturevalue("rclone_s3")
    with pytest.MonkeyPatch.context() as patch:
        server.set_environment(patch)
        cache = Cache(ObjectStore(f"s3+obstore://{server.make_bucket()}/root"))
        yield cache
    assert cache._pool is None


def on_work(cache: Cache, work: Work, **options: Any) -> Any:
    @cache.cached(name="f", version=1, **options)
    async def function(x: int) -> list[int]:
        found: list[int] = await work.compute([x])
        return found

    return function


async def waiting(cache: Cache, function: Any, work: Work, calls: int) -> list[asyncio.Task[Any]]:
    """Return tasks that all wait for one computation of `function(1)`."""
    tasks = [asyncio.create_task(function(1)) for _ in range(calls)]
    async with asyncio.timeout(SOON):
        await work.begun.wait()
        (flight,) = cache.flights._led.values()
        while flight.waiters < calls:  # noqa: ASYNC110  nothing tells
            await asyncio.sleep(0)
    return tasks


async def test_all_tasks_share_one_computation(cache: Cache) -> None:
    work = Work()
    function = on_work(cache, work)
    tasks = await waiting(cache, function, work, 8)
    work.go.set()
    values = await asyncio.gather(*tasks)
    assert values == [[1]] * 8
    assert len({id(value) for value in values}) == 8, "a mutable result is fresh for every caller"
    assert work.count == 1
    info = function.cache_info()
    assert (info.hits, info.misses) == (7, 1)
    assert not cache.flights._led
    assert not cache.flights._running


async def test_without_the_flight_they_would_not(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def alone(self: Flights, key: Key, _scope: object) -> Iterator[tuple[Flight, bool]]:
        with self.begin(key) as flight:
            flight.waiters = 1
            yield flight, True

    monkeypatch.setattr(Flights, "board", alone)
    work = Work()
    function = on_work(cache, work)
    tasks = [asyncio.create_task(function(1)) for _ in range(4)]
    async with asyncio.timeout(SOON):
        while work.count < 4:  # noqa: ASYNC110  nothing tells
            await asyncio.sleep(0)
    work.go.set()
    assert await asyncio.gather(*tasks) == [[1]] * 4


async def test_an_exception_reaches_all_and_is_not_remembered(cache: Cache) -> None:
    work = Work()

    @cache.cached(name="f", version=1)
    async def function(x: int) -> int:
        return 1 // (await work.compute(x) - 1)

    tasks = await waiting(cache, function, work, 4)
    work.go.set()
    assert {type(error) for error in await asyncio.gather(*tasks, return_exceptions=True)} == {ZeroDivisionError}
    assert work.count == 1
    with pytest.raises(ZeroDivisionError):
        await function(1)
    assert work.count == 2


async def test_a_cancelled_waiter_cancels_nobody(cache: Cache) -> None:
    work = Work()
    tasks = await waiting(cache, on_work(cache, work), work, 4)
    for task in tasks[:3]:  # the first among them, which began the work
        task.cancel()
    await asyncio.wait(tasks[:3])
    work.go.set()
    assert await tasks[3] == [1]
    assert all(task.cancelled() for task in tasks[:3])
    assert (work.count, work.cancelled) == (1, 0)


async def test_the_last_cancelled_waiter_cancels_the_work(cache: Cache) -> None:
    work = Work()
    function = on_work(cache, work)
    tasks = await waiting(cache, function, work, 3)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    later = asyncio.create_task(function(1))
    work.go.set()
    assert await later == [1], "who comes after that does not get what was cancelled"
    assert (work.count, work.cancelled) == (2, 1)
    assert not cache.flights._running


async def test_work_that_is_cancelled_before_it_begins_is_begun_again_by_those_who_wait(cache: Cache) -> None:
    work = Work()
    work.go.set()
    function = on_work(cache, work)
    calls = [asyncio.create_task(function(1)) for _ in range(3)]
    await asyncio.sleep(0)
    (begun,) = asyncio.all_tasks() - {asyncio.current_task(), *calls}
    begun.cancel()
    async with asyncio.timeout(SOON):
        await asyncio.wait(calls)
    assert [call.cancelled() for call in calls] == [True, False, False]
    assert [call.result() for call in calls[1:]] == [[1], [1]]
    assert not cache.flights._running


async def test_of_a_cancelled_call_nothing_is_left_to_the_collector(cache: Cache) -> None:
    class Argument:
        def __s3memo_key__(self) -> int:
            return 1

    begun = asyncio.Event()

    @cache.cached(name="f", version=1)
    async def function(_: Argument) -> None:
        begun.set()
        await asyncio.sleep(SOON)

    argument = Argument()
    gone = weakref.ref(argument)
    task = asyncio.create_task(function(argument))
    del argument
    await begun.wait()
    gc.collect()
    with without_collector():
        task.cancel()
        while len(asyncio.all_tasks()) > 1:  # noqa: ASYNC110  nothing tells
            await asyncio.sleep(0)
        await asyncio.sleep(0)  # what a task calls back has it
        del task
        assert gone() is None


async def test_a_refresh_behind_is_not_lost_to_the_collector(clock: Clock) -> None:
    awaited: list[weakref.ref[asyncio.Future[int]]] = []

    @Cache(MemoryStore(clock=clock)).cached(name="f", version=1, ttl=60, stale_while_revalidate=600)
    async def function() -> int:
        if clock.now == begun:
            return 1
        future = asyncio.get_running_loop().create_future()
        awaited.append(weakref.ref(future))
        return await future  # type: ignore[no-any-return]  # it is an int

    begun = clock.now
    assert await function() == 1
    clock.now += 61
    assert await function() == 1
    async with asyncio.timeout(SOON):
        while not awaited:  # noqa: ASYNC110  nothing tells
            await asyncio.sleep(0)
    gc.collect()
    future = awaited[0]()
    assert future is not None
    future.set_result(2)
    await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()})
    assert await function() == 2


async def test_work_that_is_cancelled_from_within_is_begun_again_by_those_who_wait(cache: Cache) -> None:
    work = Work()

    @cache.cached(name="f", version=1)
    async def function(x: int) -> int:
        await work.compute(x)
        if work.count == 1:
            raise asyncio.CancelledError
        return x

    tasks = await waiting(cache, function, work, 3)
    work.go.set()
    await asyncio.wait(tasks)
    assert [task.cancelled() for task in tasks] == [True, False, False]
    assert [task.result() for task in tasks[1:]] == [1, 1]
    assert work.count == 2


async def test_recursion_and_cycles_compute(cache: Cache) -> None:
    depths = iter(range(3))

    @cache.cached(name="f", version=1)
    async def recursive(x: int) -> int:
        return await recursive(x) + 1 if next(depths) < 2 else 0

    counts = {"a": 0, "b": 0}
    both = asyncio.Barrier(2)

    @cache.cached(name="g", version=1)
    async def needs(key: str) -> str:
        counts[key] += 1
        if sum(counts.values()) > 2:
            return key
        await both.wait()
        return key + await needs("b" if key == "a" else "a")

    async with asyncio.timeout(SOON):
        assert await recursive(1) == 2
        assert set(await asyncio.gather(needs("a"), needs("b"))) <= {"ab", "ba", "aba", "bab"}


async def test_what_cannot_be_stored_is_computed_by_each(cache: Cache) -> None:
    work = Work()

    @cache.cached(name="f", version=1)
    async def function(x: int) -> object:
        return await work.compute({x: object()})

    tasks = await waiting(cache, function, work, 3)
    work.go.set()
    assert len({id(value) for value in await asyncio.gather(*tasks)}) == 3
    assert work.count == 3


def test_several_loops_over_time_and_at_once(cache: Cache) -> None:
    count = 0

    @cache.cached(name="f", version=1)
    async def function(x: int) -> int:
        nonlocal count
        count += 1
        await asyncio.sleep(0)
        return x

    assert [asyncio.run(function(1)) for _ in range(3)] == [1, 1, 1]
    assert count == 1
    threads = [threading.Thread(target=lambda: asyncio.run(function(2))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SOON)
        assert not thread.is_alive()
    assert 2 <= count <= 4
    assert not cache.flights._led


class SlowStore(MemoryStore):
    """Tells in which threads it is asked, and takes as long as the test lets it."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: set[threading.Thread] = set()
        self.go = threading.Event()

    def list(self, *args: Any, **kwargs: Any) -> Any:
        self.threads.add(threading.current_thread())
        assert self.go.wait(SOON)
        return super().list(*args, **kwargs)

    def put(self, object_key: str, data: Buffer, **options: Any) -> None:
        self.threads.add(threading.current_thread())
        super().put(object_key, data, **options)


async def test_the_loop_goes_on_while_the_store_takes_its_time() -> None:
    store = SlowStore()
    cache = Cache(store)

    @cache.cached(name="f", version=1)
    async def function(x: int) -> int:
        return x

    call = asyncio.create_task(function(1))
    while not store.threads:  # noqa: ASYNC110  a thread adds itself
        await asyncio.sleep(0)
    assert not call.done()
    store.go.set()
    assert await call == 1
    assert await function.cache_refresh(1) == 1
    await function.cache_set(2, 1)
    assert (await function.cache_get(1)).value == 2
    assert len(await function.cache_history(1)) == 1
    await function.cache_invalidate(1)
    assert await function.cache_get(1) is None
    assert await function.cache_clear() == 0
    assert await function.cache_clear(memory_only=True) == 0
    assert threading.main_thread() not in store.threads
    cache.close()
    assert await function(1) == 1, "a closed cache opens again"


async def test_large_values_are_decoded_beside_the_loop(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    from s3memo import codec  # noqa: PLC0415  the test looks at its function

    threads: list[threading.Thread] = []
    decode = codec.decode
    monkeypatch.setattr(codec, "decode", lambda *args: [threads.append(threading.current_thread()), decode(*args)][1])

    @cache.cached(name="f", version=1)
    async def function(size: int) -> list[bytes]:
        return [bytes(range(256)) * size]

    for size in (1, 10_000, 1, 10_000):
        assert (await function(size))[0][:2] == b"\0\1"
    small, large = threads
    assert small is threading.main_thread()
    assert large is not threading.main_thread()
    assert function.cache_info().hits == 2


def test_nothing_keeps_arguments_alive(cache: Cache) -> None:
    class Argument:
        def __s3memo_key__(self) -> str:
            return "argument"

    async def calls() -> weakref.ref[Argument]:
        work = Work()

        @cache.cached(name="f", version=1)
        async def function(argument: Argument) -> int:
            await work.compute(argument)
            raise ValueError

        argument = Argument()
        tasks = [asyncio.create_task(function(argument)) for _ in range(3)]
        await work.begun.wait()
        work.go.set()
        errors = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(error) for error in errors] == [ValueError] * 3
        return weakref.ref(argument)

    gone = asyncio.run(calls())
    deadline = time.monotonic() + SOON
    while gone() is not None and time.monotonic() < deadline:  # a thread of the pool may be about to let go
        gc.collect()
        time.sleep(0.001)
    assert gone() is None


def test_it_looks_like_an_async_function(cache: Cache) -> None:
    async def function(x: int) -> int:
        """Return x."""
        return x

    cached = cache.cached(function)
    is_coroutine_function = inspect if sys.version_info >= (3, 12) else asyncio
    assert is_coroutine_function.iscoroutinefunction(cached)
    assert cached.__wrapped__ is function
    assert cached.__doc__ == "Return x."
    assert cached.cache_parameters()["ttl"] is None
    assert str(cached.cache_key(1)) == str(cached.cache_key(x=1))
    assert "function" in repr(cached)


async def test_disabled_it_is_the_function_itself(cache: Cache) -> None:
    count = 0

    @cache.cached(name="f", version=1)
    async def function(x: int) -> int:
        nonlocal count
        count += 1
        return x

    with disabled():
        assert [await function(1), await function(1), await function.cache_refresh(1)] == [1, 1, 1]
    assert count == 3
    assert function.cache_info().misses == 0


class Loader:
    """Async methods of every kind, in either order of decorators."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __s3memo_key__(self) -> str:
        return self.name

    @s3_cached(MemoryStore())
    async def method(self, x: int) -> tuple[str, int]:
        return self.name, x

    @classmethod
    @s3_cached(MemoryStore())
    async def inner_class(cls, x: int) -> tuple[str, int]:
        return cls.__name__, x

    @s3_cached(MemoryStore())
    @classmethod
    async def outer_class(cls, x: int) -> tuple[str, int]:
        return cls.__name__, x

    @staticmethod
    @s3_cached(MemoryStore())
    async def inner_static(x: int) -> int:
        return x

    @s3_cached(MemoryStore())
    @staticmethod
    async def outer_static(x: int) -> int:
        return x


async def test_methods_of_every_kind() -> None:
    one, other = Loader("one"), Loader("other")
    for _ in range(2):
        assert [await one.method(1), await other.method(1)] == [("one", 1), ("other", 1)]
        assert await one.inner_class(1) == await Loader.inner_class(1) == ("Loader", 1)
        assert await one.outer_class(1) == await Loader.outer_class(1) == ("Loader", 1)
        assert [await one.inner_static(2), await Loader.outer_static(3)] == [2, 3]
    assert one.method.cache_info().misses == 2
    assert (await one.method.cache_get(1)).value == ("one", 1)
    assert (await one.outer_class.cache_get(1)).value == ("Loader", 1)
    assert Loader.outer_class.cache_info().misses == 1


def test_async_generators_and_context_managers_are_refused() -> None:
    async def generator() -> AsyncIterator[int]:
        yield 1

    with pytest.raises(TypeError, match="generator"):
        s3_cached(MemoryStore())(generator)
    with pytest.raises(SettingsError, match="is cached already"):
        s3_cached(MemoryStore())(Loader.outer_static)


@pytest.mark.parametrize("error", [StopIteration("enough"), ValueError("no")])
async def test_what_a_condition_raises_reaches_the_caller(error: Exception) -> None:
    def condition(_: object) -> bool:
        raise error

    @Cache(MemoryStore()).cached(name="condition", version=1, cache_if=condition)
    async def f() -> int:
        return 1

    async with asyncio.timeout(SOON):
        with pytest.raises((RuntimeError, ValueError), match=str(error)):
            await f()
