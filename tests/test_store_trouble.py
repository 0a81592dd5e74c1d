"""A store in trouble, on real connections: what a call waits, what the server gets, what is told, and how it ends."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from s3memo import Cache, Event, MemoryStore, MemoryTier, S3Store, SettingsError, StoreUnavailableError, disabled
from s3memo.refreshes import refreshes
from s3memo.stores.retry import RetryPolicy
from s3memo.stores.s3.client import make_client
from tests.servers.proxy import CountingProxy
from tests.servers.recording import Behaviour, Exchange
from tests.servers.scripted import answer, hang_up
from tests.servers.server import S3Server
from tests.stores.conftest import no_pause
from tests.stores.contract import start_together

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ATTEMPTS = 3
TIMEOUTS = {"operation_timeout": 3.0, "connect_timeout": 1.0, "read_timeout": 1.5}
PATIENCE = 40.0
"""Seconds that a call may add on a machine that is very busy. Unbounded, it would be sixty."""


class Clock:
    """This machine's, which a test can put forward and stop."""

    def __init__(self) -> None:
        self._ahead = 0.0
        self._stopped: float | None = None

    def __call__(self) -> float:
        return self._ahead + (time.monotonic() if self._stopped is None else self._stopped)

    def stop(self) -> None:
        self._stopped = time.monotonic()

    def forward(self, seconds: float) -> None:
        self._ahead += seconds


@pytest.fixture(scope="module")
def _proxy(moto: S3Server) -> Iterator[CountingProxy]:
    with CountingProxy(moto) as counting:
        yield counting


@pytest.fixture(scope="module")
def client(_proxy: CountingProxy) -> S3Client:
    """The client that S3Store would make: that takes a tenth of a second."""
    return make_client(_proxy.server.client_options, RetryPolicy(ATTEMPTS, **TIMEOUTS))


@pytest.fixture
def proxy(_proxy: CountingProxy) -> CountingProxy:
    """What stands before a real server, and relays until a test lets it fail."""
    _proxy.behave = _proxy.relay
    return _proxy


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(proxy: CountingProxy, client: S3Client, moto: S3Server, clock: Clock) -> S3Store:
    """An empty store that has been asked once."""
    store = S3Store(moto.make_bucket(), client=client, attempts=ATTEMPTS, **TIMEOUTS, clock=clock, sleep=no_pause)
    store.time()
    proxy.reset()
    return store


@pytest.fixture
def silence() -> Iterator[Behaviour]:
    """Answer after a minute, which no test waits for."""
    over = threading.Event()

    def behave(exchange: Exchange) -> None:
        over.wait(60)
        exchange.hang_up()

    yield behave
    over.set()


BUSY = answer(503, "<Error><Code>SlowDown</Code></Error>", {"Date": ""})
"""The clock of the server stays as it is: a test may have put forward what is known of it."""


@pytest.fixture(params=["slow", "resetting", "busy"])
def fail(request: pytest.FixtureRequest, silence: Behaviour) -> Behaviour:
    """Each kind of trouble in turn."""
    return {"slow": silence, "resetting": Exchange.reset, "busy": BUSY}[str(request.param)]


@pytest.fixture
def dead(clock: Clock) -> Iterator[S3Store]:
    """A store on a port that is bound, so that nobody else gets it, and where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        server = S3Server("dead", f"http://127.0.0.1:{taken.getsockname()[1]}")
        yield S3Store("bucket", client_options=server.client_options, **TIMEOUTS, clock=clock)


class Watched:
    """A cached function, and what its hooks were told."""

    def __init__(self, store: S3Store, *, memory: MemoryTier | None = MemoryTier(), **options: Any) -> None:  # noqa: B008  as Cache
        self.events: list[Event] = []
        self.computed = 0
        cache_options = {name: options.pop(name) for name in ("read_only", "on_error") if name in options}
        cache = Cache(store, memory=memory, hooks=[self.events.append], **cache_options)
        self.function = cache.cached(name="jobs.double", version=1, **options)(self.double)

    def double(self, number: int) -> int:
        self.computed += 1
        return 2 * number

    def told(self, kind: str) -> list[Event]:
        return [event for event in self.events if event.kind == kind]


def seconds(action: Callable[..., object], *arguments: object) -> float:
    begun = time.perf_counter()
    action(*arguments)
    return time.perf_counter() - begun


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


# what it costs


def test_a_call_waits_once_as_long_as_the_settings_say_and_does_not_write(
    store: S3Store, proxy: CountingProxy, fail: Behaviour
) -> None:
    watched = Watched(store)
    proxy.behave = fail
    assert seconds(watched.function, 1) < PATIENCE
    sent = proxy.counts()
    assert set(sent) == {"LIST"}
    assert 1 <= sent["LIST"] <= ATTEMPTS
    assert watched.function.cache_info().requests == sent


def test_a_store_that_fails_when_it_is_written_to_is_waited_for_once(
    store: S3Store, proxy: CountingProxy, clock: Clock, fail: Behaviour
) -> None:
    watched = Watched(store)
    proxy.behave = lambda exchange: (proxy.relay if exchange.received.kind == "LIST" else fail)(exchange)
    assert seconds(watched.function, 1) < PATIENCE
    clock.stop()
    assert set(proxy.counts()) == {"LIST", "PUT"}
    proxy.reset()
    assert [watched.function(number) for number in (1, 2)] == [2, 4]
    assert watched.computed == 2, "memory has what the store did not get"
    assert proxy.requests == []


def test_a_store_that_fails_when_it_is_read_is_waited_for_once(
    store: S3Store, proxy: CountingProxy, fail: Behaviour
) -> None:
    Watched(store).function(1)
    watched = Watched(store)
    proxy.reset()
    proxy.behave = lambda exchange: (proxy.relay if exchange.received.kind == "LIST" else fail)(exchange)
    assert seconds(watched.function, 1) < PATIENCE
    assert set(proxy.counts()) == {"LIST", "GET"}


def test_a_store_that_is_left_alone_gets_no_connection(
    store: S3Store, proxy: CountingProxy, clock: Clock, fail: Behaviour
) -> None:
    watched = Watched(store)
    proxy.behave = fail
    watched.function(0)
    clock.stop()
    proxy.reset()
    connections = proxy.connections
    for number in range(1, 501):
        watched.function(number)
    assert watched.computed == 501
    watched.function.cache_refresh(0)
    watched.function.cache_get(0)
    assert (proxy.requests, proxy.connections) == ([], connections)


def test_an_endpoint_where_nobody_listens_is_tried_once_and_then_left_alone(dead: S3Store, clock: Clock) -> None:
    watched = Watched(dead)
    assert seconds(watched.function, 0) < PATIENCE
    clock.stop()
    sent = watched.function.cache_info().requests
    assert set(sent) == {"LIST"}
    assert 1 <= sent["LIST"] <= ATTEMPTS
    for number in range(1, 501):
        watched.function(number)
    assert watched.function.cache_info().requests == sent


def test_threads_that_meet_the_trouble_together_wait_together(
    store: S3Store, proxy: CountingProxy, clock: Clock, fail: Behaviour
) -> None:
    watched = Watched(store)
    clock.stop()
    proxy.behave = fail
    calls = [lambda number=number: watched.function(number) for number in range(8)]
    assert seconds(start_together, calls) < PATIENCE
    assert len(watched.told("breaker")) == 1
    clock.forward(1)
    proxy.reset()
    start_together(calls)
    assert set(proxy.counts()) == {"LIST"}
    assert proxy.counts()["LIST"] <= ATTEMPTS, "one of them asks"
    assert len(watched.told("breaker")) == 2


@pytest.mark.parametrize("outcome", [7, ZeroDivisionError()], ids=["returns", "raises"])
def test_a_store_that_others_found_to_fail_during_a_computation_is_not_asked_after_it(
    store: S3Store, proxy: CountingProxy, clock: Clock, silence: Behaviour, outcome: int | Exception
) -> None:
    """Neither to write the result, nor to read the old one that could be served instead of an exception."""
    Watched(store).function(1)
    clock.forward(61)
    cache = Cache(store)
    other = cache.cached(name="jobs.other", version=1)(abs)

    def compute(number: int) -> int:
        proxy.behave = silence
        other(2)
        clock.stop()
        proxy.reset()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    function = cache.cached(name="jobs.double", version=1, ttl=60, stale_if_error=60)(compute)
    if isinstance(outcome, Exception):
        with pytest.raises(ZeroDivisionError):
            function(1)
    else:
        assert function(1) == function(1) == outcome
    assert proxy.requests == []


def test_async_functions_wait_no_longer(store: S3Store, proxy: CountingProxy, clock: Clock, silence: Behaviour) -> None:
    @Cache(store).cached(name="jobs.double", version=1)
    async def function(number: int) -> int:
        return 2 * number

    async def call() -> None:
        async with asyncio.timeout(PATIENCE):
            assert await asyncio.gather(*map(function, range(4))) == [0, 2, 4, 6]
        clock.stop()
        proxy.reset()
        for number in range(4, 104):
            await function(number)

    proxy.behave = silence
    asyncio.run(call())
    assert proxy.requests == []


# what is told


def test_trouble_is_one_warning_and_an_event_each_time(
    store: S3Store, proxy: CountingProxy, clock: Clock, fail: Behaviour, caplog: pytest.LogCaptureFixture
) -> None:
    watched = Watched(store)
    clock.stop()
    proxy.behave = fail
    watched.function(0)
    for number in range(1, 4):
        watched.function(number)
    [warning] = warnings(caplog)
    assert "jobs.double: the store could not be read, which counts as a miss (StoreUnavailableError: cannot" in warning
    assert proxy.endpoint in warning
    first, *others = watched.told("error")
    assert isinstance(first.error, StoreUnavailableError)
    assert len(others) == 3
    for event in others:
        assert str(event.error) == f"the store is left alone for another 1.0 s, because it failed: {first.error}"
    assert watched.function.cache_info().errors == 4


def test_who_wants_errors_is_told_why_the_store_is_left_alone(
    store: S3Store, proxy: CountingProxy, clock: Clock
) -> None:
    function = Watched(store, on_error="raise").function
    clock.stop()
    proxy.behave = hang_up
    with pytest.raises(StoreUnavailableError, match=r"^cannot list") as first:
        function(0)
    with pytest.raises(StoreUnavailableError) as second:
        function(0)
    assert str(second.value) == f"the store is left alone for another 1.0 s, because it failed: {first.value}"


def test_the_breaker_tells_when_it_opens_and_when_it_closes(
    store: S3Store, proxy: CountingProxy, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    watched = Watched(store)
    clock.stop()
    proxy.behave = hang_up
    watched.function(0)
    clock.forward(1)
    watched.function(1)
    clock.forward(2)
    proxy.behave = proxy.relay
    watched.function(2)
    assert [(event.message, type(event.error)) for event in watched.told("breaker")] == [
        (f"{store.url} is left alone for 1 s", StoreUnavailableError),
        (f"{store.url} is left alone for 2 s", StoreUnavailableError),
        (f"{store.url} answers again", type(None)),
    ]
    assert f"s3memo: {store.url} answers again" in [record.getMessage() for record in caplog.records]


# how it ends


def test_results_are_stored_again_once_the_server_is_back(
    store: S3Store, proxy: CountingProxy, clock: Clock, fail: Behaviour
) -> None:
    watched = Watched(store)
    clock.stop()
    proxy.behave = fail
    watched.function(1)
    proxy.behave = proxy.relay
    clock.forward(0.999)
    proxy.reset()
    watched.function(1)
    assert proxy.requests == []
    clock.forward(0.002)
    watched.function(1)
    watched.function(1)
    assert proxy.counts() == {"LIST": 1, "PUT": 1}
    assert watched.computed == 3
    assert Watched(store).function.cache_get(1).value == 2


def test_what_is_asked_of_the_store_explicitly_is_asked_and_raises_and_tells_that_it_is_back(
    store: S3Store, proxy: CountingProxy, clock: Clock
) -> None:
    watched = Watched(store)
    function = watched.function
    function(1)
    clock.stop()
    proxy.behave = hang_up
    function(2)
    explicit = {
        (lambda: function.cache_set(5, 1)): "LIST",
        function.cache_clear: "LIST",
        (lambda: function.cache_history(1)): "LIST",
        (lambda: function.cache_invalidate(1)): "PUT",
    }
    for ask, kind in explicit.items():
        proxy.reset()
        with pytest.raises(StoreUnavailableError, match="cannot"):
            ask()
        assert set(proxy.counts()) == {kind}
    pauses = [event.message.rpartition(" for ")[2] for event in watched.told("breaker")]
    assert pauses == ["1 s", "2 s", "4 s", "8 s", "16 s"]
    for ask in explicit:
        proxy.behave = proxy.relay
        ask()
        assert watched.told("breaker")[-1].message.endswith("answers again")
        proxy.behave = hang_up
        function(3)


def test_an_interrupt_is_no_answer(
    store: S3Store, proxy: CountingProxy, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(store)
    clock.stop()
    proxy.behave = hang_up
    watched.function(0)
    clock.forward(1)

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(store, "list", interrupt)
        with pytest.raises(KeyboardInterrupt):
            watched.function(1)
    proxy.reset()
    watched.function(1)
    assert proxy.requests == []
    assert len(watched.told("breaker")) == 1
    clock.forward(1)
    watched.function(1)
    assert proxy.requests != [], "another one asks after the usual pause"


# what is served meanwhile


def test_an_expired_result_in_memory_is_served_while_the_store_is_down(
    store: S3Store, proxy: CountingProxy, clock: Clock, fail: Behaviour
) -> None:
    watched = Watched(store, ttl=60, stale_if_error=600)
    watched.function(1)
    clock.stop()
    clock.forward(61)
    proxy.behave = fail
    for _ in range(3):
        assert watched.function(1) == 2
    assert watched.computed == 1
    assert [event.tier for event in watched.told("stale")] == ["memory"] * 3
    clock.forward(600)
    assert watched.function(1) == 2
    assert watched.computed == 2, "it has expired for good"


def test_a_stale_result_is_served_and_trouble_behind_it_told_once(
    store: S3Store, proxy: CountingProxy, clock: Clock, fail: Behaviour, caplog: pytest.LogCaptureFixture
) -> None:
    watched = Watched(store, ttl=60, stale_while_revalidate=600)
    watched.function(1)
    clock.stop()
    clock.forward(61)
    proxy.behave = fail
    for _ in range(3):
        assert watched.function(1) == 2
        refreshes.wait(10)
    assert watched.computed == 1
    assert len(warnings(caplog)) == 1
    assert len(watched.told("error")) == 3


def test_a_refresh_behind_an_async_call_tells_of_the_stores_trouble_once(
    store: S3Store, proxy: CountingProxy, clock: Clock
) -> None:
    events: list[Event] = []

    @Cache(store, hooks=[events.append]).cached(name="jobs.double", version=1, ttl=60, stale_while_revalidate=600)
    async def function(number: int) -> int:
        return 2 * number

    async def call() -> None:
        await function(1)
        clock.stop()
        clock.forward(61)
        proxy.behave = BUSY
        assert await function(1) == 2
        await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()})

    asyncio.run(call())
    [error] = [event for event in events if event.kind == "error"]
    assert isinstance(error.error, StoreUnavailableError)


def test_a_refresh_that_is_given_up_because_its_arguments_were_changed_is_told_of_once(clock: Clock) -> None:
    events: list[Event] = []
    cache = Cache(MemoryStore(clock=clock), hooks=[events.append])
    options = {"ttl": 60, "stale_while_revalidate": 600}

    @cache.cached(**options)
    def grow(numbers: list[int]) -> int:
        numbers.append(0)
        return len(numbers)

    @cache.cached(**options)
    async def grow_later(numbers: list[int]) -> int:
        numbers.append(0)
        return len(numbers)

    async def call() -> int:
        length = await grow_later([1])
        await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()})
        return length

    assert [grow([1]), asyncio.run(call())] == [2, 2]
    clock.forward(61)
    assert [grow([1]), asyncio.run(call())] == [2, 2]
    refreshes.wait(10)
    told = [(event.message, str(event.error)) for event in events if event.kind == "error"]
    assert told == [("a stale result could not be refreshed", "the arguments were changed meanwhile")] * 2


# who does not ask at all


def test_a_read_only_cache_writes_nothing_and_refuses_to_before_it_asks(dead: S3Store) -> None:
    watched = Watched(dead, read_only=True)
    for ask in (
        lambda: watched.function.cache_set(5, 1),
        lambda: watched.function.cache_invalidate(1),
        watched.function.cache_clear,
    ):
        with pytest.raises(SettingsError, match="read-only"):
            ask()
    assert watched.function.cache_info().requests == {}
    assert watched.function(1) == watched.function.cache_refresh(1) == 2
    assert set(watched.function.cache_info().requests) == {"LIST"}


def test_nothing_is_asked_where_caches_are_disabled(store: S3Store, proxy: CountingProxy, fail: Behaviour) -> None:
    watched = Watched(store)
    proxy.behave = fail
    with disabled():
        assert [watched.function(1), watched.function.cache_refresh(1)] == [2, 2]
    assert proxy.requests == []
    assert watched.events == []


def test_nothing_is_asked_in_a_process_that_has_caches_disabled(dead: S3Store) -> None:
    program = """
import sys
from s3memo import s3_cached

@s3_cached("s3://bucket/results", version=1, name="double")
def double(number):
    return 2 * number

print(double(1), double.cache_refresh(1), double.cache_info().requests, "boto3" in sys.modules)
"""
    endpoint = {"AWS_ENDPOINT_URL": str(dead._client_options["endpoint_url"]), "S3MEMO_DISABLED": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | endpoint, capture_output=True, text=True, check=False
    )
    assert done.stdout == "2 2 Counter() False\n", done.stderr
