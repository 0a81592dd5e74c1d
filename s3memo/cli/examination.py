"""Tries a store and notes the facts; requests touch only names of their own."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from s3memo.cli.bucket import BucketSettings
from s3memo.createonly import markers_of, probe
from s3memo.errors import NotFoundError, StoreAccessError, StoreError, StoreNotSupportedError
from s3memo.events import RequestKind
from s3memo.stores.base import Buffer, ObjectInfo, PutMode, Store, TimeBounds
from s3memo.trials import PROBE_ROOT, SHAPES, trial_folder

SAMPLES = 20
"""How many requests of each kind are timed."""

T = TypeVar("T")


@dataclass(slots=True)
class Facts:
    """What was found; times are in seconds.

    `failures` has the first failure of each kind of request; a kind that was not tried is in neither it nor `seconds`.
    `offset` bounds how far the store's clock is ahead of this machine's. `tells_absence`: an absent object was answered
    as absent; `hidden` is the error it was answered with instead. `late` tells what another connection did not see at
    once. `create_only` is None if create-only is enforced.
    """

    url: str
    seconds: dict[RequestKind, list[float]] = field(default_factory=lambda: defaultdict(list))
    failures: dict[RequestKind, StoreError] = field(default_factory=dict)
    tells_absence: bool = False
    hidden: StoreError | None = None
    disorder: str = ""
    late: list[str] = field(default_factory=list)
    create_only: StoreError | str | None = "not tried"
    offset: TimeBounds | StoreError | None = None
    bucket: BucketSettings | None = None
    leftovers: list[str] = field(default_factory=list)


class NotedStore:
    """A store that notes in `written` the objects that may have been written and are not deleted yet."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.written: set[str] = set()

    def __repr__(self) -> str:
        return repr(self._store)

    @property
    def url(self) -> str:
        """Where the store is."""
        return self._store.url

    def list(self, prefix: str, *, start_after: str = "", limit: int | None = None) -> Iterator[ObjectInfo]:
        """See Store."""
        return self._store.list(prefix, start_after=start_after, limit=limit)

    def get(self, object_key: str) -> Buffer:
        """See Store."""
        return self._store.get(object_key)

    def put(self, object_key: str, data: Buffer, *, mode: PutMode = "overwrite") -> None:
        """See Store. The name is noted first, for a failed write may take effect unless it was forbidden."""
        is_new = object_key not in self.written
        self.written.add(object_key)
        try:
            self._store.put(object_key, data, mode=mode)
        except StoreAccessError:
            if is_new:
                self.written.discard(object_key)
            raise

    def delete(self, object_keys: Iterable[str]) -> None:
        """See Store."""
        gone = [*object_keys]
        self._store.delete(gone)
        self.written.difference_update(gone)

    def time(self) -> TimeBounds:
        """See Store."""
        return self._store.time()


class Examination:
    """Tries a store, and checks the effects from another connection, `other`. `clock` returns POSIX seconds."""

    def __init__(self, store: Store, other: Store, *, clock: Callable[[], float] = time.time) -> None:
        self._real = store
        self._store = NotedStore(store)
        self._other = other
        self._clock = clock
        self._folder = trial_folder()
        self.facts = Facts(store.url)

    def run(self) -> None:
        """Find the facts; call `clean_up` afterwards in any case."""
        if self._reaches():
            if self._can_write():
                written = self._write()
                self._check_order(written)
                self._delete(written)
                self._check_create_only()
            self._compare_clocks()

    def clean_up(self) -> None:
        """Delete all that was written and is left."""
        left = sorted(self._store.written)
        if left:
            try:
                self._store.delete(left)
            except StoreError as error:
                self.facts.failures.setdefault("DELETE", error)
                self.facts.leftovers = left

    def _reaches(self) -> bool:
        """Return whether a server answers at all; not timed, since a first request also connects."""
        facts = self.facts
        for store in (self._store, self._other):
            try:
                next(store.list(PROBE_ROOT, limit=1), None)
            except StoreError as error:
                facts.failures["LIST"] = error
                if not isinstance(error, StoreAccessError):
                    return False
            try:
                store.get(f"{self._folder}absent")
            except NotFoundError:
                facts.tells_absence = True
            except StoreError as error:
                facts.hidden = error
        return True

    def _can_write(self) -> bool:
        """Return whether an object can be written and deleted, before there are many to delete."""
        failures, trial = self.facts.failures, f"{self._folder}trial"
        try:
            self._store.put(trial, b"")
        except StoreError as error:
            failures["PUT"] = error
        try:
            self._store.delete([trial])
        except StoreError as error:
            failures["DELETE"] = error
        return not failures.keys() & {"PUT", "DELETE"}

    def _write(self) -> list[str]:
        """Write the samples, look for each from the other connection, and return the object keys written."""
        names = [*reversed(SHAPES), *(f"n{number}" for number in range(SAMPLES - len(SHAPES)))]
        written = []
        for name in names:
            object_key = self._folder + name
            self._time("PUT", partial(self._store.put, object_key, object_key.encode()))
            if "PUT" in self.facts.failures:
                break
            written.append(object_key)
            self._see(object_key)
        return written

    def _see(self, object_key: str) -> None:
        try:
            found = self._time("GET", lambda: bytes(self._other.get(object_key)))
        except NotFoundError:
            found = b""
        if found is not None and found != object_key.encode():
            self._note_late("a GET right after the PUT does not find what was written")
        listed = self._time("LIST", lambda: [info.key for info in self._other.list(object_key, limit=1)])
        if listed is not None and listed != [object_key]:
            self._note_late("a LIST right after the PUT does not show the object")

    def _check_order(self, written: list[str]) -> None:
        if not written or "LIST" in self.facts.failures:
            return
        expected = sorted(written)
        middle = expected[len(expected) // 2]
        try:
            found = [info.key for info in self._store.list(self._folder)]
            rest = [info.key for info in self._store.list(self._folder, start_after=middle)]
        except StoreNotSupportedError as error:
            self.facts.disorder = str(error)
            return
        except StoreError as error:
            self.facts.failures["LIST"] = error
            return
        if sorted(found) != expected:
            self._note_late("a LIST of all that was written does not show all of it")
        elif found != expected:
            at = next(place for place, object_key in enumerate(found) if object_key != expected[place])
            self.facts.disorder = f"{self._tail(found[at])!r} is listed before {self._tail(expected[at])!r}"
        elif rest != expected[expected.index(middle) + 1 :]:
            self.facts.disorder = f"a listing that is to start after {self._tail(middle)!r} does not"

    def _check_create_only(self) -> None:
        if self.facts.failures.keys() - {"LIST"}:
            return
        try:
            probe(self._store)
        except StoreError as error:
            self.facts.create_only = error
            if isinstance(error, StoreNotSupportedError):
                self._store.written |= markers_of(self._real)  # earlier trials' ones, on which others rely, go too
        else:
            self.facts.create_only = None

    def _delete(self, written: list[str]) -> None:
        for object_key in written:
            self._time("DELETE", partial(self._store.delete, [object_key]))
            if "DELETE" in self.facts.failures:
                return
        if self._time("LIST", lambda: any(self._other.list(self._folder, limit=1))):
            self._note_late("a LIST right after the DELETE shows the object")

    def _compare_clocks(self) -> None:
        before = self._clock()
        try:
            earliest, latest = self._store.time()
        except StoreError as error:
            self.facts.offset = error
        else:
            self.facts.offset = TimeBounds(earliest - self._clock(), latest - before)

    def _time(self, kind: RequestKind, ask: Callable[[], T]) -> T | None:
        """Return an answer and note its latency, or note the failure and return None; NotFoundError passes."""
        if kind in self.facts.failures:
            return None
        began = time.perf_counter()
        try:
            answer = ask()
        except NotFoundError:
            raise
        except StoreError as error:
            self.facts.failures[kind] = error
            return None
        self.facts.seconds[kind].append(time.perf_counter() - began)
        return answer

    def _note_late(self, what: str) -> None:
        if what not in self.facts.late:
            self.facts.late.append(what)

    def _tail(self, object_key: str) -> str:
        return object_key.removeprefix(self._folder)
