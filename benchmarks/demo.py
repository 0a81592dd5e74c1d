"""How much faster the second run of `s3memo demo` is than the first: whole processes, on fresh embedded stores.

    python benchmarks/demo.py [--rounds N] [--limit FILES]

Only the ratio within a round counts, since the machine may be busy with other things in another.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

PROJECT = Path(__file__).parents[1]
TARGET = 20


def main() -> None:
    """Run the rounds and print their table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--limit", type=int, help="analyze only this many files; the start of the process then weighs more"
    )
    options = parser.parse_args()
    limit = [] if options.limit is None else [f"--limit={options.limit}"]

    print(f"Python {platform.python_version()}, {platform.platform()}, {os.cpu_count()} processors")
    print("round   first run s   second run s   ratio")
    ratios = []
    for number in range(1, options.rounds + 1):
        with tempfile.TemporaryDirectory() as directory:
            first, second = (seconds_of_demo(f"--url={directory}/store", *limit) for _ in range(2))
        ratios.append(first / second)
        print(f"{number:5}{first:14.2f}{second:15.2f}{ratios[-1]:8.1f}", flush=True)
    print(f"median ratio {median(ratios):.1f}")
    sys.exit(0 if median(ratios) >= TARGET else f"the target is {TARGET}")


def seconds_of_demo(*arguments: str) -> float:
    """Return how long one run takes, from the start of its process to its end, in seconds."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "s3memo.cli.app", "demo", *arguments]
    subprocess.run(command, cwd=PROJECT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
