"""Contests that need no server: memory, the embedded store, keys, and the codec."""

from __future__ import annotations

import compileall
import itertools
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import joblib

import s3memo
from benchmarks import codec
from benchmarks.field import makers
from benchmarks.field.contest import LARGE, SMALL, Contest, Contestant, Field, Target, calling, check
from benchmarks.rounds import seconds_a_call, seconds_of_process, told_by_process
from s3memo import fingerprint  # noqa: F401  registers how functions and classes are keyed
from s3memo.keys import ArgumentKeys, digest_of

MEMORY = ("functools.lru_cache", "s3memo memory", "cachebox", "cachetools", "dogpile memory", "cachier memory")
EMBEDDED = ("s3memo LocalStore", "diskcache memoize", "dogpile dbm", "cachier pickle", "joblib.Memory")
WORKER = "benchmarks.field.worker"


@contextmanager
def memory_hit(field: Field) -> Iterator[Contest]:
    """A call whose result this process holds."""
    calls = field.sized(20_000, 50)
    contestants = []
    for name in MEMORY:
        function = makers.MAKERS[name](str(field.directory / "memory"), makers.total)
        check(name, [function(3, 2.5), function(3, 2.5)], [5.5, 5.5])

        def read(function: makers.Function = function) -> float:
            return seconds_a_call(lambda: _call_often(function, calls), 1) / calls

        contestants.append(Contestant(name, read, makers.LACKS.get(name, "")))
    targets = [
        Target("s3memo memory", "functools.lru_cache", 3),
        Target("s3memo memory", "cachebox", 1),
        Target("s3memo memory", "cachetools", 1 / 3),
    ]
    yield Contest("memory_hit", "Memory hit: two scalars, an immutable result", contestants, targets)


@contextmanager
def memory_per_entry(field: Field) -> Iterator[Contest]:
    """The memory per entry in the process."""
    count = field.sized(100_000, 500)
    contestants = []
    for number, name in enumerate(MEMORY):
        place = str(field.directory / f"held{number}")
        contestants.append(_process(name, "held", place, count))
    title = f"Memory for an entry: {count:,} numbers by int, growth of the process (VmRSS)"
    yield Contest("memory_per_entry", title, contestants, unit="bytes", rounds=1)


@contextmanager
def embedded_hit(field: Field) -> Iterator[Contest]:
    """A call whose result is on this machine's disk."""
    count = field.sized(200, 20)
    place = _filled(field, "embedded", EMBEDDED, count)
    contestants = [_process(name, "hits", place, count) for name in EMBEDDED]
    targets = [
        Target("s3memo LocalStore", "diskcache memoize", 1),
        Target("s3memo LocalStore", "joblib.Memory", 1 / 5),
    ]
    yield Contest(
        "embedded_hit", f"Embedded store: hit in a fresh process, {count:,} dicts of 1 KiB", contestants, targets
    )


@contextmanager
def cold_start(field: Field) -> Iterator[Contest]:
    """A whole process that reads one result, from disk or from the bucket; modules are compiled as pip does."""
    compileall.compile_dir(Path(s3memo.__file__).parent, quiet=1)
    place = _filled(field, "cold", EMBEDDED, 2)
    bucket = f"s3://{field.bucket}"
    remote = ("s3memo S3Store", "s3memo ObjectStore", "cachier S3")
    for name in remote:
        _tell(name, "fill", bucket, 2)
    contestants = [
        Contestant(
            name,
            lambda name=name, at=at: seconds_of_process("-m", WORKER, "cold", name, at, "1"),
            makers.LACKS.get(name, ""),
        )
        for names, at in ((EMBEDDED, place), (remote, bucket))
        for name in names
    ]
    targets = [Target("s3memo LocalStore", "cachier pickle", 0.5)]
    yield Contest("cold_start", "Cold start: a new process, its imports, one store hit, its end", contestants, targets)


@contextmanager
def keys(field: Field) -> Iterator[Contest]:
    """The time to derive a key from arguments."""
    derive, numbers = ArgumentKeys(makers.half), itertools.count()
    many, few = field.sized(2_000, 5), field.sized(50, 2)
    sides = {
        "s3memo: one int": (lambda: derive.digest((next(numbers),), {}), many),
        "joblib.hash: one int": (lambda: joblib.hash((next(numbers),)), many),
        "s3memo: a dict of 1 KiB": (lambda: digest_of(SMALL), many),
        "joblib.hash: a dict of 1 KiB": (lambda: joblib.hash(SMALL), many),
        "s3memo: an array of 1 MB": (lambda: digest_of(LARGE), few),
        "joblib.hash: an array of 1 MB": (lambda: joblib.hash(LARGE), few),
    }
    contestants = [Contestant(name, lambda side=side: seconds_a_call(*side)) for name, side in sides.items()]
    yield Contest("keys", "Key of arguments", contestants)


@contextmanager
def values(field: Field) -> Iterator[Contest]:
    """The time to turn a value into bytes and back."""
    contestants = []
    for label, value, calls in (
        ("a dict of 1 KiB", SMALL, field.sized(1_000, 3)),
        ("an array of 1 MB", LARGE, field.sized(50, 2)),
    ):
        contestants += [
            calling(
                f"s3memo: {label}", lambda value=value: codec.read(bytearray(codec.write(value))), value, calls=calls
            ),
            calling(
                f"pickle: {label}",
                lambda value=value: pickle.loads(pickle.dumps(value, 5)),
                value,
                calls=calls,
                lacks="reading can run code; no checksum, no metadata",
            ),
        ]
    yield Contest("codec", "Value to sealed object and back", contestants)


def _call_often(function: makers.Function, calls: int) -> None:
    """Call in the tightest loop possible, since its overhead counts here."""
    for _ in itertools.repeat(None, calls):
        function(3, 2.5)


def _process(name: str, task: str, place: str, count: int) -> Contestant:
    return Contestant(name, lambda: _tell(name, task, place, count), makers.LACKS.get(name, ""))


def _tell(name: str, task: str, place: str, count: int) -> float:
    return float(told_by_process(WORKER, task, name, place, str(count), settings={}))


def _filled(field: Field, folder: str, names: tuple[str, ...], count: int) -> str:
    place = field.directory / folder
    place.mkdir()
    for name in names:
        _tell(name, "fill", str(place), count)
    return str(place)
