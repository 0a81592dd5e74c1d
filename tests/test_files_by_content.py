from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import pytest

from s3memo import ByContent, KeyDerivationError, MemoryStore, s3_cached
from s3memo.keys import ArgumentKeys

if TYPE_CHECKING:
    from nowhere import Unknown

File = Annotated[Path, ByContent]


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
    assert len({digest(union, path), digest(union, 1), digest(union, b"text"), digest(plain, path)}) == 4


def test_what_is_no_path_counts_as_it_is(tmp_path: Path) -> None:
    assert digest(optional) == digest(optional, None) == digest(optional, path=None)
    assert digest(union, 1) != digest(union, 2)


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
        (one, ".", r"made of path, which counts by the content of its file, and .*Is a directory"),
        (several, ["missing"], r"made of path\[0\], which counts by the content"),
        (several, iter(["missing"]), r"made of path, whose annotation names files: .* in a list, tuple or set"),
        (pair, (1,), r"made of path, whose annotation names files"),
        (mapped, ["missing"], r"made of path, whose annotation names files"),
        (misspelt, "missing", r"made of path, whose annotation 'Annotated\[Pth, ByContent\]' fails: NameError"),
    ],
    ids=lambda part: getattr(part, "__name__", ""),
)
def test_a_file_that_cannot_be_read_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: Callable[..., None], argument: Any, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(KeyDerivationError, match=said) as caught:
        digest(function, argument)
    assert f"{function.__name__}(): " in str(caught.value)
    assert "ignore=('path',)" in str(caught.value)


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
