"""Async functions on an ObjectStore: no threads, no lock held over a request, and a loop that nothing holds up."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from email.utils import formatdate
from enum import IntEnum
from pathlib import Path
from typing import Any

import obstore.store
import pytest

from s3memo import Cache, Event, MemoryStore, ObjectStore, ServiceState, bridge
from s3memo.errors import StoreUnavailableError
from s3memo.locks import process_lock
from s3memo.stores.objectstore import verbs
from s3memo.stores.parts import PART
from tests.servers.recording import Exchange
from tests.servers.scripted import ScriptedServer, answer, hang_up, page, refusal, script
from tests.servers.server import S3Server
from tests.troubled import raising

DATED = "Mon, 23 Nov 2026 06:30:00 GMT"
SOON = 60.0
"""Seconds within which all that can happen has happened."""


@pytest.fixture(autouse=True)
def _no_lock_is_held_while_a_loop_goes_on(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    held: list[bool] = []
    wait_for = bridge.wait_for

    def watch(awaitable: Any) -> Any:
        held.append(process_lock._is_owned())  # type: ignore[attr-defined]  # which no stub knows
        return wait_for(awaitable)

    monkeypatch.setattr(bridge, "wait_for", watch)
    monkeypatch.setattr(verbs, "wait_for", watch)
    yield
    assert not any(held)


@pytest.fixture
def store(rclone_s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    return on(rclone_s3, monkeypatch)


def on(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    server.set_environment(monkeypatch)
    return ObjectStore(f"s3+obstore://{server.make_bucket()}/root")


class Job:
    """A cached async function that counts its calls."""

    def __init__(self, store: ObjectStore, cache: Cache | None = None, **options: Any) -> None:
        self.cache = cache or Cache(store)
        self.count = 0
        self.begun, self.go = asyncio.Event(), asyncio.Event()

        @self.cache.cached(name="jobs.value", version=1, **options)
        async def value(number: int) -> list[int]:
            self.count += 1
            self.begun.set()
            if number < 0:
                await self.go.wait()
            return [number]

        self.function: Any = value


@asynccontextmanager
async def ticking(longest: float) -> AsyncIterator[None]:
    """Fail if the loop stands still for so many seconds."""
    gaps: list[float] = []

    async def tick() -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(0.01)
            now = time.monotonic()
            gaps.append(now - last)
            last = now

    ticker = asyncio.create_task(tick())
    yield
    await asyncio.sleep(0.02)
    ticker.cancel()
    assert max(gaps) < longest


async def test_a_local_tier_needs_no_threads_of_the_cache_either(store: ObjectStore, tmp_path: Path) -> None:
    first, second = (Job(store, Cache(store, memory=None, local=tmp_path / "copies")) for _ in range(2))
    async with ticking(SOON):
        assert await asyncio.gather(*map(first.function, range(20))) == [[number] for number in range(20)]
        assert await asyncio.gather(*map(second.function, range(20))) == [[number] for number in range(20)]
    info = second.function.cache_info()
    assert (info.local_hits, info.requests["GET"], second.count) == (20, 0, 0)
    assert second.cache._pool is None


async def test_many_calls_at_once_need_no_threads(store: ObjectStore) -> None:
    job = Job(store)
    await job.function(1000)  # obstore is set up, and the server asked for the time
    before = set(threading.enumerate())
    for _ in range(2):
        assert await asyncio.gather(*(job.function(n) for n in range(200))) == [[n] for n in range(200)]
        await job.function.cache_clear(memory_only=True)
    assert await job.function.preload(values=True) == 201
    assert [value async for value in job.function.map(range(210))] == [[n] for n in range(210)]
    assert job.count == 211
    assert set(threading.enumerate()) <= before
    assert job.cache._pool is None
    info = job.function.cache_info()
    assert info.requests["PUT"] == info.misses == 211
    assert info.errors == 0


async def test_every_name_of_a_function(store: ObjectStore) -> None:
    job = Job(store)
    await job.function.cache_set([2], 1)
    assert (await job.function.cache_get(1)).value == [2]
    assert await job.function.cache_refresh(1) == [1]
    await job.function.cache_invalidate(1)
    assert await job.function.cache_get(1) is None
    assert [version.dead for version in await job.function.cache_history(1)] == [True]
    assert await job.function(1) == [1]
    assert await job.function.cache_clear() == 1
    assert job.cache._pool is None


async def test_wide_listings_are_read_side_by_side() -> None:
    store = ObjectStore(obstore.store.MemoryStore(), "root")
    job = Job(store, Cache(store, memory=None))
    key = job.function.cache_key(1)
    version = "fe0000000000ff_20260101T000000.000000Z_inf_1_00000000.s3m"
    digests = [
        "".join("0123456789abcdefghijklmnopqrstuv"[n >> shift & 31] for shift in (10, 5, 0)) for n in range(9000)
    ]
    spread = [f"{digest[0]}{digest[1:]}{'0' * 29}" for digest in digests]
    await asyncio.gather(
        *(obstore.put_async(store._given, f"root/{key.folder}{digest}/{version}", b"x") for digest in spread)  # type: ignore[arg-type]
    )
    before = set(threading.enumerate())
    assert await job.function.preload() == 9000
    assert not [thread for thread in {*threading.enumerate()} - before if thread.name.startswith("s3memo-list")]


async def test_large_values_are_packed_and_unpacked_aside(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    from s3memo import codec  # noqa: PLC0415  the test looks at its functions

    places: list[tuple[str, bool]] = []

    def watched(name: str) -> Any:
        function = getattr(codec, name)

        def watch(value: Any, *args: Any) -> Any:
            places.append((name, threading.current_thread() is threading.main_thread()))
            return function(value, *args)

        return watch

    cache = Cache(store)

    @cache.cached(name="f", version=1)
    async def function(size: int) -> Any:
        return [list(range(size))]

    for name in ("encode", "decode"):
        monkeypatch.setattr(codec, name, watched(name))
    for size, is_here in ((1, True), (100_000, False)):
        places.clear()
        await function(size)
        assert await function(size) == [list(range(size))]
        await function.cache_clear(memory_only=True)
        assert await function(size) == [list(range(size))]
        assert places == [("encode", is_here), ("decode", is_here), ("decode", is_here)]


@pytest.mark.parametrize("size", [3_500_000, PART + 1000], ids=["small", "large, of a server without ranges"])
async def test_an_object_of_many_blocks(store: ObjectStore, size: int) -> None:
    data = os.urandom(size)
    await bridge.bridged(lambda: store.put("a", memoryview(data)))
    found = await bridge.bridged(lambda: store.get("a"))
    assert found == data
    assert isinstance(found, bytearray), "it is the caller's own"


async def test_a_request_that_is_cancelled_leaves_nothing(
    scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted.server.set_environment(monkeypatch)
    job = Job(ObjectStore("s3+obstore://bucket"))
    arrived, go = threading.Event(), threading.Event()

    def hold(exchange: Exchange) -> None:
        arrived.set()
        go.wait(SOON)
        exchange.hang_up()

    scripted.behave = hold
    task = asyncio.create_task(job.function.cache_get(1))
    await asyncio.to_thread(arrived.wait, SOON)
    task.cancel()
    begun = time.monotonic()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - begun < SOON / 2
    assert not job.cache.flights._running
    go.set()


async def test_pauses_between_attempts_are_the_loops(scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted.server.set_environment(monkeypatch)
    monkeypatch.setattr(time, "sleep", raising(AssertionError("it blocks")))
    store = ObjectStore("s3+obstore://bucket")
    scripted.behave = script(refusal(503, "SlowDown"), hang_up, answer(200, "x", {"Last-Modified": DATED}))
    assert await bridge.bridged(lambda: store.get("a")) == b"x"
    assert len(scripted.requests) == 3


async def test_a_body_that_trickles_is_cut(scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted.server.set_environment(monkeypatch)

    def trickle(exchange: Exchange) -> None:
        exchange.begin_answer(200, {"Content-Length": "1000", "Last-Modified": DATED})
        for _ in range(1000):
            exchange.write(b"x")
            time.sleep(0.1)

    scripted.behave = trickle
    store = ObjectStore("s3+obstore://bucket", connect_timeout=0.5, read_timeout=0.5, operation_timeout=1.0)
    with pytest.raises(StoreUnavailableError):
        await bridge.bridged(lambda: store.get("a"))


@pytest.fixture
def silent(scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    """A store whose server takes requests and never says anything."""
    over = threading.Event()
    scripted.server.set_environment(monkeypatch)
    scripted.behave = lambda _: over.wait(2 * SOON)  # type: ignore[assignment, return-value]
    yield ObjectStore("s3+obstore://bucket", connect_timeout=0.5, read_timeout=0.5, operation_timeout=2.0)
    over.set()


async def test_a_dead_server_costs_one_bounded_wait(silent: ObjectStore, scripted: ScriptedServer) -> None:
    job = Job(silent)
    async with asyncio.timeout(SOON):
        assert await asyncio.gather(*(job.function(n) for n in range(50))) == [[n] for n in range(50)]
    asked = scripted.counts()
    assert set(asked) == {"LIST"}
    assert await job.function(100) == [100]
    assert scripted.counts() == asked, "the breaker is open"
    with pytest.raises(StoreUnavailableError):
        await job.function.cache_invalidate(1)


async def test_a_server_that_takes_its_time_holds_up_no_loop(
    scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer comes after the loop has seen that it does not come."""
    scripted.server.set_environment(monkeypatch)
    asked, seen = threading.Event(), threading.Event()
    in_time: list[bool] = []

    def hold(exchange: Exchange) -> None:
        asked.set()
        in_time.append(seen.wait(SOON))
        exchange.answer(500)

    scripted.behave = hold
    job = Job(ObjectStore("s3+obstore://bucket", attempts=1, read_timeout=2 * SOON, operation_timeout=3 * SOON))
    call = asyncio.create_task(job.function(1))
    while not asked.is_set():  # noqa: ASYNC110  the server's thread sets it
        await asyncio.sleep(0.01)
    seen.set()
    assert await call == [1]
    assert in_time == [True]


async def test_callers_who_do_not_wait_so_long_let_the_breaker_learn_all_the_same(
    silent: ObjectStore, scripted: ScriptedServer
) -> None:
    job = Job(silent)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await job.function(1)
    assert job.count == 0
    async with asyncio.timeout(SOON):
        while not job.cache._memo.breaker._failures:  # noqa: ASYNC110  nothing tells
            await asyncio.sleep(0.01)
    asked = scripted.counts()
    assert await job.function(1) == [1]
    assert (job.count, scripted.counts()) == (1, asked)
    assert not job.cache.flights._running


@pytest.mark.usefixtures("silent")
def test_a_loop_that_ends_cancels_what_is_being_asked() -> None:
    job = Job(ObjectStore("s3+obstore://bucket", read_timeout=SOON, operation_timeout=2 * SOON))

    async def leave() -> None:
        task = asyncio.create_task(job.function(1))
        await asyncio.sleep(0.2)
        assert not task.done()

    begun = time.monotonic()
    asyncio.run(leave())
    assert time.monotonic() - begun < SOON / 2
    assert not job.cache.flights._running


async def test_a_hook_may_do_what_plain_code_may(store: ObjectStore, caplog: pytest.LogCaptureFixture) -> None:
    called: list[Any] = []

    def hook(event: Event) -> None:
        if event.function == "jobs.value" and event.kind in {"miss", "store"}:
            called.append((event.kind, plain(len(called)), bridge.is_crossed()))
            with closing(asyncio.sleep(0)) as coroutine:
                asyncio.run(coroutine)  # an error, as in any code that a loop runs

    cache = Cache(store, hooks=[hook])

    @cache.cached(name="plain", version=1)
    def plain(number: int) -> int:
        return number

    job = Job(store, cache)
    assert await asyncio.gather(*(job.function(n) for n in range(3))) == [[0], [1], [2]]
    assert len(called) == 6
    assert not any(crossed for _, _, crossed in called)
    assert plain.cache_info().misses == 6
    assert "cannot be called from a running event loop" in caplog.text
    assert plain(7) == 7, "a plain function within a loop blocks, as ever"


class Secretive(IntEnum):
    ONE = 1

    def __sizeof__(self) -> int:
        raise RuntimeError("nobody asks")


async def test_no_class_is_asked_how_large_its_instances_are(store: ObjectStore) -> None:
    @Cache(store, on_error="raise").cached(name="secretive", version=1, types=(Secretive,))
    async def secretive(parts: int) -> Any:
        return Secretive.ONE if parts == 1 else [Secretive.ONE] * parts

    assert await secretive(1) is Secretive.ONE
    assert await secretive(2) == [Secretive.ONE] * 2
    assert secretive.cache_info().requests["PUT"] == 2


async def test_a_predicate_is_the_users_too(store: ObjectStore) -> None:
    crossed: list[bool] = []
    job = Job(store, cache_if=lambda value: [crossed.append(bridge.is_crossed()), bool(value[0])][1])
    assert [await job.function(0), await job.function(0), await job.function(1), await job.function(1)]
    assert job.count == 3
    assert crossed == [False] * 3


@pytest.mark.parametrize("server", ["moto", "ceph_s3"])
async def test_a_state_loses_no_update(
    request: pytest.FixtureRequest, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = ServiceState("job", on(request.getfixturevalue(server), monkeypatch))
    threads: set[threading.Thread] = set()

    def add_one(value: int) -> int:
        threads.add(threading.current_thread())
        return value + 1

    await state.aio.set(0)
    await asyncio.gather(*(state.aio.update(add_one) for _ in range(5)))
    assert await state.aio.get() == 5
    assert await state.aio.version == 6
    assert threading.main_thread() not in threads


async def test_what_updates_a_state_may_wait_for_the_loop_and_holds_up_no_helper() -> None:
    cache = Cache(ObjectStore(obstore.store.MemoryStore(), "root"))
    loop = asyncio.get_running_loop()

    @cache.cached(name="large", version=1)
    async def large(number: int) -> list[int]:
        return list(range(number, 100_000))  # it is packed aside

    def measure(number: int) -> int:
        return len(asyncio.run_coroutine_threadsafe(large(number), loop).result(SOON))

    states = [ServiceState(f"job {number}", cache) for number in range(bridge._helpers()._max_workers)]
    await asyncio.gather(*(state.aio.set(number) for number, state in enumerate(states)))
    sizes = [100_000 - number for number in range(len(states))]
    assert await asyncio.gather(*(state.aio.update(measure) for state in states)) == sizes


@pytest.mark.parametrize("across", [True, False])
async def test_what_updates_a_state_may_raise_what_no_future_takes(across: bool) -> None:
    state = ServiceState("job", ObjectStore(obstore.store.MemoryStore(), "root") if across else MemoryStore())
    async with asyncio.timeout(SOON):
        with pytest.raises(RuntimeError, match="StopIteration"):
            await state.aio.update(lambda _: next(iter(())))


async def test_large_results_do_not_queue_before_a_store_that_fails(
    scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted.server.set_environment(monkeypatch)

    def behave(exchange: Exchange) -> None:
        if exchange.received.kind == "PUT":
            time.sleep(0.3)
            exchange.hang_up()
        else:
            page(headers={"Date": formatdate(usegmt=True)})(exchange)

    scripted.behave = behave
    cache = Cache(ObjectStore("s3+obstore://bucket", attempts=1))

    @cache.cached(name="large", version=1)
    async def large(_: int) -> bytes:
        return os.urandom(PART)

    await large.preload()  # a LIST that is answered would close the breaker again
    most = bridge._helpers()._max_workers
    await asyncio.gather(*map(large, range(5 * most)))
    assert 1 <= large.cache_info().requests["PUT"] <= most


async def test_large_downloads_do_not_queue_before_a_store_that_dies(
    scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted.server.set_environment(monkeypatch)
    size, dies = PART + 1000, [False]
    together = threading.Barrier(5 * bridge._helpers()._max_workers)

    def behave(exchange: Exchange) -> None:
        begin, _, _ = exchange.received.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
        if int(begin) and dies[0]:
            together.wait(SOON)
            exchange.hang_up()
            return
        headers = {"Last-Modified": DATED, "ETag": '"1"', "Content-Length": str(size - int(begin))}
        if int(begin):
            headers["Content-Range"] = f"bytes {begin}-{size - 1}/{size}"
        exchange.begin_answer(206 if int(begin) else 200, headers)
        exchange.write(b"x" * (size - int(begin)))

    scripted.behave = behave
    store = ObjectStore("s3+obstore://bucket", attempts=1, read_timeout=2 * SOON, operation_timeout=3 * SOON)
    before = set(threading.enumerate())
    assert await bridge.bridged(lambda: store.get("a")) == b"x" * size
    dies[0] = True
    gets = [bridge.bridged(lambda: store.get("a")) for _ in range(together.parties)]
    found = await asyncio.gather(*gets, return_exceptions=True)
    assert {type(error) for error in found} == {StoreUnavailableError}
    assert not together.broken, "they were asked for in turn"
    assert not any("part" in thread.name for thread in set(threading.enumerate()) - before)


async def test_what_nobody_waits_for_is_not_computed_when_the_lease_fails(
    scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted.server.set_environment(monkeypatch)
    job = Job(ObjectStore("s3+obstore://bucket"), fleet=True)
    arrived, go = threading.Event(), threading.Event()

    def behave(exchange: Exchange) -> None:
        if "v1/lease/" in exchange.received.query.get("prefix", ""):
            arrived.set()
            go.wait(SOON)
            refusal(403, "AccessDenied")(exchange)
        else:
            page(headers={"Date": formatdate(usegmt=True)})(exchange)

    scripted.behave = behave
    task = asyncio.create_task(job.function(1))
    await asyncio.to_thread(arrived.wait, SOON)
    (flight,) = (flight for flights in job.cache.flights._running.values() for flight in flights)
    work = flight.task
    task.cancel()
    go.set()
    await asyncio.wait([task, work])
    assert work.cancelled()
    assert job.count == 0


async def test_a_lease_is_renewed_by_a_task_and_given_back(moto: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    store, before = on(moto, monkeypatch), {*threading.enumerate()}
    one, other = Job(store, fleet=4), Job(store, fleet=4)
    first = asyncio.create_task(one.function(-1))
    await one.begun.wait()
    second = asyncio.create_task(other.function(-1))
    async with asyncio.timeout(SOON):
        while len(list(store.list("v1/lease/"))) < 3:  # noqa: ASYNC110  nothing tells
            await asyncio.sleep(0.1)
    assert not any("Lease" in thread.name for thread in {*threading.enumerate()} - before)
    one.go.set()
    other.go.set()
    assert await first == await second == [-1]
    assert (one.count, other.count) == (1, 0)


async def test_a_cancelled_computation_gives_its_lease_back(moto: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    store = on(moto, monkeypatch)
    one, other = Job(store, fleet=True), Job(store, fleet=True)
    first = asyncio.create_task(one.function(-1))
    await one.begun.wait()
    first.cancel()
    other.go.set()
    async with asyncio.timeout(SOON):  # a lease lasts a minute
        assert await other.function(-1) == [-1]
    assert other.count == 1


_FORK = """
    import asyncio, os, signal, warnings
    warnings.simplefilter("ignore", DeprecationWarning)
    from s3memo import Cache, ObjectStore
    cache = Cache(ObjectStore("s3+obstore://BUCKET/root"))

    @cache.cached(name="f", version=1)
    async def function(x: int) -> int:
        return os.getpid()

    assert asyncio.run(function(1)) == os.getpid()
    assert cache._pool is None
    child = os.fork()
    if not child:
        signal.alarm(20)
        status = 1
        try:
            assert asyncio.run(function(1)) == os.getppid()
            assert asyncio.run(function(2)) == os.getpid()
            assert cache._pool is not None
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert asyncio.run(function(2)) == child
"""


def test_a_forked_child_goes_on_in_threads(rclone_s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    rclone_s3.set_environment(monkeypatch)
    script = textwrap.dedent(_FORK).replace("BUCKET", rclone_s3.make_bucket())
    done = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True, timeout=60, env=os.environ
    )
    assert done.returncode == 0, done.stderr
