"""Names that are known: which requests they save, and that nothing is served which this process has made void."""

from __future__ import annotations

import itertools
import math
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import pytest

from s3memo import Cache, MemoryTier, S3MemoError, SettingsError, StoreAccessError, StoreUnavailableError, TimeBounds
from s3memo.functions import CachedFunction
from s3memo.names import NOTHING_READ
from tests.troubled import Clock, TroubledStore, once, raising

SOON = 60.0
"""Seconds within which all that can happen has happened."""


def double(x: int) -> int:
    return 2 * x


def on(store: TroubledStore, **options: Any) -> CachedFunction[[int], int]:
    """The function as a process of its own has it, without a memory tier."""
    cache = Cache(store, **{"memory": None, "on_error": "raise", **options})
    return cache.cached(name="double", version=1)(double)


def requests(function: CachedFunction[..., Any], action: Callable[[], Any]) -> dict[str, int]:
    before = function.cache_info().requests
    action()
    return dict(function.cache_info().requests - before)


def call_all(function: CachedFunction[[int], int], count: int, *, begin: int = 0) -> Callable[[], None]:
    def act() -> None:
        assert [function(x) for x in range(begin, begin + count)] == [2 * x for x in range(begin, begin + count)]

    return act


@pytest.fixture
def fifty(store: TroubledStore) -> TroubledStore:
    call_all(on(store), 50)()
    return store


@pytest.mark.parametrize("count", [1, 8, 9, 50])
def test_a_fresh_process_lists_nine_times_at_most(fifty: TroubledStore, count: int) -> None:
    f = on(fifty)
    assert requests(f, call_all(f, count)) == {"LIST": min(count, 9), "GET": count}
    assert requests(f, call_all(f, count)) == {"GET": count}


def test_names_count_for_as_long_as_names_ttl_says(fifty: TroubledStore, clock: Clock) -> None:
    f = on(fifty, names_ttl="30s")
    f(1)
    clock.now += 29
    assert requests(f, lambda: f(1)) == {"GET": 1}
    clock.now += 2
    assert requests(f, lambda: f(1)) == {"GET": 1, "LIST": 1}
    always = on(fifty, names_ttl=0)
    assert requests(always, call_all(always, 20)) == {"GET": 20, "LIST": 20}


def test_a_process_that_knows_no_time_yet_asks_for_none(fifty: TroubledStore, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    time, listed = fifty.time, fifty.list
    monkeypatch.setattr(fifty, "time", lambda: asked.append("time") or time())
    monkeypatch.setattr(fifty, "list", lambda *a, **k: asked.append("LIST") or listed(*a, **k))
    for work in (lambda f: f(1), lambda f: f(77), lambda f: f.preload(), lambda f: list(f.map(range(3)))):
        asked.clear()
        work(on(fifty))
        assert asked[0] == "LIST"


def test_names_ttl_must_be_a_duration(store: TroubledStore) -> None:
    for wrong in (None, -1, "soon"):
        with pytest.raises(SettingsError, match="names_ttl"):
            Cache(store, names_ttl=wrong)  # type: ignore[arg-type]


def test_an_absent_name_proves_nothing(fifty: TroubledStore) -> None:
    reader, writer = on(fifty), on(fifty)
    call_all(reader, 9)()
    assert requests(reader, lambda: reader.cache_get(60)) == {"LIST": 1}
    writer.cache_set(7, 61)
    assert reader(61) == 7


def test_a_store_that_answers_again_is_asked_by_calls_whose_names_are_known(store: TroubledStore, clock: Clock) -> None:
    f = on(store, on_error="compute")
    f(1)
    f.preload(trust_for=None)
    for call, expected in ((lambda: f(1), {"GET": 1}), (lambda: f(2), {"PUT": 1})):
        store.before_get = store.before_put = raising(StoreUnavailableError("down"))
        assert f(1) == 2
        clock.now += 60
        store.before_get = store.before_put = lambda _: None
        assert requests(f, call) == expected
        assert requests(f, lambda: f(1)) == {"GET": 1}


def test_names_that_others_replaced_one_and_all_are_listed_again_by_the_page(fifty: TroubledStore) -> None:
    reader, writer = on(fifty), on(fifty)
    reader.preload()
    for x in range(50):
        writer.cache_set(7, x)
    assert requests(reader, lambda: [reader(x) for x in range(50)]) == {"LIST": 9, "GET": 59}


@pytest.mark.parametrize("memory", [None, MemoryTier()])
def test_a_batch_lists_once_for_what_others_refreshed(
    store: TroubledStore, clock: Clock, memory: MemoryTier | None
) -> None:
    reader, writer = (on(store, memory=memory).with_options(ttl="10s") for _ in range(2))
    call_all(reader, 50)()
    clock.now += 11
    call_all(writer, 50)()
    expected = {"LIST": 1, "GET": 50}
    assert requests(reader, lambda: list(reader.map(range(50)))) == expected
    clock.now += 11
    spent = requests(reader, lambda: list(reader.map(range(50))))
    assert spent == {"LIST": 1, "PUT": 50, "DELETE": 50}


def doubled_by_map(f: CachedFunction[[int], int], numbers: Iterable[int], **options: Any) -> Callable[[], None]:
    def act() -> None:
        wanted = [*numbers]
        results = f.map(wanted, concurrency=1, **options)
        assert [getattr(result, "value", result) for result in results] == [2 * x for x in wanted]

    return act


@pytest.mark.parametrize("returns", ["value", "entry"])
def test_a_batch_lists_no_more_because_its_reads_outlast_what_names_count(
    fifty: TroubledStore, clock: Clock, returns: str
) -> None:
    def take_long(_: str) -> None:
        clock.now += 10

    fifty.before_get = take_long
    f = on(fifty)
    f.preload()
    for listed in ({}, {"LIST": 1}):
        assert requests(f, doubled_by_map(f, range(50), returns=returns)) == listed | {"GET": 50}


def test_a_batch_believes_no_longer_that_something_is_absent(fifty: TroubledStore, clock: Clock) -> None:
    def take_long() -> None:
        clock.now += 61
        on(fifty).cache_set(7, 60)

    fifty.before_get = once(take_long)
    f = on(fifty)
    assert [*f.map([1, 60], concurrency=1)] == [2, 7]


def test_a_batch_lists_no_more_because_names_count_for_less_than_the_time_is_known_to(
    fifty: TroubledStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fifty, "time", lambda: TimeBounds(clock.now - 1, clock.now + 1))
    f = on(fifty, names_ttl=1)
    assert requests(f, doubled_by_map(f, range(50))) == {"LIST": 1, "GET": 50}


@pytest.mark.parametrize("place", [0, 1, 2, 25])
def test_a_batch_lists_no_more_because_one_digest_has_pages_of_versions(
    fifty: TroubledStore, clock: Clock, monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    for module in ("s3memo.memo", "s3memo.index"):
        monkeypatch.setattr(f"{module}.PAGE_SIZE", 10)
    f = on(fifty)
    numbers = sorted(range(50), key=lambda x: f.cache_key(x).digest)
    for _ in range(24):
        clock.now += 1
        on(fifty).with_options(keep=100).cache_refresh(numbers[place])
    for wanted in (numbers, [x for x in numbers if x != numbers[place]]):
        f = on(fifty)
        spent = requests(f, doubled_by_map(f, wanted))
        assert spent["LIST"] <= math.ceil((49 + 25) / 10) + 1
        assert spent["GET"] == len(wanted)


def test_a_batch_confirms_by_one_page_what_memory_holds(fifty: TroubledStore, clock: Clock) -> None:
    f = on(fifty, memory=MemoryTier(revalidate_after=5))
    call_all(f, 50)()
    clock.now += 6
    assert requests(f, lambda: list(f.map(range(50)))) == {"LIST": 1}


def test_names_count_no_longer_because_a_clock_was_set_back(fifty: TroubledStore, clock: Clock) -> None:
    f, writer = on(fifty, names_ttl=0), on(fifty, on_error="compute")
    kept = on(fifty, memory=MemoryTier(revalidate_after=5))
    assert (f(1), kept(1)) == (2, 2)
    clock.now -= 240
    fifty.before_delete = Refusal()
    writer.cache_invalidate(1)
    writer.cache_set(7, 1)
    assert (f(1), kept(1)) == (7, 7)


def test_a_page_takes_no_trust_away(fifty: TroubledStore, clock: Clock) -> None:
    f = on(fifty)
    f.preload(trust_for=None)
    for x in range(9):
        f.cache_refresh(x)
    on(fifty).cache_set(7, 20)
    assert f(20) == 7
    clock.now += 61
    assert requests(f, lambda: [f(x) for x in range(52)]) == {"GET": 50, "PUT": 2}


def test_a_write_during_an_invalidation_is_seen_at_once(fifty: TroubledStore, monkeypatch: pytest.MonkeyPatch) -> None:
    f = on(fifty)
    f.preload(trust_for=None)
    memo = f._subject.bind()[0]._memo
    bury = memo.bury

    def slow_bury(*arguments: Any) -> Any:
        answer = bury(*arguments)
        f.cache_set(7, 1)
        return answer

    monkeypatch.setattr(memo, "bury", slow_bury)
    f.cache_invalidate(1)
    entry = f.cache_get(1)
    assert entry is not None
    assert entry.value == 7


def test_a_name_that_was_replaced_is_looked_for_again(fifty: TroubledStore) -> None:
    reader, writer = on(fifty), on(fifty)
    reader(1)
    writer.cache_set(7, 1)
    assert reader(1) == 7
    writer.cache_invalidate(1)
    assert reader.cache_get(1) is None
    writer.cache_set(8, 1)
    writer.cache_clear()
    assert reader.cache_get(1) is None


def test_what_expired_under_a_known_name_may_have_been_replaced(store: TroubledStore, clock: Clock) -> None:
    reader, writer = (on(store).with_options(ttl="10s") for _ in range(2))
    assert reader(1) == 2
    clock.now += 11
    writer.cache_set(7, 1)
    assert reader(1) == 7


def test_an_unreadable_object_is_looked_for_again_before_it_is_computed_anew(fifty: TroubledStore) -> None:
    reader = on(fifty, on_error="compute")
    reader(1)
    version = reader.cache_history(1)[0]
    fifty.put(reader.cache_key(1).prefix + version.name, b"not an envelope")
    assert requests(reader, lambda: reader(1)) == {"GET": 2, "LIST": 1, "PUT": 1, "DELETE": 1}


class Refusal:
    """Lets a store refuse to delete."""

    def __call__(self) -> None:
        raise StoreAccessError("403: may not DELETE")


def test_a_process_sees_its_own_writes_and_invalidations_at_once(fifty: TroubledStore) -> None:
    f = on(fifty, on_error="compute")
    f.preload(trust_for=None)
    fifty.before_delete = Refusal()  # so that the old version stays
    f.cache_set(7, 1)
    assert f(1) == 7
    f.cache_invalidate(1)
    assert f.cache_get(1) is None
    f.cache_invalidate(2)
    assert f.cache_get(2) is None
    fifty.before_delete = lambda: None
    f.cache_clear()
    assert f.cache_get(3) is None


def test_a_write_that_lands_late_hides_no_newer_one(store: TroubledStore, clock: Clock) -> None:
    cache = Cache(store, memory=None, on_error="raise")
    f = cache.cached(name="double", version=1, keep=5)(double)

    def overtake() -> None:
        clock.now += 10
        f.with_options(ttl="1h").cache_set(7, 1)

    store.before_put = once(overtake)  # after it has listed
    f(1)
    assert f(1) == 7
    store.before_put = lambda _: None
    f.cache_invalidate(1)
    assert f.cache_get(1) is None


@pytest.mark.parametrize("overtake", ["set", "invalidate"])
def test_a_page_that_was_on_its_way_does_not_bring_back_what_was_made_void(
    fifty: TroubledStore, monkeypatch: pytest.MonkeyPatch, overtake: str
) -> None:
    f = on(fifty, on_error="compute")
    fifty.before_delete = Refusal()
    page = f._subject.bind()[0]._memo.page

    def slow_page(*arguments: Any) -> Any:
        answer = page(*arguments)
        f.cache_set(7, 1) if overtake == "set" else f.cache_invalidate(1)
        return answer

    monkeypatch.setattr(f._subject.bind()[0]._memo, "page", slow_page)
    f.preload()
    assert f.cache_get(0) is not None
    entry = f.cache_get(1)
    assert (entry and entry.value) == (7 if overtake == "set" else None)


@pytest.mark.parametrize("overtake", ["set", "invalidate", "look"])
def test_a_look_that_was_on_its_way_does_not_bring_back_what_was_made_void(
    fifty: TroubledStore, monkeypatch: pytest.MonkeyPatch, overtake: str
) -> None:
    f = on(fifty, on_error="compute")
    fifty.before_delete = Refusal()
    memo = f._subject.bind()[0]._memo
    look = memo.look

    def change() -> None:
        if overtake == "look":
            on(fifty, on_error="compute").cache_set(7, 1)
            f.cache_get(1)
        elif overtake == "set":
            f.cache_set(7, 1)
        else:
            f.cache_invalidate(1)

    meanwhile = once(change)

    def slow_look(*arguments: Any) -> Any:
        answer = look(*arguments)
        meanwhile()
        return answer

    monkeypatch.setattr(memo, "look", slow_look)
    f.cache_get(1)
    entry = f.cache_get(1)
    assert (entry and entry.value) == (None if overtake == "invalidate" else 7)


def test_a_page_that_lands_late_hides_no_newer_one(fifty: TroubledStore, monkeypatch: pytest.MonkeyPatch) -> None:
    f, writer = on(fifty), on(fifty, on_error="compute")
    fifty.before_delete = Refusal()
    memo = f._subject.bind()[0]._memo
    page = memo.page

    def change() -> None:
        writer.cache_set(7, 1)
        f.preload(trust_for=None)

    meanwhile = once(change)

    def slow_page(*arguments: Any) -> Any:
        answer = page(*arguments)
        meanwhile()
        return answer

    monkeypatch.setattr(memo, "page", slow_page)
    f.preload(trust_for=None)
    assert f(1) == 7


def test_what_another_process_wrote_is_seen_when_memory_is_to_be_confirmed(fifty: TroubledStore, clock: Clock) -> None:
    f = on(fifty, memory=MemoryTier(revalidate_after=10))
    writer = on(fifty, on_error="compute")
    fifty.before_delete = Refusal()
    f.preload(trust_for=None)
    assert f(1) == 2
    writer.cache_set(7, 1)
    clock.now += 11
    assert requests(f, lambda: f(1)) == {"LIST": 1, "GET": 1}
    assert f(1) == 7
    clock.now += 5
    f.preload()
    clock.now += 9  # the page confirms it as a look would
    assert requests(f, lambda: f(1)) == {}
    assert requests(f, lambda: f(2)) == {"GET": 1}


def test_a_clear_voids_a_page_that_is_on_its_way(fifty: TroubledStore, monkeypatch: pytest.MonkeyPatch) -> None:
    f = on(fifty)
    memo = f._subject.bind()[0]._memo
    page = memo.page

    def slow_page(*arguments: Any) -> Any:
        answer = page(*arguments)
        f.cache_clear()
        return answer

    monkeypatch.setattr(memo, "page", slow_page)
    f.preload(trust_for=None)
    monkeypatch.undo()
    on(fifty).cache_set(7, 1)
    assert f(1) == 7


def test_after_preload_hits_take_a_get_and_misses_a_put(fifty: TroubledStore) -> None:
    f = on(fifty)
    assert requests(f, f.preload) == {"LIST": 1}
    assert requests(f, call_all(f, 60)) == {"GET": 50, "PUT": 10}
    assert requests(f, call_all(f, 60)) == {"GET": 60}


def test_an_invalidation_after_preload_leaves_nothing_to_list(fifty: TroubledStore) -> None:
    f = on(fifty)
    f.preload()
    for x in (1, 60):
        f.cache_invalidate(x)
        assert requests(f, lambda x=x: f(x)) == {"PUT": 1}
        assert requests(f, lambda x=x: f(x)) == {"GET": 1}


@pytest.mark.parametrize("failing", [1, 2, 5, 15])
def test_a_preload_that_raised_midway_is_believed_only_of_what_it_read(
    store: TroubledStore, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    call_all(on(store), 200)()
    for module in ("s3memo.memo", "s3memo.index"):
        monkeypatch.setattr(f"{module}.PAGE_SIZE", 10)
    f = on(store)
    page, number = f._subject.bind()[0]._memo.page, itertools.count(1)

    def failing_page(*arguments: Any) -> Any:
        if next(number) >= failing:
            raise StoreUnavailableError("down")
        return page(*arguments)

    memo = f._subject.bind()[0]._memo
    monkeypatch.setattr(memo, "page", failing_page)
    with pytest.raises(StoreUnavailableError):
        f.preload(trust_for=None)
    monkeypatch.setattr(memo, "page", page)
    assert requests(f, lambda: [f.cache_get(x) for x in range(200)])["GET"] == 200


def test_preload_trusts_for_as_long_as_it_is_told(fifty: TroubledStore, clock: Clock) -> None:
    for trust_for, seconds in ((None, 1e6), ("10m", 600), (0.0, 0.0)):
        f = on(fifty, names_ttl=5)
        assert f.preload(trust_for=trust_for) == 50
        clock.now += max(seconds - 1, 0)
        if seconds:
            assert requests(f, lambda f=f: f.cache_get(77)) == {}
        clock.now += 7
        expected = {} if trust_for is None else {"LIST": 1}
        assert requests(f, lambda f=f: f.cache_get(77)) == expected
    f = on(fifty)
    f.preload(trust_for=None)
    f.cache_clear(memory_only=True)
    assert requests(f, lambda: f.cache_get(77)) == {"LIST": 1}


def test_what_is_computed_after_preload_began_when_it_began(fifty: TroubledStore, clock: Clock) -> None:
    f = on(fifty)
    f.preload(trust_for=None)
    clock.now += 3600
    f(77)
    assert math.isclose(f.cache_history(77)[0].created / 1e6, clock.now, abs_tol=2)


def test_preload_with_values_leaves_nothing_to_ask_for(fifty: TroubledStore) -> None:
    f = on(fifty, memory=MemoryTier())
    assert f.preload(values=True) == 50
    assert requests(f, call_all(f, 50)) == {}
    assert f.cache_info().store_hits == 0


def test_preload_with_values_takes_no_more_than_memory_holds(
    fifty: TroubledStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("s3memo.cache.PAGE_SIZE", 10)
    f = on(fifty, memory=MemoryTier(max_entries=20))
    assert requests(f, lambda: f.preload(values=True)) == {"LIST": 1, "GET": 20}


def test_preload_raises_what_a_store_refuses(store: TroubledStore, monkeypatch: pytest.MonkeyPatch) -> None:
    f = on(store, on_error="compute")
    monkeypatch.setattr(store, "list", raising(StoreAccessError("403: may not LIST")))
    with pytest.raises(S3MemoError, match="may not LIST"):
        f.preload()


def test_a_survey_tells_since_when_absences_count(fifty: TroubledStore) -> None:
    f = on(fifty)
    cache, terms = f._subject.bind()
    keys = [f.cache_key(x) for x in range(40, 60)]
    reading = cache.survey(keys, terms)
    assert reading.absent_since <= fifty.time().latest
    assert cache.survey(keys, terms, reading) == reading
    assert cache.survey(keys[:10], terms).absent_since == math.inf
    assert dict(f.cache_info().requests) == {"LIST": 1}
    assert cache.survey(keys, terms).absent_since <= fifty.time().latest, (
        "an absence that another call has seen proves nothing"
    )
    assert dict(f.cache_info().requests) == {"LIST": 2}


def test_a_survey_that_fails_is_an_event(fifty: TroubledStore, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[Any] = []
    f = on(fifty, on_error="compute", hooks=[events.append])
    cache, terms = f._subject.bind()
    monkeypatch.setattr(fifty, "list", raising(StoreAccessError("403: may not LIST")))
    assert cache.survey([f.cache_key(1)], terms) == NOTHING_READ
    assert [event.kind for event in events] == ["error"]


def test_what_is_known_of_a_key_is_told_without_asking(fifty: TroubledStore) -> None:
    f = on(fifty)
    cache, terms = f._subject.bind()
    assert cache.known(f.cache_key(1), terms, NOTHING_READ) is None
    f.preload()
    version, size = cache.known(f.cache_key(1), terms, NOTHING_READ) or (None, 0)
    assert [version] == f.cache_history(1)
    assert size == len(fifty.get(f.cache_key(1).prefix + version.name))
    assert cache.known(f.cache_key(77), terms, NOTHING_READ) is None


def test_wide_functions_are_listed_side_by_side(store: TroubledStore, monkeypatch: pytest.MonkeyPatch) -> None:
    call_all(on(store), 200)()
    for module in ("s3memo.memo", "s3memo.index"):
        monkeypatch.setattr(f"{module}.PAGE_SIZE", 10)
    f = on(store)
    threads = set[str]()
    listed = store.list

    def list_here(*arguments: Any, **options: Any) -> Any:
        threads.add(threading.current_thread().name)
        return listed(*arguments, **options)

    monkeypatch.setattr(store, "list", list_here)
    spent = requests(f, f.preload)
    assert any(name.startswith("s3memo-list") for name in threads)
    assert 20 <= spent["LIST"] <= 30
    assert requests(f, call_all(f, 200)) == {"GET": 200}


def test_one_thread_lists_a_page_for_all(fifty: TroubledStore, monkeypatch: pytest.MonkeyPatch) -> None:
    f = on(fifty)
    call_all(f, 8)()
    memo = f._subject.bind()[0]._memo
    page = memo.page
    meanwhile = once(lambda: f(20))

    def slow_page(*arguments: Any) -> Any:
        answer = page(*arguments)
        meanwhile()
        return answer

    monkeypatch.setattr(memo, "page", slow_page)
    assert requests(f, lambda: f(30)) == {"LIST": 2, "GET": 2}


@pytest.fixture
def held_page(fifty: TroubledStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[HeldPage]:
    page = HeldPage(on(fifty))
    monkeypatch.setattr(page.f._subject.bind()[0]._memo, "page", page)
    with ThreadPoolExecutor(8) as page.pool:
        page.lister = page.pool.submit(page.f, 9)
        assert page.arrived.wait(SOON)
        yield page
        page.go.set()


class HeldPage:
    """A page that a thread has been shown, and does not get until it may `go` on; eight digests were listed before."""

    def __init__(self, f: CachedFunction[[int], int]) -> None:
        self.f = f
        self.arrived, self.go = threading.Event(), threading.Event()
        self.error: Exception | None = None
        self.pool: ThreadPoolExecutor
        self.lister: Future[int]
        self._page = f._subject.bind()[0]._memo.page
        call_all(f, 8)()

    def __call__(self, *arguments: Any) -> Any:
        answer = self._page(*arguments)
        self.arrived.set()
        assert self.go.wait(SOON)
        if self.error is not None:
            raise self.error
        return answer


def test_calls_wait_for_the_page_that_another_lists(held_page: HeldPage) -> None:
    waiters = [held_page.pool.submit(held_page.f, x) for x in range(20, 26)]
    assert not wait(waiters, timeout=0.2).done
    held_page.go.set()
    assert [waiter.result(SOON) for waiter in waiters] == [40, 42, 44, 46, 48, 50]
    assert dict(held_page.f.cache_info().requests) == {"LIST": 9, "GET": 15}


def test_what_was_absent_before_a_call_that_waited_for_the_page_proves_nothing(
    held_page: HeldPage, fifty: TroubledStore
) -> None:
    on(fifty).cache_set(7, 60)
    waiter = held_page.pool.submit(held_page.f, 60)
    held_page.go.set()
    assert waiter.result(SOON) == 7
    assert held_page.f.cache_info().requests["LIST"] == 10


def test_nobody_waits_for_ever_for_a_page(held_page: HeldPage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("s3memo.names._PATIENCE", 0.1)
    assert held_page.pool.submit(held_page.f, 20).result(SOON) == 40
    assert held_page.f.cache_info().requests["LIST"] == 10
    monkeypatch.setattr("s3memo.names._PATIENCE", 2 * SOON)
    assert held_page.pool.submit(held_page.f, 21).result(SOON) == 42, "nor one after the other"


def test_when_the_page_fails_who_waited_asks_alone(held_page: HeldPage) -> None:
    waiters = [held_page.pool.submit(held_page.f, x) for x in range(20, 26)]
    assert not wait(waiters, timeout=0.2).done
    held_page.error = StoreAccessError("403: may not LIST")
    held_page.go.set()
    with pytest.raises(StoreAccessError):
        held_page.lister.result(SOON)
    assert [waiter.result(SOON) for waiter in waiters] == [40, 42, 44, 46, 48, 50]
    assert held_page.f.cache_info().requests["LIST"] == 15


def test_a_forked_child_waits_for_no_page_of_its_parents_threads(held_page: HeldPage) -> None:
    child = os.fork()
    if not child:
        signal.alarm(int(SOON))
        os._exit(held_page.f(20) != 40)
    assert os.waitpid(child, 0)[1] == 0


async def test_async_functions_preload_too(fifty: TroubledStore) -> None:
    @Cache(fifty, memory=None).cached(name="double", version=1)
    async def f(x: int) -> int:
        return 2 * x

    assert await f.preload() == 50
    assert await f(3) == 6
    assert dict(f.cache_info().requests) == {"LIST": 1, "GET": 1}
