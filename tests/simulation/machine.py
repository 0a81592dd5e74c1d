"""Drives processes, one request at a time, and judges what readers see: the same for any scheme."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from s3memo.errors import StoreAccessError
from tests.simulation.history import History, Kind, Operation
from tests.simulation.world import Actor, SimulatedStore, World, pause

FOREIGN = (
    "README.txt",
    "job/notes.txt",
    "job.backup",
    "v1/memo/other/0/00000000000000000000000000000000/ffffffffffffff_20200101T000000.000000Z_inf_0_00000000.s3m",
)


class ForeignObjectError(AssertionError):
    """An object that the scheme did not write is gone or changed."""


class GarbageError(AssertionError):
    """What was replaced or made void is still in the store."""


class BlindWriteError(AssertionError):
    """Something was written by who could not read what is there."""


class Scheme(Protocol):
    """A way to keep results in a store, as one process uses it."""

    def get(self, key: str) -> str | None: ...
    def set(self, key: str, value: str) -> None: ...
    def fetch(self, key: str, compute: Callable[[], str]) -> str: ...
    def refresh(self, key: str, compute: Callable[[], str]) -> str: ...
    def invalidate(self, key: str) -> None: ...
    def clear(self, key: str) -> None: ...


class Process:
    """One process with its own connection, and what it has under way."""

    def __init__(self, make: Callable[[SimulatedStore], Scheme], store: SimulatedStore) -> None:
        self.scheme = make(store)
        self.store = store
        self.running: list[tuple[Actor, Operation | None]] = []


class Simulation:
    """A world, its processes, and the history of what they did."""

    def __init__(
        self,
        make: Callable[[SimulatedStore], Any],
        *,
        clocks: tuple[tuple[float, float, float], ...] = ((0, 0, 0), (0, 0, 0)),
        page_size: int = 1000,
    ) -> None:
        self.world = World()
        self.history = History()
        self._make = make
        self._page_size = page_size
        self._values = 0
        self.processes = [Process(make, self._connect(*clock)) for clock in clocks]
        self.foreign: dict[str, bytes] = {}

    def put_foreign(self, name: str) -> None:
        """Let somebody else write an object."""
        self.foreign[name] = self.world.objects[name] = b"not ours"

    # What a process begins: the actor goes on by `step`, or `finish` at once.

    def set(self, process: int, key: str) -> Actor:
        """Write a value that nobody computed: it counts as begun when its writer first looks at the store."""
        value = self._next_value()
        operation = self._begin("write", process, key, value)
        operation.promised = True
        return self._start(process, operation, lambda: self.processes[process].scheme.set(key, value))

    def fetch(self, process: int, key: str) -> Actor:
        """Read, or compute and write; a hit is judged as a read, and takes no part in the history as a write."""
        return self._compute(process, key, self.processes[process].scheme.fetch)

    def refresh(self, process: int, key: str) -> Actor:
        """Compute and write."""
        return self._compute(process, key, self.processes[process].scheme.refresh)

    def _compute(self, process: int, key: str, through: Callable[[str, Callable[[], str]], str]) -> Actor:
        value = self._next_value()
        operation = self._begin("write", process, key, value)
        owner = self.processes[process]

        def compute() -> str:
            operation.computed = self.world.tick()
            pause("computing")
            return value

        def run() -> None:
            got = through(key, compute)
            if got != value:
                self.history.check_read(key, got, process=owner, before=operation.begun)

        return self._start(process, operation, run)

    def read(self, process: int, key: str) -> Actor:
        begun, owner = self.world.tick(), self.processes[process]

        def run() -> None:
            got = owner.scheme.get(key)
            if got is not None:
                self.history.check_read(key, got, process=owner, before=begun)

        return self._start(process, None, run)

    def invalidate(self, process: int, key: str) -> Actor:
        operation = self._begin("invalidate", process, key)
        operation.promised = True
        return self._start(process, operation, lambda: self.processes[process].scheme.invalidate(key))

    def clear(self, process: int, key: str) -> Actor:
        operation = self._begin("clear", process, key)
        operation.promised = True
        return self._start(process, operation, lambda: self.processes[process].scheme.clear(key))

    def collect(self, process: int, grace: float) -> Actor:
        """Collect garbage, which no reader may notice."""
        scheme: Any = self.processes[process].scheme
        return self._start(process, None, lambda: scheme.collect(grace))

    # What the world does.

    def step(self, actor: Actor) -> None:
        """Let an actor go on to its next pause."""
        self.world.tick()
        ended = actor.step()
        operation = next(op for process in self.processes for other, op in process.running if other is actor)
        if operation is not None:
            operation.computed = max(operation.computed, actor.looked)
        if ended:
            self._settle(actor, operation)

    def finish(self, actor: Actor) -> None:
        """Let an actor go on alone until it has ended."""
        while not actor.dead:
            self.step(actor)

    def until(self, actor: Actor, doing: str) -> None:
        """Let an actor go on until it is about to do that."""
        while not actor.doing.startswith(doing):
            assert not actor.dead, f"ended before {doing}"
            self.step(actor)

    def crash(self, process: int) -> None:
        """Kill a process and start it anew: its memory is gone, what its requests did is not."""
        owner = self.processes[process]
        for actor, operation in owner.running:
            actor.kill()
            if operation is not None:
                operation.ended = self.world.tick()
        self.processes[process] = Process(self._make, owner.store)

    def running(self) -> list[Actor]:
        return [actor for process in self.processes for actor, _ in process.running]

    # What must hold.

    def check_store(self, key: str) -> None:
        """A process without memory, alone in the world, reads what is true."""
        reader = self._make(self._connect(0, 0, 0))
        self.history.check_read(key, reader.get(key))

    def check_memory(self, process: int, key: str) -> None:
        """A process sees its own doings at once, whatever its memory holds."""
        owner = self.processes[process]
        got = owner.scheme.get(key)
        if got is not None:
            self.history.check_read(key, got, process=owner)

    def check_nothing_is_written_blindly(self, process: int, key: str) -> None:
        """Whoever may not list what is there leaves it as it is."""
        before = dict(self.world.objects)
        self.world.refused = frozenset({"LIST"})
        with suppress(StoreAccessError):
            self.finish(self.fetch(process, key))
        self.world.refused = frozenset()
        if self.world.objects != before:
            raise BlindWriteError(key)

    def check_foreign(self) -> None:
        for name, data in self.foreign.items():
            if self.world.objects.get(name) != data:
                raise ForeignObjectError(name)

    def check_garbage(self, key: str, prefix: str) -> None:
        """With nobody at work, one more write leaves one result, and one more invalidation one tombstone at most."""
        self.finish(self.set(0, key))
        if len(self._ours(prefix)) - len(self._ours(prefix, ".dead")) != 1:
            raise GarbageError(str(self._ours(prefix)))
        self.finish(self.invalidate(0, key))
        if len(self._ours(prefix)) > 1:
            raise GarbageError(str(self._ours(prefix)))

    def _ours(self, prefix: str, suffix: str = "") -> list[str]:
        return [
            name
            for name in self.world.objects
            if name.startswith(prefix) and name.endswith(suffix) and name not in self.foreign
        ]

    def _connect(self, early: float, late: float, skew: float) -> SimulatedStore:
        return SimulatedStore(self.world, early, late, skew, page_size=self._page_size)

    def _next_value(self) -> str:
        self._values += 1
        return f"value {self._values}"

    def _begin(self, kind: Kind, process: int, key: str, value: str = "") -> Operation:
        begun = self.world.tick()
        operation = Operation(kind, key, self.processes[process], begun, value, computed=begun)
        self.history.operations.append(operation)
        return operation

    def _start(self, process: int, operation: Operation | None, run: Callable[[], Any]) -> Actor:
        actor = Actor(run)
        self.processes[process].running.append((actor, operation))
        self.step(actor)
        return actor

    def _settle(self, actor: Actor, operation: Operation | None) -> None:
        for process in self.processes:
            process.running = [pair for pair in process.running if pair[0] is not actor]
        if operation is not None:
            operation.ended = self.world.tick()
            promised = operation.promised or bool(actor.puts)
            operation.acknowledged = actor.error is None and promised
        if actor.error is not None and "over seven days" not in str(actor.error):
            raise actor.error
