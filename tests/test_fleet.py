"""`fleet=`: one computation across machines, and a computation whatever becomes of the lease."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from s3memo import Cache, Event, Lease, disabled, fleet
from s3memo.calls import COMPUTE, fetching
from s3memo.errors import NotFoundError, SettingsError, StoreUnavailableError
from s3memo.stores.base import Store
from tests.test_createonly import IgnoringStore
from tests.test_lease import TTL, die
from tests.troubled import Clock, TroubledStore, raising

SOON = 60.0
"""Seconds within which all that can happen has happened."""


class Machine:
    """A process that has the function and shares no memory with others."""

    def __init__(self, store: Store, fleet: Any = TTL, **options: Any) -> None:
        self.store = store
        self.events: list[Event] = []
        self.cache = Cache(store, hooks=[self.see], **options)
        self.count = 0
        self.compute: Callable[[str], Any] = lambda name: f"value of {name}"
        self.function: Any = self.cached(fleet)

    def see(self, event: Event) -> None:
        self.events.append(event)

    def cached(self, fleet: Any, **options: Any) -> Any:
        @self.cache.cached(name="jobs.value", version=1, fleet=fleet, **options)
        def value(name: str) -> Any:
            self.count += 1
            return self.compute(name)

        return value

    def lease(self, name: str = "a") -> Lease:
        return Lease(str(self.function.cache_key(name)), self.store, ttl=TTL)

    def seen(self, kind: str) -> list[str]:
        return [event.message for event in self.events if event.kind == kind]


@pytest.fixture
def machine(store: TroubledStore) -> Machine:
    return Machine(store)


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> Callable[[Callable[[], Any]], None]:
    """Let waiting take the clock's time only, and say what others do meanwhile."""
    others: list[Callable[[], Any]] = []

    def wait(pause: fleet.Pause) -> None:
        clock.now += pause.seconds
        for other in others:
            other()

    monkeypatch.setattr(fleet.Pause, "__call__", wait)
    return others.append


def is_free(lease: Lease) -> bool:
    is_ours = lease.acquire(blocking=False)
    if is_ours:
        lease.release()
    return is_ours


def test_who_gets_the_lease_computes_stores_and_gives_it_back(machine: Machine, store: TroubledStore) -> None:
    machine.compute = lambda _: is_free(machine.lease())
    assert machine.function("a") is False
    assert machine.seen("lease") == ["computes for all machines"]
    assert is_free(machine.lease())
    assert Machine(store).function("a") is False
    assert not machine.seen("error")


def test_what_is_remembered_needs_no_lease(machine: Machine, store: TroubledStore) -> None:
    machine.function("a")
    store.before_put = raising(StoreUnavailableError("503"))
    other = Machine(store)
    assert machine.function("a") == other.function("a") == "value of a"
    assert not other.seen("lease")


def test_what_was_stored_before_the_lease_was_taken_is_not_computed(machine: Machine, store: TroubledStore) -> None:
    def store_first(_: str) -> None:
        store.before_put = lambda _: None
        Machine(store, fleet=False).function("a")

    store.before_put = store_first
    assert machine.function("a") == "value of a"
    assert machine.count == 0
    assert [event.kind for event in machine.events] == ["miss", "lease", "hit"]
    assert is_free(machine.lease())


def test_who_waits_gets_what_the_holder_stored(machine: Machine, store: TroubledStore, meanwhile: Any) -> None:
    holder = machine.lease()
    holder.acquire()
    meanwhile(lambda: Machine(store, fleet=False).function("a"))
    assert machine.function("a") == "value of a"
    assert machine.count == 0
    assert machine.seen("lease") == [f"waits for {holder._tenure.holder}"]  # type: ignore[union-attr]
    assert not holder.lost


def test_who_waits_computes_when_the_holder_dies(machine: Machine, clock: Clock, meanwhile: Any) -> None:
    began = clock.now
    holder = machine.lease()
    holder.acquire()
    die(holder)
    meanwhile(lambda: None)
    assert machine.function("a") == "value of a"
    assert machine.count == 1
    assert TTL < clock.now - began < TTL + 7
    last = machine.events[[event.kind for event in machine.events].index("compute") - 1]
    assert (last.kind, last.message) == ("lease", "computes for all machines")
    assert TTL < last.seconds < TTL + 7


def test_who_waits_computes_when_the_holder_has_nothing(machine: Machine, meanwhile: Any) -> None:
    holder = machine.lease()
    holder.acquire()
    meanwhile(lambda: holder.release() if holder.held else None)
    assert machine.function("a") == "value of a"


def test_nobody_waits_for_a_second_holder_once_the_first_had_nothing(machine: Machine, meanwhile: Any) -> None:
    """Results that are not stored would else be computed on one machine after the other."""
    first, second = machine.lease(), machine.lease()
    first.acquire()

    def pass_on() -> None:
        if first.held:
            first.release()
            second.acquire()

    meanwhile(pass_on)
    assert machine.function("a") == "value of a"
    assert machine.seen("lease")[-1] == "computes without the lease"
    assert second.held
    assert not second.lost


def test_who_waits_for_a_second_holder_after_the_first_died(machine: Machine, clock: Clock, meanwhile: Any) -> None:
    """Its lease was not given back, so there may be a result."""
    first, second = machine.lease(), machine.lease()
    first.acquire()
    die(first)

    def go_on() -> None:
        if not second.held:
            second.acquire(blocking=False)
        elif clock.now - began > 2 * TTL:
            Machine(machine.store, fleet=False).function("a")

    began = clock.now
    meanwhile(go_on)
    machine.function("a")
    assert machine.count == 0


def test_a_failed_computation_gives_the_lease_back(machine: Machine) -> None:
    machine.compute = raising(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        machine.function("a")
    assert is_free(machine.lease())


@pytest.mark.parametrize("error", [StoreUnavailableError("503"), NotFoundError("404"), OSError("whatever")])
def test_trouble_with_the_lease_ends_in_a_computation(machine: Machine, store: TroubledStore, error: Exception) -> None:
    store.before_put = raising(error)
    assert machine.function("a") == "value of a"
    assert machine.seen("error")[0] == "the lease failed, so the result is computed whoever else does"
    assert machine.function.cache_info().errors == 2


def test_a_store_that_fails_while_a_lease_is_asked_for_is_then_left_alone(
    machine: Machine, store: TroubledStore
) -> None:
    machine.cache.get(machine.function.cache_key("b"), machine.function._subject.bind()[1])
    puts = []
    store.before_put = lambda key: puts.append(key) or raising(StoreUnavailableError("503"))()  # type: ignore[func-returns-value]
    machine.function("a")
    assert [key.split("/")[1] for key in puts] == ["lease"]
    assert [event.kind for event in machine.events].count("breaker") == 1


def test_trouble_while_waiting_ends_in_a_computation(machine: Machine, store: TroubledStore, meanwhile: Any) -> None:
    machine.lease().acquire()

    def fail() -> None:
        store.list = raising(StoreUnavailableError("503"))  # type: ignore[method-assign]

    meanwhile(fail)
    assert machine.function("a") == "value of a"
    assert machine.count == 1


@pytest.mark.parametrize("error", [StoreUnavailableError("503"), OSError("whatever")])
def test_a_lease_that_cannot_be_given_back_lapses(
    machine: Machine, store: TroubledStore, clock: Clock, error: Exception
) -> None:
    def compute(_: str) -> None:
        store.before_put = raising(error)

    machine.compute = compute
    machine.function("a")
    store.before_put = lambda _: None
    assert len(machine.seen("error")) == 2
    assert not is_free(machine.lease())
    clock.now += TTL + 1
    assert is_free(machine.lease())


def test_a_wrong_setting_is_no_trouble_of_the_store(machine: Machine, store: TroubledStore) -> None:
    store.before_put = raising(SettingsError("options"))
    with pytest.raises(SettingsError, match="options"):
        machine.function("a")


def test_with_on_error_raise_the_trouble_comes_out(store: TroubledStore) -> None:
    machine = Machine(store, on_error="raise")
    store.before_put = raising(StoreUnavailableError("503"))
    with pytest.raises(StoreUnavailableError):
        machine.function("a")


def test_a_store_that_ignores_create_only_is_tried_once_and_told_of(caplog: pytest.LogCaptureFixture) -> None:
    store = IgnoringStore()
    machine = Machine(store)
    puts = []
    for name in "abc":
        machine.function(name)
        puts.append(store.puts)
    assert machine.count == 3
    assert puts[2] - puts[1] == puts[1] - puts[0] == 1
    assert caplog.text.count("does not enforce create-only") == 1


def test_who_cannot_store_asks_for_no_lease(store: TroubledStore) -> None:
    machine = Machine(store, read_only=True)
    assert machine.function("a") == "value of a"
    with disabled():
        assert machine.function("a") == "value of a"
    store.list = raising(StoreUnavailableError("503"))  # type: ignore[method-assign]
    assert Machine(store).function("a") == "value of a"
    assert not machine.seen("lease")
    assert not store._objects


def test_computations_that_wait_for_each_other_end(machine: Machine, clock: Clock, meanwhile: Any) -> None:
    """A holds its lease and needs B, whose holder, elsewhere, needs A."""
    elsewhere, began = machine.lease("b"), clock.now
    elsewhere.acquire()
    die(elsewhere)
    meanwhile(elsewhere.renew)
    machine.compute = lambda name: machine.function("b") if name == "a" else name
    assert machine.function("a") == "b"
    assert TTL < clock.now - began < TTL + 7
    assert machine.seen("lease")[-1] == "computes without the lease"


@pytest.mark.parametrize("needs", ["a", "c"])
def test_computations_that_wait_for_each_other_in_other_threads_end(
    machine: Machine, clock: Clock, meanwhile: Any, needs: str
) -> None:
    """A holds its lease until a thread has B, whose holder, elsewhere, needs A; or until one of a C that needs B has."""
    elsewhere, began = machine.lease("b"), clock.now
    elsewhere.acquire()
    die(elsewhere)

    def go_on() -> None:
        assert clock.now - began < 3 * TTL
        elsewhere.renew()

    meanwhile(go_on)
    with ThreadPoolExecutor() as pool:
        needed = {"a": needs.replace("a", "b"), "c": "b"}
        machine.compute = lambda name: pool.submit(machine.function, needed[name]).result() if name in needed else name
        assert machine.function("a") == "b"
    assert TTL < clock.now - began < TTL + 7
    assert not machine.seen("error")


def test_a_function_within_one_that_has_no_lease_waits_as_long_as_it_takes(
    machine: Machine, clock: Clock, meanwhile: Any
) -> None:
    holder, began = machine.lease("b"), clock.now
    holder.acquire()
    die(holder)

    def go_on() -> None:
        holder.renew()
        if clock.now - began > 3 * TTL:
            Machine(machine.store, fleet=False).function("b")

    meanwhile(go_on)
    outer = machine.cache.cached(name="jobs.outer", version=1)(lambda: machine.function("b"))
    assert outer() == "value of b"
    assert machine.count == 0


def test_many_machines_compute_once(store: TroubledStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet.Pause, "__call__", lambda _: None)
    machines = [Machine(store, fleet="1h") for _ in range(8)]
    gate = threading.Barrier(8)

    def call(machine: Machine) -> None:
        gate.wait()
        machine.function("a")

    threads = [threading.Thread(target=call, args=(machine,)) for machine in machines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(machine.count for machine in machines) == 1


def test_the_heart_beats_for_as_long_as_the_computation_lasts(machine: Machine) -> None:
    def hearts() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if repr(machine.lease("heart")) in thread.name]

    machine.compute = lambda _: len(hearts())
    assert machine.function("heart") == 1
    assert not hearts()


# async functions


class AsyncMachine(Machine):
    """As above, with an async function, whose computation goes on when the test lets it."""

    def cached(self, fleet: Any, **options: Any) -> Any:
        self.begun, self.go, self.waits = asyncio.Event(), asyncio.Event(), asyncio.Event()

        @self.cache.cached(name="jobs.value", version=1, fleet=fleet, **options)
        async def value(name: str) -> Any:
            self.count += 1
            self.begun.set()
            async with asyncio.timeout(SOON):
                await self.go.wait()
            return self.compute(name)

        return value

    def see(self, event: Event) -> None:
        super().see(event)
        if event.message.startswith("waits for"):
            self.waits.set()


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "polling", lambda: itertools.repeat(0.001))


async def settled() -> None:
    """Wait for what cancelled tasks have left to do."""
    async with asyncio.timeout(SOON):
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others)


@pytest.mark.usefixtures("_impatient")
async def test_machines_with_loops_compute_once(store: TroubledStore) -> None:
    one, other = AsyncMachine(store), AsyncMachine(store)
    first = asyncio.create_task(one.function("a"))
    await one.begun.wait()
    second = asyncio.create_task(other.function("a"))
    await other.waits.wait()
    one.go.set()
    assert await first == await second == "value of a"
    assert (one.count, other.count) == (1, 0)


@pytest.mark.usefixtures("_impatient")
async def test_a_cancelled_computation_gives_the_lease_back(store: TroubledStore) -> None:
    machine = AsyncMachine(store)
    task = asyncio.create_task(machine.function("a"))
    await machine.begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await settled()
    assert is_free(machine.lease())


async def test_a_lease_that_arrives_after_its_task_was_cancelled_is_given_back(store: TroubledStore) -> None:
    machine = AsyncMachine(store)
    asked, go = threading.Event(), threading.Event()

    def hold_up(key: str) -> None:
        asked.set()
        assert go.wait(SOON)

    store.before_put = hold_up
    task = asyncio.create_task(machine.function("a"))
    await asyncio.to_thread(asked.wait, SOON)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go.set()
    await settled()
    assert machine.count == 0
    assert is_free(machine.lease())


def test_a_call_whose_loop_is_gone_gives_the_lease_back(machine: Machine) -> None:
    call = machine.function._subject.call(("a",), {})
    with machine.cache.flights.begin(call.key) as flight:
        work = fetching(call, flight)
        step = next(work)
        while step is not COMPUTE:
            step = work.send(step())
        assert not is_free(machine.lease())
        work.close()
    assert is_free(machine.lease())


@pytest.mark.parametrize(("given", "kept"), [(False, False), (True, 60.0), ("2m", 120.0), (5, 5.0), (1.5, 1.5)])
def test_the_option_is_a_time_or_says_whether(machine: Machine, given: Any, kept: Any) -> None:
    assert machine.cached(given).cache_parameters()["fleet"] == kept
    assert machine.function.with_options(fleet=given).cache_parameters()["fleet"] == kept


@pytest.mark.parametrize("given", [None, 0, 0.5, "2d", "often"])
def test_what_makes_no_sense_is_an_error(machine: Machine, given: Any) -> None:
    with pytest.raises(SettingsError, match="fleet="):
        machine.cached(given)
