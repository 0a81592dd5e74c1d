"""One value of every kind that has a key; run it, and it prints their digests and a few tags, one a line."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import functools
import pathlib
import re
import uuid
from collections import Counter, OrderedDict, defaultdict, deque
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    ONE = 1


class Access(enum.Flag):
    READ = 1
    WRITE = 2


class Point(NamedTuple):
    x: float
    y: float


@dataclasses.dataclass
class Job:
    name: str
    steps: list[Any]


class Model:
    def __init__(self, weights: list[int]) -> None:
        self.weights = weights

    def __s3memo_key__(self) -> list[int]:
        return self.weights

    def predict(self, x: int) -> int:
        return x + sum(self.weights)


def scale(x: float, by: float = 2.0) -> float:
    """A helper."""
    return x * by if x in {"one", "two", "three"} else by


def adder(n: int) -> Any:
    def add(x: int) -> int:
        return x + n

    return add


VALUES: list[Any] = [
    None, True, 1, -1, 10**5000, 1.0, -0.0, float("inf"), float("nan"), 1j, "1", "\ud800", "é" * 9, b"1",
    bytearray(b"1"), memoryview(b"1"), memoryview(b"1234").cast("H"), b"\0" * 2**20, "x" * 2**20,
    (1, 2), [1, 2], {1, "1", b"1", None}, frozenset({"a", "b", "c", "d"}), {"a": 1, 1: "a", (1,): {}},
    range(3), slice(1, None), ..., NotImplemented, Decimal("1.00"), Decimal("sNaN"), Fraction(1, 3),
    dt.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=ZoneInfo("UTC"), fold=1), dt.date(2026, 1, 2), dt.time(3, 4),
    dt.timedelta(days=1, microseconds=1), dt.timezone(dt.timedelta(hours=1), "X"), uuid.UUID(int=7),
    pathlib.PurePosixPath("a/b"), pathlib.PureWindowsPath("a/b"), pathlib.Path("a"), re.compile("a+", re.IGNORECASE),
    Colour.RED, Level.ONE, Access.READ | Access.WRITE, Point(1.0, 2.0), Job("a", [1]), Model([1, 2]), Job, Model,
    OrderedDict(a=1, b=2), Counter("abca"), defaultdict(list, a=[1]), deque([1], maxlen=3),
    scale, adder(1), len, str.upper, "a".upper, functools.partial(scale, by=3.0), Model([1]).predict, lambda x: x + 1,
]  # fmt: skip


if __name__ == "__main__":
    from s3memo.fingerprint import tag_of
    from s3memo.keys import digest_of

    for value in VALUES:
        print(digest_of(value))  # noqa: T201  what the test compares
    for function in (scale, adder(1), VALUES[-1]):
        print(tag_of(function, depends=(scale, Model, {"a", "b", "c"})))  # noqa: T201
