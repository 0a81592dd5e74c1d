import subprocess
import sys
from pathlib import Path

import pytest

from s3memo import __version__

PROJECT = Path(__file__).parents[2]


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=60)


def test_it_tells_its_version() -> None:
    result = run("from s3memo.cli.app import main; main()", "--version")
    assert (result.returncode, result.stdout) == (0, f"s3memo {__version__}\n")


def test_help_lists_the_commands() -> None:
    result = run("from s3memo.cli.app import main; main()", "--help")
    assert result.returncode == 0
    assert "demo" in result.stdout


def test_each_command_has_help_with_an_example() -> None:
    commands = [["ls"], ["show"], ["history"], ["du"], ["gc"], ["clear"], ["report"]]
    commands += [["state", name] for name in ("ls", "get", "history", "rollback")]
    for command in commands:
        result = run("from s3memo.cli.app import main; main()", *command, "--help")
        assert result.returncode == 0
        assert f"Example: s3memo {' '.join(command)}" in result.stdout
        assert "--json" in result.stdout
    for name in ("demo", "doctor", "policy", "lifecycle"):
        assert f"Example: s3memo {name}" in run("from s3memo.cli.app import main; main()", name, "--help").stdout


def test_the_shell_completes_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("_S3MEMO_COMPLETE", "complete_bash"), ("COMP_WORDS", "s3memo state h"), ("COMP_CWORD", "2")):
        monkeypatch.setenv(name, value)
    result = run("from s3memo.cli.app import main; main()")
    assert (result.returncode, result.stdout) == (0, "history\n")


@pytest.mark.parametrize(("missing", "command"), [("typer", "demo"), ("rich", "demo"), ("jinja2", "report")])
def test_without_the_extra_it_says_how_to_get_it(missing: str, command: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; from s3memo.cli.app import main; main()"
    result = run(code, command, "--json")
    assert result.returncode == 1
    assert result.stderr == "s3memo: the command line needs typer, rich and jinja2: pip install 's3memo[cli]'\n"


def test_another_missing_module_is_not_blamed_on_the_extra() -> None:
    result = run("import sys; sys.modules['platformdirs'] = None; from s3memo.cli.app import main; main()", "demo")
    assert result.returncode == 1
    assert "ModuleNotFoundError" in result.stderr
    assert "pip install" not in result.stderr


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        ("SettingsError('no such thing')", 2, "s3memo: no such thing\n"),
        ("StoreAccessError('no such bucket')", 1, "s3memo: no such bucket\n"),
        ("KeyboardInterrupt", 130, ""),
    ],
)
def test_an_error_of_ours_is_one_line_and_a_code(error: str, code: int, message: str) -> None:
    program = f"""
from s3memo.cli import app, commands
from s3memo.errors import *

@commands.app.command()
def fail():
    raise {error}

app.main()
"""
    result = run(program, "fail")
    assert (result.returncode, result.stdout, result.stderr) == (code, "", message)


@pytest.mark.parametrize("loading", ["typing", "contextlib", "s3memo.errors", "typer", "s3memo.cli.commands"])
def test_it_can_be_interrupted_while_it_is_loaded(loading: str) -> None:
    program = f"""
import sys

class Interrupting:
    @staticmethod
    def find_spec(name, *_):
        if name == {loading!r}:
            raise KeyboardInterrupt

sys.path[:] = {[str(PROJECT), *sys.path]}
sys.meta_path.insert(0, Interrupting)
from s3memo.cli.app import main
main()
"""
    command = [sys.executable, "-S", "-c", program]  # before that, sites load what they like
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "")


@pytest.mark.parametrize(
    "command", [["ls"], ["show"], ["history"], ["clear"], ["state", "get"], ["state", "history"]], ids=" ".join
)
def test_a_url_in_the_place_of_a_name_is_told(command: list[str]) -> None:
    result = run("from s3memo.cli.app import main; main()", *command, "s3://bucket/prefix")
    assert (result.returncode, result.stdout) == (2, "")
    assert "is a store: give it as --url s3://bucket/prefix" in result.stderr


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="there it ends as any program does")
@pytest.mark.parametrize(("name", "code"), [("--version", 0), ("--versoin", 2)])
def test_with_obstore_it_ends_before_the_interpreter_does(name: str, code: int) -> None:
    """A thread of obstore's that entered the interpreter at its end aborted some commands of a hundred, with 134."""
    program = """
import atexit, sys
from s3memo.cli.app import main

sys.modules["obstore"] = None
atexit.register(print, "taken down")
main()
"""
    result = run(program, name)
    assert (result.returncode, "taken down" in result.stdout) == (code, False)
    assert result.stdout + result.stderr
