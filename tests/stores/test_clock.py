from __future__ import annotations

import math
import time
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3memo.stores.base import TimeBounds
from s3memo.stores.clock import DRIFT, ServerClock, local_clock, parse_date

ROUNDING = 1e-6
"""POSIX seconds as floats have steps of a quarter of a microsecond."""


@dataclass
class World:
    """True time, by which the server's clock is right and the local one runs a little wrong."""

    drift: float = 0.0
    now: float = 1_700_000_000.0
    server_ahead: float = 0.0

    def local(self, at: float | None = None) -> float:
        return ((self.now if at is None else at) - 1_699_999_000.0) * (1 + self.drift)

    def date(self, at: float) -> float:
        return float(math.floor(at + self.server_ahead))


@dataclass(frozen=True)
class Exchange:
    """When a request was sent, and how long it and its answer were under way."""

    start: float
    there: float
    back: float

    def told_to(self, clock: ServerClock, world: World) -> None:
        dated = self.start + self.there
        clock.observe(world.date(dated), sent=world.local(self.start), received=world.local(dated + self.back))


def ask(clock: ServerClock, world: World, *, there: float = 0.0, back: float = 0.0) -> TimeBounds:
    Exchange(world.now, there, back).told_to(clock, world)
    world.now += there + back
    bounds = clock.bounds()
    assert bounds is not None
    return bounds


def width(bounds: TimeBounds) -> float:
    return bounds.latest - bounds.earliest


latencies = st.floats(0, 20)
exchanges = st.builds(Exchange, st.floats(1_700_000_000, 1_700_100_000), latencies, latencies)
drifts = st.floats(-0.95 * DRIFT, 0.95 * DRIFT)


@given(drift=drifts, told=st.lists(exchanges, min_size=1, max_size=12), later=st.floats(0, 100_000))
def test_bounds_hold_the_server_clock_however_answers_cross(drift: float, told: list[Exchange], later: float) -> None:
    world = World(drift)
    clock = ServerClock(world.local)
    for exchange in told:
        exchange.told_to(clock, world)

    world.now = max(exchange.start + exchange.there + exchange.back for exchange in told) + later
    bounds = clock.bounds()
    assert bounds is not None
    assert bounds.earliest - ROUNDING <= world.now <= bounds.latest + ROUNDING


@given(told=st.lists(st.tuples(latencies, latencies, st.floats(0, 1000)), min_size=1, max_size=12))
def test_an_answer_never_tells_less_than_it_says_alone(told: list[tuple[float, float, float]]) -> None:
    world = World()
    clock = ServerClock(world.local)
    for there, back, pause in told:
        world.now += pause
        alone = ServerClock(world.local)
        start = world.now
        bounds = ask(clock, world, there=there, back=back)
        world.now = start
        assert width(bounds) <= width(ask(alone, world, there=there, back=back)) + ROUNDING


def test_one_answer_leaves_a_second_and_the_time_it_took() -> None:
    world = World(now=1_700_000_000.25)
    clock = ServerClock(world.local)
    assert clock.bounds() is None

    bounds = ask(clock, world, there=0.25, back=0.25)
    assert bounds.earliest == pytest.approx(1_700_000_000.0, abs=2 * DRIFT)
    assert bounds.latest == pytest.approx(1_700_000_001.5, abs=2 * DRIFT)


def test_answers_around_the_tick_of_a_second_narrow_the_bounds() -> None:
    world = World(now=1_700_000_000.9)
    clock = ServerClock(world.local)
    ask(clock, world)
    world.now = 1_700_000_001.1

    assert width(ask(clock, world)) == pytest.approx(0.2, abs=2 * DRIFT)


def test_bounds_widen_as_clocks_drift_apart() -> None:
    world = World()
    clock = ServerClock(world.local)
    fresh = ask(clock, world)
    world.now += 1000
    aged = clock.bounds()

    assert aged is not None
    assert width(aged) == pytest.approx(width(fresh) + 2 * DRIFT * 1000, abs=ROUNDING)


@given(ahead=st.floats(5, 1e6) | st.floats(-1e6, -5))
def test_a_clock_that_was_set_is_held_at_once_and_found_again_by_the_next_answer(ahead: float) -> None:
    world = World()
    clock = ServerClock(world.local)
    ask(clock, world)
    world.server_ahead = ahead

    joined = ask(clock, world, there=0.1, back=0.1)
    for possible in (world.now, world.now + ahead):
        assert joined.earliest - ROUNDING <= possible <= joined.latest + ROUNDING

    found = ask(clock, world, there=0.1, back=0.1)
    assert found.earliest - ROUNDING <= world.now + ahead <= found.latest + ROUNDING
    assert width(found) <= 1.5


def test_the_local_clock_goes_on() -> None:
    before = local_clock()
    assert before <= local_clock() < before + 60


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="this system has no clock that counts suspends")
def test_the_local_clock_counts_suspends() -> None:
    assert local_clock() == pytest.approx(time.clock_gettime(time.CLOCK_BOOTTIME), abs=60)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("Sun, 06 Nov 1994 08:49:37 GMT", 784111777.0),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 784111777.0),
        ("Sun Nov  6 08:49:37 1994", 784111777.0),
        ("", None),
        ("soon", None),
        ("Sun, 99 Nov 1994 08:49:37 GMT", None),
    ],
)
def test_parse_date(header: str, seconds: float | None) -> None:
    assert parse_date(header) == seconds


@given(st.text())
def test_any_other_text_is_no_date(header: str) -> None:
    assert parse_date(header) is None or any(character.isdigit() for character in header)
