"""How pandas' arrays are stored: as the numpy arrays they consist of, those on Arrow as pyarrow arrays."""

from __future__ import annotations

from types import NoneType
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # it comes without types

from s3memo.codec.pandas.dtypes import check_extent, string_dtype, string_dtype_parts
from s3memo.codec.pandas.scalars import OFFSET_KINDS, ZONE_PART, zone_of, zone_part
from s3memo.codec.table import ANY, Extension, Fields, Items, Kinds, Record

try:
    import pyarrow as pa  # type: ignore[import-untyped]  # it comes without types
except ImportError:  # then no array is on Arrow
    pa = None

_FEW = 1000
"""Strings; up to this many cost less as a list than as an Arrow stream."""


def values_part(data: Any) -> object:
    """Return the values of a series or index as a part: objects as a list, all else as an array."""
    if not isinstance(data.dtype, np.dtype):
        return data.array
    return _numpy_part(data.to_numpy())


def _numpy_part(values: np.ndarray[Any, Any]) -> object:
    return values.tolist() if values.dtype == object else values


def values_of(part: Any) -> Any:
    """Return the array for a part of the kinds VALUES. Raises TypeError for one that pandas cannot hold."""
    if type(part) is list:
        return np.fromiter(part, dtype=object, count=len(part))
    if part.ndim != 1:
        raise TypeError("its values are no array of one dimension")
    if isinstance(part, np.ndarray) and (part.dtype.kind == "V" or part.dtype.itemsize == 0):
        raise TypeError(f"pandas holds no values of {part.dtype}")
    return part


def _time_parts(array: pd.arrays.DatetimeArray | pd.arrays.TimedeltaArray) -> list[object]:
    zone = getattr(array, "tz", None)
    instants = array if zone is None else array.tz_convert(None)
    return [instants.to_numpy(), zone_part(zone), getattr(array, "freq", None)]  # from pandas 3 on arrays have no freq


def _times(values: np.ndarray[Any, Any], zone: Any, freq: Any) -> Any:
    if values.dtype.kind not in "mM" or values.ndim != 1:
        raise ValueError("its values are of another type")
    array = pd.array(values, copy=False)
    if array.dtype != values.dtype:
        raise ValueError("its values have a unit that pandas lacks")
    if zone is not None:
        array = array.tz_localize("UTC").tz_convert(zone_of(zone))
    return array if freq is None else type(pd.Index(array, copy=False))(array, freq=freq).array


def _periods(ordinals: np.ndarray[Any, Any], freq: Any) -> pd.arrays.PeriodArray:
    if ordinals.dtype != np.int64 or ordinals.ndim != 1:
        raise ValueError("its ordinals are of another type")
    return pd.arrays.PeriodArray(ordinals, dtype=pd.PeriodDtype(freq))


def _categorical(codes: np.ndarray[Any, Any], dtype: pd.CategoricalDtype) -> pd.Categorical:
    if codes.dtype.kind != "i" or codes.ndim != 1:
        raise ValueError("its codes are of another type")
    return pd.Categorical.from_codes(codes, dtype=dtype)


def _masked_parts(array: Any) -> list[object]:
    """Return the values, and a mask of the missing ones or None. Values under the mask are stored as 0."""
    missing = array.isna()
    if not missing.any():
        return [array.to_numpy(array.dtype.numpy_dtype), None]
    return [array.to_numpy(array.dtype.numpy_dtype, na_value=0), missing]


def _masked(values: np.ndarray[Any, Any], missing: np.ndarray[Any, Any] | None) -> Any:
    kind = _MASKED.get(values.dtype.kind)
    if kind is None or values.ndim != 1:
        raise ValueError("its values are of another type")
    return kind(values, np.zeros(len(values), bool) if missing is None else missing)


def _intervals(left: Any, right: Any, closed: str) -> pd.arrays.IntervalArray:
    ends = [values_of(left), values_of(right)]
    for end in ends:
        check_extent(end)
    return pd.arrays.IntervalArray.from_arrays(*ends, closed)


def _sparse_parts(array: pd.arrays.SparseArray) -> list[object]:
    indices = array.sp_index.to_int_index().indices
    return [array.sp_values, indices, len(array), array.fill_value, array.kind]


def _sparse(
    values: np.ndarray[Any, Any], indices: np.ndarray[Any, Any], length: int, fill_value: Any, kind: str
) -> pd.arrays.SparseArray:
    if indices.dtype != np.int32 or indices.ndim != 1 or values.shape != indices.shape:
        raise ValueError("its indices are of another type")
    if hasattr(pd.arrays.SparseArray, "from_indices"):  # from pandas 3.1
        return pd.arrays.SparseArray.from_indices(values, indices, length, fill_value, kind, dtype=values.dtype)
    index = _INTEGER_INDEX(length, indices)
    return pd.arrays.SparseArray(
        values,
        sparse_index=index.to_block_index() if kind == "block" else index,
        dtype=pd.SparseDtype(values.dtype, fill_value),
    )


def _string_parts(array: Any) -> list[object]:
    storage, has_nan = string_dtype_parts(array.dtype)
    if storage == "pyarrow" and len(array) > _FEW:
        return [storage, has_nan, array.__arrow_array__()]
    return [storage, has_nan, array.to_numpy(dtype=object, na_value=None).tolist()]


def _strings(storage: str, has_nan: bool, strings: Any) -> Any:  # noqa: FBT001  it is a part
    dtype = string_dtype(storage, has_nan=has_nan)
    if type(strings) is list:
        return pd.array(strings, dtype=dtype)
    if strings.type not in {pa.string(), pa.large_string()}:
        raise ValueError(f"it is of {strings.type}, which is not how pandas holds strings")
    return dtype.__from_arrow__(strings)


def _string_kinds() -> set[type]:
    """Return the array classes for strings in this version of pandas, with the libraries installed."""
    kinds = {pd.arrays.StringArray, pd.arrays.ArrowStringArray}
    for storage in ("python", "pyarrow"):
        for has_nan in (True, False):
            try:
                kinds.add(string_dtype(storage, has_nan=has_nan).construct_array_type())
            except (ImportError, ValueError):  # without pyarrow, or of a later pandas
                continue
    return kinds


_MASKED = {
    "i": pd.arrays.IntegerArray,
    "u": pd.arrays.IntegerArray,
    "f": pd.arrays.FloatingArray,
    "b": pd.arrays.BooleanArray,
}
_INTEGER_INDEX = type(pd.arrays.SparseArray([0], kind="integer").sp_index)

_CHUNKS: Kinds = (pa.ChunkedArray,) if pa else ()
_SIDE: Kinds = (
    *(np.ndarray, pd.arrays.DatetimeArray, pd.arrays.TimedeltaArray),
    *(*set(_MASKED.values()), pd.arrays.ArrowExtensionArray),
)
_VALUES: Fields = {"values": (np.ndarray,)}

EXTENSIONS: tuple[Extension, ...] = (
    Record(
        71, pd.Categorical, {"codes": (np.ndarray,), "dtype": (pd.CategoricalDtype,)}, build=_categorical, mutable=True
    ),
    *(
        Record(
            72,
            kind,
            _VALUES | {"tz": ZONE_PART, "freq": (NoneType, *OFFSET_KINDS)},
            take=_time_parts,
            build=_times,
            mutable=True,
        )
        for kind in (pd.arrays.DatetimeArray, pd.arrays.TimedeltaArray)
    ),
    Record(
        73,
        pd.arrays.PeriodArray,
        {"ordinals": (np.ndarray,), "freq": OFFSET_KINDS},
        take=lambda array: [array.asi8, array.freq],
        build=_periods,
        mutable=True,
    ),
    Record(
        74,
        pd.arrays.IntervalArray,
        {"left": _SIDE, "right": _SIDE, "closed": (str,)},
        take=lambda array: [values_part(array.left), values_part(array.right), array.closed],
        build=_intervals,
        mutable=True,
    ),
    Record(
        75,
        pd.arrays.SparseArray,
        _VALUES | {"indices": (np.ndarray,), "length": (int,), "fill_value": ANY, "kind": (str,)},
        take=_sparse_parts,
        build=_sparse,
        mutable=True,
    ),
    *(
        Record(76, kind, _VALUES | {"missing": (NoneType, np.ndarray)}, take=_masked_parts, build=_masked, mutable=True)
        for kind in set(_MASKED.values())
    ),
    *(
        Record(
            77,
            kind,
            {"storage": (str,), "has_nan": (bool,), "strings": (Items(list, str, NoneType), *_CHUNKS)},
            take=_string_parts,
            build=_strings,
            mutable=True,
        )
        for kind in _string_kinds()
    ),
    Record(
        78,
        pd.arrays.ArrowExtensionArray,
        {"chunks": _CHUNKS},
        take=lambda array: [array.__arrow_array__()],
        build=pd.arrays.ArrowExtensionArray,
        mutable=True,
    ),
    Record(
        79,
        pd.arrays.NumpyExtensionArray,
        {"values": (list, np.ndarray)},
        take=lambda array: [_numpy_part(array.to_numpy())],
        build=lambda values: pd.arrays.NumpyExtensionArray(values_of(values)),
        mutable=True,
    ),
)

VALUES = (list, np.ndarray, *(extension.kind for extension in EXTENSIONS))
"""The kinds of the part that `values_part` makes."""
