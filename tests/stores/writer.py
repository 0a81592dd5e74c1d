"""Processes that write to a LocalStore: light to import, since each test starts several."""

from __future__ import annotations

import itertools
import subprocess
import sys
import zlib
from multiprocessing.synchronize import Barrier
from pathlib import Path

from s3memo.stores.local import LocalStore

_CHECKOUT = Path(__file__).parents[2]


def value_of(object_key: str) -> bytes:
    """From some tens of bytes, within a page of the database, to a hundred thousand, over many."""
    return object_key.encode() * (1 + zlib.crc32(object_key.encode()) % 10_000)


def create_together(name: str, directories: list[Path], barrier: Barrier) -> None:
    """Put one object into each directory, at the same moment as the others who wait at the barrier."""
    for directory in directories:
        barrier.wait(timeout=30)
        LocalStore(directory).put(name, value_of(name))


def start(name: str, directory: Path) -> subprocess.Popen[str]:
    """Start a process that puts objects without end and prints each object key once the store has acknowledged it."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.stores.writer", name, str(directory)],
        cwd=_CHECKOUT,
        stdout=subprocess.PIPE,
        text=True,
    )


def acknowledged(writer: subprocess.Popen[str]) -> list[str]:
    """Return the object keys printed until the process ended; one cut off in the midst does not count."""
    with writer:
        assert writer.stdout
        return [line.removesuffix("\n") for line in writer.stdout if line.endswith("\n")]


def main(name: str, directory: str) -> None:
    store = LocalStore(directory)
    for number in itertools.count():
        key = f"{name}/{number:06}"
        store.put(key, value_of(key))
        print(key, flush=True)  # noqa: T201  read by `acknowledged`


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
