"""What an action takes, and leaves."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def peak(action: Callable[[], object]) -> int:
    """Return how many bytes were taken at most while it ran."""
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def calls(action: Callable[[], object]) -> int:
    """Return how many functions of Python's and C's it called from Python, and how often its generators went on."""
    count = 0

    def profile(_frame: object, event: str, _: object) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    sys.setprofile(profile)
    try:
        action()
        return count
    finally:
        sys.setprofile(None)


@contextmanager
def without_collector() -> Iterator[None]:
    """Let reference cycles stay while the block runs: what goes goes because nobody refers to it."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
