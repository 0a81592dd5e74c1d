"""Waiting in a thread, so long and no longer, for what obstore brings asynchronously: without an event loop.

obstore's blocking calls cannot be given up, neither after a time nor by an interruption. Its asynchronous ones can, but
want a running loop, which would have to be in another thread: two changes of thread for each request. All they ask of it
is a future, and to be called back from their own threads.
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
    """Return what a call of obstore's brings; after so many seconds, or interrupted, give it up.

    Raises TimeoutError without words if it took too long.
    """
    around = _get_running_loop()  # of code that blocks in a loop
    try:
        _set_running_loop(_LOOP)  # an interruption may come right after it
        answer = cast("_Answer", begin())
    finally:
        _set_running_loop(around)
    return cast("T", answer.wait(seconds))


class _Answer:
    """As much of a future as obstore knows."""

    def __init__(self) -> None:
        self._arrived = threading.Lock()
        self._arrived.acquire()
        self._is_cancelled = False
        self._result: Any = None
        self._error: BaseException | None = None
        self._tell: Callable[[_Answer], object] | None = None

    def wait(self, seconds: float) -> Any:
        """Return or raise what arrives; TimeoutError without words if nothing does."""
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
            del error  # it would refer to itself by way of this frame
        return self._result

    def _cancel(self) -> None:
        self._is_cancelled = True
        if self._tell is not None:
            self._tell(self)

    # what obstore calls

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
    """As much of a loop as obstore knows."""

    def create_future(self) -> _Answer:
        return _Answer()

    def call_soon_threadsafe(self, callback: Callable[..., object], *args: Any, context: object = None) -> None:  # noqa: ARG002  it comes by this name
        callback(*args)


_LOOP = cast("AbstractEventLoop", _Loop())
