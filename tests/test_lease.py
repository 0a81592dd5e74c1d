"""`Lease`: one holder at a time, whoever dies."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from s3memo import Cache, Lease, LeaseTimeout, LocalStore, MemoryStore, ServiceState, gc
from s3memo.errors import DecodeError, NotFoundError, SettingsError, StoreUnavailableError
from s3memo.lease import polling
from s3memo.register import writer
from s3memo.sequences import lease_prefix, sequence_name
from s3memo.stores.base import Store
from tests.test_sending import beside_threads, check, fork_and
from tests.troubled import Clock, TroubledStore, once, raising

TTL = 30


@pytest.fixture
def make(store: TroubledStore, clock: Clock) -> Callable[..., Lease]:
    """Make one more holder; its pauses let time pass."""

    def make(place: Store | Cache = store, **options: Any) -> Lease:
        lease = Lease("job", place, **{"ttl": TTL, **options})
        lease._clock = clock

        def sleep(seconds: float) -> None:
            clock.now += seconds

        lease._sleep = sleep
        return lease

    return make


def test_one_holds_it_at_a_time(make: Callable[..., Lease]) -> None:
    one, other = make(), make()
    assert one.lost
    assert one.acquire()
    assert not one.lost
    assert not other.acquire(blocking=False)
    assert other.lost
    one.release()
    assert one.lost
    assert other.acquire(blocking=False)
    other.release()


def test_it_is_held_within_a_with_statement(make: Callable[..., Lease]) -> None:
    with make() as lease:
        assert not lease.lost
        assert not make().acquire(blocking=False)
    assert make().acquire(blocking=False)


def test_it_lapses_when_its_holder_dies(make: Callable[..., Lease], clock: Clock) -> None:
    dead = make()
    dead.acquire()
    die(dead)
    clock.now += TTL
    assert dead.lost
    assert not make().acquire(blocking=False)  # its date may have been rounded down
    clock.now += 1
    assert make().acquire(blocking=False)


def test_a_renewal_makes_it_last(make: Callable[..., Lease], clock: Clock) -> None:
    lease = make()
    lease.acquire()
    die(lease)
    for _ in range(5):
        clock.now += TTL / 2
        lease.renew()
        assert not lease.lost
        assert not make().acquire(blocking=False)
    clock.now += TTL
    assert lease.lost


def test_the_time_is_that_of_the_holder_and_not_of_who_waits(make: Callable[..., Lease], clock: Clock) -> None:
    lease = make(ttl="1h")
    lease.acquire()
    die(lease)
    clock.now += TTL + 1
    assert not make().acquire(blocking=False)


def test_a_holder_that_slept_too_long_learns_that_it_was_taken(make: Callable[..., Lease], clock: Clock) -> None:
    slept, other = make(), make()
    slept.acquire()
    die(slept)
    clock.now += TTL + 1
    assert other.acquire(blocking=False)
    slept.renew()
    assert slept.lost
    slept.renew()
    slept.release()
    assert not other.lost
    assert not make().acquire(blocking=False)


def test_a_holder_that_meets_a_tombstone_has_lost_it(make: Callable[..., Lease], store: TroubledStore) -> None:
    lease = make()
    lease.acquire()
    die(lease)
    store.put(lease_prefix("job") + sequence_name(2), b"")
    lease.renew()
    assert lease.lost


def test_a_thread_renews_it_three_times_in_its_life(store: TroubledStore, monkeypatch: pytest.MonkeyPatch) -> None:
    beats = threading.Semaphore(0)
    monkeypatch.setattr(Lease, "renew", lambda lease: beats.release())
    with Lease("job", store, ttl=1):
        assert all(beats.acquire(timeout=60) for _ in range(2))


def test_a_heart_that_meets_trouble_goes_on_until_it_is_lost(
    make: Callable[..., Lease], store: TroubledStore, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    lease = make()
    lease.acquire()
    die(lease)
    waits: list[float] = []

    class Stop:
        def wait(self, seconds: float) -> bool:
            waits.append(seconds)
            clock.now += seconds
            return False

    store.before_put = raising(StoreUnavailableError("503"))
    lease._beat(Stop())  # type: ignore[arg-type]
    assert waits == [10, 10, 10]
    assert "lease 'job': the lease could not be renewed" in caplog.text
    assert lease.lost


def test_a_heart_survives_whatever_a_store_raises(make: Callable[..., Lease], store: TroubledStore) -> None:
    seen: list[Any] = []
    lease = make(Cache(store, hooks=[seen.append]))
    lease.acquire()
    die(lease)
    stops = iter([False, False, True])

    class Stop:
        def wait(self, _: float) -> bool:
            return next(stops)

    store.before_put = raising(ConnectionError("reset"))
    lease._beat(Stop())  # type: ignore[arg-type]
    assert [event.kind for event in seen] == ["error", "error"]
    lease.release()
    assert "could not be released" in seen[-1].message
    assert not lease.held


def test_a_lease_that_was_over_when_the_store_answered_is_renewed_or_not_acquired(
    make: Callable[..., Lease], store: TroubledStore, clock: Clock
) -> None:
    def be_slow(*_: Any) -> None:
        clock.now += 5

    lease = make(ttl=3)
    store.before_put = once(be_slow)
    assert lease.acquire(blocking=False)
    assert not lease.lost
    lease.release()
    store.before_put = be_slow
    assert not lease.acquire(blocking=False)
    assert not lease.held


def test_a_renewal_whose_answer_was_lost_is_no_rival(
    make: Callable[..., Lease], store: TroubledStore, clock: Clock
) -> None:
    lease = make()
    lease.acquire()
    die(lease)
    store.loses_answers = True
    store.before_get = raising(StoreUnavailableError("503"))
    with pytest.raises(StoreUnavailableError):
        lease.renew()
    store.loses_answers, store.before_get = False, lambda _: None
    clock.now += TTL - 1
    lease.renew()
    clock.now += TTL - 1
    assert not lease.lost
    assert not make().acquire(blocking=False)


def test_a_release_after_a_renewal_whose_answer_was_lost_lets_others_have_it(
    make: Callable[..., Lease], store: TroubledStore
) -> None:
    lease = make()
    lease.acquire()
    die(lease)
    store.loses_answers = True
    store.before_get = raising(StoreUnavailableError("503"))
    with pytest.raises(StoreUnavailableError):
        lease.renew()
    store.loses_answers, store.before_get = False, lambda _: None
    lease.release()
    assert make().acquire(blocking=False)


def test_a_release_after_the_lease_was_lost_and_collected_takes_it_from_nobody(
    make: Callable[..., Lease], store: TroubledStore, clock: Clock
) -> None:
    slept, other = make(), make()
    slept.acquire()
    die(slept)
    clock.now += 3 * 86_400
    assert gc(store).objects == 1
    assert other.acquire(blocking=False)
    slept.release()
    assert not make().acquire(blocking=False)
    other.renew()
    assert not other.lost


def test_a_release_that_stood_still_until_the_lease_was_collected_is_in_doubt(
    make: Callable[..., Lease], store: TroubledStore, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    slept, other = make(), make()
    slept.acquire()
    die(slept)
    slept.renew()

    def stand_still() -> None:
        clock.now += 3 * 86_400
        gc(store)
        other.acquire()

    store.before_put = once(stand_still)
    slept.release()
    assert "version 3 of lease 'job' in memory://" in caplog.text
    assert "may or may not have been written" in caplog.text


@beside_threads
def test_a_forked_child_does_not_hold_what_its_parent_holds(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)

    def use_in_child() -> None:
        assert lease.lost
        lease.release()
        assert not lease.acquire(blocking=False)

    with Lease("job", store) as lease:
        check(fork_and(use_in_child))
        assert not lease.lost
        assert not Lease("job", store).acquire(blocking=False)


def test_waiting_polls_ever_less_often_until_it_is_free(make: Callable[..., Lease], clock: Clock) -> None:
    lease, began = make(), clock.now
    lease.acquire()
    die(lease)
    assert make().acquire()
    assert TTL < clock.now - began < TTL + 7
    pauses = [pause for pause, _ in zip(polling(), range(9), strict=False)]
    assert all(
        limit / 2 <= pause <= limit for pause, limit in zip(pauses, (0.2, 0.4, 0.8, 1.6, 3.2, 5, 5, 5, 5), strict=True)
    )


def test_waiting_ends_after_the_time_that_was_given(make: Callable[..., Lease], clock: Clock) -> None:
    make().acquire()
    began = clock.now
    with pytest.raises(LeaseTimeout, match=rf"Lease\('job', ttl=30\) in memory:// .* 5 seconds; {writer()}:\w+ has it"):
        make().acquire(timeout=5)
    assert clock.now - began == pytest.approx(5)
    with pytest.raises(TimeoutError):
        make().acquire(timeout=0)


def test_who_loses_the_race_for_a_free_lease_does_not_have_it(make: Callable[..., Lease], store: TroubledStore) -> None:
    winner = make()
    store.before_put = once(winner.acquire)
    assert not make().acquire(blocking=False)
    assert not winner.lost


def test_who_cannot_read_the_holder_any_more_waits(make: Callable[..., Lease], store: TroubledStore) -> None:
    make().acquire()
    store.before_get = raising(NotFoundError("collected"))
    assert not make().acquire(blocking=False)


def test_what_holds_it_twice_is_an_error(make: Callable[..., Lease]) -> None:
    lease = make()
    with lease, pytest.raises(RuntimeError, match="in use already"):
        lease.acquire()
    with pytest.raises(RuntimeError, match="is not held"):
        lease.release()
    assert lease.acquire()


def test_it_is_released_once(make: Callable[..., Lease], monkeypatch: pytest.MonkeyPatch) -> None:
    lease = make()
    lease.acquire()
    die(lease)

    def release_meanwhile() -> None:
        with pytest.raises(RuntimeError, match="is not held"):
            lease.release()

    monkeypatch.setattr(lease._heart, "join", once(release_meanwhile))
    lease.release()
    assert lease.acquire(blocking=False)


def test_a_lease_whose_heart_cannot_start_is_given_back(
    make: Callable[..., Lease], monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = make()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", raising(RuntimeError("can't start new thread")))
        with pytest.raises(RuntimeError, match="can't start new thread"):
            lease.acquire()
    assert not lease.held
    assert make().acquire(blocking=False)
    assert not lease.acquire(blocking=False)


def test_it_can_be_acquired_again_after_trouble(make: Callable[..., Lease], store: TroubledStore) -> None:
    lease = make()
    store.before_put = raising(StoreUnavailableError("503"))
    with pytest.raises(StoreUnavailableError):
        lease.acquire()
    store.before_put = lambda _: None
    assert lease.acquire()


def test_a_release_that_fails_is_reported_and_lapses(
    make: Callable[..., Lease], store: TroubledStore, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[Any] = []
    lease = make(Cache(store, hooks=[seen.append]))
    lease.acquire()
    store.before_put = raising(StoreUnavailableError("503"))
    lease.release()
    store.before_put = lambda _: None
    assert "could not be released" in caplog.text
    assert [event.kind for event in seen] == ["error"]
    assert not make().acquire(blocking=False)
    clock.now += TTL + 1
    assert make().acquire(blocking=False)


def test_a_lease_that_says_nothing_of_its_holder_is_an_error(make: Callable[..., Lease], store: TroubledStore) -> None:
    ServiceState("job", store).set("x")
    prefix = lease_prefix("job")
    store.put(prefix + sequence_name(1), store.get("v1/state/job/" + sequence_name(1)))
    with pytest.raises(DecodeError, match="does not say who holds it"):
        make().acquire(blocking=False)


def test_a_read_only_cache_lends_nothing(make: Callable[..., Lease], store: TroubledStore) -> None:
    with pytest.raises(SettingsError, match=r"Lease\('job', ttl=30\): this cache is read-only"):
        make(Cache(store, read_only=True)).acquire()
    assert not list(store.list(""))


def test_threads_take_turns(tmp_path: Path) -> None:
    store, inside, most = LocalStore(tmp_path), [0], [0]

    def work() -> None:
        lease = Lease("job", store)
        lease._sleep = lambda _: None
        with lease:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Lease(""), "give the lease a key"),
        (lambda: Lease("job", ttl=0.5), "between 1 second and a day"),
        (lambda: Lease("job", ttl="2d"), "between 1 second and a day"),
        (lambda: Lease("job", "bucket"), "names no store"),
        (lambda: Lease("job", MemoryStore()).acquire(blocking=False, timeout=1), "timeout=1 must be"),
        (lambda: Lease("job", MemoryStore()).acquire(timeout=-1), "timeout=-1 must be"),
        (lambda: Lease("job", MemoryStore()).acquire(timeout="3"), "timeout='3' must be"),  # type: ignore[arg-type]
    ],
)
def test_what_makes_no_sense_is_an_error(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        call()


def die(lease: Lease) -> None:
    """Let a holder's heart stop, as when its process dies."""
    lease._stop.set()
    assert lease._heart is not None
    lease._heart.join()
