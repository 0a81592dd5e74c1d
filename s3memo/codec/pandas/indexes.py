"""How pandas' indexes are stored."""

from __future__ import annotations

from types import NoneType
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # it comes without types

from s3memo.codec.pandas.arrays import VALUES, values_of, values_part
from s3memo.codec.pandas.dtypes import FLAT_INDEX_KINDS, check_extent
from s3memo.codec.pandas.scalars import OFFSET_KINDS
from s3memo.codec.table import ANY, Extension, Items, Record


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
    for level, places in zip(levels, codes, strict=True):
        check_extent(level, beside=places.nbytes)
    return pd.MultiIndex(levels=levels, codes=codes, names=names, sortorder=sortorder)


_INT = (int,)

INDEX_KINDS = (*FLAT_INDEX_KINDS, pd.MultiIndex)

EXTENSIONS: tuple[Extension, ...] = (
    *(
        Record(66, kind, {"values": VALUES, "freq": (NoneType, *OFFSET_KINDS), "name": ANY}, take=_parts, build=_index)
        for kind in FLAT_INDEX_KINDS
        if kind is not pd.RangeIndex
    ),
    Record(
        67,
        pd.RangeIndex,
        {"start": _INT, "stop": _INT, "step": _INT, "name": ANY},
        build=lambda start, stop, step, name: pd.RangeIndex(start, stop, step, name=name),
    ),
    Record(
        68,
        pd.MultiIndex,
        {
            "levels": (Items(list, *FLAT_INDEX_KINDS),),
            "codes": (Items(list, np.ndarray),),
            "names": (list,),
            "sortorder": (NoneType, int),
        },
        take=_multi_parts,
        build=_multi,
    ),
)
