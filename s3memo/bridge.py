"""Blocking code that an event loop's task runs without holding up the loop, and without a thread.

It runs in a greenlet, in its task's thread and context. Where it has to wait it hands the loop something to await and is
resumed with what that brought, as in SQLAlchemy's asyncio extension. So there is one engine for threads and for tasks.
What is the user's runs in `blocking`, as it would anywhere in the loop: it may hold locks that other tasks want.
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
"""Bytes. To encode or decode more would hold up a loop's other tasks."""

_crossings: set[Any] = set()
"""The greenlets whose code may let its loop go on now, of all threads."""


async def bridged(action: Callable[[], T]) -> T:
    """Run blocking code; where it waits by this module the loop goes on. A cancellation is raised where it waits.

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
            except BaseException as error:  # noqa: BLE001  the action gets it
                if isinstance(error, GeneratorExit):  # the loop is gone
                    _crossings.discard(crossing)
                crossing.parent = getcurrent()  # which a task that was started eagerly has another of each time
                brought = crossing.throw(type(error), error, error.__traceback__)
            else:
                crossing.parent = getcurrent()
                brought = crossing.switch(answer)
        return brought  # type: ignore[no-any-return]  # it is what the action returned
    finally:
        _crossings.discard(crossing)


def is_crossed() -> bool:
    """Whether what waits here can let a loop go on."""
    return bool(_crossings) and sys.modules["greenlet"].getcurrent() in _crossings


def wait_for(awaitable: Awaitable[T]) -> T:
    """Let the loop go on until something is there; only where `is_crossed`."""
    return _greenlet().getcurrent().parent.switch(awaitable)  # type: ignore[no-any-return]  # it is what was awaited


def sleep(seconds: float) -> None:
    """Wait for so many seconds."""
    if is_crossed():
        import asyncio  # noqa: PLC0415  most programs are not asynchronous, and it takes long to load

        wait_for(asyncio.sleep(seconds))
    else:
        time.sleep(seconds)


class blocking:  # noqa: N801  it is used as a function; a generator would take twice as long
    """Let what waits in the block hold up the loop, as code does that knows of no bridge."""

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
    """Do what takes long, or cannot but block: here, or if that would hold up a loop, in a thread beside it."""
    if not is_crossed():
        return action()
    import asyncio  # noqa: PLC0415  as above

    return wait_for(asyncio.get_running_loop().run_in_executor(_helpers(), copy_context().run, action))


def side_by_side(actions: Sequence[Callable[[], T]], *, most: int, name: str) -> list[T]:
    """Do things at once, in up to `most` threads or tasks; return what each brought, or raise what one raised.

    `name` is what the threads are called by.
    """
    if is_crossed():
        return wait_for(_gathered([(copy_context(), action) for action in actions], most))
    with ThreadPoolExecutor(most, thread_name_prefix=f"s3memo-{name}") as pool:
        jobs = [pool.submit(copy_context().run, action) for action in actions]
        return [job.result() for job in jobs]


class Errand:
    """Something that one thread or task does for others too, who may wait for its end."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        self._end: Future[None] = Future()

    def end(self) -> None:
        """Let go on whoever waits."""
        self._end.set_result(None)

    def wait(self, seconds: float) -> None:
        """Wait for its end, for so many seconds at most; not at all where that would hold up the one who does it."""
        if is_crossed():
            import asyncio  # noqa: PLC0415  as above

            wait_for(asyncio.wait([asyncio.wrap_future(self._end)], timeout=seconds))
        elif self._thread != threading.get_ident():
            wait_for_futures([self._end], seconds)


def signal() -> Signal:
    """Return what a companion started here can be told to stop by."""
    return LoopSignal() if is_crossed() else threading.Event()


def accompany(action: Callable[[], None], name: str) -> Companion:
    """Start something that goes on beside what runs here: in a daemon thread, or as a task of the loop.

    Raises RuntimeError if the system has no thread left.
    """
    if is_crossed():
        return LoopCompanion(action)
    thread = threading.Thread(target=copy_context().run, args=(action,), name=name, daemon=True)
    thread.start()
    return thread


class LoopSignal:
    """A threading.Event for what runs in one loop."""

    def __init__(self) -> None:
        import asyncio  # noqa: PLC0415  as above

        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()

    def set(self) -> None:
        """Let go on whoever waits."""
        if not self._loop.is_closed():
            self._event.set()

    def wait(self, timeout: float) -> bool:
        """Wait for so many seconds at most; return whether it was set."""
        return wait_for(self._is_set_within(timeout))

    async def _is_set_within(self, seconds: float) -> bool:
        import asyncio  # noqa: PLC0415  as above

        try:
            async with asyncio.timeout(seconds):
                return await self._event.wait()
        except TimeoutError:
            return False


class LoopCompanion:
    """What goes on as a task."""

    def __init__(self, action: Callable[[], None]) -> None:
        import asyncio  # noqa: PLC0415  as above

        self._task = asyncio.create_task(bridged(action), context=copy_context())

    def join(self) -> None:
        """Wait until it has ended, unless that would hold up the loop for which it waits itself."""
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
