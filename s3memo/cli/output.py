"""The file a command writes: whole or not at all."""

from __future__ import annotations

import io
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from s3memo.errors import S3MemoError, SettingsError

_BEGINNING = 1024  # bytes


@contextmanager
def replacing(path: Path, *, mark: str) -> Iterator[BinaryIO]:
    """Yield a buffer for a file's content; the file is created or replaced on success only.

    A file without `mark` near its beginning is not replaced; a device or pipe is written to. Raises SettingsError at once if
    the path cannot be written, and S3MemoError if writing fails in the end.
    """
    content = io.BytesIO()
    with _telling(path, SettingsError):
        is_file = path.is_file() or not path.exists()
        if is_file:
            path = path.resolve()  # replace what a link points to, not the link
        _check(path, mark)
        target = path.with_name(f".{secrets.token_hex(8)}.tmp") if is_file else path
        if is_file:  # try whether it can be written, but leave nothing behind if we are killed
            target.touch()
            target.unlink()
    try:
        yield content
        with _telling(path, S3MemoError):
            target.write_bytes(content.getbuffer())
            if is_file:
                os.replace(target, path)  # noqa: PTH105  the name says what it does
    finally:
        if is_file:
            target.unlink(missing_ok=True)


def _check(path: Path, mark: str) -> None:
    if path.is_dir():
        raise SettingsError(f"{path} is a directory: name a file in it with -o")
    if path.is_file():
        with path.open("rb") as file:
            beginning = file.read(_BEGINNING)
        if beginning and mark.encode() not in beginning:
            raise SettingsError(f"{path} is there, and is no report: name another file with -o, or delete it")


@contextmanager
def _telling(path: Path, kind: type[S3MemoError]) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise kind(f"cannot write to {path}: {error.strerror or error}: name another file with -o") from error
