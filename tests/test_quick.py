"""Memory hits without a key: they are what a call by its key would be, and end when that would change."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3memo import Cache, MemoryStore, MemoryTier, disabled, s3_cached
from s3memo import settings as process_settings
from s3memo.functions import CachedFunction
from s3memo.memory import Slot


class Count:
    """Counts the calls that take the long way."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.long = 0
        fetch = CachedFunction._fetch

        def counting(*args: Any) -> Any:
            self.long += 1
            return fetch(*args)

        monkeypatch.setattr(CachedFunction, "_fetch", counting)


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch) -> Count:
    return Count(monkeypatch)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return what lets time pass for quick hits."""
    ahead = [0.0]
    monkeypatch.setattr(process_settings.quick_clock, "now", lambda: time.monotonic() + ahead[0])

    def step(seconds: float) -> None:
        ahead[0] += seconds

    return step


def add(x: Any, y: Any = 0) -> Any:
    return repr((x, y))


def warm(function: Any, *args: Any) -> None:
    for _ in range(3):
        function(*args)


def test_hits_are_quick_from_the_third_call_on_and_counted(count: Count) -> None:
    function = s3_cached(MemoryStore())(add)
    for _ in range(10):
        assert function(1, 2) == "(1, 2)"
    assert count.long == 2
    info = function.cache_info()
    assert (info.hits, info.misses, info.memory_hits, info.currsize) == (9, 1, 9, 1)


ATOMS = [None, True, False, 0, 1, 0.0, -0.0, 1.0, float("nan"), "", "1", b"1", "x" * 300, (1,), (True,), 1j, 10**30]


@given(st.lists(st.tuples(st.sampled_from(ATOMS), st.sampled_from(ATOMS)), max_size=30))
def test_no_two_calls_are_mixed_up(calls: list[tuple[Any, Any]]) -> None:
    function = s3_cached(MemoryStore())(add)
    for args in calls * 3:
        assert function(*args) == add(*args)


@pytest.mark.parametrize("args", [(0.0,), (-0.0,), ([],), ("x" * 257,), (b"x" * 257,), ((1,),), (1j,)])
def test_what_equal_values_could_differ_in_or_is_large_goes_by_its_key(count: Count, args: Any) -> None:
    function = s3_cached(MemoryStore())(add)
    warm(function, 1)
    before = count.long
    warm(function, *args)
    assert count.long == before + 3


class Odd:
    def __hash__(self) -> int:
        raise ValueError("no hash")

    def __s3memo_key__(self) -> str:
        return "odd"

    def __repr__(self) -> str:
        return "Odd()"


def test_an_argument_whose_hash_raises_is_none_the_worse() -> None:
    function = s3_cached(MemoryStore())(add)
    warm(function, 1)
    assert function(Odd()) == "(Odd(), 0)"


def test_an_error_of_the_function_has_no_context_of_ours() -> None:
    @s3_cached(MemoryStore())
    def fails(x: int) -> int:
        return 1 // x

    with pytest.raises(ZeroDivisionError) as caught:
        fails(0)
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    "end",
    [
        lambda function: function.cache_invalidate(1),
        lambda function: function.cache_set("other", 1),
        lambda function: function.cache_refresh(1),
        lambda function: function.cache_clear(),
        lambda function: function.cache_clear(memory_only=True),
        lambda function: function.with_options(ttl=60).cache_set("other", 1),
    ],
)
def test_what_ends_a_held_result_ends_its_quick_hits(count: Count, end: Callable[[Any], Any]) -> None:
    function = s3_cached(MemoryStore())(add)
    warm(function, 1)
    end(function)
    before = count.long
    found = function.cache_get(1)
    assert function(1) == (found.value if found else "(1, 0)")
    assert count.long == before + 1


def test_what_leaves_memory_to_make_room_is_asked_for_again(count: Count) -> None:
    function = Cache(MemoryStore(), memory=MemoryTier(max_entries=1)).cached(add)
    warm(function, 1)
    warm(function, 2)
    before = count.long
    function(2)
    assert count.long == before
    function(1)
    assert count.long == before + 1


def test_after_a_moment_memory_is_asked_again_and_so_knows_what_is_in_use(
    count: Count, passes: Callable[[float], None]
) -> None:
    function = Cache(MemoryStore(), memory=MemoryTier(max_entries=2)).cached(add)
    warm(function, 1)
    warm(function, 2)
    passes(1.1)
    before = count.long
    function(1)
    assert count.long == before + 1
    function(3)
    assert function.cache_info().misses == 3
    function(1)
    assert function.cache_info().misses == 3, "2 was used less recently, and made room"


@pytest.mark.parametrize("options", [{"ttl": 0.5}, {"ttl": 3600}])
def test_no_quick_hit_outlives_the_ttl(passes: Callable[[float], None], count: Count, options: Any) -> None:
    function = s3_cached(MemoryStore(), **options)(add)
    warm(function, 1)
    before = count.long
    passes(0.4)
    function(1)
    assert count.long == before
    passes(0.2 if options["ttl"] < 1 else 0.7)
    function(1)
    assert count.long == before + 1


def test_memory_that_is_to_be_confirmed_is(passes: Callable[[float], None], count: Count) -> None:
    function = Cache(MemoryStore(), memory=MemoryTier(revalidate_after=0.5)).cached(add)
    warm(function, 1)
    before = count.long
    passes(0.6)
    function(1)
    assert count.long == before + 1


def test_disabled_calls_take_the_long_way(count: Count) -> None:
    calls = []

    @s3_cached(MemoryStore(), name="f", version=1)
    def function(x: int) -> int:
        calls.append(x)
        return x

    warm(function, 1)
    with disabled():
        with disabled():
            function(1)
        function(1)
    assert len(calls) == 3
    before = count.long
    function(1)
    assert (len(calls), count.long) == (3, before)


def test_changed_code_changes_the_result_at_once() -> None:
    def function(x: int) -> int:
        return x

    def other(x: int) -> int:
        return x + 1

    cached = s3_cached(MemoryStore(), name="f")(function)
    warm(cached, 1)
    function.__code__ = other.__code__
    assert [cached(1), cached(1), cached(1), cached(1)] == [2, 2, 2, 2]


def test_a_closure_that_changes_changes_the_result_at_once() -> None:
    step = 1

    @s3_cached(MemoryStore())
    def function(x: int) -> int:
        return x + step

    warm(function, 1)
    step = 10
    assert function(1) == 11


@pytest.mark.parametrize("options", [{"key": lambda x, y=0: x}, {"ignore": ("y",)}, {"version": 1}])
def test_other_ways_to_tell_calls_apart_hold(options: Any) -> None:
    function = s3_cached(MemoryStore(), **options)(add)
    for args in [(1, 2), (1, 3), (2, 2)] * 3:
        expected = (args[0], 2) if "version" not in options else args
        assert function(*args) == repr(expected)


def test_a_mutable_result_is_fresh_each_time_and_a_lent_one_the_same() -> None:
    fresh = s3_cached(MemoryStore())(lambda x: [x])
    lent = s3_cached(MemoryStore(), copy=False)(lambda x: [x])
    for function in (fresh, lent):
        warm(function, 1)
    assert fresh(1) is not fresh(1)
    assert lent(1) is lent(1)


def test_hooks_are_told_of_every_hit(count: Count) -> None:
    events: list[Any] = []
    function = Cache(MemoryStore(), hooks=[events.append]).cached(add)
    for _ in range(5):
        function(1)
    assert [event.kind for event in events].count("hit") == 4
    assert count.long == 5


def test_a_clock_of_somebody_elses_is_asked_each_time(count: Count) -> None:
    now = 1_790_000_000.0
    function = s3_cached(MemoryStore(clock=lambda: now), ttl=60)(add)
    warm(function, 1)
    now += 61
    before = function.cache_info().misses
    function(1)
    assert function.cache_info().misses == before + 1
    assert count.long == 4


def test_a_call_that_is_interrupted_leaves_nothing_that_an_invalidation_does_not_reach(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    numbers = iter(range(10))
    function = Cache(MemoryStore()).cached(name="f", version=1)(lambda _x: next(numbers))
    function(1)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Slot, "add_cell", interrupted)
        with pytest.raises(KeyboardInterrupt):
            function(1)
    function.cache_invalidate(1)
    assert function(1) == 1
