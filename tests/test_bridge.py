"""The bridge: what crosses it waits without a thread, in its task's context, and unwinds when the task is cancelled."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import pytest

from s3memo import SettingsError, bridge
from s3memo.bridge import Errand, accompany, aside, blocking, bridged, is_crossed, side_by_side, signal, sleep, wait_for

SOON = 60.0
"""Seconds within which all that can happen has happened."""

place: ContextVar[str] = ContextVar("place", default="nowhere")


@pytest.fixture(autouse=True)
def _nothing_stays() -> Iterator[None]:
    yield
    assert not bridge._crossings
    gc.collect()
    assert not [thing for thing in gc.get_objects() if type(thing).__module__ == "greenlet" and is_suspended(thing)]


def is_suspended(thing: Any) -> bool:
    return type(thing).__name__ == "greenlet" and bool(thing) and thing.parent is not None


def crossed(action: Callable[[], Any]) -> Any:
    return asyncio.run(bridged(action))


def test_it_brings_what_is_returned_and_what_is_awaited() -> None:
    assert crossed(lambda: [wait_for(asyncio.sleep(0, number)) for number in range(3)]) == [0, 1, 2]
    assert crossed(lambda: 1) == 1
    assert not is_crossed()


def test_an_error_of_what_is_awaited_is_raised_where_it_waits_and_an_error_of_its_own_to_who_crossed() -> None:
    async def fail() -> None:
        raise KeyError("far")

    def survive() -> str:
        try:
            wait_for(fail())
        except KeyError as error:
            return str(error)
        return "nothing"

    assert crossed(survive) == "'far'"
    with pytest.raises(KeyError, match="far") as caught:
        crossed(lambda: wait_for(fail()))
    assert {"fail", "bridged", "<lambda>"} <= {frame.name for frame in traceback.extract_tb(caught.value.__traceback__)}


async def test_each_has_its_tasks_context_and_keeps_its_own() -> None:
    def visit(name: str) -> list[str]:
        before = place.get()
        place.set(name)
        wait_for(asyncio.sleep(0.001))
        return [before, place.get()]

    place.set("home")
    assert await asyncio.gather(*(bridged(lambda name=name: visit(name)) for name in "abc")) == [
        ["home", name] for name in "abc"
    ]
    assert place.get() == "home"


async def test_a_cancellation_is_raised_where_it_waits_and_lets_it_unwind() -> None:
    seen: list[object] = []

    def wait_long() -> None:
        try:
            wait_for(asyncio.sleep(SOON))
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise
        finally:
            wait_for(asyncio.sleep(0))  # it may wait on its way out
            seen.append("unwound")

    task = asyncio.create_task(bridged(wait_long))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == ["cancelled", "unwound"]
    assert task.cancelled()


def test_what_is_abandoned_unwinds_and_may_then_only_block() -> None:
    seen: list[object] = []

    def wait_long() -> None:
        try:
            wait_for(asyncio.sleep(SOON))
        finally:
            seen.append(is_crossed())

    async def begin() -> Any:
        crossing = bridged(wait_long)
        crossing.send(None)
        return crossing

    asyncio.run(begin()).close()
    assert seen == [False]


def test_nothing_is_kept_alive() -> None:
    class Thing:
        pass

    async def cross() -> weakref.ref[Thing]:
        thing = Thing()

        def fail(thing: Thing) -> None:
            wait_for(asyncio.sleep(0))
            raise ValueError(str(type(thing)))

        with pytest.raises(ValueError, match="Thing"):
            await bridged(lambda: fail(thing))
        return weakref.ref(thing)

    assert asyncio.run(cross())() is None


async def test_a_loop_goes_on_meanwhile() -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0)
            ticks += 1

    ticker = asyncio.create_task(tick())
    await bridged(lambda: sleep(0.01))
    await bridged(lambda: aside(lambda: time.sleep(0.01)))
    assert ticks > 2
    before = ticks

    def block() -> None:
        with blocking():
            assert not is_crossed()
            sleep(0.001)
            assert aside(threading.current_thread) is threading.main_thread()
            with blocking():
                pass
            assert not is_crossed()
        assert is_crossed()

    await bridged(block)
    assert ticks == before
    ticker.cancel()


async def test_who_waits_for_an_errand_holds_up_neither_a_loop_nor_who_does_it() -> None:
    errand = Errand()
    waiting = [
        asyncio.create_task(bridged(lambda: errand.wait(SOON))),
        asyncio.create_task(asyncio.to_thread(errand.wait, SOON)),
    ]
    assert not (await asyncio.wait(waiting, timeout=0.1))[0]
    waiting[0].cancel()
    waiting.append(asyncio.create_task(bridged(lambda: errand.wait(SOON))))
    begun = time.monotonic()
    errand.wait(SOON)
    await bridged(lambda: errand.wait(0.01))
    assert time.monotonic() - begun < SOON
    errand.end()
    await asyncio.wait(waiting, timeout=SOON)
    assert [task.cancelled() for task in waiting] == [True, False, False]
    assert time.monotonic() - begun < SOON


async def test_what_is_done_aside_has_the_context_and_a_thread() -> None:
    place.set("here")

    def look() -> tuple[bool, str, bool]:
        place.set("there")
        return aside(lambda: (threading.current_thread() is threading.main_thread(), place.get(), is_crossed()))

    assert await bridged(look) == (False, "there", False)
    assert look() == (True, "there", False)


@pytest.mark.parametrize("across", [True, False])
def test_side_by_side(across: bool) -> None:
    at_work, most, places = 0, 0, []
    changed = threading.Lock()

    def work(number: int) -> int:
        nonlocal at_work, most
        with changed:
            at_work += 1
            most = max(most, at_work)
            places.append(place.get())
        sleep(0.002)
        with changed:
            at_work -= 1
        return number

    def all_of_them() -> list[int]:
        place.set("side")
        return side_by_side([lambda number=number: work(number) for number in range(20)], most=4, name="work")

    assert (crossed if across else lambda action: action())(all_of_them) == list(range(20))
    assert most == 4
    assert set(places) == {"side"}
    place.set("nowhere")


@pytest.mark.parametrize("across", [True, False])
def test_side_by_side_raises_what_one_raises_when_none_is_at_work_any_more(across: bool) -> None:
    ended: list[int] = []

    def work(number: int) -> None:
        try:
            sleep(0.001)
            if number == 1:
                raise ValueError(number)
            sleep(0.02)
        finally:
            ended.append(number)

    def all_of_them() -> None:
        side_by_side([lambda number=number: work(number) for number in range(3)], most=3, name="work")

    with pytest.raises(ValueError, match="1"):
        (crossed if across else lambda action: action())(all_of_them)
    assert sorted(ended) == [0, 1, 2]


async def test_what_accompanies_ends_when_it_is_told_to() -> None:
    beats = 0

    def beat(stop: bridge.Signal) -> None:
        nonlocal beats
        assert is_crossed()
        while not stop.wait(0.001):
            beats += 1

    def work() -> None:
        stop = signal()
        companion = accompany(lambda: beat(stop), "heart")
        sleep(0.05)
        stop.set()
        companion.join()

    before = threading.active_count()
    await bridged(work)
    assert beats > 2
    assert threading.active_count() == before


def test_one_that_was_begun_within_another_comes_back_to_who_awaits_it() -> None:
    """As an eager task is, which a hook starts."""
    begun: list[Any] = []

    def outer() -> str:
        with blocking():
            inner = bridged(lambda: wait_for(asyncio.sleep(0, "inner")))
            inner.send(None)
        begun.append(inner)
        return wait_for(asyncio.sleep(0, "outer"))

    async def main() -> list[str]:
        brought = [await bridged(outer)]
        with pytest.raises(StopIteration) as caught:
            begun[0].send(None)
        return [*brought, caught.value.value]

    assert asyncio.run(main()) == ["outer", "inner"]


def test_loops_in_several_threads_do_not_meet() -> None:
    found: list[bool] = []

    def work() -> None:
        mine = threading.current_thread()
        for _ in range(100):
            wait_for(asyncio.sleep(0))
            found.append(threading.current_thread() is mine)

    threads = [threading.Thread(target=crossed, args=(work,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SOON)
    assert found == [True] * 400


def test_without_greenlet_one_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "greenlet", None)
    with pytest.raises(SettingsError, match=r"s3memo\[obstore\]"):
        crossed(lambda: 1)
    monkeypatch.undo()
