"""`ServiceState`, on the stores that keep it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from s3memo import Cache, MemoryStore, ServiceState, Store, codec, envelope, register, settings, sharing
from s3memo.errors import (
    AlreadyExistsError,
    DecodeError,
    EncodeError,
    IntegrityError,
    NotFoundError,
    SettingsError,
    StateConflictError,
    StoreAccessError,
    StoreError,
    StoreUnavailableError,
)
from s3memo.events import Recorder
from s3memo.register import Register, writer
from s3memo.sequences import RETENTION, SWEEP_EVERY, StateVersion, sequence_name, state_prefix
from s3memo.signing import NO_KEYS
from tests.troubled import Clock, TroubledStore, once, raising


@pytest.fixture
def state(store: TroubledStore, clock: Clock) -> ServiceState:
    return make(store, clock)


def make(store: Store, clock: Clock, **options: Any) -> ServiceState:
    """Return a state whose pauses take no time."""
    state = ServiceState("job", store, **options)
    state._clock, state._sleep = clock, lambda _: None
    return state


def keys(store: Store) -> list[str]:
    return [info.key for info in store.list("")]


def object_key(number: int) -> str:
    return state_prefix("job") + sequence_name(number)


def test_a_value_comes_back_as_it_was(state: ServiceState) -> None:
    value = {"cursor": 17, "seen": ("a", {1, 2}), "at": datetime(2026, 11, 23, tzinfo=UTC)}
    assert state.set(value) == 1
    assert state.get() == value
    assert state.get() is not state.get()


def test_what_never_was_set_is_the_default(state: ServiceState) -> None:
    assert state.get() is None
    assert state.get(7) == 7
    assert state.version == 0
    assert state.history() == []


def test_none_is_a_value(state: ServiceState) -> None:
    state.set(None)
    assert state.get(7) is None


def test_an_update_gets_the_value_and_returns_the_new_one(state: ServiceState) -> None:
    assert state.update(lambda value: value + 1, default=41) == 42
    assert state.update(lambda value: value + 1, default=41) == 43
    assert state.get() == 43


def test_another_process_sees_it_at_once(state: ServiceState, store: TroubledStore, clock: Clock) -> None:
    state.set(1)
    assert make(store, clock).get() == 1


def test_states_and_functions_of_similar_names_are_apart(store: TroubledStore) -> None:
    for name in ("job", "job2", "job/2", "JOB"):
        ServiceState(name, store).set(name)
    assert [ServiceState(name, store).get() for name in ("job", "job2", "job/2", "JOB")] == [
        "job",
        "job2",
        "job/2",
        "JOB",
    ]


def test_it_takes_a_url_a_path_or_a_cache(tmp_path: Path) -> None:
    ServiceState("job", tmp_path).set(5)
    assert ServiceState("job", f"file://{tmp_path}").get() == 5
    assert ServiceState("job", Cache(str(tmp_path))).get() == 5


def test_the_default_store_is_the_one_that_the_settings_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "_process", settings._Process())
    monkeypatch.setattr(sharing, "_by_location", {})
    state = ServiceState("job")
    monkeypatch.setenv("S3MEMO_URL", str(tmp_path))
    state.set(5)
    assert ServiceState("job", tmp_path).get() == 5


# Versions.


def test_history_lists_versions_newest_first(state: ServiceState, clock: Clock) -> None:
    state.set("a")
    clock.now += 60
    state.clear()
    first, second = state.history()[::-1]
    assert (first.number, first.cleared, first.written_at) == (1, False, datetime.fromtimestamp(clock.now - 60, UTC))
    assert second == StateVersion(2, 0, clock.now)
    assert second.cleared


def test_a_clear_leaves_no_value_and_no_number_returns(state: ServiceState) -> None:
    state.set("a")
    assert state.clear() == 2
    assert state.get("none") == "none"
    assert state.version == 2
    assert state.update(lambda value: [value], default="new") == ["new"]
    assert state.version == 3


def test_a_moment_has_the_value_of_that_moment(state: ServiceState, clock: Clock) -> None:
    began = datetime.fromtimestamp(clock.now, UTC)
    for value in ("a", "b"):
        state.set(value)
        clock.now += 60
    state.clear()
    assert state.at(began) == "a"
    assert state.at(began + timedelta(seconds=59)) == "a"
    assert state.at(began + timedelta(seconds=60)) == "b"
    with pytest.raises(NotFoundError, match="there was none"):
        state.at(began + timedelta(seconds=120))
    with pytest.raises(NotFoundError, match="there was none"):
        state.at(began - timedelta(seconds=1))


def test_a_moment_before_the_oldest_that_is_kept_is_an_error(store: TroubledStore, clock: Clock) -> None:
    state = make(store, clock, keep=1)
    for _ in range(4):
        state.set("x")
        clock.now += RETENTION
    with pytest.raises(NotFoundError, match="versions before 3 are gone"):
        state.at(datetime.fromtimestamp(clock.now - 4 * RETENTION, UTC))


def test_a_moment_behind_versions_that_are_gone_is_an_error(
    state: ServiceState, store: TroubledStore, clock: Clock
) -> None:
    began = datetime.fromtimestamp(clock.now, UTC)
    for value in "abcd":
        state.set(value)
        clock.now += 60
    store.delete([state_prefix(state.name) + sequence_name(2)])
    for seconds in (60, 0):
        with pytest.raises(NotFoundError, match="versions before 3 are gone"):
            state.at(began + timedelta(seconds=seconds))
    assert state.at(began + timedelta(seconds=120)) == "c"


def test_a_rollback_writes_an_old_value_anew(state: ServiceState) -> None:
    for value in ("a", "b", "c"):
        state.set(value)
    assert state.rollback(1) == 4
    assert state.get() == "a"
    assert [version.number for version in state.history()] == [4, 3, 2, 1]


def test_there_is_no_rollback_to_nothing(state: ServiceState) -> None:
    state.clear()
    with pytest.raises(NotFoundError, match=r"version 1 .* use clear\(\)"):
        state.rollback(1)
    with pytest.raises(NotFoundError):
        state.rollback(9)
    with pytest.raises(SettingsError, match="rollback"):
        state.rollback(0)


def test_superseded_versions_stay_an_hour_and_the_newest_few_longer(store: TroubledStore, clock: Clock) -> None:
    state = make(store, clock, keep=2)
    for _ in range(3):
        state.set("x")
    assert len(state.history()) == 3
    clock.now += RETENTION
    state.set("y")
    assert [version.number for version in state.history()] == [4, 3]
    clock.now += RETENTION
    state.get()
    assert [version.number for version in state.history()] == [4, 3]


def test_each_five_hundredth_number_sweeps_behind_the_first_page(
    store: TroubledStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(register, "PAGE_SIZE", 3)
    state = make(store, clock, keep=1)
    for number in range(SWEEP_EVERY - 10, SWEEP_EVERY - 1):
        store.put(object_key(number), b"")
    clock.now += 2 * RETENTION
    assert state.set("x") == SWEEP_EVERY - 1
    assert len(state.history()) == 8  # of the first page's three versions two were due
    assert state.set("y") == SWEEP_EVERY
    assert [version.number for version in state.history()] == [SWEEP_EVERY, SWEEP_EVERY - 1, SWEEP_EVERY - 2]


# Conflicts.


def test_an_expected_version_must_be_the_newest(state: ServiceState) -> None:
    assert state.set("a", expected_version=0) == 1
    assert state.set("b", expected_version=1) == 2
    with pytest.raises(StateConflictError, match="is at version 2 and not at 1") as caught:
        state.set("c", expected_version=1)
    assert (caught.value.attempts, caught.value.rivals) == (0, ())
    assert state.get() == "b"


def test_an_expected_version_that_is_overtaken_names_who_was_first(
    state: ServiceState, store: TroubledStore, clock: Clock
) -> None:
    store.before_put = once(lambda: make(store, clock).set("theirs"))
    with pytest.raises(StateConflictError, match="first") as caught:
        state.set("ours", expected_version=0)
    assert caught.value.rivals == (writer(),)
    assert state.get() == "theirs"


def test_an_update_that_is_overtaken_is_made_anew_on_what_is_there(
    state: ServiceState, store: TroubledStore, clock: Clock
) -> None:
    store.before_put = once(lambda: make(store, clock).set(10))
    assert state.update(lambda value: value + 1, default=0) == 11


def test_a_default_that_the_function_changes_is_fresh_each_time(
    state: ServiceState, store: TroubledStore, clock: Clock
) -> None:
    def grow(value: list[int]) -> list[int]:
        value.append(1)
        return value

    default: list[int] = []
    store.before_put = once(lambda: make(store, clock).clear())
    assert state.update(grow, default=default) == [1]
    assert default == []


def test_a_writer_that_is_always_overtaken_says_how_often_and_by_whom(
    state: ServiceState, store: TroubledStore, clock: Clock
) -> None:
    def overtake(key: str) -> None:
        rival = make(store, clock)._register()
        MemoryStore.put(store, key, rival._seal(key, b"their put-id", b""))

    store.before_put = overtake
    with pytest.raises(StateConflictError, match=rf"each of 25 times .*: {writer()}; let fewer") as caught:
        state.set("never")
    assert caught.value.attempts == len(caught.value.rivals) == 25


def test_a_writer_pauses_longer_after_each_conflict(store: TroubledStore, clock: Clock) -> None:
    pauses: list[float] = []
    writing = Register(store, "p/", 1, Recorder("p"), sleep=pauses.append, jitter=lambda: 1.0)
    for tried in range(1, 9):
        writing.pause(tried)
    assert pauses == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]


# Trouble.


def test_every_error_of_a_read_is_raised(state: ServiceState, store: TroubledStore) -> None:
    state.set("a")
    store.before_get = raising(StoreAccessError("403"))
    for read in (state.get, lambda: state.update(str), lambda: state.at(datetime.now(UTC)), lambda: state.rollback(1)):
        with pytest.raises(StoreAccessError):
            read()


def test_a_listing_that_fails_is_no_absence(state: ServiceState, store: TroubledStore) -> None:
    store.list = raising(StoreUnavailableError("503"))  # type: ignore[method-assign]
    for call in (state.get, state.history, state.clear, lambda: state.version, lambda: state.set(1)):
        with pytest.raises(StoreUnavailableError):
            call()


@pytest.mark.parametrize("data", [b"not ours", b"s3memo"])
def test_a_version_that_cannot_be_read_is_an_error(state: ServiceState, store: TroubledStore, data: bytes) -> None:
    store.put(object_key(1), data)
    with pytest.raises(DecodeError):
        state.get(5)


def test_an_envelope_of_something_else_is_an_error(state: ServiceState, store: TroubledStore) -> None:
    name = object_key(1)
    sealed = envelope.seal(
        codec.encode([1, 2]), object_key=name, keys=NO_KEYS, created=0, ttl=None, elapsed=0, function="f"
    )
    store.put(name, sealed.data)
    with pytest.raises(DecodeError, match="version 1 of state 'job' in memory://"):
        state.get(5)


def test_a_value_that_cannot_be_stored_is_an_error(state: ServiceState) -> None:
    for write in (lambda: state.set(object()), lambda: state.update(lambda _: object())):
        with pytest.raises(EncodeError):
            write()
    assert state.version == 0


@dataclass
class Cursor:
    page: int
    at: Place


@dataclass
class Place:
    row: int


def test_classes_of_ones_own_come_back_if_they_are_listed(store: TroubledStore, clock: Clock) -> None:
    state = make(store, clock, types=(Cursor,))
    state.set(Cursor(1, Place(2)))
    assert state.get() == Cursor(1, Place(2))
    state.update(lambda cursor: replace(cursor, page=cursor.page + 1))
    assert state.at(datetime.fromtimestamp(clock.now, UTC)) == Cursor(2, Place(2))
    with pytest.raises(DecodeError, match=r"Place.* may be rebuilt here"):
        make(store, clock).get()
    with pytest.raises(EncodeError, match="types="):
        make(store, clock).set(Place(2))
    with pytest.raises(SettingsError, match="types="):
        make(store, clock, types=Cursor)


def test_arrays_come_back(state: ServiceState) -> None:
    state.set({"weights": np.arange(1000.0)})
    assert np.array_equal(state.get()["weights"], np.arange(1000.0))


def test_what_no_key_signed_is_an_error(store: TroubledStore, clock: Clock) -> None:
    signed = Cache(store, signing_keys=["k" * 32])
    state = ServiceState("job", signed)
    state.set(1)
    assert ServiceState("job", Cache(store, signing_keys=["n" * 32, "k" * 32])).get() == 1
    for forge in (
        lambda: make(store, clock).set(2),
        lambda: ServiceState("job", Cache(store, signing_keys=["f" * 32])).set(2),
        lambda: store.put(object_key(2), store.get(object_key(1))),
    ):
        forge()
        with pytest.raises(IntegrityError):
            state.get()
        with pytest.raises(IntegrityError):
            state.update(lambda value: value + 1)
        store.delete([object_key(2)])
    assert state.get() == 1


def test_what_the_function_raises_passes_through(state: ServiceState) -> None:
    with pytest.raises(NotFoundError, match="mine"):
        state.update(raising(NotFoundError("mine")))
    assert state.version == 0


def test_a_page_of_foreign_names_is_no_answer(
    state: ServiceState, store: TroubledStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    state.set(1)
    for name in ("0", "00", "000"):
        store.put(state_prefix("job") + name, b"not ours")
    monkeypatch.setattr(register, "PAGE_SIZE", 2)
    assert state.set(2) == 2
    assert state.get() == 2


def test_of_what_somebody_else_put_beside_a_state_no_more_is_read_than_comes_before_it(
    state: ServiceState, store: TroubledStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    state.set(1)
    for name in ("0", *(f"x{number}" for number in range(100))):
        store.put(state_prefix("job") + name, b"not ours")
    listed = 0
    list_all = store.list

    def count(*args: Any, **kwargs: Any) -> Any:
        nonlocal listed
        for info in list_all(*args, **kwargs):
            listed += 1
            yield info

    monkeypatch.setattr(store, "list", count)
    monkeypatch.setattr(register, "PAGE_SIZE", 2)
    assert state.get() == 1
    assert listed == 3


def test_a_late_write_that_cannot_be_confirmed_is_in_doubt(
    state: ServiceState, store: TroubledStore, clock: Clock
) -> None:
    def stall(_: str) -> None:
        clock.now += RETENTION
        store.list = raising(StoreUnavailableError("503"))  # type: ignore[method-assign]

    store.before_put = stall
    with pytest.raises(StoreUnavailableError) as caught:
        state.set(1)
    assert caught.value.maybe_applied


def test_a_version_collected_between_list_and_get_is_looked_for_again(
    state: ServiceState, store: TroubledStore
) -> None:
    state.set("a")
    state.set("b")
    store.before_get = once(lambda: store.delete([object_key(2)]))
    assert state.get() == "a"


def test_a_store_whose_listings_are_out_of_date_is_an_error(state: ServiceState, store: TroubledStore) -> None:
    state.set("a")
    store.before_get = raising(NotFoundError("gone"))
    with pytest.raises(StoreUnavailableError, match="out of date"):
        state.get()
    with pytest.raises(StoreUnavailableError, match="out of date"):
        state.update(lambda value: value)


def test_a_write_without_an_answer_is_sent_again(state: ServiceState, store: TroubledStore) -> None:
    store.before_put = once(raising(StoreUnavailableError("409")))
    assert state.set("a") == 1


def test_a_write_whose_answer_was_lost_finds_itself(state: ServiceState, store: TroubledStore) -> None:
    store.loses_answers = True
    assert state.update(lambda value: value + 1, default=0) == 1
    assert state.update(lambda value: value + 1, default=0) == 2
    assert state.clear() == 3
    assert [version.number for version in state.history()] == [3, 2, 1]


def test_a_store_that_never_answers_leaves_it_in_doubt(state: ServiceState, store: TroubledStore) -> None:
    store.before_put = raising(StoreUnavailableError("503"))
    with pytest.raises(StoreUnavailableError, match=r"version 1 of state 'job' .* may or may not") as caught:
        state.set("a")
    assert caught.value.maybe_applied


def test_a_refusal_may_follow_a_lost_answer(state: ServiceState, store: TroubledStore) -> None:
    store.before_put = raising(StoreAccessError("403"))
    with pytest.raises(StoreAccessError) as caught:
        state.set("a")
    assert caught.value.maybe_applied


@pytest.mark.parametrize("error", [NotFoundError("gone"), StoreAccessError("403")])
def test_a_rival_that_cannot_be_read_leaves_it_in_doubt(
    state: ServiceState, store: TroubledStore, error: StoreError
) -> None:
    store.before_put = raising(AlreadyExistsError("412"))
    store.before_get = raising(error)
    with pytest.raises(StoreError) as caught:
        state.set("a")
    assert caught.value.maybe_applied


def test_an_error_that_is_no_write_leaves_nothing_in_doubt(state: ServiceState, store: TroubledStore) -> None:
    store.list = raising(StoreUnavailableError("503"))  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailableError) as caught:
        state.set("a")
    assert not caught.value.maybe_applied


def test_a_clean_up_that_fails_is_reported_and_nothing_else(
    store: TroubledStore, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[Any] = []
    cache = Cache(store, hooks=[seen.append])
    state = make(cache, clock, keep=1)  # type: ignore[arg-type]
    store.before_delete = raising(StoreUnavailableError("503"))
    for _ in range(4):
        state.set("x")
        clock.now += RETENTION
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "state 'job': old versions could not be deleted" in caplog.text
    assert [event.kind for event in seen] == ["error", "error"]
    assert len(state.history()) == 4


def test_a_read_only_cache_keeps_its_state(store: TroubledStore) -> None:
    ServiceState("job", store).set(1)
    state = ServiceState("job", Cache(store, read_only=True))
    assert state.get() == 1
    for write in (lambda: state.set(2), lambda: state.update(str), state.clear, lambda: state.rollback(1)):
        with pytest.raises(SettingsError, match="read-only"):
            write()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("",), "give the state a name"),
        ((5,), "give the state a name"),
        (("job", "bucket"), "names no store"),
        (("job", 5), "names no store"),
    ],
)
def test_what_makes_no_sense_is_an_error_at_once(arguments: Any, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        ServiceState(*arguments)


def test_keep_is_one_or_more() -> None:
    for keep in (0, 1.5, True):
        with pytest.raises(SettingsError, match="keep="):
            ServiceState("job", keep=keep)  # type: ignore[arg-type]


def test_a_moment_needs_a_time_zone(state: ServiceState) -> None:
    with pytest.raises(SettingsError, match="time zone"):
        state.at(datetime(2026, 11, 23))  # noqa: DTZ001  that is what is refused


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda state: state.at("2024-01-01"), "at.*a datetime with a time zone"),
        (lambda state: state.set(2, expected_version="1"), "expected_version='1'"),
        (lambda state: state.set(2, expected_version=True), "expected_version=True"),
        (lambda state: state.update(3), r"update\(3\): give a function"),
    ],
)
def test_an_argument_that_makes_no_sense_is_an_error(
    state: ServiceState, use: Callable[[Any], Any], message: str
) -> None:
    state.set(1)
    with pytest.raises(SettingsError, match=message):
        use(state)
    assert state.version == 1


def test_a_number_beyond_all_versions_is_not_found(state: ServiceState) -> None:
    with pytest.raises(NotFoundError, match="has no version 1152921504606846976"):
        state.rollback(2**60)


def test_it_names_itself(state: ServiceState) -> None:
    assert repr(state) == "ServiceState('job')"


# Coroutines.


def test_all_can_be_awaited(state: ServiceState, clock: Clock) -> None:
    async def job() -> None:
        aio = state.aio
        assert await aio.get("none") == "none"
        assert await aio.set(1) == 1
        assert await aio.update(lambda value: value + 1) == 2
        assert await aio.version == 2
        assert await aio.at(datetime.fromtimestamp(clock.now, UTC)) == 2
        assert await aio.rollback(1) == 3
        assert await aio.clear() == 4
        assert [version.number for version in await aio.history()] == [4, 3, 2, 1]

    asyncio.run(job())


def test_updates_of_many_tasks_are_all_counted(tmp_path: Path) -> None:
    async def job() -> int:
        state = ServiceState("job", tmp_path).aio
        await asyncio.gather(*(state.update(lambda value: value + 1, default=0) for _ in range(16)))
        return await state.get()  # type: ignore[no-any-return]

    assert asyncio.run(job()) == 16
