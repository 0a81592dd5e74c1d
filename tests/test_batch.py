"""Batches in threads: order, duplicates, failures, bounds, and what they ask the store for."""

from __future__ import annotations

import gc
import itertools
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from s3memo import (
    Cache,
    Entry,
    KeyDerivationError,
    MemoryTier,
    NotFoundError,
    SettingsError,
    StoreAccessError,
    StoreUnavailableError,
    batch,
    disabled,
)
from s3memo.functions import CachedFunction
from tests.measuring import peak
from tests.troubled import Clock, TroubledStore, raising

pytestmark = pytest.mark.usefixtures("whole_windows")


class Job:
    """A function that tells of its calls, and fails and waits as told."""

    def __init__(self) -> None:
        self.calls: Counter[Any] = Counter()
        self.before: Callable[[Any], Any] = lambda x: None
        self.lock = threading.Lock()

    def on(self, store: TroubledStore, **options: Any) -> CachedFunction[[Any], list[Any]]:
        cache = Cache(store, memory=options.pop("memory", MemoryTier()), names_ttl=options.pop("names_ttl", 60))

        def double(x: Any) -> list[Any]:
            with self.lock:
                self.calls[x] += 1
            self.before(x)
            return [x, x]

        return cache.cached(name="double", version=1, **options)(double)


@pytest.fixture
def job() -> Job:
    return Job()


def doubles(values: Any) -> list[list[Any]]:
    return [[value, value] for value in values]


def requests(function: CachedFunction[..., Any]) -> Counter[str]:
    return Counter(function.cache_info().requests)


def fail_on(*values: Any) -> Callable[[Any], None]:
    def before(x: Any) -> None:
        if x in values:
            raise ValueError(x)

    return before


def test_results_come_in_order_and_are_stored(store: TroubledStore, job: Job) -> None:
    f = job.on(store)
    results = f.map(range(2500))
    assert list(results) == doubles(range(2500))
    assert results.progress.total == results.progress.computed == 2500
    assert requests(f) == {"LIST": 1, "PUT": 2500}
    again = job.on(store)
    assert list(again.map(range(2500))) == doubles(range(2500))
    assert requests(again)["LIST"] <= 4
    assert requests(again)["GET"] == 2500
    assert requests(again)["PUT"] == 0
    assert job.calls.total() == 2500


def test_results_may_come_as_they_are_done(store: TroubledStore, job: Job) -> None:
    gate = threading.Event()
    job.before = lambda x: gate.wait(10) if x == 0 else None
    results = job.on(store).map(range(10), ordered=False)
    first = [next(results) for _ in range(9)]
    assert sorted(first) == doubles(range(1, 10))
    gate.set()
    assert list(results) == doubles([0])


def test_several_iterables_and_starmap(store: TroubledStore) -> None:
    @Cache(store).cached
    def power(base: int, exponent: int = 2) -> int:
        return base**exponent

    results = power.map([2, 3, 4], itertools.count(1))
    assert list(results) == [2, 9, 64]
    assert results.progress.total is None
    assert list(power.map([2, 3, 4], [1, 1])) == [2, 3]
    assert list(power.starmap([(5,), (2, 10), [3, 3]])) == [25, 1024, 27]
    with pytest.raises(SettingsError, match="one iterable"):
        power.map()


def test_methods_are_mapped_with_their_instance(store: TroubledStore) -> None:
    class Scaled:
        def __init__(self, by: int) -> None:
            self.by = by

        def __s3memo_key__(self) -> int:
            return self.by

        @Cache(store).cached(name="Scaled.times", version=1)
        def times(self, x: int) -> int:
            return self.by * x

    assert list(Scaled(3).times.map([1, 2])) == [3, 6]
    assert list(Scaled(4).times.map([1, 2])) == [4, 8]


def test_duplicates_are_computed_once_and_no_two_get_the_same_object(store: TroubledStore, job: Job) -> None:
    f = job.on(store, memory=None)
    results = list(f.map([1, 2, 1, 1, 2] * 20, concurrency=8))
    assert results == doubles([1, 2, 1, 1, 2] * 20)
    assert job.calls == {1: 1, 2: 1}
    assert len({id(result) for result in results}) == 100


def test_duplicates_that_wait_hold_up_no_thread(store: TroubledStore, job: Job) -> None:
    others_are_done = threading.Event()

    def before(x: int) -> None:
        if x == 0:
            assert others_are_done.wait(10)
        elif x == 3:
            others_are_done.set()

    job.before = before
    assert list(job.on(store).map([0, 0, 0, 0, 1, 2, 3], concurrency=2)) == doubles([0, 0, 0, 0, 1, 2, 3])
    assert set(job.calls.values()) == {1}


@pytest.fixture
def failing(job: Job) -> Job:
    """A job of which all but 2 fails, when the others wait for it."""
    others_wait = threading.Event()

    def before(x: int) -> None:
        if x == 2:
            others_wait.set()
        else:
            assert others_wait.wait(10)
            raise ValueError(x)

    job.before = before
    return job


def test_duplicates_of_what_fails_share_the_failure(store: TroubledStore, failing: Job) -> None:
    first, second, third, last = failing.on(store).map([1, 1, 1, 2], concurrency=2, return_exceptions=True)
    assert first is second is third
    assert last == [2, 2]
    assert failing.calls == {1: 1, 2: 1}


def test_a_shared_failure_is_raised_with_the_same_trace_each_time(store: TroubledStore, failing: Job) -> None:
    results, traces = failing.on(store).map([1, 1, 1, 2], concurrency=2), []
    for _ in range(3):
        with pytest.raises(ValueError, match="1") as caught:
            next(results)
        traces.append([entry.name for entry in caught.traceback[1:]])
    assert traces[0] == traces[1] == traces[2]
    assert traces[0][-1] == "before"
    assert failing.calls[1] == 1


def test_duplicates_of_what_cannot_be_shared_are_computed_each(store: TroubledStore) -> None:
    calls = []

    @Cache(store).cached(version=1, name="opaque")
    def opaque(x: int) -> Any:
        calls.append(x)
        return object()

    results = [*opaque.map([1, 1, 1])]
    assert len(set(map(id, results))) == 3
    assert calls == [1, 1, 1]


def test_endless_inputs_are_taken_no_further_than_needed(store: TroubledStore, job: Job) -> None:
    taken = []

    def endless() -> Iterator[int]:
        for number in itertools.count():
            taken.append(number)
            yield number

    with job.on(store).map(endless(), concurrency=4) as results:
        for number in range(3000):
            assert next(results) == [number, number]
            assert len(taken) <= number + 1 + 16 + 2000
            assert job.calls.total() <= number + 1 + 16


def test_inputs_are_taken_where_the_results_are(store: TroubledStore, job: Job) -> None:
    def inputs() -> Iterator[int]:
        yield threading.get_ident()

    assert next(job.on(store).map(inputs()))[0] == threading.get_ident()


def test_inputs_are_taken_while_the_first_call_lasts(
    store: TroubledStore, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "_WINDOW_SECONDS", 0.0)
    last_is_begun, two_run = threading.Event(), threading.Event()

    def before(x: int) -> None:
        if x == 0:
            assert last_is_begun.wait(10)
        elif x == 1:
            assert two_run.wait(10)
        elif x == 5:
            last_is_begun.set()

    job.before = before
    results = job.on(store).map(range(6), concurrency=2)
    threading.Timer(0.2, two_run.set).start()  # when both threads have work and the taker waits
    assert list(results) == doubles(range(6))


def test_a_failure_is_raised_in_its_place_and_loses_no_other(store: TroubledStore, job: Job) -> None:
    job.before = fail_on(2, 4)
    results = job.on(store).map(range(6))
    assert [next(results), next(results)] == doubles([0, 1])
    with pytest.raises(ValueError, match="2"):
        next(results)
    assert next(results) == [3, 3]
    with pytest.raises(ValueError, match="4"):
        next(results)
    assert list(results) == doubles([5])
    assert results.progress.failed == 2
    assert list(job.on(store).map([0, 1, 3, 5])) == doubles([0, 1, 3, 5])
    assert set(job.calls.values()) == {1}


def test_failures_may_be_returned(store: TroubledStore, job: Job) -> None:
    job.before = fail_on(1)
    result = list(job.on(store).map(range(3), return_exceptions=True))
    assert [result[0], result[2]] == doubles([0, 2])
    assert isinstance(result[1], ValueError)


def test_what_would_end_the_loop_does_not(store: TroubledStore, job: Job) -> None:
    job.before = lambda x: next(iter(())) if x == 1 else None
    results = job.on(store).map(range(3))
    assert next(results) == [0, 0]
    with pytest.raises(RuntimeError, match="StopIteration"):
        next(results)
    assert next(results) == [2, 2]


def test_an_argument_without_a_key_fails_alone(store: TroubledStore, job: Job) -> None:
    f = job.on(store)
    first, second, third = f.map([1, object(), 3], return_exceptions=True)
    assert (first, third) == ([1, 1], [3, 3])
    assert isinstance(second, KeyDerivationError)
    assert [type(each) for each in f.starmap([(1, 2), 5], return_exceptions=True)] == [TypeError, TypeError]


def test_an_error_of_the_inputs_comes_after_what_came_before(store: TroubledStore, job: Job) -> None:
    def inputs() -> Iterator[int]:
        yield 1
        yield 2
        raise OSError("the file ends here")

    results = job.on(store).map(inputs())
    assert [next(results), next(results)] == doubles([1, 2])
    with pytest.raises(OSError, match="ends here"):
        next(results)
    assert list(results) == []


def test_what_runs_when_a_batch_is_closed_is_stored_and_the_rest_never_starts(store: TroubledStore, job: Job) -> None:
    gate, begun = threading.Event(), threading.Semaphore(0)

    def before(_: int) -> None:
        begun.release()
        gate.wait(10)

    job.before = before
    f = job.on(store)
    results = f.map(range(100), concurrency=3)
    taker = threading.Thread(target=lambda: next(results, None))
    taker.start()
    for _ in range(3):
        begun.acquire()
    results.close()
    gate.set()
    taker.join(10)
    deadline = time.monotonic() + 60
    while len(stored := [x for x in range(3) if f.cache_get(x)]) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert stored == [0, 1, 2]
    assert sorted(job.calls) == [0, 1, 2]
    assert list(results) == []


def test_a_batch_may_be_closed_while_its_inputs_are_taken(store: TroubledStore, job: Job) -> None:
    def inputs() -> Iterator[int]:
        yield 0
        results.close()
        yield 1

    results = job.on(store).map(inputs())
    assert list(results) == []


def test_a_hook_that_ends_the_program_does_so_where_results_are_taken(store: TroubledStore) -> None:
    both = threading.Barrier(2)

    def hook(event: Any) -> None:
        if event.kind == "hit":
            raise SystemExit

    @Cache(store, hooks=[hook]).cached(name="waits", version=1)
    def waits(x: int) -> int:
        both.wait(10)
        return x

    results = waits.map([1, 1, 2], concurrency=2)
    assert next(results) == 1
    with pytest.raises(SystemExit):
        next(results)
    assert list(results) == [2]


def test_a_batch_that_is_dropped_stops(store: TroubledStore, job: Job) -> None:
    results = job.on(store).map(itertools.count(), concurrency=2)
    next(results)
    del results
    gc.collect()
    deadline = time.monotonic() + 60
    while any(thread.name.startswith("s3memo-map") for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert job.calls.total() <= 20


def test_entries_are_returned_without_reading_them(store: TroubledStore, job: Job) -> None:
    list(job.on(store).map(range(20)))
    f = job.on(store, memory=None)
    entries = list(f.map(range(20), returns="entry"))
    assert all(isinstance(entry, Entry) for entry in entries)
    assert requests(f) == {"LIST": 1}
    assert [entry.value for entry in entries] == doubles(range(20))
    assert requests(f) == {"LIST": 1, "GET": 20}
    assert [entry.version for entry in entries] == [f.cache_history(x)[0] for x in range(20)]
    assert {entry.size for entry in entries} == {
        len(store.get(entry.key.prefix + entry.version.name)) for entry in entries
    }


def test_an_entry_that_is_gone_says_so(store: TroubledStore, job: Job) -> None:
    f = job.on(store)
    list(f.map(range(3)))
    (entry,) = job.on(store, memory=None).map([1], returns="entry")
    f.cache_invalidate(1)
    with pytest.raises(NotFoundError, match="call the function again"):
        _ = entry.value


def test_an_entry_is_of_its_version_and_tells_an_outage_from_an_absence(store: TroubledStore, job: Job) -> None:
    f = job.on(store, memory=None, keep=2)
    list(f.map(range(2)))
    first, second = f.map(range(2), returns="entry")
    f.cache_set(["new"], 0)
    info = f.cache_info()
    assert first.value == [0, 0]
    assert f.cache_info().hits == info.hits
    assert f.cache_info().seconds_saved == info.seconds_saved
    store.before_get = raising(StoreAccessError("403: may not GET"))
    with pytest.raises(StoreAccessError, match="403"):
        _ = second.value


def test_entries_of_computed_results_hold_no_values(store: TroubledStore) -> None:
    @Cache(store, memory=None).cached(name="large", version=1)
    def large(x: int) -> bytes:
        return bytes([x]) * 1_000_000

    def take() -> None:
        entries = list(large.map(range(40), returns="entry", concurrency=2))
        assert [len(entry.value) for entry in entries] == [1_000_000] * 40

    assert peak(take) < 20_000_000  # compressed, a stored one takes next to nothing


def test_entries_where_nothing_can_be_asked_or_nothing_is_cached(store: TroubledStore, job: Job) -> None:
    down = raising(StoreUnavailableError("down"))
    with pytest.MonkeyPatch.context() as patch:
        for verb in ("list", "get", "put", "time"):
            patch.setattr(store, verb, down)
        (entry,) = job.on(store).map([1], returns="entry")
        assert (entry.value, entry.size) == ([1, 1], 0)
    with disabled():
        (entry,) = job.on(store).map([1], returns="entry")
    assert (entry.value, entry.size, entry.key) == ([1, 1], 0, job.on(store).cache_key(1))


def test_entries_of_computed_results_and_of_what_could_not_be_stored(store: TroubledStore, job: Job) -> None:
    f = job.on(store)
    (entry,) = f.map([1], returns="entry")
    assert entry.value == [1, 1]
    assert entry.value is not entry.value
    assert [entry.version] == f.cache_history(1)
    store.before_put = raising(StoreAccessError("403: may not PUT"))
    (entry,) = job.on(store).map([2], returns="entry")
    assert (entry.value, entry.size) == ([2, 2], 0)


def test_stored_exceptions_are_raised_and_no_entries(store: TroubledStore, job: Job) -> None:
    job.before = fail_on(1)
    for _ in range(2):
        f = job.on(store, cache_exceptions={ValueError: "1h"})
        result = list(f.map([0, 1], return_exceptions=True, returns="entry"))
        assert isinstance(result[1], ValueError)
        assert result[0].value == [0, 0]
    assert job.calls == {0: 1, 1: 1}


def test_disabled_functions_run_as_if_not_decorated(store: TroubledStore, job: Job) -> None:
    f = job.on(store)
    with disabled():
        assert list(f.map([1, 1, 2])) == doubles([1, 1, 2])
        with ThreadPoolExecutor(2) as pool:
            assert list(f.map([1], executor=pool)) == doubles([1])
    assert job.calls == {1: 3, 2: 1}
    assert requests(f) == {}


def test_a_batch_within_a_cached_function_finds_cycles(store: TroubledStore) -> None:
    cache = Cache(store)

    @cache.cached(name="total", version=1)
    def total(depth: int) -> int:
        return (
            1 + sum(total.map([depth - 1, depth - 1, depth]))
            if depth > 0 and depth < 2 and not seen.append(depth) and len(seen) < 3
            else 1
        )

    seen: list[int] = []
    assert total(1) >= 2


def test_a_store_that_is_down_costs_one_wait_and_no_result(store: TroubledStore, job: Job, monkeypatch: Any) -> None:
    monkeypatch.setattr(store, "list", raising(StoreAccessError("403: may not LIST")))
    f = job.on(store)
    assert list(f.map(range(20))) == doubles(range(20))
    assert f.cache_info().errors > 0


def test_absences_are_believed_for_as_long_as_names_count(store: TroubledStore, job: Job, clock: Clock) -> None:
    f, other = job.on(store), job.on(store)

    def inputs() -> Iterator[int]:
        yield from range(1000)
        other.cache_set(["theirs"], 1000)
        clock.now += 61
        yield 1000

    assert list(f.map(inputs()))[-1] == ["theirs"]


def test_with_names_ttl_0_every_call_lists(store: TroubledStore, job: Job) -> None:
    f = job.on(store, names_ttl=0)
    assert list(f.map(range(20))) == doubles(range(20))
    assert requests(f) == {"LIST": 20, "PUT": 20}


def test_an_executor_of_threads_shares_the_cache(store: TroubledStore, job: Job) -> None:
    f = job.on(store)
    f(1)
    with ThreadPoolExecutor(2) as pool:
        assert list(f.map([1, 2, 2, 3], executor=pool)) == doubles([1, 2, 2, 3])
        job.before = fail_on(5)
        assert isinstance(*f.map([5], executor=pool, return_exceptions=True), ValueError)
    info = f.cache_info()
    assert (info.misses, info.requests["PUT"]) == (4, 3)
    assert job.calls == {1: 1, 2: 1, 3: 1, 5: 1}
    with pytest.raises(RuntimeError, match="shutdown"):
        list(f.map([9], executor=pool))


def test_a_call_and_a_batch_in_threads_of_an_executor_wait_for_each_other(store: TroubledStore, job: Job) -> None:
    begun, may_end = threading.Event(), threading.Event()

    def before(_: Any) -> None:
        begun.set()
        assert may_end.wait(30)

    f, job.before = job.on(store), before
    with ThreadPoolExecutor(2) as pool, ThreadPoolExecutor(1) as caller:
        first = caller.submit(f, 7)
        assert begun.wait(30)
        threading.Timer(0.2, may_end.set).start()
        assert [*f.map([7], executor=pool), first.result()] == doubles([7, 7])
    assert job.calls == {7: 1}


def test_workers_warn_once_of_each_trouble(store: TroubledStore, job: Job, caplog: pytest.LogCaptureFixture) -> None:
    store.before_put = raising(StoreAccessError("403: may not PUT"))
    f = job.on(store)
    with ThreadPoolExecutor(2) as pool, caplog.at_level(logging.WARNING, "s3memo"):
        assert list(f.map(range(20), executor=pool)) == doubles(range(20))
    assert len(caplog.records) == 1
    assert f.cache_info().errors == 20


@pytest.mark.parametrize(
    "wrong",
    [
        {"concurrency": 0},
        {"concurrency": 2.5},
        {"returns": "values"},
        {"ordered": None},
        {"progress": "yes"},
        {"executor": "processes"},
    ],
)
def test_what_makes_no_sense_is_refused_at_once(store: TroubledStore, job: Job, wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        job.on(store).map([1], **wrong)
    with pytest.raises(TypeError, match="colour"):
        job.on(store).map([1], colour="red")


def test_the_end_of_a_batch_is_logged_with_what_it_saved_and_cost(
    store: TroubledStore, job: Job, caplog: pytest.LogCaptureFixture
) -> None:
    list(job.on(store).map(range(10)))
    job.before = fail_on(11)
    with caplog.at_level(logging.INFO, "s3memo"):
        list(job.on(store, memory=None).map(range(12), return_exceptions=True))
    (line,) = [record.getMessage() for record in caplog.records if "calls:" in record.getMessage()]
    assert line.startswith("s3memo: double: 12 calls: 10 stored, 1 computed, 1 failed; 0.0 s saved; requests: GET 10,")
    assert "LIST 1, PUT 1, about $0.0000" in line


def test_what_an_executor_lets_memory_hold_keeps_no_recorder_for_each_call(store: TroubledStore, job: Job) -> None:
    function = job.on(store)
    with ThreadPoolExecutor(2) as executor:
        assert len(list(function.map(range(5), executor=executor))) == 5
    cache, terms = function._subject.bind()
    assert {slot.recorder for slot in cache._memory._slots.values()} == {terms.recorder}
