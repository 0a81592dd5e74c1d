"""No update of a state is lost, doubled or invented, whatever the store and the processes do; and each part is needed.

A failure names its seed: `simulate(seed)` shows the same history again.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from s3memo import garbage, sequences
from s3memo.errors import DecodeError, StoreNotSupportedError
from s3memo.register import Record, Register
from s3memo.sequences import sequence_name, state_prefix
from tests.simulation.chain import DoubledUpdateError, LostUpdateError, PhantomUpdateError
from tests.simulation.machine import ForeignObjectError
from tests.simulation.server import Fault
from tests.simulation.stateful import NAMES, Simulation

HOUR = 3600.0
STEPS = 80
WEATHER: tuple[Mapping[Fault, float], ...] = (
    {},
    {"lost": 0.05, "late": 0.05, "timeout": 0.05, "unavailable": 0.05, "conflict": 0.05, "empty page": 0.1},
    {"lost": 0.1, "late": 0.1, "timeout": 0.1, "unavailable": 0.1, "conflict": 0.1, "empty page": 0.1},
)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Clean-ups fail by the thousand here, and each new process may say so once."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


def histories(quick: int) -> range:
    """Return the seeds to try: so many, or with the deep profile tens of thousands in all."""
    return range(quick if settings.default.derandomize else 80 * quick)


def simulate(
    seed: int,
    *,
    weather: Mapping[Fault, float] | None = None,
    clears: bool = True,
    collects: bool = False,
    **options: Any,
) -> None:
    simulation = Simulation(seed, rate=WEATHER[seed % 3] | (weather or {}), **options)
    try:
        simulation.run(STEPS, clears=clears, collects=collects)
        simulation.check(reads_are_fresh="stale" not in (weather or {}))
    except AssertionError as error:
        error.add_note(f"seed {seed}")
        raise


def simulate_all(seeds: range, **options: Any) -> None:
    for seed in seeds:
        simulate(seed, **options)


def test_no_history_breaks_a_promise() -> None:
    simulate_all(histories(300))


def test_all_faults_were_among_them() -> None:
    seen: set[str] = set()
    outcomes = set()
    for seed in range(2, 60, 3):
        simulation = Simulation(seed, rate=WEATHER[2])
        simulation.run(STEPS)
        seen |= simulation.weather.seen.keys()
        outcomes |= {(event.kind, event.outcome) for name in NAMES for event in simulation.events[name]}
    assert seen == WEATHER[2].keys()
    assert {("update", "done"), ("update", "maybe"), ("update", "refused"), ("clear", "done")} <= outcomes


def test_small_pages_and_a_directory_bucket_without_an_order_change_nothing() -> None:
    simulate_all(histories(40), page_size=2)
    simulate_all(histories(40), directory=True)


def test_collections_take_nothing_that_is_needed() -> None:
    simulate_all(histories(150), collects=True)


def test_with_stale_listings_a_get_may_be_old_and_an_update_is_never_wrong() -> None:
    """Such stores are no place for state; S3 itself was one until December 2020."""
    simulate_all(histories(60), weather={"stale": 0.3}, clears=False)


def test_a_server_that_ignores_create_only_is_refused() -> None:
    simulation = Simulation(0, ignores_create_only=True, endpoint="https://s3.example")
    with pytest.raises(StoreNotSupportedError, match=r"S3Store s3://bucket.* does not enforce create-only"):
        simulation.state(0, "job").set(1)
    assert not any(key.startswith(state_prefix("job") + "fffffffffffffe") for key in simulation.world.objects)


# What each part is for: without it a script, and chance, break a promise.


class WithoutPutId(Register):
    """Takes whatever stands where its own was to be for somebody else's."""

    def _is_ours(self, record: Record, put_id: bytes) -> bool:
        return False


class WithoutRetention(Register):
    """Deletes what is superseded at once."""

    retention = 0.0


class WithoutSecondLook(Register):
    """Believes a write that rests on a look of hours ago."""

    def _confirm(self, number: int, *, took_long: bool) -> Record | None:
        return None


class TakesFollowedForLate(Register):
    """Takes a write of its own that others have followed for one that came too late."""

    def _confirm(self, number: int, *, took_long: bool) -> Record | None:
        chain = self.look(whole=True)
        if chain.number == number:
            return None
        self.store.delete([self.prefix + sequence_name(number)])
        return self.read(chain.number)


def lost_answer(simulation: Simulation) -> None:
    simulation.update(0, "job")
    simulation.until(0, "PUT")
    simulation.weather.rate = {"lost": 1.0}
    simulation.until(0, "PUT answered")
    simulation.weather.rate = {}


def writer_that_sleeps_for_a_minute(simulation: Simulation) -> None:
    stall(simulation, 60)


def writer_that_sleeps_for_hours(simulation: Simulation) -> None:
    stall(simulation, 2 * HOUR)


def stall(simulation: Simulation, seconds: float) -> None:
    """Let a writer sleep between its LIST and its PUT, while others go on and collect the number it is about to write."""
    write(simulation)
    simulation.set(0, "job")
    simulation.until(0, "LIST answered")
    write(simulation)
    write(simulation)
    simulation.world.now += seconds
    write(simulation)


def writer_that_others_follow(simulation: Simulation) -> None:
    """Let a writer sleep between its LIST and its PUT, and again before it learns the PUT's answer."""
    write(simulation)
    simulation.update(0, "job")
    simulation.until(0, "LIST answered")
    simulation.world.now += HOUR
    simulation.until(0, "PUT answered")
    write(simulation)


def write(simulation: Simulation) -> None:
    simulation.update(1, "job")
    simulation.finish(1)


HAZARDS: dict[Callable[[Simulation], None], tuple[type[Register], type[AssertionError]]] = {
    lost_answer: (WithoutPutId, DoubledUpdateError),
    writer_that_sleeps_for_a_minute: (WithoutRetention, LostUpdateError),
    writer_that_sleeps_for_hours: (WithoutSecondLook, LostUpdateError),
    writer_that_others_follow: (TakesFollowedForLate, DoubledUpdateError),
}
by_name = pytest.mark.parametrize("hazard", HAZARDS, ids=lambda hazard: hazard.__name__)


@by_name
def test_a_state_is_safe_from(hazard: Callable[[Simulation], None]) -> None:
    simulation = Simulation(0)
    hazard(simulation)
    simulation.end()
    simulation.check()


@by_name
def test_without_its_safeguard_it_is_broken_by(hazard: Callable[[Simulation], None]) -> None:
    register, error = HAZARDS[hazard]
    simulation = Simulation(0, register=register)
    hazard(simulation)
    simulation.end()
    with pytest.raises(error):
        simulation.check()


@pytest.mark.parametrize(("retention", "is_safe"), [(sequences.RETENTION, True), (0.0, False)])
def test_a_collection_takes_no_number_that_a_stalled_writer_may_use(retention: float, is_safe: bool) -> None:
    simulation = Simulation(0)
    write(simulation)
    simulation.set(0, "job")
    simulation.until(0, "LIST answered")
    write(simulation)
    write(simulation)
    simulation.world.now += 60
    with patch.object(garbage, "RETENTION", retention):
        simulation.collect(1, "job")
        simulation.finish(1)
    simulation.end()
    with nullcontext() if is_safe else pytest.raises(LostUpdateError):
        simulation.check()


@pytest.mark.parametrize("register", [WithoutPutId, WithoutRetention, TakesFollowedForLate])
def test_chance_finds_what_is_missing(register: type[Register]) -> None:
    with pytest.raises((DoubledUpdateError, LostUpdateError, PhantomUpdateError)):
        simulate_all(range(300), register=register)


def test_without_strict_parsing_foreign_objects_are_taken_for_versions() -> None:
    lenient = re.compile(r"[0-9a-f]{14}\.s3s.*|[0-9a-f]{14}\..*", re.ASCII | re.IGNORECASE)
    with patch.object(sequences, "_NAME", lenient), pytest.raises((DecodeError, ForeignObjectError, AssertionError)):
        simulate_all(range(20))


def test_a_writer_in_doubt_never_guesses() -> None:
    """Its answer is lost, it sleeps for hours, and what it wrote is collected: nobody can know any more."""
    simulation = Simulation(0)
    write(simulation)
    event = simulation.update(0, "job")
    lost = simulation.weather
    simulation.until(0, "PUT")
    lost.rate = {"lost": 1.0}
    simulation.until(0, "sleeping")
    lost.rate = {}
    write(simulation)
    simulation.world.now += 2 * HOUR
    write(simulation)
    write(simulation)
    simulation.end()
    simulation.check()
    assert event.outcome == "maybe"


class Interleavings(RuleBasedStateMachine):
    """Processes that read, write, sleep and die, one request at a time, in any weather."""

    processes = st.integers(0, 2)

    @initialize(seed=st.integers(0, 2**32), rate=st.sampled_from(WEATHER))
    def begin_world(self, seed: int, rate: Mapping[Fault, float]) -> None:
        self.simulation = Simulation(seed, rate=rate)

    @rule(
        kind=st.sampled_from(["update", "set", "get", "clear", "collect"]),
        process=processes,
        name=st.sampled_from(NAMES),
    )
    def begin(self, kind: str, process: int, name: str) -> None:
        if process not in self.simulation.running:
            getattr(self.simulation, kind)(process, name)

    @precondition(lambda self: self.simulation.running)
    @rule(data=st.data(), steps=st.integers(1, 12))
    def go_on(self, data: st.DataObject, steps: int) -> None:
        process = data.draw(st.sampled_from(sorted(self.simulation.running)))
        for _ in range(steps):
            if process in self.simulation.running:
                self.simulation.step(process)

    @rule(process=processes)
    def kill(self, process: int) -> None:
        self.simulation.kill(process)

    @rule(seconds=st.sampled_from([0.4, 20.0, 700.0, 2000.0, 4000.0]))
    def let_time_pass(self, seconds: float) -> None:
        self.simulation.world.now += seconds

    @rule()
    def deliver_what_is_late(self) -> None:
        self.simulation.weather.deliver()

    @invariant()
    def all_promises_are_kept(self) -> None:
        self.simulation.check()

    def teardown(self) -> None:
        self.simulation.end()
        self.simulation.check()


TestInterleavings = Interleavings.TestCase
