"""Batches: many calls of one function. Inputs are taken in windows, and stored results are found by listing."""

from __future__ import annotations

import pickle
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Executor
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from operator import length_hint
from typing import Any, Literal, NamedTuple, TypeAlias, TypedDict, get_args

from s3memo import settings, threads
from s3memo.cache import Cache
from s3memo.entry import Entry, itself
from s3memo.errors import SettingsError
from s3memo.events import Counts, logger, price
from s3memo.flight import Outcome
from s3memo.names import NOTHING_READ, Reading
from s3memo.settings import check_choice, check_count
from s3memo.stores.base import PAGE_SIZE
from s3memo.subject import Subject
from s3memo.versions import MICROSECONDS, Key, Version
from s3memo.windows import Board, Item, Progress

Returns: TypeAlias = Literal["value", "entry"]

_WINDOW_SECONDS = 0.1
_AHEAD = 4
"""At most this many times `concurrency` calls may have started and not been taken; bounds memory."""


_COUNTS = "_s3memo_counts"


class ValueOptions(TypedDict, total=False):
    """Options of `map` and `starmap` that do not change the type of their results."""

    executor: Executor | None
    concurrency: int
    progress: bool
    ordered: bool


class BatchOptions(ValueOptions, total=False):
    """All options of `map` and `starmap`."""

    return_exceptions: bool
    returns: Returns


class Report(NamedTuple):
    """What a worker sends back from another process. A value that is stored and not wanted stays behind."""

    outcome: Outcome[Any]
    counts: Counts


def sendable(error: Exception, counts: Counts) -> Exception:
    """Return an exception that a worker can raise, with its counters; one that cannot be unpickled breaks the pool."""
    with suppress(Exception):  # an error that cannot even be pickled is reported by the executor
        pickled = pickle.dumps(error)
        try:
            pickle.loads(pickled)  # noqa: S301  pickled a line above
        except Exception:  # noqa: BLE001  unpickling calls its class, which may raise anything
            error = RuntimeError(
                f"{type(error).__qualname__}: {error} (the error itself cannot be sent to another process: let its "
                "class pass all its arguments to super().__init__, or define __reduce__)"
            )
    vars(error)[_COUNTS] = counts
    return error


Elsewhere: TypeAlias = Callable[[tuple[Any, ...], Returns], Report]
"""Makes one call in another process. It can be pickled."""


@dataclass(frozen=True, slots=True)
class BatchSettings:
    """The options of a batch, checked."""

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
    """The rows of some columns, as many as the shortest column has."""

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
    """Calls of one function with one set of options, whatever carries them out."""

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
        self._reading = NOTHING_READ
        self._sent_before = Counter(subject.bind()[1].recorder.counts()[1])

    @property
    def cache(self) -> Cache:
        """The cache of the function."""
        return self.subject.bind()[0]

    @property
    def is_over(self) -> bool:
        """Whether every result has gone out."""
        return self._has_ended and self.board.is_empty

    @property
    def wants_window(self) -> bool:
        """Whether it is time to take more inputs."""
        return not self._has_ended and self.board.wants_more and self.board.running < self.options.concurrency

    def take_window(self) -> list[Item]:
        """Take a page of inputs, or those of a tenth of a second. If they raise, the error takes a place of its own."""
        window: list[Item] = []
        deadline = time.monotonic() + _WINDOW_SECONDS
        while len(window) < PAGE_SIZE and (not window or time.monotonic() < deadline):
            try:
                args = next(self._inputs)
            except StopIteration:
                self._has_ended = True
                break
            except Exception as error:  # noqa: BLE001  raised in place of the input
                self._has_ended = True
                window.append(Item(error=error))
                break
            window.append(self._item(args))
        return window

    def survey(self, window: list[Item]) -> Reading:
        """List which calls of a window are stored; return the reading that they may rely on. May wait for the store."""
        cache, terms = self.subject.bind()
        keys = [item.key for item in window if item.key is not None]
        return cache.survey(keys, terms, self._reading)

    def plan(self, window: list[Item], reading: Reading) -> None:
        """Add the calls of a window to the board."""
        self._reading = reading
        for item in window:
            if item.call is not None:
                item.call = item.call._replace(reading=reading)
            if item.error is not None:
                self.progress.count(item)
        self.board.plan(window)

    def make(self, item: Item) -> Outcome[Any]:
        """Make a call here; raise what it raises."""
        if item.call is None:
            return Outcome(self.call_plainly(item))
        return self.known(item) or threads.bring(item.call)

    def call_plainly(self, item: Item) -> Any:
        """Call the original function."""
        return self.subject.function(*self._bound, *item.args)

    def look(self, item: Item) -> Outcome[Any] | None:
        """Return the stored outcome of a call to be made elsewhere, or None. Raises a stored exception."""
        if item.call is None:
            return None
        known, call = self.known(item), item.call
        if known is not None:
            return known
        hit = call.cache.find_stored(call.key, call.terms, reading=call.reading)
        return None if hit is None else hit.outcome()

    def receive(self, item: Item, report: Report) -> None:
        """Take the report of a call from another process."""
        item.outcome = report.outcome
        self._absorb(item, report.counts)

    def receive_error(self, item: Item, error: BaseException) -> None:
        """Take the error of a call in another process, or the reason why it was not made there."""
        item.error = error
        counts = vars(error).pop(_COUNTS, None)
        if counts is not None:
            self._absorb(item, counts)

    def end(self, item: Item) -> None:
        """Note that a call has ended, and share its outcome with the calls of the same key."""
        self.progress.count(item)
        for other in self.board.end(item):
            if not self._share(item, other):
                self.board.again(other)
                continue
            self.board.settle(other)
            self.progress.count(other)

    def result(self, item: Item) -> Any:
        """Return the result of a call in the form the caller asked for, or raise its error."""
        if item.outcome is None:
            error = item.error or CancelledError()
            if isinstance(error, Exception) and self.options.return_exceptions:
                return error
            if isinstance(error, StopIteration | StopAsyncIteration):  # would end the caller's loop
                raise RuntimeError(f"{self.subject.namespace} raised {error!r}") from error
            raise error.with_traceback(item.trace)
        if self.options.returns == "value":
            return item.outcome.value
        return self._entry(item.key or self.subject.key((*self._bound, *item.args), {}), item.outcome)

    def known(self, item: Item) -> Outcome[Any] | None:
        """Return the outcome of a stored call without reading it, because an entry's value may never be asked for."""
        if self.options.returns != "entry" or item.call is None:
            return None
        cache, key, terms = item.call.cache, item.call.key, item.call.terms
        found = cache.known(key, terms, item.call.reading)
        if found is None:
            return None
        version, size = found
        terms.recorder.emit("hit", key=key, tier="store", seconds=version.elapsed / 1000)
        return Outcome(None, None, version.elapsed / 1000, version=version, size=size, is_hit=True)

    def show(self) -> AbstractContextManager[Callable[[Progress], None]]:
        """Return a context manager that shows the progress, if asked for."""
        if not self.options.progress:
            return nullcontext(show_nothing)
        from s3memo.progress import showing  # noqa: PLC0415  needs an extra

        return showing(self.progress.total, self.subject.namespace)

    def count_requests(self) -> None:
        """Note which requests the store has been sent for the function since the batch began."""
        self.progress.requests = Counter(self.subject.bind()[1].recorder.counts()[1]) - self._sent_before

    def tell_end(self) -> None:
        """Log the results, savings and cost of the batch."""
        self.count_requests()
        done = self.progress
        sent = ", ".join(f"{kind} {count:,}" for kind, count in sorted(done.requests.items())) or "none"
        logger.info(
            "s3memo: %s: %s calls: %s stored, %s computed, %s failed; %.1f s saved; requests: %s, about $%.4f",
            *(self.subject.namespace, f"{done.done:,}", f"{done.hits:,}", f"{done.computed:,}", f"{done.failed:,}"),
            *(done.seconds_saved, sent, price(done.requests)),
        )

    def _absorb(self, item: Item, counts: Counts) -> None:
        if item.call is not None:
            item.call.terms.recorder.absorb(counts)
            item.call.cache.forget_names(item.call.key)

    def _item(self, given: Any) -> Item:
        try:
            args = tuple(given)
            return Item(args, None if self._is_disabled else self.subject.call((*self._bound, *args), {}))
        except Exception as error:  # noqa: BLE001  bad arguments, which fail this call alone
            return Item(error=error)

    def _share(self, item: Item, other: Item) -> bool:
        """Give a call the outcome of another of the same key; return whether that was possible."""
        other.error = item.error
        if item.outcome is None or other.call is None:
            return True
        if item.outcome.share is None:
            return False
        try:
            value = item.outcome.share()
            other.call.terms.recorder.emit("hit", key=other.key, tier="memory", seconds=item.outcome.seconds)
        except Exception:  # noqa: BLE001  the other call is made by itself
            return False
        except BaseException as error:  # noqa: BLE001  from a hook; it must not end our thread
            other.error = error
        else:
            other.outcome = item.outcome._replace(value=value, is_hit=True)
        return True

    def _entry(self, key: Key, outcome: Outcome[Any]) -> Entry[Any]:
        cache, terms = self.subject.bind()
        version = outcome.version
        if version is None:  # not stored; the store may be down, so the time is the local one
            at = int(time.time() * MICROSECONDS)
            version = Version(at, at, None, int(outcome.seconds * 1000), "0" * 8)
            return Entry(key, partial(itself, outcome.value), version, 0)
        return Entry(key, partial(cache.value_of, key, version, terms), version, outcome.size)


def show_nothing(_: Progress) -> None:
    """Show no progress."""
