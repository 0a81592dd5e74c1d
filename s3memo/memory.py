"""The memory tier: what this process has lately read or written, bounded by bytes and by entries."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple
from weakref import ReferenceType, ref

from cachetools import TLRUCache

from s3memo import codec, packing
from s3memo.codec import NO_CLASSES, PLAIN, Classes
from s3memo.envelope import Envelope
from s3memo.events import Recorder
from s3memo.freshness import Duration, seconds
from s3memo.locks import process_lock
from s3memo.quick import Cell
from s3memo.settings import check_count
from s3memo.stores.clock import local_clock
from s3memo.versions import Key, Listing, Version

_ENTRY = 1100
"""Overhead of an entry in bytes: its key, version and bookkeeping, and what the index knows of it."""

_SEALED = 650
"""Overhead of a sealed object in bytes, beside its data."""

_CONTAINERS = frozenset({tuple, frozenset})
_FEW = 8  # fewer parts are weighed faster one by one than together


@dataclass(frozen=True, slots=True)
class MemoryTier:
    """How much a Cache keeps in the process, and how long it trusts it.

    `revalidate_after` (a duration) bounds how long another process's write or invalidation can go unseen: a value
    confirmed longer ago is looked up again, at the price of one LIST. None: until it expires.
    """

    max_bytes: int = 256 * 1024 * 1024
    max_entries: int = 100_000
    revalidate_after: Duration | None = None

    def __post_init__(self) -> None:
        for name in ("max_bytes", "max_entries"):
            check_count(name, getattr(self, name), least=0)
        seconds(self.revalidate_after, name="revalidate_after")


@dataclass(frozen=True, slots=True)
class Held:
    """A version as held in memory: an immutable value as it is, a mutable one as its sealed object.

    `is_lent` marks a mutable value that is shared by all callers, who might change it (`copy=False`). `raised` is the
    class of a stored exception, None for a result. In bytes, `size` is that of the object in the store, `raw_size` that
    of the uncompressed payload, and `room` that of the content in memory. `confirmed` is when it was last known to be
    the newest, in POSIX seconds by the store's clock. `content` is the value itself if `is_shared`, else its sealed
    object, which may contain instances of `classes`.
    """

    version: Version
    size: int
    raw_size: int
    room: int
    confirmed: float
    is_lent: bool
    raised: type | None
    content: Any
    classes: Classes | None

    @classmethod
    def of(
        cls,
        version: Version,
        value: Any,
        sealed: Envelope,
        *,
        confirmed: float,
        classes: Classes = NO_CLASSES,
        copy: bool = True,
        most: int,
    ) -> Held:
        """Hold `value`, whose sealed form must not change any more; without `copy`, a mutable value is lent to callers.

        A value known to take more than `most` bytes is not measured further.
        """
        size, raw_size = len(sealed.data), sealed.header.raw_size
        raised = type(value) if sealed.header.raised else None
        is_immutable = codec.is_immutable(value, classes)
        if is_immutable or not (copy or raised):
            room = max(raw_size, _room(value, most)) if is_immutable else raw_size
            return cls(version, size, raw_size, room, confirmed, not is_immutable, raised, value, None)
        return cls(version, size, raw_size, _SEALED + size, confirmed, False, raised, sealed, classes)  # noqa: FBT003  a field

    @property
    def weight(self) -> int:
        """Its total size in memory, in bytes."""
        return _ENTRY + self.room

    @property
    def is_shared(self) -> bool:
        """Whether `load` returns the same object each time."""
        return self.classes is None

    def load(self) -> Any:
        """Return the value; a mutable one that is not lent is decoded afresh, so that no two callers share it."""
        return self.content if self.classes is None else packing.unpack(self.content, self.classes)


def _room(value: Any, most: int) -> int:
    """Return the size of an immutable value in the process, in bytes, or some number above `most`.

    The parts of tuples and frozensets count, each container once. No method of a user's class is called.
    """
    size, pending, met = 0, [value], set[int]()
    kinds: set[Any]
    while pending and size <= most:
        part = pending.pop()
        kind = type(part)
        if kind not in _CONTAINERS:
            size += sys.getsizeof(part) if kind in PLAIN else object.__sizeof__(part)
        elif id(part) not in met:
            met.add(id(part))
            size += sys.getsizeof(part)
            if len(part) < _FEW or not (kinds := set(map(type, part))) <= PLAIN:
                pending += part
            else:  # no Python loop, since there may be millions
                size += sum(map(kinds.pop().__sizeof__ if len(kinds) == 1 else sys.getsizeof, part))
    return size


class Slot:
    """A version's place in the memory tier. `until` is when it expires, by the tier's clock; `recorder` its function's.

    When it leaves the tier, the cells that lead to it are closed.
    """

    __slots__ = ("_cells", "held", "recorder", "until")

    def __init__(self, held: Held, until: float, recorder: Recorder) -> None:
        self.held = held
        self.until = until
        self.recorder = recorder
        self._cells: tuple[ReferenceType[Cell], ...] = ()  # a WeakSet would double the slot's size

    def add_cell(self, cell: Cell) -> None:
        """Register a cell that leads to it."""
        self._cells = *(other for other in self._cells if other() not in {None, cell}), ref(cell)

    def give_up(self) -> None:
        """Close all cells that lead to it."""
        for other in self._cells:
            cell = other()
            if cell is not None:
                cell.close()


class Gone(NamedTuple):
    """A slot that has left the tier; it was evicted for another if it `made_room`."""

    key: Key
    slot: Slot
    made_room: bool = False

    def tell(self) -> None:
        """Emit an "evict" event if it was evicted."""
        if self.made_room:
            self.slot.recorder.emit("evict", key=self.key, size=self.slot.held.size)


class _Slots(TLRUCache[Key, Slot]):
    """Slots by key. Slots that have left wait in `gone`, since nothing may be freed while the process lock is held."""

    def __init__(self, maxsize: int, timer: Callable[[], float]) -> None:
        super().__init__(
            maxsize=maxsize,
            ttu=lambda _key, slot, _now: slot.until,
            timer=timer,
            getsizeof=lambda slot: slot.held.weight,
        )
        self.gone: list[Gone] = []

    def leave(self, gone: Gone) -> None:
        """Take leave of a slot: close its cells, and keep it for release."""
        gone.slot.give_up()
        self.gone.append(gone)

    def popitem(self) -> tuple[Key, Slot]:
        """Remove and return the least recently used slot."""
        key, slot = super().popitem()
        self.leave(Gone(key, slot, made_room=True))
        return key, slot

    def expire(self, time: float | None = None) -> Any:
        """Remove and return the expired slots."""
        expired = super().expire(time)
        for key, slot in expired or ():
            self.leave(Gone(key, slot))
        return expired

    def drop(self, key: Key) -> None:
        """Remove one slot, expired or not."""
        self.expire()
        slot = self.pop(key, None)
        if slot is not None:
            self.leave(Gone(key, slot))


class Memory:
    """Held versions by key; the least recently used are evicted first. Safe to call from many threads.

    `timer` returns seconds. `keeps` says whether anything can be held, and `room` up to how many bytes.
    """

    def __init__(self, tier: MemoryTier, timer: Callable[[], float] = local_clock) -> None:
        self.tier = tier
        self.timer = timer
        self.revalidate_after = seconds(tier.revalidate_after, name="revalidate_after")
        self.keeps = tier.max_entries > 0
        self.room = tier.max_bytes if self.keeps else 0
        self._slots = _Slots(tier.max_bytes, timer)

    def slot(self, key: Key) -> Slot | None:
        """Return the slot of a key."""
        if key not in self._slots:  # no lock, which would make the threads of a batch queue
            return None
        try:
            with process_lock:
                return self._slots.get(key)
        except BaseException:
            self._begin_anew()
            raise

    def holds(self, key: Key) -> bool:
        """Whether the key's version is held; does not count as a use."""
        return key in self._slots  # no lock, as above

    def put(self, key: Key, held: Held, *, lifetime: float, recorder: Recorder) -> list[Gone]:
        """Hold a version for `lifetime` seconds, unless a newer one is held or it is larger than the whole tier.

        Returns the slots that left; the caller reports and frees them once it holds no lock.
        """
        slot = Slot(held, self.timer() + lifetime, recorder)
        try:
            with process_lock:
                present = self._slots.get(key)
                if present is None or held.version.name <= present.held.version.name:
                    if present is not None:
                        self._slots.drop(key)
                    if held.weight <= self.room:
                        self._slots[key] = slot
                        while len(self._slots) > self.tier.max_entries:
                            self._slots.popitem()
                return self._taken()
        except BaseException:
            self._begin_anew()
            raise

    def discard(self, key: Key) -> None:
        """Forget one key."""
        self._discard(lambda: [key])

    def discard_outdated(self, key: Key, listing: Listing) -> None:
        """Forget a key if a listing shows that the version held must no longer be served."""

        def outdated() -> list[Key]:
            slot = self._slots.get(key)
            return [key] if slot and listing.outdates(slot.held.version) else []

        if self.keeps:
            self._discard(outdated)

    def discard_all(self, belongs: Callable[[Key], bool]) -> None:
        """Forget every key that `belongs` accepts."""
        self._discard(lambda: [key for key in self._slots if belongs(key)])

    def _discard(self, doomed: Callable[[], list[Key]]) -> None:
        try:
            with process_lock:
                self._slots.expire()
                for key in doomed():
                    self._slots.drop(key)
                gone = self._taken()
        except BaseException:
            self._begin_anew()
            raise
        del gone  # freed only now that the lock is released

    def _begin_anew(self) -> None:
        """Forget everything after an interrupt, which may have left cachetools' bookkeeping half changed."""
        with process_lock:
            former, self._slots = self._slots, _Slots(self.tier.max_bytes, self.timer)
            self._slots.gone = former.gone
            for key in former:
                self._slots.leave(Gone(key, former[key]))

    def _taken(self) -> list[Gone]:
        gone, self._slots.gone = self._slots.gone, []
        return gone

    def count(self, belongs: Callable[[Key], bool]) -> int:
        """Return how many held keys `belongs` accepts."""
        with process_lock:
            return sum(map(belongs, self._slots))
