"""How pandas' dtypes are stored: by the name of their class, one of those listed here, and its arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import NoneType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # it comes without types

from s3memo.codec.pandas.scalars import OFFSET_KINDS, ZONE_PART, checked_unit, zone_of, zone_part
from s3memo.codec.table import ANY, Extension, Fields, Record, check_parts, short_repr, type_name

_HAS_NA_VALUE = "na_value" in inspect.signature(pd.StringDtype).parameters  # from pandas 2.3


def string_dtype(storage: str, *, has_nan: bool) -> pd.StringDtype:
    """Return the dtype of strings in a storage, with NaN or NA for missing ones."""
    if not has_nan:
        return pd.StringDtype(storage)
    if _HAS_NA_VALUE:
        return pd.StringDtype(storage, na_value=np.nan)
    return pd.StringDtype(f"{storage}_numpy")


def string_dtype_parts(dtype: pd.StringDtype) -> tuple[str, bool]:
    """Return the arguments of `string_dtype`."""
    return dtype.storage.removesuffix("_numpy"), dtype.na_value is not pd.NA


def check_extent(values: Any, *, beside: int = 0) -> None:
    """Raise ValueError for many items in almost no bytes, such as a range's, before iterating over them.

    `beside` is the number of other bytes that refer to the items.
    """
    if len(values) > max(_MAX_UNPAID, _ITEMS_PER_BYTE * (values.nbytes + beside)):
        raise ValueError(
            f"its {len(values)} items, of type {type_name(type(values))}, take next to no bytes, and over {_MAX_UNPAID} "
            "such are not stored. In a MultiIndex, see remove_unused_levels"
        )


def _checked_subtype(subtype: Any) -> Any:
    if not isinstance(subtype, np.dtype | pd.api.extensions.ExtensionDtype | None):  # pandas would interpret a string
        raise TypeError(f"its subtype {short_repr(subtype)} is no dtype")
    return subtype


def _categorical(categories: Any, ordered: Any) -> pd.CategoricalDtype:
    if categories is not None:
        check_extent(categories)
    return pd.CategoricalDtype(categories, ordered)


class _Form(NamedTuple):
    """The arguments of one class of dtypes: their kinds, how to take them from a dtype, and how to build it."""

    fields: Fields
    take: Callable[[Any], tuple[object, ...]]
    build: Callable[..., object]


_MAX_UNPAID = 1 << 16
_ITEMS_PER_BYTE = 8  # Arrow's bools take a bit each

FLAT_INDEX_KINDS = (
    *(pd.Index, pd.RangeIndex, pd.DatetimeIndex, pd.TimedeltaIndex),
    *(pd.PeriodIndex, pd.IntervalIndex, pd.CategoricalIndex),
)
"""The indexes that have one level."""

_MASKED = (
    *(pd.Int8Dtype, pd.Int16Dtype, pd.Int32Dtype, pd.Int64Dtype),
    *(pd.UInt8Dtype, pd.UInt16Dtype, pd.UInt32Dtype, pd.UInt64Dtype),
    *(pd.Float32Dtype, pd.Float64Dtype, pd.BooleanDtype),
)
_FORMS: dict[type, _Form] = {
    **{kind: _Form({}, lambda _: (), kind) for kind in _MASKED},
    pd.CategoricalDtype: _Form(
        {"categories": (NoneType, *FLAT_INDEX_KINDS), "ordered": (NoneType, bool)},
        lambda dtype: (dtype.categories, dtype.ordered),
        _categorical,
    ),
    pd.DatetimeTZDtype: _Form(
        {"unit": (str,), "tz": ZONE_PART},
        lambda dtype: (dtype.unit, zone_part(dtype.tz)),
        lambda unit, zone: pd.DatetimeTZDtype(checked_unit(unit), zone_of(zone)),
    ),
    pd.PeriodDtype: _Form({"freq": OFFSET_KINDS}, lambda dtype: (dtype.freq,), pd.PeriodDtype),
    pd.IntervalDtype: _Form(
        {"subtype": ANY, "closed": (NoneType, str)},
        lambda dtype: (dtype.subtype, dtype.closed),
        lambda subtype, closed: pd.IntervalDtype(_checked_subtype(subtype), closed),
    ),
    pd.SparseDtype: _Form(
        {"subtype": ANY, "fill_value": ANY},
        lambda dtype: (dtype.subtype, dtype.fill_value),
        lambda subtype, fill_value: pd.SparseDtype(_checked_subtype(subtype), fill_value),
    ),
    pd.StringDtype: _Form(
        {"storage": (str,), "has_nan": (bool,)},
        string_dtype_parts,
        lambda storage, has_nan: string_dtype(storage, has_nan=has_nan),
    ),
    pd.ArrowDtype: _Form({"pyarrow_dtype": ANY}, lambda dtype: (dtype.pyarrow_dtype,), pd.ArrowDtype),
}
_BY_NAME = {kind.__name__: form for kind, form in _FORMS.items()}


def _parts(dtype: Any) -> list[object]:
    return [type(dtype).__name__, _FORMS[type(dtype)].take(dtype)]


def _build(name: str, arguments: tuple[Any, ...]) -> object:
    form = _BY_NAME[name]
    check_parts(form.fields, arguments)
    return form.build(*arguments)


EXTENSIONS: tuple[Extension, ...] = tuple(
    Record(65, kind, {"name": (str,), "arguments": (tuple,)}, take=_parts, build=_build) for kind in _FORMS
)
