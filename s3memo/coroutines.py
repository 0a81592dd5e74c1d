"""Cached async functions: their calls and their `cache_…` methods. Waiting for the store never blocks the loop."""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from typing import Any, Concatenate, Generic, Literal, ParamSpec, TypeVar, Unpack, overload

from s3memo import settings, tasks
from s3memo.abatch import AsyncResults
from s3memo.batch import BatchOptions, Rows, ValueOptions
from s3memo.entry import Entry
from s3memo.errors import SettingsError
from s3memo.freshness import Duration
from s3memo.functions import Cached
from s3memo.versions import Version

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
S = TypeVar("S")
T = TypeVar("T")


class CachedCoroutineFunction(Cached[P], Generic[P, R]):
    """An async function whose results are cached. Await it as before; the original is `__wrapped__`.

    The `cache_…` methods that ask the store are async too. All who await the same call share one task, which is
    cancelled with the last of them.
    """

    __wrapped__: Callable[P, Coroutine[Any, Any, R]]

    def _begin(self) -> None:
        if sys.version_info >= (3, 12):
            inspect.markcoroutinefunction(self)
        else:
            self._is_coroutine = asyncio.coroutines._is_coroutine  # type: ignore[attr-defined]  # noqa: SLF001  the mark of a coroutine function in 3.11

    async def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        if settings.is_disabled():
            return await self._subject.function(*self._bound, *args, **kwargs)  # type: ignore[no-any-return]  # the function's own result
        return await tasks.fetch(self._subject.call((*self._bound, *args), kwargs))  # type: ignore[no-any-return]  # as above

    @overload
    def map(self, /, *iterables: Iterable[Any], **options: Unpack[ValueOptions]) -> AsyncResults[R]: ...
    @overload
    def map(
        self, /, *iterables: Iterable[Any], returns: Literal["entry"], **options: Unpack[ValueOptions]
    ) -> AsyncResults[Entry[R]]: ...
    @overload
    def map(self, /, *iterables: Iterable[Any], **options: Unpack[BatchOptions]) -> AsyncResults[Any]: ...
    def map(self, /, *iterables: Iterable[Any], **options: Any) -> Any:
        """Call the function with the items of one or more iterables; return an async iterator of the results.

        Stored results are found by listing, a thousand names at a time, and calls with equal arguments are computed
        once. Up to `concurrency` calls (32) are read, computed and stored at once. Inputs may be endless: at most four
        times `concurrency` calls run ahead of the caller. Results come in input order; with `ordered=False`, as they
        complete. An exception is raised in place of the result, and the iterator goes on after it; with
        `return_exceptions=True` it is returned instead. With `returns="entry"` each result is an Entry, whose value is
        read when accessed; its size is 0 if it could not be stored. `progress=True` shows a progress bar. Raises
        SettingsError.
        """
        return self.starmap(Rows(iterables), **options)

    @overload
    def starmap(self, iterable: Iterable[Iterable[Any]], /, **options: Unpack[ValueOptions]) -> AsyncResults[R]: ...
    @overload
    def starmap(
        self, iterable: Iterable[Iterable[Any]], /, *, returns: Literal["entry"], **options: Unpack[ValueOptions]
    ) -> AsyncResults[Entry[R]]: ...
    @overload
    def starmap(self, iterable: Iterable[Iterable[Any]], /, **options: Unpack[BatchOptions]) -> AsyncResults[Any]: ...
    def starmap(self, iterable: Iterable[Iterable[Any]], /, **options: Unpack[BatchOptions]) -> Any:
        """Call the function with each tuple of arguments in `iterable`; see `map`."""
        if options.get("executor") is not None:
            raise SettingsError("executor= is for plain functions: an async one runs in the loop that awaits it")
        return AsyncResults(self._batch(iterable, options))

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> CachedCoroutineFunction[P, R]: ...
    @overload
    def __get__(
        self: CachedCoroutineFunction[Concatenate[S, Q], R], instance: S, owner: type | None = None
    ) -> CachedCoroutineFunction[Q, R]: ...
    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self._bind(instance, owner)

    async def cache_get(self, /, *args: P.args, **kwargs: P.kwargs) -> Entry[R] | None:
        """Return the cached result of a call, or None; never compute it. A failing store means None and an event."""
        cache, terms = self._subject.bind()
        return await self._blocking(partial(cache.get, self.cache_key(*args, **kwargs), terms))

    async def cache_set(self, value: R, /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Store `value` as the result of a call. Raises EncodeError and StoreError."""
        call = self._subject.call((*self._bound, *args), kwargs)
        await self._blocking(partial(call.cache.set, call.key, call.terms, value))

    async def cache_refresh(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Compute a call now, whatever is cached, then store and return the result."""
        if settings.is_disabled():
            return await self(*args, **kwargs)
        return await tasks.refresh(self._subject.call((*self._bound, *args), kwargs))  # type: ignore[no-any-return]  # as above

    async def cache_invalidate(self, /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Invalidate the cached result of a call and any computation of it under way. Raises StoreError."""
        cache, terms = self._subject.bind()
        await self._blocking(partial(cache.invalidate, self.cache_key(*args, **kwargs), terms))

    async def cache_history(self, /, *args: P.args, **kwargs: P.kwargs) -> list[Version]:
        """Return the stored versions of a call, tombstones included, newest first. Raises StoreError."""
        cache, terms = self._subject.bind()
        return await self._blocking(partial(cache.history, self.cache_key(*args, **kwargs), terms))

    async def preload(self, *, values: bool = False, trust_for: Duration | None = "names_ttl") -> int:
        """List the names of all results of this code; return how many calls have one, even if invalidated or expired.

        For `trust_for`, a duration (None: until memory is cleared; default: the cache's `names_ttl`), calls then need
        no LIST, neither for a hit nor for a miss. What other machines store or invalidate in the meantime may go
        unseen. With `values`, results are read into memory too, as many as fit. Costs one LIST per thousand names.
        Raises StoreError.
        """
        return await self._blocking(partial(self._preload, values=values, trust_for=trust_for))

    async def cache_clear(self, *, memory_only: bool = False, all_tags: bool = False) -> int:
        """Delete all results of this code, or with `all_tags` of this function; return the number of objects deleted.

        Tombstones stay, so that a computation begun before an invalidation cannot bring its result back. With
        `memory_only` the store is left as it is, and computations under way still store their results. Raises
        StoreError.
        """
        return await self._blocking(partial(self._clear, memory_only=memory_only, all_tags=all_tags))

    async def _blocking(self, action: Callable[[], T]) -> T:
        return await tasks.blocking(self._subject.bind()[0], action)
