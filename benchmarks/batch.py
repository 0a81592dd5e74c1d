"""Batches: `map` compared with plain boto3 and with cachier, by the number of threads; and a million names.

    pip install '.[bench,dev]' && python -m benchmarks.batch [--results N] [--rounds N] [--names N]

Needs Ceph (`bash tests/servers/ceph-install.sh`). One gateway holds the same results for each side. Each reading is a
process of its own, timed from when its libraries are loaded, so that making the client counts. The sides take turns,
and a ratio is the median of those within a round, since the machine may be busy with other things in another. Plain
boto3 gets the names, reads the bytes, and does nothing else. cachier gets a client with a connection for each thread,
since with boto3's ten it would lose most of its time. The million names come from a server that computes them.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import boto3
import cachier
from botocore.config import Config

from benchmarks.rounds import told_by_process
from s3memo import Cache, ObjectStore, S3Store
from s3memo.functions import CachedFunction
from tests.servers.ceph import ceph_server
from tests.servers.engine import engine_on
from tests.servers.server import S3Server
from tests.servers.synthetic import Names, synthetic_server

BUCKET = "results"
THREADS = 32
SIDES_OF_READS = ("map", "boto3", "cachier")
GROWTH = (1, 2, 4, 8, 16, 32, 64)
TARGET = 0.9
MOST_MEGABYTES = 150
NAMESPACE, TAG = "batch.summary", "1"

Measured = dict[str, float]


def summary(number: int) -> dict[str, Any]:
    """A stand-in for a slow function: its result is about 300 bytes."""
    words = [f"{number * factor % 9973:04d}" for factor in range(3, 33)]
    return {"number": number, "words": " ".join(words), "mean": number / 7, "scores": [number / n for n in range(1, 9)]}


# the sides: each reads all results, alone in its process, and returns how many seconds that took


def read_by_map(settings: Mapping[str, Any]) -> Measured:
    """Read with `map`."""
    watch = Stopwatch()
    return _map_all(watch, cached(settings["client_options"]), settings)


def read_by_map_on_obstore(settings: Mapping[str, Any]) -> Measured:
    """Read with `map` and obstore; the environment names the server."""
    watch = Stopwatch()
    cache = Cache(ObjectStore(f"s3+obstore://{BUCKET}/s3memo"), on_error="raise")
    return _map_all(watch, cache.cached(name=NAMESPACE, version=TAG)(summary), settings)


def _map_all(
    watch: Stopwatch, function: CachedFunction[[int], dict[str, Any]], settings: Mapping[str, Any]
) -> Measured:
    count = settings["results"]
    read = sum(1 for _ in function.map(range(count), concurrency=settings["threads"]))
    took = watch.read()
    info = function.cache_info()
    check(read == info.hits == count, info.requests)
    return took | {str(kind): number for kind, number in info.requests.items()}


def read_by_boto3(settings: Mapping[str, Any]) -> Measured:
    """Read objects with known names, and do nothing with them."""
    watch = Stopwatch()
    client = plain_client(settings["client_options"], settings["threads"])

    def read(name: str) -> int:
        return len(client.get_object(Bucket=BUCKET, Key=name)["Body"].read())

    with ThreadPoolExecutor(settings["threads"]) as pool:
        sizes = list(pool.map(read, settings["names"]))
    took = watch.read()
    check(len(sizes) == settings["results"] and min(sizes) > 0, len(sizes))
    return took


def read_by_obstore(settings: Mapping[str, Any]) -> Measured:
    """Read with obstore what boto3 reads, and do nothing with it: the cost of the server and obstore alone."""
    watch = Stopwatch()
    engine = engine_on(BUCKET, settings["client_options"])
    with ThreadPoolExecutor(settings["threads"]) as pool:
        sizes = list(pool.map(lambda name: len(engine.get(name).bytes()), settings["names"]))
    took = watch.read()
    check(len(sizes) == settings["results"] and min(sizes) > 0, len(sizes))
    return took


def read_by_cachier(settings: Mapping[str, Any]) -> Measured:
    """Read with cachier's function in a pool of threads."""
    watch = Stopwatch()
    misses: list[int] = []

    def missed(number: int) -> dict[str, Any]:
        misses.append(number)
        return summary(number)

    missed.__module__, missed.__name__ = "batch", "summary"
    client = plain_client(settings["client_options"], settings["threads"])
    function = cachier.cachier(backend="s3", s3_bucket=BUCKET, s3_prefix="cachier", s3_client=client)(missed)
    with ThreadPoolExecutor(settings["threads"]) as pool:
        read = list(pool.map(function, range(settings["results"])))
    took = watch.read()
    check(len(misses) == (len(read) if settings.get("is_fill") else 0), len(misses))
    return took


def hold_names(settings: Mapping[str, Any]) -> Measured:
    """List and hold all names."""
    function = cached(settings["client_options"])
    function.cache_get(0)  # makes the client and learns the store's time
    gc.collect()
    before = memory("VmRSS")
    watch = Stopwatch()
    names = function.preload(trust_for=None)
    took = watch.read()
    gc.collect()
    numbers = range(2_000)
    looked = time.perf_counter()
    for number in numbers:
        function.cache_get(number)
    return {
        "names": names,
        **took,
        "lists": function.cache_info().requests["LIST"],
        "held_megabytes": (memory("VmRSS") - before) / 1e6,
        "peak_megabytes": (memory("VmHWM") - before) / 1e6,
        "miss_microseconds": (time.perf_counter() - looked) / len(numbers) * 1e6,
    }


SIDES: dict[str, Callable[[Mapping[str, Any]], Measured]] = {
    "map": read_by_map,
    "map_obstore": read_by_map_on_obstore,
    "boto3": read_by_boto3,
    "obstore": read_by_obstore,
    "cachier": read_by_cachier,
    "names": hold_names,
}


def cached(client_options: Mapping[str, Any]) -> CachedFunction[[int], dict[str, Any]]:
    """Return the cached function in a process that has read nothing."""
    cache = Cache(S3Store(BUCKET, "s3memo", client_options=client_options), on_error="raise")
    return cache.cached(name=NAMESPACE, version=TAG)(summary)


def plain_client(client_options: Mapping[str, Any], threads: int) -> Any:
    """Return a default boto3 client, but with a connection for each thread."""
    return boto3.client("s3", config=Config(max_pool_connections=threads), **client_options)


class Stopwatch:
    """Measures the wall time and the processor time of this process since it was made, in seconds."""

    def __init__(self) -> None:
        self._began = time.perf_counter(), time.process_time()

    def read(self) -> Measured:
        """Return both times."""
        seconds, processor = self._began
        return {"seconds": time.perf_counter() - seconds, "processor": time.process_time() - processor}


def check(is_right: object, told: object) -> None:
    """Refuse to measure a wrong result."""
    if not is_right:
        raise RuntimeError(f"not all results were read from the store: {told}")


def memory(name: str) -> int:
    """Return how many bytes of memory this process takes (VmRSS), or took at most (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


# the tables


def main() -> None:
    """Measure, print the tables, and say which targets were missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--names", type=int, default=1_000_000)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        sys.stdout.write(json.dumps(SIDES[options.side](json.load(sys.stdin))))
        return
    print(
        f"Python {platform.python_version()}, boto3 {version('boto3')}, cachier {version('cachier')}, "
        f"{platform.platform()}, {os.cpu_count()} processors"
    )
    missed = [*compare_sides(options.results, options.rounds), *measure_names(options.names)]
    sys.exit(f"missed: {'; '.join(missed)}" if missed else 0)


def compare_sides(results: int, rounds: int) -> Iterator[str]:
    """Measure all sides on one gateway; yield the target if it was missed."""
    with ceph_server() as server:
        settings = filled(server, results)
        size = settings.pop("bytes") / results
        print(f"\n{results:,} results of {size:.0f} bytes in a Ceph gateway, {THREADS} threads")
        print("       results per second             processor ms per result        speed of map relative to")
        print("round      map   boto3  cachier       map   boto3  cachier        boto3   cachier")
        ratios: dict[str, list[float]] = {"boto3": [], "cachier": []}
        order = [*SIDES_OF_READS]
        for number in range(1, rounds + 1):
            found = {side: run(side, settings) for side in order}
            order.append(order.pop(0))
            rates = [results / found[side]["seconds"] for side in SIDES_OF_READS]
            costs = [found[side]["processor"] / results * 1000 for side in SIDES_OF_READS]
            for side, each in ratios.items():
                each.append(found[side]["seconds"] / found["map"]["seconds"])
            print(f"{number:5}{rates[0]:9.0f}{rates[1]:8.0f}{rates[2]:9.0f}", end="")
            print(f"{costs[0]:10.2f}{costs[1]:8.2f}{costs[2]:9.2f}", end="")
            print(f"{ratios['boto3'][-1]:13.2f}{ratios['cachier'][-1]:10.2f}", flush=True)
        print(f"median{median(ratios['boto3']):71.2f}{median(ratios['cachier']):10.2f}")
        print(f"map sent {found['map']['LIST']} LISTs and {found['map']['GET']} GETs")
        print_growth(settings, results)
    if median(ratios["boto3"]) < TARGET:
        yield f"{TARGET} of boto3's throughput"


def filled(server: S3Server, results: int) -> dict[str, Any]:
    """Store the results for each side; return the settings of the sides."""
    server.client.create_bucket(Bucket=BUCKET)
    settings = {"client_options": server.client_options, "results": results, "threads": THREADS}
    function = cached(server.client_options)
    names, size = [], 0
    for number, entry in enumerate(function.map(range(results), returns="entry")):
        names.append(f"s3memo/{function.cache_key(number).prefix}{entry.version.name}")
        size += entry.size
    settings |= {"names": names, "bytes": size}
    run("cachier", settings | {"is_fill": True})
    return settings


def print_growth(settings: Mapping[str, Any], results: int) -> None:
    """Print the throughput of both sides for growing numbers of threads."""
    print("\nthreads   s3memo map   boto3   map / boto3   results per second")
    rates = []
    for threads in GROWTH:
        ours, theirs = (results / run(side, {**settings, "threads": threads})["seconds"] for side in ("map", "boto3"))
        rates.append(ours)
        print(f"{threads:7} {ours:12.0f} {theirs:7.0f} {ours / theirs:13.2f}", flush=True)
    steps = ", ".join(f"{after / before:.2f}" for before, after in pairwise(rates))
    print(f"from each to the next: {steps}")


def measure_names(count: int) -> Iterator[str]:
    """Measure what it takes to list and hold `count` names; yield the target if it was missed."""
    with synthetic_server(Names(NAMESPACE, TAG, count, root="s3memo/")) as server:
        found = run("names", {"client_options": server.client_options})
    print(f"\n{found['names']:,} names preloaded: {found['seconds']:.1f} s in {found['lists']} LISTs", end="")
    print(f" ({found['processor']:.1f} s of processor time)")
    held = found["held_megabytes"]
    print(f"held in {held:.0f} MB, {held * 1e6 / found['names']:.0f} bytes per name", end="")
    print(f"; {found['peak_megabytes']:.0f} MB at the peak; a miss then takes {found['miss_microseconds']:.0f} µs")
    if held > MOST_MEGABYTES * count / 1e6:
        yield f"{MOST_MEGABYTES} MB for a million names"


def run(side: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Run a side in a process of its own; return what it measured."""
    measured: dict[str, Any] = told_by_process("benchmarks.batch", "--side", side, settings=settings)
    return measured


if __name__ == "__main__":
    main()
