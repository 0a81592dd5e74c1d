"""Where the time of a store hit and of a miss goes: `python -m benchmarks.field.profile [--server ceph|moto]`.

Uses cProfile, which makes small functions look slower than they are: look at shares, not microseconds. A module's share
is the time in its own functions and in the C functions they call; the time S3Store waits for the server is "sockets".
"""

from __future__ import annotations

import argparse
import cProfile
import itertools
import pstats
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.field.__main__ import BUCKET, SERVERS, prepared
from benchmarks.field.contest import SMALL
from s3memo import Cache, LocalStore, S3Store
from s3memo import __file__ as package

CALLS = 300
SHOWN = 12
_ROOT = str(Path(package).parent)


def small(_number: int) -> dict[str, Any]:
    """A function that takes no time."""
    return SMALL


def main() -> None:
    """Print a table for each path."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", choices=SERVERS, default="ceph")
    start, told = SERVERS[parser.parse_args().server]
    with start() as server, tempfile.TemporaryDirectory() as directory:
        prepared(server, Path(directory), is_quick=True)
        remote = S3Store(BUCKET, "profile", client_options=server.client_options)
        for name, store in (("LocalStore", LocalStore(directory)), (f"S3Store, {told}", remote)):
            cached = Cache(store, memory=None, names_ttl=3600, on_error="raise").cached()(small)
            numbers = itertools.count()
            cached(next(numbers))
            print_shares(f"{name}: miss", lambda cached=cached, numbers=numbers: cached(next(numbers)))
            cached.preload(trust_for=None)
            print_shares(f"{name}: hit, name known", lambda cached=cached: cached(1))


def print_shares(title: str, call: Callable[[], Any]) -> None:
    """Profile many calls and print in which modules the time was spent."""
    profile = cProfile.Profile()
    profile.enable()
    for _ in range(CALLS):
        call()
    profile.disable()
    spent: Counter[str] = Counter()
    for (file, _, function), (_, _, own, _, callers) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        if file != "~":
            spent[module(file)] += own
        else:  # C functions count for their callers
            for (caller, _, _), (_, _, part, _) in callers.items():
                spent["sockets" if "socket" in function else module(caller)] += part
    total = sum(spent.values())
    print(f"\n### {title}: {total / CALLS * 1e6:.0f} µs per call under the profiler\n\n| module | share |\n|---|--:|")
    for name, seconds in spent.most_common(SHOWN):
        print(f"| {name} | {seconds / total:.0%} |")


def module(file: str) -> str:
    """Return the name of a module of s3memo, or of another package or file."""
    if file.startswith(_ROOT):
        return f"s3memo{file.removeprefix(_ROOT).removesuffix('.py').replace('/', '.')}"
    _, in_packages, inner = file.partition("site-packages/")
    return inner.split("/")[0].removesuffix(".py") if in_packages else Path(file).stem


if __name__ == "__main__":
    main()
