"""Other processes that tests start: what they do is in `tests.jobs`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from s3memo import S3Store, ServiceState
from tests.servers.server import S3Server

PROCESSES = 8


@contextmanager
def workers(server: S3Server, store: S3Store, **job: Any) -> Iterator[list[subprocess.Popen[str]]]:
    """Start processes that wait for a line; the server was tried before."""
    ServiceState("another", store).set(1)
    job |= {"bucket": store.url.removeprefix("s3://"), "client_options": server.client_options}
    with ExitStack() as stack:
        children = []
        for process in range(PROCESSES):
            child = subprocess.Popen(
                [sys.executable, "-m", "tests.jobs", json.dumps(job | {"process": f"p{process}"})],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            children.append(stack.enter_context(child))
            stack.callback(child.kill)
        yield children


def start(children: list[subprocess.Popen[str]]) -> None:
    """Let all begin at once."""
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        go_on(child)


def go_on(child: subprocess.Popen[str]) -> None:
    """Send a process the line that it waits for."""
    assert child.stdin is not None
    child.stdin.write("\n")
    child.stdin.flush()
