"""Bounded waiting in a thread for obstore's asynchronous calls, without an event loop.

obstore's blocking calls cannot be abandoned, neither on a time-out nor on an interrupt. Its asynchronous ones can, but
want a running loop, which would have to be in another thread: two thread switches for each request. All they ask of the
loop is a future, and to be called back from their own threads.
"""

from __future__ import annotations

import threading
from asyncio.events import _get_running_loop, _set_running_loop
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

T = TypeVar("T")


def waited(begin: Callable[[], Awaitable[T]], seconds: float) -> T:
    """Return the result of an obstore call; abandon it after `seconds`, or on an interrupt.

    Raises TimeoutError without a message if it took too long.
    """
    around = _get_running_loop()  # the caller may block inside a loop
    try:
        _set_running_loop(_LOOP)  # inside the try, since an interrupt may come right after it
        answer = cast("_Answer", begin())
    finally:
        _set_running_loop(around)
    return cast("T", answer.wait(seconds))


class _Answer:
    """The part of a future that obstore uses."""

    def __init__(self) -> None:
        self._arrived = threading.Lock()
        self._arrived.acquire()
        self._is_cancelled = False
        self._result: Any = None
        self._error: BaseException | None = None
        self._tell: Callable[[_Answer], object] | None = None

    def wait(self, seconds: float) -> Any:
        """Return or raise what arrives; TimeoutError without a message if nothing does."""
        try:
            has_arrived = self._arrived.acquire(timeout=min(seconds, threading.TIMEOUT_MAX))
        except BaseException:
            self._cancel()
            raise
        if not has_arrived:
            self._cancel()
            raise TimeoutError
        error, self._error = self._error, None
        try:
            if error is not None:
                raise error
        finally:
            del error  # breaks its reference cycle with this frame
        return self._result

    def _cancel(self) -> None:
        self._is_cancelled = True
        if self._tell is not None:
            self._tell(self)

    # called by obstore

    def add_done_callback(self, tell: Callable[[_Answer], object]) -> None:
        self._tell = tell

    def cancelled(self) -> bool:
        return self._is_cancelled

    def set_result(self, result: Any) -> None:
        self._result = result
        self._arrived.release()

    def set_exception(self, error: BaseException) -> None:
        self._error = error
        self._arrived.release()


class _Loop:
    """The part of a loop that obstore uses."""

    def create_future(self) -> _Answer:
        return _Answer()

    def call_soon_threadsafe(self, callback: Callable[..., object], *args: Any, context: object = None) -> None:  # noqa: ARG002  passed by this name
        callback(*args)


_LOOP = cast("AbstractEventLoop", _Loop())
