"""One directory of copies, and many processes that write, read and make room in it, some of which are killed."""

from __future__ import annotations

import itertools
import logging
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from s3memo.stores.local import LocalStore
from s3memo.stores.quota import footprint
from s3memo.stores.tiered import TieredStore
from tests.stores import keeper
from tests.stores.keeper import RESULTS, value_of
from tests.stores.results import result

BOUND = 1_000_000
"""A third of what all results take."""


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    """A store that has all results, and that other processes reach."""
    store = LocalStore(tmp_path / "remote")
    for number in range(RESULTS):
        store.put(result(number), value_of(number))
    return tmp_path / "remote"


def taken(local: Path) -> int:
    """Return the bytes of all copies that anybody could read."""
    size = 0
    for path in local.glob("*/[0-9a-f][0-9a-f]/*"):
        try:
            size += footprint(path.stat().st_size)
        except FileNotFoundError:
            continue
    return size


@contextmanager
def all_stopped(processes: list[subprocess.Popen[str]]) -> Iterator[None]:
    """Let processes stand still, wherever they are, and then go on for a moment."""
    for process in processes:
        process.send_signal(signal.SIGSTOP)
        if process.returncode is None:
            os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    yield
    for process in processes:
        process.send_signal(signal.SIGCONT)
    time.sleep(0.02)


def begun(process: subprocess.Popen[str]) -> bool:
    assert process.stdout
    return process.stdout.readline() == "begun\n"


def test_processes_share_a_directory_and_its_bound(remote: Path, tmp_path: Path) -> None:
    assert sum(footprint(len(value_of(number))) for number in range(RESULTS)) > 2.5 * BOUND
    local = tmp_path / "local"
    processes = [keeper.start(remote, local, BOUND, turns=400) for _ in range(4)]
    assert all(map(begun, processes))
    seen = []
    while any(process.poll() is None for process in processes):
        with all_stopped(processes):  # a look at a directory in motion would see both what goes and what comes
            seen.append(taken(local))
    for process in processes:
        with process:
            assert process.stdout
            assert process.stdout.read() == "right\n"
    assert BOUND / 2 < max(seen) <= BOUND
    assert BOUND / 4 < taken(local) <= BOUND, "some that were read are dropped"


def test_killed_processes_leave_nothing_wrong_and_nothing_for_ever(
    remote: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    local = tmp_path / "local"
    rng = random.Random(1)
    survivor = keeper.start(remote, local, BOUND, turns=1000)
    assert begun(survivor)
    for _ in range(12):
        victim = keeper.start(remote, local, BOUND, turns=10**6)
        assert begun(victim)
        time.sleep(rng.uniform(0, 0.05))  # that it be killed at any point
        victim.kill()
        with victim:
            assert victim.stdout
            assert victim.stdout.read() == ""
    with survivor:
        assert survivor.stdout
        assert survivor.stdout.read() == "right\n"

    caplog.set_level(logging.DEBUG, "s3memo")
    (incoming,) = local.glob("*/incoming")
    (incoming / ("00" * 16)).write_bytes(b"half")  # in case that none was killed in the midst of writing
    left = list(incoming.iterdir())
    tiered = TieredStore(LocalStore(remote), local, max_bytes=BOUND, clock=lambda: time.time() + 3601)
    for number in itertools.chain(range(RESULTS), range(RESULTS)):
        assert tiered.get(result(number)) == value_of(number)
    assert left
    assert list(incoming.iterdir()) == []
    assert BOUND / 3 < taken(local) <= BOUND
    assert caplog.records == [], "no copy is damaged"
