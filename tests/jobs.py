"""What tests let other processes do, with real servers: `python -m tests.jobs increment …`."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from s3memo import S3Store, ServiceState
from s3memo.errors import StateConflictError, StoreError


def increment(store: S3Store, name: str, process: str, times: int) -> None:
    """Add one to a state, so many times; print each operation when it begins and when it has ended."""
    state = ServiceState(name, store, keep=1000)
    for number in range(times):
        operation = f"{process}.{number}"
        say(operation, "begun")

        def add(value: dict[str, Any]) -> dict[str, Any]:
            return {"by": operation, "of": value["by"], "count": value["count"] + 1}  # noqa: B023  it is called at once

        try:
            state.update(add, default={"by": None, "count": 0})
        except StateConflictError:
            say(operation, "refused")
        except StoreError as error:
            say(operation, "maybe" if error.maybe_applied else "refused")
        else:
            say(operation, "done")


def say(operation: str, what: str) -> None:
    sys.stdout.write(f"{operation} {what} {time.monotonic()}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    what = json.loads(sys.argv[1])
    store = S3Store(what["bucket"], client_options=what["client_options"])
    store.time()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    increment(store, what["state"], what["process"], what["times"])
