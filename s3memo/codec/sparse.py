"""scipy.sparse: the arrays that a matrix stores, which are checked when it is rebuilt."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp  # type: ignore[import-untyped]  # it comes without types

from s3memo.codec.table import Extension, Fields, Items, Record

_COMPRESSED = ("csr", "csc", "bsr")
_FIELDS: Fields = {
    "class": (str,),
    "shape": (Items(tuple, int),),
    "arrays": (Items(list, np.ndarray),),
    "is_canonical": (bool,),
}
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
        case "lil":  # rows may be empty, so store them all: the size must follow from the bytes
            rows = matrix.tocsr()
            arrays = [rows.data, rows.indices, rows.indptr]
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
    if not all(array.dtype.kind in "biufc" for array in arrays):
        raise TypeError("what it stores is no array of numbers")
    form = name.partition("_")[0]
    if form == "lil":
        return kind(_compressed(sp.csr_array, shape, arrays))
    if form in _COMPRESSED:
        return _compressed(kind, shape, arrays)
    data, *coordinates = arrays
    if form == "dia":
        return kind((data, *coordinates), shape=shape, copy=False)
    matrix = sp.coo_array((data, tuple(coordinates)), shape=shape, copy=False)
    if form == "coo":
        matrix = kind(matrix, copy=False)
        matrix.has_canonical_format = is_canonical
        return matrix
    return kind(matrix)


def _compressed(kind: Any, shape: tuple[int, ...], arrays: list[Any]) -> Any:
    matrix = kind(tuple(arrays), shape=shape, copy=False)
    matrix.check_format(full_check=True)
    if (matrix.indptr[1:] < matrix.indptr[:-1]).any():  # check_format skips this if the last is 0
        raise ValueError("its index pointers are out of order")
    return matrix


EXTENSIONS: tuple[Extension, ...] = tuple(
    Record(42, kind, _FIELDS, take=_take, build=_build, mutable=True, trial=False) for kind in _KINDS.values()
)
