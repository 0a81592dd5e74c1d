"""What the tests of batches let other processes do: one function, which notes each of its computations in a file."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from s3memo import s3_cached


@s3_cached(name="batches.noted", version=1)
def noted(x: int) -> list[int]:
    """Note that it was computed; negative ones fail."""
    notes = os.environ.get("BATCH_NOTES")
    if notes:
        descriptor = os.open(notes, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, f"{x}\n".encode())
        os.close(descriptor)
    if x < 0:
        raise ValueError(x)
    return [x, os.getpid()] if os.environ.get("BATCH_PIDS") else [x, x * x]


def drive(count: int, pause: float) -> None:
    """Map over so many numbers, each of which takes so many seconds, and print each result."""

    @s3_cached(name="batches.noted", version=1)
    def slow(x: int) -> list[int]:
        result = noted.__wrapped__(x)
        time.sleep(pause)
        return result

    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for x, square in slow.map(range(count), concurrency=8):
        assert square == x * x
        sys.stdout.write(f"{x}\n")
        sys.stdout.flush()
    sys.stdout.write("done\n")


def notes_of(file: Path) -> list[int]:
    """Return what was computed so far."""
    return [int(line) for line in file.read_text().split()] if file.exists() else []


if __name__ == "__main__":
    drive(int(sys.argv[1]), float(sys.argv[2]))
