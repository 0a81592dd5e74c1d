"""One computation across machines, and a computation whatever becomes of the lease."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from s3memo import Lease
from s3memo.errors import LeaseTimeout, NotFoundError, SettingsError, StoreUnavailableError
from s3memo.fleet import compute_once
from tests.test_lease import TTL, die
from tests.test_state import Clock, TroubledStore, raising


class Fleet:
    """Calls of one function from several machines."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.store = TroubledStore(self.clock)
        self.stored: str | None = None
        self.computed: list[str] = []
        self.troubles: list[Exception] = []
        self.while_waiting: Callable[[], Any] = lambda: None

    def lease(self, key: str = "job") -> Lease:
        lease = Lease(key, self.store, ttl=TTL)
        lease._clock = self.clock
        return lease

    def call(self, value: str = "computed", key: str = "job", compute: Callable[[], Any] = lambda: None) -> str:
        def store() -> str:
            compute()
            self.computed.append(value)
            self.stored = value
            return value

        def sleep(seconds: float) -> None:
            self.clock.now += seconds
            self.while_waiting()

        return compute_once(
            self.lease(key), lambda: self.stored, store, self.troubles.append, clock=self.clock, sleep=sleep
        )


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


def test_who_gets_the_lease_computes_and_gives_it_back(fleet: Fleet) -> None:
    assert fleet.call() == "computed"
    assert fleet.lease().acquire(blocking=False)
    assert not fleet.troubles


def test_what_was_stored_meanwhile_is_not_computed(fleet: Fleet) -> None:
    fleet.stored = "theirs"
    assert fleet.call() == "theirs"
    assert not fleet.computed
    assert fleet.lease().acquire(blocking=False)


def test_who_waits_gets_what_the_holder_stored(fleet: Fleet) -> None:
    holder = fleet.lease()
    holder.acquire()

    def store() -> None:
        fleet.stored = "theirs"

    fleet.while_waiting = store
    assert fleet.call() == "theirs"
    assert not fleet.computed
    assert not holder.lost


def test_who_waits_computes_when_the_holder_dies(fleet: Fleet) -> None:
    holder, began = fleet.lease(), fleet.clock.now
    holder.acquire()
    die(holder)
    assert fleet.call() == "computed"
    assert TTL < fleet.clock.now - began < TTL + 7


def test_who_waits_computes_when_the_holder_fails(fleet: Fleet) -> None:
    holder = fleet.lease()
    holder.acquire()
    fleet.while_waiting = lambda: holder.release() if not holder.lost else None
    assert fleet.call() == "computed"


def test_a_failed_computation_gives_the_lease_back(fleet: Fleet) -> None:
    with pytest.raises(ZeroDivisionError):
        fleet.call(compute=lambda: 1 / 0)
    assert fleet.lease().acquire(blocking=False)


@pytest.mark.parametrize("error", [StoreUnavailableError("503"), NotFoundError("404"), OSError("whatever")])
def test_trouble_with_the_lease_ends_in_a_computation(fleet: Fleet, error: Exception) -> None:
    fleet.store.before_put = raising(error)
    assert fleet.call() == "computed"
    assert len(fleet.troubles) == 1
    assert error in {fleet.troubles[0], fleet.troubles[0].__cause__}


def test_trouble_with_the_store_gives_the_lease_back_and_computes(fleet: Fleet) -> None:
    lease = fleet.lease()
    error = StoreUnavailableError("503")
    assert compute_once(lease, raising(error), lambda: "computed", fleet.troubles.append) == "computed"
    assert fleet.troubles == [error]
    assert fleet.lease().acquire(blocking=False)


def test_a_wrong_setting_is_no_trouble_of_the_store(fleet: Fleet) -> None:
    with pytest.raises(SettingsError):
        compute_once(fleet.lease(), raising(SettingsError("options")), lambda: "computed", fleet.troubles.append)


def test_computations_that_wait_for_each_other_end(fleet: Fleet) -> None:
    """A holds its lease and needs B, whose holder, elsewhere, needs A."""
    elsewhere, began = fleet.lease("b"), fleet.clock.now
    elsewhere.acquire()
    die(elsewhere)
    fleet.while_waiting = elsewhere.renew
    assert fleet.call("of a", key="a", compute=lambda: fleet.call("of b", key="b")) == "of a"
    assert fleet.computed == ["of b", "of a"]
    assert isinstance(fleet.troubles[0], LeaseTimeout)
    assert TTL < fleet.clock.now - began < TTL + 7


def test_many_threads_compute_once(fleet: Fleet) -> None:
    gate = threading.Barrier(4)
    fleet.while_waiting = lambda: None

    def call() -> None:
        gate.wait()
        fleet.call()

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert fleet.computed == ["computed"]
