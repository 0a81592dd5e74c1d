"""The `@s3_cached` decorator and the `Cache` that offers it as a method."""

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
    """The decorator that `s3_cached(…)` returns."""

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> CachedCoroutineFunction[P, R]: ...  # type: ignore[overload-overlap]  # the first match counts
    @overload
    def __call__(self, function: Callable[P, R], /) -> CachedFunction[P, R]: ...


class Cache(caches.Cache):  # noqa: D101  inherits its docstring: it only adds `cached`
    __doc__ = caches.Cache.__doc__

    @overload
    def cached(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> CachedCoroutineFunction[P, R]: ...  # type: ignore[overload-overlap]  # the first match counts
    @overload
    def cached(self, function: Callable[P, R], /) -> CachedFunction[P, R]: ...
    @overload
    def cached(self, /, **options: Unpack[Options]) -> Decorator: ...
    def cached(self, function: Callable[..., Any] | None = None, /, **options: Unpack[Options]) -> Any:
        """Decorate a function as `s3_cached` does, with this cache; bare or with options."""
        decorate = s3_cached(self, **options)
        return decorate if function is None else decorate(function)


@overload
def s3_cached(function: Callable[P, Coroutine[Any, Any, R]], /) -> CachedCoroutineFunction[P, R]: ...  # type: ignore[overload-overlap]  # the first match counts
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
    """Cache a function's results in S3, so that no later call, in any process, computes them again.

    Use it bare or with options, on functions, async functions and methods. `cache` is a Cache, a Store or a URL; None
    means the one set by `configure` or S3MEMO_URL.

    How long: `ttl` is a duration: seconds, a timedelta, or "90s" "15m" "6h" "7d" "2w"; None means for ever. An
    expired result is still served for `stale_while_revalidate` longer, while a new one is computed in the background;
    and for `stale_if_error` longer, if the function raises or the store fails.
    Which call: `name` replaces the module and qualified name. `version` replaces the fingerprint of the code;
    `code="off"` leaves the code out of the key. `depends` adds functions, classes and constants to the fingerprint.
    `key` is called with the arguments and returns the value that tells calls apart. `ignore` names parameters that do
    not count.
    What is kept: instances of the classes in `types` can be stored and rebuilt, besides those that the return
    annotation mentions. Results for which `cache_if` returns false are not stored. `cache_exceptions` maps exception
    classes, matched exactly, to the durations for which they are cached. `keep` is the number of versions kept of each
    result. With `copy=False`, memory hits return the same object to all callers in the process, which saves decoding
    it; a change to it is seen by all of them.
    Who computes: with `fleet=True`, one machine computes a missing result while the others wait for it as long as it
    lives. A duration sets how long its lease lasts if it dies (default: 60 seconds). The store must enforce create-only
    writes.
    Trouble: `on_error`, "compute" or "raise", overrides the cache's setting.

    Raises SettingsError on decoration, and KeyDerivationError on a call whose arguments cannot be turned into a key.
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
        from s3memo.coroutines import CachedCoroutineFunction  # noqa: PLC0415  so that programs without async code do not load asyncio

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
