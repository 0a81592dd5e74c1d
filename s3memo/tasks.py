"""Calls of async functions: one task carries out the steps for all who await them.

Steps that wait for the store cross a `bridge` if the store awaits its own I/O; else they run in a pool of threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar

from s3memo.bridge import LARGE, bridged
from s3memo.cache import Cache
from s3memo.calls import (
    COMPUTE,
    Call,
    GivenUpError,
    Work,
    fetching,
    is_frozen_between_calls,
    refreshing,
    refreshing_behind,
    tell_behind,
)
from s3memo.fleet import Pause
from s3memo.flight import Flight, Flights, Outcome

T = TypeVar("T")


async def fetch(call: Call) -> Any:
    """Return the value of a call: cached, or computed and then stored."""
    return (await bring(call)).value


async def bring(call: Call) -> Outcome[Any]:
    """Return the outcome of a call: cached, or computed and then stored."""
    cache, key, terms = call.cache, call.key, call.terms
    found = cache.held(key, terms, most=LARGE)
    if found is not None and not (found.freshness == "stale" and is_frozen_between_calls()):
        cache.tell(key, terms, found)
        return _served(call, found.outcome())
    scope = asyncio.get_running_loop(), terms.recorder.scope
    while True:
        with cache.flights.board(key, scope) as (flight, is_new):
            if is_new:
                flight.task = asyncio.create_task(_work(call, flight, fetching(call, flight)))
                flight.task.add_done_callback(partial(_end, cache.flights, flight))
            await _landing(call, flight)
            outcome = flight.brought()
            if is_new and outcome is None:
                flight.task.result()  # raises a BaseException, such as a cancellation from within
        if outcome is None:
            continue  # the refresh was given up
        if is_new:
            return _served(call, outcome)
        if outcome.share is None:
            with cache.flights.begin(key) as alone:
                return await run(call, fetching(call, alone))
        terms.recorder.emit("hit", key=key, tier="memory", seconds=outcome.seconds)
        return outcome._replace(value=await blocking(cache, outcome.share), is_hit=True)


async def refresh(call: Call) -> Any:
    """Compute the value of a call now, then store and return it."""
    with call.cache.flights.begin(call.key) as flight:
        return (await run(call, refreshing(call, flight))).value


async def blocking(cache: Cache, action: Callable[[], T]) -> T:
    """Run an action that waits for the store, or takes long, without blocking the loop."""
    if cache.awaits:
        return await bridged(action)
    return await asyncio.get_running_loop().run_in_executor(cache.pool, copy_context().run, _unstopped, action)


def _unstopped(action: Callable[[], T]) -> T:
    """Run an action in a thread. A StopIteration, as from `cache_if`, would never reach the loop, so it is replaced."""
    try:
        return action()
    except StopIteration as error:
        raise RuntimeError(f"{error!r} was raised") from error


async def run(call: Call, work: Work, flight: Flight | None = None) -> Outcome[Any]:
    """Carry out the steps of a call, in the task of a flight if one is given."""
    advance: Callable[[], Any] = partial(next, work)
    step: Any = None
    try:
        while True:
            step = advance()
            try:
                brought = await _carried_out(call, step, flight)
            except BaseException as error:  # noqa: BLE001  raised in the procedure
                advance = partial(work.throw, error)
            else:
                advance = partial(work.send, brought)
    except StopIteration as end:
        outcome: Outcome[Any] = end.value
        return outcome
    finally:
        del advance, step  # breaks the reference cycle of an error in them with this frame


async def _carried_out(call: Call, step: Any, flight: Flight | None) -> Any:
    if step is COMPUTE:
        return await call.compute()
    if isinstance(step, Pause):
        return await asyncio.sleep(step.seconds)
    if flight is None:
        return await blocking(call.cache, step)
    flight.asks = call.cache.awaits  # in the pool, the thread goes on by itself
    try:
        return await blocking(call.cache, step)
    finally:
        flight.asks, is_unwanted, flight.is_unwanted = False, flight.is_unwanted, False
        if is_unwanted:
            raise asyncio.CancelledError


async def _work(call: Call, flight: Flight, work: Work) -> None:
    """Carry out the steps of a flight, even if some of its waiters are cancelled."""
    with call.cache.flights.working(flight):
        try:
            flight.outcome = await run(call, work, flight)
        except Exception as error:  # noqa: BLE001  raised by those who await the flight
            flight.fail(error)


def _end(flights: Flights, flight: Flight, _: asyncio.Task[None]) -> None:
    """End a flight whose task may have been cancelled before its first step."""
    flights.end(flight)


async def _landing(call: Call, flight: Flight) -> None:
    """Wait for a flight. When the last waiter is cancelled, so is the work.

    A request under way is answered first, within bounded time; otherwise callers that wait only briefly would never
    find out that a store is down.
    """
    try:
        await asyncio.wait([flight.task])
    except asyncio.CancelledError:
        if flight.waiters == 1:
            call.cache.flights.close(flight)
            if flight.asks:
                flight.is_unwanted = True
            else:
                flight.task.cancel()
        raise


def _served(call: Call, outcome: Outcome[Any]) -> Outcome[Any]:
    """Return the outcome of a call, and start a refresh if it is stale."""
    scope = asyncio.get_running_loop(), call.terms.recorder.scope
    if outcome.is_stale and not call.cache.flights.is_led(call.key, scope):
        asyncio.create_task(_refresh(call, scope))  # noqa: RUF006  its flight holds a reference once it starts
    return outcome


async def _refresh(call: Call, scope: Hashable) -> None:
    flights = call.cache.flights
    with flights.board(call.key, scope) as (flight, is_new):
        if not is_new:
            return
        flight.task = asyncio.current_task()
        try:
            with flights.working(flight):
                flight.outcome = await run(call, refreshing_behind(call, flight))
        except GivenUpError:
            pass  # reported already
        except Exception as error:  # noqa: BLE001  waiters begin again, and may fall back on the old result
            tell_behind(call, error)
