"""How long it takes to store a value and to read it back, compared with pickle protocol 5.

    python benchmarks/codec.py

Needs numpy and pandas. Both sides write and read each value in turn, five rounds after one to warm up; the ratio is
that of the medians. Large values are timed with their envelope, checksum included; small ones with and without. Peak
memory is what Python allocates while it writes or reads, plus the source or the download itself.
"""

from __future__ import annotations

import math
import pickle
import platform
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd

from s3memo import codec, envelope
from s3memo.signing import SigningKeys

_ROUNDS = 5
_MAX_MEMORY = 2.2
_NO_KEYS = SigningKeys(())
_FIELDS = {"created": 0, "ttl": None, "elapsed": 0, "function": "benchmark"}


def write(value: Any) -> bytes:
    """Return a value as the object that would be stored."""
    sealed = envelope.seal(codec.encode(value), object_key="k", keys=_NO_KEYS, **_FIELDS)
    return sealed.data


def read(data: bytearray) -> Any:
    """Return the value in a downloaded object."""
    sealed = envelope.unseal(data, object_key="k", keys=_NO_KEYS, codecs={"msgpack"})
    return codec.decode(sealed.payload())


def encoded(value: Any) -> bytes:
    """Return a value as bytes, without an envelope."""
    return b"".join(codec.encode(value))


def timed(write: Callable[[Any], bytes], read: Callable[[Any], Any], value: Any, calls: int) -> float:
    """Return the seconds per call for writing and reading, without the copy in between that stands for the download."""
    seconds = 0.0
    for _ in range(calls):
        started = time.perf_counter()
        data = write(value)
        seconds += time.perf_counter() - started
        downloaded = bytearray(data)
        started = time.perf_counter()
        read(downloaded)
        seconds += time.perf_counter() - started
    return seconds / calls


def peaks(value: Any, size: int) -> tuple[float, float]:
    """Return the peak memory of writing and of reading, source or download included, as multiples of `size`."""
    tracemalloc.start()
    data = write(value)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    downloaded = bytearray(data)
    del data
    tracemalloc.start()
    again = read(downloaded)
    _, read_peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del again
    return 1 + peak / size, 1 + read_peak / size


def compare(name: str, target: float, value: Any, *, calls: int, size: int = 0, bare: bool = False) -> bool:
    """Time both sides in turn, print a line, and return whether the target ratio is met; `bare`: without envelope."""
    ways = (encoded, codec.decode) if bare else (write, read)
    rounds = [
        (timed(*ways, value, calls), timed(lambda one: pickle.dumps(one, 5), pickle.loads, value, calls))
        for _ in range(_ROUNDS + 1)
    ][1:]
    mine, other = (statistics.median(times) for times in zip(*rounds, strict=True))
    ratio = mine / other
    memory = peaks(value, size) if size else (0.0, 0.0)
    met = ratio <= target and max(memory) <= _MAX_MEMORY
    shown = f"{memory[0]:5.2f} {memory[1]:5.2f}" if size else " " * 11
    verdict = "ok" if met else "MISSED"
    print(f"{name:44} {mine * 1e3:10.3f} ms {other * 1e3:10.3f} ms {ratio:6.2f} {target:6.1f}  {shown}  {verdict}")
    return met


def main() -> int:
    """Print the table; return 1 if a target is missed."""
    print(f"Python {platform.python_version()}, numpy {version('numpy')}, pandas {version('pandas')}")
    print(f"{'write and read':44} {'s3memo':>13} {'pickle':>13} {'ratio':>6} {'target':>6}  memory, times the data")
    random = np.random.default_rng(1)
    array = random.random(12_500_000)
    frame = pd.DataFrame(random.random((100_000, 100)))
    mixed = pd.DataFrame(
        {
            "name": [f"name {number % 1000}" for number in range(200_000)],
            "kind": pd.Categorical.from_codes(np.arange(200_000) % 3, ["a", "b", "c"]),
            "when": pd.date_range("2026", periods=200_000, freq="s", tz="UTC"),
            "value": random.random(200_000),
            "count": pd.array(np.arange(200_000), dtype="Int64"),
        }
    )
    record = {"id": 17, "name": "resnet", "score": 0.71, "tags": ["a", "b"], "ok": True, "note": None}
    rows = [(number, f"row {number}", number * 0.5) for number in range(10_000)]
    met = [
        compare("100 MB of float64", 1.2, array, calls=1, size=array.nbytes),
        compare("a frame of 100,000 x 100 float64", 2, frame, calls=1, size=80_000_000),
        compare("a frame of 200,000 rows of five kinds", 2, mixed, calls=3, bare=True),
        compare("a small dict", 4, record, calls=2000, bare=True),
        compare("a list of 10,000 tuples", math.inf, rows, calls=5, bare=True),
    ]
    compare("a frame of five kinds, compressed", math.inf, mixed, calls=1)
    compare("a small dict, with its envelope", math.inf, record, calls=2000)
    compare("a list of 10,000 tuples, with its envelope", math.inf, rows, calls=5)
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
