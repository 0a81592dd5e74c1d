"""A cached plain function: what its calls and its `cache_…` names do."""

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
"""What a function that is found in a class is bound to."""

Origin: TypeAlias = "tuple[Cached[Any], str, tuple[Any, ...], dict[str, Any]]"
"""What a cached function was made from, by which of its methods, with which arguments."""


class Cached(Generic[P]):
    """What cached functions of both kinds have in common. What the function was is in `__wrapped__`.

    Got from an instance, it is a method of that instance, and so are all its `cache_…` names.
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
        functools.update_wrapper(self, subject.function, updated=())  # type: ignore[arg-type]  # kinds of it are callable
        attributes = getattr(subject.function, "__dict__", {})  # another decorator may have left some of our own names
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
            self._stand_in = origin[0]._stand_in  # noqa: SLF001  it is one of us
        self._begin()

    def _begin(self) -> None:
        """Set what only this kind of cached function has."""

    def _bind(self, instance: object, owner: type | None) -> Self:
        first = (owner or type(instance)) if self._binding == "class" else instance
        if self._bound or self._binding == "static" or first is None:
            return self
        looked_up = (None, first) if self._binding == "class" else (first,)
        return type(self)(self._subject, bound=(first,), origin=(self, "__get__", looked_up, {}))

    def __reduce_ex__(self, protocol: SupportsIndex) -> str | tuple[Any, ...]:
        """Pickle as functions and methods do, by name; with cloudpickle by value where it does that with functions."""
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
        """Return the function itself, as of functions; of a method the one of a copy of its instance."""
        if not self._bound or self._origin is None:
            return self
        return _made_from(*copy.deepcopy(self._origin, memo))  # type: ignore[return-value]  # it is of one kind with us

    def _is_reachable(self) -> bool:
        """Whether its module and name lead to it."""
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
        """Return what happened to this function in this process; asks no store."""
        cache, terms = self._subject.bind()
        return cache.info(self._subject.owns(all_tags=True), terms.recorder)

    def cache_parameters(self) -> Options:
        """Return the options in force; durations in seconds."""
        return self._subject.options.copy()

    def with_options(self, **changes: Unpack[TermOptions]) -> Self:
        """Return the same function on the same results with other options, of those that change no keys."""
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
"""The first protocol of pickle in which a name may lead on from one thing to another."""

_by_stand_in: WeakValueDictionary[Callable[[], None], Cached[Any]] = WeakValueDictionary()


def _stand_in_for(subject: Subject, binding: Binding) -> Callable[[], None]:
    """Return a function that goes into pickles instead of a cached one, by whose name and its own it is found.

    For plain pickle it is no more than that name. Where cloudpickle takes functions by value it takes this one so, with
    all that it holds: what the cached function is made of.
    """

    def stand_in() -> None: ...

    stand_in.__module__ = subject.function.__module__
    stand_in.__qualname__ = f"{getattr(subject.function, '__qualname__', '')}._stand_in"
    vars(stand_in)["made_of"] = subject, binding
    return stand_in


def _restored(kind: type[Cached[Any]], stand_in: Callable[[], None]) -> Cached[Any]:
    """Return the cached function that a stand-in is found in, or was brought with.

    A function that calls itself is met within itself, before its stand-in is complete; so is then what is returned.
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
    """A function whose results are remembered. Call it as before; what it was is in `__wrapped__`.

    Got from an instance, it is a method of that instance, and so are all its `cache_…` names.
    """

    __wrapped__: Callable[P, R]
    __slots__ = ("_cells", "_code", "_function")  # which are found faster than what is in its __dict__

    def _begin(self) -> None:
        self._cells: quick.Cells = quick.no_cells if self._bound else quick.no_cells_yet
        self._function: Any = None
        self._code: Any = None

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        if not kwargs:
            try:
                cell = self._cells(*args)
                value, until, tally = cell.lease
            except Exception:  # noqa: BLE001, S110  these arguments have no cell; some have a hash that raises
                pass
            else:
                if quick_clock.now() < until and self._function.__code__ is self._code:
                    tally.hits += 1.0
                    return value  # type: ignore[no-any-return]  # memory holds what the function returned
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
            self._cells = quick.no_cells_yet  # all cells lead to results of other code
        elif outcome.is_hit:  # what was computed may never be asked for again
            call.cache.open_cell(cell, call.key, call.terms)
        return outcome.value  # type: ignore[no-any-return]  # as above

    def _prepare(self, args: tuple[Any, ...]) -> None:
        """Serve calls quickly from now on, if equal arguments mean equal keys for as long as the code is what it is."""
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

        What is stored is found by listing, a thousand names at a time; calls of equal arguments are computed once. Up to
        `concurrency` calls (32) are read, computed and stored at once, in threads; with `executor`, any of
        concurrent.futures, computations run there, and its workers store what they compute. Inputs may be endless: no
        more than four times `concurrency` calls run ahead of what was taken. Results come in order, or with
        `ordered=False` as they come. What a call raises is raised in its place, and the iterator goes on after it; with `return_exceptions=True` it is
        returned. With `returns="entry"` each result is an Entry, whose value is read when it is asked for; its size is 0
        where it could not be stored. `progress=True` shows a bar. Raises SettingsError.
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
        """Call the function with each of the tuples of arguments that `iterable` gives; see `map`."""
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
        """Return what a call would find, or None; never computes. A store that fails is a visible None."""
        cache, terms = self._subject.bind()
        return cache.get(self.cache_key(*args, **kwargs), terms)

    def cache_set(self, value: R, /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Remember `value` as the result of a call. Raises EncodeError and StoreError."""
        call = self._subject.call((*self._bound, *args), kwargs)
        call.cache.set(call.key, call.terms, value)

    def cache_refresh(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Compute a call now, whatever is remembered, and remember and return that."""
        if settings.is_disabled():
            return self._fetch(args, kwargs)
        return threads.refresh(self._subject.call((*self._bound, *args), kwargs))  # type: ignore[no-any-return]  # as above

    def cache_invalidate(self, /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Make void what is remembered of a call, and what is being computed for it now. Raises StoreError."""
        cache, terms = self._subject.bind()
        cache.invalidate(self.cache_key(*args, **kwargs), terms)

    def cache_history(self, /, *args: P.args, **kwargs: P.kwargs) -> list[Version]:
        """Return the versions of a call in the store, tombstones included, newest first. Raises StoreError."""
        cache, terms = self._subject.bind()
        return cache.history(self.cache_key(*args, **kwargs), terms)

    def preload(self, *, values: bool = False, trust_for: Duration | None = "names_ttl") -> int:
        """List all names of this code's results; return how many calls have one, void and expired ones included.

        For `trust_for`, a duration (None: until memory is cleared; by default the cache's `names_ttl`), calls need no
        LIST, neither for a hit nor for a miss. What other machines store or invalidate meanwhile may go unseen. With
        `values` the results are read into memory too, as many as it takes. Costs a LIST for each thousand names. Raises
        StoreError.
        """
        return self._preload(values=values, trust_for=trust_for)

    def cache_clear(self, *, memory_only: bool = False, all_tags: bool = False) -> int:
        """Forget all results of this code, or with `all_tags` of this function; return how many objects were deleted.

        Tombstones stay, so that no computation an invalidation made void comes back. With `memory_only` the store keeps all,
        and gets what is being computed now. Raises StoreError.
        """
        return self._clear(memory_only=memory_only, all_tags=all_tags)


def _elsewhere(cached: Cached[Any], is_disabled: bool, args: tuple[Any, ...], returns: Returns) -> Report:  # noqa: FBT001  an executor passes no names
    """Make one call of a batch where this arrives, and send back what the driver needs of it."""
    subject, bound = cached._subject, cached._bound  # noqa: SLF001  it is one of us
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
