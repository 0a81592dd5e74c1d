"""Events and counters: an Event tells hooks what happened, a Recorder counts it for each function."""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

from s3memo import bridge
from s3memo.locks import process_lock

logger = logging.getLogger("s3memo")

EventKind: TypeAlias = Literal[
    "hit", "stale", "miss", "compute", "store", "refresh", "invalidate", "clear", "evict", "error", "breaker", "lease"
]
RequestKind: TypeAlias = Literal["LIST", "GET", "PUT", "DELETE"]
Tier: TypeAlias = Literal["memory", "local", "store"]

_FROM: dict[Tier, str] = {"memory": "from memory", "local": "from local", "store": "from store"}

PRICES: dict[RequestKind, float] = {"LIST": 5e-6, "GET": 4e-7, "PUT": 5e-6, "DELETE": 0.0}
"""US dollars per request: S3 Standard's list prices in us-east-1. Assign your own prices if they differ."""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to one function's cache.

    "stale" is a hit on an expired result, and "refresh" the start of a computation that replaces a result. "breaker"
    says that a store is skipped for a while, or answers again; "lease" says which machine computes, with `fleet=`.
    `seconds` is the time a hit saved, a computation took, or another machine was waited for. `size` is in bytes as
    stored. `error` is an error that was survived, and `message` says what it means.
    """

    kind: EventKind
    function: str
    key: str = ""
    tier: Tier | None = None
    seconds: float = 0.0
    size: int = 0
    error: Exception | None = None
    message: str = ""


Hook: TypeAlias = Callable[[Event], None]


@runtime_checkable
class RequestHook(Protocol):
    """A hook that is also called for each request, before it is sent; requests make no Event."""

    def __call__(self, event: Event) -> None:
        """Handle an event."""

    def count_request(self, function: str, kind: RequestKind) -> None:
        """Handle one request sent for a function."""


def log_event(event: Event) -> None:
    """Log an event at level DEBUG. A hook: `Cache(…, hooks=[log_event])`."""
    details = [f"{event.seconds:.3f} s"] if event.seconds else []
    details += [f"{event.size} bytes"] if event.size else []
    details += [text for text in (event.tier, event.message, repr(event.error) if event.error else "") if text]
    logger.debug("s3memo: %s %s", event.kind, " · ".join([event.key or event.function, *details]))


class CacheInfo(NamedTuple):
    """Counters of a function's cache in this process; the first four fields are those of `functools.lru_cache`.

    `hits` counts results served by memory, the local tier or the store, and `stale_hits` those of them that had
    expired. `misses` counts look-ups that found nothing, including those of `cache_get`. `maxsize` and `currsize` count
    entries of the memory tier. `bytes_…` went over the wire. `seconds_saved` sums the computation times of all hits.
    `requests` counts the requests sent to the store, and `cost` is their price in US dollars by `s3memo.PRICES`.
    """

    hits: int
    misses: int
    maxsize: int
    currsize: int
    memory_hits: int
    local_hits: int
    store_hits: int
    stale_hits: int
    errors: int
    bytes_read: int
    bytes_written: int
    seconds_saved: float
    requests: Counter[RequestKind]
    cost: float


Counts: TypeAlias = tuple[Mapping[str, int], Mapping[RequestKind, int], float]
"""Events by kind, requests by kind, and seconds saved."""


def price(requests: Mapping[RequestKind, int]) -> float:
    """Return the price of requests in US dollars, by `PRICES`."""
    return sum(PRICES[kind] * count for kind, count in requests.items())


class Tally:
    """A lock-free counter of hits. CPython switches no thread within `hits += 1.0`, which calls nothing.

    It counts in floats, exact up to 2**53, because CPython adds them faster than integers above 256.
    """

    __slots__ = ("hits",)

    def __init__(self) -> None:
        self.hits = 0.0


class Recorder:
    """Counts a function's events and passes each to the hooks; safe to call from many threads."""

    def __init__(self, function: str, hooks: tuple[Hook, ...] = ()) -> None:
        self.function = function
        self.scope: object = object()
        """Shared by the calls that may wait for each other."""
        self._origin: Recorder | None = None
        self._hooks = hooks
        self._request_hooks = tuple(hook for hook in hooks if isinstance(hook, RequestHook))
        self._counts: Counter[str] = Counter()
        self._requests: Counter[RequestKind] = Counter()
        self._seconds_saved = 0.0
        self._tallies: dict[float, Tally] = {}
        self._warned: set[str] = set()

    def emit(
        self,
        kind: EventKind,
        *,
        key: object = "",
        tier: Tier | None = None,
        seconds: float = 0.0,
        size: int = 0,
        error: Exception | None = None,
        message: str = "",
    ) -> None:
        """Count an event and pass it to the hooks. The arguments are the fields of Event."""
        with process_lock:
            counts = self._counts
            counts[kind] += 1
            if tier is not None:
                counts[_FROM[tier]] += 1
                self._seconds_saved += seconds
                if tier == "store":
                    counts["bytes read"] += size
            elif kind == "store":
                counts["bytes written"] += size
        if self._hooks:
            event = Event(kind, self.function, str(key), tier, seconds, size, error, message)
            with bridge.blocking():
                for hook in self._hooks:
                    self._tell(hook, event, hook, event)

    def _tell(self, hook: Hook, what: object, take: Callable[..., None], *details: object) -> None:
        try:
            take(*details)
        except BaseException as error:
            if not isinstance(error, Exception) and not _is_cancellation(error):
                raise
            if self._first(f"hook {hook!r}"):
                logger.exception("s3memo: the hook %r failed on %s; further failures are not logged", hook, what)

    def trouble(self, error: Exception, message: str, *, key: str = "") -> None:
        """Report a survived error: an event each time, a WARNING the first time and DEBUG after that."""
        name = type(error).__name__
        self.warn(f"{message} ({name}: {error})", kind=f"{name} {message}")
        self.emit("error", key=key, error=error, message=message)

    def warn(self, message: str, *, kind: str) -> None:
        """Log a message: at level WARNING the first time for its kind, at DEBUG after that."""
        level = logging.WARNING if self._first(kind) else logging.DEBUG
        logger.log(level, "s3memo: %s: %s", self.function, message)

    def tally(self, seconds: float) -> Tally:
        """Return the counter of memory hits that save this many seconds each and are not passed to hooks."""
        with process_lock:
            return self._tallies.setdefault(seconds, Tally())

    def counting_requests(self) -> Counting:
        """Count the requests that stores send within the block, in this context, for this function."""
        return Counting(self)

    @property
    def origin(self) -> Recorder:
        """The function's own recorder, which outlasts a call: this one, or the one it was split from by `apart`."""
        return self._origin or self

    def apart(self) -> Recorder:
        """Return a recorder of the same scope with counters of its own, which shares the record of warnings given."""
        other = Recorder(self.function, self._hooks)
        other.scope, other._origin = self.scope, self.origin
        other._warned = self._warned
        return other

    def counts(self) -> Counts:
        """Return the counters in the form that `absorb` takes in another process."""
        with process_lock:
            return self._counts.copy(), self._requests.copy(), self._seconds_saved

    def absorb(self, counts: Counts) -> None:
        """Add the counters of the same function in another process."""
        events, requests, seconds_saved = counts
        with process_lock:
            self._counts.update(events)
            self._requests.update(requests)
            self._seconds_saved += seconds_saved

    def info(self, *, maxsize: int, currsize: int) -> CacheInfo:
        """Return the counters so far."""
        with process_lock:
            counts, requests = self._counts, self._requests.copy()
            memory_hits = counts["from memory"] + int(sum(tally.hits for tally in self._tallies.values()))
            return CacheInfo(
                hits=memory_hits + counts["from local"] + counts["from store"],
                misses=counts["miss"],
                maxsize=maxsize,
                currsize=currsize,
                memory_hits=memory_hits,
                local_hits=counts["from local"],
                store_hits=counts["from store"],
                stale_hits=counts["stale"],
                errors=counts["error"],
                bytes_read=counts["bytes read"],
                bytes_written=counts["bytes written"],
                seconds_saved=self._seconds_saved
                + sum(seconds * tally.hits for seconds, tally in self._tallies.items()),
                requests=requests,
                cost=price(requests),
            )

    def count_request(self, kind: RequestKind) -> None:
        """Count one request and pass it to the hooks that count requests."""
        with process_lock:
            self._requests[kind] += 1
        if self._request_hooks:
            with bridge.blocking():
                for hook in self._request_hooks:
                    self._tell(hook, kind, hook.count_request, self.function, kind)

    def _first(self, trouble: str) -> bool:
        with process_lock:
            first = trouble not in self._warned
            self._warned.add(trouble)
            return first


def _is_cancellation(error: BaseException) -> bool:
    """Whether this is asyncio's CancelledError. One from a hook is its own: no task is cancelled while in a hook."""
    return isinstance(error, getattr(sys.modules.get("asyncio"), "CancelledError", ()))  # None before asyncio is loaded


_counting: ContextVar[Recorder | None] = ContextVar("s3memo_counting", default=None)


class Counting:
    """The context manager of `Recorder.counting_requests`."""

    __slots__ = ("_token", "recorder")

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder

    def __enter__(self) -> None:
        self._token = _counting.set(self.recorder)

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        _counting.reset(self._token)


def count_request(kind: RequestKind) -> None:
    """Count a request; stores call this for each request they are about to send."""
    recorder = _counting.get()
    if recorder is not None:
        recorder.count_request(kind)
