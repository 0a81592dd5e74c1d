"""The board of a batch: which calls may start, which wait for another of the same key, and which results may go out."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from s3memo.calls import Call
from s3memo.events import RequestKind
from s3memo.flight import Outcome
from s3memo.versions import Key


@dataclass(eq=False, slots=True)
class Item:
    """One call of a batch and its outcome. Without `call` the original function is called.

    Whoever makes the call sets `outcome` or `error` and then tells the board, which lands it.
    """

    args: tuple[Any, ...] = ()
    call: Call | None = None
    outcome: Outcome[Any] | None = None
    error: BaseException | None = None
    trace: TracebackType | None = None
    has_landed: bool = False

    @property
    def key(self) -> Key | None:
        """The key of the call, shared by calls with equal arguments."""
        return None if self.call is None else self.call.key

    def land(self) -> None:
        """Note that the call has ended, and the traceback of its error, which other items may share and raise first."""
        self.has_landed = True
        self.trace = self.error.__traceback__ if self.error else None


@dataclass(slots=True)
class Progress:
    """How far a batch is. `total` is None while the number of calls is unknown; times are in seconds."""

    total: int | None = None
    done: int = 0
    hits: int = 0
    computed: int = 0
    failed: int = 0
    seconds_saved: float = 0.0
    requests: Counter[RequestKind] = field(default_factory=Counter)
    """The requests sent to the store for the batch, once it has ended."""

    def count(self, item: Item) -> None:
        """Count a call that has ended."""
        self.done += 1
        if item.outcome is None:
            self.failed += 1
        elif item.outcome.is_hit:
            self.hits += 1
            self.seconds_saved += item.outcome.seconds
        else:
            self.computed += 1


class Board:
    """The planned calls of a batch whose results have not gone out yet; at most `most` of them have started."""

    def __init__(self, *, ordered: bool, most: int) -> None:
        self._ordered = ordered
        self._most = most
        self._planned = deque[Item]()
        self._again = deque[Item]()
        self._line = deque[Item]()
        self._begun = 0
        self._led: dict[Key, list[Item]] = {}
        self.running = 0

    @property
    def is_empty(self) -> bool:
        """Whether no planned call is left."""
        return not self._begun and not self._planned

    @property
    def wants_more(self) -> bool:
        """Whether more calls may be planned."""
        return not self._planned and self._begun < self._most

    @property
    def waiting(self) -> int:
        """The number of calls that have not started."""
        return len(self._planned) + len(self._again)

    @property
    def can_start(self) -> bool:
        """Whether another call may start."""
        return bool(self._again) or (bool(self._planned) and self._begun < self._most)

    @property
    def has_ready(self) -> bool:
        """Whether a result may go out."""
        return bool(self._line) and self._line[0].has_landed

    def plan(self, items: Iterable[Item]) -> None:
        """Add calls; one that already has an error takes its place all the same."""
        for item in items:
            if item.error is not None:
                item.land()
            self._planned.append(item)

    def start(self) -> Item | None:
        """Return the next call to make, or None if none may start now. Only one call per key is made at a time."""
        while self.can_start:
            if self._again:
                item = self._again.popleft()
            else:
                item = self._planned.popleft()
                self._begun += 1
                if self._ordered or item.has_landed:
                    self._line.append(item)
            if item.has_landed:
                continue
            if item.key is not None and item.key in self._led:
                self._led[item.key].append(item)
                continue
            if item.key is not None:
                self._led[item.key] = []
            self.running += 1
            return item
        return None

    def end(self, item: Item) -> list[Item]:
        """Note that a call has ended; return the calls that waited for it, to be given its outcome or made again."""
        self.running -= 1
        self.settle(item)
        return self._led.pop(item.key, []) if item.key is not None else []

    def settle(self, item: Item) -> None:
        """Note that an item has ended, whatever did the work."""
        item.land()
        if not self._ordered:
            self._line.append(item)

    def again(self, item: Item) -> None:
        """Put a call that waited back, to be made after all."""
        self._again.append(item)

    def take(self) -> Item | None:
        """Return the next item whose result goes out, if it has ended."""
        if self.has_ready:
            self._begun -= 1
            return self._line.popleft()
        return None
