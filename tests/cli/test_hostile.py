"""Stores that hold what somebody else put there, to look like ours or to reach the operator's terminal."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

import pytest

from s3memo import LocalStore, MemoryStore, ServiceState
from s3memo.cli.inventory import living, survey
from s3memo.cli.place import names_below
from s3memo.cli.tally import tally
from s3memo.garbage import Policy, plan
from s3memo.stores.base import PAGE_SIZE, ObjectInfo, TimeBounds
from s3memo.versions import Key, escape, unescape
from tests.cli.console import DAY, digest, lay, result, s3_environment, s3memo
from tests.measuring import peak
from tests.servers.scripted import ScriptedServer, refusal

ESCAPES = "evil\x1b[31m\x1b]0;title\x07\u202etxt.exe"
FOREIGN = [
    f"v1/{ESCAPES}",
    f"v1/memo/{ESCAPES}/1/x",
    f"v1/memo/jobs.simulate/{ESCAPES}/x",
    f"v1/memo/jobs.simulate/1/{ESCAPES}/x.s3m",
    f"v1/map/{ESCAPES}/x",
    f"v1/state/{ESCAPES}/x",
    "v1/memo/=20日本/1/x",
    "v1/memo/=ff=1b/1/x",
    "v1//x",
    "v1/memo//x",
    "v1/memo/jobs.simulate",
    "v1x/memo/jobs.simulate",
]
SENT = re.compile("[^\n -\x7e\u00a1-\u1fff\u2010-\u2027\u2190-\uffef]")
"""What has no place on a terminal."""

COMMANDS = [
    ["ls"],
    ["ls", "typo"],
    ["ls", "jobs.simulate"],
    ["du", "--tags"],
    ["show", "jobs.simulate/1/0"],
    ["show", "typo/1/0"],
    ["show", "jobs.simulate/1"],
    ["history", "jobs.simulate/1/e"],
    ["state", "ls"],
    ["state", "get", "typo"],
    ["gc", "--dry-run", "--tag", "typo:1", "--tag", "jobs.simulate:typo"],
    ["clear", "typo", "--yes"],
    ["clear", "jobs.simulate", "--tag", "typo", "--yes"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_nothing_but_text_reaches_the_terminal(command: list[str], store: LocalStore, env: dict[str, str]) -> None:
    lay(store, Key("jobs.simulate", "1", digest(1)), result(1))
    for object_key in FOREIGN:
        store.put(object_key, b"theirs")
    for name in (ESCAPES, "[red]red[/red] [link=http://example.com]link[/link]", ":smile:", "x" * 500, "two\nlines"):
        lay(store, Key(name, ESCAPES, digest(1)), result(1))
        ServiceState(name, store).set(name)
    run = s3memo(*command, env=env | {"COLUMNS": "40"})
    assert run.code in {0, 1, 2}
    assert not SENT.findall(run.out + run.err)


def test_markup_is_text(store: LocalStore, env: dict[str, str]) -> None:
    name = "[red]red[/red]:smile:"
    lay(store, Key(name, "1", digest(1)), result(1))
    for command in (["ls"], ["ls", name], ["du"], ["ls", "typo"]):
        run = s3memo(*command, env=env)
        assert name in run.out + run.err


def test_what_a_server_says_is_no_command_to_the_terminal(scripted: ScriptedServer) -> None:
    scripted.behave = refusal(403, "AccessDenied", f"no{ESCAPES}")
    run = s3memo("ls", "--url", "s3://bucket/root", env=s3_environment(scripted.server))
    assert (run.code, SENT.findall(run.err)) == (1, [])


@pytest.mark.parametrize("name", [ESCAPES, "日本語の関数名" * 10, "two\nlines", "a=20b"])
def test_a_name_may_be_given_as_it_is_shown(name: str, store: LocalStore, env: dict[str, str]) -> None:
    key = Key(name, ESCAPES, digest(1))
    lay(store, key, result(1))
    (row,) = s3memo("ls", "--json", env=env).json["functions"]
    assert row["name"] == unescape(escape(name))
    assert s3memo("ls", row["name"], "--json", env=env).code == 0
    given = f"{row['name']}:{row['tags'][0]}"
    assert s3memo("gc", "--dry-run", "--tag", given, "--json", env=env).lines[-1]["objects"] == 1
    assert s3memo("clear", row["name"], "--tag", row["tags"][0], "--yes", "--json", env=env).json["deleted"] == 1


@pytest.mark.parametrize("name", [ESCAPES, "two\nlines", "a=20b"])
def test_a_state_may_be_named_as_it_is_shown(name: str, store: LocalStore, env: dict[str, str]) -> None:
    ServiceState(name, store).set(1)
    (row,) = s3memo("state", "ls", "--json", env=env).lines
    assert s3memo("state", "get", row["name"], "--json", env=env).json["value"] == 1
    assert len(s3memo("state", "history", row["name"], "--json", env=env).json["versions"]) == 1
    assert s3memo("state", "rollback", row["name"], 1, "--yes", "--json", env=env).json["version"] == 2


@pytest.mark.parametrize("part", ["=20日本", "=ff", "=1b", "\x1b=20", "=2", "="])
def test_parts_that_s3memo_never_wrote_stay_as_they_are(part: str) -> None:
    assert unescape(part) == part


PLACES = ["v1/memo/photos/2020", "v1/memo/jobs/1/cats", f"v1/memo/jobs/1/{digest(1)}", "v1/map/cats", "v1/state/cats"]


@pytest.mark.parametrize("folder", PLACES)
def test_of_other_peoples_objects_none_is_kept_in_memory(folder: str) -> None:
    """However many lie in one folder: each is told before the next is taken."""
    last = 0

    def infos() -> Iterator[ObjectInfo]:
        nonlocal last
        for last in range(1, 5000):
            yield ObjectInfo(f"{folder}/{last:09}.jpg", 1, 0.0)

    for count, planned in enumerate(itertools.islice(plan(infos(), Policy(), earliest=1e9, latest=1e9), 1000), start=1):
        assert [each.reason for each in planned.kept] == ["foreign"]
        assert last <= count + 1


@pytest.mark.parametrize("folder", PLACES)
def test_a_report_keeps_a_page_of_other_peoples_objects_at_the_most(folder: str) -> None:
    count = 20 * PAGE_SIZE
    infos = (ObjectInfo(f"{folder}/{number:09}.jpg", 1, 0.0) for number in range(count))
    found = []
    assert peak(lambda: found.append(tally("memory://", infos, TimeBounds(1e9, 1e9)))) < count * 50, "bytes"
    assert found[0].others["foreign"].objects == count


def test_a_report_judges_a_call_alike_whatever_lies_beside_its_results() -> None:
    store = MemoryStore()
    key = Key("f", "1", digest(1))
    for days in (30, 20, 10):
        lay(store, key, result(days * DAY))
    now = store.time()
    alone = tally("memory://", store.list("v1/"), now)
    for number in range(2 * PAGE_SIZE):
        store.put(f"{key.prefix}{number:09}.jpg", b"theirs")
    beside = tally("memory://", store.list("v1/"), now)
    assert beside.others["foreign"].objects == beside.kept["foreign"] == 2 * PAGE_SIZE
    assert (beside.total, beside.garbage, beside.largest) == (alone.total, alone.garbage, alone.largest)
    assert alone.garbage["superseded"].objects == 2


def test_a_survey_counts_other_peoples_objects_as_they_pass() -> None:
    found = survey(
        (ObjectInfo(f"{folder}/{number:09}.jpg", 1, 0.0) for folder in sorted(PLACES) for number in range(3)),
        latest=1e9,
    )
    assert {(owner.kind, held.objects, held.bytes) for owner, held in found.items()} == {("foreign", 15, 15)}
    assert not list(living((ObjectInfo(f"{folder}/x.jpg", 1, 0.0) for folder in sorted(PLACES)), latest=1e9))


class CountingStore(MemoryStore):
    listings = 0

    def list(self, prefix: str, *, start_after: str = "", limit: int | None = None) -> Iterator[ObjectInfo]:
        for count, info in enumerate(super().list(prefix, start_after=start_after, limit=limit)):
            self.listings += count % PAGE_SIZE == 0
            yield info


def test_names_are_found_beside_many_objects_that_are_no_folders() -> None:
    store = CountingStore()
    for number in range(3 * PAGE_SIZE):
        store.put(f"v1/memo/{number:09}.jpg", b"")
    for name in ("a", "b"):
        lay(store, Key(name, "1", digest(1)), result(1))
    assert list(names_below(store, "v1/memo/")) == ["a", "b"]
    assert store.listings <= 8
