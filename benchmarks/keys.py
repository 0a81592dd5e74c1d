"""How long it takes to derive a key from a call's arguments, compared with joblib, which hashes them too.

    python benchmarks/keys.py

Needs the extra `bench`, numpy and pandas. Each pair is timed in turn, five rounds after one to warm up; the ratio is
that of the medians. Calls with two scalars differ each time, so that no side profits from earlier ones.
"""

from __future__ import annotations

import itertools
import platform
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import joblib
import numpy as np
import pandas as pd
from joblib.func_inspect import filter_args

from s3memo import fingerprint  # noqa: F401  registers how functions and classes are keyed
from s3memo.keys import ArgumentKeys, digest_of

_ROUNDS = 5
_CONFIG = {
    "model": {
        "name": "resnet",
        "layers": [{"type": "conv", "size": [3, 3], "stride": 1, "bias": True} for _ in range(20)],
        "optimizer": {"lr": 0.001, "betas": [0.9, 0.999], "decay": None},
    },
    "data": {"paths": [f"/data/{number}.parquet" for number in range(50)], "shuffle": True, "seed": 42},
}


def scale(x: int, factor: float) -> float:
    """The function whose calls are keyed."""
    return x * factor


def once(function: Callable[[], Any], calls: int) -> float:
    """Return the seconds per call, over `calls` calls."""
    started = time.perf_counter()
    for _ in range(calls):
        function()
    return (time.perf_counter() - started) / calls


def compare(name: str, target: float, ours: Callable[[], Any], theirs: Callable[[], Any], *, calls: int) -> bool:
    """Time both in turn, print a line, and return whether ours is at least `target` times faster."""
    rounds = [(once(ours, calls), once(theirs, calls)) for _ in range(_ROUNDS + 1)][1:]
    mine, other = (statistics.median(times) for times in zip(*rounds, strict=True))
    ratio = other / mine
    verdict = "ok" if ratio >= target else "MISSED"
    print(f"{name:52} {mine * 1e6:12.1f} µs {other * 1e6:12.1f} µs {ratio:7.1f} {target:7.1f}  {verdict}")
    return ratio >= target


def main() -> int:
    """Print the table; return 1 if a target is missed."""
    print(
        f"Python {platform.python_version()}, {', '.join(f'{name} {version(name)}' for name in ('joblib', 'numpy', 'pandas'))}"
    )
    print(f"{'':52} {'s3memo':>15} {'joblib':>15} {'times':>7} {'target':>7}")
    random = np.random.default_rng(1)
    array = random.random(12_500_000)
    frame = pd.DataFrame(random.random((100_000, 100)))
    keys = ArgumentKeys(scale)
    numbers = itertools.count()
    calls = [
        compare("100 MB of float64", 3, lambda: digest_of(array), lambda: joblib.hash(array), calls=1),
        compare("a frame of 100,000 x 100", 3, lambda: digest_of(frame), lambda: joblib.hash(frame), calls=1),
        compare("a nested configuration", 3, lambda: digest_of(_CONFIG), lambda: joblib.hash(_CONFIG), calls=200),
        compare(
            "two scalars, beside joblib.hash",
            4,
            lambda: keys.digest((next(numbers), 2.5), {}),
            lambda: joblib.hash((next(numbers), 2.5)),
            calls=5000,
        ),
        compare(
            "two scalars, beside filter_args and joblib.hash",
            10,
            lambda: keys.digest((next(numbers), 2.5), {}),
            lambda: joblib.hash(filter_args(scale, [], (next(numbers), 2.5), {})),
            calls=5000,
        ),
    ]
    return 0 if all(calls) else 1


if __name__ == "__main__":
    sys.exit(main())
