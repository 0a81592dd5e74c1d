"""A process that waits for a line, reads results through a local tier that it shares, and says if they were right."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from s3memo.stores import claims
from s3memo.stores.s3 import S3Store
from s3memo.stores.tiered import TieredStore
from tests.stores.results import bytes_of, result

_CHECKOUT = Path(__file__).parents[2]
SIZE = 100_000


def start(**job: Any) -> subprocess.Popen[str]:
    """Start a process that prints "ready", and when it has been sent a line and has read all, "right"."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.stores.fetcher", json.dumps(job)],
        cwd=_CHECKOUT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def main(*, bucket: str, client_options: dict[str, Any], local: str, count: int, patience: float | None) -> None:
    if patience is not None:
        claims._PATIENCE = (0.01,) * round(patience / 0.01)
    remote = S3Store(bucket, client_options=client_options, attempts=1, read_timeout=60, operation_timeout=90)
    store = TieredStore(remote, local)
    print("ready", flush=True)  # noqa: T201
    sys.stdin.readline()
    for number in range(count):
        if store.get(result(number)) != bytes_of(result(number), SIZE):
            sys.exit(f"{result(number)} came back wrong")
    print("right", flush=True)  # noqa: T201


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
