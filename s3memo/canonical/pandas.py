"""pandas: a frame is its labels and columns, whatever its blocks, and whatever it was sliced from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # it comes without types
from pandas.api.extensions import ExtensionArray, ExtensionDtype  # type: ignore[import-untyped]  # as above

from s3memo.canonical import arrays
from s3memo.canonical.form import Blocks, Items
from s3memo.canonical.registry import Fields, add_family, add_type

_ROWS = 2**16
"""How many values of a column are converted at a time."""


def _frame(frame: Any) -> Fields:
    return Fields(
        index=frame.index,
        columns=frame.columns,
        dtypes=list(frame.dtypes),
        content=Items(frame.shape[1], (_column(frame.iloc[:, at].array) for at in range(frame.shape[1]))),
        **_marks(frame),
    )


def _series(series: Any) -> Fields:
    return Fields(
        index=series.index, name=series.name, dtype=series.dtype, content=_column(series.array), **_marks(series)
    )


def _marks(thing: Any) -> dict[str, Any]:
    return {"attrs": dict(thing.attrs), "duplicate_labels": thing.flags.allows_duplicate_labels}


def _index(index: Any) -> Fields:
    freq = getattr(index, "freq", None)
    return Fields(names=list(index.names), dtype=index.dtype, freq=freq, content=_column(index.array))


def _range(index: Any) -> Fields:
    return Fields(name=index.name, start=index.start, stop=index.stop, step=index.step)


def _multi_index(index: Any) -> Fields:
    """Reduce it to its labels: levels that a slice left unused do not count."""
    return Fields(names=list(index.names), levels=[index.get_level_values(level) for level in range(index.nlevels)])


def _array(array: Any) -> Fields:
    return Fields(dtype=array.dtype, content=_column(array))


def _column(array: Any) -> Any:
    """Return the content of a column or an index, without its dtype."""
    dtype = array.dtype
    if isinstance(dtype, np.dtype) or isinstance(array, pd.arrays.NumpyExtensionArray):
        return arrays.content(array.to_numpy())
    for kind, reduce in _BY_DTYPE.items():
        if isinstance(dtype, kind):
            return reduce(array)
    if hasattr(array, "isna") and _is_nullable(dtype):
        missing = np.zeros((), dtype.numpy_dtype)[()]
        return Fields(
            mask=_in_slices(array, lambda part: part.isna()),
            data=_in_slices(array, lambda part: part.to_numpy(dtype=dtype.numpy_dtype, na_value=missing)),
        )
    raise TypeError(f"it has the dtype {dtype!r}, of another package")


def _is_nullable(dtype: Any) -> bool:
    """Whether it is one of pandas' masked integers, floats and booleans."""
    return type(dtype).__module__.partition(".")[0] == "pandas" and isinstance(
        getattr(dtype, "numpy_dtype", None), np.dtype
    )


def _in_slices(array: Any, convert: Callable[[Any], Any]) -> Blocks:
    return Blocks(block for part in _slices(array) for block in arrays.raw(convert(part)).blocks)


def _slices(array: Any) -> Iterator[Any]:
    return (array[start : start + _ROWS] for start in range(0, len(array), _ROWS))


def _items(array: Any) -> Items:
    return Items(len(array), (value for part in _slices(array) for value in part))


def _categorical(array: Any) -> Any:
    return arrays.content(np.asarray(array.codes))


def _moments(array: Any) -> Any:
    return arrays.content(array.view("i8"))


def _periods(array: Any) -> Any:
    return arrays.content(array.asi8)


def _intervals(array: Any) -> Any:
    return [pd.Index(array.left), pd.Index(array.right)]


def _sparse(array: Any) -> Any:
    return [array.sp_index.indices, array.sp_values, len(array)]


def _arrow(array: Any) -> Any:
    from s3memo.canonical import arrow  # noqa: PLC0415  only such columns have pyarrow

    return arrow.content(array.__arrow_array__())


_BY_DTYPE: dict[type, Callable[[Any], Any]] = {
    pd.CategoricalDtype: _categorical,
    pd.DatetimeTZDtype: _moments,
    pd.PeriodDtype: _periods,
    pd.IntervalDtype: _intervals,
    pd.SparseDtype: _sparse,
    pd.StringDtype: _items,
    pd.ArrowDtype: _arrow,
}


def _dtype(dtype: Any) -> Any:  # noqa: PLR0911  one for each kind of dtype
    match dtype:
        case pd.CategoricalDtype():
            return dtype.categories, dtype.ordered
        case pd.IntervalDtype():
            return dtype.subtype, dtype.closed
        case pd.SparseDtype():
            return dtype.subtype, dtype.fill_value
        case pd.StringDtype():
            return dtype.storage, dtype.na_value
        case pd.ArrowDtype():
            return dtype.pyarrow_dtype
        case pd.DatetimeTZDtype():
            return dtype.unit, dtype.tz  # and not its name, which is not unique
    if isinstance(dtype, pd.PeriodDtype) or _is_nullable(dtype):
        return str(dtype)
    raise TypeError(f"it has the dtype {dtype!r}, of another package")


def _timestamp(value: Any) -> Fields:
    return Fields(value=value.value, unit=value.unit, zone=value.tz, fold=value.fold)


def _offset(offset: Any) -> Fields:
    return Fields(n=offset.n, normalize=offset.normalize, kwds=offset.kwds)


def _from_pandas(base: type) -> Callable[[type], bool]:
    return lambda kind: issubclass(kind, base) and kind.__module__.partition(".")[0] == "pandas"


add_type(pd.DataFrame, "pandas.DataFrame", _frame)
add_type(pd.Series, "pandas.Series", _series)
add_type(pd.RangeIndex, "pandas.RangeIndex", _range)
add_type(pd.MultiIndex, "pandas.MultiIndex", _multi_index)
for _kind in (pd.Index, pd.DatetimeIndex, pd.TimedeltaIndex, pd.PeriodIndex, pd.IntervalIndex, pd.CategoricalIndex):
    add_type(_kind, f"pandas.{_kind.__name__}", _index)
add_family(_from_pandas(ExtensionArray), "pandas array", _array)
add_family(_from_pandas(ExtensionDtype), "pandas dtype", _dtype)
add_type(pd.Timestamp, "pandas.Timestamp", _timestamp)
add_type(pd.Timedelta, "pandas.Timedelta", lambda value: (value.value, value.unit))
add_type(pd.Period, "pandas.Period", lambda value: (value.ordinal, value.freqstr))
add_type(pd.Interval, "pandas.Interval", lambda value: (value.left, value.right, value.closed))
add_type(type(pd.NaT), "pandas.NaT", lambda _: ())
add_type(type(pd.NA), "pandas.NA", lambda _: ())
add_family(_from_pandas(pd.tseries.offsets.BaseOffset), "pandas offset", _offset)
