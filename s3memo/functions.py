"""Cached plain functions: their calls and their `cache_…` methods."""

from __future__ import annotations

import copy
import functools
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import (
    Any,
    Concatenate,
    Generic,
    Literal,
    ParamSpec,
    Self,
    SupportsIndex,
    TypeAlias,
    TypeVar,
    Unpack,
    overload,
)
from weakref import WeakValueDictionary

from s3memo import fingerprint, quick, settings, threads
from s3memo.batch import Batch, BatchOptions, BatchSettings, Report, Returns, Rows, ValueOptions, sendable
from s3memo.crew import Results
from s3memo.entry import Entry
from s3memo.events import CacheInfo
from s3memo.flight import Outcome
from s3memo.freshness import Duration
from s3memo.options import Options, TermOptions
from s3memo.settings import quick_clock
from s3memo.subject import Subject
from s3memo.versions import Key, Version, namespace_prefix, tag_prefix

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
S = TypeVar("S")

Binding: TypeAlias = Literal["instance", "class", "static"]
"""What a cached function looked up on a class is bound to."""

Origin: TypeAlias = "tuple[Cached[Any], str, tuple[Any, ...], dict[str, Any]]"
"""How a cached function was derived: the original, the method called on it, and the arguments."""


class Cached(Generic[P]):
    """The common base of cached plain and async functions. The original function is `__wrapped__`.

    Accessed through an instance, it is a bound method, and so are its `cache_…` methods.
    """

    __name__: str
    __qualname__: str
    __wrapped__: Callable[P, Any]

    def __init__(
        self,
        subject: Subject,
        *,
        binding: Binding = "instance",
        bound: tuple[Any, ...] = (),
        origin: Origin | None = None,
    ) -> None:
        functools.update_wrapper(self, subject.function, updated=())  # type: ignore[arg-type]  # subclasses are callable
        attributes = getattr(subject.function, "__dict__", {})  # another decorator may have set names that we define
        vars(self).update((name, value) for name, value in attributes.items() if not hasattr(type(self), name))
        self.__wrapped__ = subject.function
        self._subject = subject
        self._binding = binding
        self._bound = bound
        self._origin = origin
        if origin is None:
            self._stand_in = _stand_in_for(subject, binding)
            _by_stand_in[self._stand_in] = self
        else:
            self._stand_in = origin[0]._stand_in  # noqa: SLF001  same class
        self._begin()

    def _begin(self) -> None:
        """Set the attributes of this kind of cached function."""

    def _bind(self, instance: object, owner: type | None) -> Self:
        first = (owner or type(instance)) if self._binding == "class" else instance
        if self._bound or self._binding == "static" or first is None:
            return self
        looked_up = (None, first) if self._binding == "class" else (first,)
        return type(self)(self._subject, bound=(first,), origin=(self, "__get__", looked_up, {}))

    def __reduce_ex__(self, protocol: SupportsIndex) -> str | tuple[Any, ...]:
        """Pickle by name, as functions and methods do; by value where cloudpickle would do so with a function."""
        if self._origin is not None:
            owner = self._origin[2][-1] if self._origin[1] == "__get__" else None
            return _made_from, (*self._origin, fingerprint.class_digests(owner) if isinstance(owner, type) else {})
        if not self._is_reachable():
            return super().__reduce_ex__(protocol)
        if int(protocol) < _FIRST_WITH_PATHS:
            return self.__qualname__
        return _restored, (type(self), self._stand_in)

    def __getstate__(self) -> tuple[Subject, Binding]:
        return self._subject, self._binding

    def __setstate__(self, state: tuple[Subject, Binding]) -> None:
        subject, binding = state
        type(self).__init__(self, subject, binding=binding)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return the function itself; for a bound method, the method of a copy of its instance."""
        if not self._bound or self._origin is None:
            return self
        return _made_from(*copy.deepcopy(self._origin, memo))  # type: ignore[return-value]  # same class as self

    def _is_reachable(self) -> bool:
        """Whether its module and qualified name lead to this function."""
        found: Any = sys.modules.get(self.__module__)
        for name in self.__qualname__.split("."):
            found = getattr(found, name, None)
        return getattr(found, "_stand_in", None) is self._stand_in

    def __repr__(self) -> str:
        return f"<s3_cached {self._subject.namespace}>"

    def __s3memo_key__(self) -> Any:
        return (self._subject.function, *self._bound)

    def cache_key(self, /, *args: P.args, **kwargs: P.kwargs) -> Key:
        """Return the key of a call. Raises KeyDerivationError."""
        return self._subject.key((*self._bound, *args), kwargs)

    def cache_info(self) -> CacheInfo:
        """Return this function's counters in this process, without asking the store."""
        cache, terms = self._subject.bind()
        return cache.info(self._subject.owns(all_tags=True), terms.recorder)

    def cache_parameters(self) -> Options:
        """Return the options in force, with durations in seconds."""
        return self._subject.options.copy()

    def with_options(self, **changes: Unpack[TermOptions]) -> Self:
        """Return the same function, sharing its results, with other options; only those that leave keys unchanged."""
        origin = self, "with_options", (), {**changes}
        return type(self)(self._subject.with_options(changes), binding=self._binding, bound=self._bound, origin=origin)

    def _batch(self, iterable: Iterable[Any], options: BatchOptions) -> Batch:
        return Batch(self._subject, self._bound, iterable, BatchSettings(**options))

    def _preload(self, *, values: bool, trust_for: Duration | None) -> int:
        cache, terms = self._subject.bind()
        key = Key(self._subject.namespace, self._subject.tag, "")
        trust_for = cache.names_ttl if trust_for == "names_ttl" else trust_for
        return cache.preload(key, terms, values=values, trust_for=trust_for)

    def _clear(self, *, memory_only: bool, all_tags: bool) -> int:
        subject = self._subject
        cache, terms = subject.bind()
        owns = subject.owns(all_tags=all_tags)
        if memory_only:
            cache.forget(owns)
            return 0
        prefix = namespace_prefix(subject.namespace) if all_tags else tag_prefix(subject.namespace, subject.tag)
        return cache.clear(prefix, owns, terms)


_FIRST_WITH_PATHS = 4
"""The first pickle protocol that can look up dotted names."""

_by_stand_in: WeakValueDictionary[Callable[[], None], Cached[Any]] = WeakValueDictionary()


def _stand_in_for(subject: Subject, binding: Binding) -> Callable[[], None]:
    """Return a plain function that replaces a cached one in pickles and leads back to it.

    Plain pickle stores its name only. Where cloudpickle pickles functions by value, it does so with this one and the
    attribute that says how to rebuild the cached function.
    """

    def stand_in() -> None: ...

    stand_in.__module__ = subject.function.__module__
    stand_in.__qualname__ = f"{getattr(subject.function, '__qualname__', '')}._stand_in"
    vars(stand_in)["made_of"] = subject, binding
    return stand_in


def _restored(kind: type[Cached[Any]], stand_in: Callable[[], None]) -> Cached[Any]:
    """Return the cached function that a stand-in belongs to, or rebuild it from the stand-in.

    A recursive function is met within itself before its stand-in is complete; then the function returned is incomplete
    too.
    """
    cached = _by_stand_in.get(stand_in)
    if cached is None:
        cached = _by_stand_in[stand_in] = kind.__new__(kind)
    made_of = vars(stand_in).get("made_of")
    if made_of and not vars(cached):
        cached.__setstate__(made_of)
    return cached


def _made_from(
    origin: Cached[Any],
    method: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    digests: fingerprint.Digests = MappingProxyType({}),
) -> Cached[Any]:
    fingerprint.note_class_digests(digests)
    made: Cached[Any] = getattr(origin, method)(*args, **kwargs)
    return made


class CachedFunction(Cached[P], Generic[P, R]):
    """A function whose results are cached. Call it as before; the original is `__wrapped__`.

    Accessed through an instance, it is a bound method, and so are its `cache_…` methods.
    """

    __wrapped__: Callable[P, R]
    __slots__ = ("_cells", "_code", "_function")  # slots are faster to read than its __dict__

    def _begin(self) -> None:
        self._cells: quick.Cells = quick.no_cells if self._bound else quick.no_cells_yet
        self._function: Any = None
        self._code: Any = None

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        if not kwargs:
            try:
                cell = self._cells(*args)
                value, until, tally = cell.lease
            except Exception:  # noqa: BLE001, S110  no cell for these arguments; hashing them may raise
                pass
            else:
                if quick_clock.now() < until and self._function.__code__ is self._code:
                    tally.hits += 1.0
                    return value  # type: ignore[no-any-return]  # the function's own result
                return self._fetch(args, kwargs, cell)
        return self._fetch(args, kwargs)

    def _fetch(self, args: tuple[Any, ...], kwargs: dict[str, Any], cell: quick.Cell | None = None) -> R:
        if settings.is_disabled():
            return self._subject.function(*self._bound, *args, **kwargs)  # type: ignore[no-any-return]  # as above
        call = self._subject.call((*self._bound, *args), kwargs)
        outcome = threads.bring(call)
        if cell is None:
            self._prepare(args)
        elif self._function.__code__ is not self._code:
            self._cells = quick.no_cells_yet  # the code changed, so every cell is out of date
        elif outcome.is_hit:  # a computed value may never be asked for again
            call.cache.open_cell(cell, call.key, call.terms)
        return outcome.value  # type: ignore[no-any-return]  # as above

    def _prepare(self, args: tuple[Any, ...]) -> None:
        """Enable the fast path, if equal arguments have equal keys as long as the code stays the same."""
        if self._cells is quick.no_cells_yet and quick.are_quick(args):
            settled = self._subject.code.settled() if self._subject.arguments.follow_values else None
            if settled is None:
                self._cells = quick.no_cells
            else:
                self._function, self._code = settled
                self._cells = quick.cells()

    @overload
    def map(self, /, *iterables: Iterable[Any], **options: Unpack[ValueOptions]) -> Results[R]: ...
    @overload
    def map(
        self, /, *iterables: Iterable[Any], returns: Literal["entry"], **options: Unpack[ValueOptions]
    ) -> Results[Entry[R]]: ...
    @overload
    def map(self, /, *iterables: Iterable[Any], **options: Unpack[BatchOptions]) -> Results[Any]: ...
    def map(self, /, *iterables: Iterable[Any], **options: Any) -> Any:
        """Call the function with the items of one or more iterables; return an iterator of the results.

        Stored results are found by listing, a thousand names at a time, and calls with equal arguments are computed
        once. Up to `concurrency` calls (32) are read, computed and stored at once, in threads. With `executor`, any
        concurrent.futures executor, computations run there and its workers store the results. Inputs may be endless: at
        most four times `concurrency` calls run ahead of the caller. Results come in input order; with `ordered=False`,
        as they complete. An exception is raised in place of the result, and the iterator goes on after it; with
        `return_exceptions=True` it is returned instead. With `returns="entry"` each result is an Entry, whose value is
        read when accessed; its size is 0 if it could not be stored. `progress=True` shows a progress bar. Raises
        SettingsError.
        """
        return self.starmap(Rows(iterables), **options)

    @overload
    def starmap(self, iterable: Iterable[Iterable[Any]], /, **options: Unpack[ValueOptions]) -> Results[R]: ...
    @overload
    def starmap(
        self, iterable: Iterable[Iterable[Any]], /, *, returns: Literal["entry"], **options: Unpack[ValueOptions]
    ) -> Results[Entry[R]]: ...
    @overload
    def starmap(self, iterable: Iterable[Iterable[Any]], /, **options: Unpack[BatchOptions]) -> Results[Any]: ...
    def starmap(self, iterable: Iterable[Iterable[Any]], /, **options: Unpack[BatchOptions]) -> Any:
        """Call the function with each tuple of arguments in `iterable`; see `map`."""
        return Results(self._batch(iterable, options), partial(_elsewhere, self, settings.is_disabled()))

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> CachedFunction[P, R]: ...
    @overload
    def __get__(
        self: CachedFunction[Concatenate[S, Q], R], instance: S, owner: type | None = None
    ) -> CachedFunction[Q, R]: ...
    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self._bind(instance, owner)

    def cache_get(self, /, *args: P.args, **kwargs: P.kwargs) -> Entry[R] | None:
        """Return the cached result of a call, or None; never compute it. A failing store means None and an event."""
        cache, terms = self._subject.bind()
        return cache.get(self.cache_key(*args, **kwargs), terms)

    def cache_set(self, value: R, /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Store `value` as the result of a call. Raises EncodeError and StoreError."""
        call = self._subject.call((*self._bound, *args), kwargs)
        call.cache.set(call.key, call.terms, value)

    def cache_refresh(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Compute a call now, whatever is cached, then store and return the result."""
        if settings.is_disabled():
            return self._fetch(args, kwargs)
        return threads.refresh(self._subject.call((*self._bound, *args), kwargs))  # type: ignore[no-any-return]  # as above

    def cache_invalidate(self, /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Invalidate the cached result of a call and any computation of it under way. Raises StoreError."""
        cache, terms = self._subject.bind()
        cache.invalidate(self.cache_key(*args, **kwargs), terms)

    def cache_history(self, /, *args: P.args, **kwargs: P.kwargs) -> list[Version]:
        """Return the stored versions of a call, tombstones included, newest first. Raises StoreError."""
        cache, terms = self._subject.bind()
        return cache.history(self.cache_key(*args, **kwargs), terms)

    def preload(self, *, values: bool = False, trust_for: Duration | None = "names_ttl") -> int:
        """List the names of all results of this code; return how many calls have one, even if invalidated or expired.

        For `trust_for`, a duration (None: until memory is cleared; default: the cache's `names_ttl`), calls then need
        no LIST, neither for a hit nor for a miss. What other machines store or invalidate in the meantime may go
        unseen. With `values`, results are read into memory too, as many as fit. Costs one LIST per thousand names.
        Raises StoreError.
        """
        return self._preload(values=values, trust_for=trust_for)

    def cache_clear(self, *, memory_only: bool = False, all_tags: bool = False) -> int:
        """Delete all results of this code, or with `all_tags` of this function; return the number of objects deleted.

        Tombstones stay, so that a computation begun before an invalidation cannot bring its result back. With
        `memory_only` the store is left as it is, and computations under way still store their results. Raises
        StoreError.
        """
        return self._clear(memory_only=memory_only, all_tags=all_tags)


def _elsewhere(cached: Cached[Any], is_disabled: bool, args: tuple[Any, ...], returns: Returns) -> Report:  # noqa: FBT001  executors pass arguments by position
    """Make one call of a batch in an executor's worker, and return what the driver needs of it."""
    subject, bound = cached._subject, cached._bound  # noqa: SLF001  same class
    if is_disabled:
        return Report(Outcome(subject.function(*bound, *args)), ({}, {}, 0.0))
    call = subject.call((*bound, *args), {})
    recorder = call.terms.recorder.apart()
    try:
        outcome = threads.bring(call._replace(terms=replace(call.terms, recorder=recorder)))
    except Exception as error:
        told = sendable(error, recorder.counts())
        if told is error:
            raise
        raise told from error
    stays = returns == "entry" and outcome.version is not None
    return Report(outcome._replace(value=None if stays else outcome.value, share=None), recorder.counts())
