"""`state` and its commands by their real processes."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from s3memo import LocalStore, S3Store, ServiceState
from tests.cli.console import DAY, MAIN, made, s3_environment, s3memo
from tests.servers.server import S3Server


@dataclass
class Point:
    x: int


def test_states_are_listed(store: LocalStore, env: dict[str, str]) -> None:
    for number in range(3):
        ServiceState("import cursor", store).set(number)
    cleared = ServiceState("old", store)
    cleared.set(1)
    cleared.clear()
    store.put("v1/state/old/notes.txt", b"foreign")
    store.put("v1/state/foreign/notes.txt", b"foreign")
    run = s3memo("state", "ls", env=env)
    heading, first, second = run.out.splitlines()
    assert heading == " version versions      size     age  name"
    assert first.split() == ["3", "3", *first.split()[2:-2], "import", "cursor"]
    assert second.split()[:3] == ["2", "2", "cleared"]
    told = s3memo("state", "ls", "--json", env=env).lines
    assert [(row["name"], row["version"], row["versions"], row["cleared"]) for row in told] == [
        ("import cursor", 3, 3, False),
        ("old", 2, 2, True),
    ]


def test_a_value_is_printed(store: LocalStore, env: dict[str, str]) -> None:
    ServiceState("cursor", store).set({"row": 7, "seen": (1, 2)})
    assert s3memo("state", "get", "cursor", env=env).out == "{'row': 7, 'seen': (1, 2)}\n"
    told = s3memo("state", "get", "cursor", "--json", env=env).json
    assert told == {"name": "cursor", "value": {"row": 7, "seen": [1, 2]}, "preview": "{'row': 7, 'seen': (1, 2)}"}


def test_what_is_not_there_is_told_with_what_to_do(store: LocalStore, env: dict[str, str]) -> None:
    assert "There is no state in" in s3memo("state", "ls", env=env).err
    cursor = ServiceState("cursor", store)
    cursor.set(1)
    for command in (["get", "curso"], ["history", "curso"], ["rollback", "curso", "1"]):
        run = s3memo("state", *command, env=env)
        assert (run.code, run.out) == (1, "")
        assert "no state 'curso'. Did you mean 'cursor'? There are: cursor" in run.err
    cursor.clear()
    assert "was cleared; s3memo state history cursor" in s3memo("state", "get", "cursor", env=env).err
    assert "no version 9; there are: 2, 1" in s3memo("state", "rollback", "cursor", "9", "--yes", env=env).err


def test_a_value_of_classes_is_not_built(store: LocalStore, env: dict[str, str]) -> None:
    ServiceState("point", store, types=[Point]).set(Point(1))
    run = s3memo("state", "get", "point", env=env)
    assert (run.code, "Point" in run.err) == (1, True)


@pytest.mark.parametrize("columns", ["60", "140"])
def test_versions_are_listed_newest_first(columns: str, store: LocalStore, env: dict[str, str]) -> None:
    cursor = ServiceState("cursor", store)
    cursor.set(1)
    cursor.clear()
    cursor.set(2)
    run = s3memo("state", "history", "cursor", env=env | {"COLUMNS": columns})
    heading, *rows = run.shown.splitlines()
    assert heading == "version                  written    age       size"
    assert [row.split()[0] for row in rows] == ["3", "2", "1"]
    assert rows[1].endswith("cleared")
    narrow = s3memo("state", "history", "cursor", env=env | {"COLUMNS": "40"}).shown.splitlines()
    assert [row.split()[0] for row in narrow] == ["version", "3", "2", "1"]
    told = s3memo("state", "history", "cursor", "--json", env=env).json
    assert [(row["version"], row["cleared"]) for row in told["versions"]] == [(3, False), (2, True), (1, False)]


def test_a_rollback_writes_an_old_value_again_on_a_real_server(moto: S3Server) -> None:
    bucket = moto.make_bucket()
    store = S3Store(bucket, client=moto.client)
    cursor = ServiceState("cursor", store)
    cursor.set("first")
    cursor.set("second")
    env = s3_environment(moto, url=f"s3://{bucket}")
    run = s3memo("state", "rollback", "cursor", "1", "--yes", env=env)
    assert (run.code, run.out, run.err) == (0, "", "Version 3 of 'cursor' is what version 1 was.\n")
    assert (cursor.get(), cursor.version) == ("first", 3)


def test_a_rollback_deletes_no_version_that_its_job_would_keep(tmp_path: Path, env: dict[str, str]) -> None:
    days_ago = made(tmp_path / "old", clock=lambda: time.time() - 2 * DAY)
    cursor = ServiceState("cursor", days_ago, keep=50)
    for number in range(15):
        cursor.set(number)
    told = s3memo("state", "rollback", "cursor", "2", "--yes", "--json", "--url", days_ago.url, env=env).json
    assert told == {"name": "cursor", "version": 16, "value_of": 2}
    assert [version.number for version in cursor.history()] == list(range(16, 0, -1))
    assert cursor.get() == 1


def test_without_a_terminal_or_with_a_read_only_setting_nothing_is_written(
    store: LocalStore, env: dict[str, str]
) -> None:
    ServiceState("cursor", store).set(1)
    unasked = s3memo("state", "rollback", "cursor", "1", env=env)
    assert (unasked.code, "give --yes" in unasked.err) == (2, True)
    refused = s3memo("state", "rollback", "cursor", "1", "--yes", env=env | {"S3MEMO_READ_ONLY": "1"})
    assert (refused.code, "read-only" in refused.err) == (2, True)
    assert ServiceState("cursor", store).version == 1


@pytest.mark.parametrize(("answer", "code", "version"), [("y\n", 0, 2), ("n\n", 1, 1), ("\n", 1, 1), (None, 130, 1)])
def test_on_a_terminal_it_asks(
    answer: str | None, code: int, version: int, store: LocalStore, env: dict[str, str]
) -> None:
    ServiceState("cursor", store).set(1)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, "state", "rollback", "cursor", "1"],
        env=env,
        stdin=theirs,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    )
    shown = b""
    while b"[y/N]" not in shown:
        shown += os.read(ours, 1000)
    assert b"Write version 1 of 'cursor' again, over version 1?" in shown
    if answer is not None:
        os.write(ours, answer.encode())
    while process.poll() is None:
        if answer is None:  # again, for one that comes just before it reads is noticed with the next line only
            process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(5)
    assert process.returncode == code
    os.close(ours)
    os.close(theirs)
    assert ServiceState("cursor", store).version == version
