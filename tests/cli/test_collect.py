"""`gc` and `clear` by their real processes."""

from __future__ import annotations

import signal
import sqlite3
import time
from collections.abc import Iterable

import pytest

from s3memo import LocalStore, S3Store
from s3memo.stores.base import Store
from s3memo.versions import ItemKey, Key, Listing, escape, parse_object_key
from tests.cli.console import DAY, HOUR, digest, grave, lay, result, s3_environment, s3memo
from tests.servers.recording import Exchange
from tests.servers.scripted import ScriptedServer, deleted, page, refusal
from tests.servers.server import S3Server

KEY = Key("jobs.simulate", "2dvlbs96ati64794075dveg36rao5i7i", digest(1))
OLD = Key("jobs.simulate", "1", digest(1))


def fill(store: Store) -> dict[str, str]:
    """Lay an object of each kind; return the reasons by object key."""
    other, gone = (Key(KEY.namespace, KEY.tag, digest(number)) for number in (2, 3))
    reasons = {
        lay(store, KEY, result(30 * DAY)): "superseded",
        lay(store, KEY, result(10 * DAY)): "newest",
        lay(store, other, result(20 * DAY, ttl=86_400), size=2000): "expired",
        lay(store, gone, result(2 * HOUR)): "buried",
        lay(store, gone, grave(HOUR)): "tombstone",
        lay(store, OLD, result(HOUR)): "newest",
    }
    store.put("v1/memo/README.txt", b"not ours")
    return reasons | {"v1/memo/README.txt": "foreign"}


def names(store: Store) -> set[str]:
    return {info.key for info in store.list("")}


GOING = {"superseded", "expired", "buried"}


def test_a_dry_run_tells_of_each_object_and_deletes_none(store: LocalStore, env: dict[str, str]) -> None:
    reasons = fill(store)
    *objects, summary = s3memo("gc", "--dry-run", "--json", env=env).lines
    assert {each["object"]: each["reason"] for each in objects} == reasons
    assert {each["reason"] for each in objects if each["goes"]} == GOING
    assert summary == {
        "dry_run": True,
        "objects": 3,
        "bytes": 2200,
        "reasons": {
            "superseded": {"objects": 1, "bytes": 100},
            "expired": {"objects": 1, "bytes": 2000},
            "buried": {"objects": 1, "bytes": 100},
        },
        "kept": {"newest": 2, "tombstone": 1, "foreign": 1},
        "failures": [],
    }
    assert names(store) == set(reasons)


def test_what_a_dry_run_tells_is_what_goes(store: LocalStore, env: dict[str, str]) -> None:
    reasons = fill(store)
    run = s3memo("gc", env=env)
    assert (run.code, run.err) == (0, "")
    assert names(store) == {key for key, reason in reasons.items() if reason not in GOING}
    assert s3memo("gc", "--json", env=env).json["objects"] == 0


SUM = """\
                  objects       size
buried                  1  100 bytes
expired                 1     2.0 kB
superseded              1  100 bytes
would go                3     2.2 kB
stays: foreign          1
stays: newest           2
stays: tombstone        1"""


@pytest.mark.parametrize("columns", [60, 200])
def test_a_dry_run_fits_the_terminal(columns: int, store: LocalStore, env: dict[str, str]) -> None:
    reasons = fill(store)
    told = {
        "superseded": "goes  100 bytes  superseded over the grace ago",
        "newest": "stays 100 bytes  what readers get",
        "expired": "goes     2.0 kB  expired over the grace ago",
        "buried": "goes  100 bytes  made void by an invalidation",
        "tombstone": "stays   0 bytes  a tombstone that may have to bury",
        "foreign": "stays   8 bytes  not written by s3memo",
    }
    expected = set()
    for key, reason in reasons.items():
        line = f"{told[reason]}: {key}"
        expected.add(line if len(line) <= columns else f"{told[reason]}:\n  {key}")
    run = s3memo("gc", "--dry-run", env=env | {"COLUMNS": str(columns)})
    lines, rows = run.shown.split("\n" + SUM.splitlines()[0])
    assert set(lines.replace(":\n  ", ":\0").split("\n")) == {line.replace(":\n  ", ":\0") for line in expected}
    assert SUM.splitlines()[0] + rows == SUM


def test_former_code_and_old_results_go_when_they_are_named(store: LocalStore, env: dict[str, str]) -> None:
    fill(store)
    item = lay(store, ItemKey("items", "", digest(1)), result(40 * DAY))
    told = s3memo("gc", "--tag", "jobs.simulate:1", "--older-than", "35d", "--json", env=env).json
    assert told["reasons"]["tag"] == {"objects": 1, "bytes": 100}
    assert told["reasons"]["old"] == {"objects": 1, "bytes": 100}
    assert not any(key.startswith(OLD.prefix) or key == item for key in names(store))


def test_a_tag_or_duration_that_makes_no_sense_is_told(store: LocalStore, env: dict[str, str]) -> None:
    fill(store)
    unknown = s3memo("gc", "--tag", "jobs.simulate:2", "--tag", "jobs.stimulate:1", env=env)
    assert unknown.code == 0  # a job that names it each time has done its work
    assert f"no tag '2'. There are: 1, {KEY.tag}" in unknown.err
    assert "Did you mean 'jobs.simulate'?" in unknown.err
    for arguments in (["--tag", "jobs.simulate"], ["--grace", "soon"], ["--older-than", "old"], ["--keep", "0"]):
        run = s3memo("gc", *arguments, env=env)
        assert (run.code, run.err.count("\n")) == (2, 1)
        assert arguments[1] in run.err


def test_tags_with_colons_are_found(store: LocalStore, env: dict[str, str]) -> None:
    lay(store, Key("cli:double", "v:1", digest(1)), result(1))
    assert s3memo("gc", "--tag", "cli:double:v:1", "--json", env=env).json["objects"] == 1


def test_tags_are_found_as_they_are_shown_and_as_they_were_given(store: LocalStore, env: dict[str, str]) -> None:
    key = Key("f" * 190, "x" * 200, digest(1))
    for pair in ((key.namespace, key.tag), (escape(key.namespace), escape(key.tag))):
        lay(store, key, result(1))
        assert s3memo("gc", "--tag", ":".join(pair), "--json", env=env).json["objects"] == 1


@pytest.mark.parametrize("command", ["gc", "clear"])
def test_a_foreign_bucket_is_not_touched(command: str, rclone_s3: S3Server) -> None:
    bucket = rclone_s3.make_bucket()
    store = S3Store(bucket, client=rclone_s3.client)
    for key in ("v1/photos/cat.jpg", "v1/memo/jobs/1/cat.jpg", "photos/cat.jpg", "v1/state/cats/cat.jpg"):
        store.put(key, b"meow")
    before = names(store)
    env = s3_environment(rclone_s3, url=f"s3://{bucket}")
    if command == "gc":
        told = s3memo("gc", "--grace", "0s", "--older-than", "0s", "--json", env=env).json
        assert (told["objects"], told["kept"]) == (0, {"foreign": 3})
    else:
        assert s3memo("clear", "jobs", "--yes", "--json", env=env).json["deleted"] == 0
    assert names(store) == before


def test_a_real_bucket_is_collected(s3_server: S3Server) -> None:
    bucket = s3_server.make_bucket()
    store = S3Store(bucket, "root", client=s3_server.client)
    reasons = fill(store)
    told = s3memo("gc", "--json", env=s3_environment(s3_server, url=f"s3://{bucket}/root")).json
    assert (told["objects"], told["kept"]) == (3, {"newest": 2, "tombstone": 1, "foreign": 1})
    assert names(store) == {key for key, reason in reasons.items() if reason not in GOING}


def test_each_object_that_was_refused_is_told(scripted: ScriptedServer) -> None:
    objects = [f"{Key('jobs', '1', digest(number)).prefix}{result(90 * DAY, ttl=1).name}" for number in range(3)]

    def behave(exchange: Exchange) -> None:
        if exchange.received.kind == "LIST":
            page(*objects)(exchange)
        else:
            deleted([(objects[0], "AccessDenied"), (objects[2], "AccessDenied")])(exchange)

    scripted.behave = behave
    run = s3memo("gc", env=s3_environment(scripted.server, url="s3://bucket"))
    assert run.code == 1
    assert [key in run.err for key in objects] == [True, False, True]
    assert "s3:DeleteObject" in run.err
    assert "run it again" in run.err
    assert run.shown.splitlines()[-1] == "deleted        1  1 byte"


def test_who_may_not_list_is_told(scripted: ScriptedServer) -> None:
    scripted.behave = refusal(403, "AccessDenied", "no")
    for command in (["gc"], ["clear", "jobs", "--yes"]):
        run = s3memo(*command, env=s3_environment(scripted.server, url="s3://bucket"))
        assert (run.code, run.out, run.err.count("\n")) == (1, "", 1)
        assert "s3:ListBucket" in run.err


INTERRUPTED = """
import itertools, os, signal, sys
from s3memo.cli import app
from s3memo.stores.local import LocalStore

place, when = {place}, {when!r}
delete, lists, count = LocalStore.delete, LocalStore.list, itertools.count(1)

def interrupt():
    if next(count) == place:
        os.kill(os.getpid(), {number})

def interrupted_delete(self, keys):
    if when == "before":
        interrupt()
    delete(self, keys)
    if when == "after":
        interrupt()

def interrupted_list(self, *args, **kwargs):
    for number, info in enumerate(lists(self, *args, **kwargs)):
        if when == "list" and number % 1000 == 999:
            interrupt()
        yield info

LocalStore.delete, LocalStore.list = interrupted_delete, interrupted_list
app.main()
"""


@pytest.mark.parametrize(
    ("command", "when", "number"),
    [
        (["gc"], ("before", 1), signal.SIGINT),
        (["gc"], ("after", 2), signal.SIGKILL),
        (["gc"], ("before", 4), signal.SIGINT),
        (["gc"], ("after", 5), signal.SIGINT),
        (["gc"], ("list", 3), signal.SIGTERM),
        (["clear", "jobs.simulate", "--yes"], ("after", 1), signal.SIGKILL),
        (["clear", "jobs.simulate", "--yes"], ("before", 3), signal.SIGINT),
    ],
)
def test_interrupted_deletes_leave_a_consistent_store(
    command: list[str], when: tuple[str, int], number: signal.Signals, store: LocalStore, env: dict[str, str]
) -> None:
    crowd(store, 2500)
    before = visible(store)
    run = s3memo(*command, env=env, code=INTERRUPTED.format(when=when[0], place=when[1], number=int(number)))
    assert (run.code, run.out) == (130 if number == signal.SIGINT else -number, "")
    after = visible(store)
    assert all(after[prefix] == before[prefix] for prefix in after)
    if names(store):
        assert s3memo(*command, env=env).code == 0
    assert not names(store)


def crowd(store: LocalStore, count: int) -> None:
    """Lay calls whose results, a superseded and an expired one, may all go."""
    now = time.time()
    rows = [
        (Key("jobs.simulate", "1", digest(number)).prefix + version.name, 4, now, b"data")
        for number in range(count)
        for version in (result(90 * DAY), result(80 * DAY, ttl=1))
    ]
    with sqlite3.connect(store.directory / "s3memo.db") as connection:
        connection.executemany("INSERT INTO objects VALUES (?, ?, ?, ?)", rows)
    connection.close()


def visible(store: LocalStore) -> dict[str, str]:
    """Return the name that a reader finds of each call."""
    found: dict[str, list[str]] = {}
    for info in store.list(""):
        parsed = parse_object_key(info.key)
        assert parsed
        found.setdefault(parsed[0], []).append(parsed[1].name)
    return {prefix: newest_of(versions) for prefix, versions in found.items()}


def newest_of(found: Iterable[str]) -> str:
    newest = Listing().extended(found, now=(time.time(), time.time())).newest
    assert newest
    return newest.name


def test_clear_deletes_the_results_of_one_function_or_tag(store: LocalStore, env: dict[str, str]) -> None:
    fill(store)
    other = lay(store, Key("jobs.simulate_all", "1", digest(1)), result(1))
    unasked = s3memo("clear", "jobs.simulate", env=env)
    assert (unasked.code, "give --yes" in unasked.err) == (2, True)
    run = s3memo("clear", "jobs.simulate", "--tag", "1", "--yes", env=env)
    assert (run.code, run.out, run.err) == (0, "", "1 object deleted.\n")
    assert not any(key.startswith(OLD.prefix) for key in names(store))
    assert s3memo("clear", "jobs.simulate", "--yes", "--json", env=env).json["deleted"] == 4
    assert {other, "v1/memo/README.txt"} < names(store)
    assert len(names(store)) == 3  # and the tombstone


def test_clear_knows_which_functions_and_tags_there_are(store: LocalStore, env: dict[str, str]) -> None:
    fill(store)
    before = names(store)
    typo, tag = s3memo("clear", "jobs.simulat", "--yes", env=env), s3memo("clear", KEY.namespace, "--tag", "7", env=env)
    assert (typo.code, "There are: jobs.simulate" in typo.err) == (1, True)
    assert (tag.code, f"There are: 1, {KEY.tag}" in tag.err) == (1, True)
    assert names(store) == before


@pytest.mark.parametrize("command", [["gc"], ["clear", "jobs.simulate", "--yes"]])
def test_a_read_only_setting_is_obeyed(command: list[str], store: LocalStore, env: dict[str, str]) -> None:
    fill(store)
    run = s3memo(*command, env=env | {"S3MEMO_READ_ONLY": "1"})
    assert (run.code, "read-only" in run.err) == (2, True)


@pytest.mark.parametrize("command", [["gc"], ["gc", "--dry-run"]])
def test_an_empty_store_has_nothing_to_collect(command: list[str], env: dict[str, str]) -> None:
    run = s3memo(*command, env=env)
    assert (run.code, run.err) == (0, "")
