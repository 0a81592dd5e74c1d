"""How pandas' dtypes are stored: by the name of their class, which is one of these, and its arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # it comes without types

from s3memo.codec.pandas.scalars import checked_unit, zone_of, zone_part
from s3memo.codec.table import Extension, Record, short_repr

_HAS_NA_VALUE = "na_value" in inspect.signature(pd.StringDtype).parameters  # from pandas 2.3


def string_dtype(storage: str, *, has_nan: bool) -> pd.StringDtype:
    """Return the dtype of strings that are stored so and are missing as NaN, or else as NA."""
    if not has_nan:
        return pd.StringDtype(storage)
    if _HAS_NA_VALUE:
        return pd.StringDtype(storage, na_value=np.nan)
    return pd.StringDtype(f"{storage}_numpy")


def string_dtype_parts(dtype: pd.StringDtype) -> tuple[str, bool]:
    """Return the arguments of `string_dtype`."""
    return dtype.storage.removesuffix("_numpy"), dtype.na_value is not pd.NA


def _checked_subtype(subtype: Any) -> Any:
    if not isinstance(subtype, np.dtype | pd.api.extensions.ExtensionDtype):  # pandas would interpret a string
        raise TypeError(f"its subtype {short_repr(subtype)} is no dtype")
    return subtype


_MASKED = (
    *(pd.Int8Dtype, pd.Int16Dtype, pd.Int32Dtype, pd.Int64Dtype),
    *(pd.UInt8Dtype, pd.UInt16Dtype, pd.UInt32Dtype, pd.UInt64Dtype),
    *(pd.Float32Dtype, pd.Float64Dtype, pd.BooleanDtype),
)
_CLASSES: dict[type, tuple[Callable[[Any], tuple[object, ...]], Callable[..., object]]] = {
    **{kind: (lambda _: (), kind) for kind in _MASKED},
    pd.CategoricalDtype: (lambda dtype: (dtype.categories, dtype.ordered), pd.CategoricalDtype),
    pd.DatetimeTZDtype: (
        lambda dtype: (dtype.unit, zone_part(dtype.tz)),
        lambda unit, zone: pd.DatetimeTZDtype(checked_unit(unit), zone_of(zone)),
    ),
    pd.PeriodDtype: (lambda dtype: (dtype.freq,), pd.PeriodDtype),
    pd.IntervalDtype: (
        lambda dtype: (dtype.subtype, dtype.closed),
        lambda subtype, closed: pd.IntervalDtype(_checked_subtype(subtype), closed),
    ),
    pd.SparseDtype: (
        lambda dtype: (dtype.subtype, dtype.fill_value),
        lambda subtype, fill_value: pd.SparseDtype(_checked_subtype(subtype), fill_value),
    ),
    pd.StringDtype: (string_dtype_parts, lambda storage, has_nan: string_dtype(storage, has_nan=has_nan)),
    pd.ArrowDtype: (lambda dtype: (dtype.pyarrow_dtype,), pd.ArrowDtype),
}
_BY_NAME = {kind.__name__: build for kind, (_, build) in _CLASSES.items()}


def _parts(dtype: Any) -> list[object]:
    take, _ = _CLASSES[type(dtype)]
    return [type(dtype).__name__, take(dtype)]


EXTENSIONS: tuple[Extension, ...] = tuple(
    Record(
        65,
        kind,
        {"name": (str,), "arguments": (tuple,)},
        take=_parts,
        build=lambda name, arguments: _BY_NAME[name](*arguments),
    )
    for kind in _CLASSES
)
