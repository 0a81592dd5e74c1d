"""What a call gets besides what is fresh: stale results, old ones in trouble, exceptions; and what is not kept."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from s3memo import Cache, Event, MemoryStore, MemoryTier, SettingsError, StoreUnavailableError, log_event
from s3memo.errors import EncodeError
from s3memo.refreshes import refreshes
from tests.troubled import Clock

SOON = 60.0


class Store(MemoryStore):
    """Fails while it is down."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock=clock)
        self.is_down = False

    def list(self, *args: Any, **kwargs: Any) -> Any:
        if self.is_down:
            raise StoreUnavailableError("down")
        return super().list(*args, **kwargs)


class Job:
    """A function that counts its calls and can be made to raise."""

    def __init__(self) -> None:
        self.count = 0
        self.error: Exception | None = None
        self.threads: list[threading.Thread] = []

    def __call__(self, _x: int = 0) -> list[int]:
        self.count += 1
        self.threads.append(threading.current_thread())
        if self.error is not None:
            raise self.error
        return [self.count]


@pytest.fixture
def store(clock: Clock) -> Store:
    return Store(clock)


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def job() -> Job:
    return Job()


@pytest.fixture
def cached(store: Store, events: list[Event], job: Job) -> Callable[..., Any]:
    """Return what makes a cached function of the job: in a cache of its own, as another process would have it."""

    def make(memory: MemoryTier | None = MemoryTier(), **options: Any) -> Any:  # noqa: B008  it is immutable
        def function(x: int = 0) -> list[int]:
            return job(x)

        return Cache(store, hooks=[events.append], memory=memory).cached(name="job", version=1, **options)(function)

    return make


def kinds(events: list[Event]) -> list[str]:
    return [event.kind for event in events]


SWR = {"ttl": 60, "stale_while_revalidate": 600}


@pytest.mark.parametrize("memory", [MemoryTier(), None])
def test_a_stale_result_is_served_while_it_is_refreshed(
    cached: Any, job: Job, clock: Clock, events: list[Event], memory: MemoryTier | None
) -> None:
    function = cached(**SWR, memory=memory)
    assert function() == [1]
    clock.now += 61
    assert function() == [1], "the caller does not wait"
    refreshes.wait(SOON)
    assert job.count == 2
    assert job.threads[1] is not threading.current_thread()
    assert function() == [2]
    assert kinds(events) == ["miss", "compute", "store", "stale", "refresh", "compute", "store", "hit"]
    assert function.cache_info().stale_hits == 1
    clock.now += 661
    assert function() == [3], "beyond the window callers wait"


def test_one_refresh_at_a_time(store: Store, clock: Clock) -> None:
    begun, go = threading.Semaphore(0), threading.Event()
    calls = 0

    @Cache(store).cached(name="f", version=1, **SWR)
    def function(_x: int) -> list[int]:
        nonlocal calls
        calls += 1
        if calls > 1:
            begun.release()
            assert go.wait(SOON)
        return [calls]

    function(1)
    clock.now += 61
    assert [function(1) for _ in range(5)] == [[1]] * 5
    assert begun.acquire(timeout=SOON)
    assert [function(1) for _ in range(5)] == [[1]] * 5
    go.set()
    refreshes.wait(SOON)
    assert (function(1), calls) == ([2], 2)


def test_a_refresh_takes_what_another_process_has_stored(cached: Any, job: Job, clock: Clock) -> None:
    here, there = cached(**SWR), cached(**SWR)
    here()
    there()
    clock.now += 61
    there.cache_refresh()
    assert here() == [1]
    refreshes.wait(SOON)
    assert job.count == 2
    assert here() == [2]


def test_a_refresh_that_fails_is_told_and_the_stale_result_stays(
    cached: Any, job: Job, clock: Clock, events: list[Event], caplog: pytest.LogCaptureFixture
) -> None:
    function = cached(**SWR)
    function()
    clock.now += 61
    job.error = ValueError("no")
    for _ in range(2):
        assert function() == [1]
        refreshes.wait(SOON)
    assert [event.error for event in events if event.kind == "error"] == [job.error] * 2
    assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == 1
    job.error = None
    function()
    refreshes.wait(SOON)
    assert function() == [4]


def test_a_refresh_keeps_the_exceptions_that_are_kept(cached: Any, job: Job, clock: Clock, events: list[Event]) -> None:
    function = cached(**SWR, cache_exceptions={NotFoundHereError: "1h"})
    function()
    clock.now += 61
    job.error = NotFoundHereError()
    assert function() == [1]
    refreshes.wait(SOON)
    with pytest.raises(NotFoundHereError):
        function()
    assert job.count == 2
    assert "error" not in kinds(events)


def test_no_refresh_is_computed_that_could_not_be_stored(cached: Any, job: Job, clock: Clock, store: Store) -> None:
    function = cached(**SWR)
    function()
    clock.now += 61
    store.is_down = True
    assert function() == [1]
    refreshes.wait(SOON)
    assert job.count == 1


def test_a_refresh_of_arguments_that_were_changed_is_given_up(store: Store, clock: Clock, events: list[Event]) -> None:
    begun, go = threading.Event(), threading.Event()
    calls = 0

    @Cache(store, hooks=[events.append]).cached(name="f", version=1, **SWR)
    def total(numbers: list[int]) -> int:
        nonlocal calls
        calls += 1
        if calls > 1:
            begun.set()
            assert go.wait(SOON)
        return sum(numbers)

    numbers = [1, 2]
    assert total(numbers) == 3
    clock.now += 61
    assert total(numbers) == 3
    assert begun.wait(SOON)
    numbers.append(100)  # the caller has its result, and may do with its list what it likes
    go.set()
    refreshes.wait(SOON)
    assert total.cache_get([1, 2]).value == 3
    assert [event.message for event in events if event.kind == "error"] == ["a stale result could not be refreshed"]


def test_a_process_that_is_frozen_between_calls_refreshes_inline(
    cached: Any, job: Job, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "f")
    function = cached(**SWR)
    function()
    clock.now += 61
    assert function() == [2]
    assert job.threads == [threading.current_thread()] * 2
    clock.now += 61
    job.error = ValueError("no")
    assert function() == [2], "stale is better than nothing"


def test_async_functions_refresh_behind_their_callers_too(store: Store, clock: Clock, events: list[Event]) -> None:
    count = 0
    fails = False

    @Cache(store, hooks=[events.append]).cached(name="f", version=1, **SWR)
    async def function(_x: int) -> list[int]:
        nonlocal count
        count += 1
        await asyncio.sleep(0)
        if fails:
            raise ValueError("no")
        return [count]

    async def settled() -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.wait(others)

    async def calls() -> None:
        nonlocal fails
        assert await function(1) == [1]
        clock.now += 61
        assert [await function(1), await function(1)] == [[1], [1]]
        await settled()
        assert await function(1) == [2]
        clock.now += 61
        fails = True
        assert await function(1) == [2]
        await settled()
        assert await function(1) == [2]
        await settled()

    asyncio.run(calls())
    assert count == 4
    assert [type(event.error) for event in events if event.kind == "error"] == [ValueError] * 2
    clock.now += 1000
    with pytest.raises(ValueError, match="no"):
        asyncio.run(function(1))


def test_a_store_hit_takes_few_calls_of_functions(tmp_path: Path) -> None:
    """What a hit costs beside the store is the number of small functions that it takes: 255 once, and 130 since."""
    function = Cache(tmp_path, memory=None).cached(name="f", version=1)(lambda x: {"x": x})
    function(1)
    function(1)
    count = 0

    def counted(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(counted)
    try:
        assert function(1) == {"x": 1}
    finally:
        sys.setprofile(None)
    assert count <= 150


@pytest.mark.parametrize("lasts", [0.0, 1000.0])
def test_a_program_that_ends_waits_for_its_refreshes_but_not_for_ever(tmp_path: Path, lasts: float) -> None:
    script = tmp_path / "job.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import sys, threading, time
            import s3memo.refreshes
            from s3memo import s3_cached
            s3memo.refreshes._LAST_WAIT = {0.2 if lasts else SOON}
            begun = threading.Event()

            @s3_cached({str(tmp_path / "store")!r}, ttl=0, stale_while_revalidate=1000)
            def f(x):
                if len(sys.argv) > 1:
                    begun.set()
                    time.sleep({lasts})
                return len(sys.argv)

            print(f(1))
            if len(sys.argv) > 1:
                assert begun.wait({SOON})
            """
        )
    )

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, script, *arguments], capture_output=True, text=True, check=True, timeout=60
        )
        assert not done.stderr.replace("no other call gets it", "").count("Traceback")
        return done.stdout.strip()

    assert run() == "1"
    assert run("again") == "1"
    assert run("again") == ("1" if lasts else "2")


SIE = {"ttl": 60, "stale_if_error": 600}


@pytest.mark.parametrize("memory", [MemoryTier(), None])
def test_an_old_result_is_served_if_the_function_raises(
    cached: Any, job: Job, clock: Clock, events: list[Event], memory: MemoryTier | None
) -> None:
    function = cached(**SIE, memory=memory)
    function()
    clock.now += 61
    job.error = ValueError("no")
    assert function() == [1]
    assert kinds(events)[-2:] == ["error", "stale"]
    assert events[-2].error is job.error
    job.error = None
    assert function() == [3], "it is tried each time"
    job.error = KeyError("no")
    clock.now += 661
    with pytest.raises(KeyError):
        function()


def test_an_old_result_is_served_if_the_store_is_down(cached: Any, job: Job, clock: Clock, store: Store) -> None:
    function = cached(**SIE)
    function()
    clock.now += 61
    store.is_down = True
    assert function() == [1]
    assert job.count == 1
    clock.now += 600
    assert function() == [2], "too old even for that"
    assert cached(**SIE)() == [3], "a process that holds nothing computes"


def test_what_cache_if_is_false_of_is_returned_and_not_kept(cached: Any, job: Job) -> None:
    function = cached(cache_if=lambda value: value[0] > 1)
    assert [function(), function(), function()] == [[1], [2], [2]]
    function.cache_set([0])
    assert function() == [0], "what is set is meant to be kept"


def test_an_error_of_cache_if_is_the_callers(cached: Any) -> None:
    function = cached(cache_if=lambda value: value["x"])
    with pytest.raises(TypeError, match="indices"):
        function()


class NotFoundHereError(Exception):
    pass


class NarrowerError(NotFoundHereError):
    pass


@pytest.mark.parametrize("memory", [MemoryTier(), None])
def test_listed_exceptions_are_kept_for_their_own_time(
    cached: Any, job: Job, clock: Clock, events: list[Event], memory: MemoryTier | None
) -> None:
    function = cached(cache_exceptions={NotFoundHereError: "60s"}, ttl="10s", memory=memory)
    job.error = NotFoundHereError("a", 1)
    for _ in range(3):
        with pytest.raises(NotFoundHereError) as caught:
            function()
        assert caught.value.args == ("a", 1)
    assert job.count == 1
    assert kinds(events) == ["miss", "compute", "store", "hit", "hit"]
    clock.now += 30
    with pytest.raises(NotFoundHereError) as caught:
        function()
    assert caught.value is not job.error, "an exception is fresh for every caller"
    entry = function.cache_get()
    assert (entry.value, type(entry.error), entry.version.ttl) == (None, NotFoundHereError, 60)
    clock.now += 30
    assert function.cache_get() is None
    job.error = None
    assert function() == [2]


def test_no_other_exception_is_kept(cached: Any, job: Job) -> None:
    function = cached(cache_exceptions={NotFoundHereError: None})
    for error in (ValueError("x"), NarrowerError("x")):
        job.error = error
        for _ in range(2):
            with pytest.raises(type(error)):
                function()
    assert job.count == 4


def test_a_kept_exception_is_nothing_to_who_does_not_list_it(cached: Any, job: Job, events: list[Event]) -> None:
    listing = cached(cache_exceptions={NotFoundHereError: None}, memory=None)
    job.error = NotFoundHereError()
    with pytest.raises(NotFoundHereError):
        listing()
    job.error = None
    assert cached()() == [2]
    assert listing() == [2]
    assert "error" not in kinds(events)


def test_an_exception_that_cannot_be_stored_is_raised_all_the_same(cached: Any, job: Job, events: list[Event]) -> None:
    function = cached(cache_exceptions={NotFoundHereError: 60})
    job.error = NotFoundHereError(object())
    for _ in range(2):
        with pytest.raises(NotFoundHereError):
            function()
    assert job.count == 2
    assert isinstance(next(event.error for event in events if event.kind == "error"), EncodeError)


def test_an_exception_kept_is_worth_less_than_an_old_result(cached: Any, job: Job, clock: Clock) -> None:
    function = cached(**SIE, cache_exceptions={NotFoundHereError: 60})
    function()
    clock.now += 61
    job.error = NotFoundHereError()
    with pytest.raises(NotFoundHereError):
        function()
    with pytest.raises(NotFoundHereError):
        function()
    assert job.count == 2, "who lists it wants to know of it"


def test_none_is_a_value(store: Store) -> None:
    calls = 0

    @Cache(store).cached(name="f", version=1)
    def nothing() -> None:
        nonlocal calls
        calls += 1

    for _ in range(2):
        assert nothing() is None
    assert calls == 1
    entry = nothing.cache_get()
    assert entry is not None
    assert entry.value is None


def test_a_sibling_with_other_options_is_on_the_same_results(cached: Any, job: Job, clock: Clock) -> None:
    patient = cached(ttl="1h")
    eager = patient.with_options(ttl="1m")
    assert [patient(), eager()] == [[1], [1]]
    clock.now += 61
    assert [patient(), eager(), patient()] == [[1], [2], [2]]
    assert eager.cache_parameters()["ttl"] == 60.0
    assert patient.cache_parameters()["ttl"] == 3600.0
    assert patient.cache_key() == eager.cache_key()
    assert (patient.cache_info().hits, eager.cache_info().hits) == (2, 1)
    with pytest.raises(SettingsError, match=r"with_options\(version=…\)"):
        patient.with_options(version=2)
    with pytest.raises(SettingsError, match="ttl='soon'"):
        patient.with_options(ttl="soon")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stale_while_revalidate": 1}, "stale_while_revalidate=1 means nothing without a ttl="),
        ({"stale_if_error": "1m"}, "stale_if_error='1m' means nothing"),
        ({"ttl": 1, "stale_if_error": None}, "stale_if_error=None"),
        ({"cache_if": 1}, "cache_if=1 is not callable"),
        ({"cache_exceptions": (ValueError,)}, "must say for how long"),
        ({"cache_exceptions": {int: 1}}, "cache_exceptions=: <class 'int'>"),
        ({"cache_exceptions": {KeyboardInterrupt: 1}}, "is no class of exceptions"),
        ({"cache_exceptions": {ValueError: "soon"}}, r"cache_exceptions\[ValueError\]='soon'"),
    ],
)
def test_options_that_make_no_sense_are_refused(cached: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        cached(**options)


def test_a_computation_that_outlasts_its_ttl_is_told(
    store: Store, events: list[Event], caplog: pytest.LogCaptureFixture
) -> None:
    function = Cache(store, hooks=[events.append]).cached(name="f", version=1, ttl=0)(lambda: 1)
    function()
    function()
    messages = [event.message for event in events if event.kind == "compute"]
    assert len(messages) == 2
    assert "no less than the ttl of 0 s" in messages[0]
    assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == 1


def test_what_makes_room_in_memory_is_told(store: Store, events: list[Event]) -> None:
    cache = Cache(store, hooks=[events.append], memory=MemoryTier(max_entries=2))
    small, other = (cache.cached(name=name, version=1)(lambda x: x) for name in ("small", "other"))
    small(1)
    small(2)
    other(1)
    (evicted,) = [event for event in events if event.kind == "evict"]
    assert (evicted.function, evicted.key) == ("small", str(small.cache_key(1)))
    assert evicted.size > 0


def test_the_logging_hook_tells_everything(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "s3memo")
    function = Cache(store, hooks=[log_event]).cached(name="f", version=1)(lambda x: x)
    function(1)
    function(1)
    function.cache_invalidate(1)
    texts = [record.getMessage() for record in caplog.records]
    assert [text.split()[1] for text in texts] == ["miss", "compute", "store", "hit", "invalidate"]
    assert str(function.cache_key(1)) in texts[0]
    assert "bytes" in texts[2]
    assert "memory" in texts[3]


def test_a_sibling_follows_the_code_as_the_function_does(store: Store) -> None:
    step = 1

    @Cache(store).cached(name="f")
    def function(x: int) -> int:
        return x + step

    sibling = function.with_options(ttl=60)
    assert sibling(1) == 2
    step = 10
    assert sibling(1) == 11
    assert sibling.cache_key(1) == function.cache_key(1)


def test_who_waits_for_a_refresh_that_fails_falls_back_on_its_own(store: Store, clock: Clock) -> None:
    begun, go = threading.Event(), threading.Event()
    calls = 0

    @Cache(store).cached(name="f", version=1, ttl=60, stale_while_revalidate=60, stale_if_error="1h")
    def function(_x: int) -> str:
        nonlocal calls
        calls += 1
        if calls == 1:
            return "old"
        begun.set()
        assert go.wait(SOON)
        raise ValueError

    assert function(1) == "old"
    clock.now += 61
    assert function(1) == "old"
    assert begun.wait(SOON)
    clock.now += 60
    got: list[str] = []
    waiting = threading.Thread(target=lambda: got.append(function(1)), daemon=True)
    waiting.start()
    go.set()
    waiting.join(SOON)
    refreshes.wait(SOON)
    assert got == ["old"]


def test_a_result_too_large_for_memory_takes_the_place_of_what_is_there(store: Store) -> None:
    sizes = iter([100, 10_000])

    @Cache(store, memory=MemoryTier(max_bytes=5000)).cached(name="f", version=1)
    def function(_x: int) -> bytes:
        return b"x" * next(sizes)

    assert len(function(1)) == 100
    function.cache_refresh(1)
    assert len(function(1)) == 10_000


def test_the_steps_of_async_functions_see_the_callers_context(store: Store) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")
    seen: list[str] = []

    @Cache(store).cached(name="f", version=1, cache_if=lambda _: not seen.append(variable.get()))
    async def function(x: int) -> int:
        return x

    variable.set("set")
    asyncio.run(function(1))
    assert seen == ["set"]
