"""Calls of plain functions: their steps are carried out where they stand, and waiting blocks the thread."""

from __future__ import annotations

from functools import partial
from typing import Any

from s3memo.calls import (
    BEHIND,
    COMPUTE,
    Call,
    GivenUpError,
    Work,
    fetching,
    is_frozen_between_calls,
    refreshing,
    refreshing_behind,
)
from s3memo.flight import Flight, Outcome
from s3memo.refreshes import refreshes


def fetch(call: Call) -> Any:
    """Return the value of a call: remembered, or computed and then remembered."""
    cache, key, terms = call.cache, call.key, call.terms
    found = cache.held(key, terms)
    if found is not None and not (found.freshness == "stale" and is_frozen_between_calls()):
        cache.tell(key, terms, found)
        if found.freshness == "stale":
            _refresh_behind(call)
        return found.outcome().value
    while True:
        with cache.flights.board(key, terms.copy) as (flight, is_new):
            if is_new:
                return _work(call, flight, fetching(call, flight))
            flight.landed.wait()
            if flight.error is not None:
                raise flight.error
            outcome = flight.outcome
        if outcome is None:
            continue  # its thread was interrupted, or it was given up
        if outcome.share is None:
            with cache.flights.begin(key) as alone:
                return run(call, fetching(call, alone)).value
        terms.recorder.emit("hit", key=str(key), tier="memory", seconds=outcome.seconds)
        return outcome.share()


def refresh(call: Call) -> Any:
    """Compute the value of a call now, remember and return it."""
    with call.cache.flights.begin(call.key) as flight:
        return run(call, refreshing(call, flight)).value


def run(call: Call, work: Work) -> Outcome[Any]:
    """Carry out the steps of a call."""
    advance = partial(next, work)
    while True:
        try:
            step = advance()
        except StopIteration as end:
            outcome: Outcome[Any] = end.value
            return outcome
        brought = None
        try:
            if step is COMPUTE:
                brought = call.compute()
            elif step is BEHIND:
                _refresh_behind(call)
            else:
                brought = step()
        except BaseException as error:  # noqa: BLE001  the procedure gets it
            advance = partial(work.throw, error)
        else:
            advance = partial(work.send, brought)


def _work(call: Call, flight: Flight, work: Work) -> Any:
    """Carry out the steps of a flight that others may wait for."""
    flights = call.cache.flights
    with flights.working(flight):
        try:
            outcome = run(call, work)
        except GivenUpError:
            raise
        except Exception as error:
            if flights.is_shared(flight):
                flight.error = error
            raise
        if flights.is_shared(flight):
            flight.outcome = outcome
        return outcome.value


def _refresh_behind(call: Call) -> None:
    if not call.cache.flights.is_led(call.key, call.terms.copy):
        refreshes.start(partial(_refresh, call))


def _refresh(call: Call) -> None:
    with call.cache.flights.board(call.key, call.terms.copy) as (flight, is_new):
        if is_new:
            try:
                _work(call, flight, refreshing_behind(call, flight))
            except GivenUpError:
                pass  # it was told when it was given up
            except Exception as error:  # noqa: BLE001  nobody is there to get it
                call.terms.recorder.trouble(error, "a stale result could not be refreshed", key=str(call.key))
