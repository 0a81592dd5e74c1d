"""`ls` and `du` by their real processes."""

from __future__ import annotations

import os
import pty
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3memo import LocalStore, S3Store
from s3memo.cli.inventory import living, survey
from s3memo.cli.screen import Watch
from s3memo.stores.base import ObjectInfo
from s3memo.versions import ItemKey, Key, escape, parse_object_key, unescape
from tests.cli.console import (
    DAY,
    HOUR,
    MAIN,
    digest,
    environment,
    grave,
    lay,
    made,
    result,
    s3_environment,
    s3memo,
    start,
)
from tests.servers.scripted import ScriptedServer, refusal
from tests.servers.server import S3Server

KEY = Key("jobs.simulate", "2dvlbs96ati64794075dveg36rao5i7i", digest(1))
OLD = Key("jobs.simulate", "1", digest(1))
SHOUT = Key("package.module.shout_out_loud", "3", digest(1))
ITEM = ItemKey("geo codes", "", digest(1))


def fill(store: LocalStore) -> None:
    """Two functions, of which one had other code before, a mapping, and what is no result."""
    lay(store, KEY, result(3 * HOUR, ttl=86_400, elapsed=90), size=1500)
    lay(store, KEY, result(5 * HOUR, elapsed=1000), size=9000)
    lay(store, Key(KEY.namespace, KEY.tag, digest(2)), result(3 * DAY, ttl=86_400, elapsed=5))
    lay(store, OLD, result(30 * DAY, elapsed=7))
    buried = Key(KEY.namespace, KEY.tag, digest(3))
    lay(store, buried, result(2 * HOUR))
    lay(store, buried, grave(HOUR))
    lay(store, SHOUT, result(240, elapsed=1.25))
    lay(store, ITEM, result(10 * DAY, ttl=60 * 86_400))
    store.put("v1/memo/README.txt", b"not ours")
    store.put("v1/state/job/notes.txt", b"")
    store.put(f"{KEY.prefix}notes.txt", b"not ours either")


SUMMARY = {
    60: """\
function          entries  expired       size  newest  holds
jobs.simulate           2        1    10.8 kB     3 h   97 s
package.module.s        1        0  100 bytes   4 min  1.2 s
hout_out_loud
geo codes               1        0  100 bytes    10 d  0.0 s
(mapping)
other objects: foreign 3 (23 bytes)""",
    140: """\
function                       tags  entries  expired  objects       size  newest  holds
jobs.simulate                     2        2        1        6    10.8 kB     3 h   97 s
package.module.shout_out_loud     1        1        0        1  100 bytes   4 min  1.2 s
geo codes (mapping)                        1        0        1  100 bytes    10 d  0.0 s
other objects: foreign 3 (23 bytes)""",
}
RESULTS = {
    60: """\
    age ttl left      size    took  key
   30 d          100 bytes   7.0 s
  jobs.simulate/1/00000000000000000000000000000001
    3 h     21 h    1.5 kB    90 s
  jobs.simulate/2dvlbs96ati64794075dveg36rao5i7i/00000000000000000000000000000001
    3 d  expired 100 bytes   5.0 s
  jobs.simulate/2dvlbs96ati64794075dveg36rao5i7i/00000000000000000000000000000002""",
    140: """\
    age ttl left      size    took  key
   30 d          100 bytes   7.0 s  jobs.simulate/1/00000000000000000000000000000001
    3 h     21 h    1.5 kB    90 s  jobs.simulate/2dvlbs96ati64794075dveg36rao5i7i/00000000000000000000000000000001
    3 d  expired 100 bytes   5.0 s  jobs.simulate/2dvlbs96ati64794075dveg36rao5i7i/00000000000000000000000000000002""",
}
USAGE = """\
                               objects       size
jobs.simulate                        6    10.8 kB
package.module.shout_out_loud        1  100 bytes
geo codes (mapping)                  1  100 bytes
foreign                              3   23 bytes
total                               11    11.0 kB"""


NARROW = """\
function     entries  expired       size
jobs.simula        2        1    10.8 kB
te
package.mod        1        0  100 bytes
ule.shout_o
ut_loud
geo codes          1        0  100 bytes
(mapping)
other objects: foreign 3 (23 bytes)"""


def test_on_a_narrow_terminal_names_stay_and_the_last_columns_go(store: LocalStore, env: dict[str, str]) -> None:
    fill(store)
    assert s3memo("ls", env=env | {"COLUMNS": "40"}).shown == NARROW
    assert s3memo("ls", env=env | {"COLUMNS": "20"}).shown.startswith("function     entries\n")


@pytest.mark.parametrize("columns", [60, 140])
def test_what_there_is_fits_the_terminal(columns: int, store: LocalStore, env: dict[str, str]) -> None:
    fill(store)
    env |= {"COLUMNS": str(columns)}
    runs = s3memo("ls", env=env), s3memo("ls", "jobs.simulate", env=env), s3memo("du", env=env)
    assert [run.shown for run in runs] == [SUMMARY[columns], RESULTS[columns], USAGE]
    assert [(run.code, run.err) for run in runs] == [(0, "")] * 3


def test_a_pipe_gets_lines_that_are_whole(store: LocalStore, env: dict[str, str]) -> None:
    name = "module." + "x" * 150
    lay(store, Key(name, "1", digest(1)), result(0))
    for arguments in (["ls"], ["ls", name], ["du"]):
        assert name in s3memo(*arguments, env=env).out


def test_ls_for_scripts(store: LocalStore, env: dict[str, str]) -> None:
    fill(store)
    found = s3memo("ls", "--json", env=env).json
    simulate, shout = found["functions"]
    assert found["url"] == store.url
    assert simulate["newest_age"] == pytest.approx(3 * HOUR, abs=60)
    assert {**simulate, "newest_age": 0} == {
        "name": "jobs.simulate",
        "tags": ["1", KEY.tag],
        "entries": 2,
        "expired": 1,
        "objects": 6,
        "bytes": 10_800,
        "newest_age": 0,
        "seconds": 97.0,
    }
    assert (shout["name"], shout["seconds"]) == (SHOUT.namespace, 1.25)
    assert [(item["name"], item["entries"]) for item in found["mappings"]] == [("geo codes", 1)]
    assert found["foreign"] == {"objects": 3, "bytes": 8 + 15}
    assert found["lease"] == {"objects": 0, "bytes": 0}


def test_a_mapping_of_a_functions_name_is_another(store: LocalStore, env: dict[str, str]) -> None:
    lay(store, KEY, result(1))
    lay(store, ItemKey(KEY.namespace, "", digest(1)), result(1))
    found = s3memo("ls", "--json", env=env).json
    assert [row["tags"] for row in found["functions"]] == [[KEY.tag]]
    assert [row["entries"] for row in found["mappings"]] == [1]
    assert len(s3memo("ls", KEY.namespace, "--json", env=env).lines) == 2


def test_ls_of_a_function_streams_its_results(store: LocalStore, env: dict[str, str]) -> None:
    fill(store)
    old, newest, expired = s3memo("ls", "jobs.simulate", "--json", env=env).lines
    assert newest["age"] == pytest.approx(3 * HOUR, abs=60)
    assert newest.pop("created")
    assert {**newest, "age": 0} == {
        "key": str(KEY),
        "age": 0,
        "ttl": 86_400,
        "elapsed": 90.0,
        "size": 1500,
        "expired": False,
    }
    assert expired["expired"]
    assert (old["ttl"], old["key"]) == (None, str(OLD))
    assert s3memo("ls", "jobs.simulate", "--limit", 1, "--json", env=env).lines == [
        old | {"age": pytest.approx(old["age"], abs=60)}
    ]


def test_du_tells_tags_apart(store: LocalStore, env: dict[str, str]) -> None:
    fill(store)
    found = s3memo("du", "--tags", "--json", env=env).json
    assert found["usage"][:2] == [
        {"kind": "function", "name": KEY.namespace, "tag": KEY.tag, "objects": 5, "bytes": 10_700},
        {"kind": "function", "name": KEY.namespace, "tag": "1", "objects": 1, "bytes": 100},
    ]
    assert found["bytes"] == sum(row["bytes"] for row in found["usage"]) == sum(info.size for info in store.list("v1/"))


def test_a_name_that_is_not_there_is_answered_with_those_that_are(store: LocalStore, env: dict[str, str]) -> None:
    fill(store)
    run = s3memo("ls", "jobs.simulat", env=env)
    assert (run.code, run.out) == (1, "")
    assert run.err == (
        f"s3memo: {store.url} holds no function 'jobs.simulat'. Did you mean 'jobs.simulate'? "
        f"There are: jobs.simulate, {SHOUT.namespace}\n"
    )


@pytest.mark.parametrize("command", ["ls", "du"])
def test_an_empty_store_and_a_foreign_one_are_told_apart(command: str, store: LocalStore, env: dict[str, str]) -> None:
    assert "nor is anything else there" in s3memo(command, env=env).err
    store.put("photos/cat.jpg", b"meow")
    run = s3memo(command, env=env)
    assert (run.code, "other objects are there: is the URL right?" in run.err) == (0, True)
    assert s3memo("ls", "jobs.simulate", env=env).code == 1


def test_a_directory_without_a_store_is_not_made(tmp_path: Path, env: dict[str, str]) -> None:
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "nowhere", tmp_path / "empty"):
        run = s3memo("ls", "--url", place, env=env)
        assert (run.code, "there is no store in" in run.err) == (1, True)
    assert not (tmp_path / "nowhere").exists()
    assert not list((tmp_path / "empty").iterdir())


def test_on_a_terminal_there_is_progress_and_in_a_pipe_none(store: LocalStore, env: dict[str, str]) -> None:
    fill(store)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", MAIN, "ls"]
    process = subprocess.run(
        command, env=env | {"TERM": "xterm"}, stdout=subprocess.PIPE, stderr=theirs, text=True, check=True, timeout=60
    )
    os.close(theirs)
    assert b"\x1b[" in os.read(ours, 10_000)
    os.close(ours)
    assert process.stdout == s3memo("ls", env=env).out
    assert "\x1b" not in process.stdout


def test_colours_that_are_asked_for_make_no_terminal(store: LocalStore, env: dict[str, str]) -> None:
    name = "module." + "x" * 150
    lay(store, Key(name, "1", digest(1)), result(0))
    for arguments in (["ls"], ["gc", "--dry-run"]):
        run = s3memo(*arguments, env=env | {"FORCE_COLOR": "1"})
        assert name in run.out
        assert run.err == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a disk that is always full")
@pytest.mark.parametrize("command", [["ls"], ["ls", "--json"], ["gc", "--dry-run"], ["du"]], ids=" ".join)
def test_a_full_disk_is_told_on_one_line(command: list[str], store: LocalStore, env: dict[str, str]) -> None:
    fill(store)
    with Path("/dev/full").open("w") as full:
        arguments = [sys.executable, "-c", MAIN, *command]
        process = subprocess.run(
            arguments, check=False, env=env, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60
        )
    assert (process.returncode, process.stderr) == (1, "s3memo: [Errno 28] No space left on device\n")


@pytest.mark.parametrize("command", [["ls", "jobs.simulate"], ["gc", "--dry-run"], ["ls", "typo"]], ids=" ".join)
def test_whoever_reads_may_go_away(command: list[str], store: LocalStore, env: dict[str, str]) -> None:
    fill(store)
    with start(*command, env=env) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert "Traceback" not in process.stderr.read()
    assert process.returncode == 1


def test_progress_counts_what_passes_now_and_then() -> None:
    shown: list[int] = []
    assert list(Watch(shown.append)(range(1000))) == list(range(1000))
    assert shown[0] == 1
    assert len(shown) < 1000


def keys(*names: str) -> st.SearchStrategy[str]:
    return st.builds("/".join, st.tuples(*(st.sampled_from(name.split("|")) for name in names)))


@given(
    st.sets(
        st.one_of(
            keys("v1/memo", "jobs|other", "1|2", f"{digest(1)}|{digest(2)}|notes", "VERSION|GRAVE|OLD|notes.txt"),
            keys("v1/map", "items", f"{digest(1)}|{digest(2)}", "VERSION|GRAVE|OLD"),
            keys("v1/state|v1/lease", "job|deep/job", "fffffffffffffe.s3s|fffffffffffffd.s3s|notes.txt"),
            keys("v1|v1/probe", "notes.txt"),
        )
    )
)
def test_each_object_is_counted_once(names: set[str]) -> None:
    versions = {"VERSION": result(HOUR), "GRAVE": grave(2 * HOUR), "OLD": result(3 * HOUR)}
    named = [
        name.replace(word, versions[word].name)
        for name in names
        for word in [name.rpartition("/")[2]]
        if word in versions
    ]
    named += [name for name in names if name.rpartition("/")[2] not in versions]
    infos = [ObjectInfo(name, 7, 0.0) for name in sorted(named)]
    found, results = survey(infos, latest=time.time()), list(living(infos, latest=time.time()))
    assert sum(holding.objects for holding in found.values()) == len(infos)
    assert sum(holding.bytes for holding in found.values()) == 7 * len(infos)
    assert sum(holding.entries + holding.expired for holding in found.values()) == len(results)
    prefixes = {info.key.rpartition("/")[0] for info in infos if parse_object_key(info.key)}
    buried = {prefix for prefix in prefixes if f"{prefix}/{versions['VERSION'].name}" not in named}
    old = {p for p in buried if f"{p}/{versions['GRAVE'].name}" not in named and f"{p}/{versions['OLD'].name}" in named}
    assert {result.prefix.rstrip("/") for result in results} == prefixes - buried | old


def test_it_lists_a_real_bucket(rclone_s3: S3Server) -> None:
    bucket = rclone_s3.make_bucket()
    store = S3Store(bucket, "root", client=rclone_s3.client)
    lay(store, KEY, result(HOUR, elapsed=2))
    store.put("v1/photos/cat.jpg", b"meow")
    env = s3_environment(rclone_s3)
    found = s3memo("ls", "--url", f"s3://{bucket}/root", "--json", env=env).json
    assert [row["name"] for row in found["functions"]] == [KEY.namespace]
    assert found["foreign"] == {"objects": 1, "bytes": 4}
    assert "is the URL right?" in s3memo("du", "--url", f"s3://{bucket}", env=env).err


def test_who_may_not_list_is_told(scripted: ScriptedServer) -> None:
    scripted.behave = refusal(403, "AccessDenied", "no")
    run = s3memo("ls", "--url", "s3://bucket/root", env=s3_environment(scripted.server))
    assert (run.code, run.out) == (1, "")
    assert "s3:ListBucket" in run.err
    assert run.err.count("\n") == 1


def test_names_send_nothing_to_the_terminal(store: LocalStore, env: dict[str, str]) -> None:
    key = Key("evil\x1b[31m", "1", digest(1))
    lay(store, key, result(1))
    for run in (s3memo("ls", env=env), s3memo("ls", "evil\x1b[31m", env=env), s3memo("ls", "typo", env=env)):
        assert "evil=1b=5b31m" in run.out + run.err


@pytest.mark.parametrize("name", ["plain", "two words", "größe/x", "a=20b", "..", "日本"])
def test_names_are_shown_as_they_were_given(name: str) -> None:
    assert unescape(escape(name)) == name


@pytest.mark.parametrize("part", ["=ff=fe", "=h" + "0" * 32, "=0a"])
def test_what_cannot_be_shown_stays_escaped(part: str) -> None:
    assert unescape(part) == part


MEASURE = """
import pathlib, sys
from s3memo.cli import app
try:
    app.main()
finally:
    print(pathlib.Path("/proc/self/status").read_text(), file=sys.stderr)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="what a process took at most stands in /proc")
def test_a_hundred_thousand_objects_take_no_memory(tmp_path: Path) -> None:
    stores = {count: crowded(tmp_path / str(count), count) for count in (1000, 100_000)}
    for command in (
        ["ls", "--json"],
        ["ls", "jobs.simulate", "--json"],
        ["gc", "--dry-run", "--json"],
        ["report", "--json"],
    ):
        peaks = {}
        for count, store in stores.items():
            run = s3memo(*command, env=environment(S3MEMO_URL=store.url), code=MEASURE)
            assert run.code == 0
            assert run.out.count("\n") in {1, count, count + 1}
            peaks[count] = int(run.err.partition("VmHWM:")[2].split()[0])
        assert peaks[100_000] < peaks[1000] + 4 * 1024  # KiB


def crowded(directory: Path, count: int) -> LocalStore:
    """Return a store with so many results, laid into its file at once."""
    store = made(directory)
    now = time.time()
    rows = [
        (Key("jobs.simulate", "1", digest(number)).prefix + result(HOUR).name, 4, now, b"data")
        for number in range(count)
    ]
    with sqlite3.connect(directory / "s3memo.db") as connection:
        connection.executemany("INSERT INTO objects VALUES (?, ?, ?, ?)", rows)
    connection.close()
    return store


def test_what_is_dated_a_little_ahead_is_of_now(store: LocalStore, env: dict[str, str]) -> None:
    lay(store, KEY, result(-60))
    commands = (["ls"], ["ls", KEY.namespace], ["history", str(KEY)], ["show", str(KEY)])
    shown = [s3memo(*arguments, env=env).out for arguments in (*commands, ["report", "-o", "-"])]
    plain = [text.replace(store.url, "") for text in shown]  # which may be in a directory called pytest-5
    assert [text for text in plain if "-6" in text or "-5" in text] == []
    report = s3memo("report", "--json", env=env).json
    ages = [s3memo("ls", "--json", env=env).json["functions"][0]["newest_age"], report["functions"][0]["newest_age"]]
    assert [*ages, report["oldest"][0]["age"]] == [0, 0, 0]
