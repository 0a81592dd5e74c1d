"""Contests: one quantity that is measured, the contestants, and the targets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rounds import Readings, ratio, seconds_a_call
from tests.servers.server import S3Server

SMALL: dict[str, Any] = {"name": "resnet", "score": 0.71, "words": [f"word {number:05d}" for number in range(80)]}
"""About 1 KiB."""
LARGE = np.random.default_rng(1).random(125_000)
"""1 MB."""


@dataclass(frozen=True)
class Field:
    """Where the contests take place; the environment names the server in boto3's variables."""

    server: S3Server
    bucket: str
    directory: Path
    is_quick: bool

    @property
    def client_options(self) -> dict[str, Any]:
        """The arguments of boto3's client for the server."""
        return self.server.client_options

    def sized(self, full: int, quick: int) -> int:
        """Return one of two sizes: the full one, or the one of a quick run."""
        return quick if self.is_quick else full


@dataclass(frozen=True)
class Contestant:
    """A contestant: `read` returns one reading in the contest's unit. `lacks` says what it does not offer."""

    name: str
    read: Callable[[], float]
    lacks: str = ""


@dataclass(frozen=True)
class Target:
    """The contestant's reading should be at most `at_most` times the peer's."""

    contestant: str
    peer: str
    at_most: float


@dataclass(frozen=True)
class Contest:
    """One quantity that is measured, in seconds, bytes or requests."""

    name: str
    title: str
    contestants: list[Contestant]
    targets: list[Target] = field(default_factory=list)
    unit: str = "s"
    rounds: int | None = None
    """None: as many as the other contests; a number for a quantity that does not vary."""


@dataclass(frozen=True)
class Outcome:
    """A contest and its readings."""

    contest: Contest
    readings: Readings

    def verdicts(self) -> list[tuple[Target, float, bool]]:
        """Return each target, the ratio that was found, and whether the target is met."""
        found = [(target, ratio(self.readings, target.contestant, target.peer)) for target in self.contest.targets]
        return [(target, times, times <= target.at_most) for target, times in found]


def calling(name: str, function: Callable[[], Any], expected: Any, *, calls: int, lacks: str = "") -> Contestant:
    """Return a contestant that makes `calls` calls per reading. Raises RuntimeError if its result is wrong."""

    def read() -> float:
        took = seconds_a_call(function, calls)
        check(name, function(), expected)
        return took

    check(name, function(), expected)
    return Contestant(name, read, lacks)


def check(name: str, value: Any, expected: Any) -> None:
    """Refuse to measure a function with a wrong result."""
    is_right = np.array_equal(value, expected) if isinstance(expected, np.ndarray) else value == expected
    if not is_right:
        raise RuntimeError(f"{name} returns {value!r:.80} instead of {expected!r:.80}")
