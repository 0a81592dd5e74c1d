"""`@s3_cached`: a thin shell that names the call and asks the cache."""

from __future__ import annotations

import functools
import inspect
import os
import threading
from collections.abc import Callable, Iterable
from functools import cached_property
from types import MethodType
from typing import Any, Generic, Literal, ParamSpec, TypedDict, TypeVar, Unpack, get_args, overload

from s3memo import cache as caches
from s3memo import fingerprint, settings
from s3memo.cache import Entry, OnError, Terms, shared_cache
from s3memo.errors import SettingsError
from s3memo.events import CacheInfo, Recorder
from s3memo.freshness import Duration, Policy, seconds
from s3memo.keys import ArgumentKeys
from s3memo.settings import check_choice, parse_url
from s3memo.stores.base import Store
from s3memo.versions import Key, Version, namespace_prefix, tag_prefix

P = ParamSpec("P")
R = TypeVar("R")

Code = Literal["source", "off"]


class Options(TypedDict, total=False):
    """What `s3_cached` can be told."""

    ttl: Duration | None
    name: str | None
    version: str | int | None
    code: Code
    depends: Iterable[Any]
    key: Callable[..., Any] | None
    ignore: Iterable[str]
    keep: int
    on_error: OnError | None


class Cache(caches.Cache):  # noqa: D101  the documentation is inherited: only `cached` is added, a layer higher
    __doc__ = caches.Cache.__doc__

    @overload
    def cached(self, function: Callable[P, R], /) -> CachedFunction[P, R]: ...
    @overload
    def cached(self, /, **options: Unpack[Options]) -> Callable[[Callable[P, R]], CachedFunction[P, R]]: ...
    def cached(self, function: Callable[..., Any] | None = None, /, **options: Unpack[Options]) -> Any:
        """`s3_cached` on this cache, bare or with its options."""
        decorate = s3_cached(self, **options)
        return decorate if function is None else decorate(function)


CacheLike = caches.Cache | Store | str | os.PathLike[str]


@overload
def s3_cached(function: Callable[P, R], /) -> CachedFunction[P, R]: ...
@overload
def s3_cached(
    cache: CacheLike | None = None,
    /,
    *,
    ttl: Duration | None = None,
    name: str | None = None,
    version: str | int | None = None,
    code: Code = "source",
    depends: Iterable[Any] = (),
    key: Callable[..., Any] | None = None,
    ignore: Iterable[str] = (),
    keep: int = 1,
    on_error: OnError | None = None,
) -> Callable[[Callable[P, R]], CachedFunction[P, R]]: ...
def s3_cached(
    cache: CacheLike | Callable[..., Any] | None = None,
    /,
    *,
    ttl: Duration | None = None,
    name: str | None = None,
    version: str | int | None = None,
    code: Code = "source",
    depends: Iterable[Any] = (),
    key: Callable[..., Any] | None = None,
    ignore: Iterable[str] = (),
    keep: int = 1,
    on_error: OnError | None = None,
) -> Any:
    """Remember what a function returned, so that no later call, in any process, computes it again.

    Use it bare or with options; `cache` is a Cache, a Store, or a URL (None: what `configure` or S3MEMO_URL names).

    How long: `ttl`, in seconds, as a timedelta or as "90s" "15m" "6h" "7d" "2w"; None: for ever.
    Which call: `name` replaces module and qualified name; `version` replaces the fingerprint of the code, and
    `code="off"` leaves the code out; `depends` adds functions, classes and constants to the fingerprint;
    `key` is called with the arguments and returns what tells calls apart; `ignore` names parameters that do not.
    What is kept: `keep` versions of each result.
    Trouble: `on_error`, "compute" or "raise", overrides the cache's.

    Raises SettingsError here, and KeyDerivationError on a call with an argument of which no key can be made.
    """
    if callable(cache) and not isinstance(cache, caches.Cache | Store | os.PathLike):
        return s3_cached()(cache)
    find_cache = _cache_finder(cache)
    if type(keep) is not int or keep < 1:
        raise SettingsError(f"keep={keep!r} must be a whole number of versions, 1 or more")
    if on_error is not None:
        check_choice("on_error", on_error, get_args(OnError))
    fingerprint.check_code(version=version, code=code, depends=depends)
    depends = tuple(depends)
    policy = Policy(ttl=seconds(ttl, name="ttl"))

    def decorate(function: Callable[P, R]) -> CachedFunction[P, R]:
        _check_plain(function)
        return CachedFunction(
            function,
            namespace=fingerprint.namespace_of(function, name, fingerprinted=version is None and code != "off"),
            find_tag=functools.partial(fingerprint.tag_of, function, version=version, code=code, depends=depends),
            tag_varies=fingerprint.may_vary(function, depends),
            arguments=ArgumentKeys(function, key=key, ignore=ignore),
            find_cache=find_cache,
            terms=lambda cache, recorder: Terms(recorder, policy, keep, on_error or cache.on_error),
            parameters={
                "ttl": policy.ttl,
                "name": name,
                "version": version,
                "code": code,
                "keep": keep,
                "on_error": on_error,
            },
        )

    return decorate


class CachedFunction(Generic[P, R]):
    """A function whose results are remembered. Call it as before; what it was is in `__wrapped__`."""

    __wrapped__: Callable[P, R]

    def __init__(
        self,
        function: Callable[P, R],
        *,
        namespace: str,
        find_tag: Callable[[], str],
        tag_varies: bool,
        arguments: ArgumentKeys,
        find_cache: Callable[[], caches.Cache],
        terms: Callable[[caches.Cache, Recorder], Terms],
        parameters: dict[str, Any],
    ) -> None:
        functools.update_wrapper(self, function)
        self._namespace = namespace
        self._find_tag = find_tag
        self._tag_varies = tag_varies
        self._arguments = arguments
        self._find_cache = find_cache
        self._make_terms = terms
        self._parameters = parameters
        self._lock = threading.Lock()
        self._bound: tuple[caches.Cache, Terms] | None = None

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        if settings.is_disabled():
            return self.__wrapped__(*args, **kwargs)
        key = self.cache_key(*args, **kwargs)
        cache, terms = self._bind()
        return cache.fetch(key, terms, lambda: self.__wrapped__(*args, **kwargs))

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return self if instance is None else MethodType(self, instance)

    def __repr__(self) -> str:
        return f"<s3_cached {self._namespace}>"

    def cache_key(self, /, *args: P.args, **kwargs: P.kwargs) -> Key:
        """Return the key of a call. Raises KeyDerivationError."""
        return Key(self._namespace, self._tag, self._arguments.digest(args, kwargs))

    def cache_get(self, /, *args: P.args, **kwargs: P.kwargs) -> Entry[R] | None:
        """Return what a call would find, or None; never computes. A store that fails is a visible None."""
        cache, terms = self._bind()
        return cache.get(self.cache_key(*args, **kwargs), terms)

    def cache_set(self, value: R, /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Remember `value` as the result of a call. Raises EncodeError and StoreError."""
        cache, terms = self._bind()
        cache.set(self.cache_key(*args, **kwargs), terms, value)

    def cache_refresh(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Compute a call now, whatever is remembered, and remember and return that."""
        cache, terms = self._bind()
        return cache.refresh(self.cache_key(*args, **kwargs), terms, lambda: self.__wrapped__(*args, **kwargs))

    def cache_invalidate(self, /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Make void what is remembered of a call, and what is being computed for it now. Raises StoreError."""
        cache, terms = self._bind()
        cache.invalidate(self.cache_key(*args, **kwargs), terms)

    def cache_history(self, /, *args: P.args, **kwargs: P.kwargs) -> list[Version]:
        """Return the versions of a call in the store, tombstones included, newest first. Raises StoreError."""
        cache, terms = self._bind()
        return cache.history(self.cache_key(*args, **kwargs), terms)

    def cache_clear(self, *, memory_only: bool = False, all_tags: bool = False) -> int:
        """Forget all results of this code, or with `all_tags` of this function; return how many objects were deleted.

        Tombstones stay, so that no computation an invalidation made void comes back. Raises StoreError.
        """
        cache, terms = self._bind()
        belongs = self._belongs(all_tags=all_tags)
        if memory_only:
            cache.forget(belongs)
            return 0
        prefix = namespace_prefix(self._namespace) if all_tags else tag_prefix(self._namespace, self._tag)
        return cache.clear(prefix, belongs, terms)

    def cache_info(self) -> CacheInfo:
        """Return what happened to this function in this process; asks no store."""
        cache, terms = self._bind()
        return cache.info(self._belongs(all_tags=True), terms.recorder)

    def cache_parameters(self) -> dict[str, Any]:
        """Return the options in force."""
        return dict(self._parameters)

    def __s3memo_key__(self) -> Callable[P, R]:
        return self.__wrapped__

    @cached_property
    def _first_tag(self) -> str:
        return self._find_tag()

    @property
    def _tag(self) -> str:
        # Not at decoration: a closure's cells get their values later, and may get others between two calls.
        return self._find_tag() if self._tag_varies else self._first_tag

    def _belongs(self, *, all_tags: bool = False) -> Callable[[Key], bool]:
        namespace = self._namespace
        if all_tags:
            return lambda key: key.namespace == namespace
        tag = self._tag
        return lambda key: key.namespace == namespace and key.tag == tag

    def _bind(self) -> tuple[caches.Cache, Terms]:
        # On first use: until then `configure` may still name the store.
        with self._lock:
            if self._bound is None:
                cache = self._find_cache()
                self._bound = cache, self._make_terms(cache, Recorder(self._namespace, cache.hooks))
            return self._bound


def _cache_finder(cache: object) -> Callable[[], caches.Cache]:
    match cache:
        case None:
            return shared_cache
        case caches.Cache():
            return lambda: cache
        case str() | os.PathLike():
            return functools.partial(shared_cache, parse_url(cache))
        case Store():
            bound = Cache(cache)
            return lambda: bound
    raise SettingsError(f"s3_cached({cache!r}): give a function, a Cache, a Store or a URL")


def _check_plain(function: object) -> None:
    if isinstance(function, staticmethod | classmethod):
        raise SettingsError(f"put @s3_cached below @{type(function).__name__}, next to the function")
    if not callable(function):
        raise SettingsError(f"{function!r} is not callable, so there is nothing to cache")
    name = getattr(function, "__qualname__", repr(function))
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(f"{name} is a generator function: return a list, or cache what it calls")
    if inspect.iscoroutinefunction(function):
        raise TypeError(f"{name} is async: this version of s3memo caches plain functions")
