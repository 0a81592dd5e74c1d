"""Real processes on a real server: one computes for all, and one more if that one is killed."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import threading
from collections import Counter

from s3memo import S3Store
from tests.processes import PROCESSES, go_on, start, workers
from tests.servers.server import S3Server

LEASE = 3.0
SOON = 60.0
"""Seconds within which all that can happen has happened, on a machine that is busy with other things."""


class Followed:
    """Children, and what they have said so far: the place of the child, what it said, and when."""

    def __init__(self, children: list[subprocess.Popen[str]]) -> None:
        self.children = children
        self.said: list[tuple[int, str, float]] = []
        self._lines: queue.Queue[tuple[int, str]] = queue.Queue()
        for place in range(len(children)):
            threading.Thread(target=self._read, args=(place,), daemon=True).start()

    def until(self, **counts: int) -> None:
        """Read on until each thing was said so many times."""
        while any(self.count(what) < count for what, count in counts.items()):
            place, line = self._lines.get(timeout=SOON)
            _, what, moment = line.split()
            self.said.append((place, what, float(moment)))

    def count(self, what: str) -> int:
        return Counter(said for _, said, _ in self.said)[what]

    def last(self, what: str) -> tuple[int, float]:
        """Return who said it last, and when."""
        return [(place, moment) for place, said, moment in self.said if said == what][-1]

    def _read(self, place: int) -> None:
        stdout = self.children[place].stdout
        assert stdout is not None
        for line in stdout:
            self._lines.put((place, line))


def test_one_of_many_processes_computes_for_all(ceph_s3: S3Server) -> None:
    store = S3Store(ceph_s3.make_bucket(), client_options=ceph_s3.client_options)
    with workers(ceph_s3, store, does="answer", fleet=True) as children:
        start(children)
        followed = Followed(children)
        followed.until(computing=1, waits=PROCESSES - 1)
        go_on(children[followed.last("computing")[0]])
        followed.until(got42=PROCESSES)
    assert followed.count("computing") == 1


def test_one_more_computes_if_that_one_is_killed(ceph_s3: S3Server) -> None:
    store = S3Store(ceph_s3.make_bucket(), client_options=ceph_s3.client_options)
    with workers(ceph_s3, store, does="answer", fleet=LEASE) as children:
        start(children)
        followed = Followed(children)
        followed.until(computing=1, waits=PROCESSES - 1)
        victim, _ = followed.last("computing")
        os.kill(children[victim].pid, signal.SIGKILL)
        followed.until(computing=2)
        heir, _ = followed.last("computing")
        go_on(children[heir])
        followed.until(got42=PROCESSES - 1)
    assert followed.count("computing") == 2
