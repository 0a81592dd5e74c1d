"""What is cached: a function, its identity, its keys, and the cache it is bound to."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Self, TypeAlias

from s3memo import fingerprint
from s3memo.annotations import returned_classes
from s3memo.cache import Cache
from s3memo.calls import Call
from s3memo.canonical import is_reachable, main_name, note_sender
from s3memo.errors import SettingsError
from s3memo.events import Recorder
from s3memo.keys import ArgumentKeys
from s3memo.locks import process_lock
from s3memo.options import Options, TermOptions, checked, policy_of
from s3memo.settings import Location, default_location, parse_url
from s3memo.sharing import shared_cache, shared_cache_of
from s3memo.stores.base import Store
from s3memo.terms import Terms
from s3memo.versions import Key

CacheLike: TypeAlias = Cache | Store | str | os.PathLike[str]


class Subject:
    """A cached function as its cache sees it.

    `namespace` and `tag` are given if the function comes from another process, which named it so.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        find_cache: Callable[[], Cache],
        options: Options,
        *,
        namespace: str | None = None,
        tag: str | None = None,
    ) -> None:
        version, code = options["version"] if tag is None else tag, options["code"]
        self.function = function
        self.options = options
        self.namespace = namespace or fingerprint.namespace_of(
            function, options["name"], fingerprinted=version is None and code != "off"
        )
        self.arguments = ArgumentKeys(function, key=options["key"], ignore=options["ignore"])
        self.code = fingerprint.CodeTag(
            function,
            version=version,
            code="source" if version is not None else code,
            depends=() if version is not None else options["depends"],
            key=options["key"],
        )
        self._find_cache = find_cache
        self._bound: tuple[Cache, Terms] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle with this process's namespace and tag, which are used where the code itself is sent along."""
        return Subject._restored, (self.function, self._find_cache, self.options, self.namespace, self.tag, main_name())

    @classmethod
    def _restored(cls, function: Callable[..., Any], find_cache: Callable[[], Cache], *named: Any) -> Self:
        options, namespace, tag, main = named
        if is_reachable(function):  # it was imported here, perhaps from another source
            return cls(function, find_cache, options)
        note_sender(main, function)
        return cls(function, find_cache, options, namespace=namespace, tag=tag)

    def with_options(self, changes: TermOptions) -> Self:
        """Return the same function on the same results, with some options changed. Raises SettingsError."""
        for name in changes:
            if name not in TermOptions.__annotations__:
                raise SettingsError(
                    f"with_options({name}=…): that is none of {', '.join(TermOptions.__annotations__)}, the options "
                    "that change no keys"
                )
        sibling = object.__new__(type(self))  # copy.copy would use __reduce__, and fix the present tag
        vars(sibling).update(vars(self))
        sibling.options = checked({**self.options, **changes})
        sibling._bound = None
        return sibling

    def bind(self) -> tuple[Cache, Terms]:
        """Return the cache and the terms, made on first use: `configure` may name the store until then."""
        if self._bound is None:
            options = self.options
            exceptions = options["cache_exceptions"] or {}
            # It may run users' code, so it must not hold the lock.
            classes = returned_classes(self.function, (*options["types"], *exceptions))
            with process_lock:
                if self._bound is None:
                    cache = self._find_cache()
                    terms = Terms(
                        Recorder(self.namespace, cache.hooks),
                        policy_of(options),
                        options["keep"],
                        options["on_error"] or cache.on_error,
                        classes,
                        options["copy"],
                        options["cache_if"],
                        exceptions,  # type: ignore[arg-type]  # `checked` converted the durations to seconds
                        fleet=float(options["fleet"]),  # type: ignore[arg-type]  # as above
                    )
                    self._bound = cache, terms
        return self._bound

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        """Return a call. Raises KeyDerivationError."""
        key = self.key(args, kwargs)
        cache, terms = self._bound or self.bind()
        if cache.record_arguments:
            terms = replace(terms, arguments=self.arguments.described(args, kwargs))
        return Call(cache, key, terms, partial(self.function, *args, **kwargs), partial(self.key, args, kwargs))

    def key(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Key:
        """Return the key of a call. Raises KeyDerivationError."""
        return Key(self.namespace, self.tag, self.arguments.digest(args, kwargs))

    @property
    def tag(self) -> str:
        """The code's tag as of now: a closure's cells get their values late, and may change."""
        return self.code.current()

    def owns(self, *, all_tags: bool) -> Callable[[Key], bool]:
        """Return a predicate for this function's keys, with the present tag or with any."""
        namespace = self.namespace
        if all_tags:
            return lambda key: key.namespace == namespace
        tag = self.tag
        return lambda key: key.namespace == namespace and key.tag == tag


class _Place:
    """Finds the cache at a location, None for the default one. Pickled with this process's location."""

    def __init__(self, location: Location | None) -> None:
        self._location = location

    def __call__(self) -> Cache:
        return shared_cache(self._location)

    def __reduce__(self) -> tuple[Any, ...]:
        return _Place, (self._location or default_location(),)


class _Made:
    """Finds a cache that exists already."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def __call__(self) -> Cache:
        return self._cache


def cache_finder(where: CacheLike | Callable[..., Any] | None) -> Callable[[], Cache]:
    """Return a function that finds the cache that `where` means. Raises SettingsError."""
    match where:
        case None:
            return _Place(None)
        case Cache():
            return _Made(where)
        case str() | os.PathLike():
            return _Place(parse_url(where))
        case Store():
            return _Made(shared_cache_of(where))
    raise SettingsError(f"s3_cached({where!r}): give a function, a Cache, a Store or a URL")
