"""Which Extension stores a type. Those for libraries are loaded with the first value, or code, of one of their types."""

from __future__ import annotations

import importlib
from typing import NamedTuple

from s3memo.codec.builtin import EXTENSIONS
from s3memo.codec.table import Extension


class _Library(NamedTuple):
    """Packages whose types one of our modules stores, and the codes reserved for them."""

    packages: frozenset[str]
    codes: range
    module: str


_LIBRARIES = (
    _Library(
        frozenset({"datetime", "decimal", "fractions", "uuid", "zoneinfo"}), range(11, 20), "s3memo.codec.standard"
    ),
    _Library(frozenset({"numpy"}), range(32, 42), "s3memo.codec.arrays"),
    _Library(frozenset({"scipy"}), range(42, 48), "s3memo.codec.sparse"),
    _Library(frozenset({"pyarrow"}), range(48, 56), "s3memo.codec.arrow"),
    _Library(frozenset({"polars"}), range(56, 58), "s3memo.codec.polars"),
    _Library(frozenset({"pandas"}), range(58, 80), "s3memo.codec.pandas"),
)
_REMEDIES = {"pyarrow": "s3memo[arrow]"}

_BY_CODE = {extension.code: extension for extension in EXTENSIONS}
_BY_KIND = {extension.kind: extension for extension in EXTENSIONS}
_loaded: set[_Library] = set()


def by_kind(kind: type) -> Extension | None:
    """Return the extension for exactly this type. Raises ImportError."""
    extension = _BY_KIND.get(kind)
    if extension is not None:
        return extension
    packages = {str(base.__module__).partition(".")[0] for base in kind.__mro__}
    for library in _LIBRARIES:  # a type may belong to several: pandas' dates are dates of the standard library
        if kind not in _BY_KIND and not packages.isdisjoint(library.packages):
            _load(library)
    return _BY_KIND.get(kind)  # another thread may have loaded it


def by_code(code: int) -> Extension | None:
    """Return the extension with this code. Raises ImportError."""
    extension = _BY_CODE.get(code)
    if extension is not None:
        return extension
    for library in _LIBRARIES:
        if code in library.codes:
            _load(library)
    return _BY_CODE.get(code)  # as above


def is_stored(kind: type) -> bool:
    """Whether the table has a type now."""
    return kind in _BY_KIND


def _load(library: _Library) -> None:
    """Load a library's extensions once."""
    if library in _loaded:
        return
    try:
        extensions: tuple[Extension, ...] = importlib.import_module(library.module).EXTENSIONS
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        raise ImportError(
            f"it needs {package}, which is not installed: pip install '{_REMEDIES.get(package, package)}'"
        ) from error
    _BY_CODE.update((extension.code, extension) for extension in extensions)
    _BY_KIND.update((extension.kind, extension) for extension in extensions)
    _loaded.add(library)
