"""Speed and memory of the command line on a store of many objects: objects listed per second, and extra memory.

python -m benchmarks.command_line [objects]

The extra memory is that beyond a store of a thousand objects. Runs on the embedded store, and on rclone's S3 server
with the objects laid straight into its directory, which it walks for each page.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from s3memo import LocalStore
from s3memo.versions import Key
from tests.cli.console import HOUR, digest, environment, made, result, s3_environment
from tests.servers.rclone import rclone_server

FEW = 1000
COMMANDS = (["ls", "--json"], ["ls", "jobs.simulate", "--json"], ["gc", "--dry-run", "--json"], ["report", "-o", "-"])
MEASURED = """
import pathlib, sys, time
from s3memo.cli import app
started = time.perf_counter()
try:
    app.main()
finally:
    peak = pathlib.Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]
    print(time.perf_counter() - started, peak, file=sys.stderr)
"""


def object_keys(count: int) -> Iterator[str]:
    """Yield the object keys of `count` results of one function."""
    for number in range(count):
        yield Key("jobs.simulate", "1", digest(number)).prefix + result(HOUR).name


def filled(directory: Path, count: int) -> LocalStore:
    """Return an embedded store with `count` results."""
    store = made(directory / str(count))
    with store._database.connection("fill") as connection:  # noqa: SLF001  one transaction for all
        connection.execute("BEGIN")
        rows = ((key, 4, time.time(), b"data") for key in object_keys(count))
        connection.executemany("INSERT INTO objects VALUES (?, ?, ?, ?)", rows)
        connection.execute("COMMIT")
    return store


def measure(command: list[str], env: dict[str, str]) -> tuple[float, int]:
    """Run a command; return its seconds and its peak memory in KiB."""
    run = subprocess.run(
        [sys.executable, "-c", MEASURED, *command],
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=True,
    )
    seconds, peak = run.stderr.split()[-2:]
    return float(seconds), int(peak)


def main() -> None:
    """Print a line for each store and command."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    print(f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} CPUs, {count:,} objects")
    with tempfile.TemporaryDirectory() as directory, rclone_server() as server:
        embedded, served = [], []
        for each in (FEW, count):
            store = filled(Path(directory), each)
            server.lay(f"bucket-{each}", store)
            embedded.append(environment(S3MEMO_URL=store.url))
            served.append(s3_environment(server, f"s3://bucket-{each}"))
        stores = {"embedded": embedded, "rclone": served}
        for name, (few, many) in stores.items():
            for command in COMMANDS:
                (_, least), (seconds, peak) = measure(command, few), measure(command, many)
                print(
                    f"{name:9} {' '.join(command):28} {seconds:6.1f} s {count / seconds:9,.0f} objects/s "
                    f"{peak / 1024:4.0f} MiB, {(peak - least) / 1024:+.1f}"
                )


if __name__ == "__main__":
    main()
