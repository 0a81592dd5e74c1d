"""`@s3_cached`: a thin shell that names the call and asks the cache."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Concatenate, Generic, ParamSpec, TypedDict, TypeVar, Unpack, get_args, overload

from s3memo import cache as caches
from s3memo import fingerprint, settings
from s3memo.annotations import check_types, returned_classes
from s3memo.cache import Entry
from s3memo.errors import SettingsError
from s3memo.events import CacheInfo, Recorder
from s3memo.fingerprint import Code
from s3memo.freshness import Duration, Policy, seconds
from s3memo.keys import ArgumentKeys
from s3memo.locks import process_lock
from s3memo.settings import check_choice, parse_url
from s3memo.sharing import shared_cache, shared_cache_of
from s3memo.stores.base import Store
from s3memo.terms import OnError, Terms
from s3memo.versions import Key, Version, namespace_prefix, tag_prefix

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
S = TypeVar("S")


class Options(TypedDict, total=False):
    """What `s3_cached` can be told."""

    ttl: Duration | None
    name: str | None
    version: str | int | None
    code: Code
    depends: Iterable[Any]
    key: Callable[..., Any] | None
    ignore: Iterable[str]
    types: Iterable[type]
    keep: int
    copy: bool
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
    types: Iterable[type] = (),
    keep: int = 1,
    copy: bool = True,
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
    types: Iterable[type] = (),
    keep: int = 1,
    copy: bool = True,
    on_error: OnError | None = None,
) -> Any:
    """Remember what a function returned, so that no later call, in any process, computes it again.

    Use it bare or with options; `cache` is a Cache, a Store, or a URL (None: what `configure` or S3MEMO_URL names).

    How long: `ttl`, in seconds, as a timedelta or as "90s" "15m" "6h" "7d" "2w"; None: for ever.
    Which call: `name` replaces module and qualified name; `version` replaces the fingerprint of the code, and
    `code="off"` leaves the code out; `depends` adds functions, classes and constants to the fingerprint;
    `key` is called with the arguments and returns what tells calls apart; `ignore` names parameters that do not.
    What is kept: `types` lists classes whose instances may be stored and rebuilt, besides those that the function's
    return annotation leads to; `keep` versions of each result. With `copy=False` all callers of this process that the
    memory tier serves get one and the same object, which saves decoding it: whoever changes it changes it for all.
    Trouble: `on_error`, "compute" or "raise", overrides the cache's.

    Raises SettingsError here, and KeyDerivationError on a call with an argument of which no key can be made.
    """
    if callable(cache) and not isinstance(cache, caches.Cache | Store | os.PathLike):
        return s3_cached()(cache)
    find_cache = _cache_finder(cache)
    if type(keep) is not int or keep < 1:
        raise SettingsError(f"keep={keep!r} must be a whole number of versions, 1 or more")
    if not isinstance(copy, bool):
        raise SettingsError(f"copy={copy!r} must be True or False")
    types = check_types(types)
    if on_error is not None:
        check_choice("on_error", on_error, get_args(OnError))
    fingerprint.check_code(version=version, code=code, depends=depends)
    options: Options = {
        "ttl": seconds(ttl, name="ttl"),
        "name": name,
        "version": version,
        "code": code,
        "depends": tuple(depends),
        "key": key,
        "ignore": ignore,
        "types": types,
        "keep": keep,
        "copy": copy,
        "on_error": on_error,
    }

    def decorate(function: Callable[P, R]) -> CachedFunction[P, R]:
        _check_plain(function)
        return CachedFunction(_Subject(function, find_cache, options))

    return decorate


class _Subject(Generic[P, R]):
    """What is cached: a function, who it is, how its calls are told apart, and the cache that it is bound to."""

    def __init__(self, function: Callable[P, R], find_cache: Callable[[], caches.Cache], options: Options) -> None:
        version, code, depends = options["version"], options["code"], options["depends"]
        self.function = function
        self.options = options
        self.namespace = fingerprint.namespace_of(
            function, options["name"], fingerprinted=version is None and code != "off"
        )
        self._arguments = ArgumentKeys(function, key=options["key"], ignore=options["ignore"])
        self._find_cache = find_cache
        self._find_tag = functools.partial(
            fingerprint.tag_of, function, version=version, code=code, depends=depends, key=options["key"]
        )
        self._tag_varies = fingerprint.may_vary(function, *depends, options["key"])
        self._tag: str | None = None
        self._bound: tuple[caches.Cache, Terms] | None = None

    def bind(self) -> tuple[caches.Cache, Terms]:
        """Return the cache and the terms; they are made on first use, for until then `configure` may name the store."""
        if self._bound is None:
            classes = returned_classes(self.function, self.options["types"])  # anybody's code: not under the lock
            with process_lock:
                if self._bound is None:
                    cache = self._find_cache()
                    terms = Terms(
                        Recorder(self.namespace, cache.hooks),
                        Policy(seconds(self.options["ttl"], name="ttl")),
                        self.options["keep"],
                        self.options["on_error"] or cache.on_error,
                        classes,
                        self.options["copy"],
                    )
                    self._bound = cache, terms
        return self._bound

    def bind_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[caches.Cache, Terms]:
        """As `bind`, for a call whose result may be stored: the terms describe its arguments if the cache records them."""
        cache, terms = self.bind()
        if cache.record_arguments:
            terms = replace(terms, arguments=self._arguments.described(args, kwargs))
        return cache, terms

    def key(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Key:
        """Return the key of a call. Raises KeyDerivationError."""
        return Key(self.namespace, self.tag, self._arguments.digest(args, kwargs))

    @property
    def tag(self) -> str:
        """The code's tag, asked for when it is used: a closure's cells get their values late, and may get others."""
        tag = self._tag
        if tag is None or self._tag_varies:
            tag = self._tag = self._find_tag()
        return tag

    def owns(self, *, all_tags: bool) -> Callable[[Key], bool]:
        """Return what tells whether a key is this function's, with this code or with any."""
        namespace = self.namespace
        if all_tags:
            return lambda key: key.namespace == namespace
        tag = self.tag
        return lambda key: key.namespace == namespace and key.tag == tag


class CachedFunction(Generic[P, R]):
    """A function whose results are remembered. Call it as before; what it was is in `__wrapped__`.

    Got from an instance, it is a method of that instance, and so are all its `cache_…` names.
    """

    __name__: str
    __qualname__: str
    __wrapped__: Callable[P, R]

    def __init__(self, subject: _Subject[..., R], *, instance: tuple[Any, ...] = ()) -> None:
        functools.update_wrapper(self, subject.function, updated=())
        attributes = getattr(subject.function, "__dict__", {})  # another decorator may have left some of our own names
        vars(self).update((name, value) for name, value in attributes.items() if not hasattr(type(self), name))
        self.__wrapped__ = subject.function
        self._subject = subject
        self._instance = instance

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        if settings.is_disabled():
            return self._compute(*args, **kwargs)
        key = self.cache_key(*args, **kwargs)
        cache, terms = self._bind_call(*args, **kwargs)
        return cache.fetch(key, terms, lambda: self._compute(*args, **kwargs))

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> CachedFunction[P, R]: ...
    @overload
    def __get__(
        self: CachedFunction[Concatenate[S, Q], R], instance: S, owner: type | None = None
    ) -> CachedFunction[Q, R]: ...
    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else CachedFunction(self._subject, instance=(instance,))

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Pickle as functions and methods do: by name."""
        return (getattr, (self._instance[0], self.__name__)) if self._instance else self.__qualname__

    def __repr__(self) -> str:
        return f"<s3_cached {self._subject.namespace}>"

    def __s3memo_key__(self) -> Any:
        return (self._subject.function, *self._instance)

    def cache_key(self, /, *args: P.args, **kwargs: P.kwargs) -> Key:
        """Return the key of a call. Raises KeyDerivationError."""
        return self._subject.key((*self._instance, *args), kwargs)

    def cache_get(self, /, *args: P.args, **kwargs: P.kwargs) -> Entry[R] | None:
        """Return what a call would find, or None; never computes. A store that fails is a visible None."""
        cache, terms = self._subject.bind()
        return cache.get(self.cache_key(*args, **kwargs), terms)

    def cache_set(self, value: R, /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Remember `value` as the result of a call. Raises EncodeError and StoreError."""
        key = self.cache_key(*args, **kwargs)
        cache, terms = self._bind_call(*args, **kwargs)
        cache.set(key, terms, value)

    def cache_refresh(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Compute a call now, whatever is remembered, and remember and return that."""
        if settings.is_disabled():
            return self._compute(*args, **kwargs)
        key = self.cache_key(*args, **kwargs)
        cache, terms = self._bind_call(*args, **kwargs)
        return cache.refresh(key, terms, lambda: self._compute(*args, **kwargs))

    def cache_invalidate(self, /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Make void what is remembered of a call, and what is being computed for it now. Raises StoreError."""
        cache, terms = self._subject.bind()
        cache.invalidate(self.cache_key(*args, **kwargs), terms)

    def cache_history(self, /, *args: P.args, **kwargs: P.kwargs) -> list[Version]:
        """Return the versions of a call in the store, tombstones included, newest first. Raises StoreError."""
        cache, terms = self._subject.bind()
        return cache.history(self.cache_key(*args, **kwargs), terms)

    def cache_clear(self, *, memory_only: bool = False, all_tags: bool = False) -> int:
        """Forget all results of this code, or with `all_tags` of this function; return how many objects were deleted.

        Tombstones stay, so that no computation an invalidation made void comes back. Raises StoreError.
        """
        subject = self._subject
        cache, terms = subject.bind()
        owns = subject.owns(all_tags=all_tags)
        if memory_only:
            cache.forget(owns)
            return 0
        prefix = namespace_prefix(subject.namespace) if all_tags else tag_prefix(subject.namespace, subject.tag)
        return cache.clear(prefix, owns, terms)

    def cache_info(self) -> CacheInfo:
        """Return what happened to this function in this process; asks no store."""
        cache, terms = self._subject.bind()
        return cache.info(self._subject.owns(all_tags=True), terms.recorder)

    def cache_parameters(self) -> Options:
        """Return the options in force; `ttl` in seconds."""
        return self._subject.options.copy()

    def _bind_call(self, /, *args: P.args, **kwargs: P.kwargs) -> tuple[caches.Cache, Terms]:
        return self._subject.bind_call((*self._instance, *args), kwargs)

    def _compute(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._subject.function(*self._instance, *args, **kwargs)


def _cache_finder(cache: object) -> Callable[[], caches.Cache]:
    match cache:
        case None:
            return shared_cache
        case caches.Cache():
            return lambda: cache
        case str() | os.PathLike():
            return functools.partial(shared_cache, parse_url(cache))
        case Store():
            return functools.partial(shared_cache_of, cache)
    raise SettingsError(f"s3_cached({cache!r}): give a function, a Cache, a Store or a URL")


def _check_plain(function: object) -> None:
    if isinstance(function, staticmethod | classmethod):
        raise SettingsError(f"put @s3_cached below @{type(function).__name__}, next to the function")
    if isinstance(function, CachedFunction):
        raise SettingsError(f"{function!r} is cached already")
    if isinstance(function, type) or not callable(function):
        raise SettingsError(f"{function!r} is no function, so there is nothing to cache")
    name = getattr(function, "__qualname__", repr(function))
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(f"{name} is a generator function: return a list, or cache what it calls")
    if inspect.iscoroutinefunction(function):
        raise TypeError(f"{name} is async: this version of s3memo caches plain functions")
