"""Batches of async functions: each call is a task of the loop, and waiting for the store never blocks it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, suppress
from functools import partial
from types import TracebackType
from typing import Generic, Self, TypeVar

from s3memo import tasks
from s3memo.batch import Batch, show_nothing
from s3memo.flight import Outcome
from s3memo.windows import Item, Progress

R = TypeVar("R")


class AsyncResults(AsyncIterator[R], Generic[R]):
    """The results of a batch, in an async iterator that is also an async context manager.

    After it has raised the error of one call it goes on with the next. Closing or dropping it cancels the running
    calls, except those that others wait for. `progress` tells how far it is.
    """

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._update: Callable[[Progress], None] = show_nothing
        self._landed: asyncio.Queue[Item] = asyncio.Queue()
        self._tasks = set[asyncio.Task[None]]()
        self._screen = ExitStack()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_closed = False

    @property
    def progress(self) -> Progress:
        """How far the batch is."""
        return self._batch.progress

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> R:
        if self._is_closed:
            raise StopAsyncIteration
        try:
            item = await self._next()
        except BaseException:  # a cancellation, or a store error with on_error="raise"
            await self.aclose()
            raise
        if item is None:
            if not self._is_closed:
                self._batch.tell_end()
            await self.aclose()
            raise StopAsyncIteration
        return self._batch.result(item)  # type: ignore[no-any-return]  # the function's own result

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        if self._loop is not None and not self._is_closed:
            self._batch.count_requests()
            with suppress(RuntimeError):  # the loop is gone
                self._loop.call_soon_threadsafe(_dismiss, self._tasks, self._screen)

    async def aclose(self) -> None:
        """Cancel the calls that have not ended."""
        if not self._is_closed:
            self._is_closed = True
            self._batch.count_requests()
        _dismiss(self._tasks, self._screen)  # even if closed before: another task may have started some since

    async def _next(self) -> Item | None:
        """Return the next item whose result goes out; None after the last."""
        batch = self._batch
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._update = self._screen.enter_context(batch.show())
        while not self._is_closed:
            self._start()
            while batch.wants_window and not self._is_closed:
                window = batch.take_window()
                batch.plan(window, await tasks.blocking(batch.cache, partial(batch.survey, window)))
                self._start()
            item = batch.board.take()
            if item is not None or batch.is_over:
                return item
            self._settle(await self._landed.get())  # cancelled calls land too, if another task closes the batch
            while not self._landed.empty():
                self._settle(self._landed.get_nowait())
        return None

    def _start(self) -> None:
        batch = self._batch
        while batch.board.running < batch.options.concurrency:
            item = batch.board.start()
            if item is None:
                break
            task = asyncio.create_task(_make(batch, item, self._landed))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _settle(self, item: Item) -> None:
        self._batch.end(item)
        self._update(self._batch.progress)


async def _make(batch: Batch, item: Item, landed: asyncio.Queue[Item]) -> None:
    """Make a call. It keeps no reference to the results, so that these can be dropped while it runs."""
    try:
        if item.call is None:
            item.outcome = Outcome(await batch.call_plainly(item))
        else:
            item.outcome = batch.known(item) or await tasks.bring(item.call)
    except BaseException as error:  # noqa: BLE001  raised in place of its result
        item.error = error
    finally:
        landed.put_nowait(item)


def _dismiss(running: set[asyncio.Task[None]], screen: ExitStack) -> None:
    for task in running:
        task.cancel()
    screen.close()
