"""Calls of plain functions: the calling thread carries out the steps and blocks while it waits."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from s3memo.bridge import blocking
from s3memo.calls import (
    COMPUTE,
    Call,
    GivenUpError,
    StoppedError,
    Work,
    find,
    is_frozen_between_calls,
    missing,
    refreshing,
    refreshing_behind,
    tell_behind,
)
from s3memo.entry import Hit
from s3memo.flight import Flight, Outcome
from s3memo.refreshes import refreshes


def fetch(call: Call) -> Any:
    """Return the value of a call: cached, or computed and then stored."""
    return bring(call).value


def bring(call: Call) -> Outcome[Any]:
    """Return the outcome of a call: cached, or computed and then stored."""
    cache, key, terms = call.cache, call.key, call.terms
    found = cache.held(key, terms)
    if found is not None and not (found.freshness == "stale" and is_frozen_between_calls()):
        cache.tell(key, terms, found)
        return _served(call, found.outcome())
    while True:
        with cache.flights.board(key, terms.recorder.scope) as (flight, is_new):
            outcome = _work(call, flight) if is_new else _brought(flight)
        if outcome is None:
            continue  # its thread was interrupted, or the refresh was given up
        if is_new:
            return _served(call, outcome)
        if outcome.share is None:
            with cache.flights.begin(key) as alone:
                return _fetched(call, alone)
        terms.recorder.emit("hit", key=key, tier="memory", seconds=outcome.seconds)
        return outcome._replace(value=outcome.share(), is_hit=True)


def refresh(call: Call) -> Any:
    """Compute the value of a call now, then store and return it."""
    with call.cache.flights.begin(call.key) as flight:
        return run(call, refreshing(call, flight)).value


def run(call: Call, work: Work) -> Outcome[Any]:
    """Carry out the steps of a call."""
    advance: Callable[[], Any] = partial(next, work)
    step: Any = None
    try:
        with blocking():  # an async function's hook may be the caller, and another thread may wait for this one
            while True:
                step = advance()
                try:
                    brought = call.compute() if step is COMPUTE else step()
                except StopIteration as error:
                    advance = partial(work.throw, StoppedError(error))
                except BaseException as error:  # noqa: BLE001  raised in the procedure
                    advance = partial(work.throw, error)
                else:
                    advance = partial(work.send, brought)
    except StopIteration as end:
        outcome: Outcome[Any] = end.value
        return outcome
    except StoppedError as stopped:
        raise stopped.error from None
    finally:
        del advance, step  # breaks the reference cycle of an error in them with this frame


def _brought(flight: Flight) -> Outcome[Any] | None:
    """Wait for another thread's flight."""
    with flight.landed:
        pass
    return flight.brought()


def _served(call: Call, outcome: Outcome[Any]) -> Outcome[Any]:
    """Return the outcome of a call, and start a refresh if it is stale."""
    if outcome.is_stale and not call.cache.flights.is_led(call.key, call.terms.recorder.scope):
        refreshes.start(partial(_refresh, call))
    return outcome


def _work(call: Call, flight: Flight) -> Outcome[Any]:
    """Do the work of a flight that others may wait for."""
    flights = call.cache.flights
    with flights.working(flight):
        try:
            flight.outcome = outcome = _fetched(call, flight)
        except Exception as error:
            if flights.is_shared(flight):
                flight.fail(error)
            raise
        return outcome


def _fetched(call: Call, flight: Flight) -> Outcome[Any]:
    """Carry out the steps of `fetching`; a hit takes only the first."""
    with blocking():
        found = find(call, flight)
    return found.outcome() if isinstance(found, Hit) else run(call, missing(call, flight, found))


def _refresh(call: Call) -> None:
    flights = call.cache.flights
    with flights.board(call.key, call.terms.recorder.scope) as (flight, is_new):
        if is_new:
            try:
                with flights.working(flight):
                    flight.outcome = run(call, refreshing_behind(call, flight))
            except GivenUpError:
                pass  # reported already
            except Exception as error:  # noqa: BLE001  waiters begin again, and may fall back on the old result
                tell_behind(call, error)
