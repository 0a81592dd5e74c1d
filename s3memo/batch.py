"""Many calls of one function: inputs are taken in windows, and what is stored of each is found by listing."""

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
"""So many times `concurrency` calls may have started and not been taken, so that memory stays bounded."""


_COUNTS = "_s3memo_counts"


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


def sendable(error: Exception, counts: Counts) -> Exception:
    """Return an exception as a worker may raise it, with its counts: one that cannot be unpickled breaks a whole pool."""
    with suppress(Exception):  # what cannot even be pickled, the executor tells itself
        pickled = pickle.dumps(error)
        try:
            pickle.loads(pickled)  # noqa: S301  it was made a line above
        except Exception:  # noqa: BLE001  whatever its class makes of its own parts
            error = RuntimeError(
                f"{type(error).__qualname__}: {error} (the error itself cannot be sent to another process: let its "
                "class pass all its arguments to super().__init__, or define __reduce__)"
            )
    vars(error)[_COUNTS] = counts
    return error


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
        self._reading = NOTHING_READ
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

    def survey(self, window: list[Item]) -> Reading:
        """List which calls of a window are stored; return what they may rest on. It may wait for the store."""
        cache, terms = self.subject.bind()
        keys = [item.key for item in window if item.key is not None]
        return cache.survey(keys, terms, self._reading)

    def plan(self, window: list[Item], reading: Reading) -> None:
        """Let the calls of a window be made."""
        self._reading = reading
        for item in window:
            if item.call is not None:
                item.call = item.call._replace(reading=reading)
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
        hit = call.cache.find_stored(call.key, call.terms, reading=call.reading)
        return None if hit is None else hit.outcome()

    def receive(self, item: Item, report: Report) -> None:
        """Take what another process sent back of a call."""
        item.outcome = report.outcome
        self._absorb(item, report.counts)

    def receive_error(self, item: Item, error: BaseException) -> None:
        """Take what a call raised in another process, or why it was not made there."""
        item.error = error
        counts = vars(error).pop(_COUNTS, None)
        if counts is not None:
            self._absorb(item, counts)

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
            raise error.with_traceback(item.trace)
        if self.options.returns == "value":
            return item.outcome.value
        return self._entry(item.key or self.subject.key((*self._bound, *item.args), {}), item.outcome)

    def known(self, item: Item) -> Outcome[Any] | None:
        """Return a stored result that need not be read, because its value may never be asked for."""
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
        """Return what shows the progress, if it is to be shown."""
        if not self.options.progress:
            return nullcontext(show_nothing)
        from s3memo.progress import showing  # noqa: PLC0415  it needs an extra

        return showing(self.progress.total, self.subject.namespace)

    def count_requests(self) -> None:
        """Note what the store has been sent for the function since the batch was begun."""
        self.progress.requests = Counter(self.subject.bind()[1].recorder.counts()[1]) - self._sent_before

    def tell_end(self) -> None:
        """Log what the batch did, what that saved, and what it cost."""
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
            other.call.terms.recorder.emit("hit", key=other.key, tier="memory", seconds=item.outcome.seconds)
        except Exception:  # noqa: BLE001  it makes the call itself
            return False
        except BaseException as error:  # noqa: BLE001  out of a hook; no thread of ours may end of it
            other.error = error
        else:
            other.outcome = item.outcome._replace(value=value, is_hit=True)
        return True

    def _entry(self, key: Key, outcome: Outcome[Any]) -> Entry[Any]:
        cache, terms = self.subject.bind()
        version = outcome.version
        if version is None:  # it is not stored, and the store, which may be down, is not asked for the time
            at = int(time.time() * MICROSECONDS)
            version = Version(at, at, None, int(outcome.seconds * 1000), "0" * 8)
            return Entry(key, partial(itself, outcome.value), version, 0)
        return Entry(key, partial(cache.value_of, key, version, terms), version, outcome.size)


def show_nothing(_: Progress) -> None:
    """Show no progress."""
