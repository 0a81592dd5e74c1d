"""scipy.sparse: the arrays that a matrix stores, which are checked when it is rebuilt."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp  # type: ignore[import-untyped]  # it comes without types

from s3memo.codec.table import Extension, Fields, Record

_COMPRESSED = ("csr", "csc", "bsr")
_FIELDS: Fields = {"class": (str,), "shape": (tuple,), "arrays": (list,), "is_canonical": (bool,)}
_KINDS = {
    kind.__name__: kind
    for kind in (
        getattr(sp, f"{form}_{suffix}")
        for form in (*_COMPRESSED, "coo", "dia", "lil", "dok")
        for suffix in ("array", "matrix")
    )
}


def _take(matrix: Any) -> list[object]:
    name = type(matrix).__name__
    match matrix.format:
        case "csr" | "csc" | "bsr":
            arrays = [matrix.data, matrix.indices, matrix.indptr]
        case "dia":
            arrays = [matrix.data, matrix.offsets]
        case "coo":
            return [name, matrix.shape, [matrix.data, *matrix.coords], matrix.has_canonical_format]
        case _:
            stored = matrix.tocoo()
            arrays = [stored.data, *stored.coords]
    return [name, matrix.shape, arrays, False]


def _build(name: str, shape: tuple[int, ...], arrays: list[Any], is_canonical: bool) -> Any:  # noqa: FBT001  a part
    kind = _KINDS[name]
    if not all(type(array) is np.ndarray and array.dtype.kind in "biufc" for array in arrays):
        raise TypeError("what it stores is no array of numbers")
    form = name.partition("_")[0]
    if form in _COMPRESSED:
        matrix = kind(tuple(arrays), shape=shape, copy=False)
        matrix.check_format(full_check=True)
        return matrix
    data, *coordinates = arrays
    if form == "dia":
        return kind((data, *coordinates), shape=shape, copy=False)
    matrix = sp.coo_array((data, tuple(coordinates)), shape=shape, copy=False)
    if form == "coo":
        matrix = kind(matrix, copy=False)
        matrix.has_canonical_format = is_canonical
        return matrix
    return kind(matrix)


EXTENSIONS: tuple[Extension, ...] = tuple(
    Record(42, kind, _FIELDS, take=_take, build=_build, mutable=True, trial=False) for kind in _KINDS.values()
)
