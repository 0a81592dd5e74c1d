"""A cached plain function: what its calls and its `cache_…` names do."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any, Concatenate, Generic, Literal, ParamSpec, Self, TypeAlias, TypeVar, Unpack, overload

from s3memo import quick, settings, threads
from s3memo.entry import Entry
from s3memo.events import CacheInfo
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


class Cached(Generic[P]):
    """What cached functions of both kinds have in common. What the function was is in `__wrapped__`.

    Got from an instance, it is a method of that instance, and so are all its `cache_…` names.
    """

    __name__: str
    __qualname__: str
    __wrapped__: Callable[P, Any]

    def __init__(self, subject: Subject, *, binding: Binding = "instance", bound: tuple[Any, ...] = ()) -> None:
        functools.update_wrapper(self, subject.function, updated=())  # type: ignore[arg-type]  # kinds of it are callable
        attributes = getattr(subject.function, "__dict__", {})  # another decorator may have left some of our own names
        vars(self).update((name, value) for name, value in attributes.items() if not hasattr(type(self), name))
        self.__wrapped__ = subject.function
        self._subject = subject
        self._binding = binding
        self._bound = bound
        if not bound:
            self._made_again = _maker(type(self), subject, binding)

    def _bind(self, instance: object, owner: type | None) -> Self:
        first = (owner or type(instance)) if self._binding == "class" else instance
        if self._bound or self._binding == "static" or first is None:
            return self
        return type(self)(self._subject, bound=(first,))

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Pickle as functions and methods do, by name; with cloudpickle by value where it does that with functions."""
        if self._bound:
            return getattr, (self._bound[0], self.__name__)
        return self.__qualname__ if self._is_importable() else (self._made_again, ())

    def _is_importable(self) -> bool:
        found: Any = sys.modules.get(self.__module__)
        for name in self.__qualname__.split("."):
            found = getattr(found, name, None)
        return self.__module__ != "__main__" and getattr(found, "_subject", None) is self._subject

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
        return type(self)(self._subject.with_options(changes), binding=self._binding, bound=self._bound)

    def _clear(self, *, memory_only: bool, all_tags: bool) -> int:
        subject = self._subject
        cache, terms = subject.bind()
        owns = subject.owns(all_tags=all_tags)
        if memory_only:
            cache.forget(owns)
            return 0
        prefix = namespace_prefix(subject.namespace) if all_tags else tag_prefix(subject.namespace, subject.tag)
        return cache.clear(prefix, owns, terms)


def _maker(kind: type[Cached[Any]], subject: Subject, binding: Binding) -> Callable[[], Cached[Any]]:
    """Return what makes a cached function again: a function itself, which pickle finds by its name, in the cached one.

    Where there is no such name to be found, cloudpickle takes it by value, and with it the function that is cached.
    """

    def make() -> Cached[Any]:
        return kind(subject, binding=binding)

    make.__module__ = subject.function.__module__
    make.__qualname__ = f"{getattr(subject.function, '__qualname__', '')}._made_again"
    return make


class CachedFunction(Cached[P], Generic[P, R]):
    """A function whose results are remembered. Call it as before; what it was is in `__wrapped__`.

    Got from an instance, it is a method of that instance, and so are all its `cache_…` names.
    """

    __wrapped__: Callable[P, R]
    __slots__ = ("_cells", "_code", "_function")  # which are found faster than what is in its __dict__

    def __init__(self, subject: Subject, *, binding: Binding = "instance", bound: tuple[Any, ...] = ()) -> None:
        super().__init__(subject, binding=binding, bound=bound)
        self._cells: quick.Cells = quick.no_cells if bound else quick.no_cells_yet
        self._function: Any = None
        self._code: Any = None

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            cell = None if kwargs else self._cells(*args)
        except Exception:  # noqa: BLE001  these arguments have no cell; some have a hash that raises
            cell = None
        if cell is None:
            return self._fetch(args, kwargs)
        value = cell.value
        if cell.until <= quick_clock.now() or self._function.__code__ is not self._code:
            return self._fetch(args, kwargs, cell)
        cell.tally.hits += 1
        return value  # type: ignore[no-any-return]  # memory holds what the function returned

    def _fetch(self, args: tuple[Any, ...], kwargs: dict[str, Any], cell: quick.Cell | None = None) -> R:
        if settings.is_disabled():
            return self._subject.function(*self._bound, *args, **kwargs)  # type: ignore[no-any-return]  # as above
        call = self._subject.call((*self._bound, *args), kwargs)
        value = threads.fetch(call)
        if cell is None:
            self._prepare(args)
        elif self._function.__code__ is self._code:
            call.cache.open_cell(cell, call.key, call.terms)
        else:
            self._cells = quick.no_cells_yet  # all cells lead to results of other code
        return value  # type: ignore[no-any-return]  # as above

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

    def cache_clear(self, *, memory_only: bool = False, all_tags: bool = False) -> int:
        """Forget all results of this code, or with `all_tags` of this function; return how many objects were deleted.

        Tombstones stay, so that no computation an invalidation made void comes back. Raises StoreError.
        """
        return self._clear(memory_only=memory_only, all_tags=all_tags)
