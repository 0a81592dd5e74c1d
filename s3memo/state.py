"""`ServiceState`: what a job keeps between runs, such as a cursor or a checkpoint, without lost updates."""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from datetime import datetime
from typing import Any, TypeVar

from s3memo import bridge, codec
from s3memo.annotations import check_types, listed_classes
from s3memo.cache import Cache
from s3memo.errors import NotFoundError, SettingsError, StateConflictError, StoreUnavailableError
from s3memo.events import Recorder
from s3memo.locks import process_lock
from s3memo.register import Record, Register
from s3memo.sequences import LIMIT, Chain, StateVersion, state_prefix
from s3memo.settings import check_count
from s3memo.sharing import Place, cache_at, check_place
from s3memo.stores.base import Buffer
from s3memo.stores.clock import local_clock

T = TypeVar("T")

_LOOKS = 3
"""How often to list when the newest version vanishes between LIST and GET."""

_ATTEMPTS = 25
"""How often a write is tried while others are first: about half a minute in all."""


class ServiceState:
    """A small named value in a store, shared by all machines. Safe to share between threads.

    `url_or_cache` is a URL, a directory, a Store or a Cache; None: what `configure` or S3MEMO_URL names. `keep` versions
    stay, and any that were the newest within the last hour. Values may be of all types that a cached function may return;
    list your own classes in `types`.

    Unlike a cached function it never guesses: every problem is raised, as a StoreError or CodecError, and only a complete,
    empty listing means that there is no value. A store that does not enforce create-only is refused with
    StoreNotSupportedError. A write whose effect is unknown raises an error with `maybe_applied=True`. Raises SettingsError.
    """

    _register_type = Register

    def __init__(self, name: str, url_or_cache: Place = None, *, keep: int = 10, types: Iterable[type] = ()) -> None:
        if not isinstance(name, str) or not name:
            raise SettingsError(f"ServiceState({name!r}): give the state a name, a string that is not empty")
        check_count("keep", keep, of="versions", least=1)
        check_place(url_or_cache)
        self.name = name
        self.keep = keep
        self._place = url_or_cache
        self._classes = listed_classes(check_types(types))
        self._recorder: Recorder | None = None
        self._clock: Callable[[], float] = local_clock
        self._sleep: Callable[[float], None] = bridge.sleep

    def __repr__(self) -> str:
        return f"ServiceState({self.name!r})"

    @property
    def aio(self) -> AsyncState:
        """The same names, awaitable. `update`'s function runs in a thread."""
        return AsyncState(self)

    @property
    def version(self) -> int:
        """The newest version's number, 0 if there never was one; it costs a LIST.

        Numbers only grow; a `clear` takes one too. To write only if nothing has changed, read this first, then `get`.
        """
        newest = self._register().newest()
        return newest.number if newest else 0

    def get(self, default: Any = None) -> Any:
        """Return the value, or `default` if it was never set or was cleared."""
        register = self._register()
        for _ in range(_LOOKS):
            newest = register.newest()
            if newest is None or newest.cleared:
                return default
            with suppress(NotFoundError):  # it was superseded and collected while this thread was paused
                return self._value(register.read(newest.number))
        raise _vanished(register)

    def set(self, value: Any, *, expected_version: int | None = None) -> int:
        """Write a value and return its version's number.

        With `expected_version` only if that is the newest version's number (0: there never was one); otherwise raises
        StateConflictError. Raises EncodeError.
        """
        if expected_version is not None and (type(expected_version) is not int or expected_version < 0):
            raise SettingsError(f"expected_version={expected_version!r} must be a version's number, or 0 for none")
        payload = self._encoded(value)
        return self._write(lambda *_: payload, expected_version=expected_version)

    def update(self, fn: Callable[[Any], Any], *, default: Any = None) -> Any:
        """Replace the value by `fn(value)` and return it; `fn` gets a copy of `default` if there is no value.

        If others write at the same time, `fn` is called again on their value, so it must have no side effects. Raises
        StateConflictError if others are always first, EncodeError, and what `fn` raises.
        """
        if not callable(fn):
            raise SettingsError(f"update({fn!r}): give a function from the value to the next one; set() takes a value")
        register = self._register()
        result: Any = None

        def revise(chain: Chain, rival: Record | None) -> Buffer:
            nonlocal result
            newest = chain.newest
            if newest is None or newest.cleared:
                value = copy.deepcopy(default)
            else:
                if rival is None or rival.number != newest.number:
                    rival = _read(register, newest)
                value = self._value(rival)
            result = fn(value)
            return self._encoded(result)

        self._write(revise)
        return result

    def clear(self) -> int:
        """Write a tombstone and return its version's number; older versions stay as after any write."""
        return self._write(lambda *_: None)

    def history(self) -> list[StateVersion]:
        """Return the versions still in the store, newest first."""
        return list(self._register().look(whole=True).versions)

    def at(self, moment: datetime) -> Any:
        """Return the value at a moment by the store's clock, to the second. Raises NotFoundError if none is known."""
        if not isinstance(moment, datetime) or moment.tzinfo is None:
            raise SettingsError(
                f"at({moment!r}): give the moment as a datetime with a time zone, as datetime.now(UTC) is"
            )
        register = self._register()
        chain = register.look(whole=True)
        version = chain.at(moment.timestamp())
        if version is None or version.cleared:
            later = [each.number for each in chain.versions if each.last_modified > moment.timestamp()]
            is_pruned = version is None and later and later[-1] > 1
            reason = f"versions before {later[-1]} are gone" if is_pruned else "there was none"
            raise NotFoundError(f"{register} has no value of {moment}: {reason}")
        return self._value(register.read(version.number))

    def rollback(self, n: int) -> int:
        """Write the value of version `n` again and return the new number. Raises NotFoundError if `n` is gone."""
        if type(n) is not int or n < 1:
            raise SettingsError(f"rollback({n!r}): give the number of a version, as history() lists them")
        register = self._register()
        if n > LIMIT:
            raise NotFoundError(f"{register} has no version {n}")
        record = register.read(n)
        if record.payload is None:
            raise NotFoundError(f"version {n} of {register} says that there is no value: use clear()")
        return self._write(lambda *_: record.payload)

    def _write(
        self, make: Callable[[Chain, Record | None], Buffer | None], *, expected_version: int | None = None
    ) -> int:
        """Append what `make` returns for the current chain, until nobody else is first; return the number.

        `make` also gets the version that was first in the last attempt.
        """
        self._cache().check_writable(repr(self))
        register = self._register()
        rivals: list[str] = []
        rival: Record | None = None
        while len(rivals) < _ATTEMPTS:
            chain = register.look()
            if expected_version is not None and chain.number != expected_version:
                raise StateConflictError(
                    f"{register} is at version {chain.number} and not at {expected_version}: read it again"
                    + (f"; {rivals[-1]} was first" if rivals else ""),
                    attempts=len(rivals),
                    rivals=tuple(rivals),
                )
            rival = register.append(chain, make(chain, rival))
            if rival is None:
                return chain.number + 1
            rivals.append(rival.writer)
            register.pause(len(rivals))
        raise StateConflictError(
            f"{register} was written by others each of {_ATTEMPTS} times that this process tried: "
            f"{', '.join(sorted(set(rivals)))}; let fewer write to one state, or write less often",
            attempts=len(rivals),
            rivals=tuple(rivals),
        )

    def _encoded(self, value: Any) -> bytes:
        return b"".join(codec.encode(value, self._classes))

    def _value(self, record: Record) -> Any:
        return codec.decode(record.payload or b"", self._classes)

    def _cache(self) -> Cache:
        return cache_at(self._place)

    def _register(self) -> Register:
        cache = self._cache()
        with process_lock:
            if self._recorder is None:
                self._recorder = Recorder(f"state {self.name!r}", cache.hooks)
        return self._register_type(
            cache.store, state_prefix(self.name), self.keep, self._recorder, cache.packing, self._clock, self._sleep
        )


class AsyncState:
    """The methods of a ServiceState, awaitable; see there.

    On an ObjectStore they need no threads, elsewhere each call runs in one. A write whose task is cancelled may still take
    effect.
    """

    def __init__(self, state: ServiceState) -> None:
        self._state = state

    @property
    def version(self) -> Awaitable[int]:
        """The newest version's number, to be awaited."""
        return self._done(lambda: self._state.version)

    async def get(self, default: Any = None) -> Any:
        """Return the value, or `default`."""
        return await self._done(lambda: self._state.get(default))

    async def set(self, value: Any, *, expected_version: int | None = None) -> int:
        """Write a value; return its version's number."""
        return await self._done(lambda: self._state.set(value, expected_version=expected_version))

    async def update(self, fn: Callable[[Any], Any], *, default: Any = None) -> Any:
        """Replace the value by `fn(value)`, where `fn` is a plain function that runs in a thread, and return that."""
        import asyncio  # noqa: PLC0415  it loads slowly, and most programs are not asynchronous

        def run(value: Any) -> Any:
            try:
                return fn(value)
            except StopIteration as error:  # no future takes one
                raise RuntimeError(f"{fn!r} raised {error!r}") from error

        def beside(value: Any) -> Any:  # in another thread: it may take long, or wait for something that needs this one
            return bridge.wait_for(asyncio.to_thread(run, value)) if bridge.is_crossed() else run(value)

        return await self._done(lambda: self._state.update(beside if callable(fn) else fn, default=default))

    async def clear(self) -> int:
        """Write a tombstone."""
        return await self._done(self._state.clear)

    async def history(self) -> list[StateVersion]:
        """Return the versions still in the store, newest first."""
        return await self._done(self._state.history)

    async def at(self, moment: datetime) -> Any:
        """Return the value at a moment."""
        return await self._done(lambda: self._state.at(moment))

    async def rollback(self, n: int) -> int:
        """Write the value of version `n` again."""
        return await self._done(lambda: self._state.rollback(n))

    async def _done(self, action: Callable[[], T]) -> T:
        if self._state._cache().awaits:  # noqa: SLF001  it is one of us
            return await bridge.bridged(action)
        import asyncio  # noqa: PLC0415  as above

        return await asyncio.to_thread(action)


def _read(register: Register, version: StateVersion) -> Record:
    """GET a version that was just listed."""
    try:
        return register.read(version.number)
    except NotFoundError as error:
        raise _vanished(register) from error


def _vanished(register: Register) -> StoreUnavailableError:
    return StoreUnavailableError(
        f"{register} lists a version that is not there: its listings are out of date; try again"
    )
