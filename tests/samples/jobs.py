"""Cached functions of every kind, sent to other processes; prints what they and their keys are here and there."""

import asyncio
import inspect
import json
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle
import loky

from s3memo import s3_cached

TEN = 10


def compute(value: Any) -> Any:
    with Path(os.environ["COMPUTED"]).open("a", encoding="utf-8") as file:
        file.write(".")
    return value


@dataclass
class Point:
    x: int


@s3_cached
def plain(n: int) -> int:
    return compute(n + 1)


@s3_cached
async def coroutine(n: int) -> int:
    return compute(n + 2)


@s3_cached
def factorial(n: int) -> int:
    return compute(n * factorial(n - 1) if n else 1)


@s3_cached
def is_even(n: int) -> bool:
    return compute(n == 0 or is_odd(n - 1))


@s3_cached
def is_odd(n: int) -> bool:
    return compute(n != 0 and is_even(n - 1))


@s3_cached
def point(n: int, origin: Point = Point(TEN)) -> Point:  # noqa: B008  a value of a class of this module is in the key
    return compute(Point(origin.x + n))


class Base:
    @s3_cached
    @classmethod
    def of_class(cls, n: int) -> int:
        return compute(n + 3)


class Model(Base):
    def __init__(self, bias: int) -> None:
        self.bias = bias

    def __s3memo_key__(self) -> int:
        return self.bias

    @s3_cached
    def method(self, n: int) -> int:
        return compute(n + self.bias)

    @classmethod
    @s3_cached
    def of_class_too(cls, n: int) -> int:
        return compute(n + 4)

    @staticmethod
    @s3_cached
    def static(n: int) -> int:
        return compute(n + 5)

    @s3_cached
    @staticmethod
    def static_too(n: int) -> int:
        return compute(n + 6)


def _renamed(n: int) -> int:
    return compute(n + 7)


def closure(step: int) -> Callable[[int], int]:
    @s3_cached
    def add(n: int) -> int:
        return compute(n + step)

    return add


renamed = s3_cached(_renamed)
sibling = plain.with_options(ttl="1h")
METHODS = [Model(TEN).method, Base.of_class, Model.of_class, Model.static, Model.static_too]
if sys.version_info < (3, 13):  # from then on `classmethod` binds the call alone, and no `cache_…` name
    METHODS.append(Model.of_class_too)
SENT_BY_NAME: list[Any] = [
    plain,
    coroutine,
    factorial,
    is_even,
    point,
    *METHODS,
    renamed,
    sibling,
    Model(1).method.with_options(ttl="1h"),
]
SENT_BY_VALUE = [*SENT_BY_NAME, closure(8)]


def ask(function: Any) -> tuple[str, str, str]:
    brought = function(3)
    value = asyncio.run(brought) if inspect.iscoroutine(brought) else brought
    return function.__name__, str(value), str(function.cache_key(3))


ELSEWHERE = "import json, pickle, sys; ask, sent = pickle.load(sys.stdin.buffer); print(json.dumps([*map(ask, sent)]))"


def ask_elsewhere(way: str) -> list[Any]:
    """Ask the functions in another process, by one of the ways in which they get there."""
    kind, _, method = way.partition(" ")
    if kind == "pool":
        with multiprocessing.get_context(method).Pool(1) as pool:
            return pool.map(ask, SENT_BY_NAME)
    if kind == "executor":
        with ProcessPoolExecutor(1, multiprocessing.get_context(method)) as executor:
            return list(executor.map(ask, SENT_BY_NAME))
    if kind == "loky":
        with loky.ProcessPoolExecutor(1) as executor:
            return list(executor.map(ask, SENT_BY_VALUE))
    package = cloudpickle.dumps((ask, SENT_BY_VALUE))  # to where there is no source
    elsewhere = Path(os.environ["COMPUTED"]).parent / "elsewhere"
    done = subprocess.run([sys.executable, "-c", ELSEWHERE], cwd=elsewhere, input=package, stdout=-1, check=True)
    answers: list[Any] = json.loads(done.stdout)
    return answers


def main(*ways: str) -> None:
    here = [*map(ask, SENT_BY_VALUE)]
    computed = Path(os.environ["COMPUTED"]).stat().st_size
    there = {way: ask_elsewhere(way) for way in ways}
    again = Path(os.environ["COMPUTED"]).stat().st_size - computed
    print(json.dumps({"here": here, "there": there, "computed": computed, "computed again": again}))  # noqa: T201  for the test


if __name__ == "__main__":
    main(*sys.argv[1:])
