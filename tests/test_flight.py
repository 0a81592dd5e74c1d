"""What a flight may hand to memory, whatever overtook it."""

from __future__ import annotations

from s3memo.flight import Flights
from s3memo.versions import Key

KEY = Key("f", "t", "0" * 32)
OTHER = Key("g", "t", "0" * 32)


def test_a_flight_lands_unless_something_newer_landed_meanwhile() -> None:
    flights, landed = Flights(), []
    with flights.begin(KEY) as slow, flights.begin(KEY) as quick, flights.begin(OTHER) as stranger:
        flights.land(KEY, quick, 2, lambda: landed.append("quick"))
        flights.land(KEY, slow, 1, lambda: landed.append("slow"))
        flights.land(KEY, slow, 2, lambda: landed.append("the same version"))
        flights.land(OTHER, stranger, 1, lambda: landed.append("stranger"))
    assert landed == ["quick", "the same version", "stranger"]


def test_a_detached_flight_never_lands_and_a_later_one_does() -> None:
    flights, landed = Flights(), []
    with flights.begin(KEY) as flight, flights.begin(KEY) as own, flights.begin(OTHER) as stranger:
        flights.detach(KEY, but=own)
        assert (flight.detached, own.detached, stranger.detached) == (True, False, False)
        flights.land(KEY, flight, 9, lambda: landed.append("detached"))
    with flights.begin(KEY) as later:
        flights.land(KEY, later, 1, lambda: landed.append("later"))
    assert landed == ["later"]


def test_all_flights_of_a_function_are_detached_at_once_and_none_is_remembered() -> None:
    flights = Flights()
    with flights.begin(KEY) as one, flights.begin(OTHER) as other:
        flights.detach_all(lambda key: key.namespace == "f")
        assert (one.detached, other.detached) == (True, False)
    flights.detach(KEY)
    assert not flights._running
