"""One computation for all threads that ask for a key: what each of them gets, and that nobody waits for ever."""

from __future__ import annotations

import contextlib
import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from s3memo import Cache, Event, MemoryStore, MemoryTier, s3_cached
from s3memo.flight import Flight, Flights
from s3memo.versions import Key
from tests.measuring import without_collector

SOON = 60.0
"""Seconds within which all that can happen has happened."""


class Waiters:
    """Threads that make one call each; `computing` is set while one of them computes, until `go` is."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.computing = threading.Semaphore(0)
        self.count = 0

    def compute(self, value: Any) -> Any:
        self.count += 1
        self.computing.release()
        assert self.go.wait(SOON)
        return value


def in_thread(action: Callable[[], Any]) -> Future[Any]:
    """Run an action in a thread; the future has what it brought."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(action())
        except BaseException as error:  # noqa: BLE001  the test asks for it
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def wait_for_waiters(cache: Cache, key: Key, count: int) -> None:
    """Wait until so many callers take part in the key's flight."""
    (flight,) = [flight for (led, _), flight in list(cache.flights._led.items()) if led == key]
    deadline = time.monotonic() + SOON
    while flight.waiters < count:
        assert time.monotonic() < deadline, f"{flight.waiters} callers take part, not {count}"
        time.sleep(0.001)


@pytest.fixture
def cache() -> Cache:
    return Cache(MemoryStore())


def calls_at_once(cache: Cache, function: Any, waiters: Waiters, *, calls: int = 8) -> list[Future[Any]]:
    """Make several calls of `function(1)`, let them all wait, and then let the computation end."""
    results = [in_thread(lambda: function(1)) for _ in range(calls)]
    assert waiters.computing.acquire(timeout=SOON)
    wait_for_waiters(cache, function.cache_key(1), calls)
    waiters.go.set()
    return results


def test_all_threads_share_one_computation(cache: Cache) -> None:
    waiters = Waiters()

    @cache.cached(name="f", version=1)
    def function(x: int) -> list[int]:
        return waiters.compute([x])

    values = [result.result(SOON) for result in calls_at_once(cache, function, waiters)]
    assert values == [[1]] * 8
    assert len({id(value) for value in values}) == 8, "a mutable result is fresh for every caller"
    assert waiters.count == 1
    info = function.cache_info()
    assert (info.hits, info.misses, info.memory_hits) == (7, 1, 7)
    assert not cache.flights._led
    assert not cache.flights._running


def test_without_the_flight_they_would_not(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def alone(self: Flights, key: Key, _scope: object) -> Iterator[tuple[Flight, bool]]:
        with self.begin(key) as flight:
            yield flight, True

    monkeypatch.setattr(Flights, "board", alone)
    waiters = Waiters()
    function = cache.cached(name="f", version=1)(waiters.compute)
    results = [in_thread(lambda: function(1)) for _ in range(4)]
    for _ in results:
        assert waiters.computing.acquire(timeout=SOON)
    waiters.go.set()
    assert [result.result(SOON) for result in results] == [1] * 4
    assert waiters.count == 4


def test_an_exception_reaches_all_and_is_not_remembered(cache: Cache) -> None:
    waiters = Waiters()

    @cache.cached(name="f", version=1)
    def function(x: int) -> int:
        return 1 // (waiters.compute(x) - 1)

    for result in calls_at_once(cache, function, waiters):
        with pytest.raises(ZeroDivisionError):
            result.result(SOON)
    assert waiters.count == 1
    with pytest.raises(ZeroDivisionError):
        function(1)
    assert waiters.count == 2


def test_an_interrupted_thread_interrupts_nobody_else(cache: Cache) -> None:
    waiters = Waiters()

    @cache.cached(name="f", version=1)
    def function(x: int) -> int:
        if waiters.compute(x) and waiters.count == 1:
            raise KeyboardInterrupt
        return x

    results = calls_at_once(cache, function, waiters)
    errors = [result.exception(SOON) for result in results]
    assert [type(error) for error in errors if error] == [KeyboardInterrupt]
    assert waiters.count == 2


def test_what_cannot_be_stored_is_computed_by_each(cache: Cache) -> None:
    waiters = Waiters()

    @cache.cached(name="f", version=1)
    def function(x: int) -> object:
        return waiters.compute({x: object()})

    values = [result.result(SOON) for result in calls_at_once(cache, function, waiters, calls=3)]
    assert len({id(value) for value in values}) == 3
    assert waiters.count == 3


def test_what_is_not_kept_is_shared_all_the_same(cache: Cache) -> None:
    waiters = Waiters()

    @cache.cached(name="f", version=1, cache_if=lambda value: value is None)
    def function(x: int) -> list[int]:
        return waiters.compute([x])

    values = [result.result(SOON) for result in calls_at_once(cache, function, waiters)]
    assert values == [[1]] * 8
    assert len({id(value) for value in values}) == 8
    assert waiters.count == 1
    assert function.cache_get(1) is None


def test_lent_results_are_shared_as_they_are(cache: Cache) -> None:
    waiters = Waiters()

    @cache.cached(name="f", version=1, copy=False)
    def function(x: int) -> list[int]:
        return waiters.compute([x])

    assert len({id(result.result(SOON)) for result in calls_at_once(cache, function, waiters)}) == 1


def test_recursion_on_one_key_computes(cache: Cache) -> None:
    depths = iter(range(3))

    @cache.cached(name="f", version=1)
    def function(x: int) -> int:
        return function(x) + 1 if next(depths) < 2 else 0

    assert in_thread(lambda: function(1)).result(SOON) == 2


def test_a_cycle_over_two_keys_computes(cache: Cache) -> None:
    both = threading.Barrier(2)
    inner = threading.local()

    @cache.cached(name="f", version=1)
    def needs(key: str) -> str:
        if getattr(inner, "depth", 0):
            return key
        inner.depth = 1
        both.wait(SOON)
        return key + needs("b" if key == "a" else "a")

    results = [in_thread(lambda key=key: needs(key)) for key in "ab"]
    assert {result.result(SOON) for result in results} <= {"ab", "ba", "aba", "bab"}


def test_a_cycle_over_three_keys_computes(cache: Cache) -> None:
    all_three = threading.Barrier(3)
    inner = threading.local()

    @cache.cached(name="f", version=1)
    def needs(key: int) -> int:
        if getattr(inner, "depth", 0):
            return 0
        inner.depth = 1
        all_three.wait(SOON)
        return 1 + needs((key + 1) % 3)

    results = [in_thread(lambda key=key: needs(key)) for key in range(3)]
    assert all(result.result(SOON) >= 1 for result in results)


@pytest.mark.parametrize("overtake", ["cache_invalidate", "cache_set", "cache_clear"])
def test_what_overtakes_a_computation_sends_later_callers_on_their_own(cache: Cache, overtake: str) -> None:
    waiters = Waiters()
    numbers = iter(range(10))

    @cache.cached(name="f", version=1)
    def function(x: int) -> int:
        return waiters.compute(next(numbers))

    early = in_thread(lambda: function(1))
    assert waiters.computing.acquire(timeout=SOON)
    if overtake == "cache_set":
        function.cache_set(100, 1)
    else:
        getattr(function, overtake)(*([] if overtake == "cache_clear" else [1]))
    late = in_thread(lambda: function(1))
    if overtake != "cache_set":
        assert waiters.computing.acquire(timeout=SOON), "who asks after that does not wait for what began before it"
    waiters.go.set()
    assert early.result(SOON) == 0
    assert late.result(SOON) == (100 if overtake == "cache_set" else 1)
    assert function(1) == late.result(SOON)


def test_a_refresh_does_not_wait_for_what_began_before_it(cache: Cache) -> None:
    waiters = Waiters()
    numbers = iter(range(10))

    @cache.cached(name="f", version=1)
    def function(_x: int) -> int:
        return waiters.compute(next(numbers))

    early = in_thread(lambda: function(1))
    assert waiters.computing.acquire(timeout=SOON)
    refreshed = in_thread(lambda: function.cache_refresh(1))
    assert waiters.computing.acquire(timeout=SOON)
    waiters.go.set()
    assert (early.result(SOON), refreshed.result(SOON)) == (0, 1)


def test_who_asks_after_a_refresh_gets_nothing_older_even_if_memory_holds_no_more_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cache = Cache(MemoryStore(), memory=None)
    go, boarded = threading.Event(), threading.Semaphore(0)
    numbers = iter(range(10))
    take_part = cache.flights.take_part

    @cache.cached(name="f", version=1)
    def function() -> int:
        number = next(numbers)
        computing.release()
        assert number or go.wait(SOON)
        return number

    def watch(part: Any) -> None:
        take_part(part)
        boarded.release()

    computing = threading.Semaphore(0)
    early = in_thread(function)
    assert computing.acquire(timeout=SOON)
    assert function.cache_refresh() == 1
    monkeypatch.setattr(cache.flights, "take_part", watch)
    late = in_thread(function)
    assert boarded.acquire(timeout=SOON)
    go.set()
    assert (early.result(SOON), late.result(SOON)) == (0, 1)
    assert function() == 1


def test_who_asks_after_a_refresh_does_not_wait_for_who_reads_what_it_replaced() -> None:
    reading, go = threading.Semaphore(0), threading.Event()

    class Store(MemoryStore):
        def get(self, object_key: str) -> bytes:
            data = super().get(object_key)
            reading.release()
            assert go.wait(SOON)
            return data

    numbers = iter(range(10))
    function = Cache(Store(), memory=None).cached(name="f", version=1)(lambda _x: next(numbers))
    function(1)
    early = in_thread(lambda: function(1))
    assert reading.acquire(timeout=SOON)
    assert function.cache_refresh(1) == 1
    late = in_thread(lambda: function(1))
    assert reading.acquire(timeout=SOON), "a process sees its own writes at once"
    go.set()
    assert (early.result(SOON), late.result(SOON)) == (0, 1)


class Argument:
    def __s3memo_key__(self) -> str:
        return "argument"


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_keeps_arguments_or_exceptions_alive(cache: Cache, fails: bool) -> None:
    waiters = Waiters()

    @cache.cached(name="f", version=1)
    def function(argument: Argument) -> int:
        if waiters.compute(argument) and fails:
            raise ValueError
        return 1

    argument = Argument()
    gone = weakref.ref(argument)
    key = function.cache_key(argument)
    results = [in_thread(partial(function, argument)) for _ in range(3)]
    del argument
    assert waiters.computing.acquire(timeout=SOON)
    wait_for_waiters(cache, key, 3)
    waiters.go.set()
    assert [isinstance(result.exception(SOON), ValueError) for result in results] == [fails] * 3
    del results
    gc.collect()
    assert gone() is None
    assert not cache.flights._led
    assert not cache.flights._running


def test_numbers_are_exact_under_threads() -> None:
    events: list[Event] = []

    @s3_cached(Cache(MemoryStore(), hooks=[events.append]))
    def told(x: int) -> int:
        return x

    @s3_cached(MemoryStore())
    def quick(x: int) -> int:
        return x

    start = threading.Barrier(8)

    def call(function: Any) -> None:
        start.wait(SOON)
        for number in range(2000):
            function(number % 3)

    for function in (told, quick):
        for result in [in_thread(lambda function=function: call(function)) for _ in range(8)]:
            result.result(SOON)
        info = function.cache_info()
        assert (info.hits, info.misses, info.maxsize, info.currsize) == (15997, 3, 100_000, 3)
    assert len([event for event in events if event.kind == "hit"]) == 15997


def test_siblings_do_not_wait_for_what_they_would_judge_otherwise(cache: Cache) -> None:
    waiters = Waiters()

    @cache.cached(name="f", version=1)
    def function(x: int) -> int:
        return waiters.compute(x)

    sibling = function.with_options(ttl="1h")
    results = [in_thread(lambda: function(1)), in_thread(lambda: sibling(1))]
    for _ in results:
        assert waiters.computing.acquire(timeout=SOON), "each computes by its own terms"
    waiters.go.set()
    assert [result.result(SOON) for result in results] == [1, 1]


def test_a_stop_iteration_is_the_callers(cache: Cache) -> None:
    @cache.cached(name="f", version=1)
    def first(items: list[int]) -> int:
        return next(iter(items))

    with pytest.raises(StopIteration) as caught:
        first([])
    assert caught.value.__cause__ is None


def test_a_call_that_raised_keeps_nothing_even_before_the_collector_comes(cache: Cache) -> None:
    @cache.cached(name="f", version=1)
    def function(argument: Argument) -> int:
        raise ValueError

    argument = Argument()
    gone = weakref.ref(argument)
    with without_collector():
        with contextlib.suppress(ValueError):
            function(argument)
        del argument
        assert gone() is None


@pytest.mark.parametrize("memory", [MemoryTier(), None], ids=["memory", "store"])
def test_a_remembered_exception_leaves_nothing_to_the_collector(memory: MemoryTier | None) -> None:
    @Cache(MemoryStore(), memory=memory).cached(name="f", version=1, cache_exceptions={ValueError: "1h"})
    def function(argument: Argument) -> int:
        raise ValueError

    with contextlib.suppress(ValueError):
        function(Argument())
    argument = Argument()
    gone = weakref.ref(argument)
    with without_collector():
        with contextlib.suppress(ValueError):
            function(argument)
        del argument
        assert function.cache_info().hits == 1
        assert gone() is None


def test_what_leaves_memory_is_released_without_a_lock(cache: Cache) -> None:
    waiters = Waiters()
    freed = threading.Event()

    @cache.cached(name="other", version=1)
    def other(x: int) -> int:
        return waiters.compute(x)

    class Value(list[int]):
        def __del__(self) -> None:
            freed.set()
            other(1)

    @Cache(MemoryStore(), codec="pickle", signing_keys=[b"k" * 32]).cached(name="f", version=1, copy=False)
    def function(_x: int) -> Any:
        return Values.pop()

    Values = [Value(), Value()]  # noqa: N806  it stands for a constant
    globals()["Value"] = Value
    Value.__qualname__ = "Value"
    try:
        function(1)
        leader = in_thread(lambda: other(1))
        assert waiters.computing.acquire(timeout=SOON)
        refreshed = in_thread(lambda: function.cache_refresh(1))
        assert freed.wait(SOON)
        waiters.go.set()
        assert leader.result(SOON) == 1
        assert refreshed.result(SOON) is not None
    finally:
        del globals()["Value"]
