"""What a cached function does, over a store and a clock in this process."""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest

from s3memo import (
    Cache,
    EncodeError,
    Event,
    IntegrityError,
    MemoryStore,
    MemoryTier,
    SettingsError,
    StoreError,
    StoreUnavailableError,
    TimeBounds,
    s3_cached,
)
from s3memo.names import Names
from s3memo.stores.base import Buffer
from s3memo.versions import DAY, Key, Version, parse_object_key, tombstone


@dataclass
class Clock:
    now: float = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Calls:
    """A function to be cached, which knows how often it ran."""

    values: list[Any] = field(default_factory=list)

    def __call__(self, value: Any) -> Any:
        self.values.append(value)
        return value

    @property
    def count(self) -> int:
        return len(self.values)


class BrokenStore(MemoryStore):
    """Fails in the operations named in `broken`."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock=clock)
        self.broken: set[str] = set()

    def list(self, *args: Any, **kwargs: Any) -> Any:
        self._check("list")
        return super().list(*args, **kwargs)

    def get(self, object_key: str) -> Buffer:
        self._check("get")
        return super().get(object_key)

    def put(self, *args: Any, **kwargs: Any) -> None:
        self._check("put")
        super().put(*args, **kwargs)

    def delete(self, *args: Any) -> None:
        self._check("delete")
        super().delete(*args)

    def _check(self, operation: str) -> None:
        if operation in self.broken:
            raise StoreUnavailableError(f"{operation} is broken")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> BrokenStore:
    return BrokenStore(clock)


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.fixture
def cached(store: BrokenStore, calls: Calls) -> Callable[..., Any]:
    """Make one more process's view on the same function: a cache of its own over the shared store."""

    def make(**options: Any) -> Any:
        cache = {name: options.pop(name) for name in ("memory", "on_error", "read_only", "hooks") if name in options}
        return Cache(store, **cache).cached(name="jobs.load", version=1, **options)(calls_of(calls))

    return make


def calls_of(calls: Calls) -> Callable[[Any], Any]:
    def load(value: Any) -> Any:
        return calls(value)

    return load


def names(store: MemoryStore) -> list[str]:
    return [info.key for info in store.list("")]


def test_a_result_is_computed_once_and_found_by_other_processes(cached: Any, calls: Calls) -> None:
    first, second = cached(), cached()
    assert first("a") == "a"
    assert first("a") == "a"
    assert second("a") == "a"
    assert calls.values == ["a"]
    assert first.cache_info()[:2] == (1, 1)
    assert first.cache_info().memory_hits == 1
    assert second.cache_info().store_hits == 1


def test_none_is_a_value(cached: Any, calls: Calls) -> None:
    function = cached(memory=None)
    assert function(None) is None
    assert function(None) is None
    assert calls.count == 1
    assert function.cache_get(None).value is None
    assert function.cache_get("unknown") is None


def test_a_result_expires_after_the_readers_ttl(cached: Any, calls: Calls, clock: Clock) -> None:
    patient, strict = cached(ttl="1h"), cached(ttl=60)
    patient("a")
    clock.now += 59.9
    assert strict.cache_get("a") is not None
    clock.now += 0.2
    assert strict.cache_get("a") is None, "neither from the store nor from memory"
    assert patient.cache_get("a") is not None
    strict("a")
    assert calls.count == 2


def test_age_counts_from_when_the_computation_began(cached: Any, store: BrokenStore, clock: Clock) -> None:
    def slow(value: str) -> str:
        clock.now += 50
        return value

    function = Cache(store).cached(ttl=60, name="slow", version=1)(slow)
    function("a")
    assert function.cache_get("a").created_at.timestamp() == clock.now - 50
    clock.now += 11
    assert function.cache_get("a") is None


def test_a_version_from_the_future_counts_as_expired_and_is_reported_once(
    cached: Any, calls: Calls, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    clock.now += 299
    cached()("b")
    clock.now -= 299
    assert cached().cache_get("b") is not None, "clocks differ by so much"
    clock.now += 301
    cached()("a")
    clock.now -= 301
    function = cached()
    function("a")
    function.cache_get("a")
    assert calls.count == 3
    assert caplog.text.count("clock skew") == 1


def test_a_write_deletes_what_it_replaces_and_keeps_as_many_as_asked(
    cached: Any, store: BrokenStore, clock: Clock
) -> None:
    function = cached(keep=2)
    for value in "abc":
        clock.now += 1
        function.cache_set(value, "key")
    assert [version.created_at.timestamp() for version in function.cache_history("key")] == [clock.now, clock.now - 1]
    assert len(names(store)) == 2


def test_a_refresh_computes_and_replaces(cached: Any, calls: Calls, store: BrokenStore) -> None:
    function = cached()
    function("a")
    assert function.cache_refresh("a") == "a"
    assert calls.count == 2
    assert len(names(store)) == 1


def test_a_refresh_is_served_even_if_its_result_left_memory_while_it_was_written(
    store: BrokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    present = ["old"]
    cache = Cache(store, memory=MemoryTier(max_entries=1))
    function, put = cache.cached(name="f", version=1)(lambda _: present[0]), store.put

    def meanwhile(*args: Any, **kwargs: Any) -> None:
        monkeypatch.setattr(store, "put", put)
        function("other")
        assert function("this") == "old"
        put(*args, **kwargs)

    function("this")
    present[0] = "new"
    monkeypatch.setattr(store, "put", meanwhile)
    assert function.cache_refresh("this") == "new"
    assert function("this") == "new"


def test_a_set_value_is_served_here_and_elsewhere(cached: Any, calls: Calls) -> None:
    here, elsewhere = cached(), cached()
    here("a")
    here.cache_set("set", "a")
    assert here("a") == elsewhere("a") == "set"
    assert calls.count == 1


def test_an_invalidation_reaches_memory_and_store_and_a_later_result_lives(
    cached: Any, calls: Calls, store: BrokenStore
) -> None:
    here, elsewhere = cached(), cached()
    here("a")
    elsewhere.cache_invalidate("a")
    assert elsewhere.cache_get("a") is None
    here.cache_clear(memory_only=True)
    here("a")
    assert calls.count == 2
    assert elsewhere("a") == "a"
    assert calls.count == 2
    assert [version.dead for version in here.cache_history("a")] == [False, True]


def test_repeated_invalidations_leave_one_tombstone(cached: Any, store: BrokenStore) -> None:
    function = cached()
    for _ in range(3):
        function.cache_invalidate("a")
    assert len(names(store)) == 1


def test_a_computation_that_an_invalidation_overtook_serves_its_caller_only(store: BrokenStore, clock: Clock) -> None:
    begun, go_on = threading.Event(), threading.Event()

    @Cache(store).cached(name="slow", version=1)
    def slow(value: str) -> str:
        begun.set()
        go_on.wait(10)
        return value

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(slow, "a")
        assert begun.wait(10)
        slow.cache_invalidate("a")
        go_on.set()
        assert future.result() == "a"
    assert slow.cache_get("a") is None
    assert [version.dead for version in slow.cache_history("a")] == [True]


def test_clear_deletes_this_code_or_all_and_leaves_others(store: BrokenStore) -> None:
    cache = Cache(store)
    old, new = (cache.cached(name="jobs.load", version=version)(calls_of(Calls())) for version in (1, 2))
    other = cache.cached(name="jobs.load2", version=1)(calls_of(Calls()))
    for function in (old, new, other):
        for value in "abc":
            function(value)
    store.put("v1/memo/jobs.load/1/notes.txt", b"foreign")
    assert new.cache_clear() == 3
    assert new.cache_get("a") is None
    assert old.cache_get("a") is not None
    assert old.cache_clear(all_tags=True) == 3
    assert other.cache_get("a") is not None
    assert "v1/memo/jobs.load/1/notes.txt" in names(store)


def test_clear_keeps_tombstones_so_that_nothing_invalidated_comes_back(cached: Any, store: BrokenStore) -> None:
    function = cached()
    function.cache_invalidate("a")
    assert function.cache_clear() == 0
    assert len(names(store)) == 1


def test_memory_alone_can_be_cleared(cached: Any, store: BrokenStore) -> None:
    function = cached()
    function("a")
    assert function.cache_info().currsize == 1
    assert function.cache_clear(memory_only=True) == 0
    assert function.cache_info().currsize == 0
    assert function.cache_get("a") is not None


@pytest.mark.parametrize("moment", ["computing", "putting"])
@pytest.mark.parametrize("ask", ["__call__", "cache_refresh"])
def test_what_is_computed_while_memory_alone_is_cleared_is_stored_and_does_not_come_to_memory(
    moment: str, ask: str, store: BrokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = store.put

    def meanwhile() -> None:
        assert function.cache_clear(memory_only=True) == 0
        with ThreadPoolExecutor(1) as pool:
            later.append(pool.submit(function.cache_get, "a").result())

    @Cache(store).cached(name="f", version=1)
    def function(value: str) -> str:
        if moment == "computing":
            meanwhile()
        return value

    def slow(*args: Any, **kwargs: Any) -> None:
        if moment == "putting":
            meanwhile()
        put(*args, **kwargs)

    later: list[Any] = []
    monkeypatch.setattr(store, "put", slow)
    assert getattr(function, ask)("a") == "a"
    assert later == [None]
    assert len(names(store)) == 1
    assert function.cache_info().currsize == 0
    requests = function.cache_info().requests
    assert function.cache_get("a") is not None
    assert function.cache_info().requests == {**requests, "GET": 1}, "the look after the clearing and the write name it"


def test_who_asks_after_memory_alone_was_cleared_waits_for_nobody_who_began_before(
    store: BrokenStore, clock: Clock
) -> None:
    begun, go_on, count = threading.Event(), threading.Event(), itertools.count()

    @Cache(store).cached(name="f", version=1)
    def function() -> int:
        number = next(count)
        if number == 0:
            begun.set()
            assert go_on.wait(10)
        return number

    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(function)
        assert begun.wait(10)
        function.cache_clear(memory_only=True)
        clock.now += 1
        assert function() == 1
        go_on.set()
        assert slow.result() == 0
    assert function() == 1, "which memory holds"


def test_what_is_read_by_a_name_from_before_memory_alone_is_cleared_does_not_come_to_memory(clock: Clock) -> None:
    getting, go_on = threading.Event(), threading.Event()

    class BusyStore(BrokenStore):
        def get(self, object_key: str) -> Any:
            if threading.current_thread() is not threading.main_thread():
                getting.set()
                assert go_on.wait(10)
            return super().get(object_key)

    store, numbers, forget_all = BusyStore(clock), itertools.count(), Names.forget_all

    def cached(memory: MemoryTier | None) -> Any:
        return Cache(store, memory=memory).cached(name="f", version=1, keep=2)(lambda _: next(numbers))

    here, elsewhere = cached(MemoryTier(max_entries=1)), cached(None)
    assert [here("a"), here("b")] == [0, 1], "only the name of the first is known, and the second in memory"
    clock.now += 1
    assert elsewhere.cache_refresh("a") == 2
    with ThreadPoolExecutor(1) as pool, pytest.MonkeyPatch.context() as patch:
        reads = []

        def forgetting(*args: Any) -> None:
            reads.append(pool.submit(here, "a"))
            assert getting.wait(10)
            forget_all(*args)

        patch.setattr(Names, "forget_all", forgetting)
        here.cache_clear(memory_only=True)
        go_on.set()
        assert reads[0].result() == 0
    assert here("a") == 2


def test_mutable_results_are_fresh_for_every_caller_and_immutable_ones_shared(store: BrokenStore) -> None:
    @Cache(store).cached
    def rows(count: int) -> list[int]:
        return list(range(count))

    @Cache(store).cached
    def text(count: int) -> tuple[str, ...]:
        return ("x" * count,)

    mine = rows(3)
    mine.append(99)
    assert rows(3) == rows(3) == [0, 1, 2]
    assert rows(3) is not rows(3)
    assert text(3) is text(3)


def test_memory_is_confirmed_with_one_list_after_a_while(cached: Any, clock: Clock) -> None:
    watchful = cached(memory=MemoryTier(revalidate_after="1m"))
    watchful("a")
    clock.now += 59
    watchful("a")
    before = watchful.cache_info().requests
    clock.now += 2
    assert watchful("a") == "a"
    after = watchful.cache_info().requests
    assert after == {**before, "LIST": before["LIST"] + 1}
    cached().cache_set("newer", "a")
    assert watchful("a") == "a", "confirmed less than a minute ago"
    clock.now += 61
    assert watchful("a") == "newer"


def test_memory_is_bounded_by_entries_and_bytes(store: BrokenStore) -> None:
    few = Cache(store, memory=MemoryTier(max_entries=2)).cached(calls_of(Calls()))
    small = Cache(store, memory=MemoryTier(max_bytes=5000)).cached(calls_of(Calls()))
    for value in ("x" * 1000, "y" * 1000, "z" * 1000, "w" * 5000):
        few(value)
        small(value)
    assert few.cache_info().currsize == 2
    assert small.cache_info().currsize == 2


def test_an_invalidation_holds_although_the_stores_clock_was_set_back(cached: Any, calls: Calls, clock: Clock) -> None:
    function = cached()
    function("a")
    clock.now -= 1
    function.cache_invalidate("a")
    assert function.cache_get("a") is None
    function("a")
    assert calls.count == 2
    assert function.cache_get("a") is not None


def test_memory_is_trusted_from_when_the_store_was_asked(store: BrokenStore, clock: Clock) -> None:
    """An invalidation elsewhere, in the middle of a long computation, is not unseen for longer than was asked for."""
    tier = MemoryTier(revalidate_after=60)
    elsewhere = Cache(store).cached(name="slow", version=1)(calls_of(Calls()))

    @Cache(store, memory=tier).cached(name="slow", version=1)
    def slow(value: str) -> str:
        clock.now += 1800
        elsewhere.cache_invalidate(value)
        clock.now += 1800
        return value

    slow("a")
    assert slow.cache_get("a") is None


def test_what_a_listing_showed_to_be_void_is_served_no_more(store: BrokenStore, clock: Clock) -> None:
    elsewhere = Cache(store).cached(name="fails", version=1)(calls_of(Calls()))
    failing: list[bool] = []

    @Cache(store).cached(name="fails", version=1)
    def fails(value: str) -> str:
        if failing:
            raise ZeroDivisionError
        return value

    fails("a")
    elsewhere.cache_invalidate("a")
    assert fails.cache_get("a") is not None, "memory does not know yet"
    failing.append(True)
    with pytest.raises(ZeroDivisionError):
        fails.cache_refresh("a")
    assert fails.cache_get("a") is None


def test_a_slow_reader_brings_memory_nothing_that_another_thread_saw_to_be_void(clock: Clock) -> None:
    class SlowStore(BrokenStore):
        def get(self, object_key: str) -> Buffer:
            data = super().get(object_key)
            reading.set()
            assert go_on.wait(10)
            return data

    reading, go_on = threading.Event(), threading.Event()
    store = SlowStore(clock)
    elsewhere = Cache(store).cached(name="f", version=1)(calls_of(Calls()))
    here = Cache(store).cached(name="f", version=1)(calls_of(Calls()))
    elsewhere("a")
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(here.cache_get, "a")
        assert reading.wait(10)
        elsewhere.cache_invalidate("a")
        assert here.cache_get("a") is None
        go_on.set()
        assert slow.result().value == "a", "it had begun before"
    assert here.cache_get("a") is None


@pytest.mark.parametrize("overtake", ["cache_clear", "cache_set", "cache_invalidate"])
def test_a_put_under_way_leaves_nothing_of_what_was_overtaken(overtake: str, clock: Clock) -> None:
    class SlowStore(BrokenStore):
        def put(self, object_key: str, data: Buffer, **options: Any) -> None:
            if threading.current_thread() is not threading.main_thread():
                putting.set()
                assert go_on.wait(10)
            super().put(object_key, data, **options)

    putting, go_on = threading.Event(), threading.Event()
    store = SlowStore(clock)
    function = Cache(store).cached(name="f", version=1)(calls_of(Calls()))
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(function.cache_refresh, "a")
        assert putting.wait(10)
        {
            "cache_clear": function.cache_clear,
            "cache_set": lambda: function.cache_set("set", "a"),
            "cache_invalidate": lambda: function.cache_invalidate("a"),
        }[overtake]()
        go_on.set()
        assert slow.result() == "a"
    for process in (function, Cache(store).cached(name="f", version=1)(calls_of(Calls()))):
        found = process.cache_get("a")
        assert (found and found.value) == ("set" if overtake == "cache_set" else None)


def test_a_computation_that_ends_while_its_function_is_cleared_is_not_stored(clock: Clock) -> None:
    computing, go_on, stored = threading.Event(), threading.Event(), threading.Event()

    class BusyStore(BrokenStore):
        def delete(self, *args: Any) -> None:
            go_on.set()
            assert stored.wait(10)
            super().delete(*args)

    @Cache(BusyStore(clock)).cached(name="f", version=1)
    def function(value: str) -> str:
        if value == "slow":
            computing.set()
            assert go_on.wait(10)
        return value

    function("a")
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(function, "slow")
        slow.add_done_callback(lambda _: stored.set())
        assert computing.wait(10)
        assert function.cache_clear() == 1
        assert slow.result() == "slow"
    assert function.cache_get("slow") is None


def test_what_a_computation_takes_back_stays_in_no_memory_that_read_it_meanwhile(clock: Clock) -> None:
    putting, go_on, deleting, go_away = (threading.Event() for _ in range(4))

    class BusyStore(BrokenStore):
        def put(self, *args: Any, **kwargs: Any) -> None:
            putting.set()
            assert go_on.wait(10)
            super().put(*args, **kwargs)

        def delete(self, *args: Any) -> None:
            deleting.set()
            assert go_away.wait(10)
            super().delete(*args)

    calls = Calls()
    function = Cache(BusyStore(clock)).cached(name="f", version=1)(calls_of(calls))
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(function, "a")
        assert putting.wait(10)
        function.cache_clear()
        go_on.set()
        assert deleting.wait(10)
        assert function("a") == "a"
        go_away.set()
        assert slow.result() == "a"
    assert function("a") == "a"
    assert calls.count == 2


def test_what_a_write_rested_on_is_not_known_again_after_memory_was_cleared(clock: Clock) -> None:
    putting, go_on = threading.Event(), threading.Event()

    class BusyStore(BrokenStore):
        def put(self, *args: Any, **kwargs: Any) -> None:
            if threading.current_thread() is not threading.main_thread():
                putting.set()
                assert go_on.wait(10)
            super().put(*args, **kwargs)

    numbers = itertools.count()
    function = Cache(BusyStore(clock), memory=None).cached(name="f", version=1, keep=3)(lambda _: next(numbers))
    function("a")
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(function.cache_refresh, "a")
        assert putting.wait(10)
        clock.now += 1
        assert function.cache_refresh("a") == 2
        function.cache_clear(memory_only=True)
        go_on.set()
        assert slow.result() == 1
    assert function("a") == 2


def test_an_invalidation_outlives_a_page_that_was_listed_before_it(clock: Clock) -> None:
    listed, go_on = threading.Event(), threading.Event()

    class BusyStore(BrokenStore):
        def list(self, *args: Any, **kwargs: Any) -> Any:
            found = [*super().list(*args, **kwargs)]
            if threading.current_thread() is not threading.main_thread():
                listed.set()
                assert go_on.wait(10)
            return iter(found)

        def delete(self, *_: Any) -> None:
            """Keep what is void, as until a delete that is under way."""

    calls = Calls()
    function = Cache(BusyStore(clock), memory=None).cached(name="f", version=1)(calls_of(calls))
    function("a")
    forget = Names.forget
    with ThreadPoolExecutor(1) as pool, pytest.MonkeyPatch.context() as patch:
        pages = []

        def forgetting(self: Names, key: Key) -> Any:
            forgotten = forget(self, key)
            pages.append(pool.submit(function.preload))
            assert listed.wait(10)
            return forgotten

        patch.setattr(Names, "forget", forgetting)
        function.cache_invalidate("a")
        go_on.set()
        assert pages[0].result() == 1
    function("a")
    assert calls.count == 2


def test_an_invalidation_counts_for_names_that_were_learned_after_memory_was_cleared(clock: Clock) -> None:
    class BusyStore(BrokenStore):
        def put(self, object_key: str, *args: Any, **kwargs: Any) -> None:
            if object_key.endswith(".dead"):
                function.cache_clear(memory_only=True)
                assert function("a") == "a"
            super().put(object_key, *args, **kwargs)

        def delete(self, *_: Any) -> None:
            """Keep what is void, as until a delete that is under way."""

    calls = Calls()
    function = Cache(BusyStore(clock), memory=None).cached(name="f", version=1)(calls_of(calls))
    function("a")
    function.cache_invalidate("a")
    function("a")
    assert calls.count == 2


def test_an_age_is_never_taken_for_less_than_it_may_be(clock: Clock) -> None:
    class VagueStore(BrokenStore):
        def time(self) -> TimeBounds:
            return TimeBounds(clock.now - 5, clock.now + 5)

    function = Cache(VagueStore(clock)).cached(name="f", version=1, ttl=12)(calls_of(Calls()))
    function("a")
    assert function.cache_get("a") is not None
    clock.now += 3
    assert function.cache_get("a") is None, "it may be 13 seconds old"


def test_what_is_dated_far_ahead_is_neither_shown_nor_deleted(cached: Any, store: BrokenStore, clock: Clock) -> None:
    function = cached()
    far = int((clock.now + 90_000) * 10**6)
    name = function.cache_key("a").prefix + Version(far, far, None, 0, "00000000").name
    store.put(name, b"foreign")
    assert function.cache_history("a") == []
    assert function.cache_clear() == 0
    function("a")
    function.cache_invalidate("a")
    assert name in names(store)


# --- trouble ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("memory", [MemoryTier(), MemoryTier(revalidate_after=60)], ids=["", "revalidated"])
def test_a_store_that_cannot_tell_the_time_is_a_visible_miss(clock: Clock, memory: MemoryTier) -> None:
    class TimelessStore(BrokenStore):
        def time(self) -> TimeBounds:
            if self.broken:
                raise StoreUnavailableError("no time")
            return super().time()

    store, calls, events = TimelessStore(clock), Calls(), list[Event]()
    cache = Cache(store, memory=memory, hooks=[events.append])
    function = cache.cached(name="f", version=1)(calls_of(calls))
    coroutine = cache.cached(name="f", version=1)(returning)
    function("a")
    store.broken = {"time"}
    assert function("a") == "a"
    assert asyncio.run(coroutine("a")) == "a"
    assert calls.count == 2
    assert "error" in {event.kind for event in events}


async def returning(value: str) -> str:
    return value


@pytest.mark.parametrize("operation", ["list", "put"])
def test_a_broken_store_is_a_visible_miss(  # noqa: PLR0917  fixtures
    operation: str, cached: Any, store: BrokenStore, calls: Calls, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    events: list[Event] = []
    function = cached(hooks=[events.append], memory=None)
    store.broken = {operation}
    assert function("a") == "a"
    assert function("a") == "a"
    assert calls.count == 2
    assert function.cache_info().errors == 2
    errors = [event for event in events if event.kind == "error"]
    assert [type(event.error) for event in errors] == [StoreUnavailableError] * 2
    kinds = {"list": 1, "put": 2}[operation]  # the second call leaves the store alone, so it cannot read it either
    assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == kinds
    store.broken = set()
    clock.now += 1
    function("a")
    function("a")
    assert calls.count == 3


def test_a_broken_get_is_a_visible_miss_without_a_blind_write(cached: Any, store: BrokenStore, calls: Calls) -> None:
    cached()("a")
    store.broken = {"get"}
    function = cached()
    assert function("a") == "a"
    assert calls.count == 2
    assert function.cache_info().errors == 1


def test_a_failed_delete_is_an_event_and_the_next_write_tries_again(
    cached: Any, store: BrokenStore, clock: Clock
) -> None:
    function = cached()
    function("a")
    store.broken = {"delete"}
    function.cache_refresh("a")
    assert function.cache_info().errors == 1
    assert len(names(store)) == 2
    store.broken = set()
    clock.now += 1
    function.cache_refresh("a")
    assert len(names(store)) == 1


@pytest.mark.parametrize("operation", ["list", "put"])
def test_what_was_asked_of_the_store_explicitly_raises(operation: str, cached: Any, store: BrokenStore) -> None:
    function = cached()
    function("a")
    store.broken = {operation}
    for ask in (function.cache_invalidate, lambda value: function.cache_set("new", value)):
        with pytest.raises(StoreUnavailableError):
            ask("a")
    store.broken = set()
    found = function.cache_get("a")
    assert found is None or found.value == "a", "nothing half done is served"


def test_on_error_raise_lets_errors_out(cached: Any, store: BrokenStore) -> None:
    store.broken = {"list"}
    with pytest.raises(StoreUnavailableError):
        cached(on_error="raise")("a")
    store.broken = {"put"}
    with pytest.raises(StoreUnavailableError):
        cached(on_error="raise")("a")


def test_the_functions_own_exceptions_pass_through_and_are_not_stored(store: BrokenStore) -> None:
    @Cache(store).cached
    def fails(value: str) -> str:
        raise KeyError(value)

    for _ in range(2):
        with pytest.raises(KeyError, match="a"):
            fails("a")
    assert names(store) == []
    assert fails.cache_info().misses == 2


def test_the_functions_own_store_errors_are_not_taken_for_the_caches(store: BrokenStore) -> None:
    @Cache(store).cached
    def fails() -> None:
        raise StoreError("mine")

    with pytest.raises(StoreError, match="mine"):
        fails()
    assert fails.cache_info().errors == 0


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-1], lambda data: b"", lambda data: data[:20] + b"x" + data[21:]]
)
def test_a_corrupt_object_is_computed_anew_and_replaced(
    damage: Any, cached: Any, store: BrokenStore, calls: Calls, caplog: pytest.LogCaptureFixture
) -> None:
    cached()("a")
    [name] = names(store)
    store.put(name, damage(bytes(store.get(name))))
    function = cached()
    assert function("a") == "a"
    assert calls.count == 2
    assert "unreadable" in caplog.text
    assert name not in names(store)
    assert cached()("a") == "a"
    assert calls.count == 2


def test_a_corrupt_object_raises_where_errors_are_let_out(cached: Any, store: BrokenStore) -> None:
    cached()("a")
    [name] = names(store)
    store.put(name, bytes(store.get(name))[:-1] + b"x")
    with pytest.raises(IntegrityError):
        cached(on_error="raise")("a")


def test_a_result_that_cannot_be_stored_is_returned_with_one_warning(
    store: BrokenStore, caplog: pytest.LogCaptureFixture
) -> None:
    @Cache(store).cached
    def make(number: int) -> object:
        return Clock(number)

    assert make(1) == Clock(1)
    assert make(2) == Clock(2)
    assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == 1
    assert "Clock" in caplog.text
    with pytest.raises(EncodeError):
        make.cache_set(Clock(3), 3)
    assert names(store) == []


def test_a_version_that_vanishes_again_and_again_is_a_miss(store: BrokenStore, cached: Any, calls: Calls) -> None:
    cached()("a")

    class Vanishing(BrokenStore):
        def get(self, object_key: str) -> Buffer:
            return super().get(object_key + "x")

    vanishing = Vanishing(Clock())
    vanishing.put(names(store)[0], store.get(names(store)[0]))
    function = Cache(vanishing, memory=None).cached(name="jobs.load", version=1)(calls_of(calls))
    assert function("a") == "a"
    assert function.cache_info().requests["GET"] == 3
    assert function.cache_info().errors == 0


def test_a_computation_of_over_seven_days_is_not_stored(store: BrokenStore, clock: Clock) -> None:
    @Cache(store).cached(name="slow", version=1)
    def slow(value: str) -> str:
        clock.now += 7 * DAY / 10**6 + 1
        return value

    assert slow("a") == "a"
    assert names(store) == []
    assert slow.cache_info().errors == 1


def test_a_read_only_cache_computes_and_stores_nothing(cached: Any, store: BrokenStore, calls: Calls) -> None:
    reader = cached(read_only=True)
    assert reader("a") == reader("a") == "a"
    assert calls.count == 1, "memory still serves"
    assert names(store) == []
    for ask in (reader.cache_invalidate, lambda value: reader.cache_set("x", value), lambda _: reader.cache_clear()):
        with pytest.raises(SettingsError, match="read-only"):
            ask("a")


def test_a_raising_hook_harms_nobody(cached: Any, caplog: pytest.LogCaptureFixture) -> None:
    def hook(event: Event) -> None:
        raise ZeroDivisionError

    function = cached(hooks=[hook])
    assert function("a") == "a"
    assert function.cache_info().misses == 1
    assert len(caplog.records) == 1
    assert "ZeroDivisionError" in caplog.text


def test_hooks_are_told_what_happened(cached: Any) -> None:
    events: list[Event] = []
    function = cached(hooks=[events.append])
    function("a")
    function("a")
    function.cache_invalidate("a")
    function.cache_clear()
    assert [event.kind for event in events] == ["miss", "compute", "store", "hit", "invalidate", "clear"]
    assert {event.function for event in events} == {"jobs.load"}
    assert events[0].key == str(function.cache_key("a"))


def test_foreign_objects_beside_a_digest_change_nothing(
    cached: Any, store: BrokenStore, calls: Calls, clock: Clock
) -> None:
    function = cached(memory=None)
    prefix = function.cache_key("a").prefix
    ahead = tombstone(int((clock.now + 90_000) * 10**6), nonce="00000000")
    for number in range(1100):
        store.put(f"{prefix}0{number:04}", b"foreign, and sorts first")
    store.put(prefix + ahead.name, b"")
    function("a")
    function("a")
    assert calls.count == 1
    function.cache_invalidate("a")
    assert len([name for name in names(store) if parse_object_key(name) is None]) == 1100


def test_sibling_caches_at_one_url_are_one() -> None:
    one = s3_cached("memory://siblings", name="f", version=1)(calls_of(Calls()))
    other = s3_cached("memory://siblings", name="f", version=1)(calls_of(Calls()))
    one("a")
    other("a")
    assert other.cache_info().memory_hits == 1


def test_an_entry_tells_what_its_name_tells(cached: Any, clock: Clock) -> None:
    function = cached(ttl="1h")
    function("a")
    entry = function.cache_get("a")
    assert isinstance(entry.version, Version)
    assert entry.value == "a"
    assert entry.version.ttl == 3600
    assert entry.created_at.timestamp() == clock.now
    assert 0 <= entry.elapsed < 60
    assert entry.size > 0
    assert str(entry.key).startswith("jobs.load/1/")
