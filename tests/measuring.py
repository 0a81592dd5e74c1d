"""What an action takes."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable


def peak(action: Callable[[], object]) -> int:
    """Return how many bytes were taken at most while it ran."""
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
