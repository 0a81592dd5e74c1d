"""`@s3_cached`: what it accepts, and what it makes of a function."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, Unpack, overload

from s3memo import cache as caches
from s3memo.errors import SettingsError
from s3memo.fingerprint import Code
from s3memo.freshness import Duration
from s3memo.functions import Binding, Cached, CachedFunction
from s3memo.options import Options, checked
from s3memo.stores.base import Store
from s3memo.subject import CacheLike, Subject, cache_finder
from s3memo.terms import OnError

if TYPE_CHECKING:
    from s3memo.coroutines import CachedCoroutineFunction

P = ParamSpec("P")
R = TypeVar("R")


class Decorator(Protocol):
    """What `s3_cached` with options returns."""

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> CachedCoroutineFunction[P, R]: ...  # type: ignore[overload-overlap]  # the first that fits counts
    @overload
    def __call__(self, function: Callable[P, R], /) -> CachedFunction[P, R]: ...


class Cache(caches.Cache):  # noqa: D101  the documentation is inherited: only `cached` is added, a layer higher
    __doc__ = caches.Cache.__doc__

    @overload
    def cached(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> CachedCoroutineFunction[P, R]: ...  # type: ignore[overload-overlap]  # the first that fits counts
    @overload
    def cached(self, function: Callable[P, R], /) -> CachedFunction[P, R]: ...
    @overload
    def cached(self, /, **options: Unpack[Options]) -> Decorator: ...
    def cached(self, function: Callable[..., Any] | None = None, /, **options: Unpack[Options]) -> Any:
        """`s3_cached` on this cache, bare or with its options."""
        decorate = s3_cached(self, **options)
        return decorate if function is None else decorate(function)


@overload
def s3_cached(function: Callable[P, Coroutine[Any, Any, R]], /) -> CachedCoroutineFunction[P, R]: ...  # type: ignore[overload-overlap]  # the first that fits counts
@overload
def s3_cached(function: Callable[P, R], /) -> CachedFunction[P, R]: ...
@overload
def s3_cached(
    cache: CacheLike | None = None,
    /,
    *,
    ttl: Duration | None = None,
    stale_while_revalidate: Duration = 0,
    stale_if_error: Duration = 0,
    name: str | None = None,
    version: str | int | None = None,
    code: Code = "source",
    depends: Iterable[Any] = (),
    key: Callable[..., Any] | None = None,
    ignore: Iterable[str] = (),
    types: Iterable[type] = (),
    cache_if: Callable[[Any], object] | None = None,
    cache_exceptions: Mapping[type[Exception], Duration | None] | None = None,
    keep: int = 1,
    copy: bool = True,
    fleet: bool | Duration = False,
    on_error: OnError | None = None,
) -> Decorator: ...
def s3_cached(
    cache: CacheLike | Callable[..., Any] | None = None,
    /,
    *,
    ttl: Duration | None = None,
    stale_while_revalidate: Duration = 0,
    stale_if_error: Duration = 0,
    name: str | None = None,
    version: str | int | None = None,
    code: Code = "source",
    depends: Iterable[Any] = (),
    key: Callable[..., Any] | None = None,
    ignore: Iterable[str] = (),
    types: Iterable[type] = (),
    cache_if: Callable[[Any], object] | None = None,
    cache_exceptions: Mapping[type[Exception], Duration | None] | None = None,
    keep: int = 1,
    copy: bool = True,
    fleet: bool | Duration = False,
    on_error: OnError | None = None,
) -> Any:
    """Remember what a function returned, so that no later call, in any process, computes it again.

    Use it bare or with options, on functions, async functions and methods; `cache` is a Cache, a Store, or a URL (None:
    what `configure` or S3MEMO_URL names).

    How long: `ttl`, in seconds, as a timedelta or as "90s" "15m" "6h" "7d" "2w"; None: for ever. For as long after
    that as `stale_while_revalidate` says, callers get the old result at once while one is computed behind them; for as
    long as `stale_if_error` says, they get it if the function raises or the store fails.
    Which call: `name` replaces module and qualified name; `version` replaces the fingerprint of the code, and
    `code="off"` leaves the code out; `depends` adds functions, classes and constants to the fingerprint;
    `key` is called with the arguments and returns what tells calls apart; `ignore` names parameters that do not.
    What is kept: `types` lists classes whose instances may be stored and rebuilt, besides those that the function's
    return annotation leads to; results that `cache_if` is false of are not kept, and exceptions of exactly the classes
    in `cache_exceptions` are, for as long as it says; `keep` versions of each result. With `copy=False` all callers of
    this process that the memory tier serves get one and the same object, which saves decoding it: whoever changes it
    changes it for all.
    Who computes: with `fleet=True` one machine computes what all miss and the others wait for it, as long as it lives;
    a duration says for how long its lease lasts (60 seconds) if it dies. It needs a store that enforces create-only.
    Trouble: `on_error`, "compute" or "raise", overrides the cache's.

    Raises SettingsError here, and KeyDerivationError on a call with an argument of which no key can be made.
    """
    if not isinstance(cache, caches.Cache | Store | os.PathLike) and (
        callable(cache) or isinstance(cache, staticmethod | classmethod)
    ):
        return s3_cached()(cache)
    options = checked(
        Options(
            ttl=ttl,
            stale_while_revalidate=stale_while_revalidate,
            stale_if_error=stale_if_error,
            name=name,
            version=version,
            code=code,
            depends=depends,
            key=key,
            ignore=ignore,
            types=types,
            cache_if=cache_if,
            cache_exceptions=cache_exceptions,
            keep=keep,
            copy=copy,
            fleet=fleet,
            on_error=on_error,
        )
    )
    find_cache = cache_finder(cache)

    def decorate(function: Any) -> Any:
        binding: Binding = "instance"
        if isinstance(function, staticmethod | classmethod):
            binding = "static" if isinstance(function, staticmethod) else "class"
            function = function.__func__
        _check_plain(function)
        subject = Subject(function, find_cache, options)
        if not inspect.iscoroutinefunction(function):
            return CachedFunction(subject, binding=binding)
        from s3memo.coroutines import CachedCoroutineFunction  # noqa: PLC0415  plain programs do not need asyncio

        return CachedCoroutineFunction(subject, binding=binding)

    return decorate


def _check_plain(function: object) -> None:
    if isinstance(function, Cached):
        raise SettingsError(f"{function!r} is cached already")
    if isinstance(function, type) or not callable(function):
        raise SettingsError(f"{function!r} is no function, so there is nothing to cache")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        name = getattr(function, "__qualname__", repr(function))
        raise TypeError(f"{name} is a generator function: return a list, or cache what it calls")
