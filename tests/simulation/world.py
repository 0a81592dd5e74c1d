"""A simulated S3 and the processes that use it, interleaved one request at a time.

A `World` holds the objects and the true time. Each process sees it through a `SimulatedStore` of its own, with its own
time bounds and its own local clock. An operation runs as an `Actor`, a greenlet that pauses before each request and
again before it learns the answer; whoever drives the world decides who goes on, and may kill at any pause.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from greenlet import getcurrent, greenlet

from s3memo.errors import AlreadyExistsError, NotFoundError, StoreAccessError
from s3memo.stores.base import Buffer, ObjectInfo, PutMode, TimeBounds


class Killed(BaseException):
    """Thrown into an actor whose process dies."""


class SharedWriteError(AssertionError):
    """Two writes were given one name, so one of them is lost without a trace."""


@dataclass
class World:
    """The bucket and the true time, in POSIX seconds."""

    now: float = 1_790_000_000.0
    objects: dict[str, bytes] = field(default_factory=dict)
    modified: dict[str, float] = field(default_factory=dict)
    """When each object was written."""
    removed: list[tuple[float, str]] = field(default_factory=list)
    """When each object was deleted."""
    written: list[tuple[str, bytes]] = field(default_factory=list)
    """All objects that ever were, in the order in which they were written."""
    refused: frozenset[str] = frozenset()
    """The kinds of request that the server refuses for now."""
    ticks: int = 0

    def last_written(self, object_key: str) -> bytes:
        """Return what was last written under a name, even if it is gone."""
        return next(data for key, data in reversed(self.written) if key == object_key)

    def write(self, object_key: str, data: bytes) -> None:
        """Let an object be there from now on."""
        self.objects[object_key] = data
        self.modified[object_key] = self.now
        self.written.append((object_key, data))

    def remove(self, object_key: str) -> None:
        """Let an object be gone from now on."""
        if self.objects.pop(object_key, None) is not None:
            self.removed.append((self.now, object_key))

    def keys_at(self, moment: float) -> set[str]:
        """Return the names that were there at an earlier moment, unless they were deleted and made anew."""
        there = {key for key in self.objects if self.modified.get(key, 0.0) <= moment}
        return there | {key for at, key in self.removed if at > moment >= self.modified[key]}

    def tick(self) -> int:
        """Return the next moment of the order in which things really happen."""
        self.ticks += 1
        return self.ticks


def pause(what: str) -> None:
    """Let the driver decide what happens next; outside an actor, go straight on."""
    current = getcurrent()
    if isinstance(current, Actor):
        current.doing = what
        current.parent.switch()


@dataclass
class SimulatedStore:
    """One process's connection: its clock bounds are `early` and `late` seconds wide, its own clock is `skew` off."""

    world: World
    early: float = 0.0
    late: float = 0.0
    skew: float = 0.0
    url: str = "simulated://"
    page_size: int = 1000

    def list(self, prefix: str, *, start_after: str = "", limit: int | None = None) -> Iterator[ObjectInfo]:
        remaining = limit
        while remaining is None or remaining > 0:
            size = self.page_size if remaining is None else min(self.page_size, remaining)
            page = self._page(prefix, start_after, size)
            yield from page
            if len(page) < size:
                return
            start_after = page[-1].key
            remaining = None if remaining is None else remaining - len(page)

    def get(self, object_key: str) -> Buffer:
        self._begin("GET", object_key)
        data = self.world.objects.get(object_key)
        pause("GET answered")
        if data is None:
            raise NotFoundError(object_key)
        return data

    def put(self, object_key: str, data: Buffer, *, mode: PutMode = "overwrite") -> None:
        self._begin("PUT", object_key)
        exists = object_key in self.world.objects
        if exists and mode == "overwrite":
            raise SharedWriteError(object_key)
        if not exists:
            self.world.write(object_key, bytes(data))
        if isinstance(actor := getcurrent(), Actor):
            actor.puts.append(object_key)
        pause("PUT answered")
        if exists:
            raise AlreadyExistsError(object_key)

    def delete(self, object_keys: Iterable[str]) -> None:
        doomed = list(object_keys)
        self._begin("DELETE", str(doomed))
        for object_key in doomed:  # S3 promises no order within a request, and may carry out only a part
            self.world.remove(object_key)
            if isinstance(actor := getcurrent(), Actor) and object_key in actor.puts:
                actor.puts.remove(object_key)
            pause("DELETE under way")
        pause("DELETE answered")

    def time(self) -> TimeBounds:
        return TimeBounds(self.world.now - self.early, self.world.now + self.late)

    def local_time(self) -> float:
        """What the process's own clock shows."""
        return self.world.now + self.skew

    def _begin(self, request: str, what: str) -> None:
        pause(f"{request} {what}")
        if request in self.world.refused:
            raise StoreAccessError(f"403: may not {request} {what}")

    def _page(self, prefix: str, start_after: str, size: int) -> list[ObjectInfo]:
        self._begin("LIST", prefix)
        found = sorted(key for key in self.world.objects if key.startswith(prefix) and key > start_after)
        page = [
            ObjectInfo(key, len(self.world.objects[key]), self.world.modified.get(key, 0.0)) for key in found[:size]
        ]
        if isinstance(actor := getcurrent(), Actor) and not actor.puts:
            actor.looked = actor.looked or self.world.tick()
        pause("LIST answered")
        return page


class Actor(greenlet):
    """One operation of one process, which goes on only when `step` is called."""

    def __init__(self, operation: Callable[[], Any]) -> None:
        super().__init__(self._run)
        self.operation = operation
        self.doing = "not begun"
        self.looked = 0
        """The tick at which it first looked at the store, unless it wrote before."""
        self.puts: list[str] = []
        """What it wrote and did not take back."""
        self.result: Any = None
        self.error: Exception | None = None

    def _run(self) -> None:
        try:
            self.result = self.operation()
        except Exception as error:  # noqa: BLE001  handed to whoever drives the world
            self.error = error
        except Killed:
            pass

    def step(self) -> bool:
        """Run to the next pause; return whether the operation has ended."""
        self.parent = getcurrent()
        self.switch()
        return self.dead

    def kill(self) -> None:
        """Let its process die here: what its requests did stays done."""
        self.parent = getcurrent()
        self.throw(Killed)
