"""Real processes on real servers: each increment that was acknowledged is counted once, whoever is killed."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import Any

import pytest
from hypothesis import settings

from s3memo import S3Store, ServiceState
from s3memo.codec import decode
from tests.processes import PROCESSES, start, workers
from tests.servers.server import S3Server
from tests.simulation.chain import Event, Written, check


@pytest.mark.parametrize(("s3_server", "times"), [("moto", 2), ("ceph_s3", 50)], indirect=["s3_server"])
def test_increments_of_many_processes_are_all_counted(s3_server: S3Server, times: int) -> None:
    times = times if settings.default.derandomize else 50
    store = S3Store(s3_server.make_bucket(), client_options=s3_server.client_options)
    with workers(s3_server, store, does="increment", state="counter", times=times) as children:
        start(children)
        events = [event for child in children for event in follow(child)]
    in_doubt = [event for event in events if event.outcome == "maybe"]  # none, unless a busy server did not answer
    count = ServiceState("counter", store).get()["count"]
    assert PROCESSES * times - len(in_doubt) <= count <= PROCESSES * times
    assert len(in_doubt) <= 2
    check(versions(store), events)


def test_what_killed_processes_had_been_told_is_counted_once(ceph_s3: S3Server) -> None:
    times = 10 if settings.default.derandomize else 50
    store = S3Store(ceph_s3.make_bucket(), client_options=ceph_s3.client_options)
    with workers(ceph_s3, store, does="increment", state="counter", times=times) as children:
        start(children)
        events = []
        for child in children[:2]:
            events += follow(child, kill_after=times // 3)
        for child in children[2:]:
            events += follow(child)
    told = [event for event in events if event.outcome == "done"]
    in_doubt = [event for event in events if event.outcome == "maybe"]
    count = ServiceState("counter", store).get()["count"]
    assert (PROCESSES - 2) * times < len(told) <= count <= len(told) + len(in_doubt)
    assert len(in_doubt) <= 2
    check(versions(store), events)


def follow(child: subprocess.Popen[str], *, kill_after: int | None = None) -> list[Event]:
    """Return what a process did; with `kill_after` it is killed after so many of its operations."""
    events: dict[str, Event] = {}
    assert child.stdout is not None
    for line in child.stdout:
        operation, what, moment = line.split()
        if what == "begun":
            events[operation] = Event(operation, "update", float(moment))
        else:
            events[operation].outcome = what  # type: ignore[assignment]
            if what != "maybe":
                events[operation].ended = float(moment)
        if what == "done" and len(events) == kill_after:
            os.kill(child.pid, signal.SIGKILL)
    return list(events.values())


def versions(store: S3Store) -> dict[int, Written]:
    """Return who wrote each version; all are younger than an hour, so all are there."""
    register = ServiceState("counter", store)._register()
    numbers = [version.number for version in register.look(whole=True).versions]
    values: Any = {number: decode(register.read(number).payload or b"") for number in numbers}
    return {number: Written(value["by"], value["of"]) for number, value in values.items()}
