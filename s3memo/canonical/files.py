"""Files that count by their bytes: `def load(path: Annotated[Path, ByContent])`."""

from __future__ import annotations

import collections.abc
import os
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Union, get_args, get_origin

from s3memo.canonical.form import Blocks
from s3memo.canonical.registry import ReductionError, add_type

_BLOCK = 2**20


class ByContent:
    """In `Annotated[Path, ByContent]`: what the file holds is the argument, and neither its name nor its date.

    It is read, a mebibyte at a time, whenever a key is made. `list[Annotated[Path, ByContent]]` and the like work too.
    """


class File:
    """A file in place of its path; no key can be made of one that cannot be read."""

    def __init__(self, path: Any) -> None:
        self.path = path


def by_content(hint: Any) -> Callable[[Any], Any] | None:
    """Return what puts files in place of the paths that an annotation marks; None where it marks none.

    What that returns raises TypeError or ValueError for a value that is not what the annotation says.
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        marked = any(mark is ByContent or isinstance(mark, ByContent) for mark in hint.__metadata__)
        return _as_file if marked else by_content(arguments[0])
    if origin in {Union, types.UnionType}:
        return next(filter(None, map(by_content, arguments)), None)
    if not isinstance(origin, type) or not arguments:
        return None
    if issubclass(origin, collections.abc.Mapping):
        return _of_values(by_content(arguments[-1]))
    if origin is tuple and Ellipsis not in arguments:
        return _of_places([by_content(argument) for argument in arguments])
    return _of_items(by_content(arguments[0])) if issubclass(origin, collections.abc.Iterable) else None


def _of_values(convert: Callable[[Any], Any] | None) -> Callable[[Any], Any] | None:
    return convert and (lambda value: None if value is None else {key: convert(item) for key, item in value.items()})


def _of_items(convert: Callable[[Any], Any] | None) -> Callable[[Any], Any] | None:
    def convert_all(value: Any) -> Any:
        if value is not None and type(value) not in {list, tuple, set, frozenset}:
            raise TypeError(f"files by content come in a list, tuple or set, not in a {type(value).__name__}")
        return value and type(value)(map(convert, value))  # type: ignore[arg-type]  # it is there

    return convert and convert_all


def _of_places(converters: list[Callable[[Any], Any] | None]) -> Callable[[Any], Any] | None:
    def convert_each(value: Any) -> Any:
        pairs = zip(converters, value, strict=True)
        return tuple(convert(item) if convert else item for convert, item in pairs)

    return convert_each if any(converters) else None


def _as_file(value: Any) -> Any:
    return File(value) if isinstance(value, str | os.PathLike) else value


def _content(file: File) -> Blocks:
    try:
        opened = Path(file.path).open("rb")  # noqa: SIM115  whoever takes the blocks closes it
    except OSError as error:
        raise ReductionError(f"which counts by the content of its file, and {error}") from error
    return Blocks(_blocks(opened))


def _blocks(opened: BinaryIO) -> Iterator[bytes]:
    with opened:
        while block := opened.read(_BLOCK):
            yield block


add_type(File, "file by content", _content)
