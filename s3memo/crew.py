"""Batches of plain functions: threads make the calls, or hand them to an executor; I/O and computation overlap."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from contextvars import copy_context
from functools import partial
from types import TracebackType
from typing import Any, Generic, Self, TypeVar
from weakref import WeakSet

from s3memo.batch import Batch, Elsewhere, Report, show_nothing
from s3memo.locks import rebuild_after_fork
from s3memo.windows import Item, Progress

R = TypeVar("R")

_FRAME_SECONDS = 0.5
"""How often a waiting caller updates the progress and notices that another thread has closed the batch."""


class Crew:
    """The threads that make a batch's calls. The board is used with `changed` held."""

    def __init__(self, batch: Batch, elsewhere: Elsewhere) -> None:
        self.changed = threading.Condition()
        self._batch = batch
        self._elsewhere = elsewhere
        self._executor = batch.options.executor
        self._context = copy_context()
        self._pool = ThreadPoolExecutor(batch.options.concurrency, thread_name_prefix="s3memo-map")
        self._at_work = 0
        self._remote = set[Future[Any]]()
        self._is_dismissed = False
        _crews.add(self)
        rebuild_after_fork(self._forget)

    def call(self) -> None:
        """Start as many threads as there are calls to make."""
        board, most = self._batch.board, self._batch.options.concurrency
        wanted = min(most, board.running + board.waiting) if board.can_start else 0
        while self._at_work < wanted and not self._is_dismissed:
            self._at_work += 1
            self._pool.submit(self._context.copy().run, self._work)

    def dismiss(self) -> None:
        """Cancel the calls that have not started."""
        if self._is_dismissed:
            return
        self._is_dismissed = True
        for future in [*self._remote]:
            future.cancel()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _forget(self) -> None:
        """Abandon the crew in a forked child, where its threads are gone and may have held locks."""
        self._is_dismissed = True

    def _work(self) -> None:
        while True:
            with self.changed:
                board = self._batch.board
                is_full = board.running >= self._batch.options.concurrency
                item = None if self._is_dismissed or is_full else board.start()
                self._tell()  # this was the last one planned, or some failed before they could start
                if item is None:
                    self._at_work -= 1
                    return
            if self._make(item):
                self._land(item)

    def _make(self, item: Item) -> bool:
        """Make a call, or submit it to the executor; return whether it has ended."""
        try:
            if self._executor is None:
                item.outcome = self._batch.make(item)
            else:
                item.outcome = self._batch.look(item)
                if item.outcome is None:
                    future = self._executor.submit(self._elsewhere, item.args, self._batch.options.returns)
                    self._remote.add(future)
                    future.add_done_callback(partial(self._receive, item))
                    return False
        except BaseException as error:  # noqa: BLE001  raised in place of its result
            item.error = error
        return True

    def _receive(self, item: Item, future: Future[Report]) -> None:
        """Take the report of a call made by the executor."""
        self._remote.discard(future)
        try:
            self._batch.receive(item, future.result())
        except BaseException as error:  # noqa: BLE001  as above; cancellation included
            self._batch.receive_error(item, error)
        self._land(item)

    def _land(self, item: Item) -> None:
        with self.changed:
            self._batch.end(item)
            if self._executor is not None:  # this is the executor's thread, which takes no further call
                self.call()
            self._tell()

    def _tell(self) -> None:
        if self._batch.board.has_ready or self._batch.wants_window:
            self.changed.notify()


_crews: WeakSet[Crew] = WeakSet()


def _dismiss_all() -> None:
    """Let the interpreter's exit wait for running calls only."""
    for crew in [*_crews]:
        crew.dismiss()


threading._register_atexit(_dismiss_all)  # type: ignore[attr-defined]  # noqa: SLF001  atexit runs only after threads are joined


class Results(Iterator[R], Generic[R]):
    """The results of a batch, in an iterator that is also a context manager.

    After it has raised the error of one call it goes on with the next. Closing or dropping it cancels the calls that
    have not started; running ones end and are stored. `progress` tells how far it is.
    """

    def __init__(self, batch: Batch, elsewhere: Elsewhere) -> None:
        self._batch = batch
        self._elsewhere = elsewhere
        self._update: Callable[[Progress], None] = show_nothing
        self._screen = ExitStack()
        self._crew: Crew | None = None
        self._is_closed = False

    @property
    def progress(self) -> Progress:
        """How far the batch is."""
        return self._batch.progress

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> R:
        if self._is_closed:
            raise StopIteration
        try:
            item = self._next()
        except BaseException:  # an interrupt, or a store error with on_error="raise"
            self.close()
            raise
        if item is None:
            if not self._is_closed:
                self._batch.tell_end()
            self.close()
            raise StopIteration
        return self._batch.result(item)  # type: ignore[no-any-return]  # the function's own result

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Cancel the calls that have not started."""
        if not self._is_closed:
            self._is_closed = True
            if self._crew is not None:
                self._crew.dismiss()
            self._batch.count_requests()
            self._screen.close()

    def _next(self) -> Item | None:
        """Return the next item whose result goes out; None after the last."""
        batch, crew = self._batch, self._crew
        if crew is None:
            crew = self._crew = Crew(batch, self._elsewhere)
            self._update = self._screen.enter_context(batch.show())
        while True:
            is_waiting = False
            with crew.changed:
                if self._is_closed:
                    return None
                item = batch.board.take()
                crew.call()
                if item is None and not batch.is_over and not batch.wants_window:
                    crew.changed.wait(_FRAME_SECONDS)
                    is_waiting = True
            self._update(batch.progress)
            if is_waiting:
                continue
            if item is not None or batch.is_over:
                return item
            window = batch.take_window()
            reading = batch.survey(window)
            with crew.changed:
                batch.plan(window, reading)
