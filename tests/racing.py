"""Processes that race for one key: light to import, since each of them has to."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from typing import Any, Literal, TypeAlias

from s3memo import Cache, S3Store

PROCESSES = 8

Operation: TypeAlias = Literal["call", "refresh"]
_barrier: Barrier


@dataclass(frozen=True)
class Race:
    """What all do at the same moment; if they `meet` in the computation, none finds what another has stored."""

    bucket: str
    client_options: Mapping[str, Any]
    operation: Operation = "call"
    meet: bool = False
    number: int = 1


@dataclass(frozen=True)
class Report:
    """What came of it in one process: the value, how often it was computed there, and the requests by kind."""

    value: dict[str, int]
    computed: int
    requests: dict[str, int]


def square(number: int) -> dict[str, int]:
    return {"number": number, "square": number * number}


def who_squares(number: int) -> dict[str, int]:
    return square(number) | {"process": os.getpid()}


@contextmanager
def racers() -> Iterator[ProcessPoolExecutor]:
    """Start the processes."""
    spawn = get_context("spawn")
    barrier = spawn.Barrier(PROCESSES)
    with ProcessPoolExecutor(PROCESSES, spawn, initializer=_prepare, initargs=(barrier,)) as pool:
        yield pool


def run(pool: ProcessPoolExecutor, race: Race) -> list[Report]:
    """Let all take part in a race, and return what each has to say."""
    return list(pool.map(_take_part, [race] * PROCESSES))


def _prepare(barrier: Barrier) -> None:
    global _barrier  # noqa: PLW0603  a barrier can only be inherited
    _barrier = barrier


def _meet() -> None:
    _barrier.wait(timeout=60)


def _take_part(race: Race) -> Report:
    computed = 0

    def compute(number: int) -> dict[str, int]:
        nonlocal computed
        computed += 1
        if race.meet:
            _meet()
        return (who_squares if race.operation == "refresh" else square)(number)

    store = S3Store(race.bucket, client_options=race.client_options)
    store.time()
    cached = Cache(store, on_error="raise").cached(name="jobs.square", version=1)(compute)
    _meet()
    value = (cached.cache_refresh if race.operation == "refresh" else cached)(race.number)
    requests = cached.cache_info().requests
    store.close()
    return Report(value, computed, dict(requests))
