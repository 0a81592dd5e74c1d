"""Runs the commands, and says on one line what went wrong."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import NoReturn

from s3memo.cli.plain import plain
from s3memo.errors import S3MemoError, SettingsError

_EXTRA = {"typer", "rich", "jinja2"}
_SPARES_THREADS = (3, 14)
"""The Python that lets threads hang that would enter it at its end, where those before end them."""


def run() -> None:
    """Run the command line and exit."""
    try:
        _run()
    except SystemExit as ended:
        if "obstore" in sys.modules and sys.version_info < _SPARES_THREADS:
            _leave(ended.code)
        raise


def _run() -> None:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's name may be what no encoding has
    try:
        from s3memo.cli.commands import app  # noqa: PLC0415  it needs the extra, and to say so needs a command line

        app(prog_name="s3memo")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        _fail("the command line needs typer, rich and jinja2: pip install 's3memo[cli]'", 1)
    except SettingsError as error:
        _fail(str(error), 2)
    except S3MemoError as error:
        _fail(str(error), 1)
    except OSError as error:  # as when what is printed goes to a disk that is full
        _fail(str(error), 1)
    except KeyboardInterrupt:
        sys.exit(130)


def _leave(code: object) -> NoReturn:
    """End without taking the interpreter down, under which a thread of obstore's that is about to enter it aborts all."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # it is full, or closed
            stream.flush()
    os._exit(code if isinstance(code, int) else 0 if code is None else 1)


def _fail(message: str, code: int) -> NoReturn:
    print(f"s3memo: {plain(message)}", file=sys.stderr)  # noqa: T201  rich may be what is missing
    sys.exit(code)
