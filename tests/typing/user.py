"""What a type checker makes of a user's program: mypy reads this file, strictly; nothing runs it.

An ignored error is one that must be found: mypy warns of an ignore that is not needed.
"""

# mypy: disable-error-code="empty-body"

from __future__ import annotations

from collections.abc import MutableMapping
from concurrent.futures import Executor
from datetime import timedelta
from pathlib import Path
from typing import Any, assert_type, overload

from s3memo import (
    Cache,
    CacheInfo,
    Collected,
    Entry,
    Event,
    Key,
    Lease,
    MemoryStore,
    S3Store,
    S3TTLCache,
    ServiceState,
    StateVersion,
    Store,
    Version,
    gc,
    s3_cached,
)
from s3memo.crew import Results

cache = Cache(MemoryStore(), hooks=[print])


@s3_cached
def bare(a: int, /, b: str = "x", *, c: float) -> list[int]: ...


@s3_cached(ttl="6h", ignore=("b",))
def with_options(a: int, b: bool = False) -> str: ...


@s3_cached("s3://bucket/prefix")
def on_url(a: int) -> str: ...


@s3_cached(Path("results"))
def on_path(a: int) -> str: ...


@s3_cached(S3Store("bucket"), keep=2)
def on_store(a: int) -> str: ...


@s3_cached(cache, fleet="5m")
def on_cache(a: int) -> str: ...


@cache.cached
def cache_bare(a: int) -> str: ...


@cache.cached(ttl=60, version=2, name="jobs.load")
def cache_with_options(a: int) -> str: ...


@s3_cached
async def asynchronous(a: int, *, b: str = "") -> list[int]: ...


@s3_cached(cache, ttl="1h", stale_while_revalidate="5m", cache_exceptions={KeyError: "1m"})
async def asynchronous_with_options(a: int) -> str: ...


@cache.cached(cache_if=bool)
async def asynchronous_on_cache(a: int) -> str: ...


class Loader:
    @s3_cached(ignore=("self",))
    def method(self, a: int) -> str: ...

    @s3_cached(ignore=("self",))
    async def async_method(self, a: int) -> str: ...

    @staticmethod
    @s3_cached
    def static(a: int) -> str: ...


assert_type(bare(1, c=2.0), list[int])
assert_type(bare(1, "b", c=2.0), list[int])
assert_type(with_options(1, b=True), str)
assert_type(on_url(1), str)
assert_type(on_path(1), str)
assert_type(on_store(1), str)
assert_type(on_cache(1), str)
assert_type(cache_bare(1), str)
assert_type(cache_with_options(1), str)
assert_type(Loader().method(1), str)
assert_type(Loader.static(1), str)

assert_type(on_url.cache_get(1), Entry[str] | None)
assert_type(on_url.cache_key(1), Key)
assert_type(on_url.cache_refresh(1), str)
assert_type(on_url.cache_history(1), list[Version])
assert_type(on_url.cache_info(), CacheInfo)
assert_type(on_url.cache_clear(all_tags=True), int)
assert_type(Loader().method.cache_get(1), Entry[str] | None)

assert_type(on_url.with_options(ttl=60)(1), str)
assert_type(on_url.__wrapped__(1), str)


async def use() -> None:
    assert_type(await asynchronous(1, b="x"), list[int])
    assert_type(await asynchronous_with_options(1), str)
    assert_type(await asynchronous_on_cache(1), str)
    assert_type(await asynchronous.cache_get(1), Entry[list[int]] | None)
    assert_type(await asynchronous.cache_refresh(1), list[int])
    assert_type(await asynchronous.cache_history(1), list[Version])
    assert_type(await asynchronous.cache_clear(), int)
    assert_type(asynchronous.cache_key(1), Key)
    assert_type(asynchronous.cache_info(), CacheInfo)
    assert_type(await Loader().async_method(1), str)
    assert_type(await Loader().async_method.cache_get(1), Entry[str] | None)
    await asynchronous.cache_set([1], 1)
    await asynchronous("x")  # type: ignore[arg-type]
    await asynchronous.cache_set("x", 1)  # type: ignore[arg-type]
    await Loader().async_method("x")  # type: ignore[arg-type]


bare("x", c=1.0)  # type: ignore[arg-type]
bare(1)  # type: ignore[call-arg]
on_url.cache_get("x")  # type: ignore[arg-type]
on_url.cache_set(5, 1)  # type: ignore[arg-type]
cache_with_options("x")  # type: ignore[arg-type]
Loader().method("x")  # type: ignore[arg-type]
Loader().method.cache_get("x")  # type: ignore[arg-type]
s3_cached(tll=5)  # type: ignore[call-overload]
s3_cached(code="bytes")  # type: ignore[call-overload]
cache.cached(tll=5)  # type: ignore[call-overload]


def hook(event: Event) -> None: ...


store: Store = MemoryStore()
store = S3Store("bucket")
with Cache(store, hooks=(hook,)) as opened:
    assert_type(opened, Cache)

state = ServiceState("job", store, keep=5, types=(Loader,))
assert_type(state.version, int)
assert_type(state.set(1, expected_version=0), int)
assert_type(state.history(), list[StateVersion])
assert_type(state.rollback(1), int)
assert_type(state.clear(), int)
state.update(lambda value: value + 1, default=0)
state.get(default=0)
state.set()  # type: ignore[call-arg]


async def use_state() -> None:
    assert_type(await state.aio.version, int)
    assert_type(await state.aio.set(1), int)
    assert_type(await state.aio.history(), list[StateVersion])
    await state.aio.update(lambda value: value + 1, default=0)


with Lease("job", cache, ttl="2m") as lease:
    assert_type(lease, Lease)
    assert_type(lease.lost, bool)
assert_type(lease.acquire(timeout=5), bool)

items: MutableMapping[str, int] = S3TTLCache(cache, name="items", ttl=timedelta(days=1), maxsize=10)
assert_type(gc("s3://bucket/prefix", grace="30d", tags=[("jobs.f", "1")]), Collected)


@overload
def overloaded(a: int) -> int: ...
@overload
def overloaded(a: str) -> str: ...
@s3_cached
def overloaded(a: int | str) -> int | str: ...


assert_type(overloaded(1), int)
assert_type(overloaded("x"), str)


def batches(pool: Executor) -> None:
    assert_type(next(on_url.map([1, 2])), str)
    assert_type([*on_url.starmap([(1,)], executor=pool, concurrency=4, ordered=False, progress=True)], list[str])
    assert_type(next(on_url.map([1], returns="entry")), Entry[str])
    assert_type(next(on_url.map([1], returns="entry")).value, str)
    assert_type(on_url.map([1], return_exceptions=True), Results[Any])
    assert_type(on_url.map([1]).progress.seconds_saved, float)
    assert_type(on_url.preload(values=True, trust_for="1h"), int)
    on_url.map([1], colour="red")  # type: ignore[call-overload]
    on_url.map([1], returns="everything")  # type: ignore[call-overload]


async def async_batches() -> None:
    async for result in fetched.map([1, 2]):
        assert_type(result, bytes)
    async for entry in fetched.starmap([(1,)], returns="entry"):
        assert_type(entry, Entry[bytes])
    assert_type(await fetched.preload(), int)


@s3_cached
async def fetched(a: int) -> bytes: ...
