"""Runs the commands and reports errors on one line."""

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
"""From this Python on, a thread that enters the interpreter at exit hangs; before, it aborts the process."""


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
        sys.stdout.reconfigure(errors="backslashreplace")  # a file name need not be valid in any encoding
    try:
        from s3memo.cli.commands import app  # noqa: PLC0415  it needs the extra, and its absence is reported below

        app(prog_name="s3memo")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        _fail("the command line needs typer, rich and jinja2: pip install 's3memo[cli]'", 1)
    except SettingsError as error:
        _fail(str(error), 2)
    except (S3MemoError, OSError) as error:  # stdout may be a file on a full disk
        _fail(str(error), 1)
    except KeyboardInterrupt:
        sys.exit(130)


def _leave(code: object) -> NoReturn:
    """Exit without finalizing the interpreter: a thread of obstore's that enters it then would abort the process."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # full, closed or None
            stream.flush()
    os._exit(code if isinstance(code, int) else 0 if code is None else 1)


def _fail(message: str, code: int) -> NoReturn:
    print(f"s3memo: {plain(message)}", file=sys.stderr)  # noqa: T201  rich may be what is missing
    sys.exit(code)
