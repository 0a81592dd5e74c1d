"""How long imports take, each in a fresh interpreter and in turn, compared with importing boto3.

python benchmarks/imports.py [rounds]
"""

from __future__ import annotations

import platform
import statistics
import subprocess
import sys
import time

PEER = "import boto3"
TARGET = 0.2
STATEMENTS = ("pass", PEER, "import s3memo", "from s3memo import s3_cached", "from s3memo import s3_cached, S3Store")


def seconds(statement: str) -> float:
    """Return how long a process takes that only runs this statement, in seconds."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return time.perf_counter() - started


def main() -> None:
    """Run the rounds and print the medians."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    taken: dict[str, list[float]] = {statement: [] for statement in STATEMENTS}
    for statement in STATEMENTS:
        seconds(statement)  # compiles bytecode that is missing
    for _ in range(rounds):
        for statement in STATEMENTS:
            taken[statement].append(seconds(statement))
    start_up = statistics.median(taken["pass"])
    cost = {statement: statistics.median(times) - start_up for statement, times in taken.items()}
    print(
        f"Python {platform.python_version()}, {platform.machine()}, {rounds} rounds, medians less the interpreter's own"
    )
    for statement in STATEMENTS[1:]:
        print(f"{cost[statement] * 1000:8.1f} ms  {cost[statement] / cost[PEER]:5.2f} x boto3  {statement}")
    ratio = cost["import s3memo"] / cost[PEER]
    sys.exit(0 if ratio < TARGET else f"import s3memo takes {ratio:.2f} of boto3's import; the target is {TARGET}")


if __name__ == "__main__":
    main()
