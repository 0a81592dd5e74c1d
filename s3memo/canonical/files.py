"""Files keyed by their content: `def load(path: Annotated[Path, ByContent])`."""

from __future__ import annotations

import abc
import collections.abc
import os
import stat
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, BinaryIO, TypeAlias, Union, get_args, get_origin, get_type_hints

from s3memo.canonical.form import Blocks
from s3memo.canonical.registry import ReductionError, add_type

Convert: TypeAlias = Callable[[Any], Any]
_BLOCK = 2**20


class ByContent:
    """In `Annotated[Path, ByContent]`: the file's content is the argument, and neither its name nor its date.

    It is read, a mebibyte at a time, whenever a key is made. `list[Annotated[Path, ByContent]]` and the like work too;
    fields of classes cannot be marked.
    """


class File:
    """A file in place of its path."""

    def __init__(self, path: Any) -> None:
        self.path = path


class UnknownHint:
    """In place of an annotation that cannot be evaluated, and so may mark files."""


def by_content(hint: Any) -> Convert | None:
    """Return a function that replaces the paths that an annotation marks by files; None if it marks none.

    That function raises TypeError or ValueError for a value unlike the annotation, so that no file silently counts by its
    path. Raises TypeError if the mark is where it has no effect.
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is UnknownHint:
        return _by_what_it_is
    if hasattr(hint, "__supertype__"):  # a NewType
        return by_content(hint.__supertype__)
    if hasattr(hint, "__value__"):  # what `type` defines
        return by_content(hint.__value__[arguments] if arguments else hint.__value__)
    if origin is Annotated:
        marked = any(mark is ByContent or isinstance(mark, ByContent) for mark in hint.__metadata__)
        return _as_file if marked else by_content(arguments[0])
    if origin in {Union, types.UnionType}:
        return _of_any(arguments)
    if isinstance(hint, type) and _marks_fields(hint):
        raise TypeError(f"{hint.__qualname__} marks fields with ByContent, which marks parameters only")
    return _of_contents(origin, arguments) if isinstance(origin, type) and arguments else None


def _of_contents(origin: type, arguments: tuple[Any, ...]) -> Convert | None:
    if issubclass(origin, collections.abc.Mapping):
        keys, values = map(by_content, (*arguments, None)[:2])  # Counter[…] has one argument
        return _of_entries(keys or _as_it_is, values or _as_it_is) if keys or values else None
    if origin is tuple and Ellipsis not in arguments:
        return _of_places([by_content(argument) for argument in arguments])
    return _of_items(by_content(arguments[0])) if issubclass(origin, collections.abc.Iterable) else None


def _marks_fields(kind: type) -> bool:
    try:
        hints = list(get_type_hints(kind, include_extras=True).values())
    except Exception:  # noqa: BLE001  an annotation may be any text
        hints = [hint for base in kind.__mro__ for hint in vars(base).get("__annotations__", {}).values()]
    return any(ByContent.__name__ in str(hint) for hint in hints)


def _of_any(hints: tuple[Any, ...]) -> Convert | None:
    converters = [by_content(hint) for hint in hints]
    origins = [get_origin(hint) or hint for hint, convert in zip(hints, converters, strict=True) if convert is None]
    unmarked = tuple(origin for origin in origins if type(origin) in {type, abc.ABCMeta})

    def convert_one(value: Any) -> Any:
        for convert in filter(None, converters):
            try:
                return convert(value)
            except (TypeError, ValueError):  # try the next alternative
                continue
        return value if isinstance(value, unmarked) else _without_paths(value)

    return convert_one if any(converters) else None


def _of_entries(convert_key: Convert, convert: Convert) -> Convert:
    def convert_all(value: Any) -> Any:
        if value is None:
            return None
        if type(value) is not dict:
            raise TypeError(f"files by content come in a dict, not in a {type(value).__name__}")
        return {convert_key(key): convert(item) for key, item in value.items()}

    return convert_all


def _of_items(convert: Convert | None) -> Convert | None:
    def convert_all(value: Any) -> Any:
        if value is not None and type(value) not in {list, tuple, set, frozenset}:
            raise TypeError(f"files by content come in a list, tuple or set, not in a {type(value).__name__}")
        return value and type(value)(map(convert, value))  # type: ignore[arg-type]  # it is there

    return convert and convert_all


def _of_places(converters: list[Convert | None]) -> Convert | None:
    def convert_each(value: Any) -> Any:
        if type(value) is not tuple:
            raise TypeError(f"files by content, each in its place, come in a tuple, not in a {type(value).__name__}")
        pairs = zip(converters, value, strict=True)
        return tuple(convert(item) if convert else item for convert, item in pairs)

    return convert_each if any(converters) else None


def _as_it_is(value: Any) -> Any:
    return value


def _as_file(value: Any) -> Any:
    if value is None:
        return None
    if not isinstance(value, str | os.PathLike):
        raise TypeError(f"a file by content is given by its path, not by a {type(value).__name__}")
    return File(value)


def _by_what_it_is(value: Any) -> Any:
    try:
        return _without_paths(value)
    except TypeError as error:
        raise TypeError(f"it cannot be evaluated, and {error}: define what it names in the function's module") from None


def _without_paths(value: Any) -> Any:
    """Return a value unchanged. Raises TypeError if it is, or contains, what may be a path."""
    match value:
        case str() | bytes() | os.PathLike():
            raise TypeError(f"{value!r} may be the path of a file that should count by its content")
        case collections.abc.Mapping():
            _without_paths([*value.keys(), *value.values()])
        case list() | tuple() | set() | frozenset():
            for item in value:
                _without_paths(item)
    return value


def _content(file: File) -> Blocks:
    path = Path(file.path)
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # which might have no end
            raise ReductionError(f"which counts by the content of its file, and {str(path)!r} is not a regular file")
        opened = path.open("rb")  # _blocks closes it
    except OSError as error:
        raise ReductionError(f"which counts by the content of its file, and {error}") from error
    return Blocks(_blocks(opened))


def _blocks(opened: BinaryIO) -> Iterator[bytes]:
    with opened:
        while block := opened.read(_BLOCK):
            yield block


add_type(File, "file by content", _content)
