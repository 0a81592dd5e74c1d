"""A process that keeps copies in a directory that it shares with others, and says if it ever reads wrong bytes."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

from s3memo.stores.local import LocalStore
from s3memo.stores.tiered import TieredStore
from tests.stores.results import bytes_of, result

RESULTS = 60
_CHECKOUT = Path(__file__).parents[2]


def value_of(number: int) -> bytes:
    """From an empty one to some hundred thousand bytes."""
    return bytes_of(result(number), number * number * 40)


def start(remote: Path, local: Path, max_bytes: int, turns: int) -> subprocess.Popen[str]:
    """Start a process that prints "begun", and "right" when all that it read in so many turns was."""
    arguments = [str(remote), str(local), str(max_bytes), str(turns)]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.stores.keeper", *arguments], cwd=_CHECKOUT, stdout=subprocess.PIPE, text=True
    )


def main(remote: str, local: str, max_bytes: str, turns: str) -> None:
    store = TieredStore(LocalStore(remote), local, max_bytes=int(max_bytes))
    rng = random.Random(os.getpid())
    print("begun", flush=True)  # noqa: T201
    for _ in range(int(turns)):
        number = rng.randrange(RESULTS)
        if rng.random() < 0.3:
            store.put(result(number), value_of(number))
        elif rng.random() < 0.1:
            store.drop_copy(result(number))
        if store.get(result(number)) != value_of(number):
            sys.exit(f"{result(number)} came back wrong")
    print("right", flush=True)  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
