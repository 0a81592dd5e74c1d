"""Async store hits: ObjectStore across the bridge, ObjectStore in the thread pool, and S3Store in the thread pool.

    pip install '.[dev]' && python -m benchmarks.async_hits [--server rclone|ceph] [--hits N] [--at-once N] [--rounds N]

One server holds the same results for all three. Memory is off and names are known, so each hit is one GET. The sides
take turns; wall and CPU times are medians of the rounds. CPU time is that of this process, obstore's threads included.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from statistics import median
from typing import Any

import pytest

from s3memo import Cache, ObjectStore, S3Store
from tests.servers.ceph import ceph_server
from tests.servers.rclone import rclone_server
from tests.servers.server import S3Server

SERVERS: dict[str, Callable[[], AbstractContextManager[S3Server]]] = {"rclone": rclone_server, "ceph": ceph_server}


class Pooled(ObjectStore):
    """An ObjectStore that claims not to await its own I/O, so that the thread pool is used."""

    awaits = False


def cached(store: Any) -> Any:
    """Return the function whose results are read."""

    @Cache(store, memory=None, names_ttl=3600).cached(name="summary", version=1)
    async def summary(number: int) -> dict[str, Any]:
        return {"number": number, "text": "y" * 1000}

    return summary


async def call(function: Any, numbers: Sequence[int], at_once: int) -> tuple[float, float]:
    """Call the function with `at_once` calls at a time; return the seconds of wall and of CPU time."""
    gate = asyncio.Semaphore(at_once)

    async def one(number: int) -> None:
        async with gate:
            await function(number)

    wall, processor = time.perf_counter(), time.process_time()
    await asyncio.gather(*map(one, numbers))
    return time.perf_counter() - wall, time.process_time() - processor


def readings(server: S3Server, options: argparse.Namespace) -> Iterator[tuple[str, float, float]]:
    """Yield the side and its seconds of wall and of CPU time, for each side and round."""
    bucket, numbers = server.make_bucket(), range(options.hits)
    url = f"s3+obstore://{bucket}/root"
    sides = {
        "ObjectStore, across the bridge": cached(ObjectStore(url)),
        "ObjectStore, in the pool": cached(Pooled(url)),
        "S3Store, in the pool": cached(S3Store(bucket, "root")),
    }
    names = [*sides]
    asyncio.run(call(sides[names[0]], numbers, options.at_once))
    for function in sides.values():
        asyncio.run(function.preload())
    for turn in range(options.rounds):
        for name in (*names[turn % 3 :], *names[: turn % 3]):
            before = sides[name].cache_info().store_hits
            wall, processor = asyncio.run(call(sides[name], numbers, options.at_once))
            assert sides[name].cache_info().store_hits - before == options.hits
            yield name, wall, processor


def main() -> None:
    """Print a line for each side."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", choices=SERVERS, default="ceph")
    parser.add_argument("--hits", type=int, default=2000)
    parser.add_argument("--at-once", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=6)
    options = parser.parse_args()
    with SERVERS[options.server]() as server, pytest.MonkeyPatch.context() as patch:
        server.set_environment(patch)
        found = list(readings(server, options))
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {options}")
    for name in dict.fromkeys(name for name, _, _ in found):
        walls = [wall for side, wall, _ in found if side == name]
        processor = median(seconds for side, _, seconds in found if side == name)
        print(f"{name:32} wall {median(walls):.2f} s (best {min(walls):.2f}), CPU {processor:.2f} s")


if __name__ == "__main__":
    main()
