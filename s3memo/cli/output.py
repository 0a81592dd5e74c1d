"""The file that a command writes: whole or not at all."""

from __future__ import annotations

import io
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from s3memo.errors import SettingsError

_BEGINNING = 1024  # bytes


@contextmanager
def replacing(path: Path, *, mark: str) -> Iterator[TextIO]:
    """Yield what takes the text of a file, which is there, or replaced, only at the end and if nothing failed.

    A file without `mark` in its beginning is not replaced; a device or pipe is written to at the end. Raises
    SettingsError, where it can before anything is done.
    """
    text = io.StringIO()
    try:
        path = path.resolve()
        _check(path, mark)
        if path.exists() and not path.is_file():
            yield text
            _write(path, text)
            return
        temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
        temporary.touch()
        try:
            yield text
            _write(temporary, text)
            os.replace(temporary, path)  # noqa: PTH105  the name of what it does
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
    except OSError as error:
        raise SettingsError(f"cannot write to {path}: {error.strerror or error}: name another file with -o") from error


def _check(path: Path, mark: str) -> None:
    if path.is_dir():
        raise SettingsError(f"{path} is a directory: name a file in it with -o")
    if path.is_file():
        with path.open("rb") as file:
            beginning = file.read(_BEGINNING)
        if beginning and mark.encode() not in beginning:
            raise SettingsError(f"{path} is there, and is no report: name another file with -o, or delete it")


def _write(path: Path, text: io.StringIO) -> None:
    path.write_text(text.getvalue(), encoding="utf-8", errors="backslashreplace")
