"""Processes that share states, and everything that can go wrong between them, from one seed."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from s3memo import codec, envelope
from s3memo.collect import gc
from s3memo.errors import StateConflictError, StoreError
from s3memo.register import Register
from s3memo.sequences import parse_sequence, state_prefix
from s3memo.signing import NO_KEYS
from s3memo.state import ServiceState
from s3memo.stores.s3 import S3Store
from tests.simulation.chain import Event, Kind, Written, check
from tests.simulation.machine import ForeignObjectError
from tests.simulation.server import Fault, SimulatedS3, Weather, connect
from tests.simulation.world import Actor, World

NAMES = ("job", "job-old")
FOREIGN = (
    "v1/state/job/README.txt",
    "v1/state/job/ffffffffffffff.s3s",
    "v1/state/job/fffffffffffff0.s3s.backup",
    "v1/state/job/FFFFFFFFFFFFF0.s3s",
    "v1/state/job/fffffffffffff0/fffffffffffff0.s3s",
    "v1/state/jobs",
)
FRONT_ENDS = (-2.0, 0.0, 3.0)
"""How far the clocks of the servers' front ends are off, in seconds."""


class Simulation:
    """A server and a few processes, each with a client, a clock and a view of the states of its own."""

    def __init__(
        self,
        seed: int,
        *,
        rate: Mapping[Fault, float] | None = None,
        processes: int = 3,
        register: type[Register] = Register,
        keep: int = 1,
        **server: Any,
    ) -> None:
        self.chance = random.Random(seed)
        self.world = World()
        self.weather = Weather(self.chance, rate or {})
        self.events: dict[str, list[Event]] = {name: [] for name in NAMES}
        self.running: dict[int, tuple[Actor, Event]] = {}
        self._register = register
        self._keep = keep
        self._names = (f"op{number}" for number in itertools.count(1))
        self._server = SimulatedS3(self.world, self.weather, **server)
        self.stores = [self._connect(process) for process in range(processes)]
        for name in FOREIGN:
            self.world.objects[name] = b"not ours"

    def state(self, process: int, name: str) -> ServiceState:
        """Return a process's view on a state."""
        state = ServiceState(name, self.stores[process], keep=self._keep)
        store: Any = self.stores[process]
        state._register_type = self._register_of(self._register)
        state._clock, state._sleep = store.clock, store._sleep
        return state

    # What a process does.

    def get(self, process: int, name: str) -> Event:
        def run(event: Event) -> None:
            value = self.state(process, name).get()
            event.got = value and value["by"]

        return self._begin("get", process, name, run)

    def set(self, process: int, name: str) -> Event:
        def run(event: Event) -> None:
            self.state(process, name).set({"by": event.name, "of": None})

        return self._begin("set", process, name, run)

    def update(self, process: int, name: str) -> Event:
        def run(event: Event) -> None:
            self.state(process, name).update(lambda value: {"by": event.name, "of": value and value["by"]})

        return self._begin("update", process, name, run)

    def clear(self, process: int, name: str) -> Event:
        return self._begin("clear", process, name, lambda _: self.state(process, name).clear())

    def collect(self, process: int, name: str) -> Event:
        """Collect garbage as eagerly as gc may; what comes of it is no event of the state's."""
        event = Event(next(self._names), "get", begun=self.world.tick())
        self.running[process] = Actor(lambda: gc(self.stores[process], grace=0, keep_states=1)), event
        self.step(process)
        return event

    # What the world does.

    def step(self, process: int) -> None:
        """Let a process go on to its next pause."""
        actor, event = self.running[process]
        self.world.tick()
        if actor.step():
            del self.running[process]
            self._settle(actor, event)

    def finish(self, process: int) -> None:
        while process in self.running:
            self.step(process)

    def until(self, process: int, doing: str) -> None:
        """Let a process go on until it is about to do that."""
        while not self.running[process][0].doing.startswith(doing):
            self.step(process)

    def kill(self, process: int) -> None:
        """Kill a process and start it anew: what its requests did stays done."""
        if process in self.running:
            self.running.pop(process)[0].kill()
        self.stores[process] = self._connect(process)

    def run(self, steps: int, *, clears: bool = True, collects: bool = False) -> None:
        """Let chance decide what happens, so many times; then let all end in peace.

        A process may stand still for a while, in which the others go on, and hours pass.
        """
        begin: list[Callable[[int, str], Event]] = [self.update, self.update, self.update, self.set, self.get]
        begin += [self.clear] * clears + [self.collect] * collects
        still, until = -1, 0
        for step in range(steps):
            process = self.chance.randrange(len(self.stores))
            dice = self.chance.random()
            if step >= until and dice < 0.01:
                still, until = process, step + self.chance.randrange(20, 40)
            if process == still and step < until:
                continue
            if dice < 0.02:
                self.kill(process)
            elif dice < 0.08:
                self.world.now += self.chance.choice((0.4, 20.0, 700.0, 2000.0, 4000.0, 4000.0))
            elif dice < 0.12:
                self.weather.deliver()
            elif process in self.running:
                for _ in range(self.chance.randrange(1, 5)):
                    if process in self.running:
                        self.step(process)
            else:
                self.chance.choice(begin)(process, self.chance.choice((*NAMES, NAMES[0])))
        self.end()

    def end(self) -> None:
        """Let all that is under way end, in fair weather, and read once more."""
        self.weather.clear_up()
        for process in list(self.running):
            self.finish(process)
        for name in NAMES:
            self.get(0, name)
            self.finish(0)

    def check(self, *, reads_are_fresh: bool = True) -> None:
        """Raise the error of the first promise that was broken."""
        for name in NAMES:
            check(self.versions(name), self.events[name], reads_are_fresh=reads_are_fresh)
        for name in FOREIGN:
            if self.world.objects.get(name) != b"not ours":
                raise ForeignObjectError(name)

    def versions(self, name: str) -> dict[int, Written]:
        """Return what was first written under each number of a state."""
        prefix = state_prefix(name)
        found: dict[int, Written] = {}
        for key, data in self.world.written:
            number = parse_sequence(key.removeprefix(prefix)) if key.startswith(prefix) else None
            if number is not None:
                found.setdefault(number, _decode(key, data))
        return found

    def _begin(self, kind: Kind, process: int, name: str, run: Callable[[Event], Any]) -> Event:
        event = Event(next(self._names), kind, begun=self.world.tick())
        self.events[name].append(event)
        self.running[process] = Actor(lambda: run(event)), event
        self.step(process)
        return event

    def _settle(self, actor: Actor, event: Event) -> None:
        match actor.error:
            case None:
                event.outcome = "done"
            case StateConflictError():
                event.outcome = "refused"
            case StoreError() as error:
                event.outcome = "maybe" if error.maybe_applied else "refused"
            case error:
                raise error
        if event.outcome != "maybe":
            event.ended = self.world.tick()

    def _connect(self, process: int) -> S3Store:
        client = replace(self._server, skew=self.chance.choice(FRONT_ENDS))
        return connect(client, offset=1e5 * process, drift=1e-4 * process)

    def _register_of(self, register: type[Register]) -> Callable[..., Register]:
        return lambda *arguments: register(*arguments, jitter=self.chance.random)


def _decode(object_key: str, data: bytes) -> Written:
    if not data:
        return Written(None)
    parts: Any = codec.decode(envelope.unseal(data, object_key=object_key, keys=NO_KEYS).payload())
    value: Any = codec.decode(parts[2])
    return Written(value["by"], value["of"])
