"""What a memory hit takes: a call of a cached function of two scalars, whose result is immutable, again and again.

    pip install '.[bench]' && python benchmarks/memory_hit.py

All caches are asked in turn, in rounds, within one process; a ratio is that of the medians. Targets: at most 3 times
`functools.lru_cache(typed=True)`; faster than `cachebox.cached(TTLCache)`; at least 3 times faster than
`cachetools.func.ttl_cache`. The last three are there for scale: none of them is a cache in memory alone.
"""

from __future__ import annotations

import functools
import itertools
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version

import cachebox
import cachetools.func
import cachier
import diskcache
import joblib

from s3memo import MemoryStore, s3_cached

_ROUNDS = 15
_SECONDS = 0.02


def add(x: int, y: float) -> float:
    """Stand for what takes long."""
    return x + y


def nanoseconds(function: Callable[[int, float], float], calls: int) -> float:
    """Return how long a call takes, the loop around it included."""
    started = time.perf_counter()
    for _ in itertools.repeat(None, calls):
        function(3, 2.5)
    return (time.perf_counter() - started) / calls * 1e9


def main() -> int:
    """Print the table; return 1 if a target is missed."""
    with tempfile.TemporaryDirectory() as directory:
        functions: dict[str, Callable[[int, float], float]] = {
            "functools.lru_cache(typed=True)": functools.lru_cache(typed=True)(add),
            "s3memo": s3_cached(MemoryStore(), ttl="1h")(add),
            "cachebox.cached(TTLCache)": cachebox.cached(cachebox.TTLCache(1024, 3600))(add),
            "cachetools.func.ttl_cache": cachetools.func.ttl_cache(ttl=3600)(add),
            "cachier, backend memory": cachier.cachier(backend="memory")(add),
            "diskcache memoize": diskcache.Cache(f"{directory}/diskcache").memoize()(add),
            "joblib Memory": joblib.Memory(f"{directory}/joblib", verbose=0).cache(add),
        }
        medians = measured(functions)
    print(f"Python {platform.python_version()}, cachebox {version('cachebox')}, cachetools {version('cachetools')}")
    print(f"{'a memory hit':34} {'ns':>10} {'of s3memo':>10} {'of lru_cache':>13}")
    ours, lru = medians["s3memo"], medians["functools.lru_cache(typed=True)"]
    for name, median in medians.items():
        print(f"{name:34} {median:10.0f} {median / ours:10.2f} {median / lru:13.2f}")
    missed = [
        target
        for target, is_met in {
            "at most 3 times lru_cache": ours <= 3 * lru,
            "faster than cachebox": ours < medians["cachebox.cached(TTLCache)"],
            "3 times faster than cachetools": 3 * ours <= medians["cachetools.func.ttl_cache"],
        }.items()
        if not is_met
    ]
    print(f"missed: {'; '.join(missed)}" if missed else "all targets are met")
    return 1 if missed else 0


def measured(functions: dict[str, Callable[[int, float], float]]) -> dict[str, float]:
    """Return the median of each function's rounds, which take turns."""
    calls = {}
    for name, function in functions.items():
        function(3, 2.5)
        once = nanoseconds(function, 20)
        calls[name] = max(20, int(_SECONDS * 1e9 / once))
    rounds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(_ROUNDS):
        for name, function in functions.items():
            rounds[name].append(nanoseconds(function, calls[name]))
    return {name: statistics.median(times) for name, times in rounds.items()}


if __name__ == "__main__":
    sys.exit(main())
