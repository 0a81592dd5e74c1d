from __future__ import annotations

import dataclasses
import functools
import os
import sys
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NewType, Optional

import pytest

from s3memo import ByContent, KeyDerivationError, MemoryStore, s3_cached
from s3memo.keys import ArgumentKeys

if TYPE_CHECKING:
    from nowhere import Unknown

File = Annotated[Path, ByContent]
Renamed = NewType("Renamed", File)  # type: ignore[valid-newtype]  # it is one as it runs


@dataclasses.dataclass
class Holder:
    path: File


@dataclasses.dataclass
class Unfinished:
    path: Annotated[Path, ByContent]
    other: Unknown


class Loader:
    Inner = Annotated[Path, ByContent]

    @staticmethod
    def load(path: Inner) -> None: ...


def local() -> Callable[..., None]:
    Alias = Annotated[Path, ByContent]  # noqa: N806  the annotation below is text, and nothing leads here from it

    def load(path: Alias, *more: Alias, **others: Alias) -> None: ...

    return load


def wrapper_of(function: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        function(*args, **kwargs)

    return wrapper


def one(path: Annotated[Path, ByContent], scale: int = 1) -> None: ...
def named(path: File) -> None: ...
def by_name(path: Annotated[str, ByContent]) -> None: ...
def optional(path: Optional[Annotated[Path, ByContent]] = None) -> None: ...  # noqa: UP045  the older way to write it
def union(path: File | int) -> None: ...
def several(path: list[File]) -> None: ...
def pair(path: tuple[int, File]) -> None: ...
def mapped(path: Mapping[str, File]) -> None: ...
def variadic(*path: File) -> None: ...
def by_keyword(**path: File) -> None: ...
def undefined(path: File, other: Unknown = None) -> None: ...
def misspelt(path: Annotated[Pth, ByContent]) -> None: ...  # noqa: F821  that is what is tested
def plain(path: Path) -> None: ...
def either(path: File | list[File]) -> None: ...
def either_or_not(path: list[File] | str | float | Any) -> None: ...
def keyed(path: dict[File, int]) -> None: ...
def counted(path: Counter[File]) -> None: ...
def renamed(path: Renamed) -> None: ...
def nested(path: dict[str, list[File]]) -> None: ...
def quoted(path: list["File"]) -> None: ...  # noqa: UP037  that is what is tested
def with_fields(path: list[Holder]) -> None: ...
def with_unknown_fields(path: Unfinished) -> None: ...
def around(path: Annotated[list[Path], ByContent]) -> None: ...


WAYS: list[tuple[Callable[..., None], Callable[[Path], Any]]] = [
    (one, lambda path: {"path": path}),
    (named, lambda path: {"path": path}),
    (by_name, lambda path: {"path": str(path)}),
    (optional, lambda path: {"path": path}),
    (union, lambda path: {"path": path}),
    (several, lambda path: {"path": [path]}),
    (pair, lambda path: {"path": (1, path)}),
    (mapped, lambda path: {"path": {"a": path}}),
    (by_keyword, lambda path: {"a": path}),
    (undefined, lambda path: {"path": path}),
    (either, lambda path: {"path": path}),
    (either, lambda path: {"path": [path]}),
    (either_or_not, lambda path: {"path": [path]}),
    (keyed, lambda path: {"path": {path: 1}}),
    (counted, lambda path: {"path": {path: 1}}),
    (renamed, lambda path: {"path": path}),
    (nested, lambda path: {"path": {"a": [path]}}),
    (quoted, lambda path: {"path": [path]}),
    (Loader.load, lambda path: {"path": path}),
    (functools.partial(one, scale=2), lambda path: {"path": path}),
]


def digest(function: Callable[..., None], *args: Any, **kwargs: Any) -> str:
    return ArgumentKeys(function).digest(args, kwargs)


@pytest.mark.parametrize(("function", "arguments"), WAYS, ids=lambda part: getattr(part, "__name__", ""))
def test_what_a_file_holds_counts_and_not_its_name(
    tmp_path: Path, function: Callable[..., None], arguments: Callable[[Path], Any]
) -> None:
    paths = [tmp_path / name for name in ("a.txt", "b.csv", "c.txt")]
    for path, text in zip(paths, ("same", "same", "other"), strict=True):
        path.write_text(text)
    first, renamed, other = (digest(function, **arguments(path)) for path in paths)
    assert first == renamed != other
    paths[0].write_text("other")
    assert digest(function, **arguments(paths[0])) == other


def test_each_of_a_variable_number_of_files_counts(tmp_path: Path) -> None:
    path, copy = tmp_path / "a", tmp_path / "b"
    for each in (path, copy):
        each.write_text("text")
    assert digest(variadic, path, copy) == digest(variadic, copy, path) != digest(variadic, path)


def test_a_file_is_not_its_bytes_nor_its_path(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"text")
    assert len({digest(union, path), digest(union, 1), digest(plain, b"text"), digest(plain, path)}) == 4


def test_what_is_no_path_counts_as_it_is(tmp_path: Path) -> None:
    assert digest(optional) == digest(optional, None) == digest(optional, path=None)
    assert digest(union, 1) != digest(union, 2)
    assert len({digest(either_or_not, value) for value in ("a", "b", 1, {1: (2.5,)})}) == 4


def test_a_file_larger_than_a_block_counts_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(bytes(3_000_000))
    before = digest(one, path)
    path.write_bytes(bytes(2_999_999) + b"x")
    assert digest(one, path) != before


@pytest.mark.parametrize(
    ("function", "argument", "said"),
    [
        (one, "missing", r"made of path, which counts by the content of its file, and .*No such file.*missing"),
        (one, ".", r"made of path, which counts by the content of its file, and '\.' is not a regular file"),
        (one, "fifo", r"and 'fifo' is not a regular file"),
        (one, "/dev/zero", r"and '/dev/zero' is not a regular file"),
        (one, b"missing", r"made of path, whose annotation is of files by content: .* by its path, not by a bytes"),
        (union, b"missing", r"whose annotation is of files by content: b'missing' may be the path of a file"),
        (either, {"a": ["missing"]}, r"'a' may be the path of a file"),
        (around, ["missing"], r"by its path, not by a list"),
        (pair, [1, "missing"], r"come in a tuple, not in a list"),
        (mapped, OrderedDict(a="missing"), r"come in a dict, not in a OrderedDict"),
        (with_fields, [Holder(Path("missing"))], r"Holder marks fields with ByContent, which marks parameters only"),
        (with_unknown_fields, None, r"Unfinished marks fields with ByContent"),
        (wrapper_of(one), "missing", r"made of path, which .* is no parameter of what wraps one\. .*what is wrapped"),
        (functools.partial(one, "missing"), 1, r"made of path, which .* is no parameter of what wraps"),
        (several, ["missing"], r"made of path\[0\], which counts by the content"),
        (
            several,
            iter(["missing"]),
            r"made of path, whose annotation is of files by content: .* in a list, tuple or set",
        ),
        (pair, (1,), r"made of path, whose annotation is of files by content"),
        (mapped, ["missing"], r"made of path, whose annotation is of files by content"),
        (misspelt, "missing", r"made of path, whose annotation 'Annotated\[Pth, ByContent\]' fails: NameError"),
    ],
    ids=lambda part: getattr(part, "__name__", ""),
)
def test_a_file_that_cannot_be_read_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: Callable[..., None], argument: Any, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("fifo")
    with pytest.raises(KeyDerivationError, match=said) as caught:
        digest(function, argument)
    assert "ignore=('path',)" in str(caught.value)


@pytest.mark.parametrize(
    ("args", "kwargs", "name"),
    [
        ((Path("a"),), {}, "path"),
        ((1, b"a"), {}, "more"),
        ((1,), {"a": [{1: ("a",)}]}, "others"),
    ],
)
def test_what_an_annotation_means_that_cannot_be_evaluated_may_be_a_file(args: Any, kwargs: Any, name: str) -> None:
    with pytest.raises(KeyDerivationError, match=f"made of {name}, .* cannot be evaluated, and .*a.* may be the path"):
        digest(local(), *args, **kwargs)


def test_what_is_no_path_counts_whatever_its_annotation_means() -> None:
    assert digest(local(), 1, None, a={2: (3,)}) != digest(local(), 1, None, a={2: (4,)})


def test_what_a_wrapper_takes_itself_or_is_ignored_is_not_hidden_by_it(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("text")

    @functools.wraps(one)
    def passing(path: Path, **more: Any) -> None: ...

    before = digest(passing, path)
    path.write_text("other")
    assert digest(passing, path) != before
    keys = ArgumentKeys(wrapper_of(one), ignore=("path",))
    assert keys.digest((), {"path": path}) == keys.digest((), {"path": tmp_path / "b"})


@pytest.mark.skipif(sys.version_info < (3, 12), reason="`type` came with Python 3.12")
def test_an_alias_made_by_type_marks_files(tmp_path: Path) -> None:
    namespace: dict[str, Any] = {"File": File}
    exec(
        "type Files[T] = list[T]\ndef load(path: Files[File]): ...\ntype One = File\ndef one(path: One): ...", namespace
    )
    path = tmp_path / "a"
    path.write_text("text")
    before = digest(namespace["load"], [path]), digest(namespace["one"], path)
    path.write_text("other")
    assert not {*before} & {digest(namespace["load"], [path]), digest(namespace["one"], path)}


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="it is a file that cannot be read from its beginning")
def test_a_file_that_fails_while_it_is_read_is_an_error() -> None:
    with pytest.raises(KeyDerivationError, match=r"made of path, which cannot be read \(OSError: "):
        digest(one, "/proc/self/mem")


def test_a_cached_function_computes_again_when_its_file_changes(tmp_path: Path) -> None:
    path = tmp_path / "numbers"

    @s3_cached(MemoryStore())
    def total(path: File) -> int:
        return sum(map(int, path.read_text().split()))

    path.write_text("1 2")
    assert total(path) == total(path) == 3
    path.write_text("1 3")
    assert total(path) == 4
    assert total.cache_info().misses == 2
