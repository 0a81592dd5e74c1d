"""A result is downloaded once per machine, whoever else wants it meanwhile, and whoever dies over it."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from s3memo import NotFoundError, TieredStore, bridge
from s3memo.stores import claims
from s3memo.stores.claims import Claims
from s3memo.stores.copies import _name_of
from s3memo.stores.s3 import S3Store
from tests.servers.proxy import CountingProxy
from tests.servers.recording import Exchange
from tests.servers.server import S3Server
from tests.stores import fetcher
from tests.stores.contract import start_together
from tests.stores.results import bytes_of, result
from tests.troubled import Clock, TroubledStore, raising

COUNT = 4
PROCESSES = 8
SOON = 60.0
"""Seconds within which all that can happen has happened, on a busy machine too."""


class Download:
    """A real server's answers to GETs, the first of which waits until it may go on."""

    def __init__(self, proxy: CountingProxy) -> None:
        self.has_begun, self.may_go_on = threading.Event(), threading.Event()
        self._relay = proxy.relay
        self._lock = threading.Lock()

    def __call__(self, exchange: Exchange) -> None:
        with self._lock:
            is_first = exchange.received.method == "GET" and not self.has_begun.is_set()
            if is_first:
                self.has_begun.set()
        if is_first:
            self.may_go_on.wait(SOON)
        self._relay(exchange)


@pytest.fixture
def proxy(moto: S3Server) -> Iterator[CountingProxy]:
    with CountingProxy(moto) as counting:
        yield counting


@pytest.fixture
def start(proxy: CountingProxy, tmp_path: Path) -> Iterator[Callable[..., list[subprocess.Popen[str]]]]:
    """Start so many processes that are ready to read COUNT results which a real server has."""
    bucket = proxy.server.make_bucket()
    store = S3Store(bucket, client_options=proxy.server.client_options)
    for number in range(COUNT):
        store.put(result(number), bytes_of(result(number), fetcher.SIZE))
    store.close()
    proxy.reset()
    job = {"bucket": bucket, "client_options": proxy.server.client_options, "local": str(tmp_path), "count": COUNT}
    with ExitStack() as stack:

        def start(processes: int, patience: float | None = None) -> list[subprocess.Popen[str]]:
            children = [stack.enter_context(fetcher.start(**job, patience=patience)) for _ in range(processes)]
            for child in children:
                stack.callback(child.kill)
                assert child.stdout
                assert child.stdout.readline() == "ready\n"
            return children

        yield start


def let_go(children: list[subprocess.Popen[str]]) -> None:
    for child in children:
        assert child.stdin
        child.stdin.write("\n")
        child.stdin.flush()


def assert_right(children: list[subprocess.Popen[str]]) -> None:
    for child in children:
        assert child.communicate(timeout=SOON)[0] == "right\n"


def downloads(proxy: CountingProxy) -> list[int]:
    """How often each object was asked for."""
    return sorted(Counter(received.path for received in proxy.requests if received.kind == "GET").values())


def incoming(local: Path) -> list[Path]:
    return [*next(local.rglob("incoming")).iterdir()]


def test_processes_that_start_together_download_each_object_once(
    proxy: CountingProxy, start: Callable[..., list[subprocess.Popen[str]]], tmp_path: Path
) -> None:
    children = start(PROCESSES)
    let_go(children)
    assert_right(children)
    assert downloads(proxy) == [1] * COUNT
    assert incoming(tmp_path) == []


def test_one_takes_over_from_a_process_that_is_killed(
    proxy: CountingProxy, start: Callable[..., list[subprocess.Popen[str]]], tmp_path: Path
) -> None:
    proxy.behave = download = Download(proxy)
    first, *others = start(PROCESSES)
    let_go([first])
    assert download.has_begun.wait(SOON)
    let_go(others)
    time.sleep(0.2)  # until they wait, most likely
    first.kill()
    assert_right(others)
    assert downloads(proxy) == [1] * (COUNT - 1) + [2]
    assert incoming(tmp_path) == []
    download.may_go_on.set()


def test_nobody_waits_long_for_a_process_that_is_stopped(
    proxy: CountingProxy, start: Callable[..., list[subprocess.Popen[str]]]
) -> None:
    assert sum(claims._PATIENCE) == pytest.approx(15, abs=0.1)
    proxy.behave = download = Download(proxy)
    first, *others = start(3, patience=0.5)
    let_go([first])
    assert download.has_begun.wait(SOON)
    first.send_signal(signal.SIGSTOP)
    let_go(others)
    assert_right(others)
    assert downloads(proxy)[:-1] == [1] * (COUNT - 1)
    download.may_go_on.set()
    first.send_signal(signal.SIGCONT)
    assert_right([first])


# In one process


@pytest.fixture
def remote(clock: Clock) -> TroubledStore:
    return TroubledStore(clock)


@pytest.fixture
def tiered(remote: TroubledStore, tmp_path: Path) -> TieredStore:
    return TieredStore(remote, tmp_path)


ONE = result(1)


def held_up(remote: TroubledStore, until: Callable[[], object]) -> list[str]:
    """Let each GET wait for something; return where the names asked for are noted."""
    asked: list[str] = []
    get = remote.get

    def wait(object_key: str) -> Any:
        asked.append(object_key)
        until()
        return get(object_key)

    remote.get = wait  # type: ignore[method-assign]
    return asked


def first_alone_then_together(others: int) -> Callable[[], object]:
    """Let the first wait until the others wait for it, and each of those until all of them have come."""
    turns, together = itertools.count(), threading.Barrier(others)
    return lambda: together.wait(SOON) if next(turns) else time.sleep(0.5)


def test_threads_that_start_together_download_it_once(remote: TroubledStore, tiered: TieredStore) -> None:
    remote.put(ONE, b"one")
    asked = held_up(remote, lambda: time.sleep(0.1))
    assert start_together([lambda: bytes(tiered.get(ONE))] * 8) == [b"one"] * 8
    assert asked == [ONE]


def test_those_who_wait_for_one_that_fails_do_not_fail_one_after_the_other(
    remote: TroubledStore, tiered: TieredStore
) -> None:
    asked = held_up(remote, first_alone_then_together(7))
    outcomes = start_together([lambda: tiered.get(ONE)] * 8)
    assert [type(outcome) for outcome in outcomes] == [NotFoundError] * 8
    assert len(asked) == 8


def test_what_is_not_kept_is_not_downloaded_by_one_after_the_other(remote: TroubledStore, tmp_path: Path) -> None:
    tiered = TieredStore(remote, tmp_path, max_bytes=1)
    remote.put(ONE, b"one")
    held_up(remote, first_alone_then_together(7))
    assert start_together([lambda: bytes(tiered.get(ONE))] * 8) == [b"one"] * 8


def test_what_differs_is_downloaded_side_by_side(remote: TroubledStore, tiered: TieredStore) -> None:
    together = threading.Barrier(8)
    for number in range(8):
        remote.put(result(number), b"x")
    held_up(remote, lambda: together.wait(SOON))
    assert (
        start_together([lambda number=number: bytes(tiered.get(result(number))) for number in range(8)]) == [b"x"] * 8
    )


async def reading(tiered: TieredStore, asked: list[str]) -> asyncio.Task[Any]:
    """Start a task that downloads ONE; return it when it has begun."""
    task = asyncio.create_task(bridge.bridged(lambda: tiered.get(ONE)))
    async with asyncio.timeout(SOON):
        while not asked:  # noqa: ASYNC110  nothing tells
            await asyncio.sleep(0.001)
    return task


async def test_a_loop_goes_on_while_its_tasks_wait(remote: TroubledStore, tiered: TieredStore, tmp_path: Path) -> None:
    remote.put(ONE, b"one")
    asked = held_up(remote, lambda: bridge.sleep(0.3))
    first = await reading(tiered, asked)
    others = [asyncio.create_task(bridge.bridged(lambda: tiered.get(ONE))) for _ in range(8)]
    await asyncio.sleep(0.1)
    others.pop().cancel()
    assert await asyncio.gather(first, *others) == [b"one"] * 8
    assert asked == [ONE]
    assert incoming(tmp_path) == []


async def test_a_cancelled_download_is_made_good(remote: TroubledStore, tiered: TieredStore, tmp_path: Path) -> None:
    remote.put(ONE, b"one")
    asked = held_up(remote, lambda: bridge.sleep(0.3))
    first = await reading(tiered, asked)
    second = asyncio.create_task(bridge.bridged(lambda: tiered.get(ONE)))
    await asyncio.sleep(0.1)
    first.cancel()
    assert await second == b"one"
    assert asked == [ONE, ONE]
    assert incoming(tmp_path) == []


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_that_is_forked_meanwhile_holds_nothing_up(
    remote: TroubledStore, tiered: TieredStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote.put(ONE, b"one")
    children: list[int] = []

    def fork() -> None:
        child = os.fork()
        if not child:
            assert tiered._copies
            os._exit(len(tiered._copies._claims._open) or signal.pause() or 1)
        children.append(child)

    held_up(remote, fork)
    try:
        assert tiered.get(ONE) == b"one"
        tiered.drop_copy(ONE)
        monkeypatch.setattr(bridge, "sleep", raising(AssertionError("somebody is waited for")))
        assert tiered.get(ONE) == b"one"
        assert incoming(tmp_path) == []
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            assert os.waitpid(child, 0)[1] == signal.SIGKILL


def test_what_a_killed_process_left_is_taken_over_or_swept(
    remote: TroubledStore, tiered: TieredStore, tmp_path: Path
) -> None:
    remote.put(ONE, b"one")
    tiered.put(result(3), b"three")
    (folder,) = tmp_path.rglob("incoming")
    for number in (1, 2):
        (folder / _name_of(result(number))).touch()
    assert tiered.get(ONE) == b"one"
    assert [path.name for path in incoming(tmp_path)] == [_name_of(result(2))]
    TieredStore(remote, tmp_path, clock=lambda: time.time() + 11).get(ONE)
    assert incoming(tmp_path) == []


def test_a_process_holds_no_more_claims_than_files_it_can_spare(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "_MOST", 2)
    mine = Claims(str(tmp_path))
    with mine.claimed("a"), mine.claimed("b"), mine.claimed("c"):
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
    with mine.claimed("c"):
        assert [path.name for path in tmp_path.iterdir()] == ["c"]
    assert not mine._open


def test_what_ails_the_directory_is_in_nobodys_way(tmp_path: Path) -> None:
    with Claims(str(tmp_path / "gone")).claimed("a"):
        pass
    with pytest.raises(OSError, match="mine"), Claims(str(tmp_path)).claimed("a"):
        raise OSError("mine")
