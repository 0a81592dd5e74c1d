"""What batches take: 5,000 small warm results by `map`, against raw boto3 and cachier; and a million names, listed and held.

    pip install '.[bench,dev]' && bash tests/servers/ceph-install.sh && python benchmarks/batch.py

The store is a Ceph RADOS Gateway on this machine, which it shares with who asks. Each side runs in a process of its own,
in turn, for some rounds; a ratio is that of the medians. The names come from a server that makes them up.
Targets: at least 0.9 of the throughput of raw boto3; a million names in less than 150 MB.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import boto3.session
import cachier
from botocore.config import Config

from s3memo import Cache, S3Store

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

CALLS = 5_000
THREADS = 32


def result(number: int) -> dict[str, Any]:
    """Stand for what takes long."""
    return {"number": number, "text": "x" * 200}


def client(options: dict[str, Any]) -> Any:
    """Return a client of boto3's with as many connections as there are threads."""
    return boto3.session.Session().client("s3", config=Config(max_pool_connections=64), **options)


def cached(job: dict[str, Any]) -> Any:
    """Return the function, with nothing in memory."""
    store = S3Store(job["bucket"], "s3memo", client_options=job["options"])
    return Cache(store).cached(name="result", version=1)(result)


def by_cachier(job: dict[str, Any]) -> Any:
    """Return the function as cachier keeps it."""
    shared = client(job["options"])
    return cachier.cachier(backend="s3", s3_bucket=job["bucket"], s3_prefix="cachier", s3_client=shared)(result)


def store(job: dict[str, Any]) -> float:
    """Store all results by both."""
    assert sum(1 for _ in cached(job).map(range(CALLS))) == CALLS
    with ThreadPoolExecutor(THREADS) as pool:
        assert sum(1 for _ in pool.map(by_cachier(job), range(CALLS))) == CALLS
    return 0.0


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that some work takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def run_map(job: dict[str, Any]) -> float:
    """Read all by `map`, in a process that knows nothing yet."""
    function = cached(job)
    seconds = timed(lambda: list(function.map(range(CALLS), concurrency=job.get("threads", THREADS))))
    assert function.cache_info().store_hits == CALLS
    return seconds


def run_raw(job: dict[str, Any]) -> float:
    """Read the same objects by boto3, whose names are known."""
    raw = client(job["options"])
    names = [info.key for info in S3Store(job["bucket"], client_options=job["options"]).list("s3memo/")]

    def read(name: str) -> bytes:
        body: bytes = raw.get_object(Bucket=job["bucket"], Key=name)["Body"].read()
        return body

    with ThreadPoolExecutor(job.get("threads", THREADS)) as pool:
        return timed(lambda: list(pool.map(read, names)))


def run_cachier(job: dict[str, Any]) -> float:
    """Read all by cachier in threads."""
    function = by_cachier(job)
    with ThreadPoolExecutor(THREADS) as pool:
        return timed(lambda: list(pool.map(function, range(CALLS))))


def run_names(job: dict[str, Any]) -> list[float]:
    """List a million names and hold them; return seconds, names, and bytes that this process has grown by."""
    server = {
        "endpoint_url": job["endpoint"],
        "aws_access_key_id": "a",
        "aws_secret_access_key": "b",
        "region_name": "r",
    }
    function = Cache(S3Store("b", client_options=server)).cached(name="jobs.score", version=1)(result)
    function.cache_history(1)
    before = resident()
    count = 0

    def preload() -> None:
        nonlocal count
        count = function.preload(trust_for=None)

    seconds = timed(preload)
    return [seconds, count, resident() - before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024]


def resident() -> int:
    """Return how many bytes of memory this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


SIDES = {"store": store, "map": run_map, "raw boto3": run_raw, "cachier": run_cachier, "names": run_names}


def apart(side: str, job: dict[str, Any]) -> Any:
    """Run one side in a process of its own."""
    command = [sys.executable, __file__, "--side", side, "--job", json.dumps(job)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def main(rounds: int) -> None:
    """Run all and print what was measured."""
    from tests.servers.ceph import ceph_server  # noqa: PLC0415  it is found by the path set above

    print(
        f"Python {platform.python_version()}, boto3 {version('boto3')}, cachier {version('cachier')}, {os.cpu_count()} CPUs"
    )
    with ceph_server() as server:
        job = {"bucket": server.make_bucket(), "options": server.client_options}
        apart("store", job)
        seconds: dict[str, list[float]] = {}
        for number in range(rounds):
            sides = ["map", "raw boto3", "cachier"]
            for side in sides[number % 3 :] + sides[: number % 3]:
                seconds.setdefault(side, []).append(apart(side, job))
        for side, measured in seconds.items():
            median = statistics.median(measured)
            ratio = statistics.median(seconds["map"]) / median
            print(
                f"{side:10} {CALLS / median:7.0f} results/s (median of {measured}); map has {1 / ratio:.2f} of its throughput"
            )
        for threads in (1, 2, 4, 8, 16, 32, 64):
            took = {side: apart(side, job | {"threads": threads}) for side in ("map", "raw boto3")}
            print(f"concurrency {threads:2}: " + ", ".join(f"{side} {CALLS / took[side]:5.0f}/s" for side in took))
    names = subprocess.Popen(
        [sys.executable, ROOT / "benchmarks/listing_server.py", "1000000"], stdout=subprocess.PIPE, text=True
    )
    assert names.stdout is not None
    with names:
        took, count, grown, peak = apart("names", {"endpoint": f"http://127.0.0.1:{int(names.stdout.readline())}"})
        print(
            f"{count:,} names listed in {took:.1f} s; held in {grown / 1e6:.0f} MB, {grown / count:.0f} bytes each; peak of the process {peak / 1e6:.0f} MB"
        )
        names.kill()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side")
    parser.add_argument("--job", default="{}")
    given = parser.parse_args()
    if given.side:
        print(json.dumps(SIDES[given.side](json.loads(given.job))))
    else:
        main(given.rounds)
