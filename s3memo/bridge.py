"""Runs blocking code in an event loop's task, without blocking the loop and without a thread.

The code runs in a greenlet, in the task's thread and context. Where it has to wait, it hands the loop an awaitable and
is resumed with its result, as in SQLAlchemy's asyncio extension, so threads and tasks share one engine. The user's code
runs in `blocking`, as it would anywhere in the loop: it may hold locks that other tasks want.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for_futures
from contextvars import Context, copy_context
from types import ModuleType
from typing import Any, TypeAlias, TypeVar

from s3memo.errors import SettingsError

T = TypeVar("T")

Signal: TypeAlias = "threading.Event | LoopSignal"
Companion: TypeAlias = "threading.Thread | LoopCompanion"

LARGE = 64 * 1024
"""In bytes: encoding or decoding more would hold up the other tasks of a loop."""

_crossings: set[Any] = set()
"""The greenlets, of all threads, whose code may let its loop go on now."""


async def bridged(action: Callable[[], T]) -> T:
    """Run blocking code; where it waits through this module, the loop goes on. A cancellation is raised there.

    Raises SettingsError without the extra "obstore".
    """
    getcurrent = _greenlet().getcurrent
    crossing: Any = _greenlet().greenlet(action)
    crossing.gr_context = copy_context()
    _crossings.add(crossing)
    try:
        brought = crossing.switch()
        while not crossing.dead:
            try:
                answer = await brought
            except BaseException as error:  # noqa: BLE001  raised in the action
                if isinstance(error, GeneratorExit):  # the loop is closed
                    _crossings.discard(crossing)
                crossing.parent = getcurrent()  # an eagerly started task has a new parent each time
                brought = crossing.throw(type(error), error, error.__traceback__)
            else:
                crossing.parent = getcurrent()
                brought = crossing.switch(answer)
        return brought  # type: ignore[no-any-return]  # the action's own result
    finally:
        _crossings.discard(crossing)


def is_crossed() -> bool:
    """Whether code that waits here can let a loop go on."""
    return bool(_crossings) and sys.modules["greenlet"].getcurrent() in _crossings


def wait_for(awaitable: Awaitable[T]) -> T:
    """Let the loop go on until an awaitable has its result; only where `is_crossed`."""
    return _greenlet().getcurrent().parent.switch(awaitable)  # type: ignore[no-any-return]  # the awaitable's own result


def sleep(seconds: float) -> None:
    """Wait for some seconds."""
    if is_crossed():
        import asyncio  # noqa: PLC0415  slow to load, and most programs are not asynchronous

        wait_for(asyncio.sleep(seconds))
    else:
        time.sleep(seconds)


class blocking:  # noqa: N801  used like a function; a generator would take twice as long
    """Let waits in the block hold up the loop, as in code that knows of no bridge."""

    __slots__ = ("_crossing",)

    def __enter__(self) -> None:
        crossing = sys.modules["greenlet"].getcurrent() if _crossings else None
        self._crossing: Any = crossing if crossing in _crossings else None
        if self._crossing is not None:
            _crossings.discard(crossing)

    def __exit__(self, *_: object) -> None:
        if self._crossing is not None:
            _crossings.add(self._crossing)


def aside(action: Callable[[], T]) -> T:
    """Run what takes long or has to block: here, or in a thread if that would hold up a loop."""
    if not is_crossed():
        return action()
    import asyncio  # noqa: PLC0415  as above

    return wait_for(asyncio.get_running_loop().run_in_executor(_helpers(), copy_context().run, action))


def side_by_side(actions: Sequence[Callable[[], T]], *, most: int, name: str) -> list[T]:
    """Run actions at once, in up to `most` threads or tasks; return their results in order, or raise an error of one.

    `name` is used to name the threads.
    """
    if is_crossed():
        return wait_for(_gathered([(copy_context(), action) for action in actions], most))
    with ThreadPoolExecutor(most, thread_name_prefix=f"s3memo-{name}") as pool:
        jobs = [pool.submit(copy_context().run, action) for action in actions]
        return [job.result() for job in jobs]


class Errand:
    """Work that one thread or task does for others, who can wait for its end."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        self._end: Future[None] = Future()

    def end(self) -> None:
        """Let the waiters go on."""
        self._end.set_result(None)

    def wait(self, seconds: float) -> None:
        """Wait for its end, at most `seconds`; not at all if that would hold up the thread that does the work."""
        if is_crossed():
            import asyncio  # noqa: PLC0415  as above

            wait_for(asyncio.wait([asyncio.wrap_future(self._end)], timeout=seconds))
        elif self._thread != threading.get_ident():
            wait_for_futures([self._end], seconds)


def signal() -> Signal:
    """Return an event by which a companion started here can be told to stop."""
    return LoopSignal() if is_crossed() else threading.Event()


def accompany(action: Callable[[], None], name: str) -> Companion:
    """Run an action in the background: in a daemon thread, or as a task of the loop.

    Raises RuntimeError if no thread can be started.
    """
    if is_crossed():
        return LoopCompanion(action)
    thread = threading.Thread(target=copy_context().run, args=(action,), name=name, daemon=True)
    thread.start()
    return thread


class LoopSignal:
    """A threading.Event for the code of one loop."""

    def __init__(self) -> None:
        import asyncio  # noqa: PLC0415  as above

        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()

    def set(self) -> None:
        """Let the waiters go on."""
        if not self._loop.is_closed():
            self._event.set()

    def wait(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds; return whether it was set."""
        return wait_for(self._is_set_within(timeout))

    async def _is_set_within(self, seconds: float) -> bool:
        import asyncio  # noqa: PLC0415  as above

        try:
            async with asyncio.timeout(seconds):
                return await self._event.wait()
        except TimeoutError:
            return False


class LoopCompanion:
    """A companion that runs as a task."""

    def __init__(self, action: Callable[[], None]) -> None:
        import asyncio  # noqa: PLC0415  as above

        self._task = asyncio.create_task(bridged(action), context=copy_context())

    def join(self) -> None:
        """Wait until it has ended, unless that would block the loop it runs in."""
        if is_crossed():
            import asyncio  # noqa: PLC0415  as above

            wait_for(asyncio.wait([self._task]))


async def _gathered(actions: Sequence[tuple[Context, Callable[[], T]]], most: int) -> list[T]:
    import asyncio  # noqa: PLC0415  as above

    gate = asyncio.Semaphore(most)

    async def do(action: Callable[[], T]) -> T:
        async with gate:
            return await bridged(action)

    tasks = [asyncio.create_task(do(action), context=context) for context, action in actions]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        raise


def _greenlet() -> ModuleType:
    try:
        return importlib.import_module("greenlet")
    except ModuleNotFoundError as error:
        raise SettingsError("async functions on this store need greenlet: pip install 's3memo[obstore]'") from error


@functools.cache
def _helpers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(min(8, (os.cpu_count() or 1) + 2), thread_name_prefix="s3memo-aside")


os.register_at_fork(after_in_child=_helpers.cache_clear)
