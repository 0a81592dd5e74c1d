"""polars: series by dtype and values; chunks, and what lies under a null, do not count."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl

from s3memo.canonical.form import Blocks, Items
from s3memo.canonical.registry import Fields, add_family, add_type

_ROWS = 2**16
"""How many values are converted at a time."""

_OF_FIXED_WIDTH = (
    *(pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64, pl.Float32, pl.Float64),
    *(pl.Boolean, pl.Date, pl.Time, pl.Datetime, pl.Duration),
)
_EXTENSION = getattr(pl, "BaseExtension", ())  # only in newer versions of polars


def _frame(frame: Any) -> Fields:
    return Fields(height=frame.height, columns=frame.get_columns())


def _series(series: Any) -> Fields:
    return Fields(name=series.name, dtype=series.dtype, length=len(series), content=_content(series))


def _content(series: Any) -> Any:
    if series.dtype == pl.Object:
        raise TypeError("it holds Python objects, which polars cannot compare")
    if series.dtype.base_type() in _OF_FIXED_WIDTH:
        validity = Blocks(_bytes(piece.is_not_null()) for piece in _pieces(series))
        return Fields(validity=validity, values=Blocks(_bytes(piece.drop_nulls()) for piece in _pieces(series)))
    if series.dtype.is_nested():
        return Items(-(-len(series) // _ROWS), map(_nested, _pieces(series)))
    if isinstance(series.dtype, _EXTENSION):
        return _content(series.ext.storage())
    return Items(len(series), (value for piece in _pieces(series) for value in piece.to_list()))


def _nested(series: Any) -> Fields:
    """Return the content of lists or structs by columns: as Python objects they would lose nanoseconds."""
    present = series.filter(series.is_not_null())
    validity = _content(series.is_not_null())
    if isinstance(series.dtype, pl.Struct):
        return Fields(validity=validity, fields=list(map(_content, present.struct.unnest().get_columns())))
    lists = present.arr.to_list() if isinstance(series.dtype, pl.Array) else present
    lengths = lists.list.len()
    return Fields(validity=validity, lengths=_content(lengths), items=_content(lists.filter(lengths > 0).explode()))


def _pieces(series: Any) -> Iterator[Any]:
    return (series.slice(start, _ROWS) for start in range(0, len(series), _ROWS))


def _bytes(series: Any) -> Any:
    """Return the bytes of values without nulls."""
    physical = series.to_physical()
    return (physical.cast(pl.UInt8) if physical.dtype == pl.Boolean else physical).to_numpy().view("u1")


def _dtype(dtype: Any) -> Any:  # noqa: PLR0911  one for each kind of dtype
    match dtype:
        case pl.Datetime():
            return dtype.time_unit, dtype.time_zone
        case pl.Duration():
            return dtype.time_unit
        case pl.Decimal():
            return dtype.precision, dtype.scale
        case pl.Enum():
            return dtype.categories.to_list()
        case pl.Array():
            return dtype.inner, dtype.shape
        case pl.List():
            return dtype.inner
        case pl.Struct():
            return [(field.name, field.dtype) for field in dtype.fields]
        case pl.Categorical() if hasattr(dtype, "categories"):
            return dtype.categories.name(), dtype.categories.namespace(), str(dtype.categories.physical())
    if isinstance(dtype, _EXTENSION):
        return dtype.ext_name(), dtype.ext_storage(), dtype.ext_metadata()
    return ()


def _refuse_lazy(_: Any) -> Any:
    raise TypeError("it is a plan, whose files and functions may change: pass what .collect() returns")


add_type(pl.DataFrame, "polars.DataFrame", _frame)
add_type(pl.Series, "polars.Series", _series)
add_type(pl.LazyFrame, "polars.LazyFrame", _refuse_lazy)
add_family(lambda kind: issubclass(kind, pl.DataType), "polars dtype", _dtype)
