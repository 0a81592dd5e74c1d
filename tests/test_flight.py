"""What a flight may hand to memory, whatever overtook it."""

from __future__ import annotations

import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from s3memo.flight import Flight, Flights
from s3memo.locks import process_lock
from s3memo.versions import Key, Listing, Version, tombstone

KEY = Key("f", "t", "0" * 32)
OTHER = Key("g", "t", "0" * 32)


def version(order: int, created: int | None = None) -> Version:
    return Version(order, order if created is None else created, None, 0, "00000000")


def test_a_flight_lands_unless_something_newer_landed_meanwhile() -> None:
    flights, landed = Flights(), []
    with flights.begin(KEY) as slow, flights.begin(KEY) as quick, flights.begin(OTHER) as stranger:
        flights.land(KEY, quick, version(2), lambda: landed.append("quick"))
        flights.land(KEY, slow, version(1), lambda: landed.append("slow"))
        flights.land(KEY, slow, version(2), lambda: landed.append("the same version"))
        flights.land(OTHER, stranger, version(1), lambda: landed.append("stranger"))
    assert landed == ["quick", "the same version", "stranger"]


def test_of_two_versions_of_one_order_the_same_is_newer_here_as_in_the_store() -> None:
    flights, landed = Flights(), []
    one, other = (Version(5, 5, None, 0, nonce) for nonce in ("00000000", "11111111"))
    with flights.begin(KEY) as winner, flights.begin(KEY) as loser:
        flights.land(KEY, winner, one, lambda: landed.append("first in a listing"))
        flights.land(KEY, loser, other, lambda: landed.append("second in a listing"))
    assert landed == ["first in a listing"]


def test_what_a_listing_buries_does_not_land_whatever_its_order() -> None:
    flights, landed = Flights(), []
    with flights.begin(KEY) as flight:
        flights.notice(KEY, Listing((tombstone(5, nonce="00000000"),)))
        flights.land(KEY, flight, version(9, created=5), lambda: landed.append("buried"))
        flights.land(KEY, flight, version(9, created=6), lambda: landed.append("begun later"))
    assert landed == ["begun later"]


def test_a_detached_flight_never_lands_and_a_later_one_does() -> None:
    flights, landed = Flights(), []
    with flights.begin(KEY) as flight, flights.begin(KEY) as own, flights.begin(OTHER) as stranger:
        flights.detach(KEY, but=own)
        assert (flight.detached, own.detached, stranger.detached) == (True, False, False)
        flights.land(KEY, flight, version(9), lambda: landed.append("detached"))
    with flights.begin(KEY) as later:
        flights.land(KEY, later, version(1), lambda: landed.append("later"))
    assert landed == ["later"]


def test_all_flights_of_a_function_are_detached_at_once_and_none_is_remembered() -> None:
    flights = Flights()
    with flights.begin(KEY) as one, flights.begin(OTHER) as other:
        flights.detach_all(lambda key: key.namespace == "f")
        assert (one.detached, other.detached) == (True, False)
    flights.detach(KEY)
    assert not flights._running


def test_a_landing_that_is_interrupted_is_completed(monkeypatch: pytest.MonkeyPatch) -> None:
    flights = Flights()
    close = flights._close
    interrupts = [KeyboardInterrupt()]

    def interrupted(flight: Flight) -> None:
        if interrupts:
            raise interrupts.pop()
        close(flight)

    monkeypatch.setattr(flights, "_close", interrupted)
    with pytest.raises(KeyboardInterrupt), flights.board(KEY, None) as (flight, _), flights.working(flight):
        pass
    assert not flights.is_led(KEY, None)
    assert not flights.is_running(KEY)
    assert flight.landed.acquire(blocking=False)


@pytest.mark.parametrize("entrance", ["register", "take_part"])
def test_who_is_interrupted_at_the_entrance_leaves_no_flight_behind(
    monkeypatch: pytest.MonkeyPatch, entrance: str
) -> None:
    flights = Flights()
    enter = getattr(flights, entrance)

    def interrupted(*args: object) -> None:
        enter(*args)
        raise KeyboardInterrupt

    monkeypatch.setattr(flights, entrance, interrupted)
    block = flights.begin(KEY) if entrance == "register" else flights.board(KEY, None)
    with pytest.raises(KeyboardInterrupt), block:
        pass
    assert not flights.is_led(KEY, None)
    assert not flights.is_running(KEY)


def test_a_call_amidst_the_same_call_of_its_thread_waits_for_nobody() -> None:
    flights = Flights()
    with flights.board(KEY, None) as (flight, _), flights.board(KEY, None) as (amidst, is_new):
        assert is_new
        assert amidst is not flight
    assert not flights.is_led(KEY, None)
    assert not flights.is_running(KEY)


def test_a_call_amidst_a_change_under_the_process_lock_waits_for_nobody() -> None:
    """As a signal's handler may make it: whoever it waited for would wait for the lock."""
    flights = Flights()
    with ThreadPoolExecutor(1) as pool, ExitStack() as stack:
        led, is_led = pool.submit(lambda: stack.enter_context(flights.board(KEY, None))).result()
        assert is_led
        with flights.board(KEY, None) as (flight, is_new):
            assert flight is led
            assert not is_new
        with process_lock, flights.board(KEY, None) as (flight, is_new):
            assert flight is not led
            assert is_new


def test_who_is_interrupted_between_two_that_wait_raises_that() -> None:
    flights = Flights()

    class Interrupted(list[Flight]):
        def append(self, _: Flight) -> None:
            raise KeyboardInterrupt

    with flights.board(OTHER, None) as (outer, _), flights.working(outer):
        outer.waits_for = Interrupted()
        with pytest.raises(KeyboardInterrupt), flights.board(KEY, None):
            pass


def test_an_error_that_many_wait_for_has_the_trace_of_each_of_them_and_no_others() -> None:
    flight = Flight(KEY)
    try:
        _ = 1 / 0
    except ZeroDivisionError as error:
        flight.fail(error)
    lengths = set()
    for _ in range(5):
        with pytest.raises(ZeroDivisionError) as caught:
            flight.brought()
        lengths.add(len(traceback.extract_tb(caught.value.__traceback__)))
    assert lengths == {3}
