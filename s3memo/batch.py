"""Many calls of one function: what is stored is found by listing in windows; reads, computations and writes overlap."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, nullcontext
from contextvars import copy_context
from dataclasses import dataclass, replace
from functools import partial
from operator import length_hint
from types import TracebackType
from typing import Any, Generic, Literal, NamedTuple, Self, TypeAlias, TypedDict, TypeVar, get_args
from weakref import WeakSet

from s3memo import settings, threads
from s3memo.cache import Cache
from s3memo.entry import Entry
from s3memo.errors import SettingsError
from s3memo.events import Counts, logger, price
from s3memo.flight import Outcome
from s3memo.locks import rebuild_after_fork
from s3memo.memory import itself
from s3memo.settings import check_choice, check_count
from s3memo.stores.base import PAGE_SIZE
from s3memo.subject import Subject
from s3memo.versions import MICROSECONDS, Key, Version
from s3memo.windows import Board, Item, Progress

R = TypeVar("R")

Returns: TypeAlias = Literal["value", "entry"]

_WINDOW_SECONDS = 0.1
_FRAME_SECONDS = 0.5
"""So often who waits for a result shows the progress, and sees that another thread has closed the batch."""

_AHEAD = 4
"""So many times `concurrency` calls may have started and not been taken, so that memory stays bounded."""


class ValueOptions(TypedDict, total=False):
    """What `map` and `starmap` can be told that does not change what they return."""

    executor: Executor | None
    concurrency: int
    progress: bool
    ordered: bool


class BatchOptions(ValueOptions, total=False):
    """All that `map` and `starmap` can be told."""

    return_exceptions: bool
    returns: Returns


class Report(NamedTuple):
    """What a worker in another process sends back of one call; the value stays there if it is stored and not wanted."""

    outcome: Outcome[Any]
    counts: Counts


Elsewhere: TypeAlias = Callable[[tuple[Any, ...], Returns], Report]
"""Makes a call where it arrives. It can be pickled."""


@dataclass(frozen=True, slots=True)
class BatchSettings:
    """Checked options, all of them."""

    executor: Executor | None = None
    concurrency: int = 32
    progress: bool = False
    ordered: bool = True
    return_exceptions: bool = False
    returns: Returns = "value"

    def __post_init__(self) -> None:
        check_count("concurrency", self.concurrency, of="calls", least=1)
        check_choice("returns", self.returns, get_args(Returns))
        for name in ("progress", "ordered", "return_exceptions"):
            check_choice(name, getattr(self, name), (True, False))
        if self.executor is not None and not isinstance(self.executor, Executor):
            raise SettingsError(
                f"executor={self.executor!r} must be a concurrent.futures.Executor, such as a ProcessPoolExecutor, "
                "or what client.get_executor() of Dask returns"
            )


class Rows:
    """The rows of some columns, as many as the shortest of them has."""

    def __init__(self, columns: tuple[Iterable[Any], ...]) -> None:
        if not columns:
            raise SettingsError("map() needs one iterable at least, for the function's first argument")
        self._columns = columns

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return zip(*self._columns, strict=False)

    def __length_hint__(self) -> int:
        hints = [length_hint(column, -1) for column in self._columns]
        return min(hints) if min(hints) >= 0 else NotImplemented


class Batch:
    """Calls of one function with one set of options, before it is said who carries them out."""

    def __init__(self, subject: Subject, bound: tuple[Any, ...], inputs: Iterable[Any], options: BatchSettings) -> None:
        self.subject = subject
        self.options = options
        self.board = Board(ordered=options.ordered, most=_AHEAD * options.concurrency)
        hint = length_hint(inputs, -1)
        self.progress = Progress(total=hint if hint >= 0 else None)
        self._bound = bound
        self._inputs = iter(inputs)
        self._has_ended = False
        self._is_disabled = settings.is_disabled()
        self._absent_since = math.inf
        self._sent_before = Counter(subject.bind()[1].recorder.counts()[1])

    @property
    def cache(self) -> Cache:
        """The cache that the function is bound to."""
        return self.subject.bind()[0]

    @property
    def is_over(self) -> bool:
        """Whether all has gone out."""
        return self._has_ended and self.board.is_empty

    @property
    def wants_window(self) -> bool:
        """Whether it is time to take more of the inputs."""
        return not self._has_ended and self.board.wants_more and self.board.running < self.options.concurrency

    def take_window(self) -> list[Item]:
        """Take inputs: a page of them, or what comes in a tenth of a second. An error of theirs takes a place itself."""
        window: list[Item] = []
        deadline = time.monotonic() + _WINDOW_SECONDS
        while len(window) < PAGE_SIZE and (not window or time.monotonic() < deadline):
            try:
                args = next(self._inputs)
            except StopIteration:
                self._has_ended = True
                break
            except Exception as error:  # noqa: BLE001  it is raised where the input would have been
                self._has_ended = True
                window.append(Item(error=error))
                break
            window.append(self._item(args))
        return window

    def survey(self, window: list[Item]) -> float:
        """List which calls of a window are stored; return since when absences count. It may wait for the store."""
        cache, terms = self.subject.bind()
        return cache.survey([item.key for item in window if item.key is not None], terms)

    def plan(self, window: list[Item], absent_since: float) -> None:
        """Let the calls of a window be made."""
        self._absent_since = min(self._absent_since, absent_since)
        for item in window:
            if item.call is not None:
                item.call = replace(item.call, absent_since=self._absent_since)
            if item.error is not None:
                self.progress.count(item)
        self.board.plan(window)

    def make(self, item: Item) -> Outcome[Any]:
        """Make a call here, or raise what it raises."""
        if item.call is None:
            return Outcome(self.call_plainly(item))
        return self.known(item) or threads.bring(item.call)

    def call_plainly(self, item: Item) -> Any:
        """Call the function as if it were not decorated."""
        return self.subject.function(*self._bound, *item.args)

    def look(self, item: Item) -> Outcome[Any] | None:
        """Return what is stored of a call, which else is made elsewhere. Raises a stored exception."""
        if item.call is None:
            return None
        known, call = self.known(item), item.call
        if known is not None:
            return known
        hit = call.cache.find_stored(call.key, call.terms, absent_since=call.absent_since)
        return None if hit is None else hit.outcome()

    def receive(self, item: Item, report: Report) -> None:
        """Take what another process sent back of a call."""
        item.outcome = report.outcome
        if item.call is not None:
            item.call.terms.recorder.absorb(report.counts)
            item.call.cache.forget_names(item.call.key)

    def end(self, item: Item) -> None:
        """Note that a call has been made, and share what it brought with those of the same key."""
        self.progress.count(item)
        for other in self.board.end(item):
            if not self._share(item, other):
                self.board.again(other)
                continue
            self.board.settle(other)
            self.progress.count(other)

    def result(self, item: Item) -> Any:
        """Return what a call brought as the caller wants it, or raise its error."""
        if item.outcome is None:
            error = item.error or CancelledError()
            if isinstance(error, Exception) and self.options.return_exceptions:
                return error
            if isinstance(error, StopIteration | StopAsyncIteration):  # which would end the caller's loop
                raise RuntimeError(f"{self.subject.namespace} raised {error!r}") from error
            raise error
        if self.options.returns == "value":
            return item.outcome.value
        return self._entry(item.key or self.subject.key((*self._bound, *item.args), {}), item.outcome)

    def known(self, item: Item) -> Outcome[Any] | None:
        """Return a stored result that need not be read, because its value may never be asked for."""
        if self.options.returns != "entry" or item.call is None:
            return None
        cache, key, terms = item.call.cache, item.call.key, item.call.terms
        found = cache.known(key, terms)
        if found is None:
            return None
        version, size = found
        terms.recorder.emit("hit", key=str(key), tier="store", seconds=version.elapsed / 1000)
        return Outcome(None, None, version.elapsed / 1000, version=version, size=size, is_hit=True)

    def show(self) -> AbstractContextManager[Callable[[Progress], None]]:
        """Return what shows the progress, if it is to be shown."""
        if not self.options.progress:
            return nullcontext(show_nothing)
        from s3memo.progress import showing  # noqa: PLC0415  it needs an extra

        return showing(self.progress.total, self.subject.namespace)

    def tell_end(self) -> None:
        """Log what the batch did, what that saved, and what it cost."""
        _, terms = self.subject.bind()
        done, requests = self.progress, Counter(terms.recorder.counts()[1])
        requests.subtract(self._sent_before)
        sent = ", ".join(f"{kind} {count:,}" for kind, count in sorted(requests.items()) if count) or "none"
        logger.info(
            "s3memo: %s: %s calls: %s stored, %s computed, %s failed; %.1f s saved; requests: %s, about $%.4f",
            *(terms.recorder.function, f"{done.done:,}", f"{done.hits:,}", f"{done.computed:,}", f"{done.failed:,}"),
            *(done.seconds_saved, sent, price(requests)),
        )

    def _item(self, given: Any) -> Item:
        try:
            args = tuple(given)
            return Item(args, None if self._is_disabled else self.subject.call((*self._bound, *args), {}))
        except Exception as error:  # noqa: BLE001  the argument's, which fails this call alone
            return Item(error=error)

    def _share(self, item: Item, other: Item) -> bool:
        """Let a call have what another of the same key brought; return whether that could be."""
        other.error = item.error
        if item.outcome is None or other.call is None:
            return True
        if item.outcome.share is None:
            return False
        try:
            value = item.outcome.share()
            other.call.terms.recorder.emit("hit", key=str(other.key), tier="memory", seconds=item.outcome.seconds)
        except Exception:  # noqa: BLE001  it makes the call itself
            return False
        except BaseException as error:  # noqa: BLE001  out of a hook; no thread of ours may end of it
            other.error = error
        else:
            other.outcome = replace(item.outcome, value=value, is_hit=True)
        return True

    def _entry(self, key: Key, outcome: Outcome[Any]) -> Entry[Any]:
        cache, terms = self.subject.bind()
        version = outcome.version
        if version is None:  # it is not stored, and the store, which may be down, is not asked for the time
            at = int(time.time() * MICROSECONDS)
            version = Version(at, at, None, int(outcome.seconds * 1000), "0" * 8)
            return Entry(key, partial(itself, outcome.value), version, 0)
        return Entry(key, partial(cache.value_of, key, version, terms), version, outcome.size)


class _Crew:
    """The threads that make a batch's calls, each one after the other; the board is touched with `changed` held."""

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
        """Let as many threads work as there are calls to make."""
        board, most = self._batch.board, self._batch.options.concurrency
        wanted = min(most, board.running + board.waiting) if board.can_start else 0
        while self._at_work < wanted and not self._is_dismissed:
            self._at_work += 1
            self._pool.submit(self._context.copy().run, self._work)

    def dismiss(self) -> None:
        """Cancel what has not started."""
        if self._is_dismissed:
            return
        self._is_dismissed = True
        for future in [*self._remote]:
            future.cancel()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _forget(self) -> None:
        """Touch nothing in a forked child, which has none of the threads, and maybe locks that one of them held."""
        self._is_dismissed = True

    def _work(self) -> None:
        while True:
            with self.changed:
                board = self._batch.board
                is_full = board.running >= self._batch.options.concurrency
                item = None if self._is_dismissed or is_full else board.start()
                self._tell()  # that it was the last one planned, or of what failed before it could start
                if item is None:
                    self._at_work -= 1
                    return
            if self._make(item):
                self._land(item)

    def _make(self, item: Item) -> bool:
        """Make a call, or let it be made elsewhere; return whether it has ended."""
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
        except BaseException as error:  # noqa: BLE001  it is raised where its result would have been
            item.error = error
        return True

    def _receive(self, item: Item, future: Future[Report]) -> None:
        """Take what was made elsewhere."""
        self._remote.discard(future)
        try:
            self._batch.receive(item, future.result())
        except BaseException as error:  # noqa: BLE001  as above; that it was cancelled, too
            item.error = error
        self._land(item)

    def _land(self, item: Item) -> None:
        with self.changed:
            self._batch.end(item)
            if self._executor is not None:  # no thread of ours goes on from here to the next call
                self.call()
            self._tell()

    def _tell(self) -> None:
        if self._batch.board.has_ready or self._batch.wants_window:
            self.changed.notify()


_crews: WeakSet[_Crew] = WeakSet()


def _dismiss_all() -> None:
    """Let the end of the interpreter wait for what runs, and for no call more."""
    for crew in [*_crews]:
        crew.dismiss()


threading._register_atexit(_dismiss_all)  # type: ignore[attr-defined]  # noqa: SLF001  atexit comes after threads are joined


class Results(Iterator[R], Generic[R]):
    """The results of a batch, as the iterator is asked for them; a context manager.

    After it has raised what one call raised it goes on with the next. To close it, or to drop it, cancels what has not
    started; what runs ends, and is stored. `progress` tells how far it is.
    """

    def __init__(self, batch: Batch, elsewhere: Elsewhere) -> None:
        self._batch = batch
        self._elsewhere = elsewhere
        self._update: Callable[[Progress], None] = show_nothing
        self._screen = ExitStack()
        self._crew: _Crew | None = None
        self._is_closed = False

    @property
    def progress(self) -> Progress:
        """How far it is."""
        return self._batch.progress

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> R:
        if self._is_closed:
            raise StopIteration
        try:
            item = self._next()
        except BaseException:  # an interruption, or a store's error that is let out
            self.close()
            raise
        if item is None:
            if not self._is_closed:
                self._batch.tell_end()
            self.close()
            raise StopIteration
        return self._batch.result(item)  # type: ignore[no-any-return]  # it is what the function returned

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Cancel what has not started."""
        if not self._is_closed:
            self._is_closed = True
            if self._crew is not None:
                self._crew.dismiss()
            self._screen.close()

    def _next(self) -> Item | None:
        """Return the next one that goes out; None after the last."""
        batch, crew = self._batch, self._crew
        if crew is None:
            crew = self._crew = _Crew(batch, self._elsewhere)
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
            absent_since = batch.survey(window)
            with crew.changed:
                batch.plan(window, absent_since)


def show_nothing(_: Progress) -> None:
    """Show no progress."""
