from __future__ import annotations

import asyncio
import dataclasses
import logging
from concurrent.futures import ThreadPoolExecutor

import pytest

from s3memo import Cache, MemoryStore
from s3memo.errors import StoreUnavailableError
from s3memo.events import PRICES, Event, Recorder, count_request


def test_events_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Event("hit", "f").kind = "miss"  # type: ignore[misc]


def test_numbers_are_exact_under_threads() -> None:
    recorder = Recorder("f")

    def work(_: int) -> None:
        recorder.emit("hit", tier="store", seconds=0.5, size=10)
        with recorder.counting_requests():
            count_request("GET")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(800)))
    info = recorder.info(maxsize=5, currsize=3)
    assert info[:4] == (800, 0, 5, 3)
    assert (info.store_hits, info.bytes_read, info.seconds_saved) == (800, 8000, 400.0)
    assert info.requests == {"GET": 800}


def test_requests_have_their_price(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder("f")
    with recorder.counting_requests():
        count_request("LIST")
        count_request("DELETE")
    assert recorder.info(maxsize=0, currsize=0).cost == pytest.approx(PRICES["LIST"])
    monkeypatch.setitem(PRICES, "LIST", 1.0)
    assert recorder.info(maxsize=0, currsize=0).cost == pytest.approx(1.0)


def test_requests_are_counted_for_whoever_asked() -> None:
    outer, inner = Recorder("outer"), Recorder("inner")
    with outer.counting_requests():
        count_request("LIST")
        with inner.counting_requests():
            count_request("GET")
        count_request("PUT")
    count_request("PUT")
    assert outer.info(maxsize=0, currsize=0).requests == {"LIST": 1, "PUT": 1}
    assert inner.info(maxsize=0, currsize=0).requests == {"GET": 1}


def test_trouble_is_an_event_each_time_and_a_warning_once_for_each_kind(caplog: pytest.LogCaptureFixture) -> None:
    events: list[Event] = []
    recorder = Recorder("f", (events.append,))
    with caplog.at_level(logging.DEBUG):
        for _ in range(3):
            recorder.trouble(StoreUnavailableError("gone"), "the store could not be read")
        recorder.trouble(StoreUnavailableError("gone"), "the store could not be written")
    assert len(events) == 4
    levels = [record.levelname for record in caplog.records]
    assert levels == ["WARNING", "DEBUG", "DEBUG", "WARNING"]


@pytest.mark.parametrize("error", [RuntimeError, asyncio.CancelledError])
async def test_what_a_hook_raises_never_reaches_the_call(
    error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    def hook(_: Event) -> None:
        raise error

    @Cache(MemoryStore(), hooks=[hook]).cached(name="twice", version=1)
    async def twice(x: int) -> int:
        await asyncio.sleep(0)
        return 2 * x

    assert [await twice(1), await twice(1), await twice(2)] == [2, 2, 4]
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_what_ends_a_program_passes_a_hook() -> None:
    def hook(_: Event) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Recorder("f", (hook,)).emit("miss")


def test_requests_are_told_to_hooks_that_ask_and_their_failure_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    told = []

    class Counting:
        def __call__(self, event: Event) -> None:
            told.append(event.kind)

        def count_request(self, function: str, kind: str) -> None:
            told.append(f"{function} {kind}")
            raise RuntimeError

    events: list[Event] = []
    recorder = Recorder("f", (events.append, Counting()))
    with recorder.counting_requests():
        count_request("GET")
        count_request("PUT")
    recorder.emit("miss")
    assert told == ["f GET", "f PUT", "miss"]
    assert [event.kind for event in events] == ["miss"]
    assert recorder.info(maxsize=0, currsize=0).requests == {"GET": 1, "PUT": 1}
    assert len(caplog.records) == 1
