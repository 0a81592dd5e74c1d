"""The demo as its user meets it: whole processes, a real directory of source files, a real store."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import NamedTuple

import pytest

from s3memo.cli.demo import find_files
from s3memo.settings import parse_url
from s3memo.stores import open_store

MAIN = "from s3memo.cli.app import main; main()"
PROJECT = Path(__file__).parents[2]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("S3MEMO", "AWS"))}
    return inherited | {"XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONPATH": str(PROJECT), "COLUMNS": "100"}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    directory = tmp_path / "source"
    (directory / "package").mkdir(parents=True)
    (directory / "branches.py").write_text("def f(a, b):\n    return a and b\n\n\ndef g(): pass\n")
    (directory / "package" / "__init__.py").write_text("")
    (directory / "package" / "names [bold].py").write_text("class C:\n    def m(self):\n        assert self\n")
    (directory / "package" / "same.py").write_text("")
    (directory / "broken.py").write_text("def (:\n")
    (directory / "notes.txt").write_text("no Python")
    return directory


@pytest.fixture
def store(tmp_path: Path) -> str:
    return f"file://{tmp_path}/store"


class Run(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def findings(self) -> str:
        return self.out.partition("What s3memo did")[0].rstrip()

    def calls(self) -> tuple[int, int, int]:
        """How many were computed, came from memory, came from the store."""
        return tuple(int(self.row(name)) for name in ("computed", "from memory", "from the store"))  # type: ignore[return-value]

    def served(self) -> tuple[int, int]:
        """How many were computed, and how many were not."""
        computed, *others = self.calls()
        return computed, sum(others)

    def row(self, name: str) -> str:
        found = re.search(rf"^{name} +(.*?) *$", self.out, re.MULTILINE)
        assert found, self
        return found[1]


def start(code: str, *arguments: object, env: dict[str, str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def finish(process: subprocess.Popen[str]) -> Run:
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in err, err
    return Run(process.returncode, out, err)


def s3memo(*arguments: object, env: dict[str, str], code: str = MAIN) -> Run:
    return finish(start(code, *arguments, env=env))


def test_the_second_run_computes_nothing_and_finds_the_same(
    source: Path, store: str, environment: dict[str, str]
) -> None:
    first = s3memo("demo", "--source", source, "--url", store, env=environment)
    second = s3memo("demo", "--source", source, "--url", store, env=environment)
    assert (first.code, second.code) == (0, 0)
    assert first.served() == (4, 1)  # of five files two are the same
    assert second.served() == (0, 5)
    assert second.findings == first.findings
    assert "4 PUT" in first.row("requests")
    assert re.fullmatch(
        "[12] LIST, 4 GET", second.row("requests")
    )  # a busy machine may cut the inputs into two windows


def test_it_shows_what_it_found(source: Path, store: str, environment: dict[str, str]) -> None:
    run = s3memo("demo", "--source", source, "--url", store, env=environment)
    assert re.search(r"^ +2  f +branches.py:1 *$", run.out, re.MULTILINE)
    assert re.search(r"^ +2  C.m +package/names \[bold\].py:2 *$", run.out, re.MULTILINE)
    assert run.row("files") == "5"
    assert run.row("not analyzed") == "1, such as broken.py: not valid Python: invalid syntax"
    assert run.row("lines") == "8: 6 code, 2 blank, 0 comment"
    assert run.row("functions") == "3, of complexity 1.67 on average"
    assert run.row("most used").startswith("a 2, b 2, self 2, f 1")


def test_it_says_where_the_results_are_and_how_to_go_on(source: Path, store: str, environment: dict[str, str]) -> None:
    first = s3memo("demo", "--source", source, "--url", store, env=environment)
    second = s3memo("demo", "--source", source, "--url", store, env=environment)
    assert f"Results are kept in {store}" in first.out.replace("\n", "")
    command = f"python -m s3memo.cli.app demo --source {source} --url {store}"
    assert f"Run it again, and nothing is computed: {command}" in first.out
    assert "Nothing was computed." in second.out


def test_only_an_edited_file_is_computed_again(source: Path, store: str, environment: dict[str, str]) -> None:
    s3memo("demo", "--source", source, "--url", store, env=environment)
    (source / "branches.py").write_text("def f(a, b, c):\n    return a and b and c\n")
    (source / "broken.py").rename(source / "moved.py")
    run = s3memo("demo", "--source", source, "--url", store, env=environment)
    assert run.calls() == (1, 1, 3)
    assert "3  f" in run.out


def test_an_interrupted_run_keeps_what_it_computed(tmp_path: Path, store: str, environment: dict[str, str]) -> None:
    source, total = tmp_path / "many", 300
    source.mkdir()
    for number in range(total):
        (source / f"m{number:03}.py").write_text(f"def f{number}(a): return [a for a in a]\n" * 60)
    process = start(MAIN, "demo", "--source", source, "--url", store, env=environment)
    assert process.stderr is not None
    first_line = process.stderr.readline()
    shown = re.search(rf"(\d+) of {total} · ", first_line)
    assert shown, first_line
    assert int(shown[1]) >= total // 10
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all processes of the group
    first = finish(process)
    stored = sum(1 for _ in open_store(parse_url(store)).list("v1/memo/"))

    assert first.code == 130
    assert total // 10 <= stored < total
    stopped = re.search(
        rf"Stopped after (\d+) of {total} files. To go on from there: python -m s3memo.cli.app demo", first.out
    )
    assert stopped
    assert int(stopped[1]) <= stored
    second = s3memo("demo", "--source", source, "--url", store, env=environment)
    assert second.calls() == (total - stored, 0, stored)


def test_without_a_terminal_there_are_plain_lines(source: Path, store: str, environment: dict[str, str]) -> None:
    run = s3memo("demo", "--source", source, "--url", store, env=environment)
    assert "\x1b" not in run.out + run.err
    counts = re.findall(r"^s3memo\.cli\.analysis\.analyze: (\d) of 5 ", run.err, re.MULTILINE)
    assert len(counts) == len(run.err.splitlines())
    assert counts[-2:] == ["5", "5"]  # the last step, and the sum
    assert counts[:-1] == sorted(set(counts))


def test_in_a_terminal_there_is_a_bar(source: Path, store: str, environment: dict[str, str]) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", MAIN, "demo", "--source", str(source), "--url", store]
    env = environment | {"TERM": "xterm-256color"}
    subprocess.run(command, env=env, stdout=subprocess.DEVNULL, stderr=theirs, check=True, timeout=60)
    os.close(theirs)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    assert "5 of 5 ·" in shown
    assert "\x1b[" in shown


def test_a_limit_takes_the_first_files(source: Path, store: str, environment: dict[str, str]) -> None:
    run = s3memo("demo", "--source", source, "--url", store, "--limit", 1, env=environment)
    assert run.calls() == (1, 0, 0)
    assert "branches.py" in run.out
    assert "package" not in run.findings.partition("Results are kept")[2].replace(str(source), "")


def test_the_store_is_the_users_cache_directory_unless_one_is_named(
    source: Path, tmp_path: Path, store: str, environment: dict[str, str]
) -> None:
    unnamed = s3memo("demo", "--source", source, env=environment)
    assert f"Results are kept in file://{tmp_path}/cache/s3memo" in unnamed.out.replace("\n", "")
    assert "WARNING" not in unnamed.err
    assert "no store is named" not in unnamed.err
    assert (tmp_path / "cache" / "s3memo").is_dir()
    named = s3memo("demo", "--source", source, env=environment | {"S3MEMO_URL": store})
    assert named.served() == (4, 1)
    assert s3memo("demo", "--source", source, "--url", store, env=environment).calls() == (0, 1, 4)


def test_without_a_source_it_reads_the_standard_library(store: str, environment: dict[str, str]) -> None:
    run = s3memo("demo", "--limit", 3, "--url", store, env=environment)
    assert run.code == 0
    assert run.row("files") == "3"


def test_files_that_cannot_be_read_are_counted_and_not_remembered(
    source: Path, store: str, environment: dict[str, str]
) -> None:
    (source / "zz.py").symlink_to(source / "nowhere")
    run = s3memo("demo", "--source", source, "--url", store, env=environment)
    assert run.code == 0
    assert "2, such as " in run.row("not analyzed")
    assert "FileNotFoundError" in run.out
    assert run.served() == (4, 1)


def test_installed_packages_are_no_part_of_the_library(source: Path) -> None:
    for name in ("site-packages", "dist-packages"):
        (source / "package" / name).mkdir()
        (source / "package" / name / "other.py").write_text("")
    names = [file.relative_to(source).as_posix() for file in find_files(source)]
    assert names == ["branches.py", "broken.py", "package/__init__.py", "package/names [bold].py", "package/same.py"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--url", "s3:/bucket"], 2, "'s3:/bucket' names no store"),
        (["--url", "buckets"], 2, "'buckets' names no store"),
        (["--url", "file:///dev/null/x"], 1, "/dev/null/x"),
        (["--source", "{empty}"], 2, "there are no .py files below {empty}: name another directory with --source"),
    ],
)
def test_a_mistake_is_one_clear_line(
    *, arguments: list[str], code: int, message: str, tmp_path: Path, source: Path, environment: dict[str, str]
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    given = [argument.format(empty=empty) for argument in arguments]
    run = s3memo("demo", "--source", source, *given, env=environment)
    assert run.code == code
    assert message.format(empty=empty) in run.err
    assert run.err.startswith("s3memo: ")
    assert run.err.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--limit", "0"], ["--source", "/nonexistent"], ["--colour"]])
def test_an_option_that_makes_no_sense_is_bad_usage(arguments: list[str], environment: dict[str, str]) -> None:
    run = s3memo("demo", *arguments, env=environment)
    assert run.code == 2
    assert arguments[0] in run.err


@pytest.mark.parametrize(
    ("setting", "code", "message"),
    [
        ("S3MEMO_DISABLED", 2, "S3MEMO_DISABLED is set, so nothing would be remembered"),
        ("S3MEMO_READ_ONLY", 0, "Nothing was stored, for S3MEMO_READ_ONLY is set."),
    ],
)
def test_a_setting_that_keeps_it_from_remembering_is_said(
    *, setting: str, code: int, message: str, source: Path, store: str, environment: dict[str, str]
) -> None:
    run = s3memo("demo", "--source", source, "--url", store, env=environment | {setting: "1"})
    assert run.code == code
    assert message in run.out + run.err


def test_names_that_cannot_be_printed_are_escaped(source: Path, store: str, environment: dict[str, str]) -> None:
    (source / "na\udcffme.py").write_text("def größe(a): return a and a and a and a\n", encoding="utf-8")
    for encoding in ("utf-8", "ascii"):
        env = environment | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
        run = s3memo("demo", "--source", source, "--url", store, env=env)
        assert run.code == 0
        assert "na\\udcffme.py:1" in run.out


@pytest.mark.parametrize("on_path", [True, False])
def test_the_console_script_is_named_as_the_shell_finds_it(
    on_path: bool, source: Path, store: str, environment: dict[str, str]
) -> None:
    script = Path(sysconfig.get_path("scripts"), "s3memo")
    path = f"{script.parent}:/usr/bin" if on_path else "/usr/bin"
    run = subprocess.run(
        [script, "demo", "--source", source, "--url", store],
        env=environment | {"PATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"nothing is computed: {'s3memo' if on_path else script} demo --source" in run.stdout
