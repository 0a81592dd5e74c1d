"""One peer in a process of its own: `python -m benchmarks.field.worker TASK PEER PLACE COUNT`."""

from __future__ import annotations

import gc
import json
import sys
import time
from pathlib import Path

from benchmarks.field import makers


def fill(peer: str, place: str, count: int) -> int:
    """Store `count` results; return how many were computed."""
    function = makers.MAKERS[peer](place, makers.summary)
    for number in range(count):
        function(number)
    return len(makers.computed)


def cold(peer: str, place: str, _count: int) -> int:
    """Read one result."""
    value = makers.MAKERS[peer](place, makers.summary)(1)
    return _checked([value], [1], 0)


def hits(peer: str, place: str, count: int) -> float:
    """Return the seconds per result read from the store, after a first one that opens it."""
    function = makers.MAKERS[peer](place, makers.summary)
    function(0)
    started = time.perf_counter()
    values = [function(number) for number in range(count)]
    took = time.perf_counter() - started
    _checked(values, [*range(count)], 0)
    return took / count


def held(peer: str, place: str, count: int) -> float:
    """Return the bytes of memory per result, including its arguments and all overhead."""
    function = makers.MAKERS[peer](place, makers.half)
    function(-1)
    gc.collect()
    before = _resident()
    for number in range(1_000, 1_000 + count):
        function(number)
    gc.collect()
    bytes_each = (_resident() - before - sys.getsizeof(makers.computed)) / count
    known = len(makers.computed)
    function(1_000 + count // 2)
    if len(makers.computed) != known:
        raise RuntimeError(f"{peer} does not hold {count} results")
    return bytes_each


def _checked(values: list[object], numbers: list[int], computed: int) -> int:
    found = len(makers.computed)
    if found != computed or values != [makers.summary(number) for number in numbers]:
        raise RuntimeError(f"{found} of {len(numbers)} results were computed, or some are wrong")
    return found


def _resident() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


if __name__ == "__main__":
    task, peer, place, count = sys.argv[1:]
    sys.stdout.write(
        json.dumps({"fill": fill, "cold": cold, "hits": hits, "held": held}[task](peer, place, int(count)))
    )
