"""Each command by its real process in every kind of place where there is nothing for it, or where it may do nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from s3memo import S3Store
from tests.cli.console import Run, at, made, s3memo
from tests.servers.ceph import as_guest
from tests.servers.server import S3Server

CALL = "jobs.simulate/1/0"
COMMANDS: dict[str, list[str]] = {
    "ls": [],
    "ls of one": ["ls", "jobs.simulate"],
    "du": ["du", "--tags"],
    "show": ["show", CALL],
    "history": ["history", CALL],
    "state ls": ["state", "ls"],
    "state get": ["state", "get", "cursor"],
    "state history": ["state", "history", "cursor"],
    "state rollback": ["state", "rollback", "cursor", "1", "--yes"],
    "gc": ["gc", "--tag", "jobs.simulate:1"],
    "gc --dry-run": ["gc", "--dry-run"],
    "clear": ["clear", "jobs.simulate", "--yes"],
}
ABSENT = {"ls of one", "show", "history", "state get", "state history", "state rollback", "clear"}
"""What names something that is not there, and fails."""

FOREIGN = ["v1/memo/jobs.simulate.jpg", "v1/state/cursor", "v1memo/jobs/1", "photos/v1/memo/cat.jpg", "v1/map/"]
PLACES = ["file", "memory", "moto", "rclone", "ceph", "obstore"]


def all_runs(url: str, env: Mapping[str, str], commands: Iterable[str] = COMMANDS) -> dict[str, Run]:
    def run(name: str) -> Run:
        return s3memo(*(COMMANDS[name] or [name]), "--url", url, "--json", env=env)

    with ThreadPoolExecutor(3) as pool:
        return dict(zip(commands, pool.map(run, commands), strict=True))


def check_documents(runs: Mapping[str, Run]) -> None:
    """On stdout there is JSON or nothing, and an error is one line on stderr."""
    for name, run in runs.items():
        assert all(json.loads(line) is not None for line in run.out.splitlines()), name
        assert run.code == 0 or (run.out, run.err.count("\n")) == ("", 1), (name, run)


def place(kind: str, request: pytest.FixtureRequest, directory: Path) -> tuple[str, dict[str, str], S3Store | None]:
    """Return an empty place, what names its server, and for S3 a store on all of its bucket."""
    if kind in {"file", "memory"}:
        return (made(directory / "store").url if kind == "file" else "memory://"), at(), None
    server: S3Server = request.getfixturevalue({"moto": "moto", "ceph": "ceph_s3"}.get(kind, "rclone_s3"))
    bucket = server.make_bucket()
    scheme = "s3+obstore" if kind == "obstore" else "s3"
    return f"{scheme}://{bucket}", at(server), S3Store(bucket, client=server.client)


@pytest.mark.parametrize("kind", PLACES)
def test_in_an_empty_place_only_what_is_named_is_missed(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url, env, _ = place(kind, request, tmp_path)
    runs = all_runs(url, env)
    check_documents(runs)
    assert {name for name, run in runs.items() if run.code} == ABSENT
    assert all(run.code in {0, 1} for run in runs.values())
    assert runs["gc"].lines[-1]["objects"] == 0


def test_other_peoples_objects_are_neither_shown_nor_touched(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    url, env, store = place("obstore", request, tmp_path)
    assert store is not None
    for object_key in FOREIGN[:-1]:
        store.put(object_key, b"theirs")
    runs = all_runs(url, env)
    check_documents(runs)
    assert {name for name, run in runs.items() if run.code} == ABSENT
    assert sorted(info.key for info in store.list("")) == sorted(FOREIGN[:-1])
    assert runs["gc"].lines[-1]["kept"] == {"foreign": 2}


@pytest.mark.parametrize("kind", ["no such bucket", "wrong secret", "no permission", "nobody there"])
@pytest.mark.parametrize("scheme", ["s3", "s3+obstore"])
def test_where_nothing_may_be_done_one_line_says_why(kind: str, scheme: str, request: pytest.FixtureRequest) -> None:
    server: S3Server = request.getfixturevalue("ceph_s3" if kind == "no permission" else "rclone_s3")
    bucket = server.make_bucket()
    said = {
        "no such bucket": "correct its name or the endpoint",
        "wrong secret": "set up or correct the AWS credentials",
        "no permission": "s3:ListBucket",
        "nobody there": "check the endpoint and the network",
    }
    if kind == "no such bucket":
        bucket = "no-such-bucket"
    elif kind == "wrong secret":
        server = replace(server, secret_key="wrong")
    elif kind == "no permission":
        server = as_guest(server)
    else:
        server = replace(server, endpoint="http://127.0.0.1:9")
    runs = all_runs(f"{scheme}://{bucket}/p", at(server), ["ls", "show", "state rollback", "gc", "clear"])
    check_documents(runs)
    for name, run in runs.items():
        assert (run.code, said[kind] in run.err) == (1, True), (name, run)
