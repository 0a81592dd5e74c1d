"""How pandas' indexes are stored."""

from __future__ import annotations

from types import NoneType
from typing import Any

import pandas as pd  # type: ignore[import-untyped]  # it comes without types

from s3memo.codec.pandas.arrays import values_of, values_part
from s3memo.codec.pandas.scalars import OFFSET_KINDS
from s3memo.codec.table import Extension, Record


def _parts(index: pd.Index) -> list[object]:
    freq = index.freq if isinstance(index, pd.DatetimeIndex | pd.TimedeltaIndex) else None
    return [values_part(index), freq, index.name]


def _index(values: Any, freq: Any, name: Any) -> pd.Index:
    array = values_of(values)
    index = pd.Index(array, dtype=array.dtype, copy=False, name=name, tupleize_cols=False)
    return index if freq is None else type(index)(index, freq=freq)


def _multi_parts(index: pd.MultiIndex) -> list[object]:
    return [list(index.levels), list(index.codes), list(index.names), index.sortorder]


def _multi(levels: list[Any], codes: list[Any], names: list[Any], sortorder: int | None) -> pd.MultiIndex:
    for level in levels:
        if not isinstance(level, pd.Index):
            raise TypeError("its levels are no indexes")
        if isinstance(level, pd.RangeIndex) and len(level) > _MAX_RANGE:
            raise ValueError(f"it has a range of over {_MAX_RANGE} as a level: see MultiIndex.remove_unused_levels")
    return pd.MultiIndex(levels=levels, codes=codes, names=names, sortorder=sortorder)


_MAX_RANGE = 1 << 20  # pandas looks at each item of a level, and a range of any length takes no room where it is stored

_ANY: tuple[type, ...] = ()
_INT, _LIST = (int,), (list,)
_VALUE_KINDS = (
    pd.Index,
    pd.DatetimeIndex,
    pd.TimedeltaIndex,
    pd.PeriodIndex,
    pd.IntervalIndex,
    pd.CategoricalIndex,
)

INDEX_KINDS = (*_VALUE_KINDS, pd.RangeIndex, pd.MultiIndex)

EXTENSIONS: tuple[Extension, ...] = (
    *(
        Record(66, kind, {"values": _ANY, "freq": (NoneType, *OFFSET_KINDS), "name": _ANY}, take=_parts, build=_index)
        for kind in _VALUE_KINDS
    ),
    Record(
        67,
        pd.RangeIndex,
        {"start": _INT, "stop": _INT, "step": _INT, "name": _ANY},
        build=lambda start, stop, step, name: pd.RangeIndex(start, stop, step, name=name),
    ),
    Record(
        68,
        pd.MultiIndex,
        {"levels": _LIST, "codes": _LIST, "names": _LIST, "sortorder": (NoneType, int)},
        take=_multi_parts,
        build=_multi,
    ),
)
