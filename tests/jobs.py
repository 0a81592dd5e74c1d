"""What tests let other processes do, with real servers; `tests.processes` starts them."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

from s3memo import Cache, Event, S3Store, ServiceState
from s3memo.errors import StateConflictError, StoreUnavailableError


def increment(store: S3Store, process: str, state: str, times: int) -> None:
    """Add one to a state, so many times; print each operation when it begins and when it has ended."""
    counter = ServiceState(state, store, keep=1000)
    for number in range(times):
        operation = f"{process}.{number}"
        say(operation, "begun")

        def add(value: dict[str, Any]) -> dict[str, Any]:
            return {"by": operation, "of": value["by"], "count": value["count"] + 1}  # noqa: B023  it is called at once

        outcome = "refused"
        while outcome == "refused":  # by too many rivals, or by a busy server; then it has had no effect
            outcome = update(counter, add)
        say(operation, outcome)


def update(counter: ServiceState, add: Callable[[dict[str, Any]], dict[str, Any]]) -> str:
    try:
        counter.update(add, default={"by": None, "count": 0})
    except StateConflictError:
        return "refused"
    except StoreUnavailableError as error:
        return "maybe" if error.maybe_applied else "refused"
    return "done"


def answer(store: S3Store, process: str, fleet: bool | float) -> None:
    """Call a function that takes until somebody writes a line; print what happens, and when it does."""

    def tell(event: Event) -> None:
        if event.message.startswith("waits for"):
            say(process, "waits")

    @Cache(store, hooks=[tell]).cached(name="jobs.answer", version=1, fleet=fleet)
    def question() -> int:
        say(process, "computing")
        sys.stdin.readline()
        return 42

    say(process, f"got{question()}")


def say(operation: str, what: str) -> None:
    sys.stdout.write(f"{operation} {what} {time.monotonic()}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    job = json.loads(sys.argv[1])
    does, process = {"increment": increment, "answer": answer}[job.pop("does")], job.pop("process")
    store = S3Store(job.pop("bucket"), client_options=job.pop("client_options"))
    store.time()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    does(store, process, **job)  # type: ignore[operator]  # each takes what its test gives
