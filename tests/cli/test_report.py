"""`report` by its real process: its numbers are those of `ls`, `du` and `gc`, and its page goes where it may."""

from __future__ import annotations

import inspect
import os
import pty
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from s3memo import LocalStore, S3Store, collect
from s3memo.cli import commands
from s3memo.cli import tally as tallying
from s3memo.cli.page import render
from s3memo.cli.screen import size, span
from s3memo.cli.tally import ROWS, tally
from s3memo.freshness import seconds
from s3memo.garbage import Policy
from s3memo.stores.base import ObjectInfo, Store, TimeBounds
from s3memo.versions import ItemKey, Key
from tests.cli.console import DAY, HOUR, MAIN, digest, grave, lay, result, s3_environment, s3memo
from tests.servers.scripted import ScriptedServer, refusal
from tests.servers.server import S3Server

KEY = Key("jobs.simulate", "2dvlbs96ati64794075dveg36rao5i7i", digest(1))
HOSTILE = (
    "<script>alert(1)</script>",
    "</title></style><img src=x onerror=alert(1)>",
    "\"><svg onload='alert(1)'>",
    "{{ 7 * 7 }}{% raw %}&lt;b&gt;",
    "javascript:alert(1)//-->",
)


def fill(store: Store) -> None:
    """Lay what `ls`, `du` and `gc` tell apart."""
    lay(store, KEY, result(3 * HOUR, ttl=86_400, elapsed=90), size=1500)
    lay(store, KEY, result(50 * DAY, elapsed=1000), size=9000)
    lay(store, Key(KEY.namespace, KEY.tag, digest(2)), result(3 * DAY, ttl=86_400, elapsed=5))
    lay(store, Key(KEY.namespace, KEY.tag, digest(4)), result(20 * DAY, ttl=86_400, elapsed=5))
    lay(store, Key(KEY.namespace, "1", digest(1)), result(400 * DAY, elapsed=7))
    buried = Key(KEY.namespace, KEY.tag, digest(3))
    lay(store, buried, result(2 * HOUR))
    lay(store, buried, grave(HOUR))
    lay(store, Key("jobs.clean", "3", digest(1)), result(240, elapsed=1.25), size=2_000_000)
    lay(store, ItemKey("geo codes", "", digest(1)), result(10 * DAY, ttl=60 * 86_400))
    store.put("v1/memo/README.txt", b"not ours")
    store.put("v1/state/job/fffffffffffffe.s3s", b"state")
    store.put(f"{KEY.prefix}notes.txt", b"not ours either")


class Reader(HTMLParser):
    """The rows of a page's tables by their names, and which elements and attributes it has."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tables: list[dict[str, list[str]]] = []
        self.elements: list[str] = []
        self.attributes: set[str] = set()
        self._row: list[str] = []
        self._is_cell = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes.update(name for name, _ in attrs)
        if tag == "table":
            self.tables.append({})
        elif tag == "th" and "title" in dict(attrs):
            self._row = self.tables[-1][dict(attrs)["title"] or ""] = []
        elif tag == "td":
            self._is_cell = True
            self._row.append("")

    def handle_endtag(self, tag: str) -> None:
        self._is_cell &= tag != "td"

    def handle_data(self, data: str) -> None:
        if self._is_cell:
            self._row[-1] += data.strip()

    @property
    def functions(self) -> dict[str, list[str]]:
        """The numbers of each function."""
        return self.tables[0]

    @property
    def garbage(self) -> dict[str, list[str]]:
        """The numbers of each reason."""
        return next(table for table in self.tables if "in all" in table)


def in_short(text: str) -> str:
    return text.replace(" bytes", "B").replace(" ", "")


@pytest.fixture
def page(tmp_path: Path) -> Path:
    return tmp_path / "report.html"


def check(env: dict[str, str], page: Path) -> None:
    """Compare a report with what the other commands print."""
    run = s3memo("report", env["S3MEMO_URL"], "--json", "-o", page, env=env)
    assert (run.code, run.err.count("\n")) == (0, 1), run
    told, reader = run.json, Reader(page.read_text(encoding="utf-8"))
    listed, used = s3memo("ls", "--json", env=env).json, s3memo("du", "--json", env=env).json
    collected = s3memo("gc", "--dry-run", "--json", env=env).lines[-1]
    assert (told["objects"], told["bytes"]) == (used["objects"], used["bytes"])
    expected = {(kind, row["name"]): row for kind in ("function", "mapping") for row in listed[f"{kind}s"]}
    assert {(row["kind"], row["name"]) for row in told["functions"]} == expected.keys()
    for row in told["functions"]:
        same = expected[row["kind"], row["name"]]
        for name in ("entries", "expired", "objects", "bytes", "seconds"):
            assert row[name] == same[name]
        assert row["newest_age"] == pytest.approx(same["newest_age"], abs=60)
        assert row["tags"] == len(same.get("tags", ()))
        shown = reader.functions[row["name"]]
        assert shown[0] == f"{row['entries']:,}"
        assert shown[1] == (in_short(size(row["bytes"])) if row["bytes"] else "0")
        assert shown[2] == (in_short(span(row["seconds"])) if row["seconds"] else "0")
    for kind in ("state", "lease", "probe", "foreign"):
        assert told[kind] == listed[kind]
    assert told["garbage"]["reasons"] == collected["reasons"]
    assert told["garbage"]["kept"] == collected["kept"]
    assert (told["garbage"]["objects"], told["garbage"]["bytes"]) == (collected["objects"], collected["bytes"])
    for reason, pile in collected["reasons"].items():
        assert reader.garbage[reason] == [
            f"{pile['objects']:,}",
            in_short(size(pile["bytes"])) if pile["bytes"] else "0",
        ]
    check_sums(told)


def check_sums(told: dict[str, Any]) -> None:
    """Everything that was counted is in each of the distributions, and nothing else."""
    for name in ("entries", "bytes", "seconds"):
        total = pytest.approx(told["total"][name])
        assert sum(row[name] for row in (*told["functions"], told["rest"])) == total
        assert sum(sum(series[name]) for series in told["history"]["series"]) == total
        assert sum(amount[name] for amount in told["ages"].values()) == total
        assert sum(amount[name] for amount in told["sizes"].values()) == total
    for classes in (told["ages"], told["sizes"]):
        bounds = [(each["from"], each["below"]) for each in classes.values()]
        assert (bounds[0][0], bounds[-1][1]) == (0, None)
        assert all(low[1] == high[0] for low, high in pairwise(bounds))


def test_its_numbers_are_those_of_the_other_commands(store: LocalStore, env: dict[str, str], page: Path) -> None:
    fill(store)
    check(env, page)


@pytest.mark.parametrize("command", [commands.gc, collect.gc])
def test_garbage_is_what_gc_takes_for_it_by_default(command: Callable[..., object]) -> None:
    default = {name: parameter.default for name, parameter in inspect.signature(command).parameters.items()}
    grace = seconds(default["grace"], name="grace")
    assert Policy() == Policy(grace or 0, default["keep"], default["keep_states"])
    assert (default.get("tags") or (), default["older_than"]) == ((), None)


def test_a_real_bucket_is_reported(s3_server: S3Server, page: Path) -> None:
    bucket = s3_server.make_bucket()
    fill(S3Store(bucket, "root", client=s3_server.client))
    check(s3_environment(s3_server, url=f"s3://{bucket}/root"), page)
    run = s3memo("report", f"s3+obstore://{bucket}/root", "--json", env=s3_environment(s3_server))
    assert run.json["objects"] == 12


def test_the_largest_and_the_oldest_are_those_that_readers_find(store: LocalStore, env: dict[str, str]) -> None:
    fill(store)
    for number in range(20):
        lay(store, Key("many", "1", digest(number)), result(100 * DAY + number), size=200 + number)
    told = s3memo("report", "--json", env=env).json
    assert told["largest"][0] == s3memo("ls", "jobs.clean", "--json", env=env).json | {
        "age": pytest.approx(240, abs=60)
    }
    assert [each["size"] for each in told["largest"]] == [2_000_000, 1500, *range(219, 211, -1)]
    ages = [each["age"] for each in told["oldest"]]
    assert (len(ages), ages) == (10, sorted(ages, reverse=True))
    assert told["oldest"][0]["key"] == f"{KEY.namespace}/1/{digest(1)}"


def test_memory_has_a_store_too(env: dict[str, str], page: Path) -> None:
    run = s3memo("report", "memory://", "-o", page, env=env)
    assert run.code == 0
    assert "Nothing of s3memo's is in memory://" in run.err


def test_an_empty_store_and_a_foreign_one_are_told_apart(store: LocalStore, env: dict[str, str], page: Path) -> None:
    for foreign, hint in ((False, "nor is anything else there"), (True, "other objects are there: is the URL right?")):
        if foreign:
            store.put("photos/cat.jpg", b"meow")
        run = s3memo("report", store.url, "-o", page, env=env)
        assert (run.code, hint in run.err) == (0, True)
        text = page.read_text(encoding="utf-8")
        assert f"Nothing of s3memo&#39;s is in {store.url}, " in text
        assert f"@s3_cached(&#34;{store.url}&#34;" in text.replace('"', "&#34;")
    told = s3memo("report", "--json", env=env).json
    assert (told["objects"], told["functions"], told["history"]["series"], told["largest"]) == (0, [], [], [])


def test_a_foreign_bucket_is_shown_as_what_it_is(rclone_s3: S3Server, page: Path) -> None:
    bucket = rclone_s3.make_bucket()
    store = S3Store(bucket, client=rclone_s3.client)
    for key in ("v1/photos/cat.jpg", "v1/memo/jobs/1/cat.jpg", "photos/cat.jpg", "v1/state/cats/cat.jpg"):
        store.put(key, b"meow")
    run = s3memo("report", f"s3://{bucket}", "--json", "-o", page, env=s3_environment(rclone_s3))
    assert run.json["foreign"] == {"objects": 3, "bytes": 12}
    assert run.json["garbage"]["kept"] == {"foreign": 3}
    assert "is the URL right?" in page.read_text(encoding="utf-8")


def test_who_may_not_list_is_told_and_nothing_is_written(scripted: ScriptedServer, page: Path) -> None:
    scripted.behave = refusal(403, "AccessDenied", "no")
    run = s3memo("report", "s3://bucket/root", "-o", page, env=s3_environment(scripted.server))
    assert (run.code, run.out, run.err.count("\n")) == (1, "", 1)
    assert "s3:ListBucket" in run.err
    assert not list(page.parent.iterdir())


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["s3:/bucket", "-o", "{page}"], 2, "'s3:/bucket' names no store"),
        (["bucket", "-o", "{page}"], 2, "'bucket' names no store"),
        (["file:///nowhere/at/all", "-o", "{page}"], 1, "there is no store in"),
        ([], 2, "Give -o report.html"),
        (["--json", "-o", "-"], 2, "both write to stdout"),
        (["-o", "{page}/nowhere/report.html"], 2, "cannot write to {page}/nowhere/report.html: No such file"),
        (["-o", "{page.parent}"], 2, "{page.parent} is a directory"),
        (["-o", "/proc/report.html"], 2, "cannot write to /proc/report.html: "),
    ],
)
def test_a_mistake_is_one_clear_line(
    *, arguments: list[str], code: int, message: str, env: dict[str, str], page: Path
) -> None:
    run = s3memo("report", *(argument.format(page=page) for argument in arguments), env=env)
    assert (run.code, run.out, run.err.count("\n")) == (code, "", 1)
    assert run.err.startswith("s3memo: ")
    assert message.format(page=page) in run.err
    assert not page.exists()


def test_a_report_is_replaced_and_nothing_else_is(store: LocalStore, env: dict[str, str], page: Path) -> None:
    fill(store)
    page.write_text("my notes")
    run = s3memo("report", "-o", page, env=env)
    assert (run.code, page.read_text()) == (2, "my notes")
    assert "is no report: name another file with -o, or delete it" in run.err
    page.write_text("")
    for _ in range(2):
        assert s3memo("report", "-o", page, env=env).code == 0
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(page.stat().st_mode) == 0o666 & ~umask
    link = page.with_name("link.html")
    link.symlink_to(page)
    page.write_text(page.read_text(encoding="utf-8").replace(KEY.namespace, "before"), encoding="utf-8")
    assert s3memo("report", "-o", link, env=env).code == 0
    assert (link.is_symlink(), KEY.namespace in page.read_text(encoding="utf-8")) == (True, True)
    assert {each.name for each in page.parent.iterdir()} == {"report.html", "link.html", "store"}


def test_the_page_goes_to_stdout_and_devices(store: LocalStore, env: dict[str, str], page: Path) -> None:
    fill(store)
    run = s3memo("report", "-o", "-", env=env)
    assert (run.code, run.err) == (0, "")
    assert run.out.startswith("<!DOCTYPE html>")
    assert run.out.endswith("</html>\n")
    piped = s3memo("report", "-o", "/dev/stdout", env=env)
    assert (piped.code, piped.out[:15]) == (0, "<!DOCTYPE html>")
    assert s3memo("report", "-o", "/dev/null", env=env).code == 0
    assert Path("/dev/null").is_char_device()
    full = s3memo("report", "-o", "/dev/full", env=env)
    assert (full.code, full.err) == (
        1,
        "s3memo: cannot write to /dev/full: No space left on device: name another file with -o\n",
    )
    ascii_only = s3memo("report", "-o", "-", env=env | {"PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONIOENCODING": "ascii"})
    assert "7\N{EN DASH}30 days" in run.out
    assert "7\N{EN DASH}30 days" in ascii_only.out


INTERRUPTED = """
import os, signal
from s3memo.cli import app
from s3memo.stores.local import LocalStore

lists = LocalStore.list

def interrupted(self, *args, **kwargs):
    yield from lists(self, *args, **kwargs)
    os.kill(os.getpid(), signal.SIGINT)

LocalStore.list = interrupted
app.main()
"""


def test_interrupted_it_leaves_the_report_that_was_there(store: LocalStore, env: dict[str, str], page: Path) -> None:
    fill(store)
    assert s3memo("report", "-o", page, env=env).code == 0
    before = page.read_bytes()
    run = s3memo("report", "-o", page, env=env, code=INTERRUPTED)
    assert (run.code, run.out, page.read_bytes()) == (130, "", before)
    assert {each.name for each in page.parent.iterdir()} == {"report.html", "store"}


def test_text_of_a_bucket_never_becomes_markup(store: LocalStore, env: dict[str, str], page: Path) -> None:
    pages = []
    for names in ([f"plain{number}" for number in range(len(HOSTILE))], HOSTILE):
        for key in [info.key for info in store.list("")]:
            store.delete([key])
        for number, name in enumerate(names):
            lay(store, Key(name, name, digest(number)), result(HOUR), size=100 - number)
            lay(store, ItemKey(name, "", digest(number)), result(HOUR), size=50 - number)
        assert s3memo("report", "-o", page, env=env).code == 0
        pages.append(Reader(page.read_text(encoding="utf-8")))
    plain, hostile = pages
    assert [each for each in hostile.elements if each != "wbr"] == [each for each in plain.elements if each != "wbr"]
    assert hostile.attributes == plain.attributes
    assert not {"src", "href", "style", "onload", "onerror"} & hostile.attributes
    assert not {"script", "link", "img", "iframe", "object"} & set(hostile.elements)
    assert hostile.functions.keys() == set(HOSTILE)


def test_the_page_forbids_scripts_and_requests(store: LocalStore, env: dict[str, str]) -> None:
    fill(store)
    text = s3memo("report", "-o", "-", env=env).out
    policy = text.partition('http-equiv="Content-Security-Policy" content="')[2].partition('"')[0]
    assert policy.split("; ")[0] == "default-src 'none'"
    assert "unsafe" not in policy
    assert "http" not in text.replace("http-equiv", "")


def infos(count: int) -> list[ObjectInfo]:
    """A listing of so many functions, of which some lead by bytes, some by entries and some by seconds."""
    listed = []
    for number in range(count):
        ago, leads = 40 * DAY * number / count, number % 97
        for entry in range(9 if leads == 1 else 1):
            version = result(ago, elapsed=10**4 + number if leads == 2 else 1, nonce=entry)
            prefix = Key(f"jobs.f{number:05}", "1", digest(entry)).prefix
            listed.append(ObjectInfo(prefix + version.name, 10**6 + number if leads == 3 else 10, 0.0))
    return listed


def test_of_many_functions_those_that_lead_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    listed = infos(2000)
    bounded = tally("memory://", listed, TimeBounds(now, now))
    monkeypatch.setattr(tallying, "_MOST_ROWS", 10**6)
    assert bounded == tally("memory://", listed, TimeBounds(now, now))
    assert len(bounded.rows) + bounded.unnamed == 2000
    assert ROWS <= len(bounded.rows) <= ROWS + tallying.COLOURED
    assert f"{bounded.unnamed:,} others" in render(bounded)


def test_on_a_terminal_there_is_progress(store: LocalStore, env: dict[str, str], page: Path) -> None:
    fill(store)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", MAIN, "report", "-o", page]
    subprocess.run(command, env=env | {"TERM": "xterm"}, stderr=theirs, check=True, timeout=60)
    os.close(theirs)
    assert b"objects listed" in os.read(ours, 10_000)
    os.close(ours)


def test_without_a_terminal_there_is_no_progress(store: LocalStore, env: dict[str, str], page: Path) -> None:
    fill(store)
    assert s3memo("report", "-o", page, env=env).err == (f"Wrote {page}: 12 objects of 2.0 MB in {store.url}\n")
