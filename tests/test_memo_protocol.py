"""The memo protocol keeps its promises under any interleaving, and the scheme of 2020 keeps none of them.

The hazards are scripts: each runs on both schemes, with the same checks. The state machine finds interleavings of its
own; on the old scheme it must find a fault.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from s3memo import garbage, index, memo
from s3memo.errors import NotFoundError
from tests.simulation.history import LostWriteError, ResurrectedError, StaleReadError
from tests.simulation.machine import FOREIGN, BlindWriteError, ForeignObjectError, Simulation
from tests.simulation.memo import Memo, MemoOfOneFunction
from tests.simulation.scheme_2020 import Scheme2020
from tests.simulation.world import SharedWriteError

CLOCKS = ((0.5, 2.0, -120.0), (3.0, 0.25, 90.0), (0.0, 0.0, 0.0))
"""For each process: its time bounds reach so far back and ahead, and its own clock is so far off, in seconds."""

KEYS = ("job", "job-old")
MEMO_PREFIX = "v1/memo/job/job/00000000000000000000000000000000/"
PAGE = 3
"""How many names a page of the simulated store shows, so that few versions fill it."""


def over_one_page_of_versions(simulation: Simulation) -> None:
    for _ in range(3 * PAGE):
        die_after_put(simulation, 2)
    simulation.finish(simulation.set(2, "job"))
    simulation.check_store("job")


def prefix_of_another_key(simulation: Simulation) -> None:
    simulation.finish(simulation.set(2, "job-old"))
    simulation.world.now += 1
    simulation.finish(simulation.set(2, "job"))
    simulation.check_store("job-old")


def writer_whose_clock_is_behind(simulation: Simulation) -> None:
    simulation.finish(simulation.set(1, "job"))
    simulation.world.now += 1
    simulation.finish(simulation.set(0, "job"))
    simulation.check_store("job")


def two_writes_in_one_millisecond(simulation: Simulation) -> None:
    simulation.finish(simulation.set(2, "job"))
    simulation.finish(simulation.set(2, "job"))
    simulation.check_store("job")


def clean_up_between_list_and_get(simulation: Simulation) -> None:
    simulation.finish(simulation.set(2, "job"))
    reader = simulation.read(1, "job")
    simulation.until(reader, "GET")
    simulation.world.now += 1
    simulation.finish(simulation.set(2, "job"))
    simulation.finish(reader)


def slow_writer_after_an_invalidation(simulation: Simulation) -> None:
    slow = simulation.fetch(2, "job")
    simulation.until(slow, "computing")
    simulation.world.now += 1
    simulation.finish(simulation.invalidate(1, "job"))
    simulation.world.now += 1
    simulation.finish(slow)
    simulation.check_store("job")


def refusal_read_as_empty(simulation: Simulation) -> None:
    simulation.finish(simulation.set(2, "job"))
    simulation.world.now += 1
    simulation.check_nothing_is_written_blindly(1, "job")
    simulation.check_store("job")


def foreign_objects_under_the_prefix(simulation: Simulation) -> None:
    for name in FOREIGN:
        simulation.put_foreign(name)
    simulation.finish(simulation.set(2, "job"))
    simulation.finish(simulation.invalidate(2, "job"))
    simulation.check_foreign()


def numbers_that_grow_a_digit(simulation: Simulation) -> None:
    simulation.world.now = 999_999_999.5  # 2001-09-09: milliseconds went from twelve digits to thirteen
    simulation.finish(simulation.set(2, "job"))
    simulation.world.now += 1
    simulation.finish(simulation.set(2, "job"))
    simulation.check_store("job")


def crash_between_put_and_clean_up(simulation: Simulation) -> None:
    die_after_put(simulation, 1)
    simulation.finish(simulation.set(2, "job"))
    simulation.check_store("job")
    simulation.check_garbage("job", MEMO_PREFIX)


def die_after_put(simulation: Simulation, process: int, *, pause: float = 1) -> None:
    writer = simulation.set(process, "job")
    simulation.until(writer, "PUT answered")
    simulation.crash(process)
    simulation.world.now += pause


# Hazards that only a scheme with tombstones and flights has.


def tombstone_behind_a_full_page(simulation: Simulation) -> None:
    """A writer with wide bounds must not be dated before a tombstone that its first page does not show."""
    simulation.finish(simulation.set(2, "job"))
    simulation.finish(simulation.invalidate(2, "job"))
    for _ in range(PAGE):
        simulation.world.now += 1e-4
        die_after_put(simulation, 2, pause=0)
    simulation.finish(simulation.set(0, "job"))
    simulation.check_store("job")


def value_set_by_a_process_with_wide_bounds(simulation: Simulation) -> None:
    simulation.finish(simulation.set(0, "job"))
    simulation.world.now += 0.7
    simulation.finish(simulation.invalidate(2, "job"))
    simulation.check_store("job")


def slow_writer_with_wide_bounds(simulation: Simulation) -> None:
    slow = simulation.fetch(0, "job")
    simulation.until(slow, "computing")
    simulation.world.now += 0.7
    simulation.finish(simulation.invalidate(2, "job"))
    simulation.finish(slow)
    simulation.check_store("job")


def value_set_while_a_clear_begins_and_never_ends(simulation: Simulation) -> None:
    simulation.finish(simulation.set(0, "job"))
    simulation.world.now += 10
    writer = simulation.set(1, "job")
    simulation.clear(1, "job")
    simulation.finish(writer)
    simulation.check_store("job")


def collection_while_a_slow_computation_runs(simulation: Simulation) -> None:
    """The tombstone that is to bury its result must not be taken for garbage."""
    simulation.finish(simulation.set(2, "job"))
    slow = simulation.refresh(2, "job")
    simulation.until(slow, "computing")
    simulation.world.now += 10
    simulation.finish(simulation.invalidate(1, "job"))
    simulation.world.now += 3 * 86_400
    simulation.finish(simulation.collect(1, 0.0))
    simulation.finish(slow)
    simulation.check_store("job")


def collection_that_stands_still(simulation: Simulation) -> None:
    """What is written between its LIST and its DELETE stays."""
    simulation.finish(simulation.set(2, "job"))
    simulation.world.now += 1
    die_after_put(simulation, 1)
    collection = simulation.collect(0, 0.0)
    simulation.until(collection, "DELETE")
    simulation.world.now += 3600
    simulation.finish(simulation.set(2, "job"))
    simulation.finish(collection)
    simulation.check_store("job")


@pytest.mark.parametrize(
    "hazard",
    [
        collection_while_a_slow_computation_runs,
        collection_that_stands_still,
        tombstone_behind_a_full_page,
        value_set_by_a_process_with_wide_bounds,
        slow_writer_with_wide_bounds,
        value_set_while_a_clear_begins_and_never_ends,
    ],
)
def test_nothing_is_lost_or_kept_by(hazard: Callable[[Simulation], None], small_pages: None) -> None:
    hazard(Simulation(Memo, clocks=CLOCKS, page_size=PAGE))


def test_without_its_week_a_tombstone_is_collected_too_early() -> None:
    with patch.object(garbage, "WEEK", 0), pytest.raises(ResurrectedError):
        collection_while_a_slow_computation_runs(Simulation(Memo, clocks=CLOCKS))


HAZARDS: dict[Callable[[Simulation], None], type[Exception]] = {
    over_one_page_of_versions: StaleReadError,
    prefix_of_another_key: LostWriteError,
    writer_whose_clock_is_behind: StaleReadError,
    two_writes_in_one_millisecond: SharedWriteError,
    clean_up_between_list_and_get: NotFoundError,
    slow_writer_after_an_invalidation: ResurrectedError,
    refusal_read_as_empty: BlindWriteError,
    foreign_objects_under_the_prefix: ForeignObjectError,
    numbers_that_grow_a_digit: StaleReadError,
    crash_between_put_and_clean_up: StaleReadError,
}
by_name = pytest.mark.parametrize("hazard", HAZARDS, ids=lambda hazard: hazard.__name__)


@by_name
def test_the_memo_protocol_is_safe_from(hazard: Callable[[Simulation], None], small_pages: None) -> None:
    hazard(Simulation(Memo, clocks=CLOCKS, page_size=PAGE))


@by_name
def test_the_scheme_of_2020_is_broken_by(hazard: Callable[[Simulation], None]) -> None:
    with pytest.raises(HAZARDS[hazard]):
        hazard(Simulation(Scheme2020, clocks=CLOCKS, page_size=PAGE))


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memo, "PAGE_SIZE", PAGE)


class Interleavings(RuleBasedStateMachine):
    """Processes that write, read, invalidate, clear and die, one request at a time, on a page size of choice."""

    scheme: type[Any] = Memo
    page_size = 1000
    processes = st.integers(0, len(CLOCKS) - 1)
    keys = st.sampled_from(KEYS)

    def __init__(self) -> None:
        super().__init__()
        nonces = random.Random(0)
        self.patches = ExitStack()
        self.patches.enter_context(patch.object(memo, "PAGE_SIZE", self.page_size))
        self.patches.enter_context(patch.object(index, "PAGE_SIZE", self.page_size))
        self.patches.enter_context(patch.object(index, "RENT", 1))  # pages of names are read as often as can be
        self.patches.enter_context(patch.object(memo, "_nonce", lambda: nonces.randbytes(4).hex()))
        self.simulation = Simulation(self.scheme, clocks=CLOCKS, page_size=self.page_size)

    def teardown(self) -> None:
        for process in range(len(CLOCKS)):
            self.simulation.crash(process)
        self.patches.close()

    @rule(
        begin=st.sampled_from(["set", "fetch", "refresh", "read", "invalidate", "clear"]), process=processes, key=keys
    )
    def begin(self, begin: str, process: int, key: str) -> None:
        getattr(self.simulation, begin)(process, key)

    @precondition(lambda self: self.simulation.running())
    @rule(data=st.data(), steps=st.integers(1, 4))
    def go_on(self, data: st.DataObject, steps: int) -> None:
        actor = data.draw(st.sampled_from(self.simulation.running()))
        for _ in range(steps):
            if not actor.dead:
                self.simulation.step(actor)

    @precondition(lambda self: self.simulation.running())
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        self.simulation.finish(data.draw(st.sampled_from(self.simulation.running())))

    @rule(process=processes)
    def crash(self, process: int) -> None:
        self.simulation.crash(process)

    @rule(seconds=st.sampled_from([1e-6, 0.001, 0.7, 4.0, 3600.0]))
    def let_time_pass(self, seconds: float) -> None:
        self.simulation.world.now += seconds

    @rule(name=st.sampled_from(FOREIGN))
    def put_foreign(self, name: str) -> None:
        self.simulation.put_foreign(name)

    @rule(process=processes, key=keys)
    def read_through_memory(self, process: int, key: str) -> None:
        self.simulation.check_memory(process, key)

    @invariant()
    def the_newest_acknowledged_version_is_read(self) -> None:
        for key in KEYS:
            self.simulation.check_store(key)

    @invariant()
    def foreign_objects_are_untouched(self) -> None:
        self.simulation.check_foreign()


class InterleavingsOverWeeks(Interleavings):
    """As above, with collections of garbage, memories that are cleared, and pauses after which tombstones and results go."""

    @rule(process=Interleavings.processes, grace=st.sampled_from([0.0, 3600.0]))
    def collect(self, process: int, grace: float) -> None:
        self.simulation.collect(process, grace)

    @rule(process=Interleavings.processes)
    def clear_memory(self, process: int) -> None:
        scheme: Any = self.simulation.processes[process].scheme
        scheme.clear_memory()

    @rule()
    def let_a_week_pass(self) -> None:
        self.simulation.world.now += 8 * 86_400.0


class InterleavingsThatEnd(Interleavings):
    """As above, and when all have ended one write and one invalidation leave nothing behind."""

    def teardown(self) -> None:
        for actor in self.simulation.running():
            self.simulation.finish(actor)
        self.simulation.check_garbage("job", MEMO_PREFIX)
        super().teardown()


class InterleavingsOnSmallPages(Interleavings):
    page_size = PAGE


class InterleavingsOfOneFunction(Interleavings):
    """As above, on small pages that show several keys at once; a clear would void them all."""

    scheme = MemoOfOneFunction
    page_size = PAGE

    @rule(
        begin=st.sampled_from(["set", "fetch", "refresh", "read", "invalidate"]),
        process=Interleavings.processes,
        key=Interleavings.keys,
    )
    def begin(self, begin: str, process: int, key: str) -> None:
        getattr(self.simulation, begin)(process, key)


class InterleavingsOf2020(Interleavings):
    scheme = Scheme2020
    page_size = PAGE


TestInterleavings = InterleavingsThatEnd.TestCase
TestInterleavingsOverWeeks = InterleavingsOverWeeks.TestCase
TestInterleavingsOfOneFunction = InterleavingsOfOneFunction.TestCase
TestInterleavingsOnSmallPages = InterleavingsOnSmallPages.TestCase
for variant in (TestInterleavingsOverWeeks, TestInterleavingsOnSmallPages):
    variant.settings = settings(max_examples=settings.default.max_examples // 2)


def test_the_same_machine_finds_the_scheme_of_2020_broken() -> None:
    with pytest.raises((AssertionError, NotFoundError)):
        run_state_machine_as_test(
            InterleavingsOf2020,
            settings=settings(database=None, print_blob=False, max_examples=200, stateful_step_count=50),
        )
